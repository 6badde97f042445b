from __future__ import annotations

import array
import collections
import datetime as dt
import enum
import fractions
import json
import types
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msl_network.errors import MessageError
from msl_network.payload import (
    Arrival,
    decode,
    encode_answer,
    encode_disconnect,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)

DEEP = 200_000  # deeper than any Python encodes or reads


class Text(str):
    __slots__ = ()


class Number(float):
    def __repr__(self) -> str:
        return "a number"


class Whole(int):
    def __repr__(self) -> str:
        return "a whole number"


class Colour(enum.IntEnum):
    RED = 1


class Unit(str, enum.Enum):
    VOLT = "V"


class Plain(enum.Enum):
    A = 1


class Point(NamedTuple):
    x: int
    y: float


class Table(dict[Any, Any]):
    def to_json(self) -> str:
        return "never asked for: json knows a dict when it sees one"


@dataclass
class Reading:
    volts: float


class Record(msgspec.Struct):
    volts: float


class Sample:
    """Has what 1.0 asks for when json does not know a result."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Sample({self.value!r})"

    def to_json(self) -> object:
        return self.value


class Endless:
    def to_json(self) -> Endless:
        return Endless()


class Broken:
    def to_json(self) -> object:
        raise LookupError("no reading yet")


class NotCallable:
    to_json = "a text"


# What json writes in a way that it knows, though it is of no type of its own.
KIN: list[Any] = [
    Text("text"),
    Number(1.5),
    Whole(7),
    Colour.RED,
    Unit.VOLT,
    Point(1, 2.0),
    Table(a=1),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(list, a=[1]),
    {Text("key"): 1, Unit.VOLT: 2},
    {7: "int", 1.5: "float", True: "bool", None: "null", float("nan"): "nan"},
    {1: "first", "1": "second"},
]

# What json refuses, though msgspec would write some of it.
FOREIGN: list[Any] = [
    b"bytes",
    bytearray(b"bytes"),
    memoryview(b"bytes"),
    {1, 2},
    frozenset({1}),
    1j,
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    dt.date(2026, 1, 1),
    dt.timedelta(1),
    Decimal("1.5"),
    fractions.Fraction(1, 2),
    uuid.UUID(int=0),
    Path("file"),
    range(3),
    array.array("d", [1.0]),
    collections.deque([1]),
    types.MappingProxyType({"a": 1}),
    {"a": 1}.values(),
    Plain.A,
    Reading(1.0),
    Record(1.0),
    msgspec.Raw(b"1"),
    msgspec.UNSET,
    object(),
    object,
    print,
    ...,
    NotCallable(),
    {(1, 2): 3},
    {b"key": 1},
    {Plain.A: 1},
    {"deep": [({"er": b"bytes"},)]},
]

# What is text, number, or container, and yet cannot be written.
UNWRITABLE: list[Any] = ["\ud800", {"\udfff": 1}, [Text("\ud800")]]

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(10**300), 10**300) | st.floats() | st.text(max_size=8)
)
KEYS = st.text(max_size=4) | st.integers() | st.floats() | st.booleans() | st.none()


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(KEYS, inner, max_size=4)
        ),
        max_leaves=12,
    )


VALUES = nested(SCALARS)
ANYTHING = nested(SCALARS | st.sampled_from(KIN) | st.sampled_from(FOREIGN) | st.sampled_from(UNWRITABLE))


def text_of(value: object) -> str:
    """A text that tells 1 from 1.0 and True, -0.0 from 0.0, and any order of keys from another; NaN is NaN."""
    return json.dumps(value)


def by_json(value: object) -> object:
    """What a peer of 1.0 gets when a peer of 1.0 sends this."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode())


def read(line: bytes) -> dict[str, Any]:
    """Read a line as a peer of 1.0 does: it must be one line, and UTF-8."""
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == line.count(b"\r") == 1
    message: dict[str, Any] = json.loads(line.decode())
    return message


