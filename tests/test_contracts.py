"""What holds the layout together (design.md, section 2), checked on the source and on a fresh interpreter."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msl_network_plugins
import pytest

import msl_network
from msl_network import hookspecs
from msl_network.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Iterator

CORE = Path(msl_network.__file__).parent
BUNDLED = Path(msl_network_plugins.__file__).parent
CORE_FILES = sorted([*CORE.glob("*.py"), *CORE.glob("testing/*.py")])
PLUGIN_FILES = sorted(BUNDLED.glob("*.py"))
MODULES = [
    *(
        ".".join(path.relative_to(CORE.parent).with_suffix("").parts)
        for path in CORE_FILES
        if not path.stem.startswith("__")
    ),
    *(f"msl_network_plugins.{path.stem}" for path in PLUGIN_FILES if not path.stem.startswith("__")),
]

SANS_IO = [
    "messages",
    "wire",
    "long_line",
    "protocol",
    "terminal",
    "registry",
    "payload",
    "calls",
    "signatures",
    "identities",
    "connecting",
    "throttle",
]

PURE = {
    "__future__",
    "ast",
    "collections.abc",
    "contextlib",
    "concurrent.futures",  # an exception of it
    "dataclasses",
    "enum",
    "inspect",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "msgspec",
    "re",
    "reprlib",
    "secrets",  # a number that nobody knows
    "sys",  # the version of Python
    "threading",  # a lock
    "traceback",
    "typing",
    "unicodedata",
    "warnings",
}
"""What a file without I/O may import: it computes, and touches nothing outside of itself."""

IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}

WORDS_OF_THE_PROTOCOL = {"identity", "password", "hostname", "certificate", "roles"}
"""Plugins that have the name of something that the core must be able to say: the protocol's questions, and TLS's."""


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over what runs: not over what is there for the type checker only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from walk(other)
            continue
        yield node
        yield from walk(node)


def imports(tree: ast.Module) -> set[str]:
    """The modules that are imported when it runs; those of its own package begin with a dot."""
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is None:
            found |= {f".{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def impurities(tree: ast.Module) -> set[str]:
    """What a file without I/O must not have: imports that are not pure, calls that reach outside."""
    calls = {node.func.id for node in walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    foreign = {name for name in imports(tree) if not name.startswith(".")} - PURE
    return foreign | (calls & IMPURE_CALLS)


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of the strings that stand alone: docstrings of modules, classes, functions, attributes."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def strings(tree: ast.Module) -> list[str]:
    skipped = docstrings(tree)
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped
    ]


# No I/O


@pytest.mark.parametrize("module", SANS_IO)
def test_no_input_or_output(module: str) -> None:
    """These modules, and all of ours that they import, import nothing that touches the world."""
    to_do, done = [module], set()
    while to_do:
        name = to_do.pop()
        done.add(name)
        tree = parse(CORE / f"{name}.py")
        assert impurities(tree) == set(), f"{name}.py"
        to_do += sorted({other.lstrip(".") for other in imports(tree) if other.startswith(".")} - done)
    assert done <= {*SANS_IO, "errors"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import socket", "socket"),
        ("import os.path", "os.path"),
        ("from pathlib import Path", "pathlib"),
        ("def f():\n    import asyncio", "asyncio"),
        ("try:\n    import ssl\nexcept ImportError:\n    pass", "ssl"),
        ("if TYPE_CHECKING:\n    import anyio\nelse:\n    import trio", "trio"),
        ("data = open('x')", "open"),
        ("socket = __import__('socket')", "__import__"),
    ],
)
def test_an_impurity_is_found(line: str, found: str) -> None:
    """The check above fails as soon as somebody adds such a line, wherever it stands."""
    for module in SANS_IO:
        source = (CORE / f"{module}.py").read_text(encoding="utf-8")
        assert impurities(ast.parse(f"{source}\n{line}\n")) == {found}
    assert impurities(ast.parse("if TYPE_CHECKING:\n    import socket")) == set()


# Core and plugins


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda path: path.name)
def test_the_core_knows_no_plugin(path: Path) -> None:
    """It imports none, and only config.py has their names: as defaults, and behind the keywords of 1.0."""
    tree = parse(path)
    assert not {name for name in imports(tree) if name.split(".")[0] in {"plugins", "msl_network_plugins"}}
    names = {point.name for point in metadata.entry_points(group=hookspecs.PROJECT)}
    assert names >= {"login", "sqlite", "json_lines", *WORDS_OF_THE_PROTOCOL}
    said = set(strings(tree))
    assert not {text for text in said if "msl_network_plugins" in text}
    if path.name != "config.py":
        assert not said & (names - WORDS_OF_THE_PROTOCOL)


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.name)
def test_a_bundled_plugin_uses_what_everybody_can(path: Path) -> None:
    """It imports what is public in the package and what is installed with it, never another plugin."""
    tree = parse(path)
    allowed = {"msl_network", "anyio", "msgspec", *sys.stdlib_module_names}
    assert {name.partition(".")[0] for name in imports(tree)} <= allowed
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msl_network."):
            public = importlib.import_module(str(node.module)).__all__
            assert {alias.name for alias in node.names} <= set(public), node.module


# Hooks

HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "msl_network_spec"))
FACADE = {"authorize": "authorizer"}
"""Hooks that the core calls under another name: it wants to know first whether anybody minds."""


def test_there_are_hooks() -> None:
    """The tests below see them all."""
    source = inspect.getsource(hookspecs)
    assert len(HOOKS) == source.count("\n@hookspec\n") > 10


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented(name: str) -> None:
    """It says with which verb it is called, and what each parameter is."""
    function = getattr(hookspecs, name)
    text = inspect.getdoc(function) or ""
    verbs = re.findall(r"\(\*(\w+)\*\)\.$", text.splitlines()[0])
    assert set(verbs) < {"ask", "check", "collect", "tell"}
    assert len(verbs) == 1
    _, _, section = text.partition("Args:\n")
    documented = re.findall(r"^    (\w+): \S", section.partition("\n\n")[0], re.MULTILINE)
    assert documented == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_a_face(name: str) -> None:
    """The core calls it by a method of Hooks, whose docstring names the verb, too."""
    attribute = inspect.getattr_static(Hooks, FACADE.get(name, name))
    assert attribute.__doc__
    if not isinstance(attribute, property):
        is_async = inspect.iscoroutinefunction(getattr(hookspecs, name))
        assert inspect.iscoroutinefunction(attribute) is is_async


def test_hooks_have_no_other_face() -> None:
    """Each public method of Hooks calls a hook, but the one that tells which a plugin implements."""
    public = {name for name in vars(Hooks) if not name.startswith("_")}
    assert public == {FACADE.get(name, name) for name in HOOKS} | {"implemented_by"}


# Files


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: as ruff sorts `__all__`."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_exports(name: str) -> None:
    """`__all__` is sorted, without doubles, and names what is there."""
    module = importlib.import_module(name)
    exported: list[str] = module.__all__
    assert exported == sorted(set(exported), key=order)
    assert all(hasattr(module, each) for each in exported)


def test_what_the_package_exports() -> None:
    """`__all__` of the package is what it imports for type checkers, and what it finds when it is asked for."""
    tree = parse(CORE / "__init__.py")
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    assert [ast.unparse(node.test) for node in blocks] == ["TYPE_CHECKING"]
    homes: dict[str, str] = {}
    for node in blocks[0].body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        assert node.module is not None
        homes |= {alias.name: node.module for alias in node.names}
    assert msl_network.__all__ == sorted(homes, key=order)
    assert homes == msl_network._HOMES
    for name, home in homes.items():
        own = importlib.import_module(f"msl_network.{home}")
        assert name in own.__all__
        assert getattr(msl_network, name) is getattr(own, name)
    assert set(dir(msl_network)) >= set(msl_network.__all__)
    with pytest.raises(AttributeError, match="module 'msl_network' has no attribute 'Manger'"):
        _ = msl_network.Manger


def test_a_manager_starts_without_clients() -> None:
    """The command line imports nothing of Clients and Services, which would take as long as all else."""
    program = "import sys, msl_network.cli; print(*(name for name in sys.modules if name.startswith('msl_network.')))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {f"msl_network.{name}" for name in ("blocking", "client", "service", "trust")} & set(
        result.stdout.split()
    )


@pytest.mark.parametrize(
    "path", [path for path in CORE_FILES + PLUGIN_FILES if not path.stem.startswith("__")], ids=lambda path: path.name
)
def test_a_file_opens_with_its_rule(path: Path) -> None:
    """It says what it is, the rule that it keeps, and what it must not know."""
    text = " ".join((ast.get_docstring(parse(path)) or "").split())
    assert "Rule of this file: " in text
    assert re.search("must not know", text, re.IGNORECASE)


# Import

SPY = """
import builtins, json, os, sys, threading

