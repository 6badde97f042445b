"""A blocking connection to a Manager: lines in, lines out, TLS or not.

Rule of this file: any thread may send at any time, one thread at a time may receive, and neither waits for the other. A
TLS session of OpenSSL must not be used by two threads at once, so it works in memory, under a lock that is never held
while a socket waits. It must not know what a line means, beyond the handshake that opens the connection.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from . import trust
from .connecting import Host
from .errors import ConnectError, ConnectionLostError
from .sending import Sender
from .sockets import tune
from .wire import LineBuffer

if TYPE_CHECKING:
    from pathlib import Path

    from .connecting import ConnectOptions
    from .introduction import Introduction

__all__ = ["CLOSED", "LARGE_CHUNK", "NO_LIMIT", "Channel", "TooLongError", "open_channel"]

KIBI: Final = 2**10
SMALL_CHUNK: Final = 64 * KIBI  # bytes; from malloc's arena: what is larger is mapped anew each time
LARGE_CHUNK: Final = 1024 * KIBI  # bytes, once a message turned out to be large
MOST_SECONDS: Final = 86400.0  # that are waited for at a stretch; systems have limits of their own, from 24 days on
CLOSED: Final = "the Manager closed the connection"
NO_LIMIT: Final = sys.maxsize
SLICE: Final = 0.2  # seconds; on Windows nothing interrupts a thread that waits for a socket, Ctrl+C must find it awake
IS_WINDOWS: Final = os.name == "nt"


def open_channel(options: ConnectOptions, introduction: Introduction) -> Channel:
    """Connect to a Manager and be let in.

    Args:
        options: Which Manager, and how.
        introduction: The answers to its questions.

    Returns:
        The connection. The Manager has been sent the identity, and says nothing to that unless it refuses it.

    Raises:
        ConnectError: If that is not possible; its text says why and what to do.
    """
    context, cert_file = (None, None) if options.disable_tls else trust.trusted_context(options)
    while True:
        try:
            return _open(options, introduction, context, cert_file)
        except ConnectError as error:
            if not introduction.was_too_slow(error):
                raise


def _open(
    options: ConnectOptions, introduction: Introduction, context: ssl.SSLContext | None, cert_file: Path | None
) -> Channel:
    deadline = _Deadline(options.timeout)
    if isinstance(options.host, Host):
        channel = options.host.open_channel(options.read_limit)
        try:
            _introduce(channel, introduction, options, deadline)
        except BaseException:
            channel.close()
            raise
        return channel
    sock = _connect(options, deadline)
    try:
        channel = _secured(sock, context, cert_file, options, deadline)
        _introduce(channel, introduction, options, deadline)
    except BaseException:
        sock.close()
        raise
    return channel


class Channel:
    """A connection, used from several threads.

    Args:
        sock: The connected socket.
        limit: The longest line to receive, in bytes; None for no limit.
        session: The TLS session, its handshake done, if there is TLS.
    """

    def __init__(self, sock: socket.socket, limit: int | None = None, session: _Session | None = None) -> None:
        # there is no way there to send what the system takes at once from a socket that blocks
        sock.setblocking(not IS_WINDOWS)
        self._socket = sock
        self._session = session
        self._sender = Sender(sock, None if session is None else session.encrypt)
        self._lines = LineBuffer(NO_LIMIT if limit is None else limit)
        self._chunk = SMALL_CHUNK
        self._received: list[bytes] = []
        self._is_closed = False
        self.port: int = sock.getsockname()[1]
        """The port of this end."""

    @property
    def is_torn(self) -> bool:
        """Whether bytes were received and not taken care of, because the thread that did was interrupted (Ctrl+C)."""
        return bool(self._received)

    def taken(self) -> None:
        """Note that all lines that `receive` returned were taken care of. Whoever never asks `is_torn` need not."""
        self._received.clear()

    @property
    def is_cut(self) -> bool:
        """Whether a thread that was sending was interrupted (Ctrl+C) in the middle of a line."""
        return self._sender.is_cut

    def send(self, data: bytes, deadline: float | None = None) -> None:
        """Send bytes. If the system does not take them now, they are kept, and sent by a thread.

        Args:
            data: One or more whole lines.
            deadline: When to give up if very much waits to be sent already, by `time.monotonic`.

        Raises:
            NoRoomError: If the deadline has passed.
            ConnectionLostError: If the connection has ended.
        """
        try:
            self._sender.send(data, deadline)
        except OSError as error:
            raise ConnectionLostError(self._reason(error)) from None

    def is_over(self) -> bool:
        """Return whether the other side has ended the connection, as far as that can be seen before what it sent."""
        try:
            if hasattr(select, "POLLRDHUP"):
                poll = select.poll()
                poll.register(self._socket, select.POLLRDHUP)
                return bool(poll.poll(0))
            return self._is_readable(0) and not self._socket.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def receive(self, timeout: float | None = None) -> list[bytes]:
        """Wait for bytes, and return the lines that are complete now.

        Args:
            timeout: The longest time to wait, in seconds; None to wait for ever.

        Returns:
            The lines, without their ends; none if what came completes no line, or nothing came in time.

        Raises:
            ConnectionLostError: If the connection has ended, or a line is longer than allowed.
        """
        if self._lines.overflow:
            raise TooLongError(self._lines.limit)
        if self._session is not None and self._session.has_ended:
            raise ConnectionLostError(CLOSED)
        try:
            if (timeout is not None or IS_WINDOWS) and not self._is_readable(timeout):
                return []
            self._received.clear()
            # received and kept in one step, between whose parts no signal can interrupt
            self._received.extend(map(self._socket.recv, (self._chunk,)))
            data = self._received[0]
            if not data:
                raise ConnectionLostError(self._reason(None) if self._is_closed else CLOSED)
            self._chunk = LARGE_CHUNK if len(data) >= SMALL_CHUNK else SMALL_CHUNK
            if self._session is not None:
                data = self._decrypt(data, self._session)
                if not data:
                    self._received.clear()
                    return []
        except BlockingIOError:  # on Windows; it looked as if there were something
            return []
        except (OSError, ValueError) as error:
            if isinstance(error, ConnectionLostError):
                raise
            raise ConnectionLostError(self._reason(error)) from None
        return self._lines.feed(data)

    def received_already(self) -> list[bytes]:
        """Return the lines that came with the end of the TLS handshake. To be called once, before `receive`."""
        data = b"" if self._session is None else self._session.decrypt(b"")
        return self._lines.feed(data) if data else []

    def abandon(self) -> None:
        """Give up this process's part of the connection, and leave it open to the one that this was forked from."""
        self._socket.close()

    def close(self) -> None:
        """Close the connection. A thread that receives finds its end."""
        self._is_closed = True
        self._sender.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # close() alone does not wake who waits in recv()
        self._socket.close()

    def _decrypt(self, data: bytes, session: _Session) -> bytes:
        plain = session.decrypt(data)
        if session.has_to_send:
            self._sender.send(b"")
        return plain

    def _is_readable(self, timeout: float | None) -> bool:
        timeout = SLICE if timeout is None else min(max(0.0, timeout), MOST_SECONDS)
        if IS_WINDOWS:
            return bool(select.select([self._socket], [], [], timeout)[0])
        poll = select.poll()  # select() cannot look at descriptors above 1023
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _reason(self, error: Exception | None) -> str:
        if self._is_closed:
            return "the connection was closed on this side"
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"the connection broke: {reason}"


