"""The async Client, on both backends: against a real Manager, and against one that says what it should not."""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import socket
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.abc
import anyio.to_thread
import pytest
import trustme

import msl_network.client
from msl_network import (
    AuthenticationError,
    CallTimeoutError,
    Client,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    Handshake,
    Link,
    Manager,
    Peer,
    RefusedError,
    RemoteError,
    Service,
    UntrustedError,
    connect,
    hookimpl,
)
from msl_network.client import AsyncClient, AsyncLink
from msl_network.trust import stored_certificate

from .wire_peer import DEADLINE, WirePeer, config, until

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HERE = "127.0.0.1"
HOSTNAME = socket.gethostname()

asynchronous = pytest.mark.anyio


class Guard:
    """A plugin that asks for passwords: that of the Manager, or those of users; `root` is an administrator."""

    def __init__(self, door: Literal["open", "manager", "users"] = "open") -> None:
        self.door = door
        self.asked = 0

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        if self.door == "manager" and await handshake.ask("password", handshake.network_name) != "open sesame":
            raise AuthenticationError("Wrong Manager password")
        if self.door == "users":
            await self._user(handshake)

    @hookimpl
    async def authenticate_administrator(self, peer: Peer, handshake: Handshake) -> bool:
        self.asked += 1
        return await self._user(handshake) == "root"

    async def _user(self, handshake: Handshake) -> str:
        name = str(await handshake.ask("username", handshake.network_name))
        if await handshake.ask("password", name) != "secret":
            raise AuthenticationError("Wrong login password")
        return name


class Instrument(Service):
    """What a laboratory has."""

    unit = "volt"

    def __init__(self) -> None:
        super().__init__(name="Instrument")
        self.released = threading.Event()

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        """Return what it is given."""
        return args, kwargs

    def measure(self, channel: int, gain: float = 1.0) -> float:
        """Measure a voltage."""
        return channel * gain

    def fail(self) -> None:
        raise ZeroDivisionError("nothing left")

    def block(self) -> str:
        self.released.wait(DEADLINE)
        return "late"

    def notify(self, count: int) -> None:
        for number in range(count):
            self.emit_notification(number, twice=2 * number)

    def shutdown_service(self, word: str) -> str:
        return word


@pytest.fixture
async def manager() -> AsyncIterator[Manager]:
    async with Manager(config()) as manager:
        yield manager


@pytest.fixture
async def instrument(manager: Manager) -> AsyncIterator[Instrument]:
    """A real Service in a thread of its own; it ends with the Manager, or when its Manager says so."""
    served = Instrument()
    options = {"host": HERE, "port": manager.port, "disable_tls": True}
    thread = threading.Thread(target=lambda: served.start(**options), daemon=True)  # type: ignore[arg-type]
    thread.start()
    await until(lambda: "Instrument" in manager.services)
    yield served
    served.released.set()
    manager.stop()
    await anyio.to_thread.run_sync(thread.join, DEADLINE)


def at(port: int, **keywords: Any) -> AsyncClient:
    return AsyncClient(**{"host": HERE, "port": port, "disable_tls": True, **keywords})


