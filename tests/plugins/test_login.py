# ruff: noqa: ASYNC221, ASYNC240 - the processes and files of a test are small; fakes speak by name

from __future__ import annotations

import argparse
import asyncio
import getpass
import hashlib
import io
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msl_network_plugins import login
from msl_network_plugins.login import Login
from msl_network_plugins.sqlite import Sqlite

from msl_network.errors import ArgumentError, AuthenticationError, PluginError, StartError, StoreError
from msl_network.store import Store, User
from msl_network.testing import FakeHandshake, FakeManager, FakePeer, check_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

pytestmark = pytest.mark.anyio

REFUSED = "^Unregistered user or Wrong login password$"
MANAGER = "Manager[lab:1875]"


class MemoryUsers:
    """The users of a store, in memory; `failure` is raised by the next update."""

    def __init__(self, *users: User) -> None:
        self.users = {user.name: user for user in users}
        self.failure: Exception | None = None

    async def get(self, name: str) -> User | None:
        return self.users.get(name)

    async def list(self) -> list[User]:
        return sorted(self.users.values(), key=lambda user: user.name)

    async def insert(self, user: User) -> bool:
        return self.users.setdefault(user.name, user) is user

    async def update(self, user: User) -> bool:
        if self.failure:
            raise self.failure
        self.users[user.name] = user
        return True

    async def delete(self, name: str) -> bool:
        return self.users.pop(name, None) is not None


@dataclass
class FakeStore:
    """A store that has users only."""

    users: MemoryUsers
    location = "the memory"


def legacy_user(name: str = "old", password: str = "secret", **changes: Any) -> User:
    """A user as 1.0 writes it."""
    salt = os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000)
    return User(**{"name": name, "key": key, "salt": salt, **changes})


def modern_user(name: str = "ada", password: str = "secret", **changes: Any) -> User:
    key, salt = login._new_key(password)
    return User(**{"name": name, "key": key, "salt": salt, **changes})


async def start(*users: User, authenticates: bool = False) -> tuple[Login, MemoryUsers]:
    plugin, table = Login(), MemoryUsers(*users)
    store: Any = FakeStore(table)
    await plugin.started(FakeManager(store, authenticators=[plugin] if authenticates else []))
    return plugin, table


