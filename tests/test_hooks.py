from __future__ import annotations

import argparse
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msl_network.commands import Command
from msl_network.errors import (
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    IdentityError,
    PluginError,
    StartError,
    StoreError,
)
from msl_network.hooks import Hooks, implements
from msl_network.hookspecs import hookimpl
from msl_network.messages import Identity
from msl_network.peer import PeerLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Hooks pass these on without a look at them.
PEER: Any = object()
HANDSHAKE: Any = SimpleNamespace(waiting_for="", is_forgotten=False)
MANAGER: Any = object()

IDENTITY = Identity.parse({"type": "client", "name": "A"})


class Guard:
    """Authenticates; notes that it was asked, and refuses with what it was given."""

    def __init__(self, name: str, asked: list[str], error: BaseException | None = None) -> None:
        self.name = name
        self.asked = asked
        self.error = error

    def _note(self) -> None:
        self.asked.append(self.name)
        if self.error:
            raise self.error

    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        assert peer is PEER
        assert handshake is HANDSHAKE
        self._note()

    @hookimpl
    async def check_identity(self, identity: Identity) -> None:
        self._note()

    @hookimpl
    def authorize(self, service: str, attribute: str) -> None:
        self._note()

    @hookimpl
    async def started(self) -> None:
        self._note()

    @hookimpl
    async def stopping(self, manager: Any) -> None:
        self._note()

    @hookimpl
    def peer_left(self, peer: Any) -> None:
        self._note()


class First(Guard):
    """Wants to be the first."""

    @hookimpl(tryfirst=True)
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        self._note()

    @hookimpl(tryfirst=True)
    def authorize(self, service: str, attribute: str) -> None:
        self._note()


class Last(Guard):
    """Wants to be the last."""

    @hookimpl(trylast=True)
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        self._note()

    @hookimpl(trylast=True)
    def authorize(self, service: str, attribute: str) -> None:
        self._note()


def guards(asked: list[str], **errors: BaseException) -> Hooks:
    """Make hooks of three plugins a, b, c, some of which raise an error whatever they are asked."""
    plugins = [(name, Guard(name, asked, errors.get(name))) for name in "abc"]
    return Hooks(plugins, ["a", "b", "c"])


def problem(plugin: object, *authenticators: str) -> str:
    """Return why a plugin of the name bad is refused."""
    with pytest.raises(PluginError) as caught:
        Hooks([("bad", plugin)], authenticators)
    text = str(caught.value)
    assert text.startswith("plugin 'bad': ")
    assert "\n" not in text
    return text.removeprefix("plugin 'bad': ")


# check


@pytest.mark.anyio
async def test_all_authenticators_are_asked_in_order() -> None:
    """Each authenticator must let the peer in; they are asked as they are named, not as plugins are listed."""
    asked: list[str] = []
    plugins = [(name, Guard(name, asked)) for name in "abcd"]
    await Hooks(plugins, ["c", "a"]).authenticate(PEER, HANDSHAKE)
    assert asked == ["c", "a"]


@pytest.mark.anyio
async def test_tryfirst_and_trylast_change_nothing() -> None:
    """The laboratory decides on the order, no plugin."""
    asked: list[str] = []
    hooks = Hooks([("l", Last("l", asked)), ("g", Guard("g", asked)), ("f", First("f", asked))], ["l", "g", "f"])
    await hooks.authenticate(PEER, HANDSHAKE)
    assert hooks.authorizer is not None
    hooks.authorizer(PEER, "Echo", "echo")
    assert asked == ["l", "g", "f"] * 2


@pytest.mark.anyio
async def test_first_refusal_ends_the_questions() -> None:
    """After one authenticator has refused, the rest are not asked."""
    asked: list[str] = []
    with pytest.raises(AuthenticationError, match=r"^no badge$"):
        await guards(asked, b=AuthenticationError("no badge")).authenticate(PEER, HANDSHAKE)
    assert asked == ["a", "b"]