def nested_lists(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def take_apart(value: list[Any]) -> None:
    """Python would free so deep a list by recursion."""
    while value:
        value = value[0]


# What is written


@given(VALUES)
@example(float("nan"))
@example([1.5, None, "null"])
@example({"a": [float("-inf"), -0.0, 1e16, 5e-324, 2**64, -(2**63) - 1, True, '\x00\x7f\u2028\\"/']})
def test_any_json_value_arrives_as_json_would_send_it(value: object) -> None:
    """A result is read as if json had written it, by a peer of 1.0 and by ours."""
    line = encode_result(value, "Me[h:1]", "7")
    expected = by_json(value)
    assert text_of(read(line)["result"]) == text_of(expected)
    assert text_of(decode(line).result) == text_of(expected)


@given(st.lists(VALUES, max_size=3).map(tuple), st.dictionaries(st.text(max_size=4), VALUES, max_size=3))
def test_any_arguments_arrive_as_json_would_send_them(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The arguments of a request and of a notification are read as if json had written them."""
    request = encode_request("Echo", "echo", args, kwargs, "7")
    assert text_of([read(request)["args"], read(request)["kwargs"]]) == text_of(by_json([args, kwargs]))
    arrival = decode(request)
    assert text_of([arrival.args, arrival.kwargs]) == text_of(by_json([args, kwargs]))
    notification = encode_notification("Echo", args, kwargs)
    assert text_of(read(notification)["result"]) == text_of(by_json([args, kwargs]))
    assert text_of(decode(notification).result) == text_of(by_json([args, kwargs]))


@given(ANYTHING)
def test_what_json_refuses_is_refused(value: object) -> None:
    """Whatever the value has in it, it is written as json does, or refused with the kind of error that json has."""
    try:
        expected = by_json(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        with pytest.raises(kind):
            encode_result(value, "", "")
        with pytest.raises(kind):
            encode_request("Echo", "echo", (value,), {}, "1")
        with pytest.raises(kind):
            encode_request("Echo", "echo", (), {"x": value}, "1")
        with pytest.raises(kind):
            encode_notification("Echo", (), {"x": value})
        with pytest.raises(kind):
            encode_answer(value)
    else:
        assert text_of(read(encode_result(value, "", ""))["result"]) == text_of(expected)
        assert text_of(read(encode_answer(value))["result"]) == text_of(expected)


@pytest.mark.parametrize("value", KIN, ids=repr)
def test_kin_of_what_json_knows(value: object) -> None:
    """Subclasses and enumerations of texts, numbers, lists and dicts are written as json writes them."""
    expected = by_json(value)
    assert text_of(read(encode_result(value, "", ""))["result"]) == text_of(expected)
    assert text_of(read(encode_result([value], "", ""))["result"]) == text_of([expected])
    assert text_of(read(encode_request("E", "e", (), {"x": (value,)}, "1"))["kwargs"]) == text_of({"x": [expected]})


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
def test_what_json_cannot_carry(value: object) -> None:
    """It is refused with a TypeError, wherever it stands, rather than turned into something else."""
    for place in (value, [1, value], {"x": value}, (None, {"y": [value]})):
        with pytest.raises(TypeError):
            encode_result(place, "", "")
        with pytest.raises(TypeError):
            encode_notification("Echo", (place,), {})


@pytest.mark.parametrize(("value", "name"), [(b"", "bytes"), ({1}, "set"), (1j, "complex"), (Reading(1.0), "Reading")])
def test_the_refusal_names_the_type(value: object, name: str) -> None:
    """Who sends something else is told its type, and what to do."""
    with pytest.raises(TypeError, match=rf"JSON cannot carry a value of type [\w.]*{name}; .*to_json\(\)"):
        encode_result([value], "", "")


@pytest.mark.parametrize("value", [*UNWRITABLE, 10**5000], ids=["text", "key", "subclass", "digits"])
def test_what_no_reader_could_read(value: object) -> None:
    """Half of a surrogate pair and an integer of too many digits are refused with a ValueError."""
    with pytest.raises(ValueError, match=r"surrogates not allowed|Exceeds the limit|too (large|many)"):
        encode_result([value], "", "")


@pytest.mark.parametrize("name", ["service", "attribute"])
def test_a_name_that_cannot_be_written(name: str) -> None:
    """Half of a surrogate pair is refused also where no argument has it."""
    words = {"service": "Echo", "attribute": "echo", name: "\ud800"}
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode_request(**words, args=(), kwargs={}, uid="1")


def test_a_value_in_itself() -> None:
    """What refers to itself is refused, as by json."""
    ring: list[Any] = [1]
    ring.append({"again": ring})
    with pytest.raises(ValueError, match="Circular reference"):
        encode_result(ring, "", "")
    loop: dict[str, Any] = {}
    loop["loop"] = (loop,)
    with pytest.raises(ValueError, match="Circular reference"):
        encode_request("Echo", "echo", (), {"x": loop}, "1")


def test_the_same_value_twice() -> None:
    """What only occurs twice refers to nothing and is written twice."""
    twin = [1, {"a": 2}]
    assert read(encode_result([twin, twin], "", ""))["result"] == [twin, twin]


def test_a_value_too_deep() -> None:
    """What is nested too deeply is a ValueError, not a RecursionError that nobody expects."""
    deep = nested_lists(DEEP)
    with pytest.raises(ValueError, match="too deeply"):
        encode_result(deep, "", "")
    with pytest.raises(ValueError, match="too deeply"):
        encode_notification("Echo", (deep,), {})
    take_apart(deep)


def test_a_value_deep_enough() -> None:
    """What Python reads with ease is carried."""
    deep = nested_lists(300)
    assert decode(encode_result(deep, "", "")).result == deep


def test_what_is_not_ascii_is_written_as_it_is() -> None:
    """Text is UTF-8 whichever library writes it, as in 1.0."""
    for value in (["°C µV 測"], ["°C µV 測", float("nan")]):
        assert "°C µV 測".encode() in encode_result(value, "", "")
    assert "°C".encode() in encode_request("Ö", "°C", (), {"°C": 1.0}, "1")
    assert "°C".encode() in encode_answer("°C")


# What has a to_json method


@pytest.mark.parametrize("value", [None, 1.5, [1, 2], {"a": Sample([Sample(3)])}, Colour.RED, float("nan")], ids=repr)
def test_to_json(value: object) -> None:
    """What json does not know is asked for with to_json(): a result as in 1.0, what is in it, and arguments."""
    expected = json.loads(json.dumps(value, default=lambda sample: sample.value))
    assert text_of(read(encode_result(Sample(value), "", ""))["result"]) == text_of(expected)
    inner = {"x": [1, (Sample(value),)]}
    assert text_of(read(encode_result(inner, "", ""))["result"]) == text_of({"x": [1, [expected]]})
    assert text_of(read(encode_request("E", "e", (Sample(value),), {}, ""))["args"]) == text_of([expected])
    assert text_of(read(encode_notification("E", (), {"x": Sample(value)}))["result"]) == text_of([[], {"x": expected}])


def test_to_json_of_what_json_knows() -> None:
    """A dict is a dict: its to_json() is not asked, as in 1.0."""
    assert read(encode_result(Table(a=1), "", ""))["result"] == {"a": 1}


def test_to_json_that_leads_nowhere() -> None:
    """A to_json() that gives itself, another of its kind for ever, or what json does not know, is refused."""
    itself = Sample(None)
    itself.value = itself
    for endless in (itself, Endless()):
        with pytest.raises(ValueError, match=r"Circular reference|too deeply"):
            encode_result(endless, "", "")
    with pytest.raises(TypeError, match="type bytes"):
        encode_result(Sample(b""), "", "")
    with pytest.raises(TypeError):
        encode_result(Sample, "", "")  # the class itself has nothing to give


def test_to_json_that_fails() -> None:
    """What a to_json() raises is raised."""
    with pytest.raises(LookupError, match="no reading yet"):
        encode_result([Broken()], "", "")


# The keys of the messages


@pytest.mark.parametrize("value", [1.5, float("nan")], ids=["msgspec", "json"])
def test_the_keys_of_each_message(value: float) -> None:
    """Each message has the keys of 1.0, whichever library writes it."""
    same = value if value == value else None  # noqa: PLR0124 - NaN is not

    def plain(line: bytes) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(line, parse_constant=lambda _: None)
        return message

    assert plain(encode_request("Echo", "echo", (value,), {"x": value}, "7")) == {
        "args": [same],
        "attribute": "echo",
        "error": False,
        "kwargs": {"x": same},
        "service": "Echo",
        "uid": "7",
    }
    assert plain(encode_result(value, "Me[h:1]", "7")) == {
        "error": False,
        "requester": "Me[h:1]",
        "result": same,
        "uid": "7",
    }
    assert plain(encode_notification("Echo", (value,), {"x": value})) == {
        "error": False,
        "result": [[same], {"x": same}],
        "service": "Echo",
        "uid": "notification",
    }
    assert plain(encode_answer(value)) == {"error": False, "requester": None, "result": same, "uid": ""}


def test_the_keys_of_a_good_bye() -> None:
    """A peer takes its leave with a request that names itself."""
    message = read(encode_disconnect("Echo[h:1]"))
    assert message["service"] == "Echo[h:1]"
    assert message["attribute"] == "__disconnect__"
    assert "result" not in message  # a Manager of 1.0 would take it for a reply


@pytest.mark.parametrize("uid", ["7", 7, None, True, 1.5])
def test_uid_and_requester_come_back(uid: object) -> None:
    """Whatever a Client marked its request with comes back, in a result and in an error."""
    for line in (
        encode_result(1, "Me[h:1]", uid),
        encode_result(float("inf"), "Me[h:1]", uid),
        encode_error(ValueError("no"), "Me[h:1]", uid),
    ):
        assert (read(line)["uid"], read(line)["requester"]) == (uid, "Me[h:1]")


# Errors


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - it is to have a traceback
    except BaseException as caught:  # noqa: BLE001 - any will do
        return caught


def test_an_error_with_its_traceback() -> None:
    """An error is said with its class, its text, and the lines of its traceback."""
    message = read(encode_error(raised(ZeroDivisionError("by zero")), "Me[h:1]", "7"))
    lines = message.pop("traceback")
    assert message == {
        "error": True,
        "message": "ZeroDivisionError: by zero",
        "requester": "Me[h:1]",
        "result": None,
        "uid": "7",
    }
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: by zero"
    assert any(__file__ in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_an_error_that_was_not_raised() -> None:
    """Where there is no traceback, the list is empty, as in 1.0."""
    assert read(encode_error(PermissionError("private"), "", ""))["traceback"] == []


def test_an_error_with_any_text() -> None:
    """The text may have line ends, any alphabet, and half of a surrogate pair."""
    message = read(encode_error(raised(ValueError("a\r\nb\u2028 °C \ud800")), "", ""))
    assert message["message"] == "ValueError: a\r\nb\u2028 °C \ud800"


def test_an_error_with_a_cause() -> None:
    """The traceback tells what an error came from."""
    error = ValueError("second")
    error.__cause__ = raised(KeyError("first"))
    assert "KeyError: 'first'" in read(encode_error(raised(error), "", ""))["traceback"]


def test_an_error_that_fails() -> None:
    """An error whose text cannot be had is still an error with a name."""

    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    class WorseError(Exception):
        def __str__(self) -> Any:
            return 5  # noqa: PLE0307 - that is what is wrong

    message = read(encode_error(raised(BadError()), "Me[h:1]", "7"))
    assert message["message"] == "BadError: its text cannot be had: RuntimeError"
    assert (message["error"], message["requester"], message["uid"]) == (True, "Me[h:1]", "7")
    assert (
        read(encode_error(raised(WorseError()), "", ""))["message"] == "WorseError: its text cannot be had: TypeError"
    )


# What is read


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "args": st.lists(VALUES, max_size=2),
            "attribute": st.text(max_size=4),
            "error": st.booleans(),
            "kwargs": st.dictionaries(st.text(max_size=4), VALUES, max_size=2),
            "message": st.text(max_size=4),
            "requester": VALUES,
            "result": VALUES,
            "service": st.text(max_size=4),
            "traceback": st.lists(VALUES, max_size=2),
            "uid": VALUES,
            "unknown": VALUES,
        },
    ),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
def test_a_message_is_read_as_json_reads_it(
    message: dict[str, Any], ascii_only: bool, indent: int | None, end: bytes
) -> None:
    """However a message is written, what it holds is what json reads; missing keys have their defaults."""
    text = json.dumps(message, ensure_ascii=ascii_only, indent=indent)
    arrival = decode(text.encode() + end)
    expected = json.loads(text)
    for name in Arrival.__struct_fields__:
        default = getattr(Arrival(), name)
        found = getattr(arrival, name)
        if name in {"uid", "requester"} and expected.get(name, default) is None:
            assert found in {None, ""}
        else:
            assert text_of(found) == text_of(expected.get(name, default)), name


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("NaN", float("nan")),
        ("-Infinity", float("-inf")),
        ("1e400", float("inf")),
        ("-0", 0),
        ("-0.0", -0.0),
        ("1E5", 1e5),
        ("18446744073709551616", 2**64),
        ("-9223372036854775809", -(2**63) - 1),
        ("9" * 4300, int("9" * 4300)),
        ('"\\ud800"', "\ud800"),
        ('"\\ud83d\\ude00"', "😀"),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("[NaN, 1, null]", [float("nan"), 1, None]),
    ],
)
def test_what_only_json_reads(text: str, result: object) -> None:
    """Values that msgspec refuses or might read in another way are what json makes of them."""
    arrival = decode(f'{{"result": {text}, "uid": "7"}}'.encode())
    assert text_of(arrival.result) == text_of(result)
    assert arrival.uid == "7"


def test_null_is_as_good_as_nothing() -> None:
    """A key with null in it is as if it were not there, as other languages write it."""
    names = [name for name in Arrival.__struct_fields__ if name not in {"uid", "requester"}]
    line = json.dumps(dict.fromkeys(names)).encode()
    arrival = decode(line)
    assert [getattr(arrival, name) for name in names] == [getattr(Arrival(), name) for name in names]


def test_arrivals_share_nothing() -> None:
    """A default that is changed in one message is not changed in the next."""
    first = decode(b"{}")
    first.args.append(1)
    first.kwargs["x"] = 1
    first.traceback.append("line")
    second = decode(b"{}")
    assert (second.args, second.kwargs, second.traceback) == ([], {}, [])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\r\n",
        b"hello",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b'{"result": 1',
        b'{"result": 1} x',
        b'{"result": 01}',
        b'{"result": "\x01"}',
        b'{"result": ' + b"9" * 5000 + b"}",
        b'{"result": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"args": {}}',
        b'{"args": NaN}',
        b'{"kwargs": []}',
        b'{"kwargs": {"x": NaN}, "args": "text"}',
        b'{"service": ["Echo"]}',
        b'{"attribute": 1}',
        b"\x00\xff\x16\x03\x01",
        b"\x80",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_line_that_is_no_message(line: bytes) -> None:
    """It is a MessageError, whatever is wrong with it, and its text is short."""
    with pytest.raises(MessageError) as info:
        decode(line)
    assert len(str(info.value)) < 400


def test_an_error_in_another_language() -> None:
    """What 1.0 takes for an error is one, whatever types a Service in another language uses."""
    arrival = decode(b'{"error": 1, "message": 5, "traceback": "a\\nb", "uid": null}')
    assert (arrival.error, arrival.message, arrival.traceback, arrival.uid) == (True, "5", ["a", "b"], None)
    assert decode(b'{"error": 0}').error is False


NOT_UTF8 = b'{"result": "\xff"}'


def test_a_text_that_is_no_utf8() -> None:
    """Bytes that are no UTF-8 inside a text are a MessageError, too."""
    with pytest.raises(MessageError):
        decode(NOT_UTF8)


MESSAGE = json.dumps(
    {
        "args": [1, "é"],
        "attribute": "a",
        "error": False,
        "kwargs": {"x": None},
        "result": [1.5, "x"],
        "traceback": ["t"],
        "uid": "1",
    },
    ensure_ascii=False,
).encode()


@given(
    st.integers(0, len(MESSAGE)),
    st.integers(0, 8),
    st.binary(max_size=6) | st.sampled_from([b"NaN", b"null", b"\xff", b'"', b"[[", b"1e999", b"\\ud800", b"true"]),
)
@example(MESSAGE.index("é".encode()), 2, b"\xff")
def test_a_line_with_bytes_changed(start: int, length: int, other: bytes) -> None:
    """Whatever became of a message on its way, it is read as json reads it, or is a MessageError."""
    line = MESSAGE[:start] + other + MESSAGE[start + length :]
    try:
        arrival = decode(line)
    except MessageError:
        return
    try:
        expected = json.loads(line)
    except UnicodeDecodeError:  # msgspec does not look into what it skips
        expected = json.loads(line.decode(errors="replace"))
    assert text_of(arrival.result) == text_of(expected.get("result"))


def test_a_long_error() -> None:
    """An error is cut to a length that every Manager takes: it is for a person to read."""

    def fail() -> None:
        raise ValueError("é" * 10_000_000)

    try:
        fail()
    except ValueError as error:
        line = encode_error(error, "C", "1")
    assert len(line) < 1_000_000
    assert "more characters)" in decode(line).message