async def log_in(plugin: Login, *answers: object) -> FakePeer:
    peer = FakePeer()
    await plugin.authenticate(peer, FakeHandshake(*answers))
    return peer


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that cost nothing, for tests that are about something else."""
    monkeypatch.setattr(login._Scrypt, "new", lambda: login._Scrypt(2**4, 8, 1, os.urandom(16)))
    monkeypatch.setattr(login, "LEGACY_ITERATIONS", 10)


# Authentication


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_keeps_all_promises(weak: None, backend: str) -> None:
    """Those that every plugin has to keep."""

    async def prepare(store: Store) -> None:
        assert await store.users.insert(modern_user("ada", "secret"))

    answers = {"username": "ada", "password": "secret"}
    done = check_plugin(Login, answers=answers, prepare=prepare, backend=backend)
    assert {"lets_in", "refuses", "asks_two_at_once", "refuses_administrators", "offers_commands"} <= set(done)


@pytest.mark.parametrize("is_admin", [True, False])
async def test_right_password(weak: None, is_admin: bool) -> None:
    """A registered user is let in; the peer has the name and the rights from then on."""
    plugin, _ = await start(modern_user(is_admin=is_admin))
    handshake, peer = FakeHandshake("ada", "secret"), FakePeer()
    await plugin.authenticate(peer, handshake)
    assert handshake.asked == [("username", MANAGER), ("password", "ada")]
    assert (peer.username, peer.is_admin) == ("ada", is_admin)


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("ada", "Secret"), ("nobody", "secret")])
async def test_wrong_answers(weak: None, name: str, password: str) -> None:
    """29. An unknown user is asked for a password like a known one, and both hear the same."""
    plugin, _ = await start(modern_user(is_admin=True), legacy_user())
    handshake, peer = FakeHandshake(name, password), FakePeer()
    with pytest.raises(AuthenticationError, match=REFUSED):
        await plugin.authenticate(peer, handshake)
    assert handshake.asked == [("username", MANAGER), ("password", name)]
    assert (peer.username, peer.is_admin) == ("", False)


@pytest.mark.parametrize(
    "answer", [None, 1, True, ["ada"], {"a": 1}, "", "x" * 1025, "a\0", "\ud800"], ids=lambda a: repr(a)[:12]
)
async def test_answers_that_cannot_be_right(weak: None, answer: object) -> None:
    """31. A name or a password of a wrong type, empty, over-long or broken is refused with the same text."""
    plugin, _ = await start(modern_user())
    for answers in (answer,), ("ada", answer), ("nobody", answer):
        with pytest.raises(AuthenticationError, match=REFUSED):
            await log_in(plugin, *answers)


async def test_unknown_users_cost_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """29. For an unknown user, a wrong password, and a wrong password with a key of 1.0, the same is derived."""
    work: list[tuple[object, ...]] = []

    def scrypt(*args: object, salt: bytes, n: int, r: int, p: int, **options: object) -> bytes:
        work.append(("scrypt", n, r, p, threading.current_thread() is threading.main_thread()))
        return b"x" * 32

    def pbkdf2(name: str, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
        work.append(("pbkdf2", iterations, threading.current_thread() is threading.main_thread()))
        return b"y" * 32

    plugin, _ = await start(modern_user(), legacy_user())
    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", pbkdf2)
    for name in "nobody", "ada", "old":
        work.clear()
        with pytest.raises(AuthenticationError, match=REFUSED):
            await log_in(plugin, name, "wrong")
        assert work == [("scrypt", 2**15, 8, 3, False), ("pbkdf2", 100_000, False)]


async def test_derivations_at_a_time(weak: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """20. However many peers log in at once, only a few keys are derived at a time."""
    monkeypatch.setattr(login, "MAX_DERIVATIONS", 1)
    busy = threading.Lock()
    is_right: Callable[[User | None, str], bool] = login._is_right

    def watched(user: User | None, password: str) -> bool:
        assert busy.acquire(blocking=False)
        try:
            return is_right(user, password)
        finally:
            busy.release()

    monkeypatch.setattr(login, "_is_right", watched)
    plugin, _ = await start(modern_user())
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(log_in, plugin, "ada", "secret")


class Order:
    """Who had a turn, in the order of it; each has it until a test says that it is over."""

    def __init__(self, places: int) -> None:
        self.turns = login._Turns(places)
        self.had: list[str] = []
        self.running: dict[str, anyio.Event] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def take(self, name: str, ip_address: str) -> None:
        with anyio.CancelScope() as self.scopes[name]:
            async with self.turns.turn(ip_address):
                self.had.append(name)
                over = self.running[name] = anyio.Event()
                try:
                    await over.wait()
                finally:
                    del self.running[name]

    def is_as_new(self, places: int) -> bool:
        return (self.turns._free, self.turns._waiting, self.running) == (places, {}, {})


async def _all_end(order: Order) -> None:
    while order.running:
        order.running[next(iter(order.running))].set()
        await anyio.wait_all_tasks_blocked()


async def test_addresses_take_turns() -> None:
    """20. Whoever comes with many logins at once waits behind those of other addresses, not they behind him.

    Of one address the last is the first, which still has time.
    """
    order = Order(1)
    where = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "2001:db8::1", "C": "2001:db8::2"}
    async with anyio.create_task_group() as tasks:
        for name in ["a0", "a1", "a2", "a3", "a4", "b0", "c0", "C1"]:
            tasks.start_soon(order.take, name, where[name[0]])
            await anyio.wait_all_tasks_blocked()
        assert order.had == ["a0"]
        await _all_end(order)
    assert order.had == ["a0", "a4", "b0", "C1", "a3", "c0", "a2", "a1"]
    assert order.is_as_new(1)


async def test_no_place_is_left_empty() -> None:
    """20. One address may have all places while nobody else waits."""
    order = Order(3)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(order.take, f"a{number}", "192.0.2.1")
            await anyio.wait_all_tasks_blocked()
        assert sorted(order.running) == ["a0", "a1", "a2"]
        await _all_end(order)
    assert order.is_as_new(3)


@pytest.mark.parametrize("moment", ["waiting", "running"])
async def test_who_gives_up_leaves_no_trace(moment: str) -> None:
    """20. A login whose time is over passes its turn on, or is not given one."""
    order = Order(1)
    async with anyio.create_task_group() as tasks:
        for name in ["a0", "b0", "a1"]:
            tasks.start_soon(order.take, name, {"a": "192.0.2.1", "b": "192.0.2.2"}[name[0]])
            await anyio.wait_all_tasks_blocked()
        if moment == "running":
            order.running["a0"].set()
            await anyio.wait_all_tasks_blocked()
            assert list(order.running) == ["b0"]
        order.scopes["b0"].cancel()
        await anyio.wait_all_tasks_blocked()
        assert list(order.turns._waiting) == ([] if moment == "running" else ["192.0.2.1"])
        await _all_end(order)
    assert order.had == (["a0", "b0", "a1"] if moment == "running" else ["a0", "a1"])
    assert order.is_as_new(1)


async def test_who_gives_up_when_the_turn_comes(anyio_backend_name: str) -> None:
    """20. A turn is not lost that was given to somebody at the moment of giving up, however that is done."""
    order = Order(1)
    first = order.turns.turn("192.0.2.1")
    await first.__aenter__()
    if anyio_backend_name == "asyncio":  # the way of asyncio itself: the wait ends with the cancellation
        task = asyncio.ensure_future(order.take("b", "192.0.2.2"))
        await anyio.wait_all_tasks_blocked()
        await first.__aexit__(None, None, None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert order.is_as_new(1)
        first = order.turns.turn("192.0.2.1")
        await first.__aenter__()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order.take, "b", "192.0.2.2")
        await anyio.wait_all_tasks_blocked()
        await first.__aexit__(None, None, None)
        order.scopes["b"].cancel()
    assert order.is_as_new(1)


async def test_before_the_start() -> None:
    """Nobody is let in, and nothing is answered, before the store is known."""
    plugin = Login()
    with pytest.raises(StoreError, match="not started"):
        await log_in(plugin, "ada", "secret")


async def test_administrator(weak: None) -> None:
    """A connected Client is an administrator if the user is one; who answers wrongly hears so."""
    plugin, _ = await start(modern_user("ada", is_admin=True), modern_user("bob"))
    assert await plugin.authenticate_administrator(FakePeer(), FakeHandshake("ada", "secret")) is True
    assert await plugin.authenticate_administrator(FakePeer(), FakeHandshake("bob", "secret")) is False
    with pytest.raises(AuthenticationError, match=REFUSED):
        await plugin.authenticate_administrator(FakePeer(), FakeHandshake("ada", "wrong"))


async def test_no_users() -> None:
    """A Manager that lets in users only does not start without any, and says what to type."""
    with pytest.raises(
        PluginError, match="'login': there are no users yet in the memory; add one with: msl-network user insert"
    ):
        await start(authenticates=True)
    await start(authenticates=False)


# Keys


def test_key_is_scrypt_as_recommended() -> None:
    """32. A new key is scrypt with parameters that OWASP recommends, kept in front of a salt of its own."""
    one, two = modern_user(), modern_user()
    assert one.salt.startswith(b"scrypt:15:8:3:")
    assert one.salt != two.salt
    assert one.key != two.key
    expected = hashlib.scrypt(b"secret", salt=one.salt[14:], n=2**15, r=8, p=3, maxmem=2**26, dklen=32)
    assert one.key == expected
    assert login._is_right(one, "secret")
    assert not login._is_right(one, "Secret")


async def test_key_of_1_0_is_upgraded(tmp_path: Path) -> None:
    """32. A user that 1.0 added logs in; the key is a new one then, and logs in again."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "msl.network.cli",
        "user",
        "add",
        "ada",
        "-a",
        "-p",
        "my",
        "word",
    ]
    subprocess.run(command, env={**os.environ, "MSL_NETWORK_HOME": str(tmp_path)}, check=True)
    plugin = Login()
    async with Sqlite(str(tmp_path / "manager.sqlite3")).open_store(None) as store:
        await plugin.started(FakeManager(store, authenticators=[plugin]))
        before = await store.users.get("ada")
        with pytest.raises(AuthenticationError):
            await log_in(plugin, "ada", "my words")
        assert await store.users.get("ada") == before
        assert (await log_in(plugin, "ada", "my word")).is_admin
        after = await store.users.get("ada")
        assert before is not None
        assert after is not None
        assert (len(before.salt), after.salt[:7]) == (16, b"scrypt:")
        assert replace(after, key=before.key, salt=before.salt) == before
        assert (await log_in(plugin, "ada", "my word")).is_admin
        assert await store.users.get("ada") == after
        with pytest.raises(AuthenticationError):
            await log_in(plugin, "ada", "my words")


