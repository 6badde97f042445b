"""Settings as a TOML text, for a person to read: every setting, those with their default as well.

Rule of this file: a secret is never written. It must not know which settings exist.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .settings import Secret, settings

if TYPE_CHECKING:
    from .config import Config

__all__ = ["dump"]

_HIDDEN: Final = Secret("")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def dump(config: Config, plugins: Sequence[tuple[str, object]]) -> str:
    """Return all settings.

    Args:
        config: The settings of the Manager.
        plugins: Name and object of each enabled plugin.

    Returns:
        The text; a setting without a value is a comment, and so is a section whose plugin is not enabled.
    """
    nested = {"tls": config.tls, "limits": config.limits}
    own = [(name, value) for name, value in _fields(config) if name not in nested]
    parts = [_section("manager", own)]
    parts += [_section(f"manager.{name}", _fields(value)) for name, value in nested.items()]
    for name, plugin in plugins:
        use = config.sections.get(name, {}).get("use")
        values = [("use", use)] if use else []
        if dataclasses.is_dataclass(plugin):
            section = config.sections.get(name, {})
            values += [(key, _HIDDEN if _is_indirect(section.get(key)) else value) for key, value in _fields(plugin)]
        if values:
            parts.append(_section(f"plugins.{_key(name)}", values))
    # nobody knows which of their settings are secret
    idle = [name for name in config.sections if name not in dict(plugins)]
    parts += [f"# [plugins.{_key(name)}] is not enabled\n" for name in idle]
    return "\n".join(parts)


def _is_indirect(value: object) -> bool:
    """Whether a setting was kept out of the file, in another one or in the environment: then it is secret."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= {"file", "env"}


def _fields(value: object) -> list[tuple[str, object]]:
    return [(name, getattr(value, name)) for name in settings(value)]


def _section(name: str, values: Iterable[tuple[str, object]]) -> str:
    lines = [f"[{name}]"]
    for key, value in values:
        text = _value(value)
        lines.append(f"# {key} is not set" if text is None else f"{_key(key)} = {text}")
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """Write a text: as JSON does, but TOML wants one more character escaped and allows no lone surrogate."""
    encodable = text.encode(errors="replace").decode()
    return json.dumps(encodable, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, Secret):
        return '"********"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _value(dict(_fields(value)))
    if isinstance(value, (str, Path)):
        return _text(str(value))
    if isinstance(value, Mapping):
        items = [f"{_key(str(key))} = {_value(item)}" for key, item in value.items() if item is not None]
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, (Sequence, set, frozenset)):
        return "[" + ", ".join(str(_value(item)) for item in value if item is not None) + "]"
    return _text(str(value))
