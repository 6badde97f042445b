from __future__ import annotations

import itertools
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network import LongLine, wire
from msl_network.errors import LineTooLongError
from msl_network.wire import LINE_END, LineBuffer, LongLineBuffer, line_end

# Bytes in which line ends are frequent, and where they are cut.
STREAMS = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"bc", b"\x00", "é".encode()])).map(b"".join)
CUTS = st.lists(st.integers(0, 60))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


@given(STREAMS, CUTS)
@example(b"", [])
def test_any_cutting_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    """However the network cut the bytes, the lines are those of bytes.split, and the rest is held."""
    buffer = LineBuffer(limit=1000)
    lines = [line for piece in pieces(data, cuts) for line in buffer.feed(piece)]
    *expected, rest = data.split(b"\n")
    assert lines == expected
    assert buffer.held == len(rest)
    assert not buffer.overflow


@given(STREAMS, CUTS, st.integers(0, 6))
@example(b"abcd\n", [2], 3)
@example(b"abc\n", [3], 3)
def test_any_cutting_finds_the_same_line_too_long(data: bytes, cuts: list[int], limit: int) -> None:
    """The lines before the first that is too long are returned, nothing after it, and nothing is held."""
    buffer = LineBuffer(limit)
    lines = [line for piece in pieces(data, cuts) for line in buffer.feed(piece)]
    *complete, rest = data.split(b"\n")
    too_long = [len(line) > limit for line in [*complete, rest]]
    first = too_long.index(True) if True in too_long else len(complete)
    assert lines == complete[:first]
    assert buffer.overflow is (True in too_long)
    assert buffer.held == (0 if buffer.overflow else len(rest))
    assert buffer.held <= limit


@given(STREAMS, CUTS, st.integers(0, 6))
def test_nothing_is_read_after_the_overflow(data: bytes, cuts: list[int], limit: int) -> None:
    """2. Once a line was too long, whatever follows is dropped without being kept."""
    buffer = LineBuffer(limit)
    assert buffer.feed(b"x" * (limit + 1)) == []
    assert [line for piece in pieces(data, cuts) for line in buffer.feed(piece)] == []
    assert buffer.overflow
    assert buffer.held == 0


def test_the_limit_is_the_longest_line() -> None:
    """2. A line of exactly the limit passes, in one piece or many; the end of line does not count, its CR does."""
    buffer = LineBuffer(limit=3)
    assert buffer.feed(b"abc\n") == [b"abc"]
    assert buffer.feed(b"ab") + buffer.feed(b"c") + buffer.feed(b"\n") == [b"abc"]
    assert buffer.feed(b"ab\r\nabc\nx") == [b"ab\r", b"abc"]
    assert not buffer.overflow
    assert buffer.feed(b"yz\nabc\r\nd\n") == [b"xyz"]
    assert buffer.overflow


def test_a_line_that_comes_byte_by_byte() -> None:
    """What is kept of an unfinished line costs little more than its bytes, however small its pieces are."""
    data = bytes(range(32, 127)) * 1000
    buffer = LineBuffer(limit=len(data))
    for start in range(0, len(data), 2):
        buffer.feed(data[start : start + 2])
    assert buffer.held == len(data)
    assert sum(map(sys.getsizeof, buffer._pieces)) < 2 * len(data)
    assert buffer.feed(b"\n") == [data]
    assert buffer.held == 0


def test_the_limit_may_change() -> None:
    """A new limit holds for the line that is being read."""
    buffer = LineBuffer(limit=4)
    assert buffer.feed(b"abcd") == []
    buffer.limit = 8
    assert buffer.feed(b"efgh\n") == [b"abcdefgh"]
    buffer.limit = 2
    assert buffer.feed(b"abc\n") == []
    assert buffer.overflow


@pytest.mark.parametrize(("line", "end"), [(b"{}\r", b"\n"), (b"{}", b"\r\n"), (b"", b"\r\n")])
def test_the_end_of_a_forwarded_line(line: bytes, end: bytes) -> None:
    """A line is forwarded with the CR that it came with, or gets one."""
    assert line_end(line) == end
    assert (line + line_end(line)).endswith(LINE_END)


@given(st.lists(st.lists(st.integers(), max_size=40).map(json.dumps), max_size=6), CUTS, st.integers(1, 30))
def test_long_lines(texts: list[str], cuts: list[int], long: int) -> None:
    """However the network cut them, long lines come in order among the others, whole, and each as long as it is."""
    data = "".join(f'{{"args": {text}}}\r\n' for text in texts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LONG", long)
        buffer = LongLineBuffer(limit=10_000)
        buffer.long_line = JsonLinesCodec().long_line
        lines = [line for piece in pieces(data, cuts) for line in buffer.feed(piece)]
        assert buffer.held == 0
        buffer.feed(b"x" * 50)
        assert buffer.held == 50
    whole = [line if isinstance(line, bytes) else b"".join(line.whole()) for line in lines]
    assert whole == data.split(b"\n")[:-1]


@given(STREAMS, CUTS, st.integers(0, 6))
def test_a_codec_without_long_lines(data: bytes, cuts: list[int], limit: int) -> None:
    """Where long lines cannot be read in pieces, they are cut as all others."""
    plain, other = LineBuffer(limit), LongLineBuffer(limit)
    for piece in pieces(data, cuts):
        assert plain.feed(piece) == other.feed(piece)
    assert (plain.held, plain.overflow) == (other.held, other.overflow)


@pytest.mark.parametrize("size", [5, 200])
@pytest.mark.parametrize("cut", [1, 30, 1000])
def test_uid_of_a_line_too_long(size: int, cut: int) -> None:
    """A line that is too long is returned when its end has come, refused, with its uid; what follows is not read."""
    line = b'{"args": ["' + b"x" * 300 + b'"], "uid": "u"}'
    data = b"first\n" + line + b"\nnext\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LONG", 100)
        buffer = LongLineBuffer(limit=size)
        buffer.long_line = JsonLinesCodec().long_line
        first, long = [text for place in range(0, len(data), cut) for text in buffer.feed(data[place : place + cut])]
    assert first == b"first"
    assert isinstance(long, LongLine)
    assert buffer.overflow
    assert buffer.held == 0
    with pytest.raises(LineTooLongError, match=f"may have {size} bytes") as caught:
        long.short()
    assert caught.value.uid == "u"
