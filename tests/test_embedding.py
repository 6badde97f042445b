"""Managers in the program of somebody else: leaving the block leaves nothing behind, however it is left."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from msl_network import (
    AsyncClient,
    Config,
    ConnectionLostError,
    Manager,
    MemoryHost,
    Service,
    StartError,
    cli,
    connect,
    hookimpl,
)
from msl_network.examples import Echo

from .laboratory import DEADLINE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio

POOLS = ("AnyIO worker thread", "Trio thread")
"""Threads of the event loop, which the whole program shares: it reuses them, and ends them."""

HERE = "127.0.0.1"

CERTIFICATES = {"home/keys/localhost.key", "home/certs/localhost.crt", "home/certs/127.0.0.1.crt"}
"""What is kept for the next time: the key and the certificate of the Manager, and which one Clients trust."""


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture(autouse=True)
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ends only because it has waited long enough for work is one that was left behind."""
    monkeypatch.setattr("msl_network.threads.IDLE", 3600)


def settings(transport: str, folder: Path) -> Config:
    """All that a Manager opens: a port, a certificate, a database in a file."""
    section = {"host": HERE, "port": 0, "transport": transport}
    return Config.from_dict({"manager": section, "plugins": {"sqlite": {"path": str(folder / "manager.sqlite3")}}})


def descriptors() -> set[tuple[str, str]]:
    """What this process has open."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one with which the folder is listed
            found.add((path.name, str(path.readlink())))
    return found


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """What is started inside is gone in the end: each task, thread and descriptor."""
    with socket.create_server((HERE, 0)) as sock:
        stream = await anyio.connect_tcp(*sock.getsockname())  # uvloop opens something for itself with its first one
        await stream.aclose()
    tasks, threads, open_before = set(anyio.get_running_tasks()), set(threading.enumerate()), descriptors()
    yield
    assert set(anyio.get_running_tasks()) == tasks  # they come in any order
    assert not descriptors() - open_before  # what others left behind may go meanwhile
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith(POOLS):
            thread.join(DEADLINE)  # it was told to end a moment ago
            assert not thread.is_alive(), thread.name


def files(folder: Path) -> set[str]:
    """The files in a folder and those below it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def everything_blocking(host: Any, port: int = 1875) -> None:
    """What a script does."""
    with connect(host=host, port=port, auto_save=True) as client:
        assert client.link("Echo").echo(1) == [[1], {}]


async def everything(manager: Manager) -> None:
    """Have all kinds of peers talk with each other."""
    here = MemoryHost(manager)
    async with (
        here.serve(Echo()),
        AsyncClient(host=here) as client,
        AsyncClient(host=HERE, port=manager.port, auto_save=True) as remote,
    ):
        for each in (client, remote):
            assert await (await each.link("Echo")).echo(1) == [[1], {}]
        await to_thread.run_sync(everything_blocking, here)
        await to_thread.run_sync(everything_blocking, HERE, manager.port)


def is_free(port: int) -> bool:
    """Whether a program may listen there."""
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HERE, port))
        except OSError:
            return False
        return True


async def test_leaving(transport: str, tmp_path: Path) -> None:
    """Neither a task, a thread, a descriptor nor the port is left; of files, only the database and the certificate."""
    async with nothing_left():
        async with Manager(settings(transport, tmp_path)) as manager:
            assert not is_free(manager.port)
            await everything(manager)
        assert is_free(manager.port)
    assert files(tmp_path) == {"manager.sqlite3", *CERTIFICATES}


async def test_leaving_while_peers_are_connected(transport: str, tmp_path: Path) -> None:
    """Whoever is still connected does not keep anything: their connections end first."""
    async with nothing_left():
        async with Manager(settings(transport, tmp_path)) as manager:
            come = partial(connect, host=HERE, port=manager.port, auto_save=True)
            client = await to_thread.run_sync(come)
            assert client.is_connected()
        assert is_free(manager.port)
        await to_thread.run_sync(client.disconnect)


async def fail(transport: str, folder: Path) -> None:
    async with Manager(settings(transport, folder)) as manager:
        await everything(manager)
        raise ZeroDivisionError("mine")


