"""Passwords and administration: what is secret stays so, and an administrator has a list, not the Manager."""

from __future__ import annotations

import os
import re
import stat
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.lab import eventually
from tests.wire_peer import client, service

from . import program as blocking
from .program import add_users

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msl_network import Manager

    from .program import Caller, Program

pytestmark = pytest.mark.anyio

NOT_ADMINISTRATOR = "ValueError: You must be an administrator to send this request to the Manager"

ADMINISTRATION = {
    "connections_table.connections",
    "hostnames_table.delete",
    "hostnames_table.hostnames",
    "hostnames_table.insert",
    "port",
    "reload",
    "set_logging_level",
    "shutdown_manager",
    "users_table.delete",
    "users_table.insert",
    "users_table.is_admin",
    "users_table.is_user_registered",
    "users_table.update",
    "users_table.usernames",
    "users_table.users",
}
"""What an administrator may ask for; but for `reload` it is all in 1.0, too."""

EVERYBODY = {"identity", "link", "unlink", "acquire_lock", "release_lock"}


def become_administrator(user: Caller, name: str = "root", password: str = "the secret of root") -> Any:
    """Ask for something that only administrators may, and answer the questions that follow; return the reply."""
    user.call("Manager", "port", uid="p")
    question = user.read()
    assert (question["attribute"], question["uid"]) == ("username", "")
    user.send(result=name)
    question = user.read()
    assert (question["attribute"], question["args"]) == ("password", [name])
    user.send(result=password)
    return user.read()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A Manager with an administrator, root, and a user, ann; its umask lets everybody read what it makes."""
    home = tmp_path_factory.mktemp("office") / "home"
    before = os.umask(0)
    try:
        home.mkdir(mode=0o755)
        add_users(home / "data", admins=("root",), root="the secret of root", ann="the secret of ann")
        sqlite = {"path": str(home / "data" / "manager.sqlite3")}
        program = blocking.Program(home, tls=True, log_level="DEBUG", plugins={"sqlite": sqlite})
    finally:
        os.umask(before)
    try:
        yield program
    finally:
        program.close()


@pytest.fixture
def user(office: Program) -> Iterator[Caller]:
    with blocking.client(office.port, "U", office.context()) as user:
        yield user


@pytest.fixture
def root(user: Caller, office: Program) -> Caller:
    assert become_administrator(user)["result"] == office.port
    return user


# 33: files


def test_files_are_private(office: Program, root: Caller) -> None:
    """33. Whatever the umask says, key, database, log and what is beside them are their owner's alone."""
    modes = {str(path.relative_to(office.home)): stat.S_IMODE(path.stat().st_mode) for path in office.home.rglob("*")}
    private = {name for name in modes if name.split("/")[0] in {"data", "keys", "logs"}}
    assert {"keys", "keys/localhost.key", "data", "data/manager.sqlite3", "logs", "certs"} <= modes.keys()
    assert any(re.fullmatch(r"logs/manager-.*\.log", name) for name in private)
    for name in private:
        assert modes[name] == (0o700 if (office.home / name).is_dir() else 0o600), name
    assert modes["certs"] & 0o022 == 0
    assert modes["certs/localhost.crt"] & 0o022 == 0


# 35: the list


def test_list_of_an_administrator(root: Caller) -> None:
    """35. What may be asked for is a list; for anything else an administrator hears AttributeError, and the list."""
    said = root.manager("no_such_thing")
    found = re.fullmatch(r"AttributeError: the Manager has no attribute 'no_such_thing'; it has: (.*)", said)
    assert found is not None
    assert set(found[1].split(", ")) == ADMINISTRATION | EVERYBODY
    assert set(root.manager("identity")["attributes"]) == EVERYBODY


INSIDE = [
    "",
    ".",
    "_loop",
    "_loop.stop",
    "loop.stop",
    "password",
    "__class__",
    "__init__",
    "__dict__",
    "__class__.__mro__",
    "identity.__globals__",
    "link.__func__",
    "users_table",
    "users_table.",
    "users_table.execute",
    "users_table.connection",
    "users_table.cursor.execute",
    "users_table._execute",
    "users_table.__class__",
    "users_table.is_password_valid",
    "users_table.records",
    "hostnames_table.close",
    "connections_table.insert",
    "connections_table.path",
    "database",
    "clients",
    "services",
    "client_writers",
    "set_logging_level.__call__",
    "Users_table.users",
    "users_table.users ",
    " users_table.users",
    "users_table..users",
    "users_table.users()",
    "stop",
    "serve",
    "config",
    "hooks",
    "store",
    "store.users.list",
    "shutdown_manager.x",
    "close_writer",
    "remove_peer",
    "new_connection",
]


