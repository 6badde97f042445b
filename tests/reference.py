"""Writes the reference pages that follow from the code, when a setting or an option has changed.

python -m tests.reference
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from msl_network import Config, Limits, TLSSettings
from msl_network.cli import _parser
from msl_network.plugins import load
from msl_network.settings import settings

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

SETTINGS = """# Settings

Every setting of the TOML file, with its default. `config.example.toml` has them all in one file; `msl-network config
check FILE` says what is wrong in one, and `msl-network config show FILE` prints what follows from it.

Sizes are text with a unit (`"64 MiB"`, `"1 MB"`) or a number of bytes; durations `"10 s"`, `"500 ms"`, `"1 min"` or a
number of seconds. A secret is the text itself, `{ file = "password.txt" }` (its first line) or `{ env = "NAME" }`.
Relative paths start from the folder of the file.
"""

PLUGINS = """
## The sections of plugins

The settings of a plugin stand in `[plugins.NAME]`; the fields of its class are the keys. In the section of any plugin
may stand `use = "module:Class"`, which says where the plugin is, if no installed package offers it.
"""

COMMAND_LINE = """# The command line

`msl-network`, and in the same way `python -m msl_network`. `msl-network COMMAND --help` says the same, with examples. A
mistake is one line and an exit status that is not 0. The option `--config` works with each command; the commands of a
plugin are there while the plugin is enabled ([cli_commands](../plugins/cli_commands.md)).
"""

SIZES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


def bundled() -> dict[str, Any]:
    """The classes of the bundled plugins, by name."""
    points = metadata.distribution("msl-network-manager").entry_points.select(group="msl_network")
    return {point.name: point.load() for point in sorted(points, key=lambda point: point.name)}


def settings_page() -> str:
    """Every setting: key, default, meaning."""
    sections = [("manager", Config), ("manager.tls", TLSSettings), ("manager.limits", Limits)]
    text = SETTINGS + "".join(f"\n## `[{name}]`\n\n{_table(factory)}" for name, factory in sections) + PLUGINS
    for name, factory in bundled().items():
        lead = " ".join((inspect.getdoc(factory) or "").partition("\n\n")[0].split())
        text += f"\n## `[plugins.{name}]`\n\n{lead}\n\n{_table(factory)}"
    return text


def _table(factory: Any) -> str:
    told = _arguments(inspect.getdoc(factory) or "")
    fields = {key: field for key, field in settings(factory).items() if key not in {"tls", "limits"}}
    if not fields:
        return "It has no settings.\n"
    rows = "".join(f"| `{key}` | {_default(field)} | {told[key]} |\n" for key, field in fields.items())
    return f"| key | default | what it is |\n| --- | --- | --- |\n{rows}"


def _arguments(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1] if section else "", re.DOTALL | re.MULTILINE)
    texts = {key: " ".join(text.split()).replace("``", "`") for key, text in found}
    return {key: text.replace("if None", "if it is left out").replace("|", "\\|") for key, text in texts.items()}


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "must be given"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        names = ", ".join(f'"{each}"' for each in value)
        return f"`[{names}]`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if "Size" in str(field.type):
        unit = next(unit for unit, size in SIZES.items() if value % size == 0)
        return f'`"{value // SIZES[unit]} {unit}"`'
    return f'`"{value:g} s"`' if "Duration" in str(field.type) else f"`{value}`"


def command_line_page() -> str:
    """Every command with its options."""
    parser = _parser()
    load(Config()).cli_commands(parser.subparsers)
    return COMMAND_LINE + _command(parser, "msl-network", parser.description or "")


def _command(parser: argparse.ArgumentParser, name: str, lead: str) -> str:
    lead = f"{lead[0].upper()}{lead[1:]}" if lead.endswith(".") else f"{lead[0].upper()}{lead[1:]}."
    text = f"\n## `{name}`\n\n{_options(lead)}\n"
    nested: list[tuple[str, argparse.ArgumentParser, str]] = []
    rows = ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            nested += [
                (f"{name} {word}", choice, " ".join((choice.description or helps[word]).split()))
                for word, choice in action.choices.items()
            ]
        elif not isinstance(action, argparse._HelpAction):
            rows += f"| {_words(action)} | {_help(action)} |\n"
    if rows:
        text += f"\n| option or argument | what it is |\n| --- | --- |\n{rows}"
    return text + "".join(_command(choice, word, lead) for word, choice, lead in nested)


def _words(action: argparse.Action) -> str:
    names = action.option_strings or [str(action.metavar or action.dest)]
    return ", ".join(f"`{name}`" for name in names)


def _options(text: str) -> str:
    """Mark options: two hyphens would become a dash."""
    return re.sub(r"(?<![\w`-])--[\w-]+", r"`\g<0>`", text)


def _help(action: argparse.Action) -> str:
    if isinstance(action, argparse._VersionAction):
        return "show the version"
    choices = [str(choice) for choice in action.choices or []]
    text = (action.help or "") % {**vars(action), "choices": ", ".join(choices)}
    text = _options(" ".join(text.split()).rstrip(".").replace("|", "\\|"))
    if all(choice in text for choice in choices):
        return text
    return f"{text}: {', '.join(f'`{each}`' for each in choices)}"


PAGES = {"settings.md": settings_page, "cli.md": command_line_page}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, page in PAGES.items():
        (FOLDER / file).write_text(page(), encoding="utf-8")
