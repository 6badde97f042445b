from __future__ import annotations

import datetime as dt
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network.errors import ConfigError
from msl_network.settings import Duration, Secret, Size, build, convert, first_line, nearest, settings

if TYPE_CHECKING:
    from decimal import Decimal

SECRET = 'allowed is "text", { file = "path" } or { env = "NAME" }'


@dataclass(frozen=True, kw_only=True)
class Everything:
    """One setting of each kind."""

    text: str = ""
    maybe: str | None = None
    whole: int = 0
    number: float = 0.0
    flag: bool = False
    level: str | int = 0
    choice: Literal["auto", "fast"] = "auto"
    names: list[str] = field(default_factory=list)
    numbers: tuple[int, ...] = ()
    table: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    things: list[Any] = field(default_factory=list)
    any_list: list = field(default_factory=list)  # type: ignore[type-arg]
    positive: Annotated[int, msgspec.Meta(ge=1)] = 1
    size: Size = 1
    maybe_duration: Duration | None = None
    secret: Secret | None = None
    stranger: Path | None = None
    day: dt.date | None = None
    hidden: str = field(default="", metadata={"setting": False})
    derived: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.whole < 0:
            raise ValueError(f"whole: found {self.whole}, allowed is 0 or more")
        if self.text == "odd":
            raise ValueError("this: cannot be")


@dataclass
class Needy:
    """A setting without a default."""

    code: Secret


@dataclass
class Lazy:
    """A type that is not there at run time."""

    value: Decimal


def problem(**values: object) -> str:
    with pytest.raises(ConfigError) as info:
        build(Everything, values, source="lab.toml", section="plugins.x")
    key = next(iter(values))
    prefix = f"lab.toml [plugins.x] {key}: "
    assert str(info.value).startswith(prefix)
    return str(info.value).removeprefix(prefix)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1),
        (1.5e3, 1500),
        ("10", 10),
        ("1 kB", 1000),
        ("2MB", 2_000_000),
        ("1 gb", 10**9),
        ("64 KiB", 65536),
        ("1.5 MiB", 1572864),
        (" 1 GiB ", 2**30),
        ("7 B", 7),
    ],
)
def test_a_size(value: object, size: int) -> None:
    """A size is a number of bytes, or text with a unit in any case."""
    found = build(Everything, {"size": value}).size
    assert found == size
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(1, 1.0), (0.5, 0.5), ("10 s", 10.0), ("500 ms", 0.5), ("1.5min", 90.0), ("1 H", 3600.0), ("1 d", 86400.0)],
)
def test_a_duration(value: object, seconds: float) -> None:
    """A duration is a number of seconds, or text with a unit."""
    found = build(Everything, {"maybe_duration": value}).maybe_duration
    assert found == seconds
    assert type(found) is float


@pytest.mark.parametrize("value", ["10 parsec", "s", "", "1e3 s", "-1 s", True, [], {"file": "x"}])
def test_what_is_no_duration(value: object) -> None:
    """Anything else is refused with all units."""
    assert problem(maybe_duration=value).endswith(
        "allowed is a duration: a number of s, or text with a unit (s, ms, min, h, d)"
    )