@pytest.mark.anyio
async def test_peer_that_leaves_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """That a peer left while a plugin asked it passes through, and nothing is logged."""
    with pytest.raises(PeerLost, match="gone"):
        await guards([], a=PeerLost("gone")).authenticate(PEER, HANDSHAKE)
    assert not caplog.records


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), KeyError("secret"), TimeoutError("secret")])
async def test_broken_authenticator_refuses(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """34. An unexpected exception refuses the peer; the log has the plugin, the class and the place, not the text."""
    asked: list[str] = []
    with pytest.raises(AuthenticationError) as caught:
        await guards(asked, a=error).authenticate(PEER, HANDSHAKE)
    assert str(caught.value) == "refused, because the plugin 'a' failed; the Manager's log has the details"
    assert asked == ["a"]
    (record,) = caplog.records
    assert record.getMessage() == "plugin 'a' failed in 'authenticate', it refuses"
    assert type(error).__name__ in caplog.text
    assert "raise self.error" in caplog.text
    assert "secret'" not in caplog.text


@pytest.mark.anyio
async def test_text_of_no_cause_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """34. Nor is the text of what an exception was raised from."""
    password = "wonderland"

    class Careless:
        @hookimpl
        async def authenticate(self) -> None:
            try:
                int(password)
            except ValueError as error:
                raise KeyError(password) from error

    with pytest.raises(AuthenticationError):
        await Hooks([("careless", Careless())], ["careless"]).authenticate(PEER, HANDSHAKE)
    assert "KeyError; its text is left out, it may hold a secret" in caplog.text
    assert "raise KeyError(password) from error" in caplog.text
    assert "wonderland" not in caplog.text


@pytest.mark.anyio
async def test_identity_is_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """What fails at an identity, which everybody may see, is logged as it is."""
    error = ZeroDivisionError("bug")
    with pytest.raises(AuthenticationError):
        await guards([], a=error).check_identity(PEER, IDENTITY)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.anyio
async def test_store_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """What would stop a start, such as a database that cannot be read, refuses a peer; its line says all."""
    hooks = guards([], a=StoreError("the database is locked"))
    with pytest.raises(AuthenticationError, match="the plugin 'a' failed"):
        await hooks.authenticate(PEER, HANDSHAKE)
    with pytest.raises(AuthenticationError, match="the plugin 'a' failed"):
        await hooks.check_identity(PEER, IDENTITY)
    assert hooks.authorizer is not None
    with pytest.raises(AuthorizationError, match="the plugin 'a' failed"):
        hooks.authorizer(PEER, "Echo", "echo")
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "plugin 'a' failed in 'authenticate', it refuses: the database is locked"
    assert not any(record.exc_info for record in caplog.records)
    assert len(texts) == 3


@pytest.mark.anyio
async def test_trouble_is_told_of_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """21. The same trouble is one line a minute, however many peers it refuses; another trouble is another line."""
    now = [1000.0]
    monkeypatch.setattr("msl_network.hooks.monotonic", lambda: now[0])
    guard = Guard("a", [], StoreError("locked"))
    hooks = Hooks([("a", guard)], ["a"])

    async def refused() -> int:
        with pytest.raises(AuthenticationError, match="the plugin 'a' failed"):
            await hooks.authenticate(PEER, HANDSHAKE)
        return len(caplog.records)

    assert [await refused() for _ in range(5)] == [1] * 5
    guard.error = StoreError("full")
    assert [await refused() for _ in range(5)] == [2] * 5
    now[0] += 61
    assert [await refused() for _ in range(5)] == [3] * 5


@pytest.mark.anyio
async def test_identity_is_corrected_one_after_the_other() -> None:
    """What one plugin makes of an identity is what the next one checks; None leaves it."""

    class Suffix:
        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        @hookimpl
        async def check_identity(self, identity: Identity) -> Identity | None:
            if not self.suffix:
                return None
            return Identity.parse({"type": "client", "name": identity.name + self.suffix})

    hooks = Hooks([("x", Suffix("x")), ("none", Suffix("")), ("y", Suffix("y"))])
    assert (await hooks.check_identity(PEER, IDENTITY)).name == "Axy"


@pytest.mark.anyio
async def test_identity_can_be_refused() -> None:
    """A refusal passes as it is, and the plugins after it are not asked."""
    asked: list[str] = []
    with pytest.raises(IdentityError, match="no such client"):
        await guards(asked, b=IdentityError("no such client")).check_identity(PEER, IDENTITY)
    assert asked == ["a", "b"]


@pytest.mark.anyio
async def test_identity_that_is_none_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that returns something else than an identity refuses the peer, and the log says so."""

    class Yes:
        @hookimpl
        async def check_identity(self) -> bool:
            return True

    with pytest.raises(AuthenticationError, match="the plugin 'yes' failed"):
        await Hooks([("yes", Yes())]).check_identity(PEER, IDENTITY)
    assert "plugin 'yes' failed in 'check_identity': it returned bool" in caplog.text


def test_authorize_refuses_and_passes() -> None:
    """A refusal passes as it is; an unexpected exception refuses, too; who agrees returns."""
    asked: list[str] = []
    authorizer = guards(asked, b=AuthorizationError("not yours")).authorizer
    assert authorizer is not None
    with pytest.raises(AuthorizationError, match=r"^not yours$"):
        authorizer(PEER, "Echo", "echo")
    assert asked == ["a", "b"]
    authorizer = guards([], c=RuntimeError("bug")).authorizer
    assert authorizer is not None
    with pytest.raises(AuthorizationError, match="the plugin 'c' failed"):
        authorizer(PEER, "Echo", "echo")


def test_authorize_is_told_the_action() -> None:
    """A plugin that wants to know hears whether it is about a call, a link or a lock; a call, if nobody says."""
    asked: list[tuple[str, str, str]] = []

    class Rules:
        @hookimpl
        def authorize(self, service: str, attribute: str, action: str) -> None:
            asked.append((service, attribute, action))

    authorizer = Hooks([("rules", Rules())]).authorizer
    assert authorizer is not None
    authorizer(PEER, "Echo", "echo")
    authorizer(PEER, "Echo", "link", "link")
    assert asked == [("Echo", "echo", "call"), ("Echo", "link", "link")]


def test_configure_tls_tells_all_or_stops() -> None:
    """Each plugin may change the TLS settings; one that fails is named, and the Manager does not start with less."""
    told: list[str] = []

    class Teller:
        def __init__(self, name: str, error: BaseException | None = None) -> None:
            self.name, self.error = name, error

        @hookimpl
        def configure_tls(self, context: Any) -> None:
            told.append(self.name)
            if self.error is not None:
                raise self.error

    context: Any = object()
    Hooks([("a", Teller("a")), ("b", Teller("b"))]).configure_tls(context)
    assert told == ["a", "b"]
    with pytest.raises(StartError, match=r"^ca.pem is missing$"):
        Hooks([("a", Teller("a", StartError("ca.pem is missing")))]).configure_tls(context)
    with pytest.raises(PluginError, match=r"^plugin 'a': failed in 'configure_tls': KeyError: 'x'$"):
        Hooks([("a", Teller("a", KeyError("x")))]).configure_tls(context)


class Reviewer:
    """Looks at the settings; answers or raises what it was given."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.seen: list[object] = []

    @hookimpl
    def check_config(self, config: Any, plugins: Any) -> Any:
        self.seen.append((config, dict(plugins)))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_all_look_at_the_settings() -> None:
    """Each is given the settings and all plugins; one that cannot work at all ends it."""
    one, other = Reviewer(), Reviewer(StartError("a line"))
    last = Reviewer()
    hooks = Hooks([("one", one), ("other", other), ("last", last)])
    config: Any = object()
    with pytest.raises(StartError, match=r"^a line$"):
        hooks.check_config(config)
    assert one.seen == other.seen == [(config, {"one": one, "other": other, "last": last})]
    assert last.seen == []


def test_what_several_find_wrong_with_the_settings() -> None:
    """A mistake that one finds does not hide those of others."""
    config: Any = object()
    hooks = Hooks([(name, Reviewer(ConfigError(name, key="k"))) for name in ("one", "two", "three")])
    with pytest.raises(ConfigError) as info:
        hooks.check_config(config)
    assert info.value.lines == ["k: one", "k: two", "k: three"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (KeyError("x"), "failed in 'check_config': KeyError: 'x'"),
        (SystemExit(3), "failed in 'check_config': SystemExit: 3"),
        (False, "check_config: it returned bool; it should raise to refuse, and return nothing"),
        (True, "check_config: it returned bool; it should raise to refuse, and return nothing"),
    ],
)
def test_who_cannot_look_at_the_settings(answer: object, problem: str) -> None:
    """A plugin that fails, or answers where it should raise, refuses by its name."""
    config: Any = object()
    with pytest.raises(PluginError) as info:
        Hooks([("a", Reviewer(answer))]).check_config(config)
    assert str(info.value) == f"plugin 'a': {problem}"


