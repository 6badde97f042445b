"""A home folder that 1.0 made, used as it is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .lab import Lab, PeerError, eventually

if TYPE_CHECKING:
    from pathlib import Path

ROOT: dict[str, Any] = {"username": "root", "password": "old pw"}


def rows(home: Path, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "manager.sqlite3")) as database:
        return database.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """What 1.0 leaves behind: a key, a certificate, users, hostnames, and the records of two connections."""
    with Lab(tmp_path / "before", "theirs") as before:
        before.cli("keygen")
        before.cli("certgen")
        before.add_user("root", ROOT["password"], admin=True)
        before.add_user("ann", "ann pw")
        before.cli("hostname", "insert", "bench")
        manager = before.start_with("--auth-login")
        before.instruments("Echo", **ROOT)
        before.client("of old", **ROOT).run("cxn.admin_request('shutdown_manager')")
        manager.wait()
        return before.home


def test_old_home(tmp_path: Path, old_home: Path, implementation: str) -> None:
    """``start --auth-login`` serves an old Client: same certificate, same password; records are continued."""
    certificate, key = old_home / "certs" / "localhost.crt", old_home / "keys" / "localhost.key"
    files = {file: file.read_bytes() for file in (certificate, key)}
    records, hostnames = rows(old_home, "connections"), rows(old_home, "auth_hostnames")
    assert "connected as a service" in [record[-1] for record in records]
    peer_home = tmp_path / "peer"  # of a computer that has stored the old certificate
    (peer_home / "certs").mkdir(parents=True)
    shutil.copy(certificate, peer_home / "certs")

    with Lab(tmp_path / "now", implementation, home=old_home) as lab:
        lab.start_with("--auth-login")
        lab.instruments("Echo", **ROOT)
        client = lab.client("of old", peer_home, auto_save=False, **ROOT)
        assert client.run("cxn.link('Echo').echo('hello', x=1)") == [["hello"], {"x": 1}]
        assert client.run("cxn.admin_request('users_table.users')") == [["ann", False], ["root", True]]
        names = client.run("cxn.admin_request('hostnames_table.hostnames')")
        assert [(name,) for name in names] == sorted(hostnames)
        with pytest.raises(PeerError, match="Wrong login password"):
            lab.client(username="ann", password="not her pw")
        port = client.run("cxn.port")
        client.run("cxn.disconnect()")

        def story() -> list[object]:
            return [message for *_, number, message in rows(old_home, "connections") if number == port]

        eventually(lambda: story() == ["new connection request", "connected as a client", "disconnected"])
        assert rows(old_home, "connections")[: len(records)] == records

    assert {file: file.read_bytes() for file in files} == files
    assert (peer_home / "certs" / "localhost.crt").read_bytes() == files[certificate]
    assert rows(old_home, "auth_hostnames") == hostnames
    assert [(user[1], user[-1]) for user in rows(old_home, "auth_users")] == [("root", 1), ("ann", 0)]


@pytest.mark.ours
def test_back_to_the_old_manager(tmp_path: Path, old_home: Path) -> None:
    """After ours has used the home folder, the Manager of 1.0 can still use it."""
    with Lab(tmp_path / "now", "ours", home=old_home) as lab:
        lab.start_with("--auth-login")
        assert lab.client(**ROOT).run("cxn.is_connected()")
    records = rows(old_home, "connections")
    with Lab(tmp_path / "again", "theirs", home=old_home) as lab:
        lab.start_with("--auth-login")
        assert lab.client(username="ann", password="ann pw").run("cxn.is_connected()")
        eventually(lambda: rows(old_home, "connections")[len(records) :])
