from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from msl_network import (
    AsyncClient,
    ConnectError,
    ConnectionLostError,
    LinkedClient,
    Manager,
    RefusedError,
    RemoteError,
    Secret,
    Service,
    connect,
)
from msl_network.memory import MemoryHost
from msl_network.memory_connection import HIGH_WATER

from .laboratory import DEADLINE
from .wire_peer import config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msl_network.transport import Transport

pytestmark = pytest.mark.anyio


class Echo(Service):
    """What a Service is asked for in these tests."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(ignore_attributes="has_ended", **keywords)
        self.has_ended = threading.Event()

    def echo(self, *args: Any) -> Any:
        return args

    async def shout(self, text: str) -> str:
        return text.upper()

    def tell(self, size: int) -> None:
        self.emit_notification("x" * size)

    def shutdown_handler(self) -> None:
        self.has_ended.set()


@pytest.fixture
async def manager() -> AsyncIterator[Manager]:
    async with Manager(config(), listen=False) as manager:
        yield manager


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket to listen or to connect fails."""

    def refuse(*args: object, **keywords: object) -> None:
        raise AssertionError(args, keywords)

    for name in "msl_network.manager.bind", "anyio.connect_tcp", "socket.create_connection":
        monkeypatch.setattr(name, refuse)


# Peers


async def test_a_client_and_a_service(manager: Manager) -> None:
    """A Service and an async Client meet at a Manager of their own process, with messages of any size."""
    here = MemoryHost(manager)
    big = "y" * 5_000_000
    async with here.serve(Echo()) as service, AsyncClient(host=here, name="A") as client:
        echo = await client.link("Echo")
        assert await echo.echo(1, big) == [1, big]
        assert await echo.shout("x") == "X"
        assert list(manager.services) == ["Echo"]
        assert list(manager.clients) == [str(client)]
        assert str(client).rpartition(":")[2] == f"{client.port}]"
        assert client.port > 65535  # so that it is the port of nobody else
    assert service.has_ended.is_set()  # type: ignore[attr-defined]
    assert manager.services == manager.clients == {}


async def test_clients_in_threads(manager: Manager) -> None:
    """The blocking Clients work, too, in threads; also when one is spawned from another."""
    here = MemoryHost(manager)

    def use() -> None:
        with connect(host=here, name="B", timeout=DEADLINE) as client:
            link = client.link("Echo")
            assert link.echo("x" * 3_000_000) == ["x" * 3_000_000]
            assert [link.echo(number, asynchronous=True).result(DEADLINE) for number in range(50)] == [
                [number] for number in range(50)
            ]
            with client.spawn("C") as other:
                assert other.link("Echo").shout("y") == "Y"
        linked = LinkedClient("Echo", host=here)
        assert linked.shout("z") == "Z"
        linked.disconnect()

    async with here.serve(Echo()):
        await anyio.to_thread.run_sync(use)
    assert manager.clients == {}


async def test_a_client_in_another_event_loop(manager: Manager, anyio_backend_name: str) -> None:
    """A Client may run in an event loop of its own, of the other kind."""
    here = MemoryHost(manager)
    other = {"asyncio": "trio", "trio": "asyncio"}[anyio_backend_name]

    async def use() -> str:
        async with AsyncClient(host=here) as client:
            answer: str = await (await client.link("Echo")).shout("x" * 1_000_000)
            return answer

    async with here.serve(Echo()):
        assert await anyio.to_thread.run_sync(partial(anyio.run, use, backend=other)) == "X" * 1_000_000


async def test_notifications(manager: Manager) -> None:
    """Notifications come in order, however large they are."""
    here = MemoryHost(manager)
    async with here.serve(Echo()), AsyncClient(host=here) as client:
        link = await client.link("Echo")
        notifications = link.notifications()
        for size in 1, 1_000_000, 2:
            await link.tell(size)
        assert [len((await notifications.__anext__())[0][0]) for _ in range(3)] == [1, 1_000_000, 2]


async def test_the_manager_ends_first() -> None:
    """When the Manager stops, all ends notice."""
    async with Manager(config(), listen=False) as manager:
        here = MemoryHost(manager)
        async with here.serve(Echo()) as service, AsyncClient(host=here) as client:
            has_ended = anyio.Event()
            client.shutdown_handler = has_ended.set  # type: ignore[method-assign]
            manager.stop()
            with anyio.fail_after(DEADLINE):
                await has_ended.wait()
            assert await anyio.to_thread.run_sync(service.has_ended.wait, DEADLINE)  # type: ignore[attr-defined]