class TooLongError(ConnectionLostError):
    """Raised when a line is longer than `read_limit`.

    Args:
        limit: The limit, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"a message is longer than the {limit} bytes of read_limit; allow more, or ask for less")


class _Session:
    """A TLS session in memory.

    Args:
        context: The context of the Client.
        hostname: The name that the certificate must have.
    """

    def __init__(self, context: ssl.SSLContext, hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._lock = threading.Lock()
        self.has_ended = False
        """Whether the other side has ended the session; no more will come."""

    @property
    def has_to_send(self) -> bool:
        """Whether the session itself has something to say, e.g. a new key."""
        return bool(self._outgoing.pending)

    def shake_hands(self, sock: socket.socket, deadline: _Deadline) -> None:
        """Do the handshake.

        Args:
            sock: The connected socket.
            deadline: Until when.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(sock, deadline)
                deadline.apply(sock)
                data = sock.recv(SMALL_CHUNK)
                if not data:
                    raise ConnectionResetError("the connection was closed in the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush(sock, deadline)  # tells the Manager why
                raise
            else:
                self._flush(sock, deadline)
                return

    def encrypt(self, data: bytes) -> bytes:
        """Return the bytes to send for plain ones."""
        with self._lock:
            if data:
                self._object.write(data)
            return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain bytes in what was received, as far as they are complete.

        Raises:
            ConnectionLostError: If the other side ended the session.
        """
        pieces: list[bytes] = []
        with self._lock:
            self._incoming.write(data)
            while True:
                try:
                    piece = self._object.read(SMALL_CHUNK)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:
                    piece = b""
                if not piece:
                    self.has_ended = True
                    if pieces:
                        break
                    raise ConnectionLostError(CLOSED)
                pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _flush(self, sock: socket.socket, deadline: _Deadline) -> None:
        data = self._outgoing.read()
        if data:
            deadline.apply(sock)
            sock.sendall(data)


class _Deadline:
    """Counts down the time that connecting may take."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def remaining(self) -> float | None:
        """How many seconds are left; None without a limit."""
        if self._end is None:
            return None
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return min(remaining, MOST_SECONDS)

    def apply(self, sock: socket.socket) -> None:
        """Let the next operation of a socket last no longer."""
        sock.settimeout(self.remaining)


def _connect(options: ConnectOptions, deadline: _Deadline) -> socket.socket:
    try:
        sock = socket.create_connection((options.host, options.port), timeout=deadline.remaining)
    except (OSError, ValueError, OverflowError) as error:
        raise trust.explain(error, options) from None
    tune(sock)
    return sock


def _secured(
    sock: socket.socket,
    context: ssl.SSLContext | None,
    cert_file: Path | None,
    options: ConnectOptions,
    deadline: _Deadline,
) -> Channel:
    if context is None:
        return Channel(sock, options.read_limit)
    try:
        session = _Session(context, options.host)
        session.shake_hands(sock, deadline)
    except (OSError, ValueError) as error:
        raise trust.explain(error, options, cert_file) from None
    return Channel(sock, options.read_limit, session)


def _introduce(channel: Channel, introduction: Introduction, options: ConnectOptions, deadline: _Deadline) -> None:
    try:
        lines = channel.received_already()
        while True:
            for line in lines:
                channel.send(introduction.answer_line(line))
                if introduction.is_complete:
                    channel.taken()
                    return
                if introduction.has_asked:  # a person, which takes as long as it takes; the Manager has its own limit
                    deadline = _Deadline(options.timeout)
            channel.taken()
            lines = channel.receive(deadline.remaining)
    except TooLongError as error:
        raise ConnectError(f"{options.address}: {error}") from None
    except ConnectionLostError as error:
        raise trust.closed_early(options, error) from None
    except TimeoutError:
        raise trust.silent_manager(options, options.timeout or 0.0) from None