@asynccontextmanager
async def fake(script: Callable[[WirePeer], Awaitable[None]], *, welcome: bool = True) -> AsyncIterator[int]:
    """A Manager that follows a script; yields its port. It ends as soon as the script and the test have."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            peer = WirePeer(stream)
            if welcome:
                await peer.send(
                    attribute="identity", args=[], kwargs={}, requester="Manager[fake:1]", uid="", error=False
                )
                assert (await peer.read())["result"]["type"] == "client"
                await reply(peer, True)  # it makes sure that it was let in
            await script(peer)

    async with await anyio.create_tcp_listener(local_host=HERE) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def reply(peer: WirePeer, result: Any, **more: Any) -> Any:
    """Answer the next request; return it."""
    request = await peer.read()
    await peer.send(**{"result": result, "uid": request["uid"], "error": False, "requester": "C[x:1]", **more})
    return request


async def answer_links(peer: WirePeer) -> None:
    """Be a Manager at which each Service can be linked with, and which answers nothing else."""
    while True:
        request = await peer.read()
        if request["attribute"] == "__disconnect__":
            return
        if request["attribute"] == "link":
            await peer.send(result={"attributes": {}, "address": "x:1"}, uid=request["uid"], error=False)


# Twins

ONLY_BLOCKING = {
    "loop_thread_id",  # there is no thread
    "add_tasks",  # there is a task group, that of whoever uses it
}
ONLY_ASYNC = {
    "notifications",  # a handler is called, this is asked
}
TALK = {
    "Client": {"link", "unlink", "identities", "admin_request", "disconnect"},
    "Link": {"acquire_lock", "release_lock", "shutdown_service", "unlink", "disconnect"},
}


def public(cls: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "twin"), [(Client, AsyncClient), (Link, AsyncLink)])
def test_twins(blocking: type, twin: type) -> None:
    """Both have the same public names, of the same kind, with the same parameters; what talks is awaited."""
    one, other = public(blocking), public(twin)
    assert one.keys() - other.keys() <= ONLY_BLOCKING
    assert other.keys() - one.keys() <= ONLY_ASYNC
    for name in one.keys() & other.keys():
        assert type(one[name]) is type(other[name]), name
        if inspect.isfunction(one[name]):
            assert parameters(one[name]) == parameters(other[name]), name
        assert inspect.iscoroutinefunction(other[name]) is (name in TALK[blocking.__name__]), name


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found if each.name != "self"]


def test_twins_are_made_alike() -> None:
    """An AsyncClient takes what connect() takes."""
    assert parameters(AsyncClient.__init__) == parameters(connect)


# Connecting


@asynchronous
async def test_connected(manager: Manager) -> None:
    """It is connected as long as its `async with` lasts, and the Manager knows it by its network name."""
    async with at(manager.port, name="Logger") as user:
        assert user.is_connected()
        assert str(user) == f"Logger[{HOSTNAME}:{user.port}]"
        await until(lambda: str(user) in manager.clients)
        assert repr(user) == f"<Logger manager={HERE}:{manager.port} port={user.port}>"
        assert (user.name, user.address_manager) == ("Logger", f"{HERE}:{manager.port}")
        assert user.identity()["type"] == "client"
        identities = await user.identities()
        assert isinstance(identities, dict)
        assert identities["clients"][str(user)]["language"] == user.identity()["language"]
        assert f"Clients [1]:\n   {user}" in str(await user.identities(as_string=True, indent=3))
    assert not user.is_connected()
    await until(lambda: not manager.clients)
    assert repr(user) == "<Logger disconnected>"


@asynchronous
async def test_not_connected(manager: Manager) -> None:
    """Before and after, each call says so; there is nothing to connect twice."""
    user = at(manager.port)
    assert (repr(user), str(user), user.is_connected()) == ("<Client disconnected>", "Client", False)
    with pytest.raises(RuntimeError, match="not connected: it does in 'async with AsyncClient"):
        await user.link("Echo")
    with pytest.raises(RuntimeError, match="not connected"):
        _ = user.port
    async with user:
        with pytest.raises(RuntimeError, match=r"connects once; make another, or use its spawn\(\)"):
            async with user:
                raise AssertionError
        assert await user.identities()
    with pytest.raises(ConnectionLostError, match=r"cannot ask for Manager\.link: this Client has disconnected"):
        await user.link("Echo")
    with pytest.raises(RuntimeError, match="connects once"):
        await user.__aenter__()


@asynchronous
async def test_connect_again() -> None:
    """Who could not connect may try again."""
    user = at(1)
    for _ in range(2):
        with pytest.raises(
            ConnectError, match=r"127\.0\.0\.1:1: nothing listens on this computer: is a Manager running"
        ):
            await user.__aenter__()


@asynchronous
@pytest.mark.parametrize(
    "error",
    [
        KeyError("mine"),
        ExceptionGroup("of mine", [ValueError()]),
        anyio.EndOfStream(),
        TimeoutError("mine"),
        StopAsyncIteration(),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_out_as_they_are(manager: Manager, error: BaseException) -> None:
    """What the body raises is raised, in no group, with the cause that it had; the Manager is left politely."""
    cause = OSError()
    with pytest.raises(type(error)) as caught:
        async with at(manager.port):
            raise error from cause
    if isinstance(caught.value, ExceptionGroup):  # each cancel scope of trio makes a copy
        assert caught.value.args == error.args
    else:
        assert caught.value is error
        assert error.__context__ is None
    assert caught.value.__cause__ is cause
    assert str(caught.traceback[-1].path) == __file__
    await until(lambda: not manager.clients)


@asynchronous
@pytest.mark.parametrize("how", ["end", "error", "cancel", "disconnect"])
async def test_good_bye(how: str) -> None:
    """However it ends, the Manager is told, and has the time to close the connection itself."""
    said = []

    async def script(peer: WirePeer) -> None:
        said.append((await peer.read())["attribute"])

    async with fake(script) as port:
        with anyio.CancelScope() as scope:
            try:
                async with at(port) as user:
                    if how == "error":
                        int("mine")
                    if how == "cancel":
                        scope.cancel()
                        await anyio.sleep_forever()
                    if how == "disconnect":
                        await user.disconnect()
                        assert not user.is_connected()
                        await user.disconnect()
            except ValueError:
                assert how == "error"
        assert scope.cancelled_caught is (how == "cancel")
        assert said == ["__disconnect__"]


@asynchronous
async def test_deaf_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Manager that neither reads nor closes delays nobody for long: not a call, not the end."""
    monkeypatch.setattr(msl_network.client, "GOODBYE", 0.1)
    over = anyio.Event()

    async def script(peer: WirePeer) -> None:
        await reply(peer, {})
        with anyio.CancelScope(shield=True):
            await over.wait()

    async with fake(script) as port:
        with anyio.fail_after(DEADLINE):
            async with at(port) as user:
                link = await user.link("Echo")
                with pytest.raises(CallTimeoutError, match=r"Echo\.echo was not answered within 0\.1 s"):
                    await link.echo("x" * 20_000_000, timeout=0.1)
            assert not user.is_connected()
            over.set()