@pytest.mark.parametrize("value", [0, -1, "0 B", "0.4 B", float("nan"), float("inf"), 10**400, "9" * 400])
def test_a_size_that_is_none(value: object) -> None:
    """A size is greater than 0 and finite, after rounding as well."""
    assert problem(size=value).endswith(
        "allowed is a size: a number of B, or text with a unit (B, kB, MB, GB, KiB, MiB, GiB), greater than 0"
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("text", 5, "found 5, allowed is a text"),
        ("maybe", True, "found true, allowed is a text"),
        ("whole", "x", "found 'x', allowed is a whole number"),
        ("whole", 1.5, "found 1.5, allowed is a whole number"),
        ("whole", False, "found false, allowed is a whole number"),
        ("number", "1", "found '1', allowed is a number"),
        ("flag", "yes", "found 'yes', allowed is true or false"),
        ("flag", 1, "found 1, allowed is true or false"),
        ("level", 1.5, "found 1.5, allowed is a text or a whole number"),
        ("choice", "slow", "found 'slow', allowed is one of 'auto', 'fast'"),
        ("choice", 5, "found 5, allowed is one of 'auto', 'fast'"),
        ("names", "login", "found 'login', allowed is a list of texts"),
        ("names", [1], "found a list with something else in it, allowed is a list of texts"),
        ("numbers", ["x"], "found a list with something else in it, allowed is a list of whole numbers"),
        ("table", 5, "found 5, allowed is a table"),
        ("lists", {"a": ["x"], "b": "x"}, "b: found 'x', allowed is a list of texts"),
        ("lists", {"a": [1]}, "a: found a list with something else in it, allowed is a list of texts"),
        ("things", 5, "found 5, allowed is a list of values"),
        ("any_list", 5, "found 5, allowed is a list of values"),
        ("positive", 0, "found 0, expected int >= 1"),
        ("positive", "x", "found 'x', allowed is a whole number"),
        ("whole", dt.date(2026, 1, 2), "found 2026-01-02, allowed is a whole number"),
        ("text", {"flie": "x"}, "found a table, allowed is a text"),
        ("whole", {}, "found a table, allowed is a whole number"),
        ("stranger", 5, "found 5, not a text"),
        ("day", 5, "found 5, allowed is a value for date"),
        ("whole", -1, "found -1, allowed is 0 or more"),
        ("secret", 5, f"found no text, {SECRET}"),
        ("secret", ["hidden"], f"found no text, {SECRET}"),
    ],
)
def test_a_value_that_is_wrong(key: str, value: object, text: str) -> None:
    """The text names file, section and key, what was found, and what is allowed, in words of a person."""
    assert problem(**{key: value}) == text


def test_what_is_shown_is_short() -> None:
    """A long value does not fill the terminal, a secret one is not shown."""
    assert len(problem(whole="x" * 10_000)) < 100
    assert "hidden" not in problem(secret={"password": "hidden"})


def test_a_key_that_is_unknown() -> None:
    """It is an error with the nearest spelling; what only the program sets is not offered."""
    text = problem(chioce="auto")
    assert text.startswith("unknown key, did you mean 'choice'? known are: any_list, choice, day, flag, level, ")
    for name in ("hidden", "derived"):
        assert problem(**{name: "x"}).startswith("unknown key, ")
        assert name not in problem(zzz=1)
        assert name not in settings(Everything)


def test_a_key_that_is_missing() -> None:
    """A setting without a default must be there."""
    with pytest.raises(ConfigError) as info:
        build(Needy, {}, source="lab.toml", section="plugins.needy")
    assert str(info.value) == "lab.toml [plugins.needy] code: is missing and has no default"
    assert convert(Needy, {}) == {}


def test_a_section_that_is_wrong_as_a_whole() -> None:
    """What the class says of no single key is about the section."""
    with pytest.raises(ConfigError) as info:
        build(Everything, {"text": "odd"}, section="plugins.x")
    assert str(info.value) == "[plugins.x]: this: cannot be"


def test_a_class_that_cannot_be_read() -> None:
    """A type that is imported for the type checker only is a mistake of the plugin, and is explained."""
    with pytest.raises(ConfigError) as info:
        build(Lazy, {"value": 1}, section="plugins.lazy")
    assert str(info.value) == (
        "[plugins.lazy]: the types of the settings of Lazy cannot be read (NameError: name 'Decimal' is not "
        "defined); import what they name outside of TYPE_CHECKING"
    )


def test_the_nearest_spelling() -> None:
    """The hint names the nearest and all known names, as far as there are any."""
    assert nearest("prot", ["port", "host"]) == "did you mean 'port'? known are: host, port"
    assert nearest("xyz", ["port"]) == "known are: port"
    assert nearest("xyz", []) == "none are known"


def test_a_secret_is_never_shown() -> None:
    """Not by itself, and not in what contains it; it compares like its text."""
    needy = build(Needy, {"code": "hidden"})
    assert needy.code.value == "hidden"
    assert "hidden" not in repr(needy) + str(needy.code)
    assert {needy.code} == {Secret("hidden")}
    assert needy.code != Secret("other")
    assert needy.code != "hidden"


