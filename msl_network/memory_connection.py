"""A connection in memory: its two ends, and the bytes between them.

    the Manager's end        Connection       an `Accepted`, and its `Transport`; lives in the Manager's event loop
    the end of a task        MemoryStream     for `AsyncClient`; in the same event loop or in another one
    the end of a thread      MemoryChannel    for `connect`, `Client`, `LinkedClient` and `Service`

Rule of this file: both ends may live in different threads, so what they share is behind one lock, and an end is woken
through its event loop. Who does not read has its writer wait, as with a socket. It must not know what the bytes mean,
or which Manager they go to.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from .channel import CLOSED, LARGE_CHUNK, NO_LIMIT, Channel, TooLongError
from .errors import ConnectionLostError
from .sending import MOST_WAITING, NoRoomError
from .wire import LineBuffer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

    from .transport import Receiver, Transport

__all__ = ["HERE", "HIGH_WATER", "Connection", "End", "Loop", "MemoryChannel", "MemoryStream"]

logger = logging.getLogger("msl_network")

HERE: Final = "127.0.0.1"
"""The address of this computer, which all peers in memory are on unless they are said to be elsewhere."""

HIGH_WATER: Final = 256 * 1024
"""Above this many bytes that an end has not taken, the other one waits; as much as a transport of a socket keeps."""


class Loop:
    """The event loop that runs in this thread, to be called from any other."""

    def __init__(self) -> None:
        self.token = anyio.lowlevel.current_token()
        # what is called later must find this event loop, and not that of the thread which asks for it
        self._context = contextvars.copy_context()
        native: Any = self.token.native_token
        self._post = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon  # of asyncio, of trio

    @property
    def is_here(self) -> bool:
        """Whether it is the one that runs in the calling thread."""
        try:
            return anyio.lowlevel.current_token() == self.token
        except RuntimeError:  # none does
            return False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have a function called, in the order of the calls."""
        try:
            self._post(self._context.run, function, *args)
        except RuntimeError:  # the loop has ended, and with it whoever this was for
            logger.debug("nobody is left to be told of a connection in memory")


class End:
    """What waits at the end of a peer: the bytes that came, and whether more will. Thread-safe.

    Args:
        wake: Called, in whichever thread, when there is something new; who waits for the lock is told anyway.
    """

    connection: Connection

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self.lock = threading.Condition()
        self.size = 0
        """How many bytes are here."""
        self.is_over = False
        """Whether the Manager has ended the connection."""
        self.is_closed = False
        """Whether this end has."""
        self._incoming: deque[bytes] = deque()
        self._on_news = wake

    # Called by the Manager's end

    def deliver(self, data: bytes) -> None:
        """Take bytes for the peer."""
        with self.lock:
            if not self.is_closed:
                self._incoming.append(data)
                self.size += len(data)
        self.wake()

    def end(self, *, is_torn: bool) -> None:
        """Note that nothing more comes.

        Args:
            is_torn: Whether also what is here already is lost.
        """
        with self.lock:
            self.is_over = True
            if is_torn:
                self._drop()
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        with self.lock:
            self.lock.notify_all()
        if self._on_news is not None:
            self._on_news()

    # Called by the one whose end it is

    def take(self, most: int) -> bytes:
        """Return what has come, at most so many bytes. The lock is held."""
        if not self._incoming:
            return b""
        data = self._incoming.popleft()
        if len(data) > most:
            self._incoming.appendleft(data[most:])
            data = data[:most]
        before, self.size = self.size, self.size - len(data)
        if before > HIGH_WATER >= self.size:
            self.connection.taken()
        return data

    def close(self) -> None:
        """Close this end; what is here is dropped."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
            self._drop()
        self.wake()
        self.connection.left()

    def _drop(self) -> None:
        self._incoming.clear()
        self.size = 0


class Connection:
    """The end of the Manager: an `Accepted`, and when it is open, its `Transport`.

    Args:
        far: The other end.
        loop: The event loop of the Manager.
        ip_address: Where the peer seems to come from.
        number: What stands for its port.
    """

    def __init__(self, far: End, loop: Loop, ip_address: str, number: int) -> None:
        self.far = far
        self.remote = (ip_address, number)
        self.local = (HERE, 0)
        self.certificate: dict[str, Any] | None = None
        """There is no TLS, so nobody shows one."""
        self.has_ended = False
        self.backlog = 0
        """How many bytes the other end has sent that the Manager has not taken; the lock of `far` is held."""
        self._loop = loop
        self._receiver: Receiver | None = None
        self._held: deque[bytes] = deque()
        self._is_reading = True
        self._has_left = False
        self._is_full = False

    @asynccontextmanager
    async def open(
        self,
        receiver: Receiver,
        context: ssl.SSLContext | None,
        *,
        handshake: float,
        closing: float,
        keepalive: float,
    ) -> AsyncIterator[Transport]:
        """Open the transport; there is no TLS, and nothing that could be late."""
        del context, handshake, closing, keepalive  # nothing can be read along, delayed or cut off on the way
        self._receiver = receiver
        self._loop.post(self._feed)
        try:
            yield self
        finally:
            self._end(is_torn=False)

    async def discard(self) -> None:
        """Close the connection without opening it."""
        self._end(is_torn=True)

    # What the Manager calls

    @property
    def unsent(self) -> int:
        """How many bytes of what was written the peer has not taken yet."""
        return self.far.size

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.has_ended:
            return
        self.far.deliver(data)
        if self.far.size > HIGH_WATER and not self._is_full and self._receiver is not None:
            self._is_full = True
            self._receiver.pause_writing()

    def abort(self) -> None:
        """Close now; what the peer has not taken is lost."""
        self._end(is_torn=True)

    def pause_reading(self) -> None:
        """Feed no more until `resume_reading`."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Feed again."""
        if not self._is_reading:
            self._is_reading = True
            self._loop.post(self._feed)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call something as soon as everybody else had a turn."""
        self._loop.post(self._loop.post, callback)  # one turn later: others come first

    # What the other end calls, from any thread

    def send(self, data: bytes) -> None:
        """Take bytes; the lock of `far` is held."""
        self.backlog += len(data)
        self._loop.post(self._arrive, data)

    def taken(self) -> None:
        """Note that the other end has taken most of what was sent to it."""
        self._loop.post(self._drain)

    def left(self) -> None:
        """Note that the other end is closed."""
        self._loop.post(self._leave)

    # In the event loop of the Manager

    def _arrive(self, data: bytes) -> None:
        self._held.append(data)
        self._feed()

    def _feed(self) -> None:
        """Hand on what has come, as long as the Manager wants more."""
        while self._receiver is not None and self._held and self._is_reading and not self.has_ended:
            data = self._held.popleft()
            with self.far.lock:
                self.backlog -= len(data)
            self.far.wake()
            try:
                self._receiver.feed(data)
            except Exception:  # a mistake in this package; it must not end the event loop
                logger.exception("what came over a connection in memory could not be handled")
                self.abort()
        if self._has_left and self._is_reading and not self._held:
            self._end(is_torn=True)

    def _drain(self) -> None:
        if self._is_full and not self.has_ended and self._receiver is not None:
            self._is_full = False
            self._receiver.resume_writing()

    def _leave(self) -> None:
        self._has_left = True
        self._feed()

    def _end(self, *, is_torn: bool) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        self._held.clear()
        self.far.end(is_torn=is_torn)
        if self._receiver is not None:
            self._receiver.lost()


class MemoryStream(anyio.abc.ByteStream):
    """The end of a task.

    Args:
        loop: The event loop of the task.
    """

    def __init__(self, loop: Loop) -> None:
        self.end = End(lambda: loop.post(self._wake))
        self._news = anyio.Event()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """What stands for the port of this end."""
        return {anyio.abc.SocketAttribute.local_port: lambda: self.end.connection.remote[1]}

    def _wake(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes, at most so many."""
        await anyio.lowlevel.checkpoint()
        while True:
            news = self._news
            with self.end.lock:
                if self.end.is_closed:
                    raise anyio.ClosedResourceError
                data = self.end.take(max_bytes)
                if data:
                    return data
                if self.end.is_over:
                    raise anyio.EndOfStream
            await news.wait()

    async def send(self, item: bytes) -> None:
        """Send bytes, when the Manager takes them."""
        await anyio.lowlevel.checkpoint()
        while True:
            news = self._news
            with self.end.lock:
                if self.end.is_closed:
                    raise anyio.ClosedResourceError
                if self.end.is_over:
                    raise anyio.BrokenResourceError
                if self.end.connection.backlog <= HIGH_WATER:
                    self.end.connection.send(bytes(item))
                    return
            await news.wait()

    async def send_eof(self) -> None:
        """Close: there is no half of a connection in memory."""
        self.end.close()

    async def aclose(self) -> None:
        """Close."""
        self.end.close()
        await anyio.lowlevel.checkpoint()


