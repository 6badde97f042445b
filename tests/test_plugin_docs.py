"""The pages for authors of plugins, and the reference: each thing has an entry and a test, and what is shown runs."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import Config, Limits, Manager, TLSSettings, cli, hookspecs, testing
from msl_network.cli_plugin import HOOKS as BEGINNINGS
from msl_network.plugins import load
from msl_network.settings import settings
from msl_network.testing import plugin as fixtures

from . import evidence, reference
from .pages import Terminals, blocks
from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "plugins"
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "msl_network_spec"))

HEADINGS = [
    *("Signature", "Arguments", "When it is called", "What to return or raise"),
    *("What happens on an error", "Example"),
]

WITHOUT_HOOK = {"index", "testing"}


# Hooks


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_its_page(hook: str) -> None:
    """It has the form of all others, the signature of `hookspecs`, and a row for each argument with its type."""
    specification = getattr(hookspecs, hook)
    page = (DOCS / f"{hook}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{hook}`\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    signature, *_ = blocks(DOCS / f"{hook}.md")
    text = f"def {hook}{inspect.signature(specification)}".replace("'", "")
    assert signature.title == "signature"
    assert signature.text.strip() == f"{'async ' if inspect.iscoroutinefunction(specification) else ''}{text}"
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| \S.* \|$", page.partition("## When")[0], re.MULTILINE)
    parameters = inspect.signature(specification).parameters
    assert rows == [(name, parameter.annotation) for name, parameter in parameters.items()]
    verb = re.findall(r"\(\*(\w+)\*\)", specification.__doc__)
    assert re.findall(r"Verb: \[\*(\w+)\*\]", page) == verb
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| \[`{hook}`\]\({hook}\.md\) \| \*{verb[0]}\* \| \S", index, re.MULTILINE)


def test_there_is_no_other_page() -> None:
    """A hook that there is no more has no page any more; those of bundled plugins are called ``bundled-NAME``."""
    pages = {page.stem for page in DOCS.glob("*.md") if not page.stem.startswith("bundled-")}
    assert pages == {*HOOKS, *WITHOUT_HOOK}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_a_test(hook: str) -> None:
    """The example on its page implements it and tests it, and so does a test of the Manager."""
    example = example_of(DOCS / f"{hook}.md")
    assert hook in implemented(ast.parse(example[1]))
    others = [path for path in Path(__file__).parent.rglob("*.py") if "test_plugin_docs" not in path.name]
    assert any(hook in implemented(ast.parse(path.read_text(encoding="utf-8"))) for path in others)


def implemented(tree: ast.Module) -> set[str]:
    """The names of the methods that are marked with `hookimpl`."""
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any("hookimpl" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def test_what_a_plugin_may_begin_with() -> None:
    """Each beginning of `plugin new` is a hook."""
    assert set(BEGINNINGS) <= set(HOOKS)


# Examples


def example_of(page: Path) -> tuple[str, str]:
    """The file of the example on the page of a hook: its name and its text."""
    (example,) = [block for block in blocks(page) if block.title.startswith("test_")]
    return example.title, example.text


EXAMPLES = {
    block.title: (page, block)
    for page in sorted(DOCS.glob("*.md"))
    if page.stem != "index"
    for block in blocks(page)
    if block.title.startswith("test_")
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Run all examples as a reader does; the outcomes of the tests of each file, empty if it passed."""
    folder = tmp_path_factory.mktemp("examples")
    for page in DOCS.glob("*.md"):
        for block in blocks(page):
            if block.title.startswith(("test_", "conftest")) and page.stem != "index":
                (folder / block.title).write_text(block.text, encoding="utf-8")
    report = folder / "report.xml"
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, "-o", "junit_family=xunit1", f"--junitxml={report}", "."],
        cwd=folder,
        env={**os.environ, "MSL_NETWORK_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{(case.get('classname') or '').rpartition('.')[2]}.py"
        problems = found.setdefault(name, [])
        problems += [f"{case.get('name')}: {trouble.text}" for trouble in case if trouble.tag in {"failure", "error"}]
    return found


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_each_example_runs(name: str, outcomes: dict[str, list[str]]) -> None:
    """It passes, with warnings as errors, on both backends."""
    assert outcomes[name] == []


def test_examples_have_names_of_their_own() -> None:
    """Two pages do not show two files of one name."""
    titles = [block.title for page in DOCS.glob("*.md") for block in blocks(page) if block.title.startswith("test_")]
    assert len(titles) == len(set(titles)) > len(HOOKS)


PIP = """
import subprocess, sys
site = {site!r}
action, *words = [word.partition("[")[0] for word in sys.argv[1:] if word not in ("-q", "-e")]
flags = ["-q", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
flags += ["--target", site, "--upgrade"] if action == "install" else []
sys.exit(subprocess.call([sys.executable, "-m", "pip", action, *flags, *words]))
"""


@pytest.fixture
def terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminals]:
    """Terminals whose pip installs into a folder of this test, without the network."""
    folder, site = tmp_path / "lab", tmp_path / "site"
    for each in folder, site:
        each.mkdir()
    pip = tmp_path / "pip.py"
    pip.write_text(PIP.format(site=str(site)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    with closing(Terminals(folder, free_port(), pytest="-m pytest -p no:cacheprovider", pip=str(pip))) as terminals:
        yield terminals


def test_the_tutorial_runs(terminals: Terminals) -> None:
    """From the first class to the wheel, each command prints what the page says."""
    tour = blocks(DOCS / "index.md")
    assert len(tour) >= 12
    for block in tour:
        if block.language == "console":
            terminals.run(block)
        else:
            assert block.title, "a reader must know which file it is"
            terminals.write(block)


# The testing kit


def test_the_kit_is_documented() -> None:
    """Each name of it, each check, each argument of `check_plugin` and each fixture is on its page."""
    page = (DOCS / "testing.md").read_text(encoding="utf-8")
    for name in testing.__all__:
        assert re.search(rf"`[^`\n]*\b{name}\b", page), name
    checks = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page.partition("The checks are in")[2], re.MULTILINE))
    for name, check in testing.CHECKS.items():
        assert checks[name] == " ".join((check.function.__doc__ or "").split())
    for name in inspect.signature(testing.check_plugin).parameters:
        assert f"| `{name}` |" in page
    for name in fixtures.__all__:
        assert f"`{name}`" in page.partition("## Fixtures")[2]