async def test_a_service_leaves(manager: Manager) -> None:
    """The block of one Service ends that Service, and nobody else."""
    here = MemoryHost(manager)
    async with AsyncClient(host=here) as client:
        async with here.serve(Echo(), name="One"), here.serve(Echo(), name="Two"):
            assert sorted(manager.services) == ["One", "Two"]
        with pytest.raises(RemoteError, match="One"):
            await client.link("One")
        async with here.serve(Echo(), name="One"):
            assert await (await client.link("One")).echo() == []


async def test_what_a_block_raises_comes_out(manager: Manager) -> None:
    """Neither the Client nor the Service wraps an exception in a group."""
    here = MemoryHost(manager)
    with pytest.raises(LookupError, match="mine"):
        async with here.serve(Echo()), AsyncClient(host=here):
            raise LookupError("mine")
    assert manager.services == {}


# Who is let in


async def test_who_comes_from_elsewhere_is_a_stranger(manager: Manager) -> None:
    """A peer with another address is refused as over the network, if there is no authentication."""
    with pytest.raises(RefusedError, match="lets in only peers of its own computer"):
        async with AsyncClient(host=MemoryHost(manager, ip_address="192.0.2.7")):
            pass


async def test_authentication() -> None:
    """The Manager authenticates as always: a wrong password is refused, of a Client and of a Service."""
    settings = config(auth=["password"], plugin_settings={"password": {"password": "geheim"}})
    async with Manager(settings, listen=False) as manager:
        here = MemoryHost(manager)
        async with AsyncClient(host=here, password_manager="geheim"):
            assert len(manager.clients) == 1
        with pytest.raises(RefusedError, match="Wrong Manager password"):
            async with AsyncClient(host=here, password_manager="falsch"):
                pass
        with pytest.raises(RefusedError, match="Wrong Manager password"):
            async with here.serve(Echo(), password_manager="falsch"):
                pass
        assert "geheim" not in repr(Secret("geheim"))


async def test_a_manager_that_does_not_listen(manager: Manager) -> None:
    """It has no port, and needs no certificate."""
    assert manager.port == 0
    assert manager.cert_file is None
    assert repr(manager).endswith(":0]>")


# Mistakes


async def test_nobody_serves() -> None:
    """Before and after the Manager serves, connecting says so."""
    manager = Manager(config(), listen=False)
    here = MemoryHost(manager)
    for _ in range(2):
        with pytest.raises(ConnectError, match=r"Manager\[.*\] does not serve, nobody can connect with it"):
            async with AsyncClient(host=here):
                pass
        with pytest.raises(ConnectError, match="does not serve"):
            await anyio.to_thread.run_sync(partial(connect, host=here))
        if _ == 0:
            async with manager:
                pass


async def test_in_the_thread_of_the_manager(manager: Manager) -> None:
    """What would wait for itself for ever is refused, and the text says what to do."""
    with pytest.raises(RuntimeError, match=r"in a thread, e\.g\. await anyio\.to_thread\.run_sync"):
        connect(host=MemoryHost(manager))


async def test_a_closed_host(manager: Manager) -> None:
    """`close` ends the connections that were made with it, and no other can be."""
    here = MemoryHost(manager)
    async with AsyncClient(host=here) as client:
        here.close()
        with pytest.raises(ConnectionLostError):
            await client.identities()
    with pytest.raises(ConnectError, match="is closed"):
        async with AsyncClient(host=here):
            pass


# Back-pressure


class Receiver:
    """Notes what a transport calls."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.writable: list[bool] = []
        self.is_lost = anyio.Event()
        self.news = anyio.Event()

    def feed(self, data: bytes) -> None:
        self.received += data
        self.news.set()
        self.news = anyio.Event()

    def lost(self) -> None:
        self.is_lost.set()

    def pause_writing(self) -> None:
        self.writable.append(False)

    def resume_writing(self) -> None:
        self.writable.append(True)
        self.news.set()


class FakeManager:
    """Keeps the connection that it is given, and opens it when it is told to."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.accepted: Any = None

    def start_connection(self, accepted: Any) -> None:
        self.accepted = accepted

    def open(self) -> Any:
        return self.accepted.open(self.receiver, None, handshake=1.0, closing=1.0, keepalive=2.0)


@pytest.fixture
def fake() -> Any:
    return FakeManager()


