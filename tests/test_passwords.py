"""Passwords on the wire: what a Manager tells whoever does not know them, and how it stores them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msl_network_plugins import login
from msl_network_plugins.login import Login
from msl_network_plugins.sqlite import Sqlite

from msl_network import Manager, User
from msl_network.throttle import Throttle

from .wire_peer import DEADLINE, WirePeer, client, config, connected, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

REFUSED = "ValueError: Unregistered user or Wrong login password"


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that cost nothing, for tests that are about something else."""
    monkeypatch.setattr(login._Scrypt, "new", lambda: login._Scrypt(2**4, 8, 1, os.urandom(16)))
    monkeypatch.setattr(login, "LEGACY_ITERATIONS", 10)


async def add_users() -> None:
    """Have an administrator, a user, and one whose key is as those of 1.0, in the store."""
    salt = os.urandom(16)
    old = hashlib.pbkdf2_hmac("sha256", b"secret", salt, login.LEGACY_ITERATIONS)
    async with Sqlite().open_store(None) as store:
        for name in "ada", "bob":
            key, own = login._new_key("secret")
            await store.users.insert(User(name=name, key=key, salt=own, is_admin=name == "ada"))
        await store.users.insert(User(name="old", key=old, salt=salt))


def unhurried(manager: Manager) -> Manager:
    """Have the Manager hold nothing back: a test is about what is wrong, often."""
    manager.throttle = Throttle(0, anyio.current_time)
    return manager


async def log_in(peer: WirePeer, name: object, password: object) -> list[Any]:
    """Answer as a Client does; return all that the Manager says, until it closes or asks for the identity."""
    said = [await peer.read()]
    for answer in name, password:
        await peer.send(result=answer)
        said.append(await peer.read())
        if said[-1]["error"]:
            await peer.eof()
            break
    return said


async def test_unknown_users(transport: str, weak: None) -> None:
    """29. An unknown user is asked for a password, too, and hears the same as one whose password is wrong."""
    await add_users()
    async with Manager(config(transport, auth=["login"])) as manager:
        unhurried(manager)
        dialogues = []
        for name in "ada", "old", "nobody":
            async with connected(manager) as peer:
                said = await log_in(peer, name, "wrong")
            assert [message.get("attribute") for message in said] == ["username", "password", None]
            assert said[1].pop("args") == [name]
            dialogues.append(said)
        assert dialogues[0] == dialogues[1] == dialogues[2]
        assert dialogues[0][-1]["message"] == REFUSED
        assert dialogues[0][-1]["traceback"] == []


WRONG = [None, True, 7, 1.5, [], ["secret"], {}, {"password": "secret"}, "", "secret\0", "\0", "\ud800", "x" * 2000]


async def test_answers_of_a_wrong_kind(transport: str, weak: None) -> None:
    """31. A name or a password that can be nobody's is answered with the normal error, and the connection is closed."""
    await add_users()
    async with Manager(config(transport, auth=["login"])) as manager:
        unhurried(manager)
        for wrong in WRONG:
            for answers in (wrong, "secret"), ("ada", wrong), ("nobody", wrong):
                async with connected(manager) as peer:
                    assert (await log_in(peer, *answers))[-1]["message"] == REFUSED
        async with connected(manager) as peer:
            assert (await log_in(peer, "ada", "secret"))[-1]["attribute"] == "identity"


async def test_manager_passwords_of_a_wrong_kind(transport: str) -> None:
    """31. So is a password of the Manager."""
    settings = config(transport, auth=["password"], plugin_settings={"password": {"password": "secret"}})
    async with Manager(settings) as manager:
        unhurried(manager)
        for wrong in WRONG:
            async with connected(manager) as peer:
                await peer.read()
                await peer.send(result=wrong)
                assert (await peer.read())["message"] == "ValueError: Wrong Manager password"
                await peer.eof()