# Reference


@pytest.mark.parametrize("file", sorted(reference.PAGES))
def test_the_reference_follows_from_the_code(file: str) -> None:
    """The page has each setting, or option, as it is; `python -m tests.reference` writes it."""
    written = (reference.FOLDER / file).read_text(encoding="utf-8")
    assert written == reference.PAGES[file]()


def test_each_command_of_the_manager_is_documented() -> None:
    """The Manager's own commands and those of bundled plugins have a heading with their parameters, no others do."""
    page = (reference.FOLDER / "commands.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### `([\w.]+)(.*?)`\n\n(?=For )", page, re.MULTILINE))
    whom = dict(re.findall(r"^### `([\w.]+).*?`\n\nFor (\w+ \w+|\w+)", page, re.MULTILINE))
    table = commands()
    assert entries == {name: command.signature() for name, command in table.items()}
    for name, command in table.items():
        assert whom[name].startswith("administrators" if command.administrator else "every Client")


def commands() -> dict[str, Any]:
    """All commands of a Manager with all bundled plugins, by name."""
    names = [name for name in reference.bundled() if name not in Config().enabled_plugins()]
    found: dict[str, Any] = {}
    for name, factory in reference.bundled().items():
        if name in names and hasattr(factory, "commands"):
            found |= {command.name: command for command in factory.__new__(factory).commands()}
    described = Manager(Config())._commands
    return {name: command for name, (command, _) in described._commands.items()} | found


# Tests


@pytest.fixture(scope="module")
def written() -> list[evidence.Test]:
    """All tests but those of this file."""
    found = [test for test in evidence.tests(Path(__file__).parent) if test.file.name != Path(__file__).name]
    assert len(found) > 1000
    return found


SECTIONS: dict[str, Any] = {"manager": Config, "tls": TLSSettings, "limits": Limits, **reference.bundled()}

GIVEN = {
    "manager": {"with_keywords", "run_forever", "laboratory", "config", "settings", "Config"},
    "tls": {"TLSSettings"},
    "limits": {"Limits"},
    **{name: {factory.__name__} for name, factory in reference.bundled().items()},
}
"""What the settings of a section are arguments of, beside what stands under its name."""

USUAL = {("manager", "host"): ("127.0.0.1", "localhost"), ("manager", "port"): (0,)}
"""The values that all tests have, so that they say nothing."""