@asynchronous
async def test_spawn(manager: Manager) -> None:
    """A Client makes others of the same Manager."""
    async with at(manager.port) as one, one.spawn("Other") as other:
        assert other.name == "Other"
        assert one.port != other.port
        await until(lambda: len(manager.clients) == 2)


@asynchronous
@pytest.mark.parametrize("says", [b"", b'{"attribute": "identity"'])
async def test_silent_manager(says: bytes) -> None:
    """Who takes the connection and asks nothing is given up, and the connection is closed."""
    closed = anyio.Event()

    async def script(peer: WirePeer) -> None:
        await peer.write(says)
        await peer.eof()
        closed.set()

    async with fake(script, welcome=False) as port:
        with pytest.raises(ConnectTimeoutError, match=r"took the connection but said nothing within 0\.5 s"):
            await at(port, timeout=0.5).__aenter__()
        await closed.wait()


@asynchronous
@pytest.mark.parametrize(
    ("says", "error", "text"),
    [
        (None, ConnectTimeoutError, r"did not answer within 0\.1 s"),
        (b"", ConnectError, "closed the connection at once"),
        (b'{"attribute": "identity"}\r\n', ConnectError, "speaks no TLS; correct the port, or pass disable_tls=True"),
    ],
)
async def test_no_tls_there(says: bytes | None, error: type[Exception], text: str) -> None:
    """A TLS handshake that fails, or that nobody answers, is explained as in the blocking Client."""

    async def script(peer: WirePeer) -> None:
        if says is None:
            await peer.eof()
        await peer.write(says or b"")

    async with fake(script, welcome=False) as port:
        with trustme.CA().cert_pem.tempfile() as path:
            with pytest.raises(error, match=text):
                await at(port, timeout=0.1 if says is None else 10, disable_tls=False, cert_file=path).__aenter__()


