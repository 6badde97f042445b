"""One section of a TOML file to one dataclass: units, secrets, and a clear word for each mistake.

    Size      "64 MiB", "1 MB", or a number of bytes
    Duration  "10 s", "500 ms", "1 min", or a number of seconds
    Secret    "text", { file = "path" } (its first line) or { env = "NAME" }; never shown
    File      a path, from the folder of the TOML file if it is relative

Rule of this file: the fields of the dataclass are the section; what is not a field is an error, and so
is a field with ``metadata={"setting": False}``. It must not know which sections exist.
"""

from __future__ import annotations

import dataclasses
import difflib
import hmac
import math
import os
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from .errors import ConfigError

__all__ = [
    "Duration",
    "File",
    "Mistakes",
    "RelativePath",
    "Secret",
    "Size",
    "Unit",
    "build",
    "convert",
    "first_line",
    "nearest",
    "settings",
]

T = TypeVar("T")
M = TypeVar("M")

_UNIONS: Final = (typing.Union, types.UnionType)

_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


@dataclasses.dataclass(frozen=True)
class Unit:
    """The units that a number may be given in.

    Args:
        noun: What is measured, for messages.
        factors: Unit name to factor; the first is what a plain number means.
        whole: Whether the result is an integer.
    """

    noun: str
    factors: tuple[tuple[str, float], ...]
    whole: bool

    def parse(self, value: object) -> float:
        """Return the number that a setting means.

        Raises:
            ValueError: If it is no such number; the text says what is allowed.
        """
        names = ", ".join(name for name, _ in self.factors)
        allowed = f"{self.noun}: a number of {self.factors[0][0]}, or text with a unit ({names})"
        if isinstance(value, str):
            match = _NUMBER.fullmatch(value)
            factors = {"": 1.0, **{name.lower(): factor for name, factor in self.factors}}
            if match is None or match[2].lower() not in factors:
                raise ValueError(f"found {_shown(value)}, allowed is {allowed}")
            number = float(match[1]) * factors[match[2].lower()]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            number = _float(value)
        else:
            raise ValueError(f"found {_shown(value)}, allowed is {allowed}")  # noqa: TRY004
        if self.whole and math.isfinite(number):
            number = int(number)
        if not math.isfinite(number) or number <= 0:
            raise ValueError(f"found {_shown(value)}, allowed is {allowed}, greater than 0")
        return number


_SIZE: Final = Unit(
    "a size",
    (("B", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)),
    whole=True,
)
_DURATION: Final = Unit("a duration", (("s", 1), ("ms", 1e-3), ("min", 60), ("h", 3600), ("d", 86400)), whole=False)

Size = Annotated[int, _SIZE]
"""A number of bytes."""

Duration = Annotated[float, _DURATION]
"""A number of seconds."""


@dataclasses.dataclass(frozen=True)
class RelativePath:
    """Marks a setting that is the path of a file, relative to the folder of the TOML file."""


File = Annotated[str, RelativePath()]
"""The path of a file; absolute if it came from a TOML file."""


class Secret:
    """A text that is never shown.

    Args:
        value: The text.
    """

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other.value)

    def matches(self, answer: object) -> bool:
        """Return whether an answer is this text; how long that takes tells nothing of it but, perhaps, its length.

        Args:
            answer: What a peer answered; what is no text is as wrong as any.
        """
        # surrogates are no UTF-8, and such an answer must not fail but be wrong
        given = answer.encode(errors="surrogatepass") if isinstance(answer, str) else b""
        return hmac.compare_digest(given, self.value.encode(errors="surrogatepass")) and isinstance(answer, str)

    def __hash__(self) -> int:
        return hash(self.value)


class Mistakes:
    """Gathers what is wrong with settings, so that a person is told of all of it at once."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the mistake that ends the ``with`` block, if one does, and go on after it."""
        try:
            yield
        except ConfigError as error:
            self.note(error)

    def note(self, error: ConfigError) -> None:
        """Note a mistake, or several.

        Args:
            error: What is wrong.
        """
        self._found += [error, *error.others]
        error.others = ()

    def check(self) -> None:
        """Raise what was noted.

        Raises:
            ConfigError: If anything was; the first one, with the others in it.
        """
        if self._found:
            first, *others = self._found
            first.others = tuple(others)
            raise first


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is not known: the nearest spelling, and all that are known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known are: {', '.join(names)}" if names else "none are known"


