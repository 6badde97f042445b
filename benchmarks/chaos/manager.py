"""The Manager of a chaos run: the real command, as a process that is started, looked at, stopped and killed.

Rule of this file: it does what it is told and says how that went. It must not know when, or why.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msl_network import NetworkError, connect

from .wire import Access

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AUTHENTICATIONS", "ManagerError", "ManagerProcess", "State", "free_port"]

SECONDS: Final = 1.0

START: Final = 30 * SECONDS
"""How long it may take to start; on a busy computer Python alone needs seconds."""

END: Final = 5 * SECONDS
"""How long it may take to end when it is asked to; that is a promise."""

DATABASE: Final = "manager.sqlite3"

RUNNING: Final = b"Network Manager running on"
"""What the log says when it lets everybody in."""

LOOK: Final = 20 * SECONDS
"""How long it may take to tell how it is."""

AUTHENTICATIONS: Final = ("none", "password", "login", "hostname")
"""How peers may authenticate."""

LIMITS: Final[Mapping[str, float]] = {
    "handshake_timeout": 4,  # s
    "prompt_timeout": 8,  # s; a key takes one of them on a computer that has much else to do
    "max_message": 4_000_000,  # bytes
    "outbox": 8_000_000,  # bytes
    "outbox_timeout": 8,  # s
    "max_memory": 30_000_000,  # bytes
    "pending": 1000,
}
"""Its limits: lower than the defaults, so that those who misbehave reach them within seconds."""

PATIENT: Final[Mapping[str, float]] = {**LIMITS, "handshake_timeout": 30}
"""Its limits where a login takes a core for a third of a second, and everybody logs in at once when it was away."""


class ManagerError(Exception):
    """Raised when the Manager does not do what it must."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How a Manager is.

    Args:
        process: The number of the process.
        clients: How many Clients are connected.
        services: How many Services are connected.
        tasks: How many tasks its event loop has.
        threads: How many threads it has.
        descriptors: How many files and sockets it has open.
        objects: How many objects there are of each class of the package.
        blocks: How many pieces of memory Python has in use.
        spare: How much of its memory Python keeps to use it again, in bytes.
        memory: How much memory it has, in bytes.
    """

    process: int
    clients: int
    services: int
    tasks: int
    threads: int
    descriptors: int
    objects: Mapping[str, int]
    blocks: int
    spare: int
    memory: int


class ManagerProcess:
    """A Manager, started again and again on the same port.

    Args:
        folder: Its home; what it writes is there.
        authentication: How peers authenticate, one of `AUTHENTICATIONS`.
        transport: How bytes get in and out, as in its settings.
        plugin: A file and a class in it, ``FILE:Class``, to enable as a plugin; empty for none.
        tls: Whether it uses TLS.

    Raises:
        ManagerError: If its user cannot be added.
    """

    def __init__(self, folder: Path, authentication: str, transport: str, plugin: str, *, tls: bool) -> None:
        self._folder = folder
        self._log = folder / "manager.log"
        self._log_offset = 0
        self._state_file = folder / "state.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "chaos.toml"
        self.limits = PATIENT if authentication == "login" else LIMITS
        """Its limits, by the names of the settings; times in seconds, sizes in bytes."""

        self.access = Access(
            port=free_port(),
            timeout=max(10.0, self.limits["handshake_timeout"]),
            cert_file=str(folder / "certs" / "localhost.crt") if tls else "",
            username="somebody" if authentication == "login" else "",
            password="a password of somebody" if authentication == "login" else "",
            password_manager="a password" if authentication == "password" else "",
        )
        """How to get in."""

        self.administrator = {"username": "admin", "password": "a password of the administrator"}
        """How to become an administrator."""

        self._write_settings(authentication, transport, plugin, tls=tls)
        self._add_user(*self.administrator.values(), "--admin")
        if authentication == "login":
            self._add_user(self.access.username, self.access.password)

    def _write_settings(self, authentication: str, transport: str, plugin: str, *, tls: bool) -> None:
        here = Path(__file__).parent
        plugins = {"chaos_probe": f"{here / 'probe.py'}:Probe"} | ({"chaos_plugin": plugin} if plugin else {})
        sections: dict[str, dict[str, Any]] = {
            "manager": {
                "host": "127.0.0.1",
                "port": self.access.port,
                "auth": [] if authentication == "none" else [authentication],
                "transport": transport,
                "log_file": str(self._log),
                "plugins": list(plugins),
            },
            "manager.tls": {"enabled": tls},
            "manager.limits": dict(self.limits),
        }
        for name, target in plugins.items():
            file, _, class_name = target.rpartition(":")
            shutil.copy(file, self._folder / f"{name}.py")  # where it is found, whatever else is installed
            sections[f"plugins.{name}"] = {"use": f"{name}:{class_name}"}
        sections["plugins.chaos_probe"]["file"] = str(self._state_file)
        if authentication == "password":
            sections["plugins.password"] = {"password": self.access.password_manager}
        if authentication == "hostname":
            sections["plugins.hostname"] = {"hostnames": ["localhost", "127.0.0.1"]}
        lines = []
        for section, settings in sections.items():
            # what JSON says of these values, TOML does, too
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _add_user(self, username: str, password: str, *options: str) -> None:
        words = ["user", "add", username, *options, "--password", password]
        result = subprocess.run(
            self._command(*words), env=self._environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise ManagerError(f"a user cannot be added: {result.stderr.strip()}")

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "msl_network", "--config", str(self._config), *words]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "MSL_NETWORK_HOME": str(self._folder)}

    def start(self) -> float:
        """Start it, and wait until it listens.

        Returns:
            How long that took, in seconds.

        Raises:
            ManagerError: If it does not.
        """
        begin = time.monotonic()
        self._state_file.unlink(missing_ok=True)
        size = self._log.stat().st_size if self._log.exists() else 0
        with (self._folder / "manager.out").open("ab") as output:
            self._process = subprocess.Popen(
                self._command("start"),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        while not (self._state_file.exists() and RUNNING in self._read_log(size)):
            if self._process.poll() is not None:
                raise ManagerError(f"the Manager ended with status {self._process.returncode} instead of starting")
            if time.monotonic() > begin + START:
                raise ManagerError(f"the Manager does not listen within {START:.0f} s")
            time.sleep(0.02)
        return time.monotonic() - begin

    @property
    def status(self) -> int | None:
        """The status with which it has ended; None if it runs, or was never started."""
        return None if self._process is None else self._process.poll()

    @property
    def has_ended(self) -> bool:
        """Whether it was started, and has ended."""
        return self.status is not None

    def kill(self) -> None:
        """End it without a word, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._finish()

    def terminate(self) -> float:
        """Ask it to end, and wait for that.

        Returns:
            How long that took, in seconds.

        Raises:
            ManagerError: If it takes too long, or ends with an error.
        """
        assert self._process is not None
        self._process.terminate()
        return self._wait_for_end("SIGTERM")

    def shut_down(self) -> float:
        """Ask it to end as an administrator does, and wait for that.

        Returns:
            How long that took, in seconds.

        Raises:
            ManagerError: If it takes too long, or ends with an error.
        """
        try:
            with connect(**{**self.access.keywords(), **self.administrator}) as client:
                client.admin_request("shutdown_manager", timeout=START)
        except NetworkError as error:
            self.kill()
            raise ManagerError(f"the Manager cannot be shut down by an administrator: {error}") from None
        return self._wait_for_end("shutdown_manager")

    def _wait_for_end(self, what: str) -> float:
        assert self._process is not None
        begin = time.monotonic()
        try:
            status = self._process.wait(END)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ManagerError(f"the Manager did not end within {END:.0f} s of {what}") from None
        self._finish()
        if status != 0:
            raise ManagerError(f"after {what} the Manager ended with status {status}, not 0")
        return time.monotonic() - begin

    def lock_database(self) -> sqlite3.Connection | None:
        """Lock its database, as another program would; closing what is returned unlocks it.

        Returns:
            The connection; None if the Manager holds a lock itself for too long.
        """
        connection = sqlite3.connect(self._folder / DATABASE, timeout=1, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            connection.close()
            return None
        return connection

    def _finish(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.wait()
        self._process.stdin.close()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def memory(self) -> int:
        """Return how much memory it has now, in bytes; 0 if it has ended."""
        try:
            pages = int(Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Return how many files and sockets it has open; 0 if it has ended."""
        try:
            return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))
        except OSError:
            return 0

    def look(self) -> State:
        """Ask it how it is.

        Raises:
            ManagerError: If it does not answer.
        """
        before = self._state()
        self.signal(signal.SIGUSR1)
        deadline = time.monotonic() + LOOK
        while (state := self._state())["number"] <= before["number"]:
            if time.monotonic() > deadline:
                raise ManagerError(f"the Manager does not tell how it is within {LOOK:.0f} s")
            time.sleep(0.02)
        del state["number"]
        return State(**state, memory=self.memory(), descriptors=self.descriptors())

    def new_lines(self) -> list[str]:
        """Return what it has written into its log since the last time."""
        text = self._read_log(self._log_offset)
        self._log_offset += len(text)
        return text.decode("utf-8", "replace").splitlines()

    def problems_of_database(self) -> list[str]:
        """Return what is wrong with its database; it must have ended."""
        with closing(sqlite3.connect(self._folder / DATABASE)) as database:
            problems = [row[0] for row in database.execute("PRAGMA integrity_check")]
            (records,) = database.execute("SELECT COUNT(*) FROM connections").fetchone()
        if not records:
            problems.append("it has no record of any connection")
        return [problem for problem in problems if problem != "ok"]

    def _read_log(self, offset: int) -> bytes:
        with self._log.open("rb") as log:
            log.seek(offset)
            return log.read()

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
        return state


def free_port() -> int:
    """Return a port that nobody listens on, of those that the system gives to no client: it would talk to itself."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = random.randrange(10_000, max(lowest, 10_001))
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
