from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msl_network.errors import MessageError
from msl_network.messages import DISCONNECT, MANAGER
from msl_network.terminal import MAX_TEXT, parse_identity, parse_request

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
    ],
)
def test_a_line_without_a_meaning(text: str, problem: str) -> None:
    """It is refused with a sentence that helps."""
    with pytest.raises(MessageError) as info:
        parse_request(text)
    assert str(info.value).startswith(problem)
    assert info.value.uid == ""


@pytest.mark.parametrize("value", ["(" * 60_000, "[" * 60_000, "-" * 60_000 + "1", "1+" * 30_000 + "1"])
@pytest.mark.parametrize("opening", ["", "x", "x="])
def test_a_line_that_means_harm(value: str, opening: str) -> None:
    """What would exhaust Python's parser is refused, or is text."""
    try:
        *_, args, kwargs = parse(f"Echo echo {opening}{value}")
    except MessageError:
        assert value[0] in "(["
        assert opening != "x"
    else:
        assert [*args, *kwargs.values()] == [f"{opening}{value}".removeprefix("x=")]


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
