"""The page on migration, followed from top to bottom with the folder that a real 1.0 has made."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.pages import Terminals, blocks
from tests.ports import free_port

from .lab import Lab

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "migrate.md"


@pytest.mark.ours
def test_migrate(tmp_path: Path, home: Path) -> None:
    """Each command prints what the page says: there, and back again."""
    with Lab(tmp_path / "before", "theirs", home=home) as before:
        before.cli("keygen")
        before.cli("certgen")
        before.add_user("alice", "wonderland", admin=True)
        before.add_user("bob", "builder")
        manager = before.start_with("--auth-login")
        before.client(username="alice", password="wonderland").run("cxn.admin_request('shutdown_manager')")
        manager.wait()

    tour = blocks(PAGE)
    assert len(tour) >= 14
    folder = tmp_path / "lab"
    folder.mkdir()
    with closing(Terminals(folder, free_port())) as terminals:
        for block in tour:
            if block.language == "console":
                terminals.run(block)
            else:
                terminals.write(block)
