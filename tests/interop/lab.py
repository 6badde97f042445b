"""A laboratory on one computer: a Manager, and Services and Clients, each a process of its own.

Each of the three is ours or theirs, that of ``msl-network`` 1.0.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

T = TypeVar("T")

PEERS = Path(__file__).parent / "peers"
MODULES = {"ours": "msl_network", "theirs": "msl.network.cli"}
"""What is run as the command ``msl-network``."""

PACKAGES = {"ours": "msl_network", "theirs": "msl.network"}
"""What a script imports."""

EXAMPLES = {"ours": "msl_network.examples", "theirs": "msl.examples.network"}
"""Where a script finds the Services of the documentation."""

RUNNING = "Network Manager running on"
"""What a Manager writes when it is ready; scripts of 1.0 that start one through SSH wait for it."""

HOSTNAME = socket.gethostname()
DEADLINE = 20.0
"""Seconds after which something that was waited for is taken to never happen."""

laboratories: list[Lab] = []
"""Those that are open, for the report of a test that fails."""


class PeerError(Exception):
    """An exception that a cell raised in a Client: ``<built-in class>: <text>``."""


def chosen(variable: str, default: str) -> str:
    """Whose part it is: what a variable of the environment says, else the default.

    Args:
        variable: The name of the variable.
        default: ``"ours"`` or ``"theirs"``.
    """
    name = os.environ.get(variable, default)
    if name not in PACKAGES:
        raise pytest.UsageError(f"{variable} must be one of {', '.join(PACKAGES)}, and not {name!r}")
    return name


class Process:
    """A process whose output is collected while it runs.

    Args:
        label: What to call it in a report.
        command: The program and its arguments.
        home: The folder it keeps its files in, as ``MSL_NETWORK_HOME``, and runs in.
        merge: Whether what it writes to the standard error belongs to the output that is read.
    """

    def __init__(self, label: str, command: Sequence[str], *, home: Path, merge: bool = False) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.label = label
        self.home = home
        self.errors: list[str] = []
        self._lines: list[str] = []
        self._transcript: list[str] = []
        self._read = 0
        self._ended = False
        self._news = threading.Condition()
        environment = os.environ | {
            "MSL_NETWORK_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=environment,
            cwd=home,  # and not the checkout, which would be imported in place of what is installed
        )
        self._threads = [threading.Thread(target=self._collect_output, daemon=True)]
        if not merge:
            self._threads.append(threading.Thread(target=self._collect_errors, daemon=True))
        for thread in self._threads:
            thread.start()

    def _collect_output(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\r\n"))
                    self._transcript.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _collect_errors(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as stream:
            for line in stream:
                self.errors.append(line)
                self._transcript.append(line)

    @property
    def transcript(self) -> str:
        """All that it has written, for a report."""
        return "".join(self._transcript)

    def write(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()

    def read(self, pattern: str = "") -> str:
        """Waits for a line of output and takes it and all before it.

        Args:
            pattern: A regular expression that the line must match somewhere.

        Returns:
            The line.

        Raises:
            EOFError: The process closed its output before.
            TimeoutError: It did not write such a line in time.
        """
        until = time.monotonic() + DEADLINE
        with self._news:
            while True:
                while self._read < len(self._lines):
                    line = self._lines[self._read]
                    self._read += 1
                    if re.search(pattern, line):
                        return line
                if self._ended:
                    raise EOFError(f"{self.label} ended without a line {pattern!r}:\n{self.transcript}")
                if not self._news.wait(until - time.monotonic()):
                    raise TimeoutError(f"{self.label} wrote no line {pattern!r}:\n{self.transcript}")

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def terminate(self) -> None:
        """Asks it to end: SIGTERM."""
        self._popen.terminate()

    def interrupt(self) -> None:
        """Does what Ctrl+C does: SIGINT."""
        self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once, without a farewell."""
        self._popen.kill()

    def freeze(self) -> None:
        """Has it do nothing any more, with its connections open: SIGSTOP."""
        self._popen.send_signal(signal.SIGSTOP)

    def wait(self) -> int:
        """Waits for its end and the end of its output.

        Returns:
            The exit status.
        """
        status = self._popen.wait(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)
        return status

    def close(self) -> None:
        """Ends it in any case and frees what it took."""
        self.kill()
        assert self._popen.stdin is not None
        with suppress(OSError):  # what was not read any more does not matter
            self._popen.stdin.close()
        self.wait()