def settings(factory: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the settings of a dataclass (or of an instance): its fields that a file may set, by name."""
    return {
        field.name: field for field in dataclasses.fields(factory) if field.init and field.metadata.get("setting", True)
    }


def build(
    factory: type[T],
    values: Mapping[str, Any],
    *,
    source: str = "",
    section: str = "",
    base: Path | None = None,
) -> T:
    """Make a dataclass of a section.

    Args:
        factory: The dataclass; its fields are the keys that are allowed, their types what is allowed for
            each. A ValueError of it that begins with the name of a key and a colon is about that key.
        values: The section.
        source: The file, for messages.
        section: The name of the section, for messages.
        base: The folder that relative paths of secrets start from; the working directory if None.

    Returns:
        The instance.

    Raises:
        ConfigError: If a key is unknown, missing, or its value is not allowed.
    """
    fields = settings(factory)
    mistakes = Mistakes()
    with mistakes.noted():
        found = convert(factory, values, source=source, section=section, base=base)
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in values and no_default:
            problem = "is missing and has no default"
            mistakes.note(ConfigError(problem, source=source, section=section, key=name))
    mistakes.check()
    try:
        return factory(**found)
    except ValueError as error:
        key, colon, problem = str(error).partition(": ")
        if not colon or key not in fields:
            key, problem = "", str(error)
        raise ConfigError(problem, source=source, section=section, key=key) from error


def convert(
    factory: type[Any],
    values: Mapping[str, Any],
    *,
    source: str = "",
    section: str = "",
    base: Path | None = None,
) -> dict[str, Any]:
    """Return values as the fields of a dataclass want them. The arguments are those of `build`.

    Raises:
        ConfigError: If a key is unknown, or its value is not allowed.
    """
    fields = settings(factory)
    hints = _hints(factory, section, source)
    found: dict[str, Any] = {}
    mistakes = Mistakes()
    for key, value in values.items():
        problem = "" if key in fields else f"unknown key, {nearest(key, fields)}"
        if not problem:
            try:
                found[key] = _convert(value, hints[key], base)
            except ValueError as error:
                problem = str(error)
        if problem:
            mistakes.note(ConfigError(problem, source=source, section=section, key=key))
    mistakes.check()
    return found


def first_line(path: Path) -> str:
    """Return the first line of a file, without the white space around it.

    Raises:
        ValueError: If there is none, or the file cannot be read; the text says why.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:  # an editor of Windows puts a mark before the text
            line = stream.readline().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ValueError(f"cannot read the file {str(path)!r}: {reason}") from None
    if not line:
        raise ValueError(f"the first line of the file {str(path)!r} is empty")
    return line


def _hints(factory: type[Any], section: str, source: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory, include_extras=True)
    except Exception as error:  # whatever a stranger wrote there
        raise ConfigError(
            f"the types of the settings of {factory.__name__} cannot be read "
            f"({type(error).__name__}: {error}); import what they name outside of TYPE_CHECKING",
            source=source,
            section=section,
        ) from error


def _convert(value: object, hint: Any, base: Path | None) -> Any:
    unit = _mark(hint, Unit)
    if unit is not None:
        return unit.parse(value)
    is_union = typing.get_origin(hint) in _UNIONS
    accepts_text = bool({str, Secret} & set(typing.get_args(hint) if is_union else [hint]))
    if isinstance(value, Mapping) and accepts_text and set(value) <= {"file", "env"}:
        value = _indirect(value, base)
    if isinstance(value, str) and value and base is not None and _mark(hint, RelativePath) is not None:
        value = _from_folder(value, base)
    try:
        return msgspec.convert(value, hint, dec_hook=_custom)
    except msgspec.ValidationError as error:
        raise ValueError(_friendly(str(error), value, hint)) from None


def _mark(hint: Any, kind: type[M]) -> M | None:
    """Return the mark of that kind on a type, or on a type of a union."""
    for part in (hint, *typing.get_args(hint)):
        for extra in getattr(part, "__metadata__", ()):
            if isinstance(extra, kind):
                return extra
    return None


def _from_folder(path: str, base: Path) -> str:
    if "\0" in path:
        raise ValueError("found a path with a NUL character, which no file has")
    return str(base.absolute() / _expanded(path))


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~nobody": then it is the name of a file
        return Path(path)


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _custom(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("not a text")


_WAYS: Final = '"text", { file = "path" } or { env = "NAME" }'

_NOUNS: Final[dict[Any, tuple[str, str]]] = {
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    dict: ("a table", "tables"),
    Secret: (_WAYS, _WAYS),
}


def _friendly(problem: str, value: object, hint: Any) -> str:
    if hint is Secret or Secret in typing.get_args(hint):
        return f"found no text, allowed is {_WAYS}"
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        for key, item in value.items():
            try:
                msgspec.convert(item, typing.get_args(hint)[1], dec_hook=_custom)
            except msgspec.ValidationError as error:
                return f"{key}: {_friendly(str(error), item, typing.get_args(hint)[1])}"
    if "got" not in problem and "Invalid enum" not in problem:  # the type is right, but not the value
        return f"found {_shown(value)}, {problem[:1].lower()}{problem[1:].replace('`', '')}"
    return f"found {_shown(value)}, allowed is {_allowed(hint)}"


def _allowed(hint: Any) -> str:
    """Say what a type hint means to a person who writes TOML."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _allowed(args[0])
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(_allowed(arg) for arg in args if arg is not type(None)))
    kind = origin or hint
    if kind in _NOUNS:
        return _NOUNS[kind][0]
    if isinstance(kind, type) and issubclass(kind, Iterable):
        many = _NOUNS.get(args[0], ("", "values"))[1] if args else "values"
        return f"a list of {many}"
    return f"a value for {getattr(hint, '__name__', hint)}"


def _shown(value: object) -> str:
    """Show what was found as it stands in TOML, if that is short, and no list or table that may hold secrets."""
    if isinstance(value, (list, tuple)):
        return "a list with something else in it"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (date, time)):
        return str(value)
    return reprlib.repr(value)


def _indirect(table: Mapping[str, object], base: Path | None) -> str:
    """Read a text from where a table says that it is."""
    (kind, where), *more = table.items() or [("", "")]
    if more or not isinstance(where, str) or not where:
        raise ValueError(f"found a table, allowed is {_WAYS}")
    if kind == "file":
        return first_line((base or Path()) / _expanded(where))
    text = os.environ.get(where)
    if text is None:
        raise ValueError(f"the environment has no variable {where!r}")
    if not text:
        raise ValueError(f"the environment variable {where!r} is empty")
    return text
