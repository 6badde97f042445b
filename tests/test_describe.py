from __future__ import annotations

import asyncio
import functools
import inspect
import json
import logging
import math
import platform
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network.config import Config
from msl_network.describe import MOST_DOCS, describe, language, system
from msl_network.payload import encode_answer

if TYPE_CHECKING:
    from collections.abc import Callable


class Sample:
    def to_json(self) -> dict[str, float]:
        return {"volts": 1.5}


class Instrument:
    """A bit of everything that a Service may have."""

    RANGE = 10
    NAMES: ClassVar[list[str]] = ["a", "b"]
    table: ClassVar[dict[str, Any]] = {"x": [1, None]}
    sample = Sample()
    number = math.pi
    root = math.sqrt
    part = functools.partial(int, base=2)
    _hidden = 1
    __very_hidden = 2

    def __init__(self) -> None:
        self.evaluated = 0

    @property
    def temperature(self) -> float:
        """In kelvin."""
        self.evaluated += 1
        return 20.5

    def read(self, channel: int, *, average: bool = False, **kwargs: float) -> float:
        """Read a channel.

        Switch to it:
            at first
        """
        return channel + average + sum(kwargs.values())

    async def slow(self, seconds: float = 1.5) -> None:
        """Take a while."""
        await asyncio.sleep(seconds)

    @staticmethod
    def add(x: int, y: int = 2) -> int:
        """Add."""
        return x + y

    @classmethod
    def make(cls, name: str) -> str:
        """Make one."""
        return f"{cls}{name}"

    def undocumented(self) -> None:
        pass

    def _private(self) -> None:
        """Nobody sees this."""


class Documented:
    """Its methods have the docstrings that a test gives them."""


def with_docs(**docs: str) -> Documented:
    def method() -> None: ...

    service = Documented()
    for name, doc in docs.items():
        function = functools.partial(method)
        function.__doc__ = doc
        setattr(service, name, function)
    return service


def size_of(docs: dict[str, str]) -> int:
    return sum(map(len, docs.values()))


def test_language_and_system() -> None:
    """They are what 1.0 tells of them."""
    assert language() == f"Python {platform.python_version()}"
    assert system() == f"{platform.system()} {platform.release()} {platform.machine()}"


def test_what_can_be_called() -> None:
    """A method has its signature, without self; also one that is async, static, or of the class."""
    attributes, _ = describe(Instrument(), ())
    assert {
        name: value for name, value in attributes.items() if name in {"read", "slow", "add", "make", "undocumented"}
    } == {
        "read": "(channel: 'int', *, average: 'bool' = False, **kwargs: 'float') -> 'float'",
        "slow": "(seconds: 'float' = 1.5) -> 'None'",
        "add": "(x: 'int', y: 'int' = 2) -> 'int'",
        "make": "(name: 'str') -> 'str'",
        "undocumented": "() -> 'None'",
    }


def test_what_cannot_be_called() -> None:
    """Of a constant, a property and a variable the value is told."""
    instrument = Instrument()
    attributes, _ = describe(instrument, ())
    assert (attributes["RANGE"], attributes["number"], attributes["temperature"]) == (10, math.pi, 20.5)
    assert (attributes["NAMES"], attributes["table"]) == (["a", "b"], {"x": [1, None]})
    assert attributes["evaluated"] == 0
    assert instrument.evaluated == 1


def test_what_has_to_json() -> None:
    """What its to_json() makes a JSON value of is told as that."""
    attributes, _ = describe(Instrument(), ())
    assert json.loads(encode_answer(attributes))["result"]["sample"] == {"volts": 1.5}


def test_what_is_written_in_c() -> None:
    """Functions that are not Python's have their signature, if they have one to tell."""

    class Service:
        floor = math.floor
        biggest = max

    try:
        expected = str(inspect.signature(max))
    except ValueError:
        expected = "(...)"
    attributes, docs = describe(Service(), ())
    assert attributes == {"floor": "(x, /)", "biggest": expected}
    assert docs["floor"] == math.floor.__doc__


