"""A program ends when it is told to, whatever hangs in it. Each test runs a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import Config, Manager
from msl_network.ending import Ending

from .laboratory import DEADLINE, Script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 8.0
"""The Manager has 5 s to end; the test machine may be slow."""

FORCED = "so the process is ended; still at work: "

PLUGIN = """
import os, socket, threading, time
import anyio
from anyio import to_thread
from msl_network import Command, hookimpl

class Stuck:
    @hookimpl
    async def started(self, manager):
        self.manager = manager
        socket.getfqdn = lambda ip_address: time.sleep(60)

    @hookimpl
    async def stopping(self, manager):
        if os.environ["STOPPING"] == "waits":
            await anyio.sleep_forever()
        if os.environ["STOPPING"] == "blocks":
            time.sleep(60)

    @hookimpl
    def commands(self):
        functions = [self.block, self.abandon, self.resolve]
        return [Command(name=f.__name__, function=f, administrator=False) for f in functions]

    async def block(self, peer):
        await to_thread.run_sync(self.hang)

    async def abandon(self, peer):
        await to_thread.run_sync(self.hang, abandon_on_cancel=True)

    def hang(self):
        threading.Event().wait()

    async def resolve(self, peer):
        return await self.manager._resolver.lookup("192.0.2.7")
"""

SETTINGS = """
[manager]
host = "127.0.0.1"
port = 0
auth = ["login"]
plugins = ["stuck"]
log_file = "x.log"
[plugins.stuck]
use = "labstuck:Stuck"
"""


class Talker:
    """A peer with TLS."""

    def __init__(self, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
        self._stream = self.sock.makefile("rw", newline="\n")

    def read(self) -> Any:
        return json.loads(self._stream.readline())

    def send(self, **message: Any) -> None:
        self._stream.write(json.dumps({"error": False, **message}) + "\r\n")
        self._stream.flush()

    def ask(self, attribute: str, uid: str = "1") -> None:
        self.send(service="Manager", attribute=attribute, args=[], kwargs={}, uid=uid)

    def log_in(self) -> None:
        """Send name and password; the Manager has not answered yet."""
        assert self.read()["attribute"] == "username"
        self.send(result="ada")
        assert self.read()["attribute"] == "password"
        self.send(result="lovelace")

    def join(self, kind: str, name: str) -> None:
        self.log_in()
        assert self.read()["attribute"] == "identity"
        self.send(result={"type": kind, "name": name, "attributes": {}})
        if kind == "client":
            self.ask("identity")
            assert self.read()["uid"] == "1"

    def stop_reading(self) -> None:
        """Have the Manager send more than the system takes."""
        for _ in range(300):
            self.ask("identity", uid="x" * 30_000)

    def close(self) -> None:
        self.sock.close()


class Lab:
    """A Manager in a process of its own, with users and a plugin that hangs on demand."""

    def __init__(self, folder: Path, stopping: str) -> None:
        (folder / "labstuck.py").write_text(PLUGIN)
        (folder / "lab.toml").write_text(SETTINGS)
        self.log = folder / "x.log"
        self.database = folder / "home" / "manager.sqlite3"
        environment = {**os.environ, "STOPPING": stopping}
        # its end by force would lose what measures coverage, and say so
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
        add = [sys.executable, "-m", "msl_network", "user", "add", "ada", "-p", "lovelace", "-a"]
        subprocess.run(add, check=True, capture_output=True)
        command = [sys.executable, "-m", "msl_network", "start", "--config", "lab.toml"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"Network Manager running on \S+:(\d+)", line):
                self.port = int(found[1])
                break

    @contextmanager
    def peer(self) -> Iterator[Talker]:
        with closing(Talker(self.port)) as peer:
            yield peer

    def ends(self, start: float) -> None:
        """Wait until the process has ended, in time and with status 0."""
        assert self.process.wait(30) == 0
        assert time.monotonic() - start < SECONDS

    def records(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return dict(connection.execute("SELECT message, COUNT(*) FROM connections GROUP BY message"))


@pytest.fixture
def stopping() -> str:
    return "waits"


@pytest.fixture
def lab(tmp_path: Path, stopping: str) -> Iterator[Lab]:
    lab = Lab(tmp_path, stopping)
    yield lab
    lab.process.kill()
    lab.process.communicate()


def crowd(lab: Lab, stack: ExitStack) -> list[Talker]:
    """Connect all those that take their time: who does not read, does not finish the handshake, waits for a key."""
    peers = [stack.enter_context(lab.peer()) for _ in range(3)]
    for peer, kind in zip(peers, ("client", "service", "client"), strict=True):
        peer.join(kind, f"{kind} of a test")
    peers[0].ask("resolve")
    assert peers[0].read()["result"] == "192.0.2.7"  # a look-up hangs for a minute from now on
    peers[2].stop_reading()
    for _ in range(20):  # they say nothing, in the middle of TLS
        stack.enter_context(closing(socket.create_connection(("127.0.0.1", lab.port))))
    for _ in range(6):
        stack.enter_context(lab.peer()).log_in()
    return peers


def test_it_ends_in_order(lab: Lab) -> None:
    """26. Peers that do not read, handshakes, a look-up and a plugin that hang: over in 5 s, and recorded."""
    with ExitStack() as stack:
        crowd(lab, stack)
        start = time.monotonic()
        lab.process.send_signal(signal.SIGTERM)
        lab.ends(start)
    text = lab.log.read_text()
    assert "stopping, because of SIGTERM" in text
    assert FORCED not in text
    assert "Traceback" not in text
    records = lab.records()
    assert (records["connected as a client"], records["connected as a service"]) == (2, 1)
    assert records["disconnected"] >= 3


@pytest.mark.parametrize("stopping", ["blocks"])
def test_it_ends_by_force(lab: Lab) -> None:
    """26. With a plugin that blocks, a locked database, and a full stderr as well, status and time are the same."""
    with ExitStack() as stack:
        peers = crowd(lab, stack)
        for _ in range(400):  # three lines each, more than a pipe holds
            socket.create_connection(("127.0.0.1", lab.port)).close()
        peers[0].ask("block")
        other = stack.enter_context(closing(sqlite3.connect(lab.database, isolation_level=None)))
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            lab.process.send_signal(number)
        while lab.process.poll() is None and time.monotonic() - start < SECONDS:
            with suppress(subprocess.TimeoutExpired):
                lab.process.wait(0.05)
            lab.process.send_signal(signal.SIGTERM)  # Popen does nothing if it has ended
        lab.ends(start)
    text = lab.log.read_text()
    assert text.count("stopping, because of SIGINT") == 1
    assert text.count("stopping, because of") == 1
    assert text.count(FORCED) == 1
    assert "in hang (" in text.partition(FORCED)[2]
    assert text.count("connection records cannot be written") == 1
    assert "Traceback" not in text
    lab.records()


def test_administrator_ends_it(lab: Lab) -> None:
    """26. An administrator's request ends it the same way, also when a thread that was given up goes on."""
    with ExitStack() as stack:
        peers = crowd(lab, stack)
        peers[0].ask("abandon")
        boss = stack.enter_context(lab.peer())
        boss.join("client", "boss")
        start = time.monotonic()
        boss.ask("shutdown_manager")
        lab.ends(start)
    assert lab.log.read_text().count(FORCED) == 1
    assert lab.records()["disconnected"] >= 4