@pytest.mark.parametrize("rights", ["user", "root"])
def test_nothing_beyond_the_list(rights: str, request: pytest.FixtureRequest) -> None:
    """35. No other attribute of the Manager is reached by whoever asks; nobody is even asked for a password."""
    asker: Caller = request.getfixturevalue(rights)
    for name in INSIDE:
        assert asker.manager(name, 1).startswith(f"AttributeError: the Manager has no attribute {name!r}"), name
    assert asker.manager("identity")["attributes"]


# 36, 37, 38: answers to administrators


def test_answers_have_the_uid(root: Caller) -> None:
    """36. Each answer of the Manager has the uid of its request: results and errors, also of unknown Services."""
    requests: list[tuple[str, str, list[Any]]] = [
        ("Manager", "port", []),
        ("Manager", "users_table.usernames", []),
        ("Manager", "users_table.is_admin", ["nobody"]),
        ("Manager", "users_table.insert", ["ann", "pw", False]),
        ("Manager", "users_table.delete", ["nobody"]),
        ("Manager", "users_table.delete", [1, 2, 3]),
        ("Manager", "connections_table.connections", ["yesterday"]),
        ("Manager", "set_logging_level", ["LOUD"]),
        ("Manager", "nothing", []),
        ("Manager", "link", ["Nobody"]),
        ("Nobody", "x", []),
    ]
    for number, (name, attribute, args) in enumerate(requests):
        root.call(name, attribute, *args, uid=f"u{number}")
    replies = [root.read() for _ in requests]
    assert {reply["uid"] for reply in replies} == {f"u{number}" for number in range(len(requests))}
    for reply in replies:
        more = {"message", "traceback"} if reply["error"] else set()
        assert set(reply) == {"error", "requester", "result", "uid"} | more
        assert reply["requester"].startswith("U[")


def test_administrator_is_asked_once(root: Caller, office: Program) -> None:
    """37. Who has proved to be an administrator is not asked again in this connection."""
    for _ in range(3):
        assert root.manager("port") == office.port


async def test_errors_have_no_traceback(manager: Manager) -> None:
    """38. The Manager's own errors have exactly the keys of 1.0, with an empty traceback; details are for its log."""
    async with service(manager, max_clients=1) as echo, client(manager, "A") as holder, client(manager, "B") as user:
        await holder.manager("link", "Echo")
        requests: list[tuple[str, str, list[Any]]] = [
            ("Manager", "link", ["Echo"]),
            ("Manager", "link", ["Nobody"]),
            ("Manager", "link", []),
            ("Manager", "unlink", ["Echo"]),
            ("Manager", "acquire_lock", ["Echo"]),
            ("Manager", "release_lock", [5]),
            ("Manager", "nothing", []),
            ("Nobody", "x", []),
            ("Echo", "x", []),
        ]
        (name,) = (name for name in manager.clients if name.startswith("B["))
        for target, attribute, args in requests:
            await user.call(target, attribute, *args, uid="u")
            reply = await user.read()
            message = reply.pop("message")
            assert re.match(r"(KeyError|PermissionError|TypeError|AttributeError): \S", message)
            assert "Traceback" not in message
            assert reply == {"error": True, "requester": name, "result": None, "traceback": [], "uid": "u"}
        await echo.write(b"nonsense\n")
        assert (await echo.read())["traceback"] == []


# 39: the records


def test_records_between_times(root: Caller) -> None:
    """39. An administrator gets the records between two times; a wrong time is an error that says how to write it."""
    everything = root.manager("connections_table.connections")
    assert {len(row) for row in everything} == {6}
    assert any(row[5] == "connected as a client" for row in everything)
    today = datetime.now().astimezone()
    tomorrow, yesterday = (today + timedelta(days=days) for days in (1, -1))
    day = "%Y-%m-%d"
    assert root.manager("connections_table.connections", start=tomorrow.strftime(day)) == []
    assert root.manager("connections_table.connections", end=(yesterday - timedelta(days=1)).strftime(day)) == []
    between = {"start": yesterday.strftime(day + "T%H:%M:%S"), "end": tomorrow.strftime(day)}
    assert root.manager("connections_table.connections", **between) == everything
    for wrong in ("now", "2024-02-30", 5, "' OR 1=1 --", "2024-01-01 00:00:00"):
        said = root.manager("connections_table.connections", start=wrong)
        assert said.startswith("TypeError: start must be 'yyyy-mm-dd' or 'yyyy-mm-ddTHH:MM:SS'")


