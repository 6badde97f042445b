from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from msl_network_plugins import token as module
from msl_network_plugins.sqlite import Sqlite
from msl_network_plugins.token import Token

from msl_network import (
    AuthenticationError,
    AuthorizationError,
    Config,
    ConfigError,
    Identity,
    Manager,
    Peer,
    StoreError,
    hookimpl,
)
from msl_network.settings import build
from tests.wire_peer import WirePeer, config, connected, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from msl_network import Store

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
UNKNOWN = "^Unknown token; ask an administrator for a new one$"


@dataclass(eq=False)
class FakePeer:
    """What the plugin sets and reads of a peer."""

    username: str = ""
    is_admin: bool = False
    roles: frozenset[str] = frozenset()
    network_name: str = "C[pc1:50000]"


@dataclass
class FakeHandshake:
    """Answers with a token, and keeps what was asked."""

    answer: object
    network_name: str = "Manager[lab:1875]"
    asked: list[tuple[object, ...]] = field(default_factory=list)

    async def ask(self, attribute: str, *args: object) -> object:
        self.asked.append((attribute, *args))
        return self.answer


@dataclass
class FakeManager:
    """A Manager that has a store."""

    store: Any
    authenticates: bool = True
    config: Config = field(default_factory=lambda: Config(source="lab.toml"))

    def is_authenticator(self, plugin: object) -> bool:
        return self.authenticates


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Sqlite(str(tmp_path / "lab.db")).open_store(None) as store:
        yield store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time, the last of a list."""
    moments = [START]
    monkeypatch.setattr(module, "_now", lambda: moments[-1])
    return moments


async def start(store: Any, **settings: Any) -> Token:
    plugin = Token(**settings)
    await plugin.started(FakeManager(store))
    return plugin


async def come(plugin: Token, answer: object, peer: FakePeer | None = None) -> FakePeer:
    peer = peer or FakePeer()
    await plugin.authenticate(peer, FakeHandshake(answer))
    return peer


async def add(plugin: Token, name: str, *args: Any, **keywords: Any) -> str:
    (command,) = (command for command in plugin.commands() if command.name == "tokens.add")
    made: str = await command.function(FakePeer(), name, *args, **keywords)
    return made


async def table(plugin: Token) -> dict[str, dict[str, Any]]:
    (command,) = (command for command in plugin.commands() if command.name == "tokens.list")
    return {entry["name"]: entry for entry in await command.function(FakePeer())}


async def revoke(plugin: Token, name: str) -> int:
    (command,) = (command for command in plugin.commands() if command.name == "tokens.revoke")
    count: int = await command.function(FakePeer(), name)
    return count


# Coming in


async def test_a_good_token(store: Store) -> None:
    """Its holder is let in, under its name, with its roles; it is asked for as the Manager's password."""
    plugin = await start(store)
    token = await add(plugin, "pump", ["client"], ["operator"])
    handshake, peer = FakeHandshake(f"{token}\r\n"), FakePeer(roles=frozenset({"guest"}))
    await plugin.authenticate(peer, handshake)
    assert handshake.asked == [("password", "Manager[lab:1875]")]
    assert (peer.username, peer.is_admin) == ("token:pump", False)
    assert peer.roles == {"guest", "operator"}


async def test_an_administrators_token(store: Store) -> None:
    """With that scope, and no other, its holder is an administrator; who is one already stays it."""
    plugin = await start(store)
    assert (await come(plugin, await add(plugin, "a", ["client", "administrator"]))).is_admin
    other = await add(plugin, "b")
    assert not (await come(plugin, other)).is_admin
    alice = await come(plugin, other, FakePeer("alice", is_admin=True))
    assert (alice.username, alice.is_admin) == ("alice", True)


@pytest.mark.parametrize("answer", ["", "guess", "mslnet_", None, 5, ["x"], {"a": 1}, "\ud800", "x" * 100_000, "\0"])
async def test_no_token(store: Store, answer: object) -> None:
    """Whatever else somebody answers is refused with one text."""
    plugin = await start(store)
    await add(plugin, "pump")
    with pytest.raises(AuthenticationError, match=UNKNOWN):
        await come(plugin, answer)


async def test_what_is_kept_lets_nobody_in(store: Store) -> None:
    """The store has the hash of a token, which is none, and no part of the token."""
    plugin = await start(store)
    token = await add(plugin, "pump")
    kept = str(await store.collection("tokens").items())
    digest = re.findall("[0-9a-f]{64}", kept)
    assert len(digest) == 1
    assert token.removeprefix("mslnet_")[:8] not in kept
    with pytest.raises(AuthenticationError, match=UNKNOWN):
        await come(plugin, digest[0])