def test_nobody_who_authorizes_costs_nothing() -> None:
    """If no plugin has rights to check, there is nothing to call per request."""
    assert Hooks([]).authorizer is None


# ask


@pytest.mark.anyio
async def test_first_answer_counts() -> None:
    """Who answers first decides about an administrator; None passes the question on; nobody means no."""

    class Knows:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        @hookimpl
        async def authenticate_administrator(self) -> Any:
            return self.answer

    async def ask(*answers: object) -> bool:
        hooks = Hooks([(f"p{index}", Knows(answer)) for index, answer in enumerate(answers)])
        return await hooks.authenticate_administrator(PEER, HANDSHAKE)

    assert await ask(None, True, False) is True
    assert await ask(None, False, True) is False
    assert await ask(None) is False
    assert await ask() is False
    assert await ask("yes") is False


class Storage:
    """Offers a store and a codec."""

    def __init__(self, codec: Any = None, error: Exception | None = None) -> None:
        self.codec = codec
        self.error = error

    @hookimpl
    @asynccontextmanager
    async def open_store(self, location: str | None) -> AsyncIterator[str | None]:
        yield location

    @hookimpl
    def make_codec(self, name: str) -> Any:
        if self.error:
            raise self.error
        return self.codec if name == "mine" else None


@pytest.mark.anyio
async def test_only_the_store_that_is_named_is_asked() -> None:
    """The plugin of that name opens its store, at the location that was given; another one does not."""
    hooks = Hooks([("a", Storage()), ("b", Storage())])
    store: Any
    async with hooks.open_store("b", "there") as store:
        assert store == "there"
    with pytest.raises(PluginError, match="'c': offers no store"):
        hooks.open_store("c", None)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (None, "plugin 's': offers no store (open_store), so it cannot be the 'store' of [manager]"),
        ({}, "plugin 's': open_store: found dict, allowed is an async context manager"),
        (RuntimeError("bug"), "plugin 's': failed in 'open_store': RuntimeError: bug"),
        (StoreError("no such host"), "no such host"),
    ],
)
def test_store_that_is_none(outcome: Any, text: str) -> None:
    """Whatever keeps a store from being opened is one line that names the plugin."""

    class Broken:
        @hookimpl
        def open_store(self) -> Any:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    with pytest.raises(StartError) as caught:
        Hooks([("s", Broken())]).open_store("s", None)
    assert str(caught.value) == text