async def test_key_with_other_parameters_is_upgraded(weak: None) -> None:
    """32. A key that was made with other parameters is right, and is replaced."""
    scheme = login._Scrypt(2**5, 4, 2, b"0123456789abcdef")
    plugin, users = await start(User(name="ada", key=scheme.derive("secret"), salt=scheme.blob()))
    await log_in(plugin, "ada", "secret")
    assert users.users["ada"].salt.startswith(b"scrypt:4:8:1:")


async def test_upgrade_that_fails(weak: None, caplog: pytest.LogCaptureFixture) -> None:
    """When a new key cannot be stored the user is let in all the same, and a line is logged."""
    plugin, users = await start(old := _quick_legacy_user())
    users.failure = StoreError("the database is locked")
    assert (await log_in(plugin, "old", "secret")).username == "old"
    assert users.users["old"] == old
    assert "the key of the user 'old' stays as it is for now: the database is locked" in caplog.text


@pytest.mark.parametrize("change", ["password", "deleted"])
async def test_upgrade_does_not_bring_back(weak: None, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A password that was changed, or a user who was deleted, while a key is upgraded stays so."""
    plugin, users = await start(_quick_legacy_user())
    new = modern_user("old", "new")
    new_key: Callable[[str], tuple[bytes, bytes]] = login._new_key

    def meanwhile(password: str) -> tuple[bytes, bytes]:
        if change == "password":
            users.users["old"] = new
        else:
            del users.users["old"]
        return new_key(password)

    monkeypatch.setattr(login, "_new_key", meanwhile)
    await log_in(plugin, "old", "secret")
    assert users.users == ({"old": new} if change == "password" else {})


@pytest.mark.parametrize(
    "salt",
    [
        b"",
        b"bcrypt:12:0123456789abcdef",
        b"scrypt:15:8:3:short",
        b"scrypt:0:8:1:0123456789abcdef",
        b"scrypt:30:8:1:0123456789abcdef",
        b"scrypt:16:1:1:0123456789abcdef",
        b"scrypt:4:8:0:0123456789abcdef",
    ],
)
async def test_unknown_kind_of_key(weak: None, caplog: pytest.LogCaptureFixture, salt: bytes) -> None:
    """A key of another kind, or one that would take all memory, fits no password; the log says what to do."""
    plugin, _ = await start(User(name="ada", key=b"k" * 32, salt=salt))
    with pytest.raises(AuthenticationError, match=REFUSED):
        await log_in(plugin, "ada", "secret")
    assert "the key of the user 'ada' is of an unknown kind; set a new password" in caplog.text


def _quick_legacy_user() -> User:
    """A user of 1.0 for tests that are `weak`."""
    salt = os.urandom(16)
    return User(name="old", key=hashlib.pbkdf2_hmac("sha256", b"secret", salt, 10), salt=salt)


# Commands


async def ask(plugin: Login, name: str, *args: Any, **kwargs: Any) -> Any:
    commands = {command.name: command for command in plugin.commands()}
    return await commands[f"users_table.{name}"].bind(FakePeer(), list(args), kwargs)()


def test_commands_are_for_administrators() -> None:
    """Exactly the commands of 1.0 exist, and all need an administrator."""
    commands = Login().commands()
    assert {command.name for command in commands} == {
        f"users_table.{name}"
        for name in ("usernames", "users", "is_user_registered", "is_admin", "insert", "update", "delete")
    }
    assert all(command.administrator for command in commands)


async def test_command_life_of_a_user(weak: None, caplog: pytest.LogCaptureFixture) -> None:
    """Users are added, seen, changed and removed with 1.0's arguments and results; no password is logged."""
    caplog.set_level(logging.DEBUG)
    plugin, _ = await start(modern_user("ada", is_admin=True))
    assert await ask(plugin, "insert", "Bob", "pass-word", False) is None
    assert await ask(plugin, "usernames") == ["Bob", "ada"]
    assert await ask(plugin, "users") == [["Bob", False], ["ada", True]]
    assert await ask(plugin, "is_user_registered", "Bob") is True
    assert await ask(plugin, "is_user_registered", username="bob") is False
    assert await ask(plugin, "is_admin", "ada") is True
    assert await ask(plugin, "is_admin", "nobody") is False
    assert (await log_in(plugin, "Bob", "pass-word")).is_admin is False
    assert await ask(plugin, "update", "Bob", is_admin=True) is None
    assert (await log_in(plugin, "Bob", "pass-word")).is_admin is True
    assert await ask(plugin, "update", "Bob", password="pass-two", is_admin=0) is None
    assert (await log_in(plugin, "Bob", "pass-two")).is_admin is False
    assert await ask(plugin, "update", "Bob", password="pass-three") is None
    assert (await log_in(plugin, "Bob", "pass-three")).is_admin is False
    assert await ask(plugin, "delete", "Bob") is None
    assert await ask(plugin, "usernames") == ["ada"]
    assert "<Unknown>[192.0.2.7:50000] deleted the user 'Bob'" in caplog.text
    assert "pass-" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (("insert", "ada", "x", True), "A user with the name 'ada' already exists"),
        (("insert", "", "x", True), "must not be empty"),
        (("insert", "a\nb", "x", True), "control characters"),
        (("insert", "\ud800", "x", True), "control characters"),
        (("insert", "x" * 257, "x", True), "256 characters, found 257"),
        (("insert", "pc:1875", "x", True), 'cannot end with ":<integer>"'),
        (("insert", "bob", "", True), "You must specify a password for 'bob'"),
        (("insert", "bob", "x" * 1025, True), "1024 characters"),
        (("insert", "bob", "a\0b", True), "NUL"),
        (("update", "bob"), "Cannot update 'bob'. This user is not in the table."),
        (("update", "ada"), "Must specify either the password and/or the admin rights"),
        (("delete", "bob"), "Cannot delete 'bob'. This user is not in the table."),
        (("delete", "\ud800"), "not in the table"),
    ],
)
async def test_command_refused(weak: None, request_: tuple[Any, ...], text: str) -> None:
    """What cannot be done is a ValueError as in 1.0, and nothing is changed."""
    plugin, users = await start(ada := modern_user())
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        await ask(plugin, *request_)
    assert text in str(caught.value)
    assert users.users == {"ada": ada}


