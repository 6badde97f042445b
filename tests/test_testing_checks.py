"""What `check_plugin` finds: for each check a plugin that does not keep the promise."""

# ruff: noqa: BLE001, ASYNC251, TC003 - the plugins here are as wrong as can be

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msl_network_plugins.sqlite import Sqlite

from msl_network import AuthenticationError, Command, RequestError, Secret, StartError, hookimpl
from msl_network.testing import CHECKS, FakePeer, PluginCheckError, check_plugin

if TYPE_CHECKING:
    import argparse

logger = logging.getLogger("msl_network.test")

RIGHT = "1234"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the checks log is their own."""
    caplog.set_level(logging.CRITICAL)


@dataclass(eq=False)
class Badge:
    """Does all right."""

    code: Secret

    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        if not self.code.matches(await handshake.ask("password", "badge reader")):
            raise AuthenticationError("Unknown badge")
        peer.username = "somebody"


def failures(plugin: object, **keywords: Any) -> dict[str, str]:
    """The checks that fail, and what each says."""
    keywords = {"patience": 3.0, **keywords}
    with pytest.raises(PluginCheckError) as info:
        check_plugin(plugin, **keywords)
    return {name: problem for name, (problem, _) in info.value.failures.items()}


class Authenticator:
    """What the wrong ones have in common."""

    def __init__(self) -> None:
        self.peer: Any = None

    async def check(self, peer: Any, handshake: Any) -> None:
        if not Secret(RIGHT).matches(await handshake.ask("password", "badge reader")):
            raise AuthenticationError("Unknown badge")
        peer.username = "somebody"


class Forgets(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        handshake.ask("password").close()


class Answers(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> bool:
        await self.check(peer, handshake)
        return True


class RefusesAll(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        await handshake.ask("password")
        raise AuthenticationError("nobody")


class AsksTooLittle(Authenticator):
    @hookimpl
    async def authenticate(self) -> None:
        """Let everybody in."""


class TrustsTexts(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        if (await handshake.ask("password")).strip() != RIGHT:
            raise AuthenticationError("Unknown badge")


class TrustsEverybodyElse(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        if await handshake.ask("password") == "":
            raise AuthenticationError("Unknown badge")


class Hasty(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        peer.is_admin = True
        await self.check(peer, handshake)


class GoesOnAsking(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        while await handshake.ask("password") != RIGHT:
            pass


class Tells(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        answer = await handshake.ask("password")
        if answer != RIGHT:
            raise AuthenticationError(f"Unknown badge {answer}")


class Logs(Authenticator):
    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        answer = await handshake.ask("password")
        logger.debug("somebody has the badge %s", answer)
        if answer != RIGHT:
            raise AuthenticationError("Unknown badge")


class LetsLostIn(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        try:
            await self.check(peer, handshake)
        except RequestError:
            raise
        except Exception:
            logger.debug("something happened")


class LetsSilentIn(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        try:
            await self.check(peer, handshake)
        except anyio.get_cancelled_exc_class():
            logger.debug("something happened")


class Waits(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        self.lock = getattr(self, "lock", None) or anyio.Lock()
        async with self.lock:
            await self.check(peer, handshake)


class Mixes(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        self.peer = self.peer or peer
        await self.check(self.peer, handshake)


class Remembers(Authenticator):
    is_right = False

    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        answer = await handshake.ask("password")
        if answer == RIGHT:
            self.is_right = True
        elif not self.is_right or self.made_of_one():
            raise AuthenticationError("Unknown badge")

    def made_of_one(self) -> bool:
        """Whether nobody has been let in."""
        return not self.is_right


class Blocks(Authenticator):
    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        try:
            await self.check(peer, handshake)
        except AuthenticationError:
            time.sleep(30)
            raise


@pytest.mark.parametrize(
    ("plugin", "check", "text"),
    [
        (Forgets, "lets_in", "it did not wait for the answer to 'password'"),
        (Answers, "lets_in", "it returned True where it should return nothing"),
        (RefusesAll, "lets_in", "it refuses the peer that gives the right answers: nobody"),
        (AsksTooLittle, "lets_in", "it did not ask for all that lets a peer in, 1 answers are left"),
        (TrustsTexts, "refuses", "a peer that answers None to everything makes it fail: AttributeError: "),
        (TrustsEverybodyElse, "refuses", "a peer that answers 'wrong-Zp8sK2qW' to everything is let in"),
        (Hasty, "refuses", "is refused, but it set its username or is_admin"),
        (GoesOnAsking, "refuses", "it goes on asking: 'password' is question 21"),
        (Tells, "keeps_secrets", "the text of its AuthenticationError has the answer in it"),
        (Logs, "keeps_secrets", "DEBUG msl_network.test somebody has the badge <the answer>"),
        (LetsLostIn, "lets_the_peer_leave", "a peer that leaves when it is asked for 'password' is let in"),
        (LetsSilentIn, "lets_time_pass", "a peer that never answers 'password' is let in when its time is over"),
        (Waits, "asks_two_at_once", "it has a peer wait while another one is asked"),
        (Mixes, "asks_two_at_once", "the username of one peer, or its is_admin, was given to another one"),
        (Remembers, "asks_two_at_once", "it lets in a peer with a wrong answer, because another one gave the right"),
    ],
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_authenticator_that_is_wrong(plugin: type, check: str, text: str, backend: str) -> None:
    """It is found, and the text says what was tried and what came of it."""
    found = failures(plugin, answers=[RIGHT], backend=backend)
    assert text in found[check]


@pytest.mark.filterwarnings("ignore:coroutine 'FakeHandshake._answer' was never awaited")
def test_one_that_blocks() -> None:
    """It is given up after a while, by name, and the others are checked all the same."""
    found = failures(Blocks, answers=[RIGHT], patience=0.5)
    assert found["refuses"] == "it did not end within 0.5 s"


class BecomesBoss:
    @hookimpl
    async def authenticate_administrator(self, peer: Any, handshake: Any) -> Any:
        return await handshake.ask("password") is not None


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    @hookimpl
    async def stopping(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Equal:
    number: int = 1

    @hookimpl
    async def stopping(self) -> None:
        """Do nothing."""


@dataclass(eq=False)
class NoTypes:
    number: Unknown = 1  # type: ignore[name-defined]  # noqa: F821 - that is the mistake

    @hookimpl
    async def stopping(self) -> None:
        """Do nothing."""


@dataclass(eq=False)
class Shows:
    code: str

    @hookimpl
    async def authenticate(self, handshake: Any) -> None:
        if await handshake.ask("password") != self.code:
            raise AuthenticationError("Unknown badge")


class Misspelt:
    @hookimpl
    async def autenticate(self) -> None:
        """Misspelt."""


class DoesNotStart:
    @hookimpl
    async def started(self) -> None:
        raise StartError("the reader is not connected")


class DoesNotStop:
    @hookimpl
    async def stopping(self) -> None:
        raise LookupError("no reader")


class DoesNotHear:
    @hookimpl
    def linked(self, peer: Any) -> None:
        raise LookupError(peer)


class FailsAtNames:
    @hookimpl
    async def check_identity(self, identity: Any) -> None:
        identity.name.encode("ascii")


class ReturnsNames:
    @hookimpl
    async def check_identity(self, identity: Any) -> Any:
        return identity.name


class FailsAtRequests:
    @hookimpl
    def authorize(self, service: str) -> None:
        raise KeyError(service)


class AllowsWithTrue:
    @hookimpl
    def authorize(self) -> Any:
        return True


class FailsAtSettings:
    @hookimpl
    def check_config(self, config: Any) -> None:
        config.sections["mine"]


class AcceptsWithTrue:
    @hookimpl
    def check_config(self, config: Any) -> Any:
        return config.auth == ("password",) or None


class RefusesInSilence:
    @hookimpl
    def check_config(self, config: Any) -> None:
        if config.auth:
            raise StartError


class RefusesAtLength:
    @hookimpl
    def check_config(self, config: Any) -> None:
        if config.auth:
            raise StartError("one\ntwo")


class CommandWithoutPeer:
    @hookimpl
    def commands(self) -> list[Command]:
        return [Command(name="lab.open", function=lambda: None)]


class CommandThatExists:
    @hookimpl
    def commands(self) -> list[Command]:
        return [Command(name="identity", function=lambda _peer: None)]


class AllEncodings:
    @hookimpl
    def make_codec(self, name: str) -> Any:
        return name


class NoRun:
    @hookimpl
    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        subparsers.add_parser("lab")


class NoCommand:
    @hookimpl
    def cli_commands(self) -> None:
        """Add nothing."""


class NoHelp:
    @hookimpl
    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        subparsers.add_parser("lab").add_argument("-x", help="%(unknown)s")


class Forgetful:
    """A store that says that a user is new, again and again."""

    @hookimpl
    def open_store(self, location: str) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def opened() -> Any:
            async with Sqlite().open_store(location) as store:
                insert = store.users.insert

                async def forgetful_insert(user: Any) -> bool:
                    await insert(user)
                    return True

                store.users.insert = forgetful_insert
                yield store

        return opened()


class NoStore:
    @hookimpl
    def open_store(self) -> None:
        """Open nothing."""


class Other:
    """What nothing can be made of."""

    def __init__(self) -> None:
        raise OSError("no such device")

    @hookimpl
    async def stopping(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("plugin", "check", "text"),
    [
        (BecomesBoss, "refuses_administrators", "a peer that answers 'wrong-Zp8sK2qW' becomes an administrator"),
        (Unhashable, "fits", "Unhashable is not hashable; make it @dataclass(eq=False)"),
        (Equal, "is_told_apart", "two objects with the same settings are equal"),
        (NoTypes(), "has_settings", "the types of the settings of NoTypes cannot be read"),
        (Misspelt, "fits", "autenticate: there is no such hook, did you mean 'authenticate'?"),
        (DoesNotStart, "starts_and_stops", "a Manager with it does not start: the reader is not connected"),
        (DoesNotStop, "starts_and_stops", "plugin 'DoesNotStop-1' failed in 'stopping'"),
        (DoesNotHear, "hears", "linked: LookupError: Client[pc7:50000]"),
        (FailsAtNames, "judges_identities", "UnicodeEncodeError: 'ascii'"),
        (ReturnsNames, "judges_identities", "it returned str; allowed is an Identity, or None to leave it"),
        (FailsAtRequests, "judges_requests", "Echo.echo: KeyError: 'Echo'"),
        (AllowsWithTrue, "judges_requests", "it returned True, which refuses"),
        (FailsAtSettings, "checks_settings", "KeyError: 'mine'"),
        (AcceptsWithTrue, "checks_settings", "it returned True, which refuses; raise ConfigError, or return nothing"),
        (RefusesInSilence, "checks_settings", "it refuses with the text '', allowed is one line for a person"),
        (RefusesAtLength, "checks_settings", "it refuses with the text 'one\\ntwo', allowed is one line"),
        (CommandWithoutPeer, "offers_commands", "lab.open: its function takes no argument; the first one is the peer"),
        (CommandThatExists, "starts_and_stops", "the command 'identity' exists already"),
        (AllEncodings, "leaves_other_encodings", "asked for the encoding 'no-such-name', it returned str"),
        (NoRun, "adds_words", "'lab' has nothing to run"),
        (NoCommand, "adds_words", "it adds no command"),
        (NoHelp, "adds_words", "the help of 'lab' cannot be shown: "),
        (Other, "fits", "it cannot be made: OSError: no such device"),
    ],
)
def test_a_plugin_that_is_wrong(plugin: object, check: str, text: str) -> None:
    """It is found, and the text says what was tried and what came of it."""
    assert text in failures(plugin)[check]


@pytest.mark.parametrize(
    ("plugin", "text"),
    [
        (Forgetful, "users.insert of a name that is taken: it returned True, allowed is False"),
        (NoStore, "a Manager with it does not start: plugin 'subject': offers no store"),
    ],
)
def test_a_store_that_is_wrong(plugin: type, text: str) -> None:
    """It is used as the store of a Manager, and by itself."""
    assert text in " ".join(failures(plugin).values())


def test_a_secret_that_is_shown() -> None:
    """A secret that stands in the `repr` of the plugin is found."""
    found = failures(Shows, settings={"code": RIGHT}, answers=[RIGHT])
    assert found == {"hides_secrets": "its repr shows what lets a peer in"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("answers", [["1234"], {"password": "1234"}, None])
def test_one_that_is_right(answers: Any, backend: str) -> None:
    """All checks that concern it are made, and pass; which that are is returned."""
    done = check_plugin(Badge, settings={"code": RIGHT}, answers=answers, backend=backend)
    tried = {"fits", "is_told_apart", "has_settings", "starts_and_stops", "refuses", "keeps_secrets"}
    assert set(done) >= tried | {"lets_the_peer_leave", "lets_time_pass"}
    assert ("lets_in" in done) == ("asks_two_at_once" in done) == ("hides_secrets" in done) == (answers is not None)
    assert check_plugin(Badge(Secret(RIGHT)), answers=answers, backend=backend) == done


def test_settings_that_are_wrong() -> None:
    """A plugin that cannot be made of the settings says what the Manager would say."""
    found = failures(Badge)
    assert found == {"fits": "it cannot be made of its settings: [plugins.badge] code: is missing and has no default"}


def test_what_is_free() -> None:
    """An answer that decides nothing may be anything, if the author says so."""

    class Polite:
        @hookimpl
        async def authenticate(self, peer: Any, handshake: Any) -> None:
            remark = await handshake.ask("remark")
            if not Secret(RIGHT).matches(await handshake.ask("password")):
                raise AuthenticationError("Unknown badge")
            peer.username = f"somebody who says {remark}"

    answers = {"remark": "hello", "password": RIGHT}
    assert "refuses" in check_plugin(Polite, answers=answers, free=["remark"])
    assert "to 'remark', and all else right, is let in" in failures(Polite, answers=answers)["refuses"]


def test_a_peer_of_ones_own() -> None:
    """An authenticator that asks nothing is tried with the peer that it is to let in."""

    class Trusts:
        @hookimpl
        async def authenticate(self, peer: Any) -> None:
            if await peer.resolve_hostname() != "pc9":
                raise AuthenticationError("not here")

    assert "lets_in" in check_plugin(Trusts, answers=[], peer=lambda: FakePeer(hostname="pc9"))
    assert failures(Trusts, answers=[]) == {"lets_in": "it refuses the peer that gives the right answers: not here"}


def test_what_it_says() -> None:
    """The text has a line for each failure and one for what to do."""
    with pytest.raises(PluginCheckError) as info:
        check_plugin(AllowsWithTrue())
    assert str(info.value) == (
        "AllowsWithTrue fails 1 of the checks of check_plugin:\n"
        "- judges_requests: it returned True, which refuses; raise AuthorizationError, or return nothing\n"
        "  To do: raise AuthorizationError to refuse, also what you did not expect."
    )


def test_what_is_left_out() -> None:
    """A check may be left out by name, and a name that there is not is a mistake."""
    assert "judges_requests" not in check_plugin(AllowsWithTrue, leave_out=["judges_requests"])
    with pytest.raises(ValueError, match="there is no check 'judges'; there are: fits, "):
        check_plugin(AllowsWithTrue, leave_out=["judges"])


def test_the_logging_is_as_before() -> None:
    """The levels of the loggers, and their handlers, are those of before."""
    loggers = [logging.getLogger(), logging.getLogger("msl_network")]

    def state() -> Iterator[tuple[int, list[logging.Handler]]]:
        return ((each.level, list(each.handlers)) for each in loggers)

    before = list(state())
    check_plugin(Badge, settings={"code": RIGHT}, answers=[RIGHT])
    assert list(state()) == before


def test_each_check_is_tried_here() -> None:
    """No check is without a plugin that fails it."""
    from pathlib import Path

    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in CHECKS if f'"{name}"' not in text.partition("def test_one_that_is_right")[0]] == [
        "keeps_data"
    ]