def test_first_codec_counts() -> None:
    """The first plugin that knows the name makes the codec."""
    hooks = Hooks([("a", Storage()), ("b", Storage("B")), ("c", Storage("C"))])
    codec: Any = hooks.make_codec("mine")
    assert codec == "B"
    with pytest.raises(PluginError, match="'other': offers no message encoding"):
        hooks.make_codec("other")
    with pytest.raises(PluginError, match="'a': failed in 'make_codec': ValueError: bug"):
        Hooks([("a", Storage(error=ValueError("bug")))]).make_codec("mine")


# collect


def test_commands_are_collected() -> None:
    """The commands of each plugin come with its name, in order."""

    class Commands:
        def __init__(self, *names: str) -> None:
            self.names = names

        @hookimpl
        def commands(self) -> list[Command]:
            return [Command(name=name, function=print) for name in self.names]

    collected = Hooks([("x", Commands("a", "b")), ("y", Commands())]).commands()
    assert [(name, [command.name for command in found]) for name, found in collected] == [
        ("x", ["a", "b"]),
        ("y", []),
    ]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (None, "plugin 'x': commands: must return a list of Command"),
        (["identity"], "plugin 'x': commands: must return a list of Command"),
        (OSError("bug"), "plugin 'x': failed in 'commands': OSError: bug"),
    ],
)
def test_commands_that_are_none(outcome: Any, text: str) -> None:
    """Anything but a list of commands is refused by the name of the plugin."""

    class Broken:
        @hookimpl
        def commands(self) -> Any:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    with pytest.raises(PluginError) as caught:
        Hooks([("x", Broken())]).commands()
    assert str(caught.value) == text


