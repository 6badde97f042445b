"""An administrator with a Client of 1.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from .lab import HOSTNAME, Lab, PeerError, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .lab import Client

ROOT: dict[str, Any] = {"username": "root", "password": "root pw"}
ANN: dict[str, Any] = {"username": "ann", "password": "ann pw"}
REFUSED = "ValueError: You must be an administrator to send this request to the Manager"


@pytest.fixture(scope="module", params=[["login"], []], ids=["logged-in", "asked-in-mid-session"])
def office(
    tmp_path_factory: pytest.TempPathFactory, implementation: str, request: pytest.FixtureRequest
) -> Iterator[Lab]:
    """A laboratory with an administrator, root, and a user, ann.

    With authentication, a Client says who it is when it connects. Without, the Manager asks for that when the
    first request comes for which it has to know.
    """
    with Lab(tmp_path_factory.mktemp("office"), implementation) as lab:
        lab.add_user("root", ROOT["password"], admin=True)
        lab.add_user("ann", ANN["password"])
        lab.start(request.param)
        yield lab


@pytest.fixture(scope="module")
def root(office: Lab) -> Client:
    """The administrator's Client."""
    return office.client("desk", **ROOT)


@pytest.fixture
def admin(root: Client) -> Callable[[str], object]:
    """Sends an administrator's request, given as the arguments of ``admin_request``."""

    def admin(arguments: str) -> object:
        return root.run(f"cxn.admin_request({arguments}, timeout=20)")

    return admin


def test_users_are_listed(admin: Callable[[str], object]) -> None:
    """An administrator lists the users, and asks about one."""
    assert admin("'users_table.usernames'") == ["ann", "root"]
    assert admin("'users_table.users'") == [["ann", False], ["root", True]]
    assert admin("'users_table.is_admin', 'root'") is True
    assert admin("'users_table.is_admin', 'ann'") is False
    assert admin("'users_table.is_user_registered', 'ann'") is True
    assert admin("'users_table.is_user_registered', 'nobody'") is False


def test_users_are_changed(office: Lab, admin: Callable[[str], object]) -> None:
    """An administrator inserts a user, changes rights and password, and deletes the user, at once."""
    assert admin("'users_table.insert', 'tom', 'first', False") is None
    with pytest.raises(PeerError, match=r"ValueError: .*'tom' already exists"):
        admin("'users_table.insert', 'tom', 'again', False")
    assert admin("'users_table.is_admin', 'tom'") is False
    assert admin("'users_table.update', 'tom', is_admin=True") is None
    assert admin("'users_table.update', 'tom', password='second'") is None
    assert admin("'users_table.is_admin', 'tom'") is True
    tom = office.client("tom", username="tom", password="second")
    assert "tom" in tom.run("cxn.admin_request('users_table.usernames')")
    office.end(tom)
    assert admin("'users_table.delete', 'tom'") is None
    assert admin("'users_table.usernames'") == ["ann", "root"]
    with pytest.raises(PeerError, match=r"ValueError: .*'tom'"):
        admin("'users_table.delete', 'tom'")


def test_hostnames(admin: Callable[[str], object]) -> None:
    """An administrator lists, inserts and deletes trusted hostnames."""
    before = admin("'hostnames_table.hostnames'")
    assert isinstance(before, list)
    assert {"localhost", "127.0.0.1", HOSTNAME} <= set(before)
    assert admin("'hostnames_table.insert', 'bench'") is None
    assert admin("'hostnames_table.hostnames'") == sorted([*before, "bench"])
    assert admin("'hostnames_table.delete', 'bench'") is None
    assert admin("'hostnames_table.hostnames'") == before
    with pytest.raises(PeerError, match=r"ValueError: .*'bench'"):
        admin("'hostnames_table.delete', 'bench'")


