"""What is public stays what it is, until somebody changes the stored list on purpose."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import msl_network
from msl_network import hookspecs

from . import public_names as stored
from .pages import blocks

ROOT = Path(__file__).parent.parent
POLICY = ROOT / "docs" / "stability.md"


def test_the_list_is_that_of_the_code() -> None:
    """Each public name and its signature is in the list, and nothing else; a change of one is a change of the other."""
    before = stored.FILE.read_text(encoding="utf-8").splitlines()
    now = stored.public_names().splitlines()
    difference = "\n".join(difflib.unified_diff(before, now, "stored", "found", lineterm="", n=0))
    assert not difference, f"{difference}\nif you mean it: python -m tests.public_names, and see docs/stability.md"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    Manager.stop(self) -> None", "def stop(self, *, now: bool = False) -> None: ..."),
        ("    async Manager.wait_stopped(self) -> None", "def wait_stopped(self) -> None: ..."),
        ("    Manager.is_stopping: bool (property)", "is_stopping = True"),
    ],
)
def test_a_change_is_seen(monkeypatch: pytest.MonkeyPatch, before: str, after: str) -> None:
    """A parameter more, a method that is not awaited any more, or a property that became a constant is another line."""
    assert before in stored.public_names().splitlines()
    names: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{after}", names)
    name = before.partition("Manager.")[2].partition("(")[0].partition(":")[0]
    monkeypatch.setattr(msl_network.Manager, name, names[name])
    assert before not in stored.public_names().splitlines()


def test_the_list_is_the_same_everywhere() -> None:
    """It has no address of an object, no path, and no name of a class that only one version of Python prints."""
    text = stored.FILE.read_text(encoding="utf-8")
    assert not re.findall(r"0x[0-9a-f]{4,}|<[a-z]+ |(?<![\w.])/\w", text)


def imported(text: str) -> set[str]:
    """The modules of the package from which a program imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "msl_network"}


def test_what_is_shown_is_public() -> None:
    """Bundled plugins, examples, new plugins and the pages import from public modules only."""
    texts = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("plugins/*.py"), *ROOT.glob("examples/*.py")]]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    shown = [block.text for page in pages for block in blocks(page) if block.title.endswith(".py")]
    assert len(texts) > 10
    assert len(shown) > 20
    modules = set().union(*map(imported, [*texts, *shown]))
    for path in (ROOT / "msl_network" / "new_plugin").glob("*.txt"):
        modules |= set(re.findall(r"^from (msl_network[\w.]*) import", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"msl_network", "msl_network.testing"} < modules <= set(stored.MODULES)


def test_what_a_peer_tells() -> None:
    """Of a peer the list has what `hookspecs` promises to plugins."""
    text = (inspect.getdoc(hookspecs) or "").partition("What a ``peer`` tells: ")[2].partition("\n\n")[0]
    told = set(re.findall(r"``(?:await )?(?:peer\.)?(\w+)(?:\(\))?``", text))
    assert told == set(stored.WHAT_A_PEER_TELLS)


def test_given_classes_exist() -> None:
    """Classes whose objects one is given are classes of the list."""
    classes = {value.__name__ for value in stored.public_classes()}
    assert stored.GIVEN - {"Notifications"} <= classes


def test_each_module_has_its_row() -> None:
    """The page on stability names each public module, and no other."""
    rows = re.findall(r"^\| `(msl_network[\w.]*)` \| \S", POLICY.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(stored.MODULES)
    for name in rows:
        assert importlib.import_module(name).__all__


def test_types_are_installed() -> None:
    """Both packages say that they have type hints (py.typed), where type checkers look for it."""
    for package in ("msl_network", "msl_network_plugins"):
        assert (Path(str(importlib.import_module(package).__file__)).parent / "py.typed").is_file()
    configuration = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(
        r"package-data = .*msl_network = \[\"py\.typed\".*msl_network_plugins = \[\"py\.typed\"", configuration
    )
    classifiers = metadata.metadata("msl-network-manager").get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
