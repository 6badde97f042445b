from __future__ import annotations

import contextlib
import json
from time import process_time
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from msl_network.errors import MessageError
from msl_network.messages import DISCONNECT, MANAGER
from msl_network.terminal import MAX_LITERAL, MAX_TEXT, MAX_WORDS, parse_identity, parse_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)
# Words, blanks and everything that has a meaning, in any order.
TYPED = st.lists(
    st.sampled_from([*"'\"\\=,:()[]{} \t", "link", "client", "exit", "a", "1", "None", "\u00a0", "\x00", "é"])
).map("".join)


def parse(text: str) -> tuple[str, str, list[Any], dict[str, Any]]:
    request = parse_request(text)
    assert request.uid == ""
    return request.service, request.attribute, json.loads(bytes(request.args)), json.loads(bytes(request.kwargs))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("client", "Client"),
        ("  CLIENT  ", "Client"),
        ("client Some Name \r", "Some Name"),
        ("Client\tx", "x"),
        ("client 'Some Name'", "Some Name"),
        ('client ""', "Client"),
        ("client it's me", "it's me"),
        ("client '", "'"),
    ],
)
def test_who_one_is(text: str, name: str) -> None:
    """A person is a Client, with a name or without."""
    assert parse_identity(text) == {"type": "client", "name": name}


@pytest.mark.parametrize("text", ["", " ", "clients", "service Echo", "{}", "'client'"])
def test_no_identity(text: str) -> None:
    """Any other line is no identity."""
    assert parse_identity(text) is None


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("identity", (MANAGER, "identity", [], {})),
        (" IDENTITY\r", (MANAGER, "identity", [], {})),
        ("disconnect", (MANAGER, DISCONNECT, [], {})),
        ("Exit", (MANAGER, DISCONNECT, [], {})),
        ("__disconnect__", (MANAGER, DISCONNECT, [], {})),
        ("link Echo", (MANAGER, "link", ["Echo"], {})),
        ("LINK Basic Math", (MANAGER, "link", ["Basic Math"], {})),
        ("link 'Basic Math'", (MANAGER, "link", ["Basic Math"], {})),
        ("linker x", ("linker", "x", [], {})),
        ("Echo echo", ("Echo", "echo", [], {})),
        ("Math add 1 2.5", ("Math", "add", [1, 2.5], {})),
        ("Math max x=2 max=3", ("Math", "max", [], {"x": 2, "max": 3})),
        ("Math max x=2 1", ("Math", "max", [1], {"x": 2})),
        ("'Basic Math' add 1", ("Basic Math", "add", [1], {})),
        ('"My \\"best\\" Service" get', ('My "best" Service', "get", [], {})),
        ("Echo echo true FALSE null None", ("Echo", "echo", [True, False, None, None], {})),
        ("Echo echo [1, 2] {'a': (1, 'b c')}", ("Echo", "echo", [[1, 2], {"a": [1, "b c"]}], {})),
        ("Echo echo [true,\tnull]", ("Echo", "echo", [[True, None]], {})),
        ("Echo echo ['a ] b',\t'c d']", ("Echo", "echo", [["a ] b", "c d"]], {})),
        ("Echo echo x='two words'", ("Echo", "echo", [], {"x": "two words"})),
        ("Echo echo x=[1, [2]]", ("Echo", "echo", [], {"x": [1, [2]]})),
        ("Echo echo it's", ("Echo", "echo", ["it's"], {})),
        ("Echo echo 'a'b", ("Echo", "echo", ["'a'b"], {})),
        ("Echo echo a= =b a.b=c 1=2", ("Echo", "echo", ["=b", "a.b=c", "1=2"], {"a": ""})),
        ("Echo echo 0x10 1_000 007 1+2j", ("Echo", "echo", [16, 1000, "007", "1+2j"], {})),
        ("Echo echo 'true'", ("Echo", "echo", ["true"], {})),
        ("Echo echo 'C:\\x'", ("Echo", "echo", ["C:\\x"], {})),
        ("Echo echo \\d", ("Echo", "echo", ["\\d"], {})),
        ("Echo echo NaN -Infinity 1e999", ("Echo", "echo", ["NaN", "-Infinity", "1e999"], {})),
        ("Echo echo b'x' {1,2} f(x)", ("Echo", "echo", ["b'x'", "{1,2}", "f(x)"], {})),
        ("Manager users_table.usernames", (MANAGER, "users_table.usernames", [], {})),
    ],
)
def test_what_a_line_means(text: str, request_: tuple[str, str, list[Any], dict[str, Any]]) -> None:
    """Each form of the docstring means what it says; a value is JSON, a Python literal, or text."""
    assert parse(text) == request_


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "an empty line, expected JSON or: SERVICE"),
        ("\r", "an empty line, expected JSON or: SERVICE"),
        ("hello", "'hello' is neither JSON nor one of: identity, link SERVICE, disconnect, SERVICE"),
        ("link", "'link' is neither JSON nor one of"),
        ("client", "this connection has an identity already"),
        ("Client Other Name", "this connection has an identity already"),
        ("Echo echo 'a", "the line ends before its closing '"),
        ('Echo echo "C:\\"', 'the line ends before its closing "'),
        ("Echo echo [1, (2", "the line ends before its closing )"),
        ("a b " + "x" * MAX_TEXT, "a line that is not JSON may have 65536 characters, found 65540"),
        ("a b" + " x" * MAX_WORDS, "a line may have 4096 words, found 4098; write them as a list"),
        (
            f"a b {['x'] * 2000}",
            "in a line of more than 4096 characters what stands in quotes or brackets must be JSON",
        ),
        ("x" * MAX_TEXT, f"{'x' * 256!r} is neither JSON nor"),
    ],
)
def test_a_line_without_a_meaning(text: str, problem: str) -> None:
    """It is refused with a sentence that helps."""
    with pytest.raises(MessageError) as info:
        parse_request(text)
    assert str(info.value).startswith(problem)
    assert info.value.uid == ""


