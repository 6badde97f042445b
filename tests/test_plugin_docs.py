"""The pages for authors of plugins, and the reference: each thing has an entry and a test, and what is shown runs."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import Config, Manager, hookspecs, testing
from msl_network.cli_plugin import HOOKS as BEGINNINGS
from msl_network.settings import settings
from msl_network.testing import plugin as fixtures

from . import reference
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
def words() -> set[str]:
    """All names and words that stand in the tests, but not in this file."""
    found: set[str] = set()
    for path in Path(__file__).parent.rglob("*.py"):
        if path.name in {"test_plugin_docs.py", "reference.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"[\w-]+", node.value))
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def test_each_command_has_a_test(words: set[str]) -> None:
    """Its name stands in a test; that of a plugin's command without the name of its table."""
    assert [name for name in commands() if name.rpartition(".")[2] not in words] == []


def test_each_setting_has_a_test(words: set[str]) -> None:
    """Its name stands in a test."""
    factories = [Config, *(field.default_factory for field in settings(Config).values()), *reference.bundled().values()]
    keys = {key for factory in factories if isinstance(factory, type) and factory is not list for key in _keys(factory)}
    assert len(keys) > 30
    assert sorted(keys - words) == []


def _keys(factory: Any) -> list[str]:
    try:
        return list(settings(factory))
    except TypeError:  # no dataclass
        return []


def test_each_option_has_a_test(words: set[str]) -> None:
    """Each long option of each command stands in a test."""
    page = reference.command_line_page()
    options = set(re.findall(r"`(--[\w-]+)`", page))
    assert len(options) > 30
    assert sorted(options - words) == []
