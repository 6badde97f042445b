from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import pydoc
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network.signatures import MOST_CHARACTERS, parse_signature

KINDS = inspect.Parameter
ALL_KINDS = [
    KINDS.POSITIONAL_ONLY,
    KINDS.POSITIONAL_OR_KEYWORD,
    KINDS.VAR_POSITIONAL,
    KINDS.KEYWORD_ONLY,
    KINDS.VAR_KEYWORD,
]

# What str(inspect.signature(...)) gives in a Service of 1.0, and ours.
AS_WRITTEN = [
    "()",
    "() -> float",
    "(x, y)",
    "(x: int, y: int) -> int",
    "(x: number, n=2) -> bool",
    "(a, b, /, c, *args, d, e=None, **kwargs)",
    "(*, shared=False)",
    "(*args, **kwargs)",
    "(text: str = 'a, b) -> c', end: str = '\\n')",
    "(x: float | None = None) -> dict[str, list[int]]",
    "(data: numpy.ndarray, order='C') -> numpy.ndarray",
    "(a=-1, b=1.5, c=(1, 2), d=[1, 'two'], e={'x': None}, f=b'\\x00', g=True)",
    "(a=(), b=[], c={}, d=-1.5, e=1e-09)",
    "(fn: Callable[[int], str] = None)",
    "(mode=Mode.FAST, limit=inf, other=nan)",
    "(x: 'A | B', y: 'List[int]') -> 'C'",
]

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(0) | st.text(max_size=8) | st.binary(max_size=4) | st.floats(0, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
ANNOTATIONS = st.sampled_from(["int", "str | None", "dict[str, list[int]]", "numpy.ndarray", "Literal['a', 'b']"])
NAMES = st.from_regex(r"[a-zé_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))

TOKENS = st.sampled_from(
    [
        *"()[]{},:=*/-+.'\"\\ \n\t#@;0a",
        "**",
        "->",
        "def",
        "lambda",
        "pass",
        "yield",
        "None",
        "...",
        "\n ",
        "):",
        "é",
        "\0",
        "f'",
    ]
)


class Source:
    """Shows an annotation as it was written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


MAYBE_ANNOTATIONS = st.just(KINDS.empty) | ANNOTATIONS.map(Source)


def unquoted(text: str) -> str:
    return text.replace("'A | B'", "A | B").replace("'List[int]'", "List[int]").replace("-> 'C'", "-> C")


# What is read


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_the_signatures_of_1_0(text: str) -> None:
    """A signature reads as it was written; an annotation that was a text reads without its quotes."""
    signature = parse_signature(text)
    assert isinstance(signature, inspect.Signature)
    assert str(signature) == unquoted(text)


def annotated(x: "int", /, y: "dict[str, int]" = {}, *args: "str", z: "float | None" = None, **more: "Any") -> "bool":  # noqa: UP037, B006
    """Its annotations are texts, twice."""
    return bool(x and y and args and z and more)


def bare(a, b=(1, 2), *, c="x") -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Some of its parameters have no annotation."""


@pytest.mark.parametrize("function", [annotated, bare, str.split, inspect.getsource, isinstance, pytest.approx])
def test_the_signature_of_a_function(function: Any) -> None:
    """Names, kinds and defaults are those of the function that the Service has."""
    expected = inspect.signature(function)
    found = parse_signature(str(expected))
    assert found is not None
    assert list(found.parameters) == list(expected.parameters)
    for name, parameter in found.parameters.items():
        assert parameter.kind is expected.parameters[name].kind
        assert parameter.default == expected.parameters[name].default
        assert (parameter.annotation is KINDS.empty) is (expected.parameters[name].annotation is KINDS.empty)


@given(st.data())
def test_any_signature(data: st.DataObject) -> None:
    """Whatever parameters a method has, its signature is read as Python would show it."""
    names = data.draw(st.lists(NAMES, unique=True, max_size=6))
    kinds = sorted(data.draw(st.lists(st.sampled_from(ALL_KINDS), min_size=len(names), max_size=len(names))))
    parameters: list[inspect.Parameter] = []
    needs_default = False  # what follows a default has one, up to the star
    for name, kind in zip(names, kinds, strict=True):
        is_variadic = kind in {KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD}
        if is_variadic and kind in [parameter.kind for parameter in parameters]:
            continue
        needs_default = needs_default and kind < KINDS.VAR_POSITIONAL
        default: Any = KINDS.empty
        if not is_variadic and (needs_default or data.draw(st.booleans())):
            default = data.draw(LITERALS)
            needs_default = True
        parameters.append(KINDS(name, kind, default=default, annotation=data.draw(MAYBE_ANNOTATIONS)))
    expected = inspect.Signature(parameters, return_annotation=data.draw(MAYBE_ANNOTATIONS))
    found = parse_signature(str(expected))
    assert found is not None
    assert str(found) == str(expected)
    assert [(p.name, p.kind, p.default) for p in found.parameters.values()] == [
        (p.name, p.kind, p.default) for p in parameters
    ]


def test_defaults_are_values() -> None:
    """A default that is a literal is that value; any other is shown as it was written."""
    signature = parse_signature("(a=-1, b='x', c=[1, (2.5, None)], d=Mode.FAST, e=f(1), f={[]}, g={**h}, i=1 + x)")
    assert signature is not None
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    assert (defaults.pop("a"), defaults.pop("b"), defaults.pop("c")) == (-1, "x", [1, (2.5, None)])
    assert {name: repr(default) for name, default in defaults.items()} == {
        "d": "Mode.FAST",
        "e": "f(1)",
        "f": "{[]}",
        "g": "{**h}",
        "i": "1 + x",
    }


def test_a_default_of_none_is_no_missing_default() -> None:
    """None as default is a default; no default is none."""
    signature = parse_signature("(a, b=None, *, c, d=None)")
    assert signature is not None
    parameters = signature.parameters.values()
    assert [parameter.default is KINDS.empty for parameter in parameters] == [True, False, True, False]


def test_arguments_can_be_bound() -> None:
    """The signature can be used as that of any function: to check arguments before they are sent."""
    signature = parse_signature("(x, /, y=2, *, z)")
    assert signature is not None
    assert signature.bind(1, z=3).arguments == {"x": 1, "z": 3}
    with pytest.raises(TypeError, match="missing a required"):
        signature.bind(1)


def test_how_it_is_shown() -> None:
    """A function with the signature is shown with it by inspect and by help()."""

    def method(*args: object) -> None:
        """Set the voltage."""

    method.__name__ = "set_volts"
    method.__signature__ = parse_signature("(volts: V | None = None, *, ramp=0.1) -> bool")  # type: ignore[attr-defined]
    text = "(volts: V | None = None, *, ramp=0.1) -> bool"
    assert str(inspect.signature(method)) == text
    shown = pydoc.plain(pydoc.render_doc(method))
    assert f"set_volts{text}" in shown
    assert "Set the voltage." in shown


# What is not read


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, ["()"], b"()", {"signature": "()"}])
def test_what_is_no_text(value: object) -> None:
    """The value of a property or a constant has no signature."""
    assert parse_signature(value) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        ")",
        "hello",
        " ()",
        "f(x)",
        "-> int",
        "(...)",
        "(int32 x, int32 y) -> x+y",
        "(double a, *double data) -> *double",
        "() -> 3.1415926...",
        "(x=<object object at 0x7f0000000000>)",
        "(x=<Mode.FAST: 1>)",
        "(x, x)",
        "(x=1, y)",
        "(*)",
        "(**k, x)",
        "(*a, *b)",
        "(None)",
        "(def)",
        "(x: = 1)",
        "(x)[0]",
        "(x)(y)",
        "(x) + 1",
        "(x) # comment",
        "(x)\n",
        "(x) -> int\n",
        "(x=" + "9" * 5000 + ")",
        "(x='\ud800')",
        "(x\0)",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_what_is_no_signature_of_python(text: str) -> None:
    """Services are written in many languages; what Python cannot read has no signature."""
    assert parse_signature(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "(): import os",
        "(): pass; import os",
        "(x): pass\n def g()",
        "(x): pass\ndef g()",
        "(): pass\nimport os\ndef f()",
        "():\n  import os\n  if 1",
        "()\\\n; import os",
        "(x): return 1\nclass A",
    ],
)
def test_more_than_a_signature(text: str) -> None:
    """A text that goes on after the signature has none."""
    assert parse_signature(text) is None