class MemoryChannel(Channel):
    """The end of a thread: what `Channel` does with a socket.

    Args:
        end: What waits there.
        limit: The longest line to receive, in bytes; None for no limit.
    """

    def __init__(self, end: End, limit: int | None) -> None:  # the socket of the base class there is none
        self._end = end
        self._lines = LineBuffer(NO_LIMIT if limit is None else limit)
        self._received = []
        self.port = end.connection.remote[1]

    @property
    def is_cut(self) -> bool:
        """Never: what is sent is handed over whole."""
        return False

    def send(self, data: bytes, deadline: float | None = None) -> None:
        """Send bytes; wait while the Manager has very much to take."""
        end = self._end
        with end.lock:
            while not (end.is_closed or end.is_over):
                if end.connection.backlog <= MOST_WAITING:
                    end.connection.send(data)
                    return
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    raise NoRoomError
                end.lock.wait(remaining)
            raise ConnectionLostError(self._why())

    def is_over(self) -> bool:
        """Return whether one of the two has ended the connection."""
        return self._end.is_over or self._end.is_closed

    def receive(self, timeout: float | None = None) -> list[bytes]:
        """Wait for bytes, and return the lines that are complete now."""
        if self._lines.overflow:
            raise TooLongError(self._lines.limit)
        end = self._end
        until = None if timeout is None else monotonic() + timeout
        with end.lock:
            while True:
                if end.is_closed:
                    raise ConnectionLostError(self._why())
                data = end.take(LARGE_CHUNK)
                if data:
                    break
                if end.is_over:
                    raise ConnectionLostError(self._why())
                remaining = None if until is None else until - monotonic()
                if remaining is not None and remaining <= 0:
                    return []
                end.lock.wait(remaining)
        self._received[:] = [data]
        return self._lines.feed(data)

    def received_already(self) -> list[bytes]:
        """Return nothing: there was no TLS handshake."""
        return []

    def abandon(self) -> None:
        """Do nothing: a process that was forked off has no Manager."""

    def close(self) -> None:
        """Close."""
        self._end.close()

    def _why(self) -> str:
        return "the connection was closed on this side" if self._end.is_closed else CLOSED
