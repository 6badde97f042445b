"""Bytes to and from a socket on a selector event loop of asyncio, with no transport of asyncio in between.

    the loop says it is readable --> receive --> receiver.feed
    write --> send, at once --> what the system does not take is kept until the loop says it is writable

asyncio has such a transport, too. To begin and to end that one takes a fifth of all the work of a connection, in three
turns of the loop, and a message passes more calls; see docs/performance.md.

Rule of this file: nothing here waits but `wait_closed`, for one task, and the receiver is never told that a connection
is lost while it writes: that comes in a later turn, or from whoever calls `close`. It must not know what the bytes
mean, or what TLS is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Receiver

__all__ = ["HIGH_WATER", "READ_SIZE", "SocketTransport"]

logger = logging.getLogger("msl_network")

READ_SIZE: Final = 256 * 1024
"""How much is read at a time, in bytes: as much as asyncio reads."""

HIGH_WATER: Final = 256 * 1024
"""Above this many pending bytes a transport asks its peer to keep the rest."""

LOW_WATER: Final = HIGH_WATER // 4
"""With no more pending bytes it may go on."""


class SocketTransport:
    """A connected socket that does not block, from `open` until it is lost.

    Args:
        sock: The socket; it is closed at the end.
        receiver: Who gets what comes.
    """

    # a quarter of the memory of a dictionary, for each of a thousand peers
    __slots__ = (
        "_closed",
        "_fd",
        "_is_closing",
        "_is_ending",
        "_is_finished",
        "_is_full",
        "_is_reading",
        "_loop",
        "_pending",
        "_receiver",
        "_socket",
        "is_closed",
        "unsent",
    )

    certificate: dict[str, Any] | None = None

    def __init__(self, sock: socket.socket, receiver: Receiver) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._pending: list[bytes | memoryview] = []
        self.unsent = 0
        """How many bytes of what was written the system has not taken yet."""
        self._is_reading = False
        self._is_full = False
        self._is_finished = False  # nothing may be written any more
        self._is_closing = False  # the end comes when all is sent
        self._is_ending = False  # it comes now
        self.is_closed = False
        """Whether the connection is lost, and the receiver told."""
        self._closed: asyncio.Event | None = None

    async def open(self) -> None:
        """Begin to read."""
        self.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes, in time."""
        if self._is_finished:
            return
        if self.unsent:
            self._keep(data)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent != len(data):
            self._loop.add_writer(self._fd, self._on_writable)
            self._keep(memoryview(data)[sent:])

    def close(self) -> None:
        """Read no more, and close when everything is sent; now if it is."""
        self._is_finished = self._is_closing = True
        self.pause_reading()
        if not self.unsent and not self._is_ending:
            self._is_ending = True
            self._lose()

    def finish(self) -> None:
        """Send everything, and then nothing more; the connection is closed when the peer says no more, either."""
        if not self._is_finished:
            self._is_finished = True
            if not self.unsent:
                self._say_no_more()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        if not self.is_closed:
            self._closed = asyncio.Event()
            await self._closed.wait()

    def abort(self) -> None:
        """Close now, whatever is pending."""
        if self._is_ending:
            return
        self._is_finished = self._is_closing = self._is_ending = True
        self.pause_reading()
        self._loop.remove_writer(self._fd)
        self._pending.clear()
        self.unsent = 0
        self._loop.call_soon(self._lose)

    def pause_reading(self) -> None:
        """Feed no more until `resume_reading`; twice is fine."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Feed again; without a pause it does nothing."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call something as soon as everybody else had a turn."""
        # one turn of the loop later, since it handles what is called soon before what the sockets bring
        self._loop.call_soon(self._loop.call_soon, callback)

    # What the loop calls

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, MemoryError):  # what is not read now, the loop would bring up again at once, and for ever
            self.abort()
            return
        if not data:
            self._end_when_sent()
            return
        try:
            self._receiver.feed(data)
        except Exception:  # a mistake in this package; it must not end the other connections
            logger.exception("what a peer sent could not be handled, closing its connection")
            self.abort()

    def _on_writable(self) -> None:
        data = self._pending[0]
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        self.unsent -= sent
        if sent == len(data):
            del self._pending[0]
        else:
            self._pending[0] = memoryview(data)[sent:]
        if not self.unsent:
            self._loop.remove_writer(self._fd)  # before the receiver can close: what is closed is not watched
        if self._is_full and self.unsent <= LOW_WATER:
            self._is_full = False
            self._receiver.resume_writing()  # it may have more
        if self.unsent or self._is_ending:
            return
        if self._is_closing:
            self.close()
        elif self._is_finished:
            self._say_no_more()

    # Private

    def _keep(self, data: bytes | memoryview) -> None:
        self._pending.append(data)
        self.unsent += len(data)
        if self.unsent > HIGH_WATER and not self._is_full:
            self._is_full = True
            self._receiver.pause_writing()

    def _end_when_sent(self) -> None:
        """Close when everything is sent, also what is only kept for it yet: who says no more may still read."""
        self._is_closing = True
        self.pause_reading()
        if not self.unsent:
            self.close()

    def _say_no_more(self) -> None:
        with suppress(OSError):  # the peer is gone, and reading finds that out
            self._socket.shutdown(socket.SHUT_WR)

    def _lose(self) -> None:
        self.is_closed = True
        try:
            self._receiver.lost()
        finally:  # whatever it makes of that
            self._socket.close()
            if self._closed is not None:
                self._closed.set()
