"""Long lines of JSON: checked piece by piece, forwarded byte for byte."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network import LongLine, MessageError, Request, long_line

CODEC = JsonLinesCodec()

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.sampled_from('\\"{}[],:u0 \u00e9\u20ac\U0001f600\ud800'), max_size=60),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=5) | st.just("k" * 40), inner)),
    max_leaves=30,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long is what hypothesis writes."""
    monkeypatch.setattr(long_line, "IN_A_TEXT", 10)
    monkeypatch.setattr(long_line, "PIECE", 1)


def read(line: bytes, cuts: list[int]) -> LongLine:
    reader: LongLine = CODEC.long_line()
    places = sorted({min(cut, len(line)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(line)], strict=True):
        if start < end:
            reader.feed(line[start:end])
    reader.close()
    return reader


def decoded(reader: LongLine) -> Request:
    request = CODEC.decode_request(reader.short())
    assert isinstance(request, Request)
    return request


def rebuilt(reader: LongLine) -> bytes:
    return b"".join(reader.restore(reader.short()))


def request(args: Any, kwargs: Any, *, ascii_only: bool, separators: tuple[str, str]) -> bytes:
    message = {"args": args, "attribute": "a", "error": False, "kwargs": kwargs, "service": "S", "uid": "7"}
    text = json.dumps(message, ensure_ascii=ascii_only, separators=separators)
    return text.encode(errors="surrogatepass")


def loads(text: bytes) -> str:
    return repr(json.loads(text.decode()))  # NaN is not equal to itself


@given(
    st.lists(VALUES),
    st.dictionaries(st.text(), VALUES),
    st.booleans(),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " :  ")]),
    st.lists(st.integers(0, 2000), max_size=60),
)
@example([[], [[1], [2, [3]]], {"a": {"b": [1, 2]}, "c": "x" * 50}], {}, True, (",", ":"), list(range(0, 300, 3)))
def test_valid(
    args: list[Any], kwargs: dict[str, Any], ascii_only: bool, separators: tuple[str, str], cuts: list[int]
) -> None:
    """Whatever JSON it is and however it is cut, a request is forwarded as it would be if it were read at once."""
    line = request(args, kwargs, ascii_only=ascii_only, separators=separators)
    reader = read(line, cuts)
    try:
        line.decode()
    except UnicodeDecodeError:
        with pytest.raises(MessageError, match="UTF-8"):
            decoded(reader)
        return
    assert b"".join(reader.whole()) == line
    assert rebuilt(reader) == line
    forwarded = b"".join(reader.restore(CODEC.encode_request(decoded(reader), "C[h:1]")))
    at_once = CODEC.decode_request(line)
    assert isinstance(at_once, Request)
    whole = CODEC.encode_request(at_once, "C[h:1]")
    assert loads(forwarded) == loads(whole)


@given(
    st.lists(VALUES, min_size=1),
    st.integers(0, 10_000),
    st.sampled_from(
        [b"", b",", b"]", b"}", b"[", b"{", b'"', b"\\", b"\x01", b"\xff", b":", b"0", b"x", b'"a"', b"NaN"]
    ),
    st.integers(0, 2),
    st.lists(st.integers(0, 2000), max_size=60),
)
def test_broken(args: list[Any], place: int, dirt: bytes, gone: int, cuts: list[int]) -> None:
    """A line is refused exactly if Python's own reader would refuse it."""
    line = request(args, {}, ascii_only=True, separators=(",", ":"))
    place %= len(line)
    line = line[:place] + dirt + line[place + gone :]
    try:
        expected = json.loads(line.decode())
        is_valid = isinstance(expected, dict)
    except ValueError:
        is_valid = False
    reader = read(line, cuts)
    try:
        json.loads(reader.short().decode())
        CODEC._check(reader.short())
    except (MessageError, ValueError):
        assert not is_valid
    else:
        assert is_valid
        assert rebuilt(reader) == line


def test_short() -> None:
    """The short form of a long line is short, whatever makes the line long."""
    for args in (
        list(range(100_000)),
        ["x" * 1_000_000],
        ['\\"\u00e9' * 200_000],
        [[[float(number)] * 3 for number in range(50_000)]],
        [{f"name {number}": {"a": [number, None]} for number in range(30_000)}],
        [{"k" * 500_000: 1}],
    ):
        line = request(args, {}, ascii_only=False, separators=(", ", ": "))
        reader = read(line, list(range(0, len(line), 65536)))
        assert len(reader.short()) < 150_000
        assert rebuilt(reader) == line


