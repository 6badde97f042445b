r"""Bytes to lines, within a limit.

    | a line | ``\r`` | ``\n`` |     what a well-behaved peer sends; a bare ``\n`` is accepted

Rule of this file: each byte is searched once and copied at most once, however the network cut the lines.
It must not know what a line means, or any socket.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LINE_END", "LineBuffer", "line_end"]

LINE_END: Final = b"\r\n"
"""What ends each line that is sent."""


class LineBuffer:
    """Cuts received bytes into lines.

    Args:
        limit: The longest line that is accepted, in bytes. May be changed at any time.
    """

    __slots__ = ("_held", "_pieces", "limit", "overflow")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflow = False
        """Whether a line was longer than the limit. Nothing that follows is read."""
        self._pieces: list[bytes] = []
        self._held = 0

    @property
    def held(self) -> int:
        """How many bytes of an unfinished line are kept."""
        return self._held

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
            self._pieces.append(data)
            self._held += len(data)
            if self._held > self.limit:
                self._overflow()
            return []
        if end == len(data) - 1:
            lines = [data[:-1]]
            rest = b""
        else:
            lines = data.split(b"\n")
            rest = lines.pop()
        within = self._held + len(data) <= self.limit
        if self._pieces:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)
        self._held = len(rest)
        return lines if within else self._checked(lines)

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        for index, line in enumerate(lines):
            if len(line) > self.limit:
                self._overflow()
                return lines[:index]
        if self._held > self.limit:
            self._overflow()
        return lines

    def _overflow(self) -> None:
        self.overflow = True
        self._pieces.clear()
        self._held = 0


def line_end(line: bytes) -> bytes:
    """Return what a received line needs at its end to be forwarded as it came."""
    return b"\n" if line.endswith(b"\r") else LINE_END
