r"""A long line of JSON: checked piece by piece as it comes, and known by a short form of itself.

    the line     {"args": [1.5, 2.5, 3.5, ... 40 MB ... , 8.5, 9.5], "attribute": "fit", ...}
    its short    {"args": [1.5, 2.5,"<mark>00000000","<mark>00000001", 9.5], "attribute": "fit", ...}

A piece is cut off before a comma, or inside a text, and put where it stands: after which brackets, and whether in a
text. With these brackets before and behind it, it is JSON of its own and can be checked alone; with a text of the same
effect in its place, what is left is short JSON that means the same to whoever only reads the envelope.

Rule of this file: each byte is looked at once, when it comes, so no line holds up anybody for longer than a chunk of
it takes. It must not know what the keys of a message mean, or any socket.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Final

from .errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONG", "LongLine"]

LONG: Final = 1024 * 1024
"""From how many bytes on an unfinished line is taken as a long one. Below, reading it at once takes two milliseconds
(at the very worst, with a NaN in a list of small objects, twenty-five), and half of what it takes piece by piece."""

PIECE: Final = 64 * 1024
"""How much is put together before it is cut, in bytes: a piece costs 300 bytes beside its own, and checking it some
microseconds, whatever its length, which is the choice of whoever sends it."""

MAX_UNCUT: Final = 1024 * 1024
"""How many bytes may come without a place to cut: neither a comma nor a text, so no value that anybody uses."""

MAX_KEPT: Final = 4 * 1024 * 1024
"""The longest envelope, in bytes: what stands outside of the arguments and results, names and values."""

IN_A_TEXT: Final = 4096
"""From how many bytes on a text that has no end yet is cut, too."""

WORDS: Final = 4096
"""How much is kept of the begin and of the end of a line that is refused, in bytes, to find its uid: peers of 1.0 write
it last, and others before what is long."""

_VALUE: Final = "value"
_KEY: Final = "key"
_OUTSIDE: Final = ""

_NOT_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")
_CLOSE: Final = bytes.maketrans(b"[{", b"]}")
_MAX_DEPTH: Final = 500  # of the brackets that are open at a time
_ROUNDS: Final = 8  # each takes one level of nesting away; of what people send, nothing is left then
_MAX_TEXTS: Final = 2 * _MAX_DEPTH  # without a comma: each is the name of what has the next one in it, or its value
_ESCAPE: Final = 6  # the bytes of the longest escape: \u00e9
_PLACE: Final = re.compile(r": line \d+ column \d+ \(char \d+\)")  # in a piece, which says nothing of the line
_SCALAR: Final = rb'("(?:[^"\\]|\\.){0,1024}"|-?[0-9]{1,18}|null|true|false)'
_LAST_UID: Final = re.compile(rb'"uid"\s*:\s*' + _SCALAR + rb"\s*\}\s*\Z", re.DOTALL)
_FIRST_UID: Final = re.compile(
    rb'\s*\{(?:\s*"(?!uid")\w{1,99}"\s*:\s*' + _SCALAR + rb'\s*,)*\s*"uid"\s*:\s*' + _SCALAR + rb"\s*[,}]", re.DOTALL
)


class LongLine:
    """One line of JSON that is too long to be read at once.

    Args:
        check: Raises a `MessageError` unless what it is given is one JSON object.
    """

    __slots__ = (
        "_begin",
        "_check",
        "_inside",
        "_kept",
        "_mark",
        "_name",
        "_new",
        "_pieces",
        "_replaced",
        "_short",
        "_stack",
        "_tail",
        "_wanted",
        "error",
        "size",
    )

    def __init__(self, check: Callable[[bytes], None]) -> None:
        self._check = check
        self.error: MessageError | None = None
        """Why the line is refused; nothing of it is kept then but its end."""
        self.size = 0
        """How many bytes came so far."""
        # whoever writes the line cannot know them, so it cannot contain them; no digit comes first: it could complete
        # an escape that the line does not
        self._mark = b"#" + secrets.token_hex(16).encode()
        self._name = secrets.token_hex(8).encode()
        self._pieces: list[bytes] = []
        self._short: list[bytes] = []
        self._replaced: list[tuple[int, int, bytes]] = []  # what is before the mark, the length of all, the piece
        self._kept = 0
        self._begin = b""  # the first words
        self._new = bytearray()  # what came since the last cut
        self._wanted = PIECE  # how much of that there must be before the next
        self._tail = b""
        self._stack = b""  # the brackets that are open where the tail begins
        self._inside = _OUTSIDE  # whether it begins in a text, and in what kind

    def __len__(self) -> int:
        return self.size

    @property
    def held(self) -> int:
        """How many bytes of it are kept."""
        return len(self._tail) + len(self._new) if self.error is not None else self.size

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the line.

        Args:
            data: Received bytes, without a line end.
        """
        self.size += len(data)
        if len(self._begin) < WORDS:
            self._begin += data[: WORDS - len(self._begin)]
        self._new += data
        if len(self._new) >= self._wanted:
            self._advance()

    def spoil(self, error: MessageError) -> None:
        """Refuse the line, and keep nothing of it but its end.

        Args:
            error: Why.
        """
        self.error = error
        for kept in (self._pieces, self._short, self._replaced):
            kept.clear()
        self._advance()

    def close(self) -> None:
        """Note that the line is complete."""
        self._advance()
        if self.error is None:
            self._pieces.append(self._tail)
            self._short.append(self._tail)
            return
        if self.error.uid == "":
            found = _LAST_UID.search(self._tail) or _FIRST_UID.match(self._begin)
            with contextlib.suppress(ValueError):  # it is no JSON after all, so it is nobody's uid
                self.error.uid = json.loads(found[found.lastindex or 0]) if found else ""

    def short(self) -> bytes:
        """Return the short form of a complete line: JSON exactly if the line is.

        Raises:
            MessageError: If the line is refused, with its uid if that could be found.
        """
        if self.error is not None:
            raise self.error
        return b"".join(self._short)

    def whole(self) -> list[bytes]:
        """Return the complete line as it came, in pieces."""
        return self._pieces

    def conceals(self, *values: object) -> bool:
        """Whether a part of one of these values is left out of the short form: it is a text, and long."""
        mark = self._mark.decode()
        return any(isinstance(value, str) and mark in value for value in values)

    def restore(self, text: bytes) -> list[bytes]:
        """Put back what the short form leaves out.

        Args:
            text: A message that was made of values of the short form.

        Returns:
            The message, in pieces.
        """
        restored = []
        place = 0
        while (mark := text.find(self._mark, place)) >= 0:
            number = mark + len(self._mark)
            lead, length, piece = self._replaced[int(text[number : number + 8], 16)]
            restored += [text[place : mark - lead], piece]
            place = mark - lead + length
        return [*restored, text[place:]]

    def _advance(self) -> None:
        """Cut off what can be cut now; of a line that is refused, keep the end."""
        self._tail += self._new
        self._new.clear()
        if self.error is None:
            try:
                self._cut()
            except MessageError as error:
                self.spoil(error)
        else:
            self._tail = self._tail[-WORDS:]
        # what had no place to cut is searched again when as much has come once more, not for each byte
        self._wanted = max(PIECE, len(self._tail))

    def _cut(self) -> None:
        """Cut off as much of the tail as is complete in itself."""
        text = self._tail
        masked = text
        if b"\\" in text:  # of each run of backslashes the pairs come first, so what is left escapes what follows
            masked = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        parts = masked.split(b'"')  # in turn outside of texts and inside
        first = 1 if self._inside else 0
        if (len(parts) - 1) % 2 != first and len(parts[-1]) >= IN_A_TEXT:
            self._cut_in_text(parts, first)
            return
        place = _last_comma(parts, first)
        comma = parts[place].rfind(b",") if place >= 0 else 0
        cut = len(text) - sum(len(part) + 1 for part in parts[place:]) + 1 + comma if place >= 0 else 0
        if cut <= 0:
            if len(text) > MAX_UNCUT:
                raise MessageError(f"the line is not usable JSON: {MAX_UNCUT} bytes without a comma or a text")
            return
        stack, lowest = self._follow(b"".join(parts[first:place:2]) + parts[place][:comma])
        self._take(text[:cut], stack, lowest, _OUTSIDE, is_text=False)
        self._tail = text[cut:]

    def _cut_in_text(self, parts: list[bytes], first: int) -> None:
        """Cut within the text that the tail ends in."""
        text = self._tail
        cut = _end_of_text(text)
        stack, lowest = self._follow(b"".join(parts[first:-1:2]))
        inside = self._inside
        if len(parts) > 1:
            is_key = stack.endswith(b"{") and not parts[-2].rstrip().endswith(b":")
            inside = _KEY if is_key else _VALUE
        self._take(text[:cut], stack, lowest, inside, is_text=len(parts) == 1)
        self._tail = text[cut:]

    def _follow(self, outside: bytes) -> tuple[bytes, int]:
        """Return which brackets are open after a text without its quoted texts, and how few were in between."""
        brackets = outside.translate(None, _NOT_BRACKETS)
        for _ in range(_ROUNDS):
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        brackets = _unmatched(brackets)
        opened = brackets.lstrip(b"]}")
        closed = brackets[: len(brackets) - len(opened)]
        lowest = len(self._stack) - len(closed)
        if lowest < 0 or closed != _closing(self._stack[lowest:]) or b"]" in opened or b"}" in opened:
            raise MessageError("the line is not valid JSON: its brackets do not match", wire_name="JSONDecodeError")
        if lowest + len(opened) > _MAX_DEPTH:
            raise MessageError("the JSON is nested too deeply", wire_name="RecursionError")
        return self._stack[:lowest] + opened, lowest

    def _take(self, piece: bytes, stack: bytes, lowest: int, inside: str, *, is_text: bool) -> None:
        """Take a piece: leave it out of the short form, unless it has part of the envelope."""
        if not inside and piece.rstrip()[-1:] in {b"[", b"{"}:  # a comma follows, and both sides could be JSON
            raise MessageError("the line is not valid JSON: a comma after a bracket", wire_name="JSONDecodeError")
        self._pieces.append(piece)
        if is_text or lowest > 1:
            behind = (b'"' + (b":0" if inside == _KEY else b"") if inside else b"") + _closing(stack)
            try:
                self._check(_opening(self._stack, self._inside, b"") + piece + behind)
            except MessageError as error:
                end = self.size - len(self._tail) + len(piece)
                problem = _PLACE.sub("", str(error))
                raise MessageError(
                    f"{problem}, in its bytes {end - len(piece)} to {end}", wire_name=error.wire_name
                ) from None
            stand_in = self._stand_in(stack, lowest, inside, is_text=is_text)
            self._replaced.append((stand_in.index(self._mark), len(stand_in), piece))
            self._short.append(stand_in)
        else:
            self._short.append(piece)
            self._kept += len(piece)
            if self._kept > MAX_KEPT:
                raise MessageError(f"a message may have {MAX_KEPT} bytes beside its arguments and its result")
        self._stack, self._inside = stack, inside

    def _stand_in(self, stack: bytes, lowest: int, inside: str, *, is_text: bool) -> bytes:
        """Return JSON that has the same effect as a piece: it starts and ends within the same brackets."""
        number = b"%08x" % len(self._replaced)
        mark = self._mark + number
        if is_text:
            return mark
        name = b'"' + self._name + number + b'":'
        if self._inside:
            text = mark + (b'":0' if self._inside == _KEY else b'"')
        else:
            text = b',"' + mark + (b'":0' if self._stack.endswith(b"{") else b'"')
        text += _closing(self._stack[lowest:])
        opened = stack[lowest:]
        is_named = stack[lowest - 1 : lowest] == b"{"
        if opened:
            text += b"," + (name if is_named else b"") + _opening(opened, inside, self._name)
        elif inside:
            text += b"," + (name if is_named and inside == _VALUE else b"") + b'"'
        return text


