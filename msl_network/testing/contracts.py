"""The checks that are not about authentication: that a plugin fits, starts and stops, and what its other hooks promise.

Rule of this file: each check is what a Manager would do, with an answer that says more than the Manager's log. It must
not know what a plugin is for.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import io
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msl_network.commands import Command
from msl_network.config import Config, Limits, TLSSettings
from msl_network.errors import ConfigError, PluginError, RequestError, StartError, StoreError
from msl_network.hooks import Hooks
from msl_network.messages import Identity
from msl_network.settings import build
from msl_network.store import Record, User

from .doubles import FakePeer
from .subject import Check, Failed, Skipped, Subject, logged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msl_network.store import Store

__all__ = ["CHECKS"]

UNKNOWN: Final = "no-such-name"

IDENTITIES: Final = (
    Identity(type="client", name="Client", language="Python", os="Linux"),
    Identity(type="service", name="Echo", language="Python", os="Linux", attributes={"echo": "(x)"}),
    Identity(type="client", name="x" * 5000, language="", os=""),
    Identity(type="service", name="Größe\u202e😀", language="", os=""),
)
"""Identities as they come, and some that nobody expects."""

CONFIGS: Final = (
    Config(),
    Config(port=0, auth=("password",), without=("hostname", "identity"), tls=TLSSettings(enabled=False)),
    Config(host="localhost", auth=("hostname", "password"), plugins=(UNKNOWN,), limits=Limits(handshake_timeout=0.1)),
)
"""Settings that a plugin may find itself among."""


async def fits(subject: Subject) -> None:
    """Its hooks have the names and parameters that the Manager calls them with, and are async where they must be."""
    try:
        Hooks([(subject.factory.__name__, subject.make())])
    except PluginError as error:
        raise Failed(error.problem) from None


async def is_told_apart(subject: Subject) -> None:
    """Two of one class are two plugins, also if their settings are the same."""
    one, other = subject.make(), subject.make()
    try:
        hash(one)
    except TypeError:
        raise Failed(f"{subject.factory.__name__} is not hashable") from None
    if one is not other and one == other:
        raise Failed("two objects with the same settings are equal")


async def has_settings(subject: Subject) -> None:
    """Its settings can be read from TOML: they are the fields of a dataclass, with types that can be found."""
    if not dataclasses.is_dataclass(subject.factory):
        if subject.settings:
            raise Failed(f"{subject.factory.__name__} takes settings, but it is no dataclass")
        raise Skipped
    try:
        build(subject.factory, {UNKNOWN: 1})
    except ConfigError as error:
        if error.key != UNKNOWN:
            raise Failed(str(error)) from None
    else:
        raise Failed(f"a setting {UNKNOWN!r} that there is not is taken")


async def hides_secrets(subject: Subject) -> None:
    """What lets a peer in does not stand in its `repr`, which finds its way into logs."""
    if subject.answers is None:
        raise Skipped
    answers = subject.answers.values() if hasattr(subject.answers, "values") else subject.answers
    shown = repr(subject.make())
    if any(isinstance(answer, str) and len(answer) > 2 and answer in shown for answer in answers):
        raise Failed("its repr shows what lets a peer in")


async def checks_settings(subject: Subject) -> None:
    """It finds that it can work with all settings, or refuses them with one line of text; nothing else happens."""
    plugin = subject.make()
    plugins = {subject.factory.__name__: plugin}
    for config in CONFIGS:
        try:
            answer = subject.call(plugin, "check_config", config=config, plugins=plugins)
        except StartError as error:
            if not str(error) or "\n" in str(error):
                raise Failed(f"it refuses with the text {str(error)!r}, allowed is one line for a person") from None
            continue
        except Exception as error:
            raise Failed(f"{type(error).__name__}: {error}") from error
        if answer is not None:
            raise Failed(f"it returned {answer!r}, which refuses; raise ConfigError, or return nothing")


async def starts_and_stops(subject: Subject) -> None:
    """A Manager starts with it and stops, again and again, and it complains of nothing."""
    for _ in range(2):
        with logged() as lines:
            async with subject.started():
                pass
        for line in lines:
            if line.startswith("ERROR msl_network ") or "failed in" in line:
                raise Failed(line.partition("\n")[0].removeprefix("ERROR msl_network "))


async def hears(subject: Subject) -> None:
    """It hears of peers that come, link, lock and go, and does not fail at that."""
    async with subject.started() as (plugin, _):
        client = FakePeer(name="Client")
        client_identity, service_identity = IDENTITIES[:2]
        story: list[tuple[str, dict[str, Any]]] = [
            ("peer_connecting", {}),
            ("peer_refused", {"reason": "rejected: Wrong Manager password"}),
            ("peer_joined", {"identity": service_identity}),
            ("peer_joined", {"identity": client_identity}),
            ("linked", {"service": "Echo"}),
            ("locked", {"service": "Echo", "shared": False}),
            ("unlocked", {"service": "Echo"}),
            ("unlinked", {"service": "Echo"}),
            ("peer_left", {}),
        ]
        for hook, values in story:
            if subject.implementation(plugin, hook) is None:
                continue
            try:
                subject.call(plugin, hook, peer=client, **values)
            except Exception as error:
                raise Failed(f"{hook}: {type(error).__name__}: {error}") from error


async def judges_identities(subject: Subject) -> None:
    """It accepts an identity, corrects it, or refuses it with an error that the peer is told."""
    async with subject.started() as (plugin, _):
        for identity in IDENTITIES:
            try:
                answer = await subject.call(plugin, "check_identity", peer=subject.peer(), identity=identity)
            except RequestError:
                continue
            except Exception as error:
                raise Failed(f"the name {identity.name!r:.40}: {type(error).__name__}: {error}") from error
            if answer is not None and not isinstance(answer, Identity):
                raise Failed(f"it returned {type(answer).__name__}; allowed is an Identity, or None to leave it")


async def judges_requests(subject: Subject) -> None:
    """It allows a request by returning nothing, or refuses it with an error that the Client is told."""
    async with subject.started() as (plugin, _):
        for service, attribute in (("Echo", "echo"), ("Manager", "shutdown_manager"), ("Größe", "x" * 1024)):
            for peer in (FakePeer(name="Client"), FakePeer(name="Boss", is_admin=True, username="boss")):
                try:
                    values = {"peer": peer, "service": service, "attribute": attribute, "action": "call"}
                    answer = subject.call(plugin, "authorize", **values)
                except RequestError:
                    continue
                except Exception as error:
                    raise Failed(f"{service}.{attribute:.20}: {type(error).__name__}: {error}") from error
                if answer is not None:
                    raise Failed(f"it returned {answer!r}, which refuses; raise AuthorizationError, or return nothing")


async def offers_commands(subject: Subject) -> None:
    """Its commands have names of their own and tell which arguments they take."""
    async with subject.started() as (plugin, _):
        for command in subject.call(plugin, "commands"):
            if not isinstance(command, Command):
                raise Failed(f"it offers {type(command).__name__}, allowed is a Command")
            if not list(inspect.signature(command.function).parameters):
                raise Failed(f"{command.name}: its function takes no argument; the first one is the peer that asks")
            try:
                command.signature()
                command.bind(FakePeer(), [object()] * 20, {})
            except RequestError:
                continue  # too many arguments are refused
            except Exception as error:
                raise Failed(f"{command.name}: {type(error).__name__}: {error}") from error


async def leaves_other_encodings(subject: Subject) -> None:
    """Asked for an encoding that is not its own, it returns None."""
    codec = subject.call(subject.make(), "make_codec", name=UNKNOWN)
    if codec is not None:
        raise Failed(f"asked for the encoding {UNKNOWN!r}, it returned {type(codec).__name__}")


async def adds_words(subject: Subject) -> None:
    """The command that it adds to ``msl-network`` has a help text and something to run."""
    parser = argparse.ArgumentParser(prog="msl-network")
    subparsers = parser.add_subparsers()
    subject.call(subject.make(), "cli_commands", subparsers=subparsers)
    if not subparsers.choices:
        raise Failed("it adds no command")
    for name, command in subparsers.choices.items():
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                command.format_help()
            except Exception as error:
                raise Failed(f"the help of {name!r} cannot be shown: {type(error).__name__}: {error}") from error
        if not _can_run(command):
            raise Failed(f"{name!r} has nothing to run")


def _can_run(parser: argparse.ArgumentParser) -> bool:
    if callable(parser.get_default("run")):
        return True
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - there is no other way
    return bool(nested) and all(_can_run(choice) for action in nested for choice in action.choices.values())


async def keeps_data(subject: Subject) -> None:
    """Its store keeps users, host names, records and collections, and says what was there."""
    opened = subject.call(subject.make(), "open_store", location=":memory:")
    if opened is None:
        raise Failed("it opened no store at the location ':memory:'")
    try:
        async with opened as store:
            for what, have, want in await _use(store):
                if have != want:
                    raise Failed(f"{what}: it returned {have!r}, allowed is {want!r}")
    except StoreError as error:
        raise Failed(f"it cannot be used: {error}") from None


async def _use(store: Store) -> list[tuple[str, object, object]]:
    """Use a store; return what was done, what it answered, and what it should have."""
    user = User(name="ada", key=b"key", salt=b"\0salt")
    record = Record(
        time=datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - records have local time
        ip_address="192.0.2.7",
        domain="pc7",
        port=50000,
        message="connected",
    )
    mine = store.collection("check_plugin")
    store.records.add(record)
    listed = [
        ("users.insert", await store.users.insert(user), True),
        ("users.insert of a name that is taken", await store.users.insert(user), False),
        ("users.update", await store.users.update(dataclasses.replace(user, is_admin=True)), True),
        ("users.list", [(each.name, each.is_admin) for each in await store.users.list()], [("ada", True)]),
        ("users.delete", await store.users.delete("ada"), True),
        ("users.get of nobody", await store.users.get("ada"), None),
        ("hostnames.insert", await store.hostnames.insert("pc7"), True),
        ("hostnames.insert of one that is there", await store.hostnames.insert("pc7"), False),
        ("hostnames.list", await store.hostnames.list(), ["pc7"]),
        ("hostnames.delete", await store.hostnames.delete("pc7"), True),
        ("hostnames.delete of nothing", await store.hostnames.delete("pc7"), False),
        ("records.list", [each.message for each in await store.records.list()], ["connected"]),
        ("collection.get of nothing", await mine.get("key"), None),
    ]
    await mine.set("key", {"a": [1, None]})
    return [
        *listed,
        ("collection.get", await mine.get("key"), {"a": [1, None]}),
        ("collection.items", dict(await mine.items()), {"key": {"a": [1, None]}}),
        ("collection.delete", await mine.delete("key"), True),
        ("collection.delete of nothing", await mine.delete("key"), False),
    ]


EVENTS: Final = (
    *("peer_connecting", "peer_refused", "peer_joined", "peer_left"),
    *("linked", "unlinked", "locked", "unlocked"),
)


def _checks() -> list[Check]:
    table: list[tuple[Callable[[Subject], Awaitable[None]], tuple[str, ...], str]] = [
        (fits, (), "see the page of the hook in docs/plugins"),
        (is_told_apart, (), "make it @dataclass(eq=False)"),
        (has_settings, (), "make it a dataclass, and import what its types name outside of TYPE_CHECKING"),
        (hides_secrets, (), "give the field the type Secret"),
        (
            checks_settings,
            ("check_config",),
            "raise ConfigError with one line of text to refuse, also settings that you did not expect",
        ),
        (starts_and_stops, (), "raise StartError with one line of text if the Manager must not run, and nothing else"),
        (hears, EVENTS, "do not fail at what you did not expect; nobody can be refused here"),
        (judges_identities, ("check_identity",), "raise IdentityError to refuse"),
        (judges_requests, ("authorize",), "raise AuthorizationError to refuse, also what you did not expect"),
        (
            offers_commands,
            ("commands",),
            'return [Command(name="...", function=...)], whose first argument is the peer',
        ),
        (leaves_other_encodings, ("make_codec",), "return None for a name that is not yours"),
        (adds_words, ("cli_commands",), "call add_parser(...), and set_defaults(run=...) on what it returns"),
        (keeps_data, ("open_store",), "see the interfaces in msl_network.store"),
    ]
    return [Check(function.__name__, hooks, advice, function) for function, hooks, advice in table]


CHECKS: Final = _checks()
"""All of them, in order."""