for allowed in {stdlib!r}:
    __import__(allowed)

read, events = set(), []

class Spy(type(os.environ)):
    def __getitem__(self, key):
        read.add(key)
        return super().__getitem__(key)

os.environ.__class__ = Spy
watched = ("subprocess.", "socket.", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove", "os.putenv")
sys.addaudithook(lambda event, args: events.append(event) if event.startswith(watched) else None)
loggers = len(__import__("logging").getLogger().handlers)
import {module}
print(json.dumps({{
    "read": sorted(read),
    "events": events,
    "threads": threading.active_count(),
    "modules": sorted({{name.split(".")[0] for name in sys.modules}}),
    "handlers": len(__import__("logging").getLogger().handlers) - loggers,
}}))
"""


def after_import(module: str) -> Any:
    script = SPY.format(module=module, stdlib=["logging", "platform"])
    # what measures coverage in this process imports modules of its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(result.stdout)


def test_import_does_nothing(home: Path) -> None:
    """No settings are read, no thread, process, socket or file is made, and no logging is set up."""
    seen = after_import("msl_network")
    assert "MSL_NETWORK_HOME" not in seen["read"]
    assert (seen["events"], seen["threads"], seen["handlers"]) == ([], 1, 0)
    assert not home.exists()


def test_import_is_light() -> None:
    """What is large or optional is imported when it is needed; plugins only when they are enabled."""
    assert not {"cryptography", "sqlite3", "trio", "msl_network_plugins"} & set(after_import("msl_network")["modules"])


def test_the_spy_sees() -> None:
    """The two tests above would notice."""
    seen = after_import("os; os.environ.get('MSL_NETWORK_HOME'); import socket, sqlite3; socket.socket().close()")
    assert "MSL_NETWORK_HOME" in seen["read"]
    assert "socket.__new__" in seen["events"]
    assert "sqlite3" in seen["modules"]


# Requirements

REQUIREMENTS = range(1, 42)
"""What the Manager must withstand; each number is that of a docstring."""


def requirements(tree: ast.Module) -> set[int]:
    """The numbers with which the docstrings of a file's tests begin."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            number = re.match(r"(\d+)\. \S", ast.get_docstring(node) or "")
            if number is not None:
                found.add(int(number[1]))
    return found


def test_each_requirement_has_a_test() -> None:
    """No requirement is without a test that says its number, and no test says a number that there is not."""
    files = {path: requirements(parse(path)) for path in Path(__file__).parent.rglob("test_*.py")}
    assert len(files) > 50
    assert sorted(set().union(*files.values())) == list(REQUIREMENTS)