@pytest.mark.parametrize(("unit", "most"), [(b",1", 12), (b"11", 6), (b"  ", 6)])
def test_a_line_that_comes_byte_by_byte(unit: bytes, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line costs does not depend on how small the pieces are in which it is sent."""
    monkeypatch.setattr(long_line, "PIECE", 64 * 1024)
    cut, cuts = LongLine._cut, 0

    def counted(reader: LongLine) -> None:
        nonlocal cuts
        cuts += 1
        cut(reader)

    monkeypatch.setattr(LongLine, "_cut", counted)
    line = b'{"args": [[1' + b',"2",3' * 10 + unit * 300_000
    reader = read(line, list(range(0, len(line), 2)))
    assert reader.error is None
    assert b"".join(reader.whole()) == line
    assert len(reader.whole()) <= cuts + 1 <= most + 1


def test_names_that_are_concealed() -> None:
    """Whether a part of a name is left out can be asked, so that nobody takes what is left for the name."""
    line = b'{"args": [1], "attribute": "%s", "service": "S", "uid": "7"}' % (b"a" * 100)
    reader = read(line, list(range(0, 200, 10)))
    short = decoded(reader)
    assert reader.conceals(short.attribute)
    assert reader.conceals(short.service, short.attribute, short.uid)
    assert not reader.conceals(short.service, short.uid, None, 5, "a" * 100)


@pytest.mark.parametrize("text", ["[ ,1]", "[,1]", "{ ,1}", "[1,,2]", '{"a":,1}', "[1,]", '{"a":1,}', "[[ ,1],2]"])
def test_commas_in_the_wrong_place(text: str) -> None:
    """A line is cut before commas, and both sides of a cut may be JSON where the whole is none."""
    for size in range(1, 8):
        line = b'{"args": [1, 2, %s, 3], "attribute": "a", "service": "S"}' % text.encode()
        with pytest.raises(MessageError, match="not valid JSON"):
            CODEC.decode_request(read(line, list(range(0, len(line), size))).short())


def test_an_escape_in_pieces() -> None:
    """What stands for a piece does not complete an escape that is none."""
    for escape in (b"\\u", b"\\u0", b"\\u00e"):
        line = b'{"args": ["aaaaaaaaa' + escape + b'\\ud83d aaaaaaaaaaaaaaaa"], "attribute": "a", "service": "S"}'
        for first in range(20, len(line)):
            with pytest.raises(MessageError, match="not valid JSON"):
                CODEC.decode_request(read(line, [first, first + 12]).short())


def test_arguments_of_any_order() -> None:
    """What is left out is put back where it belongs, in whatever order the message is written anew."""
    message = {
        "kwargs": {"b": list(range(5000))},
        "x": list(range(3000)),
        "service": "S",
        "args": ["y" * 20_000],
        "uid": 5,
        "attribute": "a",
    }
    text = json.dumps(message)
    reader = read(text.encode(), list(range(0, len(text), 1000)))
    forwarded = json.loads(b"".join(reader.restore(CODEC.encode_request(decoded(reader), "C[h:1]"))))
    assert forwarded["args"] == ["y" * 20_000]
    assert forwarded["kwargs"] == {"b": list(range(5000))}
    assert forwarded["uid"] == 5
    assert set(forwarded) == {"args", "attribute", "error", "kwargs", "requester", "service", "uid"}


@pytest.mark.parametrize(
    ("start", "unit", "problem"),
    [
        (b'{"args": [', b" ", "without a comma"),
        (b'{"args": [', b"1", "without a comma"),
        (b'{"args": ', b"[", "without a comma"),
        (b'{"args": [', b"[1,", "nested too deeply"),
        (b"{", b'"a": 1,', "beside its arguments"),
        (b'{"args": [1', b",1]", "do not match"),
        (b'{"args": [', b'""', "no commas between its texts"),
        (b'{"args": [', b'"a" ', "no commas between its texts"),
        (b"nonsense ", b"typed, by somebody ", "beside its arguments"),
    ],
)
def test_endless(start: bytes, unit: bytes, problem: str) -> None:
    """What could be kept waiting, or could not be left out, is refused; nothing of it is kept, and its uid is found."""
    reader = CODEC.long_line()
    reader.feed(start)
    for _ in range(100):
        reader.feed(unit * (100_000 // len(unit)))
    reader.feed(b'], "uid": "u"}')
    reader.close()
    assert reader.size > 5_000_000
    with pytest.raises(MessageError, match=problem) as caught:
        CODEC.decode_request(reader.short())
    if reader.error is not None:
        assert caught.value.uid == "u"
        assert not reader.whole()


@pytest.mark.parametrize(
    ("end", "uid"),
    [
        (b'"uid": "a\\u00e9"}', "a\u00e9"),
        (b'"uid":17 }\r', 17),
        (b'"uid": null}', None),
        (b'"uid": "u", "more": 1}', ""),
        (b'{"uid": "u"}]}', ""),
        (b"x", ""),
    ],
)
def test_uid_of_a_refused_line(end: bytes, uid: object) -> None:
    """The uid of a line that is refused is found where peers of 1.0 write it, at its end."""
    reader = CODEC.long_line()
    reader.feed(b'{"args": ["')
    reader.spoil(MessageError("too long"))
    reader.feed(b"x" * 100_000 + b'"], ' + end)
    reader.close()
    with pytest.raises(MessageError) as caught:
        reader.short()
    assert caught.value.uid == uid


@pytest.mark.parametrize(
    ("begin", "uid"),
    [
        (b'{"error": false, "requester": "C[h:1]", "uid": "u", "result": "', "u"),
        (b' { "uid" :7,"result":[', 7),
        (b'{"args": ["uid", {"uid": "no"}, "', ""),
        (b'{"a": "\\", \\"uid\\": \\"no", "b": "', ""),
        (b'{"args": {"uid": "no", "b": "', ""),
    ],
)
def test_uid_at_the_begin(begin: bytes, uid: object) -> None:
    """It is found at the begin, too, behind nothing but short members: never in a payload."""
    reader = CODEC.long_line()
    reader.feed(begin)
    reader.feed(b"x" * 100_000)
    reader.spoil(MessageError("too long"))
    reader.feed(b"x" * 100_000 + b'"}')
    reader.close()
    with pytest.raises(MessageError) as caught:
        reader.short()
    assert caught.value.uid == uid


def test_digits_and_depth() -> None:
    """What Python's own reader would not take is refused in a piece, too."""
    for inner, problem in ((b"1" * 5000, "4300 digits"), (b"[" * 600 + b"]" * 600, "nested too deeply")):
        line = b'{"args": [' + b"1," * 50_000 + inner + b",1" * 50_000 + b'], "uid": "u"}'
        with pytest.raises(MessageError, match=problem):
            read(line, list(range(0, len(line), 10_000))).short()


def test_deep_again_and_again() -> None:
    """JSON that is as deep as it may be, and is so all the way, is forwarded."""
    for value, opening, closing in ((b"1", b"[", b"]"), (b"NaN", b'{"a":', b"}"), (b'"]"', b'[{"":', b"}]")):
        deep = opening * 200 + value + closing * 200
        line = b'{"args": [' + b",".join([deep] * 200) + b'], "attribute": "a", "service": "S", "uid": "u"}'
        reader = read(line, list(range(0, len(line), 10_000)))
        assert len(reader.short()) < 100_000
        assert rebuilt(reader) == line


def test_where_it_is_broken() -> None:
    """The error says about where the line is broken, counted from its own begin."""
    line = b'{"args": [' + b"1," * 50_000 + b"x" + b",1" * 50_000 + b"]}"
    with pytest.raises(MessageError, match=r"Expecting value, in its bytes 9\d{4} to 1\d{5}$"):
        read(line, list(range(0, len(line), 10_000))).short()


def test_marks_cannot_be_guessed() -> None:
    """Each line has marks of its own, so a line that contains those of another is forwarded as it is."""
    other = read(b'{"args": [' + b"1," * 1000 + b"1]}", list(range(0, 2000, 100)))
    (mark, *_) = re.findall(rb'"(#[0-9a-f]{40})"', other.short())
    line = b'{"args": ["' + mark + b'",' + b"2," * 1000 + b"1]}"
    assert rebuilt(read(line, list(range(0, 2000, 100)))) == line
