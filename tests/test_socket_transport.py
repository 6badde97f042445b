"""The transport of sockets on asyncio, over pairs of them."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from msl_network.socket_transport import HIGH_WATER, SocketTransport

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    import pytest

DEADLINE = 10.0


class Receiver:
    """Notes what it is told; answers, fails or closes if it is to."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost_count = 0
        self.is_paused = False
        self.on_feed: BaseException | None = None
        self.on_lost: BaseException | None = None
        self.closes_when_resumed = False
        self.more: list[bytes] = []
        self.transport: SocketTransport | None = None
        self.news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        assert not self.lost_count
        self.data += data
        self.news.set()
        if self.on_feed is not None:
            raise self.on_feed

    def lost(self) -> None:
        self.lost_count += 1
        self.news.set()
        if self.on_lost is not None:
            raise self.on_lost

    def pause_writing(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_writing(self) -> None:
        assert self.is_paused
        self.is_paused = False
        if self.closes_when_resumed and self.transport is not None:
            self.transport.close()
        while self.more and not self.is_paused and self.transport is not None:
            self.transport.write(self.more.pop(0))


@contextmanager
def connected() -> Iterator[tuple[SocketTransport, Receiver, socket.socket]]:
    """Yield an open transport, its receiver, and the other end, which does not block."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        receiver = Receiver()
        receiver.transport = transport = SocketTransport(ours, receiver)
        transport.resume_reading()
        yield transport, receiver, theirs
        transport.abort()


def run(work: Coroutine[object, object, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work, DEADLINE)

    asyncio.run(limited(), debug=False)


async def read_all(sock: socket.socket) -> bytes:
    received = bytearray()
    while chunk := await asyncio.get_running_loop().sock_recv(sock, 65536):
        received += chunk
    return bytes(received)


@given(st.lists(st.integers(0, 3 * HIGH_WATER), max_size=6), st.booleans())
def test_all_arrives(sizes: list[int], is_finished: bool) -> None:
    """Whatever is written arrives in order, and then the end, however much the system takes at a time."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            written = [bytes([number]) * size for number, size in enumerate(sizes)]
            for data in written:
                transport.write(data)
            if is_finished:
                transport.finish()
            else:
                transport.close()
            transport.write(b"too late")
            assert await read_all(theirs) == b"".join(written)
            assert transport.unsent == 0
            theirs.close()
            await transport.wait_closed()
            assert receiver.lost_count == 1

    run(work())


def test_back_pressure() -> None:
    """Who wrote much is asked to pause, is told when it may go on, and what it writes then arrives after the rest."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            receiver.more = [b"b" * HIGH_WATER * 2, b"c" * 10]
            transport.write(b"a" * HIGH_WATER * 4)
            assert receiver.is_paused
            assert transport.unsent > HIGH_WATER
            received = bytearray()
            while len(received) < HIGH_WATER * 6 + 10:
                received += await asyncio.get_running_loop().sock_recv(theirs, 65536)
            assert received == b"a" * HIGH_WATER * 4 + b"b" * HIGH_WATER * 2 + b"c" * 10
            assert not receiver.is_paused

    run(work())


def test_end_of_the_other() -> None:
    """Who says no more is sent what was written before, and then it is over."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport.write(b"x" * HIGH_WATER * 4)
            theirs.shutdown(socket.SHUT_WR)
            assert len(await read_all(theirs)) == HIGH_WATER * 4
            await transport.wait_closed()
            assert receiver.lost_count == 1

    run(work())


def test_lost_in_a_turn_of_its_own() -> None:
    """A write that finds out that the other end is gone does not say so before it returns; later writes do nothing."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport.pause_reading()
            theirs.close()
            transport.write(b"x")
            transport.write(b"y")
            assert receiver.lost_count == 0
            await transport.wait_closed()
            assert receiver.lost_count == 1
            transport.abort()
            transport.close()
            transport.resume_reading()
            await asyncio.sleep(0)
            assert receiver.lost_count == 1

    run(work())


def test_abort_while_much_waits() -> None:
    """Aborting throws away what waits, and leaves nothing in the event loop."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport.write(b"x" * HIGH_WATER * 4)
            transport.close()
            assert receiver.lost_count == 0
            transport.abort()
            await transport.wait_closed()
            assert (receiver.lost_count, transport.unsent) == (1, 0)
            assert len(await read_all(theirs)) < HIGH_WATER * 4

    run(work())


def test_end_within_going_on() -> None:
    """A receiver that goes on and finds the other end gone leaves nothing in the event loop either."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport.write(b"x" * HIGH_WATER * 2)
            receiver.more = [b"y" * HIGH_WATER * 2]
            loop = asyncio.get_running_loop()
            received = 0
            while receiver.is_paused:
                received += len(await loop.sock_recv(theirs, 4096))
            theirs.close()
            await transport.wait_closed()
            assert receiver.lost_count == 1

    run(work())


def test_paused() -> None:
    """Nothing is fed in a pause; what came meanwhile is fed after it."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport.pause_reading()
            transport.pause_reading()
            theirs.send(b"hello")
            for _ in range(3):
                await asyncio.sleep(0)
            assert not receiver.data
            transport.resume_reading()
            transport.resume_reading()
            await receiver.news.wait()
            assert receiver.data == b"hello"

    run(work())


def test_receiver_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in what handles bytes closes this connection, and the log has it."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            receiver.on_feed = KeyError("a mistake")
            theirs.send(b"hello")
            await transport.wait_closed()
            assert receiver.lost_count == 1
            assert await read_all(theirs) == b""

    with caplog.at_level(logging.ERROR, "msl_network"):
        run(work())
    assert "a mistake" in caplog.text


def test_call_soon() -> None:
    """What is called soon waits for what the sockets bring in this turn."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            seen = asyncio.get_running_loop().create_future()
            theirs.send(b"hello")
            transport.call_soon(lambda: seen.set_result(bytes(receiver.data)))
            assert await seen == b"hello"

    run(work())


def test_closed_within_going_on() -> None:
    """A receiver that closes when it may go on leaves nothing in the event loop: the number of the socket is free."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            receiver.closes_when_resumed = True
            transport.write(b"x" * HIGH_WATER * 4)
            number = transport._fd
            assert len(await read_all(theirs)) == HIGH_WATER * 4
            await transport.wait_closed()
            assert receiver.lost_count == 1
            assert not asyncio.get_running_loop().remove_writer(number)

    run(work())


def test_receiver_fails_at_the_end() -> None:
    """A mistake in what is told of the end is for the loop's handler; the socket is closed all the same."""

    async def work() -> None:
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set_result(context["exception"]))
        with connected() as (transport, receiver, theirs):
            receiver.on_lost = KeyError("a mistake")
            theirs.shutdown(socket.SHUT_WR)
            await transport.wait_closed()
            assert await read_all(theirs) == b""
            assert await told is receiver.on_lost

    run(work())


class OutOfMemory:
    """A socket for whose bytes there is no memory."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, _: int) -> bytes:
        self.count += 1
        raise MemoryError


def test_no_memory() -> None:
    """A connection for whose bytes there is no memory is closed; to try again would be to try for ever."""

    async def work() -> None:
        with connected() as (transport, receiver, theirs):
            transport._socket = sock = OutOfMemory(transport._socket)  # type: ignore[assignment]  # it has what is used
            theirs.send(b"hello")
            await transport.wait_closed()
            assert (receiver.lost_count, sock.count) == (1, 1)

    run(work())