def _last_comma(parts: list[bytes], first: int) -> int:
    """Return which of the parts outside of texts has the last comma; -1 if there is none."""
    last = len(parts) - 1
    last -= (last - first) % 2
    for place in range(last, first - 1, -2):
        if b"," in parts[place]:
            return place
        if last - place > 2 * _MAX_TEXTS:
            raise MessageError(
                "the line is not valid JSON: there are no commas between its texts", wire_name="JSONDecodeError"
            )
    return -1


def _opening(stack: bytes, inside: str, name: bytes) -> bytes:
    """Return the begin of JSON up to where these brackets are open, and one value is there, or a text has begun."""
    member = b'{"' + name + b'":'
    if inside == _KEY:
        return stack[:-1].replace(b"{", member) + b'{"'
    return stack.replace(b"{", member) + (b'"' if inside else b"0")


def _closing(stack: bytes) -> bytes:
    return stack[::-1].translate(_CLOSE)


def _unmatched(brackets: bytes) -> bytes:
    """Return the brackets that have no partner among them."""
    left = bytearray()
    for bracket in brackets:
        if left and bracket - left[-1] == 2:  # so far is each closing bracket from its opening one, in ASCII
            left.pop()
        else:
            left.append(bracket)
    return bytes(left)


def _end_of_text(text: bytes) -> int:
    """Return where an unfinished text may be cut: not within a character or an escape."""
    end = len(text)
    last = text.rfind(b"\\", max(end - _ESCAPE, 0)) + 1
    before = text[:last]
    if (last - len(before.rstrip(b"\\"))) % 2:  # it begins an escape, else it ends one
        end = last - 1
    while end and text[end - 1] & 0xC0 == 0x80:  # a character of several bytes
        end -= 1
    if end and text[end - 1] & 0xC0 == 0xC0:
        end -= 1
    return end
