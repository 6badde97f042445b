"""Listening, and transports over real sockets, on every backend."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from msl_network.errors import ListenError
from msl_network.listening import bind
from msl_network.transport import Listener, Transport, _StreamTransport, is_exhausted, listen

from .wire_peer import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture
async def listener(way: tuple[str, str]) -> AsyncIterator[Listener]:
    sockets = bind("127.0.0.1", 0)
    (listener,) = await listen(sockets, way[1])
    yield listener
    await listener.aclose()
    sockets[0].close()


class Recording:
    """A receiver that notes what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_lost = False
        self.is_paused = False

    def feed(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.data += data

    def lost(self) -> None:
        self.is_lost = True

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False


async def dial(listener: Listener, port: int) -> tuple[Any, Any]:
    stream = await anyio.connect_tcp("127.0.0.1", port)
    with anyio.fail_after(DEADLINE):
        return stream, await listener.accept()


def port_of(listener: Any) -> int:
    sock = getattr(listener, "_socket", None) or listener._listener.extra(anyio.abc.SocketAttribute.raw_socket)
    number: int = sock.getsockname()[1]
    return number


# Listening


@pytest.mark.anyio
async def test_protocol_needs_asyncio(way: tuple[str, str]) -> None:
    """`transport = "protocol"` on trio is refused with what to use instead."""
    sockets = bind("127.0.0.1", 0)
    with closing(sockets[0]):
        if way[0] == "trio":
            with pytest.raises(ListenError, match="use 'auto' or 'streams'"):
                await listen(sockets, "protocol")
        else:
            assert len(await listen(sockets, "protocol")) == 1


def test_exhausted() -> None:
    """Having no descriptor left is told from a peer that left."""
    assert is_exhausted(OSError(errno.EMFILE, ""))
    assert not is_exhausted(ConnectionAbortedError())


# Transports


@pytest.mark.anyio
async def test_both_ways(listener: Listener) -> None:
    """What is received is fed; what is written is sent, in order; leaving sends the rest and closes."""
    stream, accepted = await dial(listener, port_of(listener))
    receiver = Recording()
    async with stream:
        assert accepted.remote == stream.extra(anyio.abc.SocketAttribute.local_address)
        assert accepted.local[0] == "127.0.0.1"
        async with accepted.open(receiver, None, handshake=1, keepalive=60, closing=5) as transport:
            await stream.send(b"hello")
            await until(lambda: receiver.data == b"hello")
            for number in range(100):
                transport.write(b"%02d" % number)
        received = bytearray()
        with anyio.fail_after(DEADLINE):
            async for chunk in stream:
                received += chunk
        assert bytes(received) == b"".join(b"%02d" % number for number in range(100))
    await until(lambda: receiver.is_lost)


@pytest.mark.anyio
async def test_slow_reader(listener: Listener) -> None:
    """Who does not read pauses the writer, and has the closing's time to take the rest, no more."""
    stream, accepted = await dial(listener, port_of(listener))
    receiver = Recording()
    async with stream:
        async with accepted.open(receiver, None, handshake=1, keepalive=60, closing=0.2) as transport:
            with anyio.fail_after(DEADLINE):
                while True:
                    transport.write(b"x" * 1_000_000)
                    await anyio.wait_all_tasks_blocked()
                    if receiver.is_paused:
                        break
        await until(lambda: receiver.is_lost)


@pytest.mark.anyio
async def test_resumes(listener: Listener) -> None:
    """A writer that was paused is told when the reader took enough."""
    stream, accepted = await dial(listener, port_of(listener))
    receiver = Recording()
    size = 30_000_000
    async with stream, accepted.open(receiver, None, handshake=1, keepalive=60, closing=0.2) as transport:
        transport.write(b"x" * size)
        assert receiver.is_paused
        taken = 0
        with anyio.fail_after(DEADLINE):
            while taken < size:
                taken += len(await stream.receive())
        await until(lambda: not receiver.is_paused)


@pytest.mark.anyio
async def test_abort(listener: Listener) -> None:
    """Aborting tells the receiver and throws away what is pending."""
    stream, accepted = await dial(listener, port_of(listener))
    receiver = Recording()
    async with stream:
        transport: Transport
        async with accepted.open(receiver, None, handshake=1, keepalive=60, closing=5) as transport:
            transport.abort()
            await until(lambda: receiver.is_lost)
            transport.write(b"nobody reads this")
        with anyio.fail_after(DEADLINE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


@pytest.mark.anyio
async def test_reset(listener: Listener) -> None:
    """A peer that is gone without a word is lost, and writing to it harms nobody."""
    stream, accepted = await dial(listener, port_of(listener))
    receiver = Recording()
    async with accepted.open(receiver, None, handshake=1, keepalive=60, closing=1) as transport:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        await anyio.aclose_forcefully(stream)
        await until(lambda: receiver.is_lost)
        transport.write(b"x" * 100)
        transport.write(b"x" * 100)


class Ended(anyio.abc.ByteStream):
    """A TLS stream as anyio has it: whoever sends may be told that the other end says no more."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, item: bytes) -> None:
        raise anyio.EndOfStream

    async def send_eof(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        pass


@pytest.mark.anyio
async def test_end_while_sending() -> None:
    """A stream that finds its end while it sends is lost, like one that finds it while it receives."""
    receiver = Recording()
    async with anyio.create_task_group() as task_group:
        transport = _StreamTransport(Ended(), receiver, task_group, closing=1)
        transport.write(b"x")
        await transport.send()
        assert receiver.is_lost


@pytest.mark.anyio
async def test_discard(listener: Listener) -> None:
    """A connection that is discarded is closed."""
    stream, accepted = await dial(listener, port_of(listener))
    async with stream:
        await accepted.discard()
        with anyio.fail_after(DEADLINE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