def test_what_is_hidden() -> None:
    """What begins with an underscore is never told, and neither is what is ignored; it is not even looked at."""

    class Service(Instrument):
        @property
        def _secret(self) -> None:
            raise AssertionError("looked at")

        @property
        def costly(self) -> None:
            raise AssertionError("looked at")

    attributes, docs = describe(Service(), {"costly", "read"})
    assert not [name for name in [*attributes, *docs] if name.startswith("_")]
    assert "costly" not in attributes
    assert "read" not in attributes
    assert "read" not in docs
    assert "add" in attributes


def test_the_order_of_names() -> None:
    """Attributes are in the order of their names, as in 1.0."""
    attributes, docs = describe(Instrument(), ())
    assert list(attributes) == sorted(attributes)
    assert list(docs) == sorted(docs)


def test_the_attributes_of_1_0() -> None:
    """What 1.0 tells of an object is told in the same words; functions that 1.0 leaves out may be added."""
    from msl.network import Service

    class OfOld(Instrument, Service):  # type: ignore[misc]
        def __init__(self) -> None:
            Service.__init__(self, ignore_attributes=["set_logging_level", "shutdown_handler"])
            Instrument.__init__(self)

    expected = OfOld()._generate_identity()["attributes"]
    instrument = Instrument()
    found, _ = describe(instrument, ())
    assert {name: value for name, value in found.items() if name in expected} == expected
    added = {name: value for name, value in found.items() if name not in expected}
    assert added.pop("sample") is Instrument.sample
    assert set(added.values()) <= {"(...)"}


# What goes wrong


