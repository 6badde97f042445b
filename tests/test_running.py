from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import paths, running
from msl_network.config import Config
from msl_network.errors import AuthenticationError, ListenError, PluginError, StartError
from msl_network.hookspecs import hookimpl
from msl_network.manager import Manager
from msl_network.running import (
    event_loop,
    first_of,
    keep_memory,
    printable,
    raise_descriptor_limit,
    run,
    set_up_logging,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

PLAIN = {"host": "127.0.0.1", "port": 0, "without": ["login", "hostname"], "tls": {"enabled": False}}


def settings(**manager: Any) -> Config:
    return Config.from_dict({"manager": {**PLAIN, **manager}})


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """The loggers are as before after each test; what a test leaves behind fails it."""
    logger = logging.getLogger("msl_network")
    level, handlers = logger.level, list(logging.getLogger().handlers)
    yield
    left = [handler for handler in logging.getLogger().handlers if handler not in handlers]
    for handler in left:
        logging.getLogger().removeHandler(handler)
        handler.close()
    logger.setLevel(level)
    assert not left


class Log:
    """The log file of what is set up with the default format."""

    def __init__(self, path: Path, handlers: Sequence[logging.Handler]) -> None:
        self.path = path
        self._handlers = handlers

    def text(self) -> str:
        """Return what was logged so far."""
        self._handlers[0].flush()
        return self.path.read_text()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    path = tmp_path / "test.log"
    handlers = set_up_logging(Config(log_file=str(path)))
    yield Log(path, handlers)
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
        handler.close()


# The log


def test_log_file_is_private(log: Log) -> None:
    """Only its owner may read the log: addresses and names are nobody else's business."""
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert f"logging to {log.path}" in log.text()


def test_default_log_file_is_new(home: Path) -> None:
    """Without a setting each start makes a file of its own in the log folder."""
    manager = Manager(settings(), plugins=[Stops()])
    run(manager)
    (path,) = (home / "logs").iterdir()
    assert re.fullmatch(r"manager-\d{4}(-\d\d){5}\.log", path.name)
    assert "Network Manager running on" in path.read_text()


def test_log_file_is_appended_to(tmp_path: Path) -> None:
    """A log file that exists is not overwritten."""
    path = tmp_path / "my.log"
    path.write_text("before\n")
    run(Manager(settings(log_file=str(path)), plugins=[Stops()]))
    assert path.read_text().startswith("before\n")
    assert "Network Manager stopped" in path.read_text()


def test_another_home_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a Manager of 1.0 keeps files elsewhere, the log says where, and which ones are used."""
    path, other = tmp_path / "manager.log", tmp_path / ".msl" / "network"
    monkeypatch.setattr(paths, "unused_home", lambda: other)
    run(Manager(settings(log_file=str(path)), plugins=[Stops()]))
    assert f"the files of a Manager are in {other}, too; used are those in {paths.home()}" in path.read_text()


@pytest.mark.parametrize(("name", "reason"), [("", "Is a directory"), ("no/such/x.log", "No such file or directory")])
def test_log_file_that_cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    """A log file that cannot be written is one line that names it, and nothing is started."""
    path = tmp_path / name
    with pytest.raises(StartError) as caught:
        run(Manager(settings(log_file=str(path))))
    assert str(caught.value) == f"cannot write the log file {str(path)!r}: {reason}"


def test_lines_of_a_peer_stay_one_line(log: Log) -> None:
    """What a peer sent can neither start a line of the log nor give a command to the terminal."""
    logging.getLogger("msl_network").info("name %s", "a\r\n2026 [INFO ] fake\x1b[2J\x07\u2028\u202e\x9b\ud800 ä")
    (line,) = log.text().splitlines()[1:]
    assert line.endswith(r"name a\r\n2026 [INFO ] fake\x1b[2J\x07\u2028\u202e\x9b\ud800 ä")


def test_traceback_of_a_peer_stays_indented(log: Log) -> None:
    """Each line of a traceback is marked, so that a text of a peer in it cannot pass for a record."""
    error = ValueError("a\n2026-01-01 00:00:00,000 [INFO ] msl_network - fake\x1b[2J")
    logging.getLogger("msl_network").error("failed", exc_info=error)
    logging.getLogger("msl_network").info("where", stack_info=True)
    text = log.text()
    assert "\x1b" not in text
    assert "    | 2026-01-01 00:00:00,000 [INFO ] msl_network - fake\\x1b[2J" in text
    records = [line for line in text.splitlines() if not line.startswith("    | ")]
    assert [line.rpartition(" - ")[2] for line in records[1:]] == ["failed", "where"]


def test_printable_keeps_what_people_write() -> None:
    """Letters of any language stay; whatever is not printable is escaped."""
    assert printable("Zürich 東京 'x' \\") == "Zürich 東京 'x' \\"
    assert printable("a\tb\nc\x00") == r"a\tb\nc\x00"


def test_level_is_that_of_the_settings(tmp_path: Path) -> None:
    """The level is set while the Manager runs, and put back after it."""
    logger = logging.getLogger("msl_network")
    before = logger.level
    seen = Stops(lambda manager: logger.level)
    run(Manager(settings(log_level="ERROR", log_file=str(tmp_path / "x.log")), plugins=[seen]))
    assert seen.result == logging.ERROR
    assert logger.level == before


# run


class Stops:
    """Does something when the Manager starts, and stops it."""

    def __init__(self, action: Callable[[Manager], object] = lambda manager: None) -> None:
        self.action = action
        self.result: object = None

    @hookimpl
    async def started(self, manager: Manager) -> None:
        self.result = self.action(manager)
        manager.stop()


def test_start_error_comes_out_as_it_is() -> None:
    """What keeps a Manager from starting is not wrapped by task groups."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} is in use"):
            run(Manager(settings(port=port)))


