"""Connections on asyncio: accepting, opening with TLS or without, and closing them.

    listener     watched by the loop all the time, or the proactor of Windows
    carrier      `SocketTransport` on a selector event loop, `_Protocol` on any other: uvloop, the proactor
    TLSLayer     between the carrier and the receiver, if there is TLS

Rule of this file: a carrier is open exactly as long as its ``async with``; leaving it sends what is pending, within a
time limit, and closes. It must not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

import anyio

from .socket_transport import HIGH_WATER, SocketTransport
from .sockets import address, tune
from .tls_layer import TLSLayer

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from .transport import Accepted, Listener, Receiver, Transport

__all__ = ["listener"]

AHEAD: Final = 1
"""How many connections are accepted before somebody asks for them: then the next one is there in the next turn."""


def listener(sock: socket.socket) -> Listener:
    """Return what accepts the connections of a listening socket, in the event loop that runs.

    Args:
        sock: The socket; it belongs to the listener from now on.
    """
    loop = asyncio.get_running_loop()
    is_proactor = isinstance(loop, getattr(asyncio, "ProactorEventLoop", ()))
    return _ProactorListener(sock) if is_proactor else _WatchedListener(sock)


class _WatchedListener:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._came: deque[_AcceptedSocket | OSError] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._is_watched = False

    async def accept(self) -> Accepted:
        if self._came:
            await asyncio.sleep(0)
        while not self._came:
            await self._connected()
        came = self._came.popleft()
        if isinstance(came, OSError):
            raise came
        return came

    async def aclose(self) -> None:
        self._ignore()
        self._socket.close()
        while self._came:
            came = self._came.popleft()
            if not isinstance(came, OSError):
                await came.discard()

    async def _connected(self) -> None:
        """Wait until somebody connects. The loop goes on watching: to begin and to end that for each takes as long."""
        self._changed = self._loop.create_future()
        if not self._is_watched:
            self._loop.add_reader(self._socket, self._on_connected)
            self._is_watched = True
        await self._changed

    def _on_connected(self) -> None:
        if len(self._came) > AHEAD:  # nobody takes them now, and the loop would say so again and again
            self._ignore()
            return
        try:
            sock, name = self._socket.accept()
        except (BlockingIOError, InterruptedError):  # it left already
            return
        except OSError as error:
            self._came.append(error)
            self._ignore()  # until somebody knows; else the next would be told what was true before that
        else:
            if not name:  # it left already, says macOS
                sock.close()
                return
            sock.setblocking(False)
            self._came.append(_AcceptedSocket(sock, name))
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _ignore(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._socket)


class _ProactorListener:
    """For the event loop of Windows, which cannot watch a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def accept(self) -> Accepted:
        sock, name = await asyncio.get_running_loop().sock_accept(self._socket)
        return _AcceptedSocket(sock, name)

    async def aclose(self) -> None:
        self._socket.close()


class _AcceptedSocket:
    def __init__(self, sock: socket.socket, name: tuple[object, ...]) -> None:
        self._socket = sock
        self.remote = address(name)

    @property
    def local(self) -> tuple[str, int]:
        return address(self._socket.getsockname())

    def open(
        self,
        receiver: Receiver,
        context: ssl.SSLContext | None,
        *,
        handshake: float,
        closing: float,
        keepalive: float,
    ) -> AbstractAsyncContextManager[Transport]:
        tune(self._socket, keepalive)
        return _OpenSocket(self._socket, receiver, context, handshake, closing)

    async def discard(self) -> None:
        self._socket.close()


class _OpenSocket(AbstractAsyncContextManager["Transport"]):
    """The transport of a socket, open as long as this is."""

    def __init__(
        self,
        sock: socket.socket,
        receiver: Receiver,
        context: ssl.SSLContext | None,
        handshake: float,
        closing: float,
    ) -> None:
        self._socket = sock
        self._handshake = handshake
        self._closing = closing
        self._opened: asyncio.Future[None] | None = None
        self._tls = None if context is None else TLSLayer(receiver, context, self._on_open)
        is_selector = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
        carrier = SocketTransport if is_selector else _Protocol
        self._carrier: SocketTransport | _Protocol = carrier(sock, self._tls or receiver)

    async def __aenter__(self) -> Transport:
        try:
            await self._carrier.open()
        except BaseException:
            self._socket.close()
            raise
        if self._tls is None:
            return self._carrier
        try:
            await self._shake_hands(self._tls)
        except OSError:
            await self._end()  # there may be an alert on its way
            raise
        except BaseException:
            self._carrier.abort()
            raise
        return self._tls

    async def __aexit__(self, *_: object) -> None:
        if self._tls is not None:
            self._tls.say_goodbye()
        await self._end()

    async def _shake_hands(self, tls: TLSLayer) -> None:
        if self._carrier.is_closed:  # nobody would say so again
            raise ConnectionAbortedError("the peer left before the TLS handshake")
        self._opened = asyncio.get_running_loop().create_future()
        tls.attach(self._carrier)
        with anyio.move_on_after(self._handshake):
            await self._opened
            return
        raise ConnectionAbortedError(f"the TLS handshake took longer than {self._handshake:g} s")

    async def _end(self) -> None:
        if self._tls is None:
            self._carrier.close()
        else:
            self._carrier.finish()
        if self._carrier.is_closed:
            return
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._closing):
            await self._carrier.wait_closed()
        self._carrier.abort()

    def _on_open(self, error: Exception | None) -> None:
        if self._opened is None or self._opened.done():
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)


class _Protocol(asyncio.Protocol):
    """Feeds each received chunk in the callback that brings it, by a transport of the event loop."""

    certificate: dict[str, Any] | None = None

    def __init__(self, sock: socket.socket, receiver: Receiver) -> None:
        self._socket = sock
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self.is_closed = False
        self._closed: asyncio.Event | None = None
        self._is_full = False
        self._has_ended = False  # the peer says no more
        # one call less for each chunk; now, since uvloop looks it up before it says that there is a connection
        self.data_received = receiver.feed  # type: ignore[method-assign]

    async def open(self) -> None:
        """Begin to read."""
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self, self._socket)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio promises a Transport to a Protocol
        self._transport.set_write_buffer_limits(high=HIGH_WATER)  # type: ignore[union-attr]

    def pause_writing(self) -> None:
        self._is_full = True
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._is_full = False
        self._receiver.resume_writing()  # it may have more
        if self._has_ended and not self._is_full:
            self.close()

    def eof_received(self) -> bool:
        """Have the connection closed, but not before all is sent that is only kept for it yet."""
        self._has_ended = True
        return self._is_full

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None  # one that is closed cannot be aborted any more
        self._receiver.lost()
        self.is_closed = True
        if self._closed is not None:
            self._closed.set()

    def close(self) -> None:
        """Close the connection when everything is sent."""
        if self._transport is not None:
            self._transport.close()

    def finish(self) -> None:
        """Send everything, and then nothing more; the connection is closed when the peer says no more, either."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        if not self.is_closed:
            self._closed = asyncio.Event()
            await self._closed.wait()

    @property
    def unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._has_ended:
            self._transport.resume_reading()

    def call_soon(self, callback: Callable[[], None]) -> None:
        # one turn of the loop later, since it handles what is called soon before what the sockets bring
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, callback)