@asynchronous
async def test_cancelled_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cancelled while a person is asked for a password leaves no connection behind, and does not wait."""
    asking, may_answer, closed = threading.Event(), threading.Event(), anyio.Event()

    def person(_text: str) -> str:
        asking.set()
        may_answer.wait(DEADLINE)
        return ""

    monkeypatch.setattr("getpass.getpass", person)

    async def script(peer: WirePeer) -> None:
        await peer.send(attribute="password", args=["Manager[fake:1]"], uid="", error=False)
        await peer.eof()
        closed.set()

    async with fake(script, welcome=False) as port, anyio.create_task_group() as tasks:
        tasks.start_soon(at(port, timeout=None).__aenter__)
        await until(asking.is_set)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(DEADLINE):
            await closed.wait()
            assert not may_answer.is_set()
            may_answer.set()


@asynchronous
@pytest.mark.parametrize(
    ("says", "error", "text"),
    [
        (b"", ConnectError, "closed the connection at once; it probably uses TLS"),
        (b"SSH-2.0\r\n", RefusedError, "does not speak like a Manager"),
        (b'{"error": true, "message": "ValueError: go away"}\r\n', RefusedError, "^ValueError: go away$"),
        (b'{"attribute": "shoe size"}\r\n', RefusedError, "asks for 'shoe size'; a peer can answer"),
        (
            b'{"attribute": "' + b"x" * 2000,
            ConnectError,
            "the first message is longer than the read_limit of 1000 bytes",
        ),
    ],
)
async def test_refused(says: bytes, error: type[Exception], text: str) -> None:
    """Whatever else it says first is told, not waited for."""

    async def script(peer: WirePeer) -> None:
        await peer.write(says)

    async with fake(script, welcome=False) as port:
        with pytest.raises(error, match=text):
            await at(port, read_limit=1000).__aenter__()


@asynchronous
async def test_trust_on_first_use() -> None:
    """With `auto_save` an unknown Manager is trusted and remembered; from then on nobody else is, for that host."""
    secure = {"host": "localhost", "disable_tls": False}
    stored = stored_certificate("localhost")
    async with Manager(config(tls={"enabled": True})) as manager:
        stored.unlink(missing_ok=True)
        async with at(manager.port, **secure, auto_save=True) as user:
            assert await user.identities()
        assert stored.is_file()
        async with at(manager.port, **secure) as user:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(user.identities)
        stored.write_bytes(trustme.CA().cert_pem.bytes())
        with pytest.raises(UntrustedError, match="shows another certificate than the one in"):
            await at(manager.port, **secure).__aenter__()


# Credentials


@asynchronous
@pytest.mark.parametrize(
    ("door", "given"),
    [("manager", {"password_manager": "open sesame"}), ("users", {"username": "tom", "password": "secret"})],
)
async def test_credentials(door: Literal["manager", "users"], given: dict[str, str]) -> None:
    """What was given is what the Manager is told, and what a spawned Client tells it."""
    async with Manager(config(), plugins=[Guard(door)]) as manager:
        async with at(manager.port, **given) as user, user.spawn() as other:
            assert await other.identities()


@asynchronous
@pytest.mark.parametrize(
    ("door", "given"),
    [("manager", {"password_manager": "please"}), ("users", {"username": "tom", "password": "wrong"})],
)
async def test_wrong_credentials(door: Literal["manager", "users"], given: dict[str, str]) -> None:
    """Who is not let in reads what the Manager says."""
    async with Manager(config(), plugins=[Guard(door)]) as manager:
        with pytest.raises(RefusedError, match=r"^ValueError: Wrong"):
            await at(manager.port, **given).__aenter__()


@asynchronous
async def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not given, a person is asked, once, in a thread: however long that takes, everything else goes on."""
    asked = []
    may_answer = threading.Event()

    def person(text: str) -> str:
        asked.append((text, threading.current_thread() is threading.main_thread()))
        assert may_answer.wait(DEADLINE)
        return "secret" if "Password" in text else "tom"

    monkeypatch.setattr("builtins.input", person)
    monkeypatch.setattr("getpass.getpass", person)
    async with Manager(config(), plugins=[Guard("users")]) as manager:
        user = at(manager.port, timeout=5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_then, lambda: bool(asked), may_answer.set)
            async with user:
                assert await user.identities()
        async with user.spawn() as other:
            assert await other.identities()
        name = manager.network_name
    assert asked == [(f"User name for {name}: ", False), ("Password for tom: ", False)]


async def until_then(condition: Callable[[], bool], action: Callable[[], object]) -> None:
    await until(condition)
    action()


@asynchronous
async def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked, the text says what to pass."""
    monkeypatch.setattr("builtins.input", lambda _text: exec("raise EOFError"))
    async with Manager(config(), plugins=[Guard("users")]) as manager:
        with pytest.raises(RefusedError, match=r"nobody can be asked here \(EOFError\); give it as username="):
            await at(manager.port).__aenter__()


# Administrators


@asynchronous
async def test_administrator() -> None:
    """The Manager asks for credentials in mid-session, once; several may wait for that at the same time."""
    guard = Guard()
    async with Manager(config(without=["login"]), plugins=[guard]) as manager:
        async with at(manager.port, username="root", password="secret") as user:
            ports = []

            async def ask() -> None:
                ports.append(await user.admin_request("port", timeout=DEADLINE))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
            assert ports == [manager.port] * 3
            assert guard.asked == 1
            with pytest.raises(RemoteError, match="AttributeError"):
                await user.admin_request("no.such.thing")
            with pytest.raises(ValueError, match="cannot be asynchronous"):
                await user.admin_request("port", asynchronous=True)


@asynchronous
async def test_no_administrator() -> None:
    """Wrong credentials are an error of that request, and of no other."""
    async with Manager(config(without=["login"]), plugins=[Guard()]) as manager:
        async with at(manager.port, username="root", password="wrong") as user:
            with pytest.raises(RemoteError, match="You must be an administrator") as caught:
                await user.admin_request("port")
            assert caught.value.remote_class == "ValueError"
            assert await user.identities()


@asynchronous
async def test_an_administrator_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person is asked in a thread; other calls go on, and if the call is given up the Manager is told nothing."""
    asking, may_answer = threading.Event(), threading.Event()

    def person(_text: str) -> str:
        asking.set()
        assert may_answer.wait(DEADLINE)
        return "root"

    monkeypatch.setattr("builtins.input", person)
    guard = Guard()
    async with Manager(config(without=["login"]), plugins=[guard]) as manager:
        async with at(manager.port, password="secret") as user:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(user.admin_request, "port")
                await until(asking.is_set)
                assert await user.identities()
                tasks.cancel_scope.cancel()
            may_answer.set()
            with anyio.fail_after(DEADLINE):  # the Manager waits no longer for the first answer
                assert await user.admin_request("port") == manager.port
            assert guard.asked == 2