def test_signal_while_it_starts(lab: Lab, tmp_path: Path) -> None:
    """A signal that comes before the Manager is ready ends it as soon as it is."""
    (tmp_path / "labstuck.py").write_text(
        "import time\nfrom msl_network import hookimpl\nclass Stuck:\n    @hookimpl\n"
        "    async def started(self, manager):\n        print('starts', flush=True)\n        time.sleep(1)\n"
    )
    command = [sys.executable, "-m", "msl_network", "start", "--config", "lab.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starts\n"
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert errors.rstrip().endswith("Network Manager stopped")


def test_script_is_not_ended_by_force() -> None:
    """`run_forever` ends nobody's script; but when its time is over, signals do again what they do elsewhere."""
    program = """
import threading
from anyio import to_thread
from msl_network import Config, hookimpl, run_forever

class Stuck:
    @hookimpl
    async def started(self, manager):
        print("up", flush=True)
    @hookimpl
    async def stopping(self, manager):
        print("stopping", flush=True)
        await to_thread.run_sync(threading.Event().wait)

settings = {"host": "127.0.0.1", "port": 0, "tls": {"enabled": False}, "limits": {"shutdown_timeout": "0.1 s"}}
run_forever(config=Config.from_dict({"manager": settings}), plugins=[Stuck()])
"""
    with Script(program) as script:
        assert script.line() == "up"
        script.send_signal(signal.SIGTERM)
        assert script.line() == "stopping"
        start = time.monotonic()
        while script.is_running(0.05):
            script.send_signal(signal.SIGTERM)
            assert time.monotonic() - start < 30
        assert script.end()[0] == -signal.SIGTERM
        assert time.monotonic() - start > 1


def test_signals_are_given_back() -> None:
    """After `run_forever`, a script has its own signal handlers again, and goes on."""
    program = """
import signal
from msl_network import Config, hookimpl, run_forever

class Up:
    @hookimpl
    async def started(self, manager):
        print("up", flush=True)

def mine(number, frame):
    print("mine", flush=True)

signal.signal(signal.SIGTERM, mine)
settings = {"host": "127.0.0.1", "port": 0, "tls": {"enabled": False}}
run_forever(config=Config.from_dict({"manager": settings}), plugins=[Up()])
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
signal.raise_signal(signal.SIGTERM)
"""
    with Script(program) as script:
        assert script.line() == "up"
        script.interrupt()
        assert script.line() == "mine"
        assert script.end()[0] == 0


def test_without_room_for_a_clock() -> None:
    """26. Where the system has no room for another thread, the Manager ends all the same when it is told to."""
    program = """
import threading
from msl_network import Config, Manager, hookimpl, run_forever

class Up:
    @hookimpl
    async def started(self, manager):
        start = threading.Thread.start
        def none(thread):
            if isinstance(thread, threading.Timer):
                raise RuntimeError("can't start new thread")
            start(thread)
        threading.Thread.start = none
        print("up", flush=True)

settings = {"host": "127.0.0.1", "port": 0, "tls": {"enabled": False}}
run_forever(config=Config.from_dict({"manager": settings}), plugins=[Up()])
"""
    with Script(program) as script:
        assert script.line() == "up"
        script.send_signal(signal.SIGTERM)
        status, _, errors = script.end()
        assert status == 0
        assert "there is no clock: can't start new thread" in errors
        assert errors.rstrip().endswith("Network Manager stopped")


def test_the_clock_of_reloaded_settings() -> None:
    """The time in which all ends is that of the settings when the Manager is told to stop."""
    manager = Manager(Config.from_dict({"manager": {"limits": {"shutdown_timeout": "2 s"}}}))
    with Ending(manager, is_program=False, last_act=lambda: None) as ending:
        manager.config = Config.from_dict({"manager": {"limits": {"shutdown_timeout": "70 s"}}})
        ending._start_clock()
        assert 70 < ending._clock.interval < 73
