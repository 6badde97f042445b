"""Bytes to and from a socket, in one of two ways behind one interface.

    protocol    received bytes are fed at once, in the callback of the event loop: see `asyncio_transport` (fast)
    streams     two anyio tasks per connection, one reads and one writes (asyncio and trio)

Rule of this file: a transport is open exactly as long as its ``async with``; leaving it sends what is pending,
within a time limit, and closes. It must not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.tls import TLSAttribute, TLSStream

from . import asyncio_transport
from .errors import ListenError
from .socket_transport import READ_SIZE
from .sockets import address, tune

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["Accepted", "Listener", "Receiver", "Transport", "is_exhausted", "listen"]

SEND_SIZE: Final = 64 * 1024
"""How much a stream is given at a time, in bytes, so that it is seen when a peer takes some of it."""

_DESCRIPTORS_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Receiver(Protocol):
    """What a transport calls. None of it may wait."""

    def feed(self, data: bytes) -> None:
        """Take received bytes."""

    def lost(self) -> None:
        """Note that nothing more will come."""

    def pause_writing(self) -> None:
        """Write no more until `resume_writing`."""

    def resume_writing(self) -> None:
        """Writing may go on."""


class Transport(Protocol):
    """The way out. None of it waits."""

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The certificate of the peer, verified, as ``ssl.SSLSocket.getpeercert`` has it; None if it showed none."""

    @property
    def unsent(self) -> int:
        """How many bytes of what was written the system has not taken yet."""

    def write(self, data: bytes) -> None:
        """Send bytes, in time."""

    def abort(self) -> None:
        """Close now, whatever is pending."""

    def pause_reading(self) -> None:
        """Feed no more until `resume_reading`; twice is fine."""

    def resume_reading(self) -> None:
        """Feed again; without a pause it does nothing."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call something as soon as everybody else had a turn."""


class Accepted(Protocol):
    """A connection that was accepted and is not open yet: no TLS, nobody reads."""

    @property
    def remote(self) -> tuple[str, int]:
        """The address and the port of the peer."""

    @property
    def local(self) -> tuple[str, int]:
        """Our own address and port."""

    def open(
        self,
        receiver: Receiver,
        context: ssl.SSLContext | None,
        *,
        handshake: float,
        closing: float,
        keepalive: float,
    ) -> AbstractAsyncContextManager[Transport]:
        """Open the transport, with TLS if there is a context.

        Args:
            receiver: What the transport calls.
            context: The TLS settings, or None for plain TCP.
            handshake: How long the TLS handshake may take, in seconds.
            closing: How long sending what is pending may take at the end, in seconds.
            keepalive: Within which time a peer whose computer is gone is to be found out, in seconds.

        Raises:
            OSError: If the peer leaves, or the TLS handshake fails (``ssl.SSLError`` is one).
        """

    async def discard(self) -> None:
        """Close the connection without opening it."""


class Listener(Protocol):
    """Accepts connections on one address."""

    async def accept(self) -> Accepted:
        """Wait for a connection, and at least until everybody else had a turn.

        Raises:
            OSError: If the peer left already, or the system has nothing left for another connection.
        """

    async def aclose(self) -> None:
        """Accept no more."""


async def listen(sockets: list[socket.socket], transport: str) -> list[Listener]:
    """Return listeners for the sockets.

    Args:
        sockets: What `bind` returned.
        transport: ``protocol``, ``streams``, or ``auto`` for the fastest that works here.

    Raises:
        ListenError: If ``protocol`` is asked for on another event loop than asyncio.
    """
    on_asyncio = _is_asyncio()
    if transport == "protocol" and not on_asyncio:
        raise ListenError("transport = 'protocol' needs the asyncio event loop; use 'auto' or 'streams'")
    if on_asyncio and transport != "streams":
        return [asyncio_transport.listener(sock) for sock in sockets]
    return [_StreamListener(await anyio.abc.SocketListener.from_socket(sock)) for sock in sockets]


def is_exhausted(error: OSError) -> bool:
    """Whether accepting failed because the system has nothing left for another connection."""
    return error.errno in _DESCRIPTORS_EXHAUSTED