@asynchronous
async def test_given_up_before_the_prompt() -> None:
    """What the Manager asks for a call that was given up is refused; a reply without uid is not taken for another's."""
    has_come, is_given_up, refusals = anyio.Event(), anyio.Event(), []

    async def script(peer: WirePeer) -> None:
        await peer.read()
        has_come.set()
        await is_given_up.wait()
        await peer.send(attribute="username", args=["Manager[fake:1]"], uid="", error=False)
        refusals.append((await peer.read())["result"])
        request = await peer.read()
        await peer.send(error=True, message="ValueError: You must be an administrator", result=None, uid="")
        await peer.send(result=5, uid="", error=False)
        assert request["attribute"] == "port"
        await answer_links(peer)

    async with fake(script) as port, at(port, username="root", password="secret") as user:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(user.admin_request, "users_table.users")
            await has_come.wait()
            tasks.cancel_scope.cancel()
        is_given_up.set()
        await until(lambda: refusals)
        assert await user.admin_request("port") == 5
        assert refusals == [None]


@asynchronous
async def test_lost_while_a_person_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the connection ends while a person is asked, the call ends, whatever the person does."""
    asking, may_answer = threading.Event(), threading.Event()

    def person(_text: str) -> str:
        asking.set()
        may_answer.wait(DEADLINE)
        return ""

    monkeypatch.setattr("builtins.input", person)

    async def script(peer: WirePeer) -> None:
        await peer.read()
        await peer.send(attribute="username", args=["Manager[fake:1]"], kwargs={}, uid="", error=False)
        await until(asking.is_set)

    async with fake(script) as port, at(port) as user:
        with anyio.fail_after(DEADLINE), pytest.raises(ConnectionLostError, match="the Manager closed the connection"):
            await user.admin_request("port")
        may_answer.set()


@asynchronous
async def test_shutdown_manager() -> None:
    """The end of the connection is the answer to who shuts the Manager down."""
    async with Manager(config(without=["login"]), plugins=[Guard()]) as manager:
        async with at(manager.port, username="root", password="secret") as user:
            assert await user.admin_request("shutdown_manager") is None
            assert not user.is_connected()
            await expect_lost(user.identities)


async def expect_lost(method: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(ConnectionLostError):
        await method()


# Calls


@asynchronous
async def test_calls(manager: Manager, instrument: Instrument) -> None:
    """Methods, properties and constants are called; results and errors come back."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        assert await link.echo(1, "\u20ac", None, a=[1.5], b={"c": True}) == [
            [1, "\u20ac", None],
            {"a": [1.5], "b": {"c": True}},
        ]
        assert await link.measure(3, gain=0.5) == 1.5
        assert await link.unit() == "volt"
        with pytest.raises(RemoteError, match=r"ZeroDivisionError: nothing left  \[Instrument\.fail\]") as caught:
            await link.fail()
        assert caught.value.remote_class == "ZeroDivisionError"
        assert any("in fail" in line for line in caught.value.remote_traceback)
        with pytest.raises(RemoteError, match="PermissionError"):
            await link._private()
        with pytest.raises(TypeError, match="JSON cannot carry a value of type set"):
            await link.echo({1})
        with pytest.raises(TypeError, match=r"Instrument\.echo\(\) is async and takes no asynchronous="):
            await link.echo(1, asynchronous=True)
        [[nan, inf], _] = await link.echo(math.nan, -math.inf)
        assert math.isnan(nan)
        assert inf == -math.inf
        with pytest.raises(RemoteError, match="KeyError"):
            await user.link("Nobody")


@asynchronous
async def test_large_messages(manager: Manager, instrument: Instrument) -> None:
    """Five megabytes go there and come back, while small calls do."""
    large = "\u00fc" * 2_500_000
    async with at(manager.port) as user:
        link = await user.link("Instrument")

        async def echo(value: object) -> None:
            assert await link.echo(value) == [[value], {}]

        async with anyio.create_task_group() as tasks:
            for value in (large, 1, large, 2):
                tasks.start_soon(echo, value)