def test_connection_records(root: Client, admin: Callable[[str], object]) -> None:
    """39. An administrator reads who has connected: number, time, address, domain, port and what happened."""
    port = root.run("cxn.port")

    def records() -> list[list[object]]:
        rows = admin("'connections_table.connections'")
        assert isinstance(rows, list)
        return [row for row in rows if row[4] == port]

    eventually(lambda: "connected as a client" in [row[-1] for row in records()])
    mine = records()
    assert [row[-1] for row in mine][:2] == ["new connection request", "connected as a client"]
    for number, when, address, domain, _, _ in mine:
        assert isinstance(number, int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", str(when))
        assert address == "127.0.0.1"
        assert isinstance(domain, str)


def test_logging_level(admin: Callable[[str], object]) -> None:
    """An administrator sets the logging level, by name or number; what is none is answered with ``False``."""
    assert admin("'set_logging_level', 'debug'") is True
    assert admin("'set_logging_level', 30") is True
    assert admin("'set_logging_level', 'loud'") is False
    assert admin("'set_logging_level', 'INFO'") is True


def test_manager_attributes(office: Lab, root: Client, admin: Callable[[str], object]) -> None:
    """An administrator reads the Manager's port and identity."""
    assert admin("'port'") == office.port
    identity = admin("'identity'")
    assert isinstance(identity, dict)
    assert identity["port"] == office.port
    assert root.network_name in identity["clients"]


def test_unknown_attribute(admin: Callable[[str], object]) -> None:
    """What the Manager has not is an AttributeError, and the connection stays."""
    with pytest.raises(PeerError, match=r"AttributeError: .*nonsense"):
        admin("'nonsense'")
    with pytest.raises(PeerError, match=r"AttributeError: .*nonsense"):
        admin("'users_table.nonsense'")
    assert admin("'users_table.is_admin', 'root'") is True


def test_not_an_administrator(office: Lab) -> None:
    """A user who is no administrator is refused, and stays connected."""
    ann = office.client("ann", **ANN)
    for _ in range(2):
        with pytest.raises(PeerError, match=REFUSED):
            ann.run("cxn.admin_request('users_table.usernames', timeout=20)")
    assert ann.run("office = cxn.identities()['port']; cxn.is_connected()")
    office.end(ann)


@pytest.mark.ours
def test_the_inside_is_closed(lab: Lab) -> None:
    """35. An administrator reaches what is on the list, and not the Manager's insides."""
    lab.add_user("root", ROOT["password"], admin=True)
    lab.start(["login"])
    root = lab.client("root", **ROOT)
    for attribute in ("_loop.stop", "users_table.execute", "password", "login", "__class__"):
        with pytest.raises(PeerError, match="AttributeError: "):
            root.run(f"cxn.admin_request('{attribute}', timeout=20)")
    assert root.run("cxn.admin_request('users_table.usernames', timeout=20)") == ["root"]


def test_wrong_login_in_mid_session(lab: Lab) -> None:
    """A Client that is asked in mid-session and gives a wrong password is refused."""
    lab.add_user("root", ROOT["password"], admin=True)
    lab.start()
    client = lab.client(username="root", password="guess")
    with pytest.raises(PeerError, match=r"You must be an administrator|Wrong login password"):
        client.run("cxn.admin_request('users_table.usernames', timeout=20)")


def test_two_passwords(lab: Lab) -> None:
    """37. The password of the Manager lets a Client in, and the one of the user makes it an administrator."""
    lab.add_user("root", ROOT["password"], admin=True)
    lab.start(["password"], password="abc 123")
    client = lab.client(password_manager="abc 123", **ROOT)
    assert client.run("cxn.admin_request('users_table.usernames', timeout=20)") == ["root"]


def test_shutdown_manager(lab: Lab) -> None:
    """``shutdown_manager`` ends the Manager with exit status 0, and every peer with it."""
    lab.add_user("root", ROOT["password"], admin=True)
    lab.add_user("ann", ANN["password"])
    manager = lab.start(["login"])
    service = lab.instruments("Echo", **ANN)
    ann = lab.client("ann", **ANN)
    with pytest.raises(PeerError, match=REFUSED):
        ann.run("cxn.admin_request('shutdown_manager', timeout=20)")
    root = lab.client("root", **ROOT)
    assert root.run("cxn.admin_request('shutdown_manager', timeout=20)") is None
    assert manager.wait() == 0
    assert service.wait() == 0
    eventually(lambda: not ann.run("cxn.is_connected()"))
    eventually(lambda: not root.run("cxn.is_connected()"))
