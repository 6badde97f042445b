"""The documentation: what it shows runs, and its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msl_network import Config, Limits

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
DEADLINE = 30.0


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(page, *match) for match in FENCE.findall(page.read_text(encoding="utf-8"))]


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
    assert {block.language for block in blocks(page)} <= {"json", "toml", "python", "console"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json(page: Path) -> None:
    """Each line of a JSON block is a message."""
    for block in blocks(page):
        if block.language == "json":
            for line in block.text.splitlines():
                assert isinstance(json.loads(line), dict)


class Terminals:
    """Runs console blocks as a reader would: one after the other, and some in terminals that stay open.

    Args:
        folder: Where files and commands of the page live.
        port: What stands for the port of the page.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.running: list[tuple[subprocess.Popen[str], Path]] = []
        programs = folder / "bin"
        programs.mkdir()
        # `msl-network` must be ours, although the environment has that of 1.0, too
        for name, words in (("msl-network", "-m msl_network"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}

    def adapt(self, text: str) -> str:
        text = text.replace("lab-pc", socket.gethostname()).replace("1875", str(self.port))
        text = text.replace("auto_save=True", f"auto_save=True, port={self.port}")
        text = re.sub(r"(connect|AsyncClient|\.start)\(\)", rf"\1(port={self.port})", text)
        return re.sub(
            r"(msl-network start|msl_network\.examples \w+)$", rf"\1 --port {self.port}", text, flags=re.MULTILINE
        )

    def write(self, block: Block) -> None:
        text = self.adapt(block.text)
        if block.language == "toml":
            text = text.replace("[manager]\n", f"[manager]\nport = {self.port}\n")
        (self.folder / block.title).write_text(text, encoding="utf-8")

    def run(self, block: Block) -> None:
        command, _, expected = self.adapt(block.text).partition("\n")
        assert command.startswith("$ ")
        assert "\n$ " not in expected, "one command a block"
        if block.title == "terminal":
            self.stay(command[2:], expected)
            return
        done = subprocess.run(
            ["bash", "-c", command[2:]],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(pattern(expected), done.stdout), f"{command}\n{done.stdout}\n{done.stderr}"

    def stay(self, command: str, expected: str) -> None:
        log = self.folder / f"terminal-{len(self.running)}.txt"
        with log.open("w") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running.append((process, log))
        expected = re.sub(r"^\S+ \S+ \[", "... [", expected, flags=re.MULTILINE)  # the time is another one
        expected = re.sub(r"have \d+ open files", "have ... open files", expected)  # and so is the system
        wanted = pattern(re.sub(r"manager-[\d-]+", "manager-...", expected))
        # the Manager comes first, and tells of the Services that follow
        manager = self.running[0][1]
        services = r"is connected as a service(.|\n)*" * (len(self.running) - 1)
        deadline = time.monotonic() + DEADLINE
        while not re.search(services or wanted, manager.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, manager.read_text()
            os.sched_yield()

    def close(self) -> None:
        for process, log in reversed(self.running):
            process.send_signal(signal.SIGINT)
            process.wait(timeout=DEADLINE)
            assert "Traceback" not in log.read_text(), log.read_text()


def pattern(expected: str) -> str:
    return re.escape(expected).replace(r"\.\.\.", ".*")


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    folder = tmp_path / "lab"
    folder.mkdir()
    with closing(Terminals(folder, free_port())) as terminals:
        yield terminals


TOURS = [
    ("README.md", 14),
    ("docs/clients-and-services.md", 7),
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