def test_start_error_is_in_the_log_file(tmp_path: Path) -> None:
    """Who finds the log file later reads there why the Manager did not start."""
    log = tmp_path / "why.log"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        section = {"host": "127.0.0.1", "port": port, "log_file": str(log), "tls": {"enabled": False}}
        with pytest.raises(ListenError):
            run(Manager(Config.from_dict({"manager": section})))
    assert f"[ERROR] msl_network - cannot listen on 127.0.0.1, port {port}" in log.read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tls": {"enabled": True, "cert_file": "no.crt"}}, r"no\.crt: the certificate cannot be read: "),
        ({"tls": {"enabled": True, "key_file": "no.key"}}, r"no\.key: there is no such file; "),
        ({"event_loop": "trio"}, r"^event_loop = 'trio': trio is not installed; "),
    ],
)
def test_mistake_in_the_settings_makes_no_log_file(
    wrong: dict[str, Any], said: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found before, so that nothing is logged, and there is no file and no folder."""
    monkeypatch.setattr(running, "find_spec", lambda name: None)
    for log_file in ({}, {"log_file": str(tmp_path / "x.log")}):
        with pytest.raises(StartError, match=said):
            run(Manager(settings(**wrong, **log_file)))
    assert not (tmp_path / "x.log").exists()
    assert not home.exists()


def test_error_that_nobody_expected_is_logged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the Manager itself ends it, and the log has the traceback."""

    async def serve(self: Manager, **_: object) -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(Manager, "serve", serve)
    with pytest.raises(ZeroDivisionError, match="bug"):
        run(Manager(settings()))
    (path,) = (home / "logs").iterdir()
    assert "stopped by an error that nobody expected" in path.read_text()
    assert "    | ZeroDivisionError: bug" in path.read_text().replace("    |     | ", "    | ")


def test_memory_is_kept_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library is asked to use large blocks again, unless somebody decided otherwise or it cannot."""
    asked: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, option: int, value: int) -> int:
            asked.append((option, value))
            return 1

    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert keep_memory()
    assert asked == [(-3, 32 * 2**20), (-1, 64 * 2**20)]
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert not keep_memory()
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_memory()


def test_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is uvloop where that is installed and nothing else is asked for; what is missing is said, with the remedy."""
    monkeypatch.setattr(running, "find_spec", lambda name: None)
    assert event_loop("auto") == event_loop("asyncio") == ("asyncio", {"use_uvloop": False})
    for name in ("uvloop", "trio"):
        with pytest.raises(StartError, match=rf"{name} is not installed; run pip install .*\[{name}\]"):
            event_loop(name)
    monkeypatch.setattr(running, "find_spec", lambda name: object())
    assert event_loop("auto") == event_loop("uvloop") == ("asyncio", {"use_uvloop": True})
    assert event_loop("asyncio") == ("asyncio", {"use_uvloop": False})
    assert event_loop("trio") == ("trio", {})


@pytest.mark.parametrize("name", ["asyncio", "uvloop", "trio"])
def test_manager_on_each_event_loop(name: str, home: Path) -> None:
    """The program runs on the event loop that is chosen."""

    class Look:
        @hookimpl
        async def started(self, manager: Manager) -> None:
            try:
                found.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
            except RuntimeError:
                found.append("trio")
            manager.stop()

    found: list[str] = []
    run(Manager(Config.from_dict({"manager": {"port": 0, "event_loop": name}}), plugins=[Look()]))
    assert found == [name]


def test_records_of_a_program(home: Path) -> None:
    """A program's records have what its lines show, and no more; lines are as before."""
    program = (
        "import logging; from msl_network import Config; from msl_network.running import *\n"
        "handlers = set_up_logging(Config())\n"
        "log_only_what_is_shown()\n"
        "seen = []; logging.getLogger().addFilter(seen.append)\n"
        "handlers[0].addFilter(lambda record: seen.append(record) or True)\n"
        "logging.getLogger('msl_network').info('%s', 'hello')\n"
        "print(seen[0].threadName, seen[0].process, seen[0].lineno); handlers[1].flush()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "None None 0\n"
    assert re.search(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[INFO \] msl_network - hello$", result.stderr, re.MULTILINE
    )


def test_first_of_nested_groups() -> None:
    """The first error counts, however deep task groups wrapped it."""
    error = PluginError("x", "y")
    group = BaseExceptionGroup("", [BaseExceptionGroup("", [error, ValueError()]), KeyError()])
    assert first_of(group) is error


def test_manager_in_another_thread_stops(home: Path) -> None:
    """A Manager runs in a thread that is not the main one, and `stop` from its own loop ends it."""
    threads: list[threading.Thread] = []
    seen = Stops(lambda manager: threads.append(threading.current_thread()))
    thread = threading.Thread(target=run, args=[Manager(settings(), plugins=[seen])])
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert threads == [thread]


class Everybody:
    """Makes an administrator of everybody, and tells the port."""

    def __init__(self) -> None:
        self.port = 0
        self.is_ready = threading.Event()

    @hookimpl
    async def started(self, manager: Manager) -> None:
        self.port = manager.port
        self.is_ready.set()

    @hookimpl
    async def authenticate_administrator(self) -> bool:
        return True


def test_administrator_stops_a_manager_in_another_thread() -> None:
    """An administrator ends a Manager in a thread that is not the main one; the connection is closed."""
    everybody = Everybody()
    thread = threading.Thread(target=run, args=[Manager(settings(), plugins=[everybody])])
    thread.start()
    assert everybody.is_ready.wait(20)
    with closing(Talker(everybody.port)) as administrator:
        administrator.join()
        administrator.send(service="Manager", attribute="shutdown_manager", args=[], kwargs={}, uid="1")
        assert administrator.stream.read() == ""
    thread.join(20)
    assert not thread.is_alive()


# Real processes


class Talker:
    """A peer that speaks the protocol on a socket."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.sock.makefile("rw", newline="\n")

    def send(self, **message: Any) -> None:
        self.stream.write(json.dumps({"error": False, **message}) + "\r\n")
        self.stream.flush()

    def join(self, kind: str = "client", name: str = "A") -> None:
        """Shake hands; a Client waits until it is known to the Manager."""
        assert json.loads(self.stream.readline())["attribute"] == "identity"
        attributes: dict[str, Any] = {"attributes": {}} if kind == "service" else {}
        self.send(result={"type": kind, "name": name, **attributes})
        if kind == "client":
            self.send(service="Manager", attribute="identity", args=[], kwargs={}, uid="0")
            assert json.loads(self.stream.readline())["uid"] == "0"

    def close(self) -> None:
        self.stream.close()
        self.sock.close()


def flood(sock: socket.socket, line: bytes) -> None:
    """Send until the buffers of both sides are full, or the Manager has given the peer up."""
    sock.settimeout(1)
    with suppress(TimeoutError, ConnectionError):
        while True:
            sock.sendall(line)


@contextmanager
def process(*flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a Manager without TLS; gives the process and the port."""
    command = [sys.executable, "-m", "msl_network", "start", "-H", "127.0.0.1", "-p", "0", "--disable-tls", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as manager:
        assert manager.stderr is not None
        try:
            lines = []
            for line in manager.stderr:
                lines.append(line)
                found = re.search(r"Network Manager running on \S+:(\d+) \(TLS DISABLED\)", line)
                if found:
                    break
            else:
                raise AssertionError("".join(lines))
            yield manager, int(found[1])
        finally:
            manager.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the Manager with status 0 in less than 5 s, whatever its peers do.

    One has not finished the handshake, one idles, one never reads what its own requests brought.
    """
    with process("--without", "login", "--without", "hostname") as (manager, port), ExitStack() as stack:
        peers = [stack.enter_context(closing(Talker(port))) for _ in range(4)]
        peers[1].join()
        peers[2].join("service", "Echo")
        peers[3].join()
        request = {"service": "Manager", "attribute": "identity", "args": [], "kwargs": {}, "uid": "x" * 30000}
        line = (json.dumps(request) + "\r\n").encode()
        flood(peers[3].sock, line)
        start = time.monotonic()
        manager.send_signal(number)
        _, errors = manager.communicate(timeout=20)
        assert manager.returncode == 0
        assert time.monotonic() - start < 5
        assert f"stopping, because of {number.name}" in errors
        assert "Traceback" not in errors
        assert errors.rstrip().endswith("Network Manager stopped")


def test_stderr_that_nobody_reads(home: Path) -> None:
    """26. A terminal that takes no more holds up nobody: peers are served, the file has all, the end is clean."""
    with process("--without", "login", "--without", "hostname") as (manager, port):
        for number in range(400):  # three lines each, twice of what a pipe holds
            with closing(Talker(port)) as peer:
                peer.join(name=f"C{number}")
        manager.terminate()
        assert manager.wait(20) == 0
    (path,) = (home / "logs").iterdir()
    text = path.read_text()
    assert text.count("is connected as a client") == 400
    assert text.endswith("Network Manager stopped\n")


@pytest.mark.parametrize(("soft", "hard", "said"), [(64, 300, "too few for 1000 peers"), (64, 1200, "may have 1200")])
def test_as_many_connections_as_the_system_allows(soft: int, hard: int, said: str, home: Path) -> None:
    """22. The process allows itself as many open files as it may have, and says whether they are enough."""
    limits = f"ulimit -Sn {soft} && ulimit -Hn {hard} && "
    start = f"exec {sys.executable} -m msl_network start -H 127.0.0.1 -p 0 --disable-tls"
    with subprocess.Popen(["bash", "-c", limits + start], stderr=subprocess.PIPE, text=True) as manager:
        assert manager.stderr is not None
        lines = [manager.stderr.readline() for _ in range(2)]
        while "running on" not in manager.stderr.readline():  # from then on it ends when it is told to
            assert manager.poll() is None
        assert resource.prlimit(manager.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        manager.terminate()
        manager.communicate(timeout=20)
        assert manager.returncode == 0
    assert said in lines[1]


def test_limit_of_macos(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An infinite limit that the system does not accept is replaced by the largest that it does; none is lowered."""
    limit = [256, resource.RLIM_INFINITY]

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] == resource.RLIM_INFINITY:
            raise ValueError("current limit exceeds maximum limit")
        limit[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    caplog.set_level(logging.INFO)
    raise_descriptor_limit()
    assert limit[0] == 10_240
    limit[0] = 50_000
    raise_descriptor_limit()
    assert limit[0] == 50_000
    assert [record.getMessage() for record in caplog.records] == [
        "this process may have 10240 open files",
        "this process may have 50000 open files",
    ]


def test_limit_that_cannot_be_raised(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A system that allows no change, or has no limits, is no reason not to start."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit()
    assert "may have 256 open files, which are too few for 1000 peers" in caplog.text
    caplog.clear()
    monkeypatch.setitem(sys.modules, "resource", None)
    raise_descriptor_limit()
    assert caplog.text == ""


def test_library_leaves_the_limit_alone() -> None:
    """A Manager in a program of somebody's own changes no limit of that program."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = (before[0] - 1, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, lower)
    try:
        run(Manager(settings(), plugins=[Stops()]))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == lower
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_log_of_a_process_is_private(home: Path) -> None:
    """Also with a generous umask, log and folder are their owner's alone."""
    before = os.umask(0)
    try:
        with process() as (manager, _):
            manager.terminate()
            manager.communicate(timeout=20)
    finally:
        os.umask(before)
    (path,) = (home / "logs").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_refused_peer_cannot_forge_the_log(log: Log) -> None:
    """The text of a refusal, in which a peer may have a word, is one line of the log."""
    logging.getLogger("msl_network").info("%s", AuthenticationError("'\n\x1b]0;x' is not known"))
    assert log.text().splitlines()[-1].endswith(r"'\n\x1b]0;x' is not known")
