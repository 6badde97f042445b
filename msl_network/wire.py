r"""Bytes to lines, within a limit.

    | a line | ``\r`` | ``\n`` |     what a well-behaved peer sends; a bare ``\n`` is accepted

The Manager gives a line that grows long piece by piece to what can read it so (`LongLine`).

Rule of this file: each byte is searched once and copied at most once, twice if it came in a small piece, however the
network cut the lines.
It must not know what a line means, or any socket.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, TypeAlias

from .errors import LineTooLongError
from .long_line import LONG, LongLine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LINE_END", "Line", "LineBuffer", "LongLineBuffer", "line_end"]

LINE_END: Final = b"\r\n"
"""What ends each line that is sent."""

SMALL: Final = 1024
"""Pieces up to this length, in bytes, are put together as they come: each by itself costs 50 bytes more, so who sends
two at a time would take twenty-five times what a line may have."""

Line: TypeAlias = bytes | LongLine
"""A received line."""


class LineBuffer:
    """Cuts received bytes into lines.

    Args:
        limit: The longest line that is accepted, in bytes. May be changed at any time.
    """

    __slots__ = ("_pieces", "held", "limit", "overflow", "refused")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflow = False
        """Whether a line was longer than the limit. Nothing that follows is read."""
        self.refused = b""
        """What came last of that line; its line end, too, if that has come."""
        self.held = 0
        """How many bytes of an unfinished line are kept."""
        self._pieces: list[bytes | bytearray] = []

    def take(self) -> list[bytes]:
        """Return the pieces of the unfinished line, and keep them no longer."""
        pieces, self._pieces, self.held = self._pieces, [], 0
        return [bytes(piece) for piece in pieces]

    def feed(self, data: bytes) -> list[bytes]:
        r"""Take received bytes, return the lines that are complete now.

        Args:
            data: What was received, at least one byte.

        Returns:
            The complete lines in order, without ``\n`` but with ``\r`` if there was one. After a line that
            is too long `overflow` is set; lines before it are still returned.
        """
        if self.overflow:
            return []
        end = data.find(b"\n")
        if end < 0:
            self._keep(data)
            self.held += len(data)
            if self.held > self.limit:
                self._overflow(data)
            return []
        if end == len(data) - 1:
            lines = [data[:-1]]
            rest = b""
        else:
            lines = data.split(b"\n")
            rest = lines.pop()
        within = self.held + len(data) <= self.limit
        if self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)
        self.held = len(rest)
        return lines if within else self._checked(lines)

    def _keep(self, data: bytes) -> None:
        if len(data) > SMALL:
            self._pieces.append(data)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += data
        else:
            self._pieces.append(bytearray(data))

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        for index, line in enumerate(lines):
            if len(line) > self.limit:
                self._overflow(line + b"\n")
                return lines[:index]
        if self.held > self.limit:
            self._overflow(bytes(self._pieces[-1]))
        return lines

    def _overflow(self, refused: bytes) -> None:
        self.overflow = True
        self.refused = refused
        self._pieces.clear()
        self.held = 0


class LongLineBuffer:
    """Cuts received bytes into lines, of which those that grow long are read piece by piece.

    Args:
        limit: The longest line that is accepted, in bytes. May be changed at any time.
    """

    __slots__ = ("_lines", "_long", "is_forgiving", "limit", "long_line", "overflow")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.long_line: Callable[[], LongLine | None] | None = None
        """Makes what takes a long line; without it, each line is put together."""
        self.is_forgiving = False
        """Whether a line that is too long is skipped; needs a `long_line`, or the limit is that of any other."""
        self.overflow = False
        """Whether a line was longer than the limit, and is not forgiven. Nothing that follows it is read."""
        self._lines = LineBuffer(limit)
        self._long: LongLine | None = None

    @property
    def held(self) -> int:
        """How many bytes of an unfinished line are kept."""
        return self._lines.held if self._long is None else self._long.held

    def feed(self, data: bytes) -> list[Line]:
        """Take received bytes, return the lines that are complete now.

        Args:
            data: What was received, at least one byte.

        Returns:
            The complete lines in order, as of a `LineBuffer`. Of a line that is too long the end is waited for, if
            there is a `long_line`; then it is returned, too, refused, and with its uid if that could be found.
        """
        if self._long is not None:
            return self._feed_long(self._long, data)
        if self.overflow:
            return []
        if not self._lines.held and data.endswith(b"\n") and len(data) <= LONG and len(data) <= self.limit:
            quick = data.split(b"\n")  # as a rule
            quick.pop()
            return quick  # type: ignore[return-value]  # nobody else has it, so it may be a list of more than bytes
        is_forgiving = self.is_forgiving and self.long_line is not None
        self._lines.limit = sys.maxsize if is_forgiving else self.limit
        lines: list[Line] = list(self._lines.feed(data))
        if is_forgiving:
            lines = [self._checked(line) for line in lines]
        if self._lines.overflow:
            self.overflow = True
            long = self._begin()
            if long is not None:
                long.spoil(self._too_long())
                lines += self._feed_long(long, self._lines.refused)
        elif self._lines.held > LONG:
            long = self._begin()
            if long is not None:
                for piece in self._lines.take():
                    long.feed(piece)
        return lines

    def _checked(self, line: Line) -> Line:
        """Return a line, or what says that it is too long."""
        if isinstance(line, LongLine) or len(line) <= self.limit or self.long_line is None:
            return line
        long = self.long_line()
        if long is None:
            return line
        long.spoil(self._too_long())
        long.feed(line)
        long.close()
        return long

    def _begin(self) -> LongLine | None:
        self._long = None if self.long_line is None else self.long_line()
        return self._long

    def _feed_long(self, long: LongLine, data: bytes) -> list[Line]:
        end = data.find(b"\n")
        long.feed(data if end < 0 else data[:end])
        if long.size > self.limit and not isinstance(long.error, LineTooLongError):
            self.overflow = not self.is_forgiving
            long.spoil(self._too_long())
        if end < 0:
            return []
        long.close()
        self._long = None
        rest = data[end + 1 :]
        return [long, *self.feed(rest)] if rest else [long]

    def _too_long(self) -> LineTooLongError:
        return LineTooLongError(f"a message may have {self.limit} bytes (max_message), this one has more")


def line_end(line: bytes) -> bytes:
    """Return what a received line needs at its end to be forwarded as it came."""
    return b"\n" if line.endswith(b"\r") else LINE_END