@asynchronous
async def test_many_tasks(manager: Manager, instrument: Instrument) -> None:
    """Fifty tasks call at once, and each gets its own replies."""
    done = []
    async with at(manager.port) as user:
        link = await user.link("Instrument")

        async def calls(number: int) -> None:
            for turn in range(20):
                assert await link.echo(number, turn=turn) == [[number], {"turn": turn}]
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(calls, number)
    assert len(done) == 50


@asynchronous
async def test_timeout(manager: Manager, instrument: Instrument) -> None:
    """A reply that comes too late is dropped; the connection is as good as before."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        with pytest.raises(CallTimeoutError, match=r"Instrument\.block was not answered within 0\.05 s"):
            await link.block(timeout=0.05)
        with anyio.move_on_after(0.05) as limit:
            await link.block()
        assert limit.cancelled_caught
        instrument.released.set()
        assert await link.echo(1, timeout=DEADLINE) == [[1], {}]


@asynchronous
async def test_cancelled_calls() -> None:
    """A call that is cancelled before its line was sent is never sent; one that was, is forgotten; no line is cut."""
    seen: list[Any] = []
    ready, over = anyio.Event(), anyio.Event()

    async def script(peer: WirePeer) -> None:
        await ready.wait()
        seen.extend([await peer.read(), await peer.read()])
        await peer.send(result="late", uid=seen[0]["uid"], error=False)
        await peer.send(result="in time", uid=seen[1]["uid"], error=False)
        await over.wait()

    async with fake(script) as port, at(port) as user:
        link = AsyncLink(user, "Echo", {}, user._AsyncClient__conversation.call)  # type: ignore[attr-defined]
        outbox = user._AsyncClient__conversation._outbox  # type: ignore[attr-defined]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.echo, "x" * 20_000_000)
            await until(lambda: user._AsyncClient__conversation._calls.are_waiting and not outbox)  # type: ignore[attr-defined]
            tasks.start_soon(link.echo, "never sent")
            await until(lambda: outbox)
            tasks.cancel_scope.cancel()
        assert not outbox
        ready.set()
        assert await link.echo("next") == "in time"
        assert [len(each["args"][0]) for each in seen] == [20_000_000, 4]
        over.set()


@asynchronous
async def test_cleaning_up_when_cancelled(manager: Manager, instrument: Instrument) -> None:
    """What is shielded can still call: an instrument can be switched off when its program is cancelled."""
    replies = []
    with anyio.CancelScope() as scope:
        async with at(manager.port) as user, await user.link("Instrument") as link:
            try:
                scope.cancel()
                await link.block()
            finally:
                with anyio.CancelScope(shield=True):
                    replies.append(await link.echo("off"))
    assert replies == [[["off"], {}]]
    await until(lambda: not manager.clients)


# The end of the connection


@asynchronous
async def test_lost_manager() -> None:
    """If the Manager goes away every call ends with an error at once, and the shutdown_handler is called once."""
    ended = []

    async def script(peer: WirePeer) -> None:
        for _ in range(3):
            await peer.read()

    async with fake(script) as port, at(port) as user:
        user.shutdown_handler = lambda: ended.append(user.is_connected())  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(expect_lost, user.identities)
        assert not user.is_connected()
        with pytest.raises(
            ConnectionLostError, match=r"cannot ask for Manager\.identity: the Manager closed the connection"
        ):
            await user.identities()
        await user.disconnect()
    assert ended == [False]


@asynchronous
@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"what?\r\n", "a line of 6 bytes from the Manager is not JSON"),
        (b"[1, 2]\r\n", "is not a JSON object but list"),
        (b'{"uid": "1", "error": true, "message": 5, "traceback": 1}\r\n', "is not as it should be"),
        (b'{"uid": "1", "result": "' + b"x" * 2000, "longer than the 1000 bytes of read_limit"),
        (b'{"error": true, "message": "ValueError: too fast", "uid": ""}\r\n', "before, it said: ValueError: too fast"),
    ],
)
async def test_broken_lines(says: bytes, why: str) -> None:
    """Whom a broken line was for nobody can tell, so the connection ends, and nobody goes on waiting."""

    async def script(peer: WirePeer) -> None:
        await peer.read()
        await peer.write(says)

    async with fake(script) as port, at(port, read_limit=1000) as user:
        with anyio.fail_after(DEADLINE), pytest.raises(ConnectionLostError, match=why):
            await user.identities()


@asynchronous
async def test_reset() -> None:
    """A connection that breaks is lost (some versions of anyio cannot tell it from one that is closed)."""

    async def script(peer: WirePeer) -> None:
        await peer.read()
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # closing resets the connection
        raw = peer.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with fake(script) as port, at(port) as user:
        with pytest.raises(ConnectionLostError, match=r"the connection broke: |the Manager closed"):
            await user.identities()


@asynchronous
async def test_odd_replies() -> None:
    """What has no uid, or a strange one, is nobody's; but 1.0 answers administrators without."""

    async def script(peer: WirePeer) -> None:
        request = await peer.read()
        for uid in (None, 5, ["1"], "never used", ""):
            await peer.send(result="nobody's", uid=uid, error=False)
        await peer.send(result={"hostname": "fake"}, uid=request["uid"], error=False)
        await reply(peer, ["ada"], uid="")
        await answer_links(peer)

    async with fake(script) as port, at(port) as user:
        assert await user.identities() == {"hostname": "fake"}
        assert await user.admin_request("users_table.usernames") == ["ada"]