# What follows has wrong answers in it: after the third from an address, all its answers come later and later


def test_administration_is_for_administrators(office: Program) -> None:
    """35. Nothing on the administrators' list is done for a user who is none, and the user stays connected."""
    with blocking.client(office.port, "Ann", office.context()) as ann:
        reply = become_administrator(ann, "ann", "the secret of ann")
        assert (reply["message"], reply["uid"]) == (NOT_ADMINISTRATOR, "p")
        for name in sorted(ADMINISTRATION):
            ann.call("Manager", name, "a", uid=name)
        assert ann.read()["attribute"] == "username"  # it is asked anew, and nothing is done meanwhile
        assert ann.manager("identity")


# 34: the log


RECORD = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(DEBUG|INFO |WARNING|ERROR)\] [a-z_.]+ - .*")
"""A line of the log."""


def test_what_the_log_does_not_say(office: Program, root: Caller) -> None:
    """34. No password, no answer of a handshake, and no argument of an administrator's request is in the log."""
    assert root.manager("users_table.insert", "bob", "the secret of bob", False) is None
    assert root.manager("users_table.update", "bob", password="the new secret of bob") is None
    assert root.manager("users_table.delete", "bob") is None
    assert "TypeError" in root.manager("users_table.insert", "the secret of nobody")
    assert root.manager("users_table.the_secret_attribute", "the secret of nobody").startswith("AttributeError")
    with blocking.client(office.port, "V", office.context()) as other:
        assert become_administrator(other, "root", "the secret of a typist")["message"] == NOT_ADMINISTRATOR
        other.call("Nobody", "x", "the secret of a request")
        assert other.read()["error"] is True
        other.write(b"the secret of a terminal\n")
        assert other.read()["error"] is True
    with blocking.connected(office.port, office.context()) as stranger:
        stranger.read()
        stranger.send(result={"type": "robot", "name": "x", "more": "the secret of a stranger"})
        assert stranger.read()["error"] is True
    (log,) = (office.home / "logs").iterdir()
    text = log.read_text()
    assert "U[" in text
    assert "'users_table.insert'" in text
    assert "secret of" not in text
    assert "secret of" not in office.transcript


def test_nobody_forges_the_log(office: Program, user: Caller) -> None:
    """34. What a peer sent starts no line of the log and gives no command to a terminal."""
    forged = "\n2026-01-01 00:00:00,000 [INFO ] msl_network - forged\x1b[2J\x9b\u2028\u202e"
    identities: list[dict[str, Any]] = [
        {"type": forged, "name": "x"},
        {"type": "client", "name": forged},
        {"type": "client", "name": "x", "language": [forged]},
        {"type": "service", "name": "x", "attributes": {}, "max_clients": forged},
    ]
    for identity in identities:
        with blocking.connected(office.port, office.context()) as stranger:
            stranger.read()
            stranger.send(result=identity)
            assert stranger.read()["error"] is True
    harmless = {"type": "service", "name": "Harmless", "attributes": {forged: forged}, "language": forged, "os": forged}
    with blocking.connected(office.port, office.context()) as peer:
        peer.read()
        peer.send(result=harmless)
        eventually(lambda: "Harmless" in user.manager("identity")["services"])
        peer.write(b"\x1b[2J\r2026-01-01 forged\n")
        peer.send(error=False, requester=forged, result=forged, uid=forged)
        peer.send(error=False, service=forged, result=[[], {}], uid="notification")
        assert peer.read()["error"] is True
        user.call("Harmless", forged, forged, uid=forged)
        user.call(forged, forged, uid=forged)
        assert user.read()["uid"] == forged
    assert user.read()["uid"] == forged
    assert user.manager(forged).startswith("ValueError: the name ")
    assert become_administrator(user, forged, forged)["message"] == NOT_ADMINISTRATOR
    (log,) = (office.home / "logs").iterdir()
    for text in (log.read_bytes().decode(), office.transcript):
        lines = text.split("\n")[:-1]
        record = re.compile(
            r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(DEBUG|INFO |WARNING|ERROR)\] msl_network\S* - .*"
        )
        assert [line for line in lines if not record.fullmatch(line)] == []
        assert not [line for line in lines if line.startswith("2026-01-01 00:00")]
        assert all(character.isprintable() for line in lines for character in line)
