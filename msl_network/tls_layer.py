"""TLS in memory: what stands between the bytes of a connection and who reads and writes them.

    transport --feed--> TLSLayer --feed--> peer
    peer --write--> TLSLayer --write--> transport

asyncio has such a layer, too. That one keeps a buffer of 256 KiB for each connection, and a message costs it more.

Rule of this file: nothing here waits. What OpenSSL wants to send, an alert, too, is sent before anything else happens.
It must not know what the bytes mean, or any socket.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Receiver

__all__ = ["TLSLayer"]

RECORD: Final = 16 * 1024
"""The most that OpenSSL reads at a time, in bytes: a record of TLS has no more."""


class Carrier(Protocol):
    """What carries the encrypted bytes: a `Transport` that can be told to close."""

    @property
    def unsent(self) -> int:
        """How many bytes of what was written the system has not taken yet."""

    def write(self, data: bytes) -> None:
        """Send bytes, in time."""

    def close(self) -> None:
        """Close when everything is sent."""

    def abort(self) -> None:
        """Close now, whatever is pending."""

    def pause_reading(self) -> None:
        """Feed no more until `resume_reading`."""

    def resume_reading(self) -> None:
        """Feed again."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call something as soon as everybody else had a turn."""


class TLSLayer:
    """The server's end of TLS on one connection.

    Args:
        receiver: Who gets what the peer says.
        context: The TLS settings.
        on_open: Called when the handshake is complete, or with the error that ended it.
    """

    def __init__(
        self, receiver: Receiver, context: ssl.SSLContext, on_open: Callable[[Exception | None], None]
    ) -> None:
        self._receiver = receiver
        self._on_open = on_open
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._transport: Carrier | None = None
        self._is_open = False
        self._is_over = False
        self._is_full = False
        self._has_ended = False  # the peer says no more

    # What the transport calls

    def attach(self, transport: Carrier) -> None:
        """Take what carries the encrypted bytes, and begin with what came before."""
        self._transport = transport
        if self._incoming.pending:
            self._shake_hands()

    def feed(self, data: bytes) -> None:
        """Take encrypted bytes, and hand on what is in them."""
        if self._has_ended or (self._is_over and not self._is_open):  # after its last word, or a handshake that failed
            return
        self._incoming.write(data)
        if self._is_open:
            self._read()
        elif self._transport is not None:
            self._shake_hands()

    def lost(self) -> None:
        """Note that nothing more will come."""
        is_early = not self._is_open and not self._is_over  # else it was told of an error
        self._transport, self._is_over = None, True
        self._receiver.lost()
        if is_early:
            self._on_open(ConnectionAbortedError("the peer left in the TLS handshake"))

    def pause_writing(self) -> None:
        """Note that the transport has enough to send; nothing is kept here."""
        self._is_full = True
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """Note that the transport can take more."""
        self._is_full = False
        self._receiver.resume_writing()  # it may have more
        if self._has_ended and not self._is_full:
            self._end()

    # What the peer calls

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The certificate of the peer, verified; None if it showed none."""
        return self._tls.getpeercert() or None if self._is_open else None

    @property
    def unsent(self) -> int:
        """How many encrypted bytes the system has not taken yet."""
        return 0 if self._transport is None else self._transport.unsent

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._is_over:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.abort()
        else:
            self._flush()

    def say_goodbye(self) -> None:
        """Tell the peer that nothing more comes, so that it knows that nobody cut the connection. Again is fine."""
        if self._is_over or not self._is_open:
            return
        self._is_over = True
        with suppress(ssl.SSLError):  # it waits for the answer, or the peer broke off in the middle of something
            self._tls.unwrap()
        self._flush()

    def abort(self) -> None:
        """Close now, whatever is pending."""
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Feed no more until `resume_reading`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Feed again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call something as soon as everybody else had a turn."""
        if self._transport is not None:
            self._transport.call_soon(callback)

    # Private

    def _shake_hands(self) -> None:
        error: Exception | None = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as problem:  # a CertificateError is one
            error, self._is_over = problem, True
        self._flush()
        self._is_open = error is None
        self._on_open(error)
        if self._is_open:
            self.call_soon(self._read)  # what came with the end of the handshake, when somebody is there to take it

    def _read(self) -> None:
        parts: list[bytes] = []
        is_broken = False
        try:
            while self._incoming.pending or self._tls.pending():
                part = self._tls.read(RECORD)
                if not part:
                    self._has_ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:  # the rest of a record is still to come
            pass
        except ssl.SSLError:  # what is in it is not what was sent
            self._has_ended = is_broken = True
        if self._outgoing.pending:
            self._flush()
        if parts and not self._is_over:
            self._receiver.feed(parts[0] if len(parts) == 1 else b"".join(parts))
        # who says no more may still read, also what is only kept for it yet
        if self._has_ended and (is_broken or not self._is_full):
            self._end()

    def _end(self) -> None:
        if self._transport is not None:
            self.say_goodbye()
            self._transport.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._transport.write(data)