async def test_an_error_in_the_block(transport: str, tmp_path: Path) -> None:
    """It comes out as it is, and leaves as little behind."""
    async with nothing_left():
        with pytest.raises(ZeroDivisionError, match="mine"):
            await fail(transport, tmp_path)


async def test_a_cancelled_block(transport: str, tmp_path: Path) -> None:
    """Whoever is cancelled leaves as little behind."""
    async with nothing_left():
        with anyio.CancelScope() as scope:
            async with Manager(settings(transport, tmp_path)) as manager:
                await everything(manager)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert is_free(manager.port)


class Fails:
    """Keeps a Manager from starting, at the last moment."""

    @hookimpl
    async def started(self, manager: Manager) -> None:
        raise RuntimeError("not today")


async def test_a_manager_that_does_not_start(transport: str, tmp_path: Path) -> None:
    """One that failed when all was open already leaves as little behind."""
    async with nothing_left():
        with pytest.raises(StartError, match="Fails"):
            async with Manager(settings(transport, tmp_path), plugins=[Fails()]):
                raise AssertionError("it has started")


async def test_with_plugins_that_open_something(transport: str, tmp_path: Path) -> None:
    """The threads that derive keys end, too, and the file of records is closed."""
    database = tmp_path / "manager.sqlite3"
    async with nothing_left():
        words = ["user", "insert", "alice", "--password", "wonderland", "--database", str(database)]
        assert await to_thread.run_sync(cli.main, words) == 0
        section = {"host": HERE, "port": 0, "transport": transport, "auth": ["login"], "plugins": ["audit"]}
        plugins = {"sqlite": {"path": str(database)}, "audit": {"path": str(tmp_path / "audit.jsonl")}}
        async with Manager(Config.from_dict({"manager": section, "plugins": plugins})) as manager:
            come = partial(AsyncClient, username="alice", password="wonderland")
            async with come(host=MemoryHost(manager)) as client:
                assert client.is_connected()
    assert (tmp_path / "audit.jsonl").stat().st_size


class Slow(Service):
    """Works until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.was_cancelled = threading.Event()

    def in_a_thread(self) -> None:
        self.begun.release()
        self.gate.wait(DEADLINE)

    async def awaited(self) -> None:
        self.begun.release()
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


async def test_methods_at_work(transport: str, tmp_path: Path) -> None:
    """A method that is awaited is cancelled; one in a thread is not waited for, and its thread ends with it."""
    slow = Slow()

    async def call(method: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(ConnectionLostError):
            await method()

    async with nothing_left(), anyio.create_task_group() as tasks:
        async with Manager(settings(transport, tmp_path)) as manager:
            here = MemoryHost(manager)
            async with here.serve(slow), AsyncClient(host=here) as client:
                link = await client.link("Slow")
                for method in (link.in_a_thread, link.awaited):
                    tasks.start_soon(call, method)
                    await to_thread.run_sync(slow.begun.acquire)
        assert await to_thread.run_sync(slow.was_cancelled.wait, DEADLINE)
        assert any(thread.name.startswith("Slow") for thread in threading.enumerate())
        slow.gate.set()


async def test_several_at_a_time(transport: str, tmp_path: Path) -> None:
    """Managers in one program know nothing of each other, and the end of one changes nothing for another one."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    async with nothing_left():
        async with Manager(settings(transport, folders[0])) as one:
            async with Manager(settings(transport, folders[1])) as two:
                async with MemoryHost(one).serve(Echo()):
                    assert (set(one.services), set(two.services)) == ({"Echo"}, set())
            await everything(one)
            assert is_free(two.port)
        assert is_free(one.port)


async def test_again_and_again(transport: str, tmp_path: Path) -> None:
    """A program may start Managers one after the other, with the same files."""
    async with nothing_left():
        for _ in range(3):
            async with Manager(settings(transport, tmp_path)) as manager:
                await everything(manager)


def test_no_thread_at_all_after_the_event_loop(tmp_path: Path) -> None:
    """With the event loop of asyncio its worker threads end, too."""
    before = set(threading.enumerate())

    async def main() -> None:
        async with Manager(settings("auto", tmp_path)) as manager:
            await everything(manager)

    anyio.run(main)
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)
        assert not thread.is_alive(), thread.name