async def test_tokens_differ(store: Store) -> None:
    """Each has 256 random bits, and a beginning by which it is recognised."""
    plugin = await start(store)
    tokens = [await add(plugin, f"t{number}", ["client"], [f"r{number}"]) for number in range(5)]
    assert len(set(tokens)) == 5
    assert all(re.fullmatch(r"mslnet_[\w-]{43}", token) for token in tokens)
    for number, token in enumerate(tokens):
        assert (await come(plugin, token)).roles == {f"r{number}"}


async def test_expired(store: Store, clock: list[datetime]) -> None:
    """It is good until its time is over, and then refused with the date."""
    plugin = await start(store, lifetime=3600.0)
    token, endless = await add(plugin, "pump"), await add(plugin, "old", lifetime="never")
    short = await add(plugin, "short", lifetime="30 min")
    clock.append(START + timedelta(minutes=30) - timedelta(seconds=1))
    await come(plugin, short)
    clock.append(START + timedelta(minutes=30))
    with pytest.raises(AuthenticationError, match=r"^The token 'short' expired on 2026-11-01 12:30 UTC; ask an admin"):
        await come(plugin, short)
    await come(plugin, token)
    clock.append(START + timedelta(hours=1))
    with pytest.raises(AuthenticationError, match=r"^The token 'pump' expired on 2026-11-01 13:00 UTC; ask an admin"):
        await come(plugin, token)
    clock.append(START + timedelta(days=36500))
    await come(plugin, endless)


async def test_another_lifetime(store: Store, clock: list[datetime]) -> None:
    """After a reload new tokens have it; who decides on those without a token needs a restart."""
    plugin = await start(store, lifetime=3600.0)
    old = await add(plugin, "old")
    (await plugin.reload(Token(lifetime=60.0, otherwise="login")))()
    assert (plugin.lifetime, plugin.otherwise) == (60.0, "")
    new = await add(plugin, "new")
    clock.append(START + timedelta(minutes=2))
    await come(plugin, old)
    with pytest.raises(AuthenticationError, match=r"^The token 'new' expired"):
        await come(plugin, new)


async def test_revoked(store: Store, clock: list[datetime]) -> None:
    """It is refused with the date; another one of that name may be added then, and is another token."""
    plugin = await start(store)
    token = await add(plugin, "pump")
    with pytest.raises(ValueError, match="There is a token 'pump' already; revoke it first"):
        await add(plugin, "pump")
    clock.append(START + timedelta(hours=2))
    await revoke(plugin, "pump")
    clock.append(START + timedelta(hours=3))
    await revoke(plugin, "pump")
    with pytest.raises(
        AuthenticationError, match=r"^The token 'pump' was revoked on 2026-11-01 14:00 UTC; ask an admin"
    ):
        await come(plugin, token)
    again = await add(plugin, "pump")
    await come(plugin, again)
    with pytest.raises(AuthenticationError, match=UNKNOWN):
        await come(plugin, token)
    with pytest.raises(ValueError, match=r"^There is no token 'other'; tokens\.list has all$"):
        await revoke(plugin, "other")


@pytest.mark.parametrize(
    ("scopes", "kind", "passes"),
    [
        (["client"], "client", True),
        (["client"], "service", False),
        (["service"], "client", False),
        (["service"], "service", True),
        (["service", "client"], "service", True),
        (["client", "administrator"], "service", False),
    ],
)
async def test_scopes(store: Store, scopes: list[str], kind: Any, passes: bool) -> None:
    """A token for Clients lets in no Service, and the other way round; who came in without one is not minded."""
    plugin = await start(store)
    peer = await come(plugin, await add(plugin, "pump", scopes))
    identity = Identity(type=kind, name="X")
    if passes:
        await plugin.check_identity(peer, identity)
    else:
        text = f"^The token 'pump' does not let in a {kind}, its scope is: {', '.join(scopes)}$"
        with pytest.raises(AuthorizationError, match=text):
            await plugin.check_identity(peer, identity)
    await plugin.check_identity(FakePeer(), identity)


# The store


