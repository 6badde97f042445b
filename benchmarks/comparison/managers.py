"""Managers at work, each a process with a home of its own.

Rule of this file: whatever is started here has ended when the `ExitStack` closes, or when this process has gone. It
must not know what is measured.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from benchmarks.call.systems import PACKAGES
from benchmarks.comparison.systems import SYSTEMS, command
from benchmarks.processes import BenchmarkError, end, end_with_us, free_port
from benchmarks.wire.measure import Target
from benchmarks.wire.startup import startup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

__all__ = ["DATABASE", "PASSWORD", "USER", "Managers"]

START: Final = 30.0
"""How long a Manager may take to start, in seconds."""

DATABASE: Final = "manager.sqlite3"
"""The database in the home of a Manager, ours or of 1.0."""

USER: Final = "user"
PASSWORD: Final = "a password that takes a while to check"


class Managers:
    """All Managers of a run.

    Args:
        stack: Ends the processes when it closes.
        folder: Where their homes are.
        pythons: The Python to run each package with.
        core: The core that everything runs on already, None if that is not so.
        tell: Called with what is going on.
    """

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        pythons: Mapping[str, str],
        core: int | None,
        tell: Callable[[str], None],
    ) -> None:
        self.stack = stack
        self.folder = folder
        self.pythons = pythons
        self.core = core
        self.tell = tell
        self._running: dict[tuple[str, str], tuple[subprocess.Popen[str], Target]] = {}

    def running(self, system: str, variant: str = "plain") -> Target:
        """Return a Manager that stays; it is started if it is not there yet, or no more.

        Raises:
            BenchmarkError: If it does not start.
        """
        key = (system, variant)
        if key not in self._running or self._running[key][0].poll() is not None:
            process, target = self.start(system, variant)
            self.stack.callback(end, process)
            self._running[key] = process, target
        return self._running[key][1]

    def give_up(self, system: str, variant: str = "plain") -> None:
        """End a Manager that stayed: what it has been asked last did not do it good."""
        if (system, variant) in self._running:
            self._running.pop((system, variant))[0].kill()

    @contextmanager
    def fresh(self, system: str, variant: str = "plain", prefix: Sequence[str] = ()) -> Iterator[Target]:
        """Start a Manager for one measurement; it is killed afterwards, since there is nothing that it is to keep.

        Args:
            system: Which one.
            variant: How it is started.
            prefix: What to put before its command.

        Raises:
            BenchmarkError: If it does not start.
        """
        process, target = self.start(system, variant, prefix)
        try:
            yield target
        finally:
            process.kill()
            process.wait()

    def startup(self, system: str) -> dict[str, float]:
        """Return how long a Manager takes to start, see `benchmarks.wire.startup`."""
        port = free_port()
        words = command(system, "plain", port, self.pythons, str(self.folder))
        return startup(words, port, environment=self.environment(system, "plain"), folder=self.folder)

    def home(self, system: str, variant: str) -> Path:
        """Return the home of a Manager."""
        path = self.folder / f"{system}-{variant}"
        path.mkdir(exist_ok=True)
        return path

    def environment(self, system: str, variant: str) -> dict[str, str]:
        """Return the environment variables of a Manager, beside those of this process."""
        return {"MSL_NETWORK_HOME": str(self.home(system, variant))}

    def add_user(self, system: str) -> None:
        """Have a Manager of the variant ``login`` know the user, if it does not yet.

        Raises:
            BenchmarkError: If it refuses.
        """
        package = SYSTEMS[system].package
        if package is None or (self.home(system, "login") / DATABASE).exists():
            return
        module = PACKAGES[package].manager[0]
        words = [self.pythons[package], "-m", module, "user", "add", USER, "--password", *PASSWORD.split()]
        result = subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, **self.environment(system, "login")},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BenchmarkError(f"{system} does not add a user: {result.stderr.strip()}")

    def start(self, system: str, variant: str, prefix: Sequence[str] = ()) -> tuple[subprocess.Popen[str], Target]:
        """Start a Manager, and wait until it listens."""
        port = free_port()
        log = self.home(system, variant) / "output.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [*prefix, *command(system, variant, port, self.pythons, str(self.folder))],
                cwd=self.folder,
                env={**os.environ, **self.environment(system, variant)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                preexec_fn=end_with_us,  # noqa: PLW1509 - one call of prctl, and this process has no threads
            )
        give_up = time.monotonic() + START
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            if time.monotonic() > give_up or process.poll() is not None:
                process.kill()
                process.wait()
                words = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
                raise BenchmarkError(f"{SYSTEMS[system].label} ({variant}) does not start:\n{words}")
            time.sleep(0.02)
        self.tell(f"started {SYSTEMS[system].label}, {variant} (process {process.pid})")
        tls = variant == "tls"
        return process, Target(port=port, process=process.pid, tls=tls, core=self.core)