@pytest.mark.parametrize("text", ["hidden", "Größe 😀", "\ud800", ""])
def test_a_secret_is_compared(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """30. Nothing but that text is right, nothing fails, and it takes the same time, whatever is compared."""
    compared = []
    compare = hmac.compare_digest

    def watch(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    secret = Secret(text)
    assert secret.matches(text)
    assert secret == Secret(text)
    wrong = [
        text + "x",
        text + "\0",
        "\udfff",
        None,
        True,
        0,
        1.5,
        [],
        [text],
        {},
        {text: text},
        b"",
        text.encode(errors="surrogatepass"),
        secret,
    ]
    assert not any(secret.matches(answer) for answer in wrong)
    assert len(compared) == 2 + len(wrong)


def test_a_secret_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text may be in the first line of a file, relative to the base, or in the environment."""
    (tmp_path / "secret.txt").write_bytes("\ufeff  geheim \r\nsecond\n".encode())
    monkeypatch.setenv("LAB_SECRET", "from outside")
    for key in ("secret", "text", "maybe", "level"):
        for value, text in [({"file": "secret.txt"}, "geheim"), ({"env": "LAB_SECRET"}, "from outside")]:
            found = getattr(build(Everything, {key: value}, base=tmp_path), key)
            assert found == (Secret(text) if key == "secret" else text)
    monkeypatch.chdir(tmp_path)
    assert build(Needy, {"code": {"file": "secret.txt"}}).code == Secret("geheim")
    assert first_line(Path("secret.txt")) == "geheim"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"env": "LAB_NO"}, "the environment has no variable 'LAB_NO'"),
        ({"env": "LAB_EMPTY"}, "the environment variable 'LAB_EMPTY' is empty"),
        ({"file": "no.txt"}, "cannot read the file 'BASE/no.txt': No such file or directory"),
        ({"file": "~no.body/x"}, "cannot read the file 'BASE/~no.body/x': No such file or directory"),
        ({"file": "."}, "cannot read the file 'BASE': Is a directory"),
        ({"file": "empty.txt"}, "the first line of the file 'BASE/empty.txt' is empty"),
        ({"file": "binary"}, "cannot read the file 'BASE/binary': it is not text in UTF-8"),
        ({"file": "a", "env": "b"}, f"found a table, {SECRET}"),
        ({"file": 5}, f"found a table, {SECRET}"),
        ({"env": ""}, f"found a table, {SECRET}"),
        ({}, f"found a table, {SECRET}"),
    ],
)
def test_a_secret_that_is_not_there(
    value: dict[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text says where it was looked for and why it could not be read, never what is in it."""
    (tmp_path / "empty.txt").write_text("\nsecond")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("LAB_EMPTY", "")
    with pytest.raises(ConfigError) as info:
        build(Everything, {"secret": value}, base=tmp_path)
    assert info.value.problem == text.replace("BASE", str(tmp_path))


UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@given(st.decimals(1, 10**6, places=3), st.sampled_from(list(UNITS)), st.sampled_from(["", " "]), st.booleans())
def test_any_size(number: Any, unit: str, blank: str, is_upper: bool) -> None:
    """A number with a unit is that many bytes, a part of a byte left out."""
    text = f"{number}{blank}{unit.upper() if is_upper else unit}"
    assert build(Everything, {"size": text}).size == int(float(number) * UNITS[unit])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.times() | st.binary(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)
TYPES: dict[str, Any] = {
    "text": str,
    "maybe": (str, type(None)),
    "whole": int,
    "number": (float, int),
    "flag": bool,
    "level": (str, int),
    "choice": str,
    "names": list,
    "numbers": tuple,
    "table": dict,
    "things": list,
    "positive": int,
    "size": int,
    "maybe_duration": (float, type(None)),
    "secret": (Secret, type(None)),
    "day": (dt.date, type(None)),
}


@given(st.dictionaries(st.sampled_from(sorted(TYPES)), ANYTHING, min_size=1))
def test_any_value(values: dict[str, Any]) -> None:
    """A value has the type that its setting says, or one short line says what is wrong with which, for each."""
    try:
        found = build(Everything, values, source="lab.toml", section="plugins.x")
    except ConfigError as error:
        for mistake, line in zip((error, *error.others), error.lines, strict=True):
            assert line.startswith("lab.toml [plugins.x] ")
            assert mistake.key in values or "this" in line
            assert len(line) < 1000
            assert "\n" not in line
        return
    for key in values:
        assert isinstance(getattr(found, key), TYPES[key])
        if isinstance(getattr(found, key), bool):
            assert key == "flag"