class Manager(Process):
    """A Manager, ours or that of 1.0.

    Args:
        label: What to call it in a report.
        command: The program and its arguments.
        home: The folder it keeps its files in.
        gentle: Whether it obeys SIGTERM.
    """

    def __init__(self, label: str, command: Sequence[str], *, home: Path, gentle: bool) -> None:
        super().__init__(label, command, home=home, merge=True)
        self._gentle = gentle

    def close(self) -> None:
        """Asks it to end if it listens to that, and else ends it."""
        if self._gentle and self.is_running():
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(5)
        super().close()


class Client(Process):
    """A Client in another process, ``cxn`` in the cells that it runs."""

    def submit(self, cell: str) -> None:
        """Starts a cell without waiting for it; ``result`` gets its value."""
        self.write(json.dumps(cell))

    def result(self) -> Any:
        """Waits for the cell that was submitted first and was not waited for yet.

        Returns:
            The value of its last line.

        Raises:
            PeerError: The cell raised an exception.
        """
        answer = json.loads(self.read())
        if "raised" in answer:
            raise PeerError(f"{answer['raised']}: {answer['text']}")
        return answer["result"]

    def run(self, cell: str) -> Any:
        """Runs a cell and returns the value of its last line."""
        self.submit(cell)
        return self.result()

    @property
    def network_name(self) -> str:
        """What the Manager calls it, as the Client sees it."""
        return f"{self.run('cxn.name')}[{HOSTNAME}:{self.run('cxn.port')}]"


