"""One process of a chaos run beside the Manager: started, told what to do, stopped and killed.

Rule of this file: what the process tells is put into a queue. It must not know what it does, or why it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import queue

__all__ = ["Member"]

END: Final = 30.0
"""How long a process may take to end by itself, in seconds; longer than it takes until it says what keeps it."""

PEER: Final = Path(__file__).with_name("peer.py")


class Member:
    """A process.

    Args:
        role: What it is to be, as `peer` calls it.
        name: What to call it; unlike any other of the run.
        options: What it needs to know.
        folder: Where its log is to be.
        told: Where to put what it tells.
    """

    def __init__(
        self, role: str, name: str, options: dict[str, Any], folder: Path, told: queue.SimpleQueue[dict[str, Any]]
    ) -> None:
        self.role = role
        self.name = name
        self.options = options
        self.is_expected_to_end = False
        self.is_stopped = False
        self._told = told
        with (folder / f"{name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PEER), role, json.dumps(options)],
                cwd=folder,
                env={**os.environ, "MSL_NETWORK_HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def settle(self) -> None:
        """Tell it to get through to everybody once, and to make no trouble."""
        assert self.process.stdin is not None
        self.is_expected_to_end = self.role == "rogues"
        with suppress(OSError):  # it has ended, which is found out elsewhere
            self.process.stdin.write("settle\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Let it stand still."""
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.is_stopped = False
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word."""
        self.is_expected_to_end = True
        self.process.kill()
        self._finish()

    def ask_to_end(self) -> None:
        """Tell it to end."""
        assert self.process.stdin is not None
        self.is_expected_to_end = True
        with suppress(OSError):
            self.process.stdin.close()

    def end(self) -> str:
        """Wait until it has ended.

        Returns:
            What went wrong; empty if nothing did.
        """
        problem = ""
        try:
            status = self.process.wait(END)
            if status:
                problem = f"{self.name} ended with status {status}"
        except subprocess.TimeoutExpired:
            problem = f"{self.name} did not end within {END:.0f} s"
            self.process.kill()
        self._finish()
        return problem

    def _finish(self) -> None:
        self.process.wait()
        self._reader.join(END)
        with suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with suppress(ValueError):  # it was killed in the middle of a line
                    self._told.put(json.loads(line))
