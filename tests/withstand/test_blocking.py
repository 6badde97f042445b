"""Blocking: nothing that takes time keeps the Manager from serving, and what fails is made good."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from tests.interop.lab import eventually
from tests.laboratory import HERE
from tests.wire_peer import WirePeer

from . import network
from . import program as blocking
from .network import cable
from .program import Caller, Program, add_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def heartbeat(user: Caller) -> Iterator[list[float]]:
    """Make round trips from a Client to the Manager and back all the time; gives how long each took, in seconds."""
    took: list[float] = []
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.is_set():
            start = time.monotonic()
            assert user.manager("unlink", "Nobody") is True
            took.append(time.monotonic() - start)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield took
    finally:
        is_over.set()
        thread.join()


# 20: key derivation, databases


def log_in(peer: Caller, username: str, password: str) -> None:
    """Answer the questions for a user; the Manager then asks for the identity."""
    assert peer.read()["attribute"] == "username"
    peer.send(result=username)
    assert peer.read()["attribute"] == "password"
    peer.send(result=password)


def test_logins_hold_up_nobody(home: Path, start: Callable[..., Program]) -> None:
    """20. While many log in at once, and a key takes a core for a while, those who are connected are served."""
    add_users(home, ada="secret")
    program = start(auth=("login",))
    with ExitStack() as stack:
        user = stack.enter_context(blocking.connected(program.port))
        log_in(user, "ada", "secret")
        user.join()
        others = [stack.enter_context(blocking.connected(program.port)) for _ in range(2)]
        with heartbeat(user) as took:
            for other in others:
                log_in(other, "ada", "secret")
            for other in others:
                assert other.read()["attribute"] == "identity"
    assert len(took) > 20
    assert max(took) < 1


def test_name_server_that_is_silent(home: Path) -> None:
    """20. Where no name server answers, a peer of another computer is asked at once, and let in a moment later."""
    with cable() as between, ExitStack() as stack:

        def connect(computer: str = "") -> Caller:
            caller = Caller(between.connect(program.port, computer))
            stack.callback(caller.close)
            return caller

        program = Program(home, host=network.MANAGER, within=between.within, allow_anonymous=True)
        stack.callback(program.close)
        user = connect(between.manager)
        user.join()
        with heartbeat(user) as took:
            began = time.monotonic()
            far = connect()
            assert far.read()["attribute"] == "identity"
            asked = time.monotonic() - began
            far.send(result={"type": "client", "name": "Far"})
            names = far.manager("identity")["clients"]
            let_in = time.monotonic() - began
        assert f"Far[{network.PEERS}:{far.sock.getsockname()[1]}]" in names
        assert asked < 0.9  # a look-up takes 1 s at most, and this one does
        assert let_in < 3
        assert max(took) < 0.9


# 22: many Clients


def records(path: Path) -> list[tuple[int, str]]:
    """What the database tells: port and message of each record."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT port, message FROM connections ORDER BY pid").fetchall()


STORY = ["new connection request", "connected as a client", "disconnected"]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """What this process starts may have thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096 if hard == resource.RLIM_INFINITY else min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousand_clients(many_descriptors: None, home: Path, start: Callable[..., Program]) -> None:
    """22. 1000 Clients are connected at a time, each links, calls and leaves, and all of it is in the records."""
    program = start()
    ports: list[int] = []

    async def visit(number: int, doors: anyio.Semaphore, arrived: list[int], everybody: anyio.Event) -> None:
        async with doors:  # who is slow to answer makes room for others
            stream = await anyio.connect_tcp(HERE, program.port)
            user = WirePeer(stream)
            assert (await user.read())["attribute"] == "identity"
            await user.send(result={"type": "client", "name": f"C{number}"})
            assert (await user.manager("link", "Echo"))["language"] == "unknown"
        async with stream:
            arrived.append(number)
            if len(arrived) == 1000:
                everybody.set()
            await everybody.wait()
            await user.call("Echo", "echo", number)
            assert (await user.read())["result"] == number
            ports.append(stream.extra(anyio.abc.SocketAttribute.local_port))

    async def answer(echo: Caller) -> None:
        for _ in range(1000):
            request: dict[str, Any] = await anyio.to_thread.run_sync(echo.read)
            result = request["args"][0]
            echo.send(error=False, requester=request["requester"], result=result, uid=request["uid"])

    async def visits(echo: Caller) -> None:
        arrived: list[int] = []
        everybody = anyio.Event()
        doors = anyio.Semaphore(100)
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(answer, echo)
            for number in range(1000):
                task_group.start_soon(visit, number, doors, arrived, everybody)

    with blocking.service(program.port) as echo:
        anyio.run(visits, echo)
        with blocking.client(program.port) as user:
            eventually(lambda: len(user.manager("identity")["clients"]) == 1)
    program.terminate()
    assert program.wait() == 0
    stories: dict[int, list[str]] = {}
    for port, message in records(home / "manager.sqlite3"):
        stories.setdefault(port, []).append(message)
    assert len(ports) == 1000
    assert all(stories[port] == STORY for port in ports)
