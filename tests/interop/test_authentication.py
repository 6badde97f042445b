"""Peers of 1.0 authenticate with a password, a login, their hostname, or several of these."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .lab import Lab, PeerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .lab import Client

METHODS = [
    pytest.param(["login"], id="login"),
    pytest.param(["password"], id="password"),
    pytest.param(["hostname"], id="hostname"),
    pytest.param(["hostname", "login"], id="hostname+login", marks=pytest.mark.ours),
]
LOGIN: dict[str, Any] = {"username": "lab user", "password": "two words"}
PASSWORD: dict[str, Any] = {"password_manager": "abc 123"}


@pytest.fixture(scope="module", params=METHODS)
def methods(request: pytest.FixtureRequest) -> list[str]:
    """How peers authenticate."""
    methods: list[str] = request.param
    return methods


@pytest.fixture(scope="module")
def locked_lab(tmp_path_factory: pytest.TempPathFactory, implementation: str, methods: list[str]) -> Iterator[Lab]:
    """A laboratory that lets in who authenticates, with a Service, Echo."""
    with Lab(tmp_path_factory.mktemp("locked"), implementation) as lab:
        if "login" in methods:
            lab.add_user(LOGIN["username"], LOGIN["password"])
            lab.keywords |= LOGIN
        if "password" in methods:
            lab.keywords |= PASSWORD
        lab.start(methods, password=PASSWORD["password_manager"] if "password" in methods else "")
        lab.instruments("Echo")
        yield lab


@pytest.fixture(scope="module")
def member(locked_lab: Lab) -> Client:
    """A Client that has authenticated and linked with Echo."""
    client = locked_lab.client()
    client.run("echo = cxn.link('Echo')")
    return client


def test_call(member: Client) -> None:
    """Calls bring back results and errors."""
    assert member.run("echo.echo('hello', x=1)") == [["hello"], {"x": 1}]
    with pytest.raises(PeerError, match="LookupError: no channel 7"):
        member.run("echo.fail('no channel 7')")


def test_asynchronous_calls(member: Client) -> None:
    """500 calls at once each get the answer that belongs to them."""
    assert member.run("""
futures = [echo.add(i, i, asynchronous=True) for i in range(500)]
[future.result(timeout=60) for future in futures] == [2 * i for i in range(500)]
""")


def test_notifications(member: Client) -> None:
    """Notifications arrive, all of them and in order."""
    assert member.run("""
import threading

numbers, complete = [], threading.Event()

def handler(number, square):
    numbers.append(number)
    if len(numbers) == 300:
        complete.set()

echo.notification_handler = handler
echo.emit(300), complete.wait(20), numbers == list(range(300))
""") == [300, True, True]


def test_lock(locked_lab: Lab, member: Client) -> None:
    """A lock keeps others from linking."""
    assert member.run("echo.acquire_lock()") == [member.network_name]
    other = locked_lab.client("other")
    with pytest.raises(PeerError, match="PermissionError: 'Echo' service is locked"):
        other.run("cxn.link('Echo')")
    assert member.run("echo.release_lock()") == []
    assert other.run("cxn.link('Echo').add(1, 2)") == 3


@pytest.fixture
def refusing_lab(lab: Lab) -> Lab:
    """A laboratory that asks for a login."""
    lab.add_user("ann", "correct")
    lab.start(["login"])
    return lab


@pytest.mark.parametrize(
    ("login", "text"),
    [
        ({"username": "ann", "password": "wrong"}, "Wrong login password"),
        ({"username": "bob", "password": "correct"}, "Unregistered user"),
    ],
    ids=["password", "user"],
)
def test_wrong_login(refusing_lab: Lab, login: dict[str, str], text: str) -> None:
    """A Client with a wrong login is refused with a text that says so; a right one is let in after that."""
    notebook = refusing_lab.notebook()
    with pytest.raises(PeerError, match=f"^ValueError: ValueError: .*{text}"):
        notebook.run(f"connect(**kwargs | {login})")
    assert notebook.run("connect(username='ann', password='correct', **kwargs).is_connected()")


@pytest.mark.ours
def test_login_failures_look_alike(refusing_lab: Lab) -> None:
    """29. Nobody learns from a refusal which users there are."""
    notebook = refusing_lab.notebook()
    for login in ({"username": "ann", "password": "wrong"}, {"username": "bob", "password": "wrong"}):
        with pytest.raises(PeerError) as caught:
            notebook.run(f"connect(**kwargs | {login})")
        assert str(caught.value) == "ValueError: ValueError: Unregistered user or Wrong login password"


def test_service_with_wrong_login(refusing_lab: Lab) -> None:
    """A Service has to log in as well."""
    service = refusing_lab.instruments("Echo", ready=False, username="ann", password="wrong")
    assert "Wrong login password" in service.read("Echo")
    assert service.wait() == 0


def test_wrong_manager_password(lab: Lab) -> None:
    """Clients and Services with a wrong password of the Manager are refused with that text."""
    lab.start(["password"], password="abc 123")
    wrong: dict[str, Any] = {"password_manager": "abc 124"}
    with pytest.raises(PeerError, match=r"^ValueError: ValueError: Wrong Manager password$"):
        lab.client(**wrong)
    assert "ValueError: Wrong Manager password" in lab.instruments("Echo", ready=False, **wrong).read("Echo")
    assert lab.client(password_manager="abc 123").run("cxn.is_connected()")


def test_untrusted_hostname(lab: Lab) -> None:
    """A Client on a host that is not on the list is refused with that text."""
    lab.cli("hostname", "insert", "elsewhere")
    with closing(sqlite3.connect(lab.home / "manager.sqlite3")) as database, database:
        database.execute("DELETE FROM auth_hostnames WHERE hostname <> 'elsewhere'")
    lab.start(["hostname"])
    with pytest.raises(PeerError, match=r"^ValueError: ValueError: '.+' is not a trusted hostname$"):
        lab.client()


@pytest.mark.ours
def test_hostname_and_login_must_both_pass(lab: Lab) -> None:
    """A right login does not help a Client on a host that is not trusted."""
    lab.add_user("ann", "correct")
    lab.cli("hostname", "insert", "elsewhere")
    with closing(sqlite3.connect(lab.home / "manager.sqlite3")) as database, database:
        database.execute("DELETE FROM auth_hostnames WHERE hostname <> 'elsewhere'")
    lab.start(["hostname", "login"])
    with pytest.raises(PeerError, match=r"^ValueError: ValueError: '.+' is not a trusted hostname$"):
        lab.client(username="ann", password="correct")
