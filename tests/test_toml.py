from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from msl_network.config import Config, Limits, TLSSettings
from msl_network.settings import Secret, build
from msl_network.toml import dump

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda values: st.lists(values) | st.dictionaries(TEXT, values),
    max_leaves=5,
)
NAMES = st.lists(TEXT, unique=True).map(tuple)
SIZES = st.integers(1, 2**40)
SECONDS = st.floats(1e-9, 1e9)
CONFIGS = st.builds(
    Config,
    host=st.none() | TEXT.filter(lambda text: text and "\0" not in text),
    port=st.integers(0, 65535),
    auth=NAMES,
    allow_anonymous=st.booleans(),
    store=TEXT,
    encoding=TEXT,
    plugins=NAMES,
    without=st.lists(st.sampled_from(["login", "hostname"]), unique=True).map(tuple),
    transport=st.sampled_from(["auto", "protocol", "streams"]),
    log_level=st.sampled_from(["INFO", "debug", 5]),
    log_file=st.none() | TEXT,
    tls=st.builds(TLSSettings, enabled=st.booleans(), cert_file=st.none() | TEXT, key_file=st.none() | TEXT),
    limits=st.builds(Limits, max_message=SIZES, outbox=SIZES, pending=SIZES, handshake_timeout=SECONDS),
)


@dataclass(eq=False)
class Badge:
    """A plugin with settings of all kinds."""

    code: Secret
    table: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    folder: str | None = None
    number: float = 1e300
    hidden: str = field(default="never", metadata={"setting": False})
    derived: str = field(default="never", init=False)


class Plain:
    """A plugin without settings."""


@given(CONFIGS)
def test_what_it_prints_loads_again(config: Config) -> None:
    """It is valid TOML that gives an equal Config."""
    assert Config.from_dict(tomllib.loads(dump(config, []))) == config


def test_every_setting_is_printed() -> None:
    """Also those with their default; those without a value as a comment."""
    text = dump(Config(), [])
    for section, factory in [("manager", Config), ("manager.tls", TLSSettings), ("manager.limits", Limits)]:
        assert f"[{section}]\n" in text
        names = {each.name for each in dataclasses.fields(factory)} - {
            "tls",
            "limits",
            "sections",
            "source",
            "keywords",
            "database",
        }
        assert all(f"\n{name} = " in text or f"\n# {name} is not set\n" in text for name in names)
    assert "source" not in text
    assert "# host is not set\n" in text


def test_a_secret_is_never_printed() -> None:
    """Neither the password of the key nor that of a plugin, whether it is enabled or not."""
    sections: dict[str, Any] = {"badge": {"code": "hidden"}, "other": {"password": "hidden"}}
    config = Config(tls=TLSSettings(key_file_password=Secret("hidden")), sections=MappingProxyType(sections))
    text = dump(config, [("badge", build(Badge, sections["badge"]))])
    assert "hidden" not in text
    assert '\ncode = "********"\n' in text
    assert text.endswith("\n\n# [plugins.other] is not enabled\n")
    assert Config.from_dict(tomllib.loads(text)).tls.key_file_password == Secret("********")


@given(st.dictionaries(TEXT, VALUES), st.lists(TEXT), st.none() | TEXT, TEXT)
def test_the_settings_of_a_plugin(table: dict[str, Any], names: list[str], folder: str | None, name: str) -> None:
    """They load again to an equal plugin, whatever its name is; what is no setting is not printed."""
    badge = Badge(code=Secret("x"), table=table, names=names, folder=folder)
    config = Config(sections=MappingProxyType({name: {"use": "mylab:Badge"}}))
    data = tomllib.loads(dump(config, [(name, badge)]))
    section = data["plugins"][name]
    assert section.pop("use") == "mylab:Badge"
    again = build(Badge, section)
    assert (again.table, again.names, again.folder, again.number) == (table, names, folder, 1e300)
    assert set(section) <= {"code", "table", "names", "folder", "number"}


def test_plugins_without_settings() -> None:
    """One that is no dataclass has a section only if it says where it is from."""
    config = Config(sections=MappingProxyType({"one": {"use": "mylab:Plain"}}))
    text = dump(config, [("one", Plain()), ("two", Plain())])
    assert text.endswith('\n\n[plugins.one]\nuse = "mylab:Plain"\n')


def test_values_that_toml_has_not() -> None:
    """A path is a text, a set a list, None is left out, a lone surrogate is replaced, another object its text."""

    @dataclass
    class Odd:
        path: Any = Path("a/b")
        names: Any = frozenset({"x"})
        gaps: Any = ("x", None)
        table: Any = field(default_factory=lambda: {"a": None, "b c": 1})
        text: Any = "a\ud800\x7f"
        other: Any = 1j

    section = tomllib.loads(dump(Config(), [("odd", Odd())]))["plugins"]["odd"]
    assert section == {
        "path": str(Path("a/b")),
        "names": ["x"],
        "gaps": ["x"],
        "table": {"b c": 1},
        "text": "a?\x7f",
        "other": "1j",
    }