def _is_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# anyio streams


class _StreamListener:
    def __init__(self, listener: anyio.abc.SocketListener) -> None:
        self._listener = listener

    async def accept(self) -> Accepted:
        stream = await self._listener.accept()
        try:
            return _AcceptedStream(stream)
        except OSError:  # it left already
            await anyio.aclose_forcefully(stream)
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


class _AcceptedStream:
    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        self.remote = address(self._socket.getpeername())
        self.local = address(self._socket.getsockname())

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
        tune(self._socket, keepalive)
        stream: anyio.abc.ByteStream = self._stream
        try:
            if context is not None:
                with anyio.fail_after(handshake):
                    stream = await TLSStream.wrap(
                        stream, server_side=True, ssl_context=context, standard_compatible=False
                    )
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            await anyio.aclose_forcefully(self._stream)
            raise ConnectionAbortedError(str(error.__cause__ or error)) from error
        except BaseException:
            await anyio.aclose_forcefully(self._stream)
            raise
        async with anyio.create_task_group() as task_group:
            transport = _StreamTransport(stream, receiver, task_group, closing)
            task_group.start_soon(transport.read)
            task_group.start_soon(transport.send)
            try:
                yield transport
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(closing):
                    await transport.drained()
                    await stream.aclose()
                task_group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(stream)
                transport.abort()

    async def discard(self) -> None:
        await anyio.aclose_forcefully(self._stream)


class _StreamTransport:
    """One task reads and feeds, one task writes what it is given."""

    def __init__(
        self, stream: anyio.abc.ByteStream, receiver: Receiver, task_group: anyio.abc.TaskGroup, closing: float
    ) -> None:
        self._stream = stream
        self._closing = closing
        self._task_group = task_group
        self._go: anyio.Event | None = None
        self._receiver = receiver
        self._pending: list[bytes] = []
        self.unsent = 0
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()
        self._is_lost = False

    @property
    def certificate(self) -> dict[str, Any] | None:
        return self._stream.extra(TLSAttribute.peer_certificate, None) or None

    async def read(self) -> None:
        try:
            while True:
                await self._may_read()
                self._receiver.feed(await self._stream.receive(READ_SIZE))
        except anyio.EndOfStream:
            # who says no more may still read what it asked for
            await self._may_read()
            with anyio.move_on_after(self._closing):
                await self.drained()
            self._lose()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            self._lose()

    async def _may_read(self) -> None:
        while self._go is not None and not self._is_lost:
            await self._go.wait()

    async def send(self) -> None:
        try:
            while True:
                while not self._pending:
                    self._idle.set()
                    self._wake = anyio.Event()
                    self._receiver.resume_writing()
                    if not self._pending:
                        await self._wake.wait()
                data = b"".join(self._pending)
                self._pending.clear()
                for start in range(0, len(data), SEND_SIZE):
                    portion = data if len(data) <= SEND_SIZE else data[start : start + SEND_SIZE]
                    await self._stream.send(portion)
                    self.unsent -= len(portion)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError):
            self._lose()  # OpenSSL may have to read before it can write, and find the end

    async def drained(self) -> None:
        while not self._is_lost and not self._idle.is_set():
            await self._idle.wait()

    def write(self, data: bytes) -> None:
        if self._is_lost:
            return
        if self._idle.is_set():
            self._idle = anyio.Event()
            self._receiver.pause_writing()
        self._pending.append(data)
        self.unsent += len(data)
        self._wake.set()

    def abort(self) -> None:
        self._lose()

    def pause_reading(self) -> None:
        if self._go is None:
            self._go = anyio.Event()

    def resume_reading(self) -> None:
        if self._go is not None:
            self._go.set()
            self._go = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._task_group.start_soon(self._call, callback)

    async def _call(self, callback: Callable[[], None]) -> None:
        await anyio.lowlevel.checkpoint()
        callback()

    def _lose(self) -> None:
        self._is_lost = True
        self._pending.clear()
        self._receiver.lost()
        self._idle.set()
        self._wake.set()
        self.resume_reading()
