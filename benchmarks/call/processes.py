"""A system at work: its Manager, its Service and its client, each a process.

Rule of this file: whatever is started here has ended when the `with` block has, however that ends. It must not
know what is measured, nor what becomes of the figures.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.call.systems import PACKAGES
from benchmarks.processes import BenchmarkError, end, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.call.systems import System

__all__ = ["Running", "running"]

SECONDS: Final = 1.0

START: Final = 30 * SECONDS
"""How long a system may take to start; longer than its client tries to reach its Service."""

ANSWER: Final = 30 * SECONDS
"""How much longer a measurement may take than it was told to."""

BROKER_SETTINGS: Final = "max_payload: 8MB\n"
"""What NATS needs to be told: 50 000 floats are more than it takes by default."""

PEERS: Final = Path(__file__).with_name("peers.py")


@contextmanager
def running(
    system: System, pythons: Mapping[str, str], folder: Path, tls: bool, tell: Callable[[str], None]
) -> Iterator[Running]:
    """Start a system, and end it.

    Args:
        system: What to start.
        pythons: The Python to run each package with.
        folder: The home of this system, an empty folder.
        tls: Whether a Manager is to use TLS.
        tell: Called with what is going on.

    Raises:
        BenchmarkError: If it does not start.
    """
    with ExitStack() as stack:
        system_running = Running(stack, folder, tell)
        system_running.start(system, pythons, tls)
        yield system_running


class Running:
    """A system whose client waits for commands.

    Args:
        stack: Ends the processes when it closes, the last one first.
        folder: The home and the working directory of the processes; what they print is there, too.
        tell: Called with what is going on.
    """

    def __init__(self, stack: ExitStack, folder: Path, tell: Callable[[str], None]) -> None:
        self.stack = stack
        self.folder = folder
        self.tell = tell
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self, system: System, pythons: Mapping[str, str], tls: bool) -> None:
        """Start Manager, Service and client, and wait until these are connected.

        Raises:
            BenchmarkError: If one of them does not start.
        """
        port = free_port()
        python = pythons[system.service]
        words, service_words = [str(port)], []
        if system.manager:
            command = [pythons[system.manager], "-m", *PACKAGES[system.manager].manager, "-p", str(port)]
            manager = self.launch("Manager", command if tls else [*command, "--disable-tls"])
            words += ["--tls"] if tls else []
        elif system.broker:
            settings = self.folder / "broker.conf"
            settings.write_text(BROKER_SETTINGS, encoding="ascii")
            manager = self.launch("Manager", [system.broker, "-a", "127.0.0.1", "-p", str(port), "-c", str(settings)])
        if system.manager or system.broker:
            self.wait_until_listening(port)
            service_words = ["--manager", str(manager.pid)]
        self.launch("Service", [python, str(PEERS), "service", system.service, *words, *service_words])
        client = self.launch("client", [python, str(PEERS), "client", system.client, *words])
        threading.Thread(target=self.read, args=(client,), daemon=True).start()
        self.answer(START)

    def measure(self, scenario: str, seconds: float) -> dict[str, Any]:
        """Have the client measure; return the figures, or what is wrong as ``error``.

        Raises:
            BenchmarkError: If it does not answer.
        """
        client = self.processes["client"]
        assert client.stdin is not None
        with suppress(OSError):  # that there is no answer says it better
            client.stdin.write(f"run {scenario} {seconds}\n")
            client.stdin.flush()
        return self.answer(ANSWER + 2 * seconds)

    def launch(self, role: str, command: list[str]) -> subprocess.Popen[str]:
        """Start a process that ends with the stack."""
        with (self.folder / f"{role}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "MSL_NETWORK_HOME": str(self.folder), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if role == "client" else log,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        self.stack.callback(end, process)
        self.processes[role] = process
        self.tell(f"started its {role} (process {process.pid})")
        return process

    def wait_until_listening(self, port: int) -> None:
        """Wait until the Manager accepts connections."""
        give_up = time.monotonic() + START
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
                return
            if time.monotonic() > give_up or self.processes["Manager"].poll() is not None:
                raise BenchmarkError(f"the Manager does not listen\n{self.last_words()}")
            time.sleep(0.05)

    def read(self, client: subprocess.Popen[str]) -> None:
        """Hand over the answers of the client; an empty one when there will be no more."""
        assert client.stdout is not None
        with client.stdout:
            for line in client.stdout:
                self.answers.put(line)
        self.answers.put("")

    def answer(self, timeout: float) -> dict[str, Any]:
        """Return the next answer of the client."""
        try:
            line = self.answers.get(timeout=timeout)
        except queue.Empty:
            raise BenchmarkError(f"no answer within {timeout:.0f} seconds\n{self.last_words()}") from None
        if not line:
            raise BenchmarkError(f"the client has ended\n{self.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def last_words(self) -> str:
        """Return the last lines that each process printed."""
        lines = []
        for role in self.processes:
            text = (self.folder / f"{role}.log").read_text(encoding="utf-8", errors="replace")
            lines += [f"  {role}: {line}" for line in text.splitlines()[-5:]]
        return "\n".join(lines)