@pytest.mark.parametrize(
    "text", ["(x) -> int: pass #", "(x): return 1 #", "(): import os #", "():\n  if 1", "():\n  class A"]
)
def test_a_body_of_its_own(text: str) -> None:
    """A text that brings its own body is no signature."""
    assert parse_signature(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "(x=canary())",
        "(x: canary())",
        "() -> canary()",
        "(x=[canary() for _ in (1,)])",
        "(x=f'{canary()}')",
        "(x: 'canary()')",
        "(x=(lambda: canary())())",
        "(x=__import__('os').system(canary()))",
        "(x=(yield canary()))",
        "(*args: canary(), **kwargs: canary())",
    ],
)
def test_nothing_is_run(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the text is run, neither when it is read nor when it is shown."""
    flown = []
    monkeypatch.setattr(builtins, "canary", lambda: flown.append(text), raising=False)
    signature = parse_signature(text)
    assert signature is not None
    assert "canary()" in str(signature)

    def method() -> None: ...

    method.__signature__ = signature  # type: ignore[attr-defined]
    assert "canary()" in pydoc.plain(pydoc.render_doc(method))
    assert flown == []
    eval("canary()")  # it can fly
    assert flown == [text]


def test_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is too long is not even looked at."""
    longest = "(x='" + "y" * (MOST_CHARACTERS - 6) + "')"
    assert len(longest) == MOST_CHARACTERS
    assert parse_signature(longest) is not None

    def parse(source: str) -> None:
        raise AssertionError(f"{len(source)} characters are parsed")

    monkeypatch.setattr(ast, "parse", parse)
    assert parse_signature(longest[:-2] + "y')") is None


@pytest.mark.parametrize(
    ("start", "middle", "end", "is_one"),
    [
        ("(x=", "-", "a)", False),
        ("(x=", "(", "", False),
        ("(x=", "[", "", False),
        ("(x=", "{", "", False),
        ("(x=", "await ", "a)", False),
        ("(x=", "f'{", "", False),
        ("(", "(", "", False),
        ("", "()", "", False),
        ("(", "x,", ")", False),
        ("(x=", "'a'", ")", True),
        ("(x=", "a<", "a)", True),
    ],
    ids=ascii,
)
def test_a_monster(start: str, middle: str, end: str, is_one: bool) -> None:
    """A text that is made to break the parser has a signature or none, and that is all."""
    text = start + middle * ((MOST_CHARACTERS - 20) // len(middle)) + end
    assert (parse_signature(text) is not None) is is_one


@pytest.mark.parametrize(
    ("start", "middle", "times", "end"),
    [("(x=", "-", 900, "a)"), ("(x: ", "a.", 450, "a)"), ("() -> ", "a+", 450, "a"), ("(x=a", "()", 2000, ")")],
)
def test_what_is_deep(start: str, middle: str, times: int, end: str) -> None:
    """A text that Python reads, but cannot write again, is shown as it was written."""
    text = start + middle * times + end
    assert str(parse_signature(text)) == text


@pytest.mark.parametrize("name", ["\U0001d41d\U0001d41e\U0001d41f", "\U0001d413rue", "\ufb01nally", "\u2148f"])
def test_a_keyword_in_disguise(name: str) -> None:
    """A name that Python normalizes to a keyword does no harm."""
    signature = parse_signature(f"({name})")
    assert signature is None or len(signature.parameters) == 1


@pytest.mark.parametrize("text", [r"(path='C:\data')", "(x=1if y else 2)", "(x: '\\d')"])
def test_no_warning(text: str) -> None:
    r"""Whoever looks at a method is not warned of the escapes in a text that somebody else wrote."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parse_signature(text)
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("text", ["(x: ...) -> ...", "(x: 0x10)", "() -> 1e999"])
def test_an_annotation_that_is_a_literal(text: str) -> None:
    """An annotation is shown as it was written also if it is a number or an ellipsis."""
    assert str(parse_signature(text)) == text


@given(st.lists(TOKENS, max_size=25).map("".join))
def test_any_text(text: str) -> None:
    """Whatever the text, there is a signature that can be shown, or none."""
    signature = parse_signature(f"({text}")
    assert signature is None or str(signature).startswith("(")