# tell


class Listener:
    """Notes everything that it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    @hookimpl
    def peer_connecting(self, peer: Any) -> None:
        self.heard.append(("connecting",))

    @hookimpl
    def peer_refused(self, reason: str, peer: Any) -> None:
        self.heard.append(("refused", reason))

    @hookimpl
    def peer_joined(self, peer: Any, identity: Identity) -> None:
        self.heard.append(("joined", identity.name))

    @hookimpl
    def peer_left(self) -> None:
        self.heard.append(("left",))

    @hookimpl
    def linked(self, peer: Any, service: str) -> None:
        self.heard.append(("linked", service))

    @hookimpl
    def unlinked(self, service: str) -> None:
        self.heard.append(("unlinked", service))

    @hookimpl
    def locked(self, service: str, shared: bool) -> None:
        self.heard.append(("locked", service, shared))

    @hookimpl
    def unlocked(self, service: str) -> None:
        self.heard.append(("unlocked", service))

    @hookimpl
    async def started(self, manager: Any) -> None:
        self.heard.append(("started", manager))

    @hookimpl
    async def stopping(self, manager: Any) -> None:
        self.heard.append(("stopping", manager))


@pytest.mark.anyio
async def test_everything_that_happens_is_told() -> None:
    """Each event arrives with its arguments, whatever part of them in whatever order the plugin asks for."""
    listener = Listener()
    hooks = Hooks([("listener", listener)])
    await hooks.started(MANAGER)
    hooks.peer_connecting(PEER)
    hooks.peer_refused(PEER, "why")
    hooks.peer_joined(PEER, IDENTITY)
    hooks.linked(PEER, "Echo")
    hooks.locked(PEER, "Echo", shared=True)
    hooks.unlocked(PEER, "Echo")
    hooks.unlinked(PEER, "Echo")
    hooks.peer_left(PEER)
    await hooks.stopping(MANAGER)
    assert listener.heard == [
        ("started", MANAGER),
        ("connecting",),
        ("refused", "why"),
        ("joined", "A"),
        ("linked", "Echo"),
        ("locked", "Echo", True),
        ("unlocked", "Echo"),
        ("unlinked", "Echo"),
        ("left",),
        ("stopping", MANAGER),
    ]


@pytest.mark.anyio
async def test_failure_to_hear_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that fails when it is told something is logged by name, and the others hear it all the same."""
    asked: list[str] = []
    hooks = guards(asked, a=RuntimeError("bug"), b=StoreError("disk full"))
    hooks.peer_left(PEER)
    await hooks.stopping(MANAGER)
    assert asked == ["a", "b", "c"] * 2
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "plugin 'a' failed in 'peer_left'",
        "plugin 'b': failed in 'peer_left': StoreError: disk full",
        "plugin 'a' failed in 'stopping'",
        "plugin 'b': failed in 'stopping': StoreError: disk full",
    ]


@pytest.mark.anyio
async def test_start_error_stops_the_start() -> None:
    """A plugin may say that the Manager must not run this way; its own text is what a person reads."""
    with pytest.raises(StartError, match=r"^there are no users$"):
        await guards([], b=StartError("there are no users")).started(MANAGER)