@cache
def fields() -> dict[tuple[str, str], tuple[int, Any]]:
    """All settings, by section and key: their places among the arguments of the class, and their defaults."""
    found: dict[tuple[str, str], tuple[int, Any]] = {}
    for section, factory in SECTIONS.items():
        if dataclasses.is_dataclass(factory):
            for place, (key, field) in enumerate(settings(factory).items()):
                make = field.default_factory
                found[section, key] = place, field.default if make is dataclasses.MISSING else make()
    return {name: value for name, value in found.items() if name not in {("manager", "tls"), ("manager", "limits")}}


def sets(test: evidence.Test, section: str, key: str) -> bool:
    """Whether a test gives a setting a good value that is neither its default nor what all tests have."""
    known = fields()
    place, default = known[section, key]
    said_nothing = (default, *USUAL.get((section, key), ()))
    places = {section, *GIVEN[section]}
    if sum(key == other for _, other in known) == 1:
        places.add("")  # lines of TOML without a section
    of_plugin = test.file.stem == f"test_{section}" and test.file.parent.name == "plugins"
    return not test.is_about_mistakes and any(
        (found.value is evidence.UNKNOWN or found.value not in said_nothing)
        and (
            (found.key == key and (found.section in places or of_plugin))
            or (found.key == place and found.section in GIVEN[section] - GIVEN["manager"])
        )
        for found in test.settings
    )


@pytest.mark.parametrize(("section", "key"), sorted(fields()))
def test_each_setting_has_a_test(section: str, key: str, written: list[evidence.Test]) -> None:
    """A test gives it, in its section, another value than its default, and expects more than that it is refused."""
    assert [str(test) for test in written if sets(test, section, key)]


def options() -> list[tuple[str, str, str]]:
    """The options of each command, with the last word of the command: long and, if there is one, short."""
    parser = cli._parser()
    load(Config(auth=("token",))).cli_commands(parser.subparsers)
    found: list[tuple[str, str, str]] = []

    def look(parser: argparse.ArgumentParser, word: str) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, choice in action.choices.items():
                    look(choice, name)
            elif action.option_strings and not isinstance(action, argparse._HelpAction):
                found.append((word, action.option_strings[-1], action.option_strings[0]))

    look(parser, "")
    return found


@pytest.mark.parametrize(("word", "option", "short"), options())
def test_each_option_has_a_test(word: str, option: str, short: str, written: list[evidence.Test]) -> None:
    """It stands in a test together with its command."""
    assert option.startswith("--")
    given = [test for test in written if {option, short} & test.words]
    assert [str(test) for test in given if not word or word in test.words]


@pytest.mark.parametrize("name", sorted(commands()))
def test_each_command_has_a_test(name: str, written: list[evidence.Test]) -> None:
    """A test asks for it; that of the plugin may have a helper that knows the name of its table."""
    table, _, short = name.rpartition(".")
    owners = {"users_table": "login", "hostnames_table": "hostname", "connections_table": "sqlite", "tokens": "token"}
    own = f"test_{owners[table]}" if table else ""
    assert [
        str(test) for test in written if name in test.requests or (test.file.stem == own and short in test.requests)
    ]


SAYS_LITTLE = """
def test_it(tmp_path):
    '''host, path and pending'''
    path = tmp_path / "path"
    print("host", path=path)
    text = "[plugins.other]\\npath = 5\\n[manager.limits]\\npending = 65536\\nmax_memory = 5"
    assert {"host": "pc7"}

def test_wrong():
    Config(host="pc7")

def test_refusal():
    with pytest.raises(ConfigError):
        Config(host="pc7")

def test_right():
    run(["start", "--port", "1"])
    Config(host="pc7")
"""


def test_what_says_nothing() -> None:
    """A word that stands anywhere is no evidence, nor is a default, a mistake, or another section's key."""
    with TemporaryDirectory() as folder:
        Path(folder, "test_x.py").write_text(SAYS_LITTLE, encoding="utf-8")
        one, wrong, refusal, right = evidence.tests(Path(folder))
    assert [name for name in sorted(fields()) if sets(one, *name)] == [("limits", "max_memory")]
    assert not [name for name in fields() if sets(wrong, *name) or sets(refusal, *name)]
    assert [name for name in fields() if sets(right, *name)] == [("manager", "host")]
    assert {"start", "--port"} <= right.words