def long(*values: str) -> str:
    """A line with these values that is just too long for Python literals."""
    line = " ".join(["'Basic Math'", "'at tribute'", *values, ""])
    return line + "x" * (MAX_LITERAL + 1 - len(line))


def test_a_long_line() -> None:
    """Its values are JSON or words; the names may stand in quotes of both kinds."""
    values = ["true", "NONE", "1.5", '"two words"', "[1, {}]", "word", "1e999", "it's", 'x="a b"', "y=word"]
    service, attribute, args, kwargs = parse(long(*values))
    assert (service, attribute) == ("Basic Math", "at tribute")
    assert args[:-1] == [True, None, 1.5, "two words", [1, {}], "word", "1e999", "it's"]
    assert kwargs == {"x": "a b", "y": "word"}
    for value in ("'two words'", "(1, 2)", "{1: 2}", "[NaN]", "[1e999]", '"\\x"', "x=[None]"):
        with pytest.raises(MessageError, match="what stands in quotes or brackets must be JSON; "):
            parse(long(value))
        assert parse(f"a b {value}")[2:] != ([], {})


MAKINGS = [
    *"([{'\"-+~x=,#\\\n",
    *("x ", "1 ", "- - ", "x=1 ", "1+", "1+1j+", "[],", "(),", "{1},", "''", "'' ", "'a' ", "b'a' ", "f'{1}' ", "{1}"),
    *(
        "f'{",
        "f'{1}",
        "'\\N{",
        "\\d",
        "not ",
        "x or ",
        "x if x else ",
        "lambda:",
        "0x1 ",
        "1_",
        "{'a':",
        "(1,",
        "1e999,",
    ),
]
"""What is expensive, or was in some version of Python, when there is much of it."""


@pytest.mark.no_cover  # which takes ten times as long; others run the same lines
@pytest.mark.parametrize("length", [MAX_LITERAL, MAX_TEXT])
@pytest.mark.parametrize(
    ("opening", "closing"), [("", ""), ("E e ", ""), ("E e x=", ""), ("E e [", "]"), ("E e '", "'"), ("link '", "'")]
)
def test_a_line_that_means_harm(opening: str, closing: str, length: int) -> None:
    """The longest line is refused or has a meaning in no time, and does not end the interpreter."""
    room = length - len(opening + closing)
    for making in MAKINGS:
        line = opening + (making * room)[:room] + closing
        start = process_time()
        try:
            parse(line)
        except MessageError as error:
            assert len(str(error)) < 1000  # noqa: PT017 - whether it is refused is another matter
        assert process_time() - start < 2, making
    # and in between, where what is nested ends
    for depth in (50, 90, 199, 500):
        for nested in ("[" * depth + "]" * depth, "-" * depth + "1", "(" * depth + "1" + ")" * depth):
            line = f"{opening}{','.join([nested] * (room // (len(nested) + 1)))}{closing}"
            start = process_time()
            with contextlib.suppress(MessageError):
                parse(line)
            assert process_time() - start < 2, depth


@given(st.text() | TYPED)
@example("'")
@example("link '")
def test_any_text(text: str) -> None:
    """Any text has a meaning or is refused with a MessageError, and nothing else happens."""
    identity = parse_identity(text)
    assert identity is None or identity["name"]
    try:
        service, attribute, args, kwargs = parse(text)
    except MessageError:
        return
    assert json.loads(json.dumps([service, attribute])) == [service, attribute]
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)


@given(st.lists(JSON), st.dictionaries(st.text("abcxyz_", min_size=1), JSON), st.booleans())
@example(["a\"b c'\\", "\ud800"], {"x": {'a ] "': ["'"]}}, False)
def test_any_json_value_comes_through(args: list[Any], kwargs: dict[str, Any], is_ascii: bool) -> None:
    """Whatever JSON value a person types, with escapes or without, arrives as it is."""
    typed = [json.dumps(value, ensure_ascii=is_ascii) for value in args]
    typed += [f"{name}={json.dumps(value, ensure_ascii=is_ascii)}" for name, value in kwargs.items()]
    assert parse(" ".join(["'My Service'", "some_attribute", *typed])) == (
        "My Service",
        "some_attribute",
        args,
        kwargs,
    )


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.lists(values).map(tuple) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


@given(st.lists(LITERALS), st.dictionaries(st.text("abcxyz_", min_size=1), LITERALS))
@example(["it's", 'a"b', "a'b\"c", "\n\t\x00\\", ("x",), ()], {"x": {"a ] '": ['"']}})
def test_any_python_literal_comes_through(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Whatever Python shows of a value that JSON has, too, means that value."""
    typed = [repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    line = " ".join(["Echo", "echo", *typed])
    assume(len(line) <= MAX_LITERAL)
    assert parse(line)[2:] == tuple(json.loads(json.dumps([args, kwargs])))


@given(st.lists(JSON), st.booleans())
def test_any_json_value_of_a_long_line_comes_through(args: list[Any], is_ascii: bool) -> None:
    """The length of a line changes no JSON in it."""
    typed = [json.dumps(value, ensure_ascii=is_ascii) for value in args]
    assume(sum(map(len, typed)) < MAX_LITERAL - 100)
    assert parse(long(*typed))[2][: len(args)] == args