class Lab:
    """One Manager and its peers; as a context manager it ends all of them.

    Args:
        folder: An empty folder for the files of this laboratory.
        implementation: Whose Manager: ``"ours"`` or ``"theirs"``, that of 1.0.
        home: The Manager's home folder if it is there already.
        clients: Whose Clients; those of 1.0 if ``MSL_NETWORK_INTEROP_CLIENTS`` does not say ``ours``.
        services: Whose Services; those of 1.0 if ``MSL_NETWORK_INTEROP_SERVICES`` does not say ``ours``.
    """

    def __init__(
        self,
        folder: Path,
        implementation: str,
        *,
        home: Path | None = None,
        clients: str | None = None,
        services: str | None = None,
    ) -> None:
        self.implementation = implementation
        self.clients = clients or chosen("MSL_NETWORK_INTEROP_CLIENTS", "theirs")
        self.services = services or chosen("MSL_NETWORK_INTEROP_SERVICES", "theirs")
        self.folder = folder
        self.home = home or folder / "manager"
        self.port = free_port()
        self.keywords: dict[str, Any] = {"host": "localhost", "port": self.port, "auto_save": True}
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        laboratories.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        laboratories.remove(self)
        with ExitStack() as stack:  # all of them, whatever happens; the Manager, that came first, as the last
            for process in self.processes:
                stack.callback(process.close)

    def cli(self, *arguments: str) -> str:
        """Runs a command of the Manager's command line to its end.

        Args:
            *arguments: The command, for example ``"user", "list"``.

        Returns:
            Its output.
        """
        command = [sys.executable, "-m", MODULES[self.implementation], *arguments]
        with closing(Process(" ".join(arguments), command, home=self.home, merge=True)) as process:
            status = process.wait()
        assert status == 0, process.transcript
        return process.transcript

    def add_user(self, name: str, password: str, *, admin: bool = False) -> None:
        """Adds a user from the command line."""
        self.cli("user", "insert", name, "--password", *password.split(), *(["--admin"] if admin else []))

    def start(self, auth: Sequence[str] = (), *, password: str = "", tls: bool = True) -> Manager:
        """Starts the Manager: ours with a configuration file, that of 1.0 with flags.

        Args:
            auth: How peers authenticate.
            password: The Manager's password, for ``auth = ["password"]``.
            tls: Whether connections are encrypted.

        Returns:
            The process, which accepts connections.
        """
        self.keywords["disable_tls"] = not tls
        if self.implementation == "theirs":
            flags = [] if tls else ["--disable-tls"]
            flags += [f"--auth-{method}" for method in auth]
            return self.start_with("-H", "127.0.0.1", *flags, *password.split())
        # A JSON text or list of texts is one in TOML as well.
        file = self.folder / "lab.toml"
        file.write_text(
            f'[manager]\nhost = "127.0.0.1"\nport = {self.port}\nauth = {json.dumps(list(auth))}\n'
            + ("" if tls else "[manager.tls]\nenabled = false\n")
            + (f"[plugins.password]\npassword = {json.dumps(password)}\n" if password else ""),
            encoding="utf-8",
        )
        return self._start("--config", str(file))

    def start_with(self, *flags: str) -> Manager:
        """Starts the Manager with the flags of 1.0.

        Args:
            *flags: Those of ``start``, but for the port.

        Returns:
            The process, which accepts connections.
        """
        return self._start("-p", str(self.port), *flags)

    def _start(self, *flags: str) -> Manager:
        command = [sys.executable, "-m", MODULES[self.implementation], "start", *flags]
        gentle = self.implementation == "ours"
        manager = Manager("the Manager: start " + " ".join(flags), command, home=self.home, gentle=gentle)
        self.processes.append(manager)
        manager.read(RUNNING)
        eventually(self._is_listening)
        return manager

    def _is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _peer_home(self, name: str) -> Path:
        """A new folder for a peer, as if on another computer: it knows no certificate yet."""
        return self.folder / f"{name} {len(self.processes)}"

    def instruments(
        self, *names: str, ready: bool = True, max_clients: int = -1, services: str = "", **keywords: Any
    ) -> Process:
        """Starts a process with Services.

        Args:
            *names: The names of the Services.
            ready: Whether to wait until the Manager has accepted all of them.
            max_clients: How many Clients each of them lets in.
            services: Whose Services; those of the laboratory by default.
            **keywords: For ``Service.start``, beside or instead of those of the laboratory.

        Returns:
            The process. The line with the status of its Services was read, if they are ready.
        """
        what = json.dumps([{"name": name, "max_clients": max_clients} for name in names])
        how = json.dumps(self.keywords | keywords)
        package = PACKAGES[services or self.services]
        command = [sys.executable, str(PEERS / "instruments.py"), package, what, how]
        process = Process(f"the Services {', '.join(names)}", command, home=self._peer_home(names[0]))
        self.processes.append(process)
        if ready:
            assert json.loads(process.read()) == dict.fromkeys(names, "ready")
        return process

    def notebook(self, home: Path | None = None, *, clients: str = "", **keywords: Any) -> Client:
        """Starts a process that runs cells of Python for a Client and is not connected yet.

        Args:
            home: The Client's home folder; a new one by default.
            clients: Whose Client; that of the laboratory by default.
            **keywords: For ``connect``, beside or instead of those of the laboratory.

        Returns:
            The process.
        """
        how = json.dumps(self.keywords | keywords)
        home = home or self._peer_home("notebook")
        command = [sys.executable, str(PEERS / "cells.py"), PACKAGES[clients or self.clients], how]
        client = Client(f"notebook {how}", command, home=home)
        self.processes.append(client)
        return client

    def client(self, name: str = "Client", home: Path | None = None, **keywords: Any) -> Client:
        """Starts a Client and connects it; the cells that it runs know it as ``cxn``.

        Args:
            name: Its name.
            home: The Client's home folder; a new one by default.
            **keywords: For ``connect``, beside or instead of those of the laboratory, and ``clients``.

        Returns:
            The process.
        """
        client = self.notebook(home, name=name, **keywords)
        client.label = f"the Client {name}"
        client.run("cxn = connect(**kwargs)")
        return client

    def script(self, name: str, text: str, package: str, *, home: Path | None = None) -> Process:
        """Starts a script that was written for 1.0.

        Args:
            name: The name of the file.
            text: What is in it; ``1875`` is replaced by the port of this laboratory.
            package: ``"theirs"``: it is run as it is. ``"ours"``: with the names of our packages.
            home: Its home folder; by default the Manager's, as on the same computer.

        Returns:
            The process.
        """
        for packages in (EXAMPLES, PACKAGES):
            text = text.replace(packages["theirs"], packages[package])
        file = self.folder / name
        file.write_text(text.replace("1875", str(self.port)), encoding="utf-8")
        process = Process(name, [sys.executable, str(file)], home=home or self.home, merge=True)
        self.processes.append(process)
        return process

    def end(self, process: Process) -> None:
        """Ends one process before the laboratory is closed."""
        self.processes.remove(process)
        process.close()


def eventually(check: Callable[[], T]) -> T:
    """Waits for something that nobody tells.

    Args:
        check: Called again and again.

    Returns:
        The first value of ``check`` that is true.
    """
    until = time.monotonic() + DEADLINE
    while True:
        if value := check():
            return value
        if time.monotonic() > until:
            raise TimeoutError(f"not seen within {DEADLINE} s: the last value was {value!r}")
        time.sleep(0.01)
