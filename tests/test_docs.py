"""The documentation: what it shows runs, and its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from configparser import ConfigParser
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msl_network import Config, Limits
from msl_network.cli import _parser

from .pages import Terminals, blocks
from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Each link to another page leads to a file of the repository."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_limit_has_its_row() -> None:
    """The page on reliability names each limit with its key and its default."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| .* \| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert set(rows) == {field.name for field in fields(Limits)}
    said = {key: text.replace(" ", "") if text.replace(" ", "").isdigit() else text for key, text in rows.items()}
    limits = {key: int(text) if text.isdigit() else text for key, text in said.items()}
    assert Config.from_dict({"manager": {"limits": limits}}) == Config()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_languages(page: Path) -> None:
    """Each fenced block is of a language that these tests check."""
    assert {block.language for block in blocks(page)} <= {"json", "toml", "python", "console", "ini"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_units(page: Path) -> None:
    """The commands in a unit of systemd are commands that there are."""
    for block in blocks(page):
        if block.language == "ini":
            unit = ConfigParser()
            unit.optionxform = str  # type: ignore[assignment,method-assign]
            unit.read_string(block.text)
            for key in ("ExecStart", "ExecReload"):
                program, *words = shlex.split(unit["Service"][key])
                assert program.endswith("/msl-network")
                assert _parser().parse_args(words).run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json(page: Path) -> None:
    """Each line of a JSON block is a message."""
    for block in blocks(page):
        if block.language == "json":
            for line in block.text.splitlines():
                assert isinstance(json.loads(line), dict)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    folder = tmp_path / "lab"
    folder.mkdir()
    with closing(Terminals(folder, free_port())) as terminals:
        yield terminals


TOURS = [
    ("README.md", 14),
    ("docs/clients-and-services.md", 7),
    ("docs/tutorial.md", 18),
    ("docs/how-to/back-up.md", 20),
    ("docs/plugins/bundled-audit.md", 8),
    ("docs/plugins/bundled-certificate.md", 8),
    ("docs/plugins/bundled-roles.md", 8),
    ("docs/plugins/bundled-token.md", 12),
]


@pytest.mark.parametrize(("page", "least"), TOURS)
def test_tour(terminals: Terminals, page: str, least: int) -> None:
    """The tour of a page runs from top to bottom and prints what it says."""
    assert shutil.which("openssl"), "one of them uses openssl"
    tour = blocks(ROOT / page)
    assert len(tour) >= least
    for block in tour:
        if block.language == "console":
            terminals.run(block)
        else:
            assert block.title, "a reader must know which file it is"
            terminals.write(block)


def test_readme_commands() -> None:
    """The README's two commands stand on a line of their own, as continuous integration runs them."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert [command.rpartition(" && ")[2] for command in commands] == [
        ".venv/bin/msl-network start --config config.example.toml",
        ".venv/bin/pytest",
    ]
    assert Config.load(ROOT / "config.example.toml").port == 1875
