"""What is to be sent to one peer: kept within a limit, and handed on as fast as the peer reads.

    put --> parts --flush, once per chunk--> transport
              |
              `-- over the limit in bytes, or nothing taken for too long: full, and somebody else's decision

Rule of this file: nothing here waits, and what is kept is counted to the byte. It must not know what the bytes mean,
or what becomes of a peer that does not read.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .transport import Transport

__all__ = ["Outbox", "Touched", "flush"]

PORTION = 1024 * 1024
"""How much is handed to the transport at a time, in bytes: it copies what it cannot send at once."""


class Touched(Protocol):
    """What has something to send."""

    def flush(self) -> None:
        """Hand it on."""


class Outbox:
    """Keeps bytes for one peer.

    Args:
        limit: How many bytes may be kept.
        timeout: How long nothing of them may be taken, in seconds.
        touched: Where this outbox puts itself when there is something to send; whoever fed a chunk flushes them.
        on_overflow: Called when there is something to keep beyond the limit; it is not kept.
    """

    __slots__ = (
        "_is_touched",
        "_is_writable",
        "_on_overflow",
        "_parts",
        "_sent",
        "_stuck_since",
        "_timeout",
        "_touched",
        "_written",
        "is_stuck",
        "limit",
        "lost",
        "size",
        "transport",
    )

    def __init__(self, limit: int, timeout: float, touched: list[Touched], on_overflow: Callable[[], None]) -> None:
        self.transport: Transport | None = None
        """What carries the bytes; None before the connection is open, and after its end."""
        self.limit = limit
        """How many bytes may be kept; less than none after the end of the connection."""
        self.size = 0
        """How many bytes are kept because the peer does not read."""
        self.is_stuck = False
        """Whether nothing was taken for longer than may be, at the last look."""
        self.lost: dict[str, int] = {}
        """How many notifications of each Service were dropped since the peer was told of the last."""
        self._timeout = timeout
        self._touched = touched
        self._on_overflow = on_overflow
        self._parts: list[bytes] = []
        self._is_touched = False
        self._is_writable = True
        self._written = 0
        self._sent = 0
        self._stuck_since = inf

    @property
    def is_congested(self) -> bool:
        """Whether a notification should rather be dropped: half of the limit is reached."""
        return self.size * 2 > self.limit

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be asked of the peer: the limit is passed, or it takes nothing."""
        return self.size > self.limit or self.is_stuck

    def put(self, data: bytes) -> None:
        """Keep bytes until `flush` hands them on. Beyond the limit nothing is kept."""
        if self.size > self.limit:
            self._on_overflow()
            return
        self._parts.append(data)
        self.size += len(data)
        if not self._is_touched:
            self._is_touched = True
            self._touched.append(self)

    def put_all(self, parts: Sequence[bytes]) -> None:
        """Keep the parts of one message, as `put` does: all of them, or none."""
        if self.size > self.limit:
            self._on_overflow()
            return
        self._parts += parts
        self.size += sum(map(len, parts))
        if not self._is_touched:
            self._is_touched = True
            self._touched.append(self)

    def flush(self) -> None:
        """Hand on what is kept, as far as the transport takes it."""
        self._is_touched = False
        parts = self._parts
        while parts and self._is_writable and self.transport is not None:
            count = len(parts) if self.size <= PORTION else _portion(parts)
            data = parts[0] if count == 1 else b"".join(parts[:count])
            del parts[:count]
            self.size -= len(data)
            self._written += len(data)
            self.transport.write(data)

    def pause(self) -> None:
        """Note that the transport has enough to send."""
        self._is_writable = False

    def resume(self) -> None:
        """Note that the transport can take more, and hand it on."""
        self._is_writable = True
        self.flush()

    def look(self, now: float) -> None:
        """Note whether anything was taken since the last look, in `is_stuck`.

        Args:
            now: The time, in seconds, by a clock that only goes forward.
        """
        if self._is_writable or self.transport is None:
            self._stuck_since, self.is_stuck = inf, False
            return
        sent = self._written - self.transport.unsent
        if sent != self._sent or self._stuck_since > now:
            self._sent, self._stuck_since = sent, now
        self.is_stuck = now - self._stuck_since >= self._timeout

    def close(self) -> None:
        """Keep nothing any more, whatever comes."""
        self.transport = None
        self.limit = -1
        self._on_overflow = _shrug
        self._parts.clear()
        self.size = 0


def _shrug() -> None:
    """The peer is gone, so nothing of it is of interest."""


def flush(touched: list[Touched]) -> None:
    """Hand on what all these keep, each once; also those that are touched by that."""
    for one in touched:
        one.flush()
    touched.clear()


def _portion(parts: list[bytes]) -> int:
    """Return how many of these parts make a portion, at least one."""
    count = size = 0
    for part in parts:
        if count and size + len(part) > PORTION:
            break
        count += 1
        size += len(part)
    return count