async def test_a_peer_that_does_not_read(fake: Any) -> None:
    """The Manager's end is asked to pause above the limit, and to go on when the peer has read."""
    stream = MemoryHost(fake).open_stream()
    async with fake.open() as transport:
        transport.write(b"x" * HIGH_WATER)
        assert fake.receiver.writable == []
        transport.write(b"y")
        assert fake.receiver.writable == [False]
        assert transport.unsent == HIGH_WATER + 1
        news = fake.receiver.news
        assert await stream.receive(2) == b"xx"
        with anyio.fail_after(DEADLINE):
            await news.wait()
        assert fake.receiver.writable == [False, True]
    assert len(await stream.receive(2**30)) == HIGH_WATER - 2  # what was written before the end is still there
    assert await stream.receive() == b"y"
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await stream.send(b"z")


async def test_a_manager_that_does_not_read(fake: Any) -> None:
    """Who sends more than the limit waits until the Manager reads."""
    stream = MemoryHost(fake).open_stream()
    async with fake.open() as transport, anyio.create_task_group() as tasks:
        transport.pause_reading()
        await stream.send(b"x" * (HIGH_WATER + 1))
        tasks.start_soon(stream.send, b"y")
        await anyio.wait_all_tasks_blocked()
        assert fake.receiver.received == b""
        transport.resume_reading()
        with anyio.fail_after(DEADLINE):
            while len(fake.receiver.received) < HIGH_WATER + 2:
                await fake.receiver.news.wait()


async def test_what_was_said_before_the_end_counts(fake: Any) -> None:
    """A peer that sends and leaves at once is heard, also if the Manager did not read at that moment."""
    stream = MemoryHost(fake).open_stream()
    async with fake.open() as transport:
        transport.pause_reading()
        await stream.send(b"good-bye")
        await stream.aclose()
        await anyio.wait_all_tasks_blocked()
        assert not fake.receiver.is_lost.is_set()
        transport.resume_reading()
        with anyio.fail_after(DEADLINE):
            await fake.receiver.is_lost.wait()
        assert fake.receiver.received == b"good-bye"
        transport.write(b"to nobody")
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()


async def test_abort(fake: Any) -> None:
    """Nothing that was pending is delivered, and both ends know."""
    stream = MemoryHost(fake).open_stream()
    async with fake.open() as transport:
        transport.write(b"x")
        transport.abort()
        assert fake.receiver.is_lost.is_set()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_a_receiver_that_fails(fake: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It ends its own connection, not the event loop."""

    def fail(data: bytes) -> None:
        raise LookupError(data)

    fake.receiver.feed = fail
    stream = MemoryHost(fake).open_stream()
    async with fake.open():
        await stream.send(b"x")
        with anyio.fail_after(DEADLINE):
            await fake.receiver.is_lost.wait()
    assert "what came over a connection in memory could not be handled" in caplog.text


async def test_a_connection_that_is_not_opened(fake: Any) -> None:
    """The peer finds its end."""
    stream = MemoryHost(fake).open_stream()
    await fake.accepted.discard()
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()


async def test_others_have_their_turn(fake: Any) -> None:
    """What is called soon comes after what was sent already."""
    stream = MemoryHost(fake).open_stream()
    async with fake.open() as transport:
        has_happened = anyio.Event()
        seen: list[bytes] = []

        def note() -> None:
            seen.append(bytes(fake.receiver.received))
            has_happened.set()

        await stream.send(b"first")
        transport.call_soon(note)
        with anyio.fail_after(DEADLINE):
            await has_happened.wait()
        assert seen == [b"first"]


async def test_a_thread_waits_for_its_time(fake: Any) -> None:
    """A channel returns nothing when nothing comes in time, takes what comes, and ends when it is closed."""
    here = MemoryHost(fake)
    channel = await anyio.to_thread.run_sync(here.open_channel, 10)
    transport: Transport
    async with fake.open() as transport:
        assert await anyio.to_thread.run_sync(channel.receive, 0.0) == []
        transport.write(b"a\nb")
        assert await anyio.to_thread.run_sync(channel.receive) == [b"a"]
        assert channel.is_torn
        channel.taken()
        transport.write(b"x" * 20)
        assert await anyio.to_thread.run_sync(channel.receive) == []
        with pytest.raises(ConnectionLostError, match="longer than the 10 bytes of read_limit"):
            channel.receive()
    assert channel.is_over()
    channel.close()
    with pytest.raises(ConnectionLostError, match="closed on this side"):
        channel.send(b"x")