@pytest.mark.anyio
async def test_failure_to_start_stops_the_start() -> None:
    """A plugin that could not prepare cannot be trusted to refuse anybody, so the Manager does not run; others end."""
    asked: list[str] = []
    with pytest.raises(PluginError, match=r"^plugin 'b': failed in 'started': KeyError: 'rules'$"):
        await guards(asked, b=KeyError("rules")).started(MANAGER)
    assert asked == ["a", "b", "a"]  # the last is its `stopping`


def test_command_line_survives_a_broken_plugin(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that cannot add its command is one line in the log, without a traceback; others add theirs."""

    class Broken:
        @hookimpl
        def cli_commands(self) -> None:
            raise AttributeError("bug")

    class Fine:
        @hookimpl
        def cli_commands(self, subparsers: Any) -> None:
            subparsers.add_parser("fine")

    subparsers = argparse.ArgumentParser().add_subparsers()
    Hooks([("broken", Broken()), ("fine", Fine())]).cli_commands(subparsers)
    assert list(subparsers.choices) == ["fine"]
    (record,) = caplog.records
    assert record.getMessage() == "plugin 'broken': failed in 'cli_commands': AttributeError: bug"
    assert record.levelno == logging.WARNING
    assert record.exc_info is None


# What does not fit is refused


def test_what_is_implemented_is_known() -> None:
    """The hooks of a plugin are listed by name."""
    storage = Storage()
    hooks = Hooks([("guard", Guard("g", [])), ("storage", storage)])
    assert hooks.implemented_by(storage) == ["make_codec", "open_store"]
    assert hooks.implemented_by(object()) == []


def test_sync_for_async_is_refused() -> None:
    """A hook that is awaited must be async, and one that is not must not be."""

    class Sync:
        @hookimpl
        def authenticate(self, peer: Any) -> None: ...

    class Async:
        @hookimpl
        async def peer_left(self, peer: Any) -> None: ...

    assert problem(Sync()) == "authenticate: must be async ('async def')"
    assert problem(Async()) == "peer_left: must not be async"


@pytest.mark.parametrize("mark", [hookimpl(wrapper=True), hookimpl(hookwrapper=True)])
def test_wrapper_is_refused(mark: Any) -> None:
    """A wrapper would see a coroutine in place of a result."""

    class Wraps:
        @mark  # type: ignore[untyped-decorator]
        def authenticate(self, peer: Any) -> Any:
            yield

    assert problem(Wraps()) == "authenticate: a wrapper is not possible here, implement the hook itself"


def test_parameters_that_are_not_plain_are_refused() -> None:
    """A default, a keyword-only, positional-only or collecting parameter would get nothing, or fail in a call."""

    class Default:
        @hookimpl
        async def authenticate(self, peer: Any, handshake: Any = None) -> None: ...

    class Keyword:
        @hookimpl
        async def authenticate(self, *, peer: Any) -> None: ...

    class Collects:
        @hookimpl
        async def authenticate(self, **peer: Any) -> None: ...

    class Positional:
        @hookimpl
        async def authenticate(self, peer: Any, /) -> None: ...

    text = "authenticate: the parameter {!r} must be plain, without a default"
    assert problem(Default()) == text.format("handshake")
    assert problem(Keyword()) == text.format("peer")
    assert problem(Collects()) == text.format("peer")
    assert problem(Positional()) == text.format("peer")


def test_unknown_parameter_is_refused() -> None:
    """A parameter that the hook does not have is named with the nearest one."""

    class Handsake:
        @hookimpl
        async def authenticate(self, handsake: Any) -> None: ...

    assert problem(Handsake()) == (
        "authenticate: there is no parameter 'handsake', did you mean 'handshake'? known are: handshake, peer"
    )


def test_misspelt_hook_is_refused() -> None:
    """A hook that does not exist is named with the nearest one; it would never be called."""

    class Misspelt:
        @hookimpl
        async def authentikate(self, peer: Any) -> None: ...

    class Renamed:
        @hookimpl(specname="autorize")
        def rights(self, peer: Any) -> None: ...

    assert problem(Misspelt()).startswith("authentikate: there is no such hook, did you mean 'authenticate'?")
    assert problem(Renamed()).startswith("autorize: there is no such hook, did you mean 'authorize'?")


def test_hook_of_another_version_may_be_there() -> None:
    """A plugin that says so (optionalhook) may implement what this version does not call."""

    class Future:
        @hookimpl(optionalhook=True)
        def peer_slept(self, peer: Any) -> None: ...

        @hookimpl
        def peer_left(self, peer: Any) -> None: ...

    plugin = Future()
    assert Hooks([("future", plugin)]).implemented_by(plugin) == ["peer_left"]


@pytest.mark.anyio
async def test_method_of_another_name_implements_a_hook() -> None:
    """With specname a method of any name authenticates, and it is seen as that."""

    class Badge:
        @hookimpl(specname="authenticate")
        async def check_badge(self, peer: Any) -> None:
            raise AuthenticationError("no badge")

    assert implements(Badge(), "authenticate")
    with pytest.raises(AuthenticationError, match="no badge"):
        await Hooks([("badge", Badge())], ["badge"]).authenticate(PEER, HANDSHAKE)


def test_method_without_mark_is_refused() -> None:
    """A method with the name of a hook that is not marked would never be called, also one that overrides."""

    class Forgot:
        async def authenticate(self, peer: Any) -> None: ...

        @hookimpl
        def peer_left(self) -> None: ...

    class Child(Guard):
        async def authenticate(self, peer: Any, handshake: Any) -> None: ...

    text = "authenticate: has the name of a hook but is not marked with @hookimpl"
    assert problem(Forgot()) == text
    assert problem(Child("child", [])) == text
    assert implements(Forgot(), "authenticate")
    assert not implements(Forgot(), "authorize")


def test_plugin_without_hook_is_refused() -> None:
    """An object that implements nothing is a mistake."""

    class Nothing:
        pass

    assert problem(Nothing()) == "Nothing implements no hook; mark its methods with @hookimpl"
    assert problem("badge") == "str implements no hook; mark its methods with @hookimpl"


def test_class_is_refused() -> None:
    """A class in place of an object would be called without self."""
    assert problem(Storage) == "Storage is a class; give an object of it: Storage(...)"


def test_unhashable_plugin_is_refused() -> None:
    """A plain dataclass cannot be told from its equals; the remedy is named."""

    @dataclass
    class Plain:
        @hookimpl
        def peer_left(self) -> None: ...

    assert problem(Plain()) == "Plain is not hashable; make it @dataclass(eq=False)"


def test_equal_plugins_are_refused() -> None:
    """Two plugins must differ, in object, value and name; what they hold is not shown."""

    @dataclass(frozen=True)
    class Frozen:
        code: str

        @hookimpl
        def peer_left(self) -> None: ...

    one, two = Frozen("1234"), Frozen("1234")
    with pytest.raises(PluginError, match="'b': equals the plugin 'a'; make Frozen @dataclass") as caught:
        Hooks([("a", one), ("b", two)])
    assert "1234" not in str(caught.value)
    with pytest.raises(PluginError, match="'b': is the same object as the plugin 'a'"):
        Hooks([("a", one), ("b", one)])
    with pytest.raises(PluginError, match="'a': two plugins have this name"):
        Hooks([("a", one), ("a", Frozen("5"))])


def test_authenticator_that_authenticates_nobody_is_refused() -> None:
    """Who is to authenticate but has no such hook would let everybody in; so would one that is not there."""
    assert problem(Storage(), "bad") == "is to authenticate, but it implements no 'authenticate'"
    with pytest.raises(PluginError, match="'badge': is to authenticate, but"):
        Hooks([], ["badge"])


def test_properties_are_left_alone() -> None:
    """A property of a plugin is not read before the plugin is started."""

    class Shy:
        @property
        def rules(self) -> object:
            raise RuntimeError("not started")

        @cached_property
        def table(self) -> object:
            raise RuntimeError("not started")

        @hookimpl
        def peer_left(self) -> None: ...

    plugin = Shy()
    assert Hooks([("shy", plugin)]).implemented_by(plugin) == ["peer_left"]
