"""The site that Sphinx makes of the documentation: what must be in it. `.ci/run` builds it with warnings as errors."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from msl_network import hookspecs

from .public_names import MODULES

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|function|data):: ([\w.]+)$", re.MULTILINE)

PAGES = [*REFERENCE.glob("api-*.md"), REFERENCE / "hooks.md"]
SHOWN = [name for page in PAGES for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]


def value(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(import_module(module), last)


def names(module: str) -> set[str]:
    """The public names of a module."""
    found = set(import_module(module).__all__)
    if module == "msl_network.hookspecs":
        found |= {name for name, value in vars(hookspecs).items() if hasattr(value, "msl_network_spec")}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_is_in_the_reference(module: str) -> None:
    """Under the name of this module, or of another public one that has the same object by the same name."""
    others = {name.rpartition(".")[2]: name for name in SHOWN}
    missing = [
        name
        for name in sorted(names(module))
        if f"{module}.{name}" not in SHOWN and not (name in others and value(others[name]) is value(f"{module}.{name}"))
    ]
    assert missing == []


def test_nothing_is_there_twice_or_private() -> None:
    """Each name stands there once, in a public module."""
    assert sorted(SHOWN) == sorted(set(SHOWN))
    assert {name.rpartition(".")[0] for name in SHOWN} <= set(MODULES)
    assert [name for name in SHOWN if name.rpartition(".")[2] not in names(name.rpartition(".")[0])] == []


def test_pages_of_the_root() -> None:
    """What the site shows of the root of the repository stands in docs/ as a link to it."""
    for page in ("readme", "changelog", "contributing"):
        name = f"{page.upper()}.md"
        assert (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") == f"# [{name}](../{name})\n"
        assert (ROOT / name).exists()
