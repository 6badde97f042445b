"""Finds the tests in which a setting is set, an option is given, or a request is made: by their source, not by chance.

A word that stands somewhere in the tests says nothing: ``host`` and ``path`` do so in any case. What counts stands in a
test, its decorators, or a table that it names, and where it has its meaning:

    a setting   a line of TOML, a key of a dictionary, or an argument of its class, in its section
    an option   among the words of its command
    a request   an argument of a call, or the name of the method that makes it

Rule of this file: it reads, and judges nothing. It must not know which settings, options and requests there are.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["NOWHERE", "UNKNOWN", "Found", "Test", "tests"]

UNKNOWN: Final = object()
"""The value of a setting that is only known when the test runs."""

NOWHERE: Final = "?"
"""The section of a dictionary that could be of anything."""

HEADER: Final = re.compile(r"\s*\[\[?([\w.]+)\]\]?\s*$")
LINE: Final = re.compile(r"\s*(\w+)\s*=\s*(\S.*)$")

MISTAKES: Final = frozenset({"ConfigError", "StartError", "PluginError", "CertificateError", "mistake"})
"""What a test expects of a mistake: what `pytest.raises` is given, or the fixture that is called."""

Node = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Found:
    """A setting that a test sets.

    Args:
        section: The last part of its section (``limits``), or the class or the function that was called; empty for
            lines of TOML that a test puts together, `NOWHERE` for a dictionary that could be of anything.
        key: Its key, or its place among the arguments.
        value: Its value.
    """

    section: str
    key: str | int
    value: object


@dataclass
class Test:
    """A test.

    Args:
        file: Where it is.
        name: Its name.
        nodes: The source: the function, its decorators, and the tables that it names.
        helpers: The functions beside it that it calls.
    """

    __test__ = False  # for pytest: it is none itself

    file: Path
    name: str
    nodes: Sequence[ast.AST] = field(repr=False)
    helpers: Sequence[ast.AST] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.file.name}::{self.name}"

    @cached_property
    def settings(self) -> list[Found]:
        """The settings that it sets."""
        return [found for node in self.nodes for found in _settings(node, NOWHERE)]

    @cached_property
    def is_about_mistakes(self) -> bool:
        """Whether it expects something not to start: that a value is refused says nothing of what a good one does."""
        calls = [node for node in _walk([*self.nodes, *self.helpers]) if isinstance(node, ast.Call)]
        raised = {_name(call.args[0]) for call in calls if _name(call.func) == "raises" and call.args}
        return bool(MISTAKES & (raised | {_name(call.func) for call in calls})) or "wrong" in self.name

    @cached_property
    def words(self) -> set[str]:
        """The words of its texts, and the names of what it calls: a command line is one text, or a list of them."""
        found: set[str] = set()
        for node in _walk([*self.nodes, *self.helpers]):
            if isinstance(node, ast.Constant):
                found |= {word.partition("=")[0] for word in _text(node).split()}
            elif isinstance(node, ast.Call):
                found.add(_name(node.func))
        return found

    @cached_property
    def requests(self) -> set[str]:
        """Texts that it calls something with, and the names of the methods that it calls."""
        found: set[str] = set()
        for node in _walk(self.nodes):
            if isinstance(node, ast.Call):
                found.add(_name(node.func))
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                found |= {text for value in values if (text := _text(value))}
        return found


def _walk(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield from ast.walk(node)


def tests(folder: Path) -> list[Test]:
    """Return all tests below a folder.

    Args:
        folder: The folder.
    """
    found: list[Test] = []
    for path in sorted(folder.rglob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        tables = {name: node for node in body for name in _assigned(node)}
        helpers = {node.name: node for node in body if isinstance(node, Node) and not node.name.startswith("test_")}
        classes = [node.body for node in body if isinstance(node, ast.ClassDef)]
        for node in (node for nodes in (body, *classes) for node in nodes):
            if isinstance(node, Node) and node.name.startswith("test_"):
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                source = [node, *(tables[name] for name in sorted(names & set(tables)))]
                found.append(Test(path, node.name, source, [helpers[name] for name in sorted(names & set(helpers))]))
    return found


def _assigned(node: Any) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        if isinstance(target, ast.Name) and node.value is not None:
            yield target.id


def _settings(node: ast.AST, section: str) -> Iterator[Found]:
    if isinstance(node, ast.Dict):
        yield from _settings_of_dict(node, section)
    elif isinstance(node, ast.Call):
        yield from _settings_of_call(node, section)
    elif isinstance(node, ast.JoinedStr):
        yield from _toml("".join(_text(part) or "{}" for part in node.values))
    elif isinstance(node, ast.Constant):
        yield from _toml(_text(node))
    else:
        for child in ast.iter_child_nodes(node):
            yield from _settings(child, next(_assigned(node), section))  # limits = {...}


def _settings_of_dict(node: ast.Dict, section: str) -> Iterator[Found]:
    for key, value in zip(node.keys, node.values, strict=True):
        inner = section
        if name := _text(key):
            yield Found(section, name, _value(value))
            inner = name if isinstance(value, (ast.Dict, ast.Call, ast.IfExp)) else section
        yield from _settings(value, inner)


def _settings_of_call(node: ast.Call, section: str) -> Iterator[Found]:
    name = _name(node.func)
    for place, value in enumerate(node.args):
        yield Found(name, place, _value(value))
        yield from _settings(value, name if isinstance(value, ast.Dict) else section)
    for keyword in node.keywords:
        if keyword.arg:
            yield Found(name, keyword.arg, _value(keyword.value))
        yield from _settings(keyword.value, keyword.arg or section)
    yield from _settings(node.func, section)


def _toml(text: str) -> Iterator[Found]:
    section = ""
    for line in text.split("\n"):
        if header := HEADER.match(line):
            section = header[1].rpartition(".")[2]
        elif setting := LINE.match(line):
            try:
                value: object = tomllib.loads(f"value = {setting[2]}")["value"]
            except tomllib.TOMLDecodeError:
                if not section:  # it may be a line of anything
                    continue
                value = UNKNOWN  # a part of it comes when the test runs
            yield Found(section, setting[1], value)


def _value(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST | None) -> str:
    """Return a text that stands in the source; nothing if there is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