class Failing:
    @property
    def broken(self) -> float:
        raise ConnectionError("the cable is cut")

    @property
    def vague(self) -> float:
        raise ValueError

    @property
    def cell(self) -> bytes:
        return b"bytes"

    @property
    def loop(self) -> list[Any]:
        ring: list[Any] = []
        ring.append(ring)
        return ring

    @property
    def half(self) -> str:
        return "\ud800"

    samples: ClassVar[set[int]] = {1}

    def default(self, x: object = "\ud800") -> None: ...

    def fine(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("broken", "ConnectionError: the cable is cut"),
        ("vague", "ValueError"),
        ("cell", "TypeError: JSON cannot carry a value of type bytes"),
        ("samples", "TypeError: JSON cannot carry a value of type set"),
        ("loop", "ValueError: Circular reference"),
        ("half", "UnicodeEncodeError"),
    ],
)
def test_what_cannot_be_told(name: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It costs one attribute, and one warning that says why and how to be rid of it."""
    attributes, docs = describe(Failing(), ())
    assert name not in attributes
    assert name not in docs
    assert "fine" in attributes
    (text,) = [record.getMessage() for record in caplog.records if repr(name) in record.getMessage()]
    assert kind in text
    assert f"ignore_attributes({name!r})" in text
    assert {(record.name, record.levelno) for record in caplog.records} == {("msl_network.service", logging.WARNING)}


def test_what_is_ignored_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once the names are ignored there is nothing to be warned of."""
    describe(Failing(), {"broken", "vague", "cell", "samples", "loop", "half", "default"})
    assert caplog.records == []


def test_callables_that_misbehave(caplog: pytest.LogCaptureFixture) -> None:
    """A signature or a docstring that cannot be had costs no more than that."""

    class BadRepr:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    class BadDoc:
        def __call__(self, x: int) -> None: ...

        @property
        def __doc__(self) -> str:  # type: ignore[override]
            raise RuntimeError("no doc")

    class NoText:
        __doc__ = 5  # type: ignore[assignment]

        def __call__(self) -> None: ...

    class Wrong:
        __signature__ = "a text"

        def __call__(self) -> None: ...

    class Service:
        bad_doc = BadDoc()
        no_text = NoText()
        wrong = Wrong()

        def bad_repr(self, x: object = BadRepr()) -> None: ...

        def fine(self) -> None:
            """Do it."""

    attributes, docs = describe(Service(), ())
    assert attributes.keys() >= {"bad_doc", "no_text", "fine"}
    assert "bad_repr" not in attributes
    assert docs == {"fine": "Do it."}
    assert any("'bad_repr'" in record.getMessage() for record in caplog.records)


def test_a_name_that_is_listed_but_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """An attribute that exists by name only is left out."""

    class Service:
        def __dir__(self) -> list[str]:
            return ["fine", "gone"]

        fine = 1

    attributes, _ = describe(Service(), ())
    assert attributes == {"fine": 1}
    assert "'gone'" in caplog.text


# Docstrings


def test_docstrings() -> None:
    """Methods and properties are told with their docstrings, without the indentation of the source."""
    _, docs = describe(Instrument(), {"root", "part", "sample"})
    assert docs == {
        "add": "Add.",
        "make": "Make one.",
        "read": "Read a channel.\n\nSwitch to it:\n    at first",
        "slow": "Take a while.",
        "temperature": "In kelvin.",
    }


def test_a_docstring_of_the_base_class() -> None:
    """A method that says nothing has the docstring of what it overrides, as help() shows it."""

    class Better(Instrument):
        def slow(self, seconds: float = 0) -> None:  # type: ignore[override]
            pass

    assert describe(Better(), ())[1]["slow"] == "Take a while."


def test_a_long_docstring() -> None:
    """One that finds no room is told up to its first empty line, or not at all if that is too long as well."""
    filler = "x" * MOST_DOCS
    _, docs = describe(with_docs(a=f"First.\nStill first.\n\n{filler}", b=filler + "y", c="Last."), ())
    assert docs == {"a": "First.\nStill first.", "c": "Last."}


def test_the_room_for_docstrings() -> None:
    """What comes when there is no room left is left out, and what is smaller may still find some."""
    half = "x" * (MOST_DOCS // 2 - 100)
    _, docs = describe(with_docs(a=half, b=half, c="y" * 300, d="z"), ())
    assert docs == {"a": half, "b": half, "d": "z"}


@given(st.lists(st.integers(0, MOST_DOCS + 10), max_size=8), st.booleans())
def test_docstrings_never_take_more_room(lengths: list[int], has_summary: bool) -> None:
    """However many and long they are, docstrings have a size that a Manager takes; attributes are all there."""
    start = "Do.\n\n" if has_summary else ""
    service = with_docs(**{f"m{i}": start + "x" * length for i, length in enumerate(lengths)})
    attributes, docs = describe(service, ())
    assert len(attributes) == len(lengths)
    assert size_of(docs) <= MOST_DOCS
    assert all(doc and (service.__dict__[name].__doc__).startswith(doc) for name, doc in docs.items())


LIMIT = Config().limits.max_handshake_message


@pytest.mark.parametrize("character", ["x", "é", "測", "😀", "\x01", '"', "\n"], ids=ascii)
def test_docstrings_let_a_service_in(character: str) -> None:
    """Docstrings in any alphabet leave room for all else that a Manager takes from a stranger in one message."""
    service = with_docs(**{f"method_{number}": f"Do {character * 40}." for number in range(1000)})
    _, docs = describe(service, ())
    assert docs
    assert len(encode_answer(docs)) < LIMIT / 2


@pytest.mark.parametrize("character", ["x", "測", "\x01"], ids=ascii)
def test_one_docstring_of_any_alphabet(character: str) -> None:
    """The room is one of bytes on the wire, not of characters."""
    size = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    fits = character * (MOST_DOCS // size - 100)
    assert describe(with_docs(a=fits), ())[1] == {"a": fits}
    assert describe(with_docs(a=character * (MOST_DOCS // size + 1)), ())[1] == {}


def test_a_docstring_that_cannot_be_sent() -> None:
    """A docstring with half of a surrogate pair costs no more than itself."""
    attributes, docs = describe(with_docs(a="\ud800", b="Fine."), ())
    assert attributes.keys() == {"a", "b"}
    assert docs["b"] == "Fine."
    assert encode_answer({"attributes": attributes, "docs": docs})


def test_what_may_be_described() -> None:
    """Anything with attributes can be described, also a module or a class."""
    functions: list[Callable[..., Any]] = [math.floor, math.ceil]
    attributes, _ = describe(math, ())
    assert {function.__name__ for function in functions} < attributes.keys()
    assert attributes["pi"] == math.pi