async def test_command_empty_password(weak: None) -> None:
    """A password is not updated to nothing."""
    plugin, _ = await start(modern_user())
    with pytest.raises(ValueError, match="You must specify a password for 'ada'"):
        await ask(plugin, "update", "ada", password="")


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("insert", [1, "x", True], {}),
        ("insert", ["bob", 1234, True], {}),
        ("insert", ["bob", "x", "yes"], {}),
        ("insert", ["bob", "x", []], {}),
        ("insert", ["bob", "x"], {}),
        ("update", ["ada"], {"password": 1}),
        ("update", ["ada"], {"is_admin": "no"}),
        ("update", ["ada", "x"], {}),
        ("delete", [None], {}),
        ("is_admin", [["ada"]], {}),
        ("is_user_registered", [], {}),
        ("users", [1], {}),
    ],
)
async def test_command_with_wrong_arguments(weak: None, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Arguments of a wrong type or number are an ArgumentError, and nothing is changed."""
    plugin, users = await start(ada := modern_user())
    with pytest.raises(ArgumentError):
        await ask(plugin, name, *args, **kwargs)
    assert users.users == {"ada": ada}


# The command line


class FakeContext:
    """Opens the store at the path of --database."""

    def open_store(self, location: str | None = None) -> AbstractAsyncContextManager[Store]:
        store: AbstractAsyncContextManager[Store] = Sqlite().open_store(location)
        return store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "lab.db"


async def user(database: Path, *words: str) -> int:
    """Run `msl-network user ...` with this database."""
    parser = argparse.ArgumentParser()
    Login().cli_commands(parser.add_subparsers())
    args = parser.parse_args(["user", *words, "--database", str(database)])
    status = await args.run(args, FakeContext())
    assert isinstance(status, int)
    return status


async def test_cli_life_of_a_user(weak: None, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command adds, changes, lists and removes users with the words and the meaning of 1.0."""
    assert await user(database, "list") == 0
    assert await user(database, "add", "ada", "-a", "-p", "two", "words") == 0
    assert await user(database, "insert", "bob", "--password", "x") == 0
    assert await user(database, "list") == 0
    assert await user(database, "update", "ada") == 0
    assert await user(database, "update", "bob", "--admin") == 0
    assert await user(database, "update", "bob", "-p", "y", "-a") == 0
    assert await user(database, "list") == 0
    assert await user(database, "remove", "ada") == 0
    async with Sqlite(str(database)).open_store(None) as store:
        plugin = Login()
        await plugin.started(FakeManager(store))
        assert (await log_in(plugin, "bob", "y")).is_admin
        assert await store.users.get("ada") is None
    assert await user(database, "delete", "bob") == 0
    said = capsys.readouterr()
    assert said.err == "note: ada is not an administrator now; update with --admin to change that\n"
    assert said.out == (
        "There are no users in the database\n"
        "ada has been added\n"
        "bob has been inserted\n"
        f"Users in {database}\n\nUsername Administrator\n======== =============\n"
        "ada      True\nbob      False\n"
        "Updated ada\n"
        "Updated bob\n"
        "Updated bob\n"
        f"Users in {database}\n\nUsername Administrator\n======== =============\n"
        "ada      False\nbob      True\n"
        "ada has been removed\n"
        "bob has been deleted\n"
    )


async def test_cli_output_is_that_of_1_0(
    weak: None, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.0 and this command say the same, word for word."""
    runs = [
        ["list"],
        ["add", "ada-with-a-long-name", "-p", "x", "-a"],
        ["insert", "bob", "-p", "x"],
        ["list"],
    ]
    runs += [["update", "bob"], ["remove", "bob"], ["delete", "ada-with-a-long-name"]]
    for words in runs:
        await user(database, *words)
        ours = capsys.readouterr().out.replace(str(database), "PATH")
        command = [sys.executable, "-W", "ignore", "-m", "msl.network.cli", "user", *words]
        theirs = tmp_path / "theirs.db"
        result = subprocess.run([*command, "-d", str(theirs)], check=True, capture_output=True, text=True)
        assert ours == result.stdout.replace(str(theirs), "PATH")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add", "ada", "-p", "x"], "A user with the name 'ada' already exists"),
        (["add", "pc:1875", "-p", "x"], "cannot end with"),
        (["add", "pc:1875"], "cannot end with"),
        (["add"], "You must specify a username to add"),
        (["remove"], "You must specify a username to remove"),
        (["remove", "bob"], "Cannot remove 'bob'. This user is not in the table."),
        (["update", "bob", "-a"], "Cannot update 'bob'. This user is not in the table."),
        (["update", "ada", "-p", ""], "You must specify a password for 'ada'"),
        (["add", "bob"], "You must specify a password for 'bob' with --password"),
    ],
)
async def test_cli_mistakes(
    weak: None, database: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    """A mistake is one line, and an error for the shell; without a terminal nobody waits for a password."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\ntyped\n"))
    await user(database, "add", "ada", "-p", "x")
    with pytest.raises(StartError) as caught:
        await user(database, *words)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_cli_password_in_a_file(
    weak: None, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path of a file stands for its first line; one that cannot be read is a mistake."""
    file = tmp_path / "my password.txt"
    file.write_text("the secret \nsecond line\n")
    await user(database, "add", "ada", "-p", *str(file).split())
    assert "Reading the password from the file" in capsys.readouterr().out
    async with Sqlite(str(database)).open_store(None) as store:
        plugin = Login()
        await plugin.started(FakeManager(store))
        assert (await log_in(plugin, "ada", "the secret")).username == "ada"
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(StartError, match="not UTF-8 text"):
        await user(database, "update", "ada", "-p", *str(file).split())
    file.write_text("\n")
    with pytest.raises(StartError, match="You must specify a password"):
        await user(database, "update", "ada", "-p", *str(file).split())


async def test_cli_password_file_that_cannot_be_opened(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password file without permission is a mistake with the reason."""
    (tmp_path / "secret").touch()

    def refuse(self: Path, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StartError, match=r"cannot read the password from .*: Permission denied; choose another"):
        await user(database, "add", "ada", "-p", str(tmp_path / "secret"))


class Terminal(io.StringIO):
    """Where a person types."""

    def isatty(self) -> bool:
        return True


async def test_cli_asks_for_the_password(weak: None, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal the password is typed twice, unseen."""
    typed = ["secret", "secret", "one", "another"]
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: typed.pop(0))
    assert await user(database, "add", "ada") == 0
    with pytest.raises(StartError, match="The passwords differ"):
        await user(database, "add", "bob")
    async with Sqlite(str(database)).open_store(None) as store:
        plugin = Login()
        await plugin.started(FakeManager(store))
        assert await ask(plugin, "usernames") == ["ada"]
        assert (await log_in(plugin, "ada", "secret")).username == "ada"


async def test_cli_end_of_input(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+D in place of a password changes nothing."""

    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", end)
    with pytest.raises(StartError, match="No password was typed"):
        await user(database, "add", "ada")
    assert not database.exists()