async def test_last_use(store: Store, clock: list[datetime]) -> None:
    """It is noted, to the minute, so that a token that nobody needs is found; another one of that name begins anew."""
    plugin = await start(store)
    token = await add(plugin, "pump")
    assert (await table(plugin))["pump"] == {
        "name": "pump",
        "state": "good",
        "scopes": ["client"],
        "roles": [],
        "created": "2026-11-01 12:00 UTC",
        "expires": "2027-11-01 12:00 UTC",
        "used": "never",
    }
    for minutes, used in ((5.0, "12:05"), (5.5, "12:05"), (6.5, "12:06"), (5.0, "12:05")):
        clock.append(START + timedelta(minutes=minutes))
        await come(plugin, token)
        assert (await table(plugin))["pump"]["used"] == f"2026-11-01 {used} UTC"
    await revoke(plugin, "pump")
    assert (await table(plugin))["pump"]["state"] == "revoked"
    await add(plugin, "pump")
    assert (await table(plugin))["pump"]["used"] == "never"
    clock.append(START + timedelta(days=1000))
    assert (await table(plugin))["pump"]["state"] == "expired"


async def test_a_use_that_cannot_be_noted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A database that cannot be written to is said once, and keeps nobody out."""

    class ReadOnly:
        def __init__(self, name: str) -> None:
            self.real = store.collection(name)
            self.get, self.items = self.real.get, self.real.items

        async def set(self, key: str, value: Any) -> None:
            raise StoreError("the database is read-only")

    @dataclass
    class ReadOnlyStore:
        collection = staticmethod(ReadOnly)

    token = await add(await start(store), "pump")
    plugin = await start(ReadOnlyStore())
    caplog.clear()
    for _ in range(3):
        await come(plugin, token)
    assert caplog.messages == ["when tokens are used cannot be noted: the database is read-only"]


async def test_damaged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody else wrote into the store lets in nobody, is said, and can be revoked."""
    plugin = await start(store)
    token = await add(plugin, "pump")
    await store.collection("tokens").set("bad", {"digest": 5})
    await store.collection("token uses").set("pump", "yesterday")
    await come(plugin, token)
    assert "the token 'bad' cannot be read" in caplog.text
    await revoke(plugin, "bad")
    assert list(await table(plugin)) == ["pump"]


