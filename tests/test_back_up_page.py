"""The program of docs/how-to/back-up.md, while a Manager writes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .pages import DEADLINE, Block, Terminals, blocks
from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "back-up.md"

BUSY = """
from msl_network import connect

while True:
    with connect(port=1875, auto_save=True):
        pass
"""


def records(database: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT * FROM connections").fetchall()


@contextmanager
def visitors(terminals: Terminals) -> Iterator[subprocess.Popen[bytes]]:
    """Clients that come and go, each of which is some records."""
    script = BUSY.replace("port=1875", f"port={terminals.port}")
    process = subprocess.Popen([sys.executable, "-c", script], env=terminals.environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_copies_are_whole(tmp_path: Path, home: Path) -> None:
    """Each copy has all records up to some moment, one after the other, and the Manager goes on writing."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (program,) = [block for block in blocks(PAGE) if block.title == "back_up.py"]
    start = Block(PAGE, "console", "terminal", "$ msl-network start\n... Network Manager running on ...\n")
    with closing(Terminals(folder, free_port())) as terminals:
        terminals.write(program)
        terminals.run(start)
        copies: list[list[tuple[Any, ...]]] = []
        with visitors(terminals) as process:
            for number in range(4):
                before = len(copies[-1]) if copies else 0
                until = time.monotonic() + DEADLINE
                while len(records(home / "manager.sqlite3")) <= before:
                    assert process.poll() is None
                    assert time.monotonic() < until, "nothing is written any more"
                copy = folder / str(number)
                subprocess.run(
                    [sys.executable, "back_up.py", copy],
                    cwd=folder,
                    env=terminals.environment,
                    check=True,
                    timeout=DEADLINE,
                )
                assert sorted(path.name for path in copy.glob("manager*")) == ["manager.sqlite3"]
                copies.append(records(copy / "manager.sqlite3"))
    everything = records(home / "manager.sqlite3")
    assert len(copies[0]) < len(copies[-1]) <= len(everything)
    for copied in copies:
        assert copied == everything[: len(copied)]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder that exists is an error, and stays as it is."""
    (program,) = [block for block in blocks(PAGE) if block.title == "back_up.py"]
    done = subprocess.run(
        [sys.executable, "-c", program.text, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert "FileExistsError" in done.stderr


@pytest.mark.parametrize("runs", [True, False])
def test_modes(tmp_path: Path, home: Path, runs: bool) -> None:
    """Nobody else can read a copy; it makes no difference whether the Manager runs."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (program,) = [block for block in blocks(PAGE) if block.title == "back_up.py"]
    start = Block(PAGE, "console", "terminal", "$ msl-network start\n... Network Manager running on ...\n")
    copy = folder / "copy"
    with closing(Terminals(folder, free_port())) as terminals:
        terminals.write(program)
        terminals.run(start)
        if not runs:
            terminals.run(Block(PAGE, "console", "terminal", "^C\n"))
        subprocess.run(
            [sys.executable, "back_up.py", copy], cwd=folder, env=terminals.environment, check=True, timeout=DEADLINE
        )
    for secret in (copy, copy / "manager.sqlite3", copy / "keys", copy / "keys" / "localhost.key"):
        assert secret.stat().st_mode & 0o077 == 0, secret