async def test_database_of_1_0(transport: str, home: Path) -> None:
    """32. Users that 1.0 added log in, and their keys are replaced by safer ones; not by a wrong password."""
    for words in (["ada", "-a", "-p", "my", "word"], ["bob", "-p", "Größe 😀"]):
        command = [sys.executable, "-W", "ignore", "-m", "msl.network.cli", "user", "add", *words]
        subprocess.run(command, env={**os.environ, "MSL_NETWORK_HOME": str(home)}, check=True)  # noqa: ASYNC221

    def rows() -> dict[str, tuple[bytes, bytes, int]]:
        with closing(sqlite3.connect(home / "manager.sqlite3")) as database:
            found = database.execute("SELECT username, key, salt, is_admin FROM auth_users").fetchall()
            return {name: (key, salt, is_admin) for name, key, salt, is_admin in found}

    before = rows()
    assert {len(salt) for _, salt, _ in before.values()} == {16}
    async with Manager(config(transport, auth=["login"])) as manager:
        for password in "wrong", "my word", "my word":
            async with connected(manager) as peer:
                said = (await log_in(peer, "ada", password))[-1]
                assert said.get("message") == (REFUSED if password == "wrong" else None)
            if password == "wrong":
                assert rows() == before
        after = rows()
        assert after["bob"] == before["bob"]
        assert after["ada"][1].startswith(b"scrypt:15:8:3:")
        async with connected(manager) as peer:
            assert (await log_in(peer, "bob", "Größe 😀"))[-1]["attribute"] == "identity"
        assert rows()["bob"][1].startswith(b"scrypt:15:8:3:")
        assert [row[2] for row in rows().values()] == [1, 0]


# Work


class Gate:
    """Stands in for the derivation of keys: it takes until a test says that it is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.checked: list[str] = []
        monkeypatch.setattr(login, "_check", self._check)

    def _check(self, user: User | None, password: str) -> tuple[bool, None]:
        self.checked.append(password)
        assert self.is_open.wait(DEADLINE)
        return user is not None, None


async def test_others_are_served_while_keys_are_derived(
    transport: str, weak: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20. However long the work for a password takes, whoever is connected is served, and so is who connects."""
    await add_users()
    gate = Gate(monkeypatch)
    async with Manager(config(transport)) as manager, client(manager) as user, client(manager) as other:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask_for_the_port, manager)
            await until(lambda: gate.checked)
            await user.silence()
            async with client(manager, "New"):
                await other.silence()
            gate.is_open.set()


async def ask_for_the_port(manager: Manager) -> None:
    async with client(manager) as user:
        await user.call("Manager", "port", uid="p")
        assert (await user.read())["attribute"] == "username"
        assert (await user.ask(b"ada"))["attribute"] == "password"
        assert (await user.ask(b"secret"))["result"] == manager.port


async def test_flood_of_logins_from_one_address(transport: str, weak: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """20. Who logs in from another address waits for one of the flood's keys, and not for all of them."""
    await add_users()
    gate = Gate(monkeypatch)
    monkeypatch.setattr(login, "MAX_DERIVATIONS", 1)
    said: list[object] = []

    async def log_in_from(address: str, password: str) -> None:
        async with await anyio.connect_tcp("127.0.0.1", manager.port, local_host=address) as stream:
            reply = (await log_in(WirePeer(stream), "ada", password))[-1]
            said.append(reply.get("message", "let in"))

    async with Manager(config(transport, auth=["login"])) as manager, anyio.create_task_group() as tasks:
        (plugin,) = (plugin for _, plugin in manager.hooks.plugins if isinstance(plugin, Login))
        turns = plugin._open_accounts()._turns
        for _ in range(40):
            tasks.start_soon(log_in_from, "127.0.0.2", "flood")
        await until(lambda: len(turns._waiting.get("127.0.0.2", ())) == 39)
        tasks.start_soon(log_in_from, "127.0.0.3", "calm")
        await until(lambda: "127.0.0.3" in turns._waiting)
        gate.is_open.set()
    assert gate.checked[:3] == ["flood", "flood", "calm"]
    assert said == ["let in"] * 41
    assert turns._waiting == {}