async def test_nobody_can_come_in(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A Manager that has no tokens says so; one may still be added while it runs."""
    plugin = await start(store)
    assert (
        "there are no tokens yet, so nobody can come in; add one with: msl-network --config lab.toml token add NAME"
        in (caplog.text)
    )
    await come(plugin, await add(plugin, "pump"))
    caplog.clear()
    await start(store)
    await Token().started(FakeManager(store, authenticates=False))
    assert not caplog.messages


async def test_not_started() -> None:
    """Without a Manager nobody is let in."""
    with pytest.raises(StoreError, match="the tokens are not known"):
        await come(Token(), "x")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": ""}, "A name has 1 to 256 characters"),
        ({"name": "a\nb"}, "A name has 1 to 256 characters"),
        ({"name": "x" * 257}, "A name has 1 to 256 characters"),
        ({"name": 5}, "name must be a string, found int"),
        ({"roles": ["a", ""]}, "A name has 1 to 256 characters"),
        ({"roles": "operator"}, "roles must be a list of strings, found str"),
        ({"scopes": [1]}, "scopes must be a list of strings"),
        ({"scopes": ["clients"]}, "There is no scope 'clients', known are: client, service, administrator"),
        ({"scopes": ["administrator"]}, "A token is for a client, a service or both"),
        ({"scopes": []}, "A token is for a client, a service or both"),
        ({"lifetime": "soon"}, "lifetime: found 'soon', allowed is a duration"),
        ({"lifetime": -1}, "lifetime: found -1, allowed is a duration"),
        ({"lifetime": "9999999 d"}, "lifetime: the year 9999 is the last"),
    ],
)
async def test_what_cannot_be_added(store: Store, arguments: dict[str, Any], text: str) -> None:
    """It says what was found and what is allowed, and adds nothing."""
    plugin = await start(store)
    with pytest.raises((ValueError, module.ArgumentError), match=re.escape(text)):
        await add(plugin, **{"name": "pump", **arguments})
    assert await table(plugin) == {}


def test_settings() -> None:
    """The lifetime is a duration."""
    assert build(Token, {"lifetime": "30 d"}).lifetime == 30 * 86400
    with pytest.raises(ConfigError, match="lifetime: found 0, allowed is a duration"):
        build(Token, {"lifetime": 0})


# With a Manager


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@asynccontextmanager
async def with_token(manager: Manager, token: str, kind: str = "client") -> AsyncIterator[WirePeer]:
    async with connected(manager) as peer:
        prompt = await peer.read()
        assert (prompt["attribute"], prompt["args"]) == ("password", [manager.network_name])
        await peer.send(result=token)
        prompt = await peer.read()
        if prompt.get("attribute") == "identity":
            await peer.send(result={"type": kind, "name": "X", "attributes": {}})
            if kind == "client":
                await peer.silence()
        else:
            peer.refusal = prompt["message"]  # type: ignore[attr-defined]
        yield peer


async def test_revoking_ends_connections(transport: str) -> None:
    """An administrator who revokes a token ends the connections that were made with it, and no others."""
    left = []

    class Watch:
        @hookimpl
        def peer_left(self, peer: Peer) -> None:
            left.append(peer.username)

    async with Manager(config(transport, auth=["token"]), plugins=[Watch()]) as manager:
        plugin = next(plugin for name, plugin in manager.hooks.plugins if name == "token")
        root = await add(plugin, "root", ["client", "administrator"])
        pump = await add(plugin, "pump", ["client", "service"])
        async with (
            with_token(manager, root) as boss,
            with_token(manager, pump) as one,
            with_token(manager, pump, "service") as two,
        ):
            await until(lambda: manager.services)
            assert {entry["state"] for entry in await boss.manager("tokens.list")} == {"good"}
            assert await boss.manager("tokens.revoke", "pump") == 2
            await one.eof()
            await two.eof()
            assert left == ["token:pump", "token:pump"]
            async with with_token(manager, pump) as late:
                assert re.match(r"ValueError: The token 'pump' was revoked on ", late.refusal)  # type: ignore[attr-defined]
                await late.eof()
            new = await boss.manager("tokens.add", "pump", scopes=["client"], lifetime="1 h")
            async with with_token(manager, new):
                assert len(manager.clients) == 2
            assert await boss.manager("tokens.add", "pump") == (
                "ValueError: There is a token 'pump' already; revoke it first, or take another name"
            )


# Persons beside scripts


class Other:
    """Lets in one user by name and password."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer

    @hookimpl
    async def authenticate(self, handshake: Any, peer: Any) -> object:
        assert handshake.network_name.startswith("Manager[")
        name = await handshake.ask("username", handshake.network_name)
        if name != "alice" or await handshake.ask("password", name) != "wonderland":
            raise AuthenticationError("Wrong login password")
        peer.username = name
        return self.answer


class Door:
    """Asks nothing."""

    @hookimpl
    async def authenticate(self, peer: Any) -> None:
        if not peer.is_local:
            raise AuthenticationError("from afar")


@asynccontextmanager
async def answering(manager: Manager, **answers: object) -> AsyncIterator[tuple[WirePeer, list[Any], str]]:
    """Connect and answer; give what was asked, and why one was refused."""
    asked: list[Any] = []
    async with connected(manager) as peer:
        while not (prompt := await peer.read())["error"] and prompt["attribute"] != "identity":
            asked.append((prompt["attribute"], *prompt["args"]))
            await peer.send(result=answers[prompt["attribute"]])
        if not prompt["error"]:
            await peer.send(result={"type": "client", "name": "C"})
            await peer.silence()
        yield peer, asked, prompt.get("message", "")


def hand_over(manager: Manager, plugin: object) -> None:
    """Have the plugin that is asked otherwise be this one in place of `login`, which is enabled but not in `auth`."""
    manager.hooks.plugins = tuple((name, plugin if name == "login" else other) for name, other in manager.hooks.plugins)


async def test_otherwise(transport: str) -> None:
    """Who says that it is a token is asked for it; on others the other plugin decides, and nothing is asked twice."""
    settings = config(transport, auth=["token"], plugin_settings={"token": {"otherwise": "login"}})
    manager = Manager(settings)
    hand_over(manager, Other())
    async with manager:
        token = await add(manager.hooks.plugins[0][1], "pump")
        name = manager.network_name
        async with answering(manager, username="token", password=token) as (_, asked, refused):
            assert (asked, refused) == ([("username", name), ("password", "token")], "")
        async with answering(manager, username="alice", password="wonderland") as (_, asked, refused):
            assert (asked, refused) == ([("username", name), ("password", "alice")], "")
            assert {peer.username for peer in manager._peers} >= {"alice"}
        for answers, text in (
            ({"username": "token", "password": "wonderland"}, "ValueError: Unknown token; "),
            ({"username": "alice", "password": token}, "ValueError: Wrong login password"),
            ({"username": ["token"], "password": token}, "ValueError: Wrong login password"),
        ):
            async with answering(manager, **answers) as (peer, _, refused):
                assert refused.startswith(text)
                await peer.eof()


async def test_otherwise_without_a_question(transport: str) -> None:
    """The other plugin takes the arguments that it wants, and one that answers where it should raise refuses."""
    settings = config(transport, auth=["token"], plugin_settings={"token": {"otherwise": "login"}})
    manager = Manager(settings)
    hand_over(manager, Door())
    async with manager, answering(manager, username="anybody") as (_, asked, refused):
        assert (len(asked), refused) == (1, "")
    manager = Manager(settings)
    hand_over(manager, Other(answer=False))
    async with manager, answering(manager, username="alice", password="wonderland") as (peer, _, refused):
        assert refused == "ValueError: refused, because the plugin 'login' failed"
        await peer.eof()


@pytest.mark.parametrize(
    ("auth", "otherwise", "text"),
    [
        (["token"], "logn", "otherwise: 'logn' lets in nobody, did you mean 'login'? known are: hostname, login"),
        (["token"], "sqlite", "otherwise: 'sqlite' lets in nobody, known are: hostname, login"),
        (["token"], "token", "otherwise: 'token' lets in nobody, known are: hostname, login"),
        (["token", "hostname"], "hostname", "otherwise: 'hostname' is in auth, so that a token alone lets in nobody"),
    ],
)
async def test_otherwise_what(transport: str, auth: list[str], otherwise: str, text: str) -> None:
    """A plugin that cannot decide, or decides in any case, keeps a Manager from being made, and from reloading."""
    settings = config(transport, auth=auth, plugin_settings={"token": {"otherwise": otherwise}})
    with pytest.raises(ConfigError, match=re.escape(f"[plugins.token] {text}")):
        Manager(settings)
    async with Manager(config(transport, auth=auth), listen=False) as manager:
        with pytest.raises(ConfigError, match=re.escape(f"[plugins.token] {text}")):
            await manager.reload(settings)


# The command line


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    file = home.parent / "lab.toml"
    file.write_text('[manager]\nauth = ["token"]\n', encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "msl_network", "--config", str(file), "token", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=home.parent,
        env=os.environ | {"MSL_NETWORK_HOME": str(home)},
    )


def test_command_line(home: Path) -> None:
    """A token is made and shown once, alone on the output; a list shows what it is good for, and not the token."""
    assert "There are no tokens in" in run(home, "list").stdout
    made = run(home, "add", "pump", "--scope", "client", "service", "--role", "operator", "--lifetime", "30 d")
    assert re.fullmatch(r"mslnet_[\w-]{43}\n", made.stdout)
    assert made.stderr == "This is the token 'pump'. Keep it, it is not shown again.\n"
    run(home, "add", "other", "--lifetime", "never")
    listed = run(home, "list").stdout
    assert re.search(
        r"^pump +good +client, service +operator +\d{4}-\d\d-\d\d \d\d:\d\d UTC never$", listed, re.MULTILINE
    )
    assert re.search(r"^other +good +client +never +never$", listed, re.MULTILINE)
    assert made.stdout.strip() not in listed
    assert "pump has been revoked" in run(home, "revoke", "pump").stdout
    assert re.search(r"^pump +revoked ", run(home, "list").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["add", "pump", "--scope", "clients"], 2, "there is no 'clients', did you mean 'client'?"),
        (["add", "pump", "--scope", "administrator"], 1, "A token is for a client, a service or both"),
        (["add", "pump", "--lifetime", "soon"], 1, "lifetime: found 'soon', allowed is a duration"),
        (["add"], 2, "the following arguments are required: name"),
        (["revoke", "pump"], 1, "There is no token 'pump'; see all with: msl-network --config {file} token list\n"),
        (
            ["revoke", "pump", "-d", "x.db"],
            1,
            "There is no token 'pump'; see all with: msl-network --config {file} token list --database x.db\n",
        ),
        ([], 2, "the following arguments are required: ACTION"),
    ],
)
def test_a_mistake_on_the_command_line(home: Path, words: list[str], status: int, text: str) -> None:
    """It is one line."""
    done = run(home, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert text.format(file=home.parent / "lab.toml") in done.stderr
    assert done.stderr.count("\n") == 1