@asynchronous
async def test_shutdown_handler(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    """A subclass may override it; it is called once, and what it raises is logged."""
    ended = []

    class Own(AsyncClient):
        def shutdown_handler(self) -> None:
            ended.append(self.is_connected())
            raise OSError("mine")

    async with Own(host=HERE, port=manager.port, disable_tls=True, name="Own") as user:
        assert ended == []
    assert ended == [False]
    assert f"the shutdown_handler of {user} failed" in caplog.text


# Links


@asynchronous
async def test_link(manager: Manager, instrument: Instrument) -> None:
    """A link tells what its Service is, completes with Tab, and has signatures and docstrings."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        assert repr(link) == f"<Link with Instrument[{link.service_address}] at Manager[{user.address_manager}]>"
        assert link.service_name == "Instrument"
        assert link.service_address.startswith(f"{HOSTNAME}:")
        assert link.service_attributes["unit"] == "volt"
        assert link.service_language == user.identity()["language"]
        assert link.service_os == user.identity()["os"]
        assert link.service_max_clients == -1
        assert {"measure", "unit", "acquire_lock", "notifications"} <= set(dir(link))
        assert inspect.iscoroutinefunction(link.measure)
        assert str(inspect.signature(link.measure)) == "(channel: int, gain: float = 1.0) -> float"
        assert inspect.getdoc(link.measure) == "Measure a voltage."
        assert inspect.getdoc(link.unit) == "unit: volt"
        assert link.measure is link.measure
        for name in ("__length_hint__", "_repr_html_", "_ipython_display_"):
            assert not hasattr(link, name)


@asynchronous
async def test_unlink(manager: Manager, instrument: Instrument) -> None:
    """A link that is broken says so, and the Manager knows; its name is free for another."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        echo = link.echo
        await link.unlink()
        await link.disconnect()
        assert repr(link).startswith("<Un-Linked from Instrument[")
        for request in (echo, link.acquire_lock, link.release_lock, link.shutdown_service):
            with pytest.raises(AttributeError, match=f"'{request.__name__}' cannot be requested: the link with 'Instr"):
                await request()
        with pytest.raises(AttributeError, match="'measure' cannot be requested"):
            _ = link.measure
        with pytest.raises(AttributeError, match="broken"):
            link.notifications()
        with pytest.raises(RemoteError, match="KeyError"):
            await user.unlink(link)
        with pytest.raises(TypeError, match=r"what link\(\) returned, found str"):
            await user.unlink("Instrument")  # type: ignore[arg-type]
        assert await (await user.link("Instrument")).echo() == [[], {}]


@asynchronous
async def test_link_in_a_context(manager: Manager, instrument: Instrument) -> None:
    """At the end of its `async with` a link is unlinked, whatever happened; and locks are released."""
    async with at(manager.port) as one, at(manager.port, name="Two") as two:
        for error in (None, KeyError("mine")):
            try:
                async with await one.link("Instrument") as link:
                    assert await link.acquire_lock() == [str(one)]
                    with pytest.raises(RemoteError, match="PermissionError: 'Instrument' service is locked"):
                        await two.link("Instrument")
                    if error is not None:
                        raise error
            except KeyError as caught:
                assert caught is error  # noqa: PT017 - None raises nothing
            assert repr(link).startswith("<Un-Linked")
            await (await two.link("Instrument")).unlink()
        async with await one.link("Instrument") as link:
            await link.unlink()
        async with await one.link("Instrument") as link:
            await one.disconnect()
        assert repr(link).startswith("<Un-Linked")


@asynchronous
async def test_locks(manager: Manager, instrument: Instrument) -> None:
    """Locks are acquired and released as with the blocking Client."""
    async with at(manager.port) as one, at(manager.port, name="Two") as two:
        first, second = await one.link("Instrument"), await two.link("Instrument")
        assert await first.acquire_lock(shared=True) == sorted([str(one), str(two)])
        assert await second.acquire_lock(True, timeout=DEADLINE) == sorted([str(one), str(two)])
        assert await first.release_lock() == [str(two)]
        with pytest.raises(RemoteError, match="cannot acquire an exclusive lock"):
            await first.acquire_lock()


@asynchronous
async def test_shutdown_service(manager: Manager, instrument: Instrument) -> None:
    """A Service that can be shut down answers, and the link is broken then."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        assert await link.shutdown_service("good night", timeout=DEADLINE) == "good night"
        assert repr(link).startswith("<Un-Linked")
        await until(lambda: not manager.services)


# Notifications


@asynchronous
async def test_notifications(manager: Manager, instrument: Instrument) -> None:
    """Each stream has all notifications in order, from when it was made until the link is broken."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        one, two = link.notifications(), link.notifications()
        await link.notify(100)
        await user.identities()
        del two  # who reads it no more costs nothing
        seen = []
        async for args, kwargs in one:
            seen.append((args, kwargs))
            if len(seen) == 100:
                await link.unlink()
        assert seen == [([number], {"twice": 2 * number}) for number in range(100)]
        assert one.lost == 0


@asynchronous
async def test_notifications_are_bounded(manager: Manager, instrument: Instrument, caplog: Any) -> None:
    """What nobody reads in time is lost, counted, and said once; what came first is kept."""
    async with at(manager.port) as user:
        link = await user.link("Instrument")
        stream = link.notifications(max_waiting=3)
        await link.notify(10)
        await until(lambda: stream.lost == 7)
        await link.unlink()
        assert [args async for args, _ in stream] == [[0], [1], [2]]
    assert caplog.text.count("notifications are not read as fast as they come") == 1


@asynchronous
async def test_notifications_end() -> None:
    """All who wait for a notification learn that the connection has ended; max_waiting must make sense."""

    async def script(peer: WirePeer) -> None:
        await reply(peer, {"attributes": {}})
        await reply(peer, {})
        for number in (1, 2):
            await peer.send(result=[[number], {}], service="Echo", uid="notification", error=False)
        await peer.send(result="no notification", service="Echo", uid="notification", error=False)
        await peer.read()

    async with fake(script) as port, at(port) as user:
        link = await user.link("Echo")
        with pytest.raises(ValueError, match="max_waiting must be at least 1, found 0"):
            link.notifications(0)
        stream = link.notifications()
        seen = []

        async def read() -> None:
            async for args, _ in stream:
                seen.append(args)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
            await user.identities()
            await until(lambda: len(seen) == 2)
            await expect_lost(user.identities)
        assert seen == [[1], [2]]


@asynchronous
async def test_notification_handler(manager: Manager, instrument: Instrument, caplog: pytest.LogCaptureFixture) -> None:
    """A handler may be a function or `async def`, may call, and may fail: each is called in order."""
    seen: list[int] = []
    async with at(manager.port) as user:
        link = await user.link("Instrument")

        def plain(number: int, **_: Any) -> None:
            seen.append(number)
            if number == 1:
                raise ValueError("cannot handle that")

        async def handler(number: int, twice: int) -> None:
            assert await link.measure(twice) == twice
            plain(number)

        for function in (plain, handler):
            seen.clear()
            link.notification_handler = function  # type: ignore[method-assign]
            await link.notify(5)
            await until(lambda: len(seen) == 5)
            assert seen == [0, 1, 2, 3, 4]
    failures = [record for record in caplog.records if "notification handler" in record.getMessage()]
    assert [record.exc_info is not None and str(record.exc_info[1]) for record in failures] == [
        "cannot handle that"
    ] * 2


@asynchronous
async def test_handler_at_the_end(manager: Manager, instrument: Instrument) -> None:
    """A handler that still runs when the Client ends is cancelled; one may end the Client itself."""
    cancelled = []
    running = anyio.Event()
    async with at(manager.port) as user:
        link = await user.link("Instrument")

        async def handler(*_: Any, **__: Any) -> None:
            running.set()
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(True)

        link.notification_handler = handler  # type: ignore[method-assign]
        await link.notify(1)
        await running.wait()
    assert cancelled == [True]

    async with at(manager.port) as user:
        link = await user.link("Instrument")
        link.notification_handler = lambda *_, **__: user.disconnect()  # type: ignore[method-assign]
        with contextlib.suppress(ConnectionLostError):
            await link.notify(1)
        await until(lambda: not user.is_connected())


def test_logging_level() -> None:
    """The level of the package's logger is set by name or number."""
    logger = logging.getLogger("msl_network")
    before = logger.level
    try:
        assert AsyncClient.set_logging_level("warning")
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)
