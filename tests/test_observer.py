from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import AuthorizationError, Command, Manager, Peer, PluginError, Request, RequestError, hookimpl
from msl_network.hooks import Hooks
from tests.wire_peer import client, config, service, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


class Observing:
    """Notes what it is told; does something when it is told something."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.told: list[tuple[object, ...]] = []
        self.act = act

    @hookimpl
    def make_observer(self) -> Observing:
        return self

    def requested(self, peer: Peer, request: Request, is_complete: bool) -> None:
        self.told.append(("requested", request.service, request.attribute, request.uid, is_complete))
        self.act()

    def answered(self, peer: Peer, service: str, uid: object, is_error: bool, line: bytes) -> None:
        self.told.append(("answered", service, uid, is_error, bool(line)))
        self.act()

    def failed(self, peer: Peer, service: str, uid: object, error: RequestError) -> None:
        self.told.append(("failed", service, uid, type(error).__name__))
        self.act()


class Rules:
    """Refuses one method, and has commands that wait and that fail."""

    @hookimpl
    def authorize(self, attribute: str) -> None:
        if attribute == "forbidden":
            raise AuthorizationError("no")

    @hookimpl
    def commands(self) -> list[Command]:
        async def slow(peer: Peer) -> str:
            return "done"

        async def fail(peer: Peer) -> str:
            raise ValueError("wrong")

        return [
            Command(name="slow", function=slow, administrator=False),
            Command(name="fail", function=fail, administrator=False),
        ]


async def test_make_observer_tells_each_request_and_its_end(transport: str) -> None:
    """Each request is told, and then once how it ended, whoever ended it."""
    observing = Observing()
    async with Manager(config(transport), plugins=[observing, Rules()]) as manager, client(manager) as user:
        observing.told.clear()
        async with service(manager) as echo:
            await user.call("Echo", "echo", uid="a")
            request = await echo.read()
            assert observing.told == [("requested", "Echo", "echo", "a", True)]
            await echo.send(result=1, requester=request["requester"], uid="a", error=False)
            await user.read()
            await user.call("Echo", "echo", uid="b")
            await echo.read()
            await echo.send(result=None, message="x", requester=request["requester"], uid="b", error=True)
            await user.read()
            await user.call("Echo", "forbidden", uid="c")
            await user.read()
            await user.call("Echo", "echo", uid="d")
            await echo.read()
            await echo.write(b'{"error": false, "result": ' + b"1" * 5000 + b', "requester": "C", "uid": "d"}\r\n')
            await user.read()
            await user.call("Echo", "echo", uid="e")
            await echo.read()
        await user.read()
        assert observing.told[1:] == [
            ("answered", "Echo", "a", False, True),
            ("requested", "Echo", "echo", "b", True),
            ("answered", "Echo", "b", True, True),
            ("requested", "Echo", "forbidden", "c", True),
            ("failed", "Echo", "c", "AuthorizationError"),
            ("requested", "Echo", "echo", "d", True),
            ("failed", "Echo", "d", "RequestError"),
            ("requested", "Echo", "echo", "e", True),
            ("failed", "Echo", "e", "ServiceLostError"),
        ]
        observing.told.clear()
        for attribute in ("identity", "nothing", "slow", "fail", "port"):
            await user.call("Manager", attribute, uid=attribute)
            while (await user.read())["uid"] != attribute:
                await user.send(result="nobody")  # whom the Manager asks who the administrator is
        assert observing.told == [
            ("requested", "Manager", "identity", "identity", True),
            ("answered", "Manager", "identity", False, False),
            ("requested", "Manager", "nothing", "nothing", True),
            ("failed", "Manager", "nothing", "UnknownAttributeError"),
            ("requested", "Manager", "slow", "slow", True),
            ("answered", "Manager", "slow", False, False),
            ("requested", "Manager", "fail", "fail", True),
            ("failed", "Manager", "fail", "RequestError"),
            ("requested", "Manager", "port", "port", True),
            ("failed", "Manager", "port", "AuthenticationError"),
        ]


async def test_long_messages(transport: str) -> None:
    """It is told that the arguments of a long request are not all there."""
    observing = Observing()
    async with (
        Manager(config(transport), plugins=[observing]) as manager,
        service(manager) as echo,
        client(manager) as user,
    ):
        observing.told.clear()
        await user.call("Echo", "echo", "x" * 2**21, uid="a")
        request = json.loads(await echo.line())
        await echo.send(result="y" * 2**21, requester=request["requester"], uid="a", error=False)
        assert len((await user.read())["result"]) == 2**21
        await until(lambda: len(observing.told) == 2)
        assert observing.told == [("requested", "Echo", "echo", "a", False), ("answered", "Echo", "a", False, True)]


@pytest.mark.parametrize("problem", [RuntimeError("secret"), SystemExit(1)])
async def test_one_that_fails(transport: str, problem: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It harms nobody, is named in the log once in a while, without what it was given, and the others are told."""

    def fail() -> None:
        raise problem

    failing, observing = Observing(fail), Observing()
    async with (
        Manager(config(transport), plugins=[failing, observing]) as manager,
        service(manager) as echo,
        client(manager) as user,
    ):
        for uid in "abc":
            await user.call("Echo", "echo", uid=uid)
            request = await echo.read()
            await echo.send(result=1, requester=request["requester"], uid=uid, error=False)
            assert (await user.read())["result"] == 1
        assert failing.told == observing.told
        assert len(observing.told) >= 6
    assert caplog.text.count("failed in observing a request") == 1
    assert "secret" not in caplog.text


def test_a_failure_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not for each message."""
    observer = Hooks([("bad", Observing(lambda: 1 / 0))]).make_observer()
    assert observer is not None
    for _ in range(5):
        observer.failed(None, "Echo", "1", RequestError("x"))  # type: ignore[arg-type]
    assert caplog.messages == [
        "plugin 'bad' failed in observing a request: ZeroDivisionError; that is said once a minute"
    ]


def test_nobody_who_observes_costs_nothing() -> None:
    """Without an observer there is none, so that nothing is called for a message."""

    class Shy:
        @hookimpl
        def make_observer(self) -> None:
            return None

    assert Hooks([]).make_observer() is None
    assert Hooks([("shy", Shy())]).make_observer() is None


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (object, "plugin 'odd': make_observer: object has no method 'requested'"),
        (lambda: 1 / 0, "plugin 'odd': failed in 'make_observer': ZeroDivisionError"),
    ],
)
def test_what_cannot_observe(made: Callable[[], Any], text: str) -> None:
    """It is refused before the Manager starts."""

    class Odd:
        @hookimpl
        def make_observer(self) -> Any:
            return made()

    with pytest.raises(PluginError, match=text):
        Hooks([("odd", Odd())]).make_observer()
