"""The Manager, seen from the wire, on every backend and transport."""

from __future__ import annotations

import errno
import json
import logging
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from msl_network import (
    AuthenticationError,
    AuthorizationError,
    Command,
    Handshake,
    Identity,
    Manager,
    Peer,
    PluginError,
    StartError,
    User,
    hookimpl,
)
from msl_network.throttle import Throttle

from .wire_peer import DEADLINE, WirePeer, client, config, connected, service, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from msl_network.transport import Receiver

pytestmark = pytest.mark.anyio

HOSTNAME = socket.gethostname()


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture
async def manager(transport: str) -> AsyncIterator[Manager]:
    async with Manager(config(transport)) as manager:
        yield manager


class Listening:
    """A plugin that hears everything."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def peer_connecting(self, peer: Peer) -> None:
        self.heard.append("connecting")

    @hookimpl
    def peer_joined(self, peer: Peer, identity: Identity) -> None:
        self.heard.append(f"joined {identity.name}")

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        self.heard.append(f"left {peer.network_name.partition('[')[0]}")

    @hookimpl
    def peer_refused(self, peer: Peer, reason: str) -> None:
        self.heard.append(reason)

    @hookimpl
    def linked(self, peer: Peer, service: str) -> None:
        self.heard.append(f"linked {service}")

    @hookimpl
    def unlinked(self, peer: Peer, service: str) -> None:
        self.heard.append(f"unlinked {service}")

    @hookimpl
    def locked(self, peer: Peer, service: str, shared: bool) -> None:
        self.heard.append(f"locked {service} {shared}")

    @hookimpl
    def unlocked(self, peer: Peer, service: str) -> None:
        self.heard.append(f"unlocked {service}")


# The handshake


async def test_first_bytes(manager: Manager) -> None:
    """The first bytes are those of 1.0, and after a valid identity the Manager says nothing."""
    async with connected(manager) as peer:
        expected = (
            '{"args": [], "attribute": "identity", "error": false, "kwargs": {}, '
            f'"requester": "Manager[{HOSTNAME}:{manager.port}]", "uid": ""}}\r\n'
        )
        assert await peer.line() == expected.encode()
        await peer.send(result={"type": "CLIENT", "name": "A"})
        await peer.silence()
        (shown,) = manager.clients.values()
        assert shown["name"] == "A"
        assert shown["language"] == shown["os"] == "unknown"


async def test_name_taken(manager: Manager) -> None:
    """A second Service of one name is refused; the first is not disturbed, and its name is free once it left."""
    async with service(manager, "DMM"), connected(manager) as second:
        await second.read()
        await second.send(result={"type": "service", "name": "DMM", "attributes": {}})
        refusal = await second.read()
        assert refusal["message"] == "NameError: A 'DMM' service is already running on the Manager"
        await second.eof()
        assert "DMM" in manager.services
    await until(lambda: not manager.services)
    async with service(manager, "DMM"):
        pass


async def test_password(transport: str) -> None:
    """With a password, it is asked for first, with the Manager's name; then the identity."""
    settings = config(transport, auth=["password"], plugin_settings={"password": {"password": "abc 123"}})
    async with Manager(settings) as manager:
        async with connected(manager) as peer:
            prompt = await peer.read()
            assert (prompt["attribute"], prompt["args"]) == ("password", [manager.network_name])
            assert (await peer.ask(b"abc 123"))["attribute"] == "identity"
            await peer.write(b"client\n")
            await peer.silence()
        manager.throttle = Throttle(0, anyio.current_time)  # this is about what is wrong
        for wrong in (b'{"result": "abc"}', b'{"result": null}', b'{"result": ["abc 123"]}', b"", b'{"a": 1}'):
            async with connected(manager) as peer:
                await peer.read()
                assert (await peer.ask(wrong))["message"] == "ValueError: Wrong Manager password"
                await peer.eof()


async def test_authenticators_in_order(transport: str) -> None:
    """All authenticators are asked in the order of the configuration, and all must agree."""

    class Badge:
        @hookimpl
        async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
            if await handshake.ask("password", "badge reader") != "42":
                raise AuthenticationError("Unknown badge")

    settings = config(transport, auth=["hostname", "password"], plugin_settings={"password": {"password": "p"}})
    async with Manager(settings, plugins=[Badge()]) as manager:
        async with connected(manager) as peer:
            assert (await peer.read())["args"] == [manager.network_name]
            assert (await peer.ask(b"p"))["args"] == ["badge reader"]
            assert (await peer.ask(b'{"result": "42"}'))["attribute"] == "identity"
        async with connected(manager) as peer:
            await peer.read()
            await peer.ask(b"p")
            assert (await peer.ask(b"43"))["message"] == "ValueError: Unknown badge"
            await peer.eof()


async def test_broken_authenticator(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """An authenticator that fails refuses its peer, is named in the log, and the Manager goes on."""

    class Broken:
        calls = 0

        @hookimpl
        async def authenticate(self, peer: Peer) -> None:
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError

    async with Manager(config(transport), plugins=[Broken()]) as manager:
        async with connected(manager) as peer:
            refusal = await peer.read()
            assert "Broken" in refusal["message"]
            assert "ZeroDivision" not in refusal["message"]
            await peer.eof()
        assert "ZeroDivisionError" in caplog.text
        async with client(manager):
            pass


@pytest.mark.parametrize("mistake", ["returns", "forgets", "compares", "exits", "cancels"])
async def test_authenticator_that_lets_nobody_in_by_mistake(
    transport: str, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An authenticator that returns False, forgets to wait, exits or lets a cancellation out refuses its peer only."""
    forgotten: list[Any] = []

    class Careless:
        @hookimpl
        async def authenticate(self, peer: Peer, handshake: Handshake) -> bool | None:
            if mistake == "returns":
                return False
            if mistake in {"forgets", "compares"}:
                forgotten.append(handshake.ask("password"))
                if mistake == "compares" and forgotten[-1] != "right":
                    raise AuthenticationError("Careless: that is wrong")
                return None
            if mistake == "exits":
                raise SystemExit(3)
            raise anyio.get_cancelled_exc_class()

    async with Manager(config(transport), plugins=[Careless()]) as manager:
        for _ in range(2):
            async with connected(manager) as peer:
                refusal = await peer.read()
                while not refusal["error"]:
                    refusal = await peer.read()
                assert "Careless" in refusal["message"]
                await peer.eof()
        assert not manager.clients
    for question in forgotten:
        question.close()
    if forgotten:
        assert "it did not wait for the password that it asked for ('await' is missing)" in caplog.text


async def test_broken_codec(transport: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that cannot be made for a connection costs that connection, and no other."""
    async with Manager(config(transport)) as manager, client(manager) as first:

        def fail(name: str) -> None:
            raise PluginError(name, "failed in 'make_codec'")

        with monkeypatch.context() as patch:
            patch.setattr(manager.hooks, "make_codec", fail)
            async with connected(manager) as second:
                await second.eof()
        await first.silence()
        assert "failed in 'make_codec'" in caplog.text
        async with client(manager, "Third"):
            pass


async def test_handshake_in_time(transport: str) -> None:
    """1. A handshake that is not complete in time ends, however slowly bytes come; a connected peer is left alone."""
    listening = Listening()
    settings = config(transport, limits={"handshake_timeout": "300 ms"})
    async with Manager(settings, plugins=[listening]) as manager, client(manager) as patient:
        async with connected(manager) as peer:
            await peer.read()
            await peer.write(b"cli")
            await peer.eof()
        await until(lambda: any("not complete within 0.3 s" in text for text in listening.heard))
        await patient.silence()


async def test_long_line(transport: str) -> None:
    """A line over its limit ends the connection: with an error in the handshake, later without."""
    settings = config(transport, limits={"max_handshake_message": "1 KiB", "max_message": "4 KiB"})
    async with Manager(settings) as manager:
        async with connected(manager) as peer:
            await peer.read()
            await peer.write(b"x" * 2000)
            assert "1024" in (await peer.read())["message"]
            await peer.eof()
        async with client(manager) as peer:
            await peer.write(b"x" * 3000 + b"\n")
            assert (await peer.read())["error"]
            await peer.write(b"x" * 5000)
            with anyio.fail_after(DEADLINE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await peer.stream.receive()


async def test_lines_before_the_prompt(manager: Manager) -> None:
    """What a peer sends before it is asked is not lost: a script may be pasted at once."""
    async with connected(manager) as peer:
        await peer.write(b"client Pasted\nidentity\nlink Nothing\n")
        assert (await peer.read())["attribute"] == "identity"
        assert (await peer.read())["result"]["hostname"] == HOSTNAME
        assert (await peer.read())["error"]


async def test_request_before_it_is_let_in(transport: str) -> None:
    """There is no acknowledgement, so a peer may go on at once: with many requests, or a large one."""
    settings = config(transport, limits={"max_handshake_message": "1 KiB"})
    async with Manager(settings) as manager, service(manager) as echo:
        async with connected(manager) as user:
            calls = b"".join(b"Echo echo %d\n" % number for number in range(200))
            await user.write(b"client\n" + calls + b"Echo echo " + b"x" * 50_000 + b"\n")
            for number in range(200):
                assert (await echo.read())["args"] == [number]
            assert (await echo.read())["args"] == ["x" * 50_000]


async def test_too_many_lines_before_the_prompt(manager: Manager) -> None:
    """18. A peer that floods the handshake is refused."""
    async with connected(manager) as peer:
        await peer.write(b"\n" * 10_000)
        await peer.eof()
    async with client(manager):
        pass


# Calls


async def test_call(manager: Manager) -> None:
    """11. A request reaches the Service complete, and its reply comes back byte for byte."""
    async with service(manager) as echo, client(manager) as user:
        await user.write(
            b'{"service":"Echo","attribute":"echo","args":[1.50, "\\u00e9\xc3\xa9"],"uid":"7",'
            b'"requester":"x","error":true,"evil":1}\n'
        )
        request = await echo.read()
        (name,) = manager.clients
        assert request == {
            "args": [1.5, "éé"],
            "attribute": "echo",
            "error": False,
            "kwargs": {},
            "requester": name,
            "service": "Echo",
            "uid": "7",
        }
        reply = f'{{"uid" : "7","result":[1.50,{{}}], "requester":"{name}", "more":1,"error":false}}\r\n'.encode()
        await echo.write(reply)
        assert await user.line() == reply


async def test_bare_newline_is_completed(manager: Manager) -> None:
    """A reply that ends with a bare newline is forwarded with the line end that old peers expect."""
    async with service(manager) as echo, client(manager) as user:
        await user.call("Echo", "echo")
        name = (await echo.read())["requester"]
        await echo.write(json.dumps({"result": 1, "requester": name, "uid": "1"}).encode() + b"\n")
        assert (await user.line()).endswith(b"}\r\n")


async def test_many_messages_in_a_packet(manager: Manager) -> None:
    """Messages of one packet are handled in order, each once."""
    async with service(manager) as echo, client(manager) as user:
        lines = [json.dumps({"service": "Echo", "attribute": "echo", "args": [n], "uid": str(n)}) for n in range(500)]
        await user.write("\r\n".join(lines).encode() + b"\r\n")
        for number in range(500):
            request = await echo.read()
            assert request["args"] == [number]
            await echo.send(result=number, requester=request["requester"], uid=request["uid"], error=False)
        for number in range(500):
            assert (await user.read())["result"] == number


async def test_message_in_many_packets(manager: Manager) -> None:
    """A message may come byte by byte, and a character may be cut in two."""
    async with service(manager) as echo, client(manager) as user:
        line = json.dumps({"service": "Echo", "attribute": "echo", "args": ["äöü"], "uid": "1"}, ensure_ascii=False)
        for byte in line.encode() + b"\n":
            await user.write(bytes([byte]))
        assert (await echo.read())["args"] == ["äöü"]


async def test_large_message(manager: Manager) -> None:
    """19. A message of 100 MB passes, in both directions."""
    text = "x" * 100_000_000
    async with service(manager) as echo, client(manager) as user, anyio.create_task_group() as task_group:
        task_group.start_soon(lambda: user.call("Echo", "echo", text))
        with anyio.fail_after(60):
            request = await echo.read()
        assert request["args"] == [text]
        requester = request["requester"]
        task_group.start_soon(lambda: echo.send(result=text, requester=requester, uid="1", error=False))
        with anyio.fail_after(60):
            assert (await user.read())["result"] == text


async def test_call_of_nobody(manager: Manager) -> None:
    """36. A request to a Service that is not there is answered with an error that carries the uid."""
    async with client(manager) as user:
        await user.call("Nobody", "x", uid="u1")
        reply = await user.read()
        assert reply["uid"] == "u1"
        assert reply["message"] == f"KeyError: \"the 'Nobody' Service is not connected to {manager.network_name}\""


async def test_service_leaves_with_calls_open(manager: Manager) -> None:
    """23. When a Service leaves, each of its open calls is answered at once with an error, and nobody else's."""
    async with client(manager) as user, service(manager, "Other") as other:
        async with service(manager) as echo:
            for uid in ("a", "b"):
                await user.call("Echo", "echo", uid=uid)
                await echo.read()
            await user.call("Other", "echo", uid="c")
            request = await other.read()
        replies = {reply["uid"]: reply["message"] for reply in [await user.read(), await user.read()]}
        assert set(replies) == {"a", "b"}
        assert all(text.startswith("ConnectionAbortedError: the 'Echo' service left") for text in replies.values())
        await other.send(result=1, requester=request["requester"], uid="c", error=False)
        assert (await user.read())["uid"] == "c"


async def test_client_leaves_with_calls_open(manager: Manager) -> None:
    """24. A reply to a Client that left is dropped, and the Service goes on."""
    async with service(manager) as echo:
        async with client(manager, "Gone") as user:
            await user.call("Echo", "echo")
            request = await echo.read()
        await until(lambda: not manager.clients)
        await echo.send(result=1, requester=request["requester"], uid="1", error=False)
        async with client(manager) as user:
            await user.call("Echo", "echo", uid="2")
            request = await echo.read()
            await echo.send(result=2, requester=request["requester"], uid="2", error=False)
            assert (await user.read())["result"] == 2


async def test_unreadable_reply(manager: Manager) -> None:
    """5. A reply that no Client could read ends its call with an error, as far as it can be told whose it is."""
    async with service(manager) as echo, client(manager) as user:
        await user.call("Echo", "echo", uid="u")
        name = (await echo.read())["requester"]
        deep = "[" * 5000 + "]" * 5000
        await echo.write(f'{{"error": false, "result": {deep}, "requester": "{name}", "uid": "u"}}\n'.encode())
        assert (await echo.read())["error"] is True
        await echo.write(
            b'{"error": false, "result": ' + b"1" * 5000 + b', "requester": "' + name.encode() + b'", "uid": "u"}\n'
        )
        reply = await user.read()
        assert reply["uid"] == "u"
        assert "the reply of the 'Echo' service cannot be read" in reply["message"]
        await user.silence()


async def test_driving(manager: Manager) -> None:
    """11. What drives a Service is not forwarded to it, for one of 1.0 obeys; unless it lists it as an attribute."""
    async with service(manager) as _, service(manager, "Motor", attributes={"start": "()"}) as motor:
        async with client(manager) as user:
            for attribute in ("start", "add_tasks", "emit_notification", "ignore_attributes", "shutdown_handler"):
                await user.call("Echo", attribute, uid="u")
                refusal = await user.read()
                assert refusal["message"].startswith(f"PermissionError: no Client may call {attribute!r}")
                assert refusal["uid"] == "u"
            await user.call("Motor", "start")
            assert (await motor.read())["attribute"] == "start"


@pytest.mark.parametrize("name", ["x\n2026-01-01 [INFO ] forged", "x\x1b[2J", "a\u202eb", "\x00"])
async def test_names_that_write_into_logs(manager: Manager, name: str) -> None:
    """34. A name that does something to a log or a terminal is not forwarded, and not repeated as it is."""
    async with service(manager) as echo, client(manager) as user:
        for service_name, attribute in (("Echo", name), (name, "x")):
            await user.call(service_name, attribute, uid="u")
            refusal = await user.read()
            assert "has control or surrogate characters" in refusal["message"]
            assert name not in refusal["message"]
        await user.call("Echo", "sound é 測")
        assert (await echo.read())["attribute"] == "sound é 測"


async def test_equal_uids(manager: Manager) -> None:
    """Requests with one uid are answered as often as they were asked, as terminals do that always send none."""
    async with service(manager) as echo, client(manager) as user:
        await user.write(b"Echo echo 1\nEcho echo 2\n")
        for _ in range(2):
            request = await echo.read()
            await echo.send(result=request["args"], requester=request["requester"], uid="", error=False)
        assert [(await user.read())["result"] for _ in range(2)] == [[1], [2]]


async def test_numbers_and_strings_unchanged(manager: Manager) -> None:
    """19. Arguments arrive as they were written: long numbers, exponents, NaN."""
    async with service(manager) as echo, client(manager) as user:
        for text in (b"[1e400, 12345678901234567890123, 0.1000, -0.0]", b"[NaN, -Infinity]"):
            await user.write(b'{"service":"Echo","attribute":"e","args":' + text + b',"uid":"1"}\n')
            line = await echo.line()
            assert json.dumps(json.loads(line)["args"]) == json.dumps(json.loads(text))


@pytest.mark.parametrize("goodbye", [b'{"service": "x", "attribute": "__disconnect__"}', b"disconnect", b"EXIT"])
async def test_disconnect(manager: Manager, goodbye: bytes) -> None:
    """A peer that says good-bye is let go: the connection is closed and its name is gone."""
    async with client(manager) as user:
        await user.write(goodbye + b"\n")
        await user.eof()
    assert not manager.clients
    async with service(manager) as echo:
        await echo.write(goodbye + b"\n")
        await echo.eof()
    await until(lambda: not manager.services)


# Links, locks, notifications


async def test_link(manager: Manager) -> None:
    """A link gives the Service's identity, again as often as asked."""
    async with service(manager, max_clients=1, language="C#") as _, client(manager) as user:
        first = await user.manager("link", "Echo")
        assert first == await user.manager("link", "Echo") == manager.services["Echo"]
        assert first["max_clients"] == 1
        assert first["language"] == "C#"
        assert set(first) == {"attributes", "address", "language", "os", "max_clients"}
        assert (await user.manager("link", "Nope")).startswith("KeyError: \"the 'Nope' service does not exist")
        assert (await user.manager("link", 5)).startswith("TypeError: 'service' must be")
        assert (await user.manager("link")).startswith("TypeError: link(service: str)")


async def test_max_clients(manager: Manager) -> None:
    """10. A Service takes as many links as it allows, refuses calls of others, and takes the next when one left."""
    async with service(manager, max_clients=1) as echo, client(manager, "B") as late:
        async with client(manager, "A") as user:
            await user.manager("link", "Echo")
            (linked,) = (name for name in manager.clients if name.startswith("A["))
            refusal = await late.manager("link", "Echo")
            assert refusal == (
                "PermissionError: The maximum number of Clients are already linked with 'Echo'\n"
                f"The linked Clients are:\n  {linked}"
            )
            await late.call("Echo", "echo")
            assert (await late.read())["message"] == refusal
        await until(lambda: len(manager.clients) == 1)
        assert (await late.manager("link", "Echo"))["max_clients"] == 1
        await late.call("Echo", "echo", "mine")
        assert (await echo.read())["args"] == ["mine"]


async def test_unlink(manager: Manager) -> None:
    """Unlinking is true, also from a Service that is gone; only who is not linked is told so."""
    async with service(manager), client(manager) as user:
        await user.manager("link", "Echo")
        assert await user.manager("unlink", "Echo") is True
        assert (await user.manager("unlink", "Echo")).startswith('KeyError: "cannot unlink C[')
        assert await user.manager("unlink", "Gone") is True


async def test_exclusive_lock(manager: Manager) -> None:
    """10. An exclusive lock needs to be the only link, keeps new links out, and ends when released."""
    async with service(manager), client(manager, "A") as one, client(manager, "B") as two:
        assert "because it is not linked with the 'Echo' service" in await one.manager("acquire_lock", "Echo")
        assert "'Nope' service does not exist" in await one.manager("acquire_lock", "Nope")
        await one.manager("link", "Echo")
        await two.manager("link", "Echo")
        assert "there are 2 links with the 'Echo' service" in await one.manager("acquire_lock", "Echo")
        await two.manager("unlink", "Echo")
        (holder,) = await one.manager("acquire_lock", "Echo", shared=False)
        assert holder.startswith("A[")
        assert await two.manager("link", "Echo") == "PermissionError: 'Echo' service is locked"
        await two.call("Echo", "echo")
        assert (await two.read())["message"] == "PermissionError: 'Echo' service is locked"
        assert await two.manager("release_lock", "Echo") == [holder]
        assert await one.manager("release_lock", "Echo") == []
        assert await two.manager("link", "Echo")


async def test_shared_lock(manager: Manager) -> None:
    """Linked Clients may hold shared locks together; unlinking and leaving release them."""
    async with service(manager), client(manager, "A") as one, client(manager, "B") as two:
        await one.manager("link", "Echo")
        await two.manager("link", "Echo")
        names = await one.manager("acquire_lock", "Echo", shared=True)
        assert names == sorted(names) == await two.manager("acquire_lock", "Echo", True)
        assert len(names) == 2
        async with client(manager, "C") as three:
            assert "locked" in await three.manager("link", "Echo")
            await one.manager("unlink", "Echo")
            assert len(await two.manager("release_lock", "Echo")) == 0
            assert await three.manager("link", "Echo")


async def test_service_leaves_with_links(manager: Manager) -> None:
    """25. Links and locks of a Service end with it: its successor starts afresh."""
    async with client(manager) as user:
        async with service(manager):
            await user.manager("link", "Echo")
            await user.manager("acquire_lock", "Echo")
        await until(lambda: not manager.services)
        async with service(manager), client(manager, "D") as other:
            assert await other.manager("link", "Echo")


async def test_notifications(manager: Manager) -> None:
    """9. A notification goes to each linked Client, in order and byte for byte, and to nobody else."""
    async with service(manager) as beat, client(manager, "A") as one, client(manager, "B") as two:
        await one.manager("link", "Echo")
        async with client(manager, "C") as three:
            await three.manager("link", "Echo")
        await until(lambda: len(manager.clients) == 2)
        line = b'{"error": false,  "result": [[%d], {"a": 1.0}], "service": "Echo", "uid": "notification"}\r\n'
        await beat.write(b"".join(line % number for number in range(200)))
        for number in range(200):
            assert await one.line() == line % number
        await two.silence()


# Administrators


class Guard:
    """A plugin that knows an administrator."""

    def __init__(self) -> None:
        self.done = anyio.Event()

    @hookimpl
    async def authenticate_administrator(self, peer: Peer, handshake: Handshake) -> bool:
        name = await handshake.ask("username", handshake.network_name)
        if await handshake.ask("password", name) != "secret":
            raise AuthenticationError("Wrong login password")
        return bool(name == "root")

    @hookimpl
    def commands(self) -> list[Command]:
        return [
            Command(name="guard.slow", function=self.slow),
            Command(name="guard.fails", function=self.fails),
            Command(name="guard.no_json", function=self.no_json),
            Command(name="guard.refuses", function=self.refuses),
        ]

    async def slow(self, peer: Peer, word: str = "done") -> str:
        await self.done.wait()
        return word

    def fails(self, peer: Peer) -> None:
        raise OSError("what a peer must not see")

    def no_json(self, peer: Peer) -> object:
        return {b"bytes"}

    async def refuses(self, peer: Peer) -> None:
        raise ValueError("no such thing")


@asynccontextmanager
async def administrated(transport: str, **settings: Any) -> AsyncIterator[tuple[Manager, Guard, WirePeer]]:
    guard = Guard()
    settings = {"without": ["login"], **settings}
    async with Manager(config(transport, **settings), plugins=[guard]) as manager, client(manager) as user:
        yield manager, guard, user


async def log_in(user: WirePeer, name: bytes = b"root", password: bytes = b"secret") -> Any:
    prompt = await user.read()
    assert (prompt["attribute"], prompt["uid"]) == ("username", "")
    prompt = await user.ask(name)
    assert (prompt["attribute"], prompt["args"]) == ("password", [name.decode()])
    return await user.ask(b'{"result": "' + password + b'"}')


async def test_administrator(transport: str) -> None:
    """Who asks for what only administrators may is asked for credentials in mid-session, once."""
    async with administrated(transport) as (manager, _, user):
        await user.call("Manager", "port", uid="p")
        reply = await log_in(user)
        assert (reply["result"], reply["uid"]) == (manager.port, "p")
        assert await user.manager("port") == manager.port


@pytest.mark.parametrize(("name", "password"), [(b"root", b"wrong"), (b"tom", b"secret")])
async def test_no_administrator(transport: str, name: bytes, password: bytes) -> None:
    """36. Wrong credentials, and right ones without the rights, are refused with the uid; the connection stays."""
    async with administrated(transport) as (_, _, user):
        await user.call("Manager", "port", uid="p")
        reply = await log_in(user, name, password)
        assert reply["message"] == "ValueError: You must be an administrator to send this request to the Manager"
        assert reply["uid"] == "p"
        await user.silence()


async def test_administrator_request_that_is_large(transport: str) -> None:
    """What has to wait for credentials is small, or refused before anybody is asked for them."""
    async with administrated(transport) as (_, _, user):
        refusal = await user.manager("set_logging_level", "x" * 100_000)
        assert refusal == "TypeError: the arguments of set_logging_level may have 65536 bytes, these have 100006"
        await user.call("Manager", "set_logging_level", "x" * 60_000)
        assert (await user.read())["attribute"] == "username"


async def test_nobody_knows_an_administrator(transport: str) -> None:
    """Without a plugin that knows administrators, nobody is one."""
    async with Manager(config(transport, without=["login"])) as manager, client(manager) as user:
        assert "must be an administrator" in await user.manager("shutdown_manager")
        await user.silence()


async def test_prompt_swallows_nothing(transport: str) -> None:
    """37. While a Client is asked for credentials, its other requests and the replies to it go on."""
    async with administrated(transport) as (manager, _, user), service(manager) as echo:
        await user.call("Manager", "port", uid="p")
        assert (await user.read())["attribute"] == "username"
        await user.call("Echo", "echo", uid="e")
        request = await echo.read()
        await echo.send(result=5, requester=request["requester"], uid="e", error=False)
        assert (await user.read())["result"] == 5
        await user.silence()
        assert (await user.ask(b'{"result": "root"}'))["attribute"] == "password"
        assert (await user.ask(b'{"result": "secret", "requester": "x", "uid": ""}'))["result"] == manager.port


async def test_prompt_in_time(transport: str) -> None:
    """37. A prompt that nobody answers in time ends in a refusal; a late answer is dropped: errors end old Clients."""
    async with administrated(transport, limits={"prompt_timeout": "200 ms"}) as (_, _, user):
        await user.call("Manager", "port", uid="p")
        assert (await user.read())["attribute"] == "username"
        assert "must be an administrator" in (await user.read())["message"]
        await user.write(b'{"result": "root"}\n')
        await user.silence()


async def test_leaving_during_the_prompt(transport: str) -> None:
    """A Client that leaves while it is asked for credentials has left, and was never refused."""
    guard, listening = Guard(), Listening()
    settings = config(transport, without=["login"])
    async with Manager(settings, plugins=[guard, listening]) as manager:
        async with client(manager) as user:
            await user.call("Manager", "port", uid="p")
            await user.read()
        await until(lambda: "left C" in listening.heard)
        await until(lambda: not manager._peers)
        assert listening.heard == ["connecting", "joined C", "left C"]


async def test_commands(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """38. Commands of plugins may wait and fail; others go on, and a failure's details are for the log alone."""
    async with administrated(transport) as (_, guard, user):
        await user.call("Manager", "port")
        await log_in(user)
        await user.call("Manager", "guard.slow", "x", uid="s")
        await user.silence()
        guard.done.set()
        assert (await user.read())["result"] == "x"
        assert await user.manager("guard.refuses") == "ValueError: no such thing"
        failure = await user.manager("guard.fails")
        assert failure == "RuntimeError: 'guard.fails' failed; the Manager's log has the details"
        assert "OSError; its text is left out" in caplog.text
        assert "in fails" in caplog.text
        assert "cannot be sent" in await user.manager("guard.no_json")
        assert "guard.slow(word: str = 'done') -> str" in await user.manager("guard.slow", 1, 2)


@pytest.mark.parametrize("name", ["_registry", "config", "hooks.plugins", "__class__", "stop", "store", "", "a.b"])
async def test_closed_list(manager: Manager, name: str) -> None:
    """35. What is not in the list of commands does not exist, whatever attribute the Manager has."""
    async with client(manager) as user:
        assert (await user.manager(name)).startswith(f"AttributeError: the Manager has no attribute {name!r}")


async def test_leaving_after_a_command(transport: str) -> None:
    """What an administrator asked for and did not wait for is done all the same."""
    async with administrated(transport) as (manager, guard, user):
        await user.call("Manager", "port")
        await log_in(user)
        await user.call("Manager", "guard.slow", "done", uid="s")
        await user.write(b"disconnect\n")
        await until(lambda: not manager.clients)
        guard.done.set()
        assert (await user.read())["result"] == "done"
        await user.eof()


async def test_half_closed(transport: str) -> None:
    """Who says no more may still read what it asked for."""
    async with Manager(config(transport)) as manager, connected(manager) as peer:
        await peer.read()
        await peer.write(b"client\n" + b"identity\n" * 50)
        stream: Any = peer.stream
        await stream.send_eof()
        for _ in range(50):
            assert (await peer.read())["error"] is False
        await peer.eof()


LARGE = 20_000_000
"""More than sockets and transports hold, in bytes."""


@asynccontextmanager
async def owed(manager: Manager) -> AsyncIterator[WirePeer]:
    """A Client that has read nothing of a large reply, all of which the Manager has."""
    async with service(manager) as echo, client(manager) as user:
        await user.call("Echo", "echo")
        request = await echo.read()
        await echo.send(result="x" * LARGE, requester=request["requester"], uid="1", error=False)
        await until(lambda: not any(member.open_calls for member in manager._registry.clients.values()))
        yield user


async def test_stopping_while_much_is_to_be_read(transport: str) -> None:
    """26. Who reads what was sent to it when the Manager stops gets all of it."""
    async with Manager(config(transport)) as manager, owed(manager) as user:
        manager.stop()
        assert len((await user.read())["result"]) == LARGE
        await user.eof()


async def test_half_closed_while_much_is_to_be_read(transport: str) -> None:
    """Who says no more gets all of what it asked for, however large it is."""
    async with Manager(config(transport)) as manager, owed(manager) as user:
        stream: Any = user.stream
        await stream.send_eof()
        assert len((await user.read())["result"]) == LARGE
        await user.eof()


async def test_leaving_during_a_command(transport: str) -> None:
    """A Client that leaves while its command still runs is gone at once, with its links and locks."""
    limits = {"shutdown_timeout": "50 ms"}
    async with (
        administrated(transport, limits=limits) as (manager, _, user),
        service(manager),
        client(manager, "Other") as other,
    ):
        await user.call("Manager", "port")
        await log_in(user)
        await user.manager("link", "Echo")
        await user.manager("acquire_lock", "Echo")
        await user.call("Manager", "guard.slow", uid="s")
        await user.silence()
        await user.stream.aclose()
        await until(lambda: len(manager.clients) == 1)
        assert await other.manager("link", "Echo")


async def test_too_much_waiting_work(transport: str) -> None:
    """17. A Client that sends administrator requests faster than they are answered is told that the Manager is busy."""
    async with administrated(transport) as (_, guard, user):
        await user.call("Manager", "port")
        await log_in(user)
        for _ in range(400):
            await user.call("Manager", "guard.slow", uid="s")
        assert (await user.read())["message"].startswith("BlockingIOError: ")
        guard.done.set()


async def test_shutdown(transport: str) -> None:
    """26. An administrator ends the Manager; the end of the connection is the answer, for everybody."""
    async with administrated(transport) as (manager, _, user), client(manager, "Other") as other:
        await user.call("Manager", "shutdown_manager")
        with pytest.raises(anyio.IncompleteRead):
            await log_in(user)
        await other.eof()
        await manager.wait_stopped()


async def test_logging_level(manager: Manager) -> None:
    """The logging level is set by name or number; what is no level is false."""
    logger = logging.getLogger("msl_network")
    before = logger.level
    try:
        assert manager.set_logging_level("debug") is True
        assert logger.level == logging.DEBUG
        assert manager.set_logging_level(30) is True
        assert manager.set_logging_level("loud") is False
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)


# Back-pressure


async def test_client_that_does_not_read(transport: str) -> None:
    """A Client that does not read loses notifications, then its connection; the Service and others are served."""
    settings = config(transport, limits={"outbox": "1 MB", "shutdown_timeout": "100 ms"})
    async with Manager(settings) as manager, service(manager) as echo, client(manager, "Fast") as fast:
        await fast.manager("link", "Echo")
        async with client(manager, "Slow") as slow:
            await slow.manager("link", "Echo")
            big = "x" * 100_000
            for number in range(300):
                await echo.send(result=[[number, big], {}], service="Echo", uid="notification", error=False)
                assert (await fast.read())["result"][0][0] == number
            assert len(manager.clients) == 2
            for number in range(200):
                await slow.call("Echo", "echo", uid=str(number))
            for number in range(200):
                request = await echo.read()
                await echo.send(result=big, requester=request["requester"], uid=str(number), error=False)
            await until(lambda: len(manager.clients) == 1)
        await fast.silence()


async def test_lost_notifications_are_told(transport: str) -> None:
    """16. A Client that missed notifications is told how many by the next that it gets; all others are as they came."""
    settings = config(transport, limits={"outbox": "1 MB"})
    async with Manager(settings) as manager, service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        big = "x" * 100_000
        sent = 0
        while not any(peer.outbox.lost for peer in manager._peers):
            await echo.send(result=[[sent, big], {}], service="Echo", uid="notification", error=False)
            sent += 1
            await echo.send(service="Echo", attribute="x", uid="")  # it is answered when the one before was handled
            await echo.read()
        got = [await user.read()]
        while "lost" not in got[-1]:
            await echo.send(result=[["after"], {}], service="Echo", uid="notification", error=False)
            sent += 1
            got.append(await user.read())
        numbers = [message["result"][0][0] for message in got[:-1] if message["result"][0] != ["after"]]
        assert numbers == list(range(len(numbers)))
        assert all(set(message) == {"error", "result", "service", "uid"} for message in got[:-1])
        assert got[-1]["lost"] >= 1
        after = [message async for message in rest(user, manager)]
        assert len(got) + len(after) + got[-1]["lost"] == sent
        assert not any("lost" in message for message in after)


async def rest(user: WirePeer, manager: Manager) -> AsyncIterator[Any]:
    """What a Client is sent until it has everything."""
    await user.call("Manager", "identity", uid="end")
    while (message := await user.read())["uid"] != "end":
        yield message


async def test_client_that_takes_nothing(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """16. A Client that takes nothing for too long is disconnected; a Service is busy, and nobody waits for it."""
    limits = {"outbox_timeout": "200 ms", "shutdown_timeout": "100 ms"}
    async with (
        Manager(config(transport, limits=limits)) as manager,
        service(manager) as echo,
        service(manager, "Deaf"),
        client(manager, "Fast") as fast,
    ):
        async with client(manager, "Slow") as slow:
            await slow.call("Echo", "echo")
            name = (await echo.read())["requester"]
            await echo.send(error=False, requester=name, result="x" * 20_000_000, uid="1")
            await until(lambda: "Slow[" not in str(list(manager.clients)))
        assert "does not read" in caplog.text
        await fast.call("Deaf", "x", "x" * 20_000_000, uid="d")
        await until(lambda: any(peer.outbox.is_stuck for peer in manager._peers))
        await fast.call("Deaf", "x", uid="e")
        refusal = await fast.read()
        assert refusal["uid"] == "e"
        assert refusal["message"].startswith("BlockingIOError: the 'Deaf' service does not keep up")
        assert "Deaf" in manager.services


async def test_all_that_is_kept(
    transport: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17. What is kept for all peers together has a limit: whoever has most of it is disconnected, and nobody else."""
    monkeypatch.setattr("msl_network.manager.LOOK", 0.05)
    settings = config(transport, limits={"max_memory": "3 MB"})
    async with Manager(settings) as manager, client(manager, "Small") as small, client(manager, "Large") as large:
        await small.write(b'{"args": ["' + b"x" * 1_000_000)
        await large.write(b'{"args": ["' + b"x" * 2_500_000)
        await large.eof()
        await until(lambda: len(manager.clients) == 1)
        await small.write(b'"], "service": "Nobody", "attribute": "x", "uid": "s"}\n')
        assert (await small.read())["uid"] == "s"
        assert "Large[" in caplog.text


async def test_large_bodies(manager: Manager) -> None:
    """19. A large body is routed as it was written, both ways, and in a notification, whatever is in it."""
    rows = ",".join(['{"a": [1, 2], "b": "c"}'] * 50_000)
    bodies = [
        f"[{', '.join(['1.50', '1e400', '-0.0', '12345678901234567890'] * 60_000)}]",
        '["' + r"\u00e9\ud83d\ude00 é \\ \" " * 60_000 + '"]',
        f"[[{rows}], NaN, -Infinity]",
    ]
    async with service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        for body in bodies:
            await user.write(b'{"args": %s, "attribute": "e", "service": "Echo", "uid": "1"}\n' % body.encode())
            line = await echo.line()
            assert b'"args":' + body.encode() in line
            name = json.loads(line)["requester"]
            reply = f'{{"error": false, "requester": "{name}", "result": {body}, "uid": "1"}}\r\n'.encode()
            await echo.write(reply)
            assert await user.line() == reply
            notification = f'{{"error": false, "result": [{body}, {{}}], "service": "Echo", "uid": "notification"}}\r\n'
            await echo.write(notification.encode())
            assert await user.line() == notification.encode()
        await user.write(b'{"args": [' + b"1.5," * 400_000 + b'1], "service": "Manager", "attribute": "link"}\n')
        refusal = await user.read()
        assert "a request to the Manager may have" in refusal["message"]


@pytest.mark.parametrize("limit", [50_000, 1_000_000])
async def test_reply_that_is_too_long(transport: str, limit: int) -> None:
    """2. A reply over the limit is an error for whoever asked; its Service stays, and so do its other calls."""
    settings = config(transport, limits={"max_message": limit})
    async with Manager(settings) as manager, service(manager) as echo, client(manager) as user:
        for uid in "ab":
            await user.call("Echo", "echo", uid=uid)
        name = (await echo.read())["requester"]
        long = {"error": False, "requester": name, "result": "x" * 2_000_000, "uid": "a"}
        short = {"error": False, "requester": name, "result": "y", "uid": "b"}
        await echo.write(json.dumps(long).encode() + b"\r\n" + json.dumps(short).encode() + b"\r\n")
        replies = {reply["uid"]: reply for reply in [await user.read(), await user.read()]}
        assert f"a message may have {limit} bytes (max_message), this one has more" in replies["a"]["message"]
        assert replies["b"]["result"] == "y"
        await user.call("Echo", "echo", uid="c")
        await until(lambda: "Echo" in manager.services)
        await echo.send(**{**short, "uid": "c"})
        assert (await user.read())["uid"] == "c"


async def test_long_reply_of_which_nobody_knows_whose_it_is(transport: str) -> None:
    """23. A Service whose long reply cannot be read, nor its uid, is closed, so that nobody waits for ever."""
    async with Manager(config(transport, limits={"max_message": "1 MB"})) as manager, client(manager) as user:
        async with service(manager) as echo:
            await user.call("Echo", "echo", uid="a")
            name = (await echo.read())["requester"]
            long = "x" * 2_000_000
            await echo.write(f'{{"requester": "{name}", "result": "{long}", "uid": "a", "error": false}}\n'.encode())
            reply = await user.read()
            assert reply["uid"] == "a"
            assert reply["message"].startswith("ConnectionAbortedError")
            await echo.eof()


async def test_service_that_does_not_read(transport: str) -> None:
    """A Service that does not read is busy for who asks for more; nobody waits for it."""
    settings = config(transport, limits={"outbox": "1 MB", "shutdown_timeout": "100 ms"})
    async with Manager(settings) as manager, service(manager, "Stuck"), service(manager) as echo:
        async with client(manager) as user:
            refused = None
            for number in range(400):
                await user.call("Stuck", "x", "x" * 100_000, uid=str(number))
                await user.call("Manager", "identity", uid="i")
                while (reply := await user.read())["uid"] != "i":
                    refused = reply
                if refused:
                    break
            assert refused is not None
            assert refused["message"].startswith("BlockingIOError: the 'Stuck' service does not keep up")
            await user.call("Echo", "echo", "fine")
            assert (await echo.read())["args"] == ["fine"]


async def test_pending_limit(transport: str) -> None:
    """17. A Client may wait for so many replies at a time; the next request is refused, and possible later."""
    async with (
        Manager(config(transport, limits={"pending": 2})) as manager,
        service(manager) as echo,
        client(manager) as user,
    ):
        for uid in "abc":
            await user.call("Echo", "echo", uid=uid)
        refusal = await user.read()
        assert refusal["uid"] == "c"
        assert refusal["message"].startswith("BlockingIOError: ")
        request = await echo.read()
        await echo.send(result=1, requester=request["requester"], uid="a", error=False)
        assert (await user.read())["uid"] == "a"
        await user.call("Echo", "echo", uid="d")
        assert [(await echo.read())["uid"] for _ in range(2)] == ["b", "d"]


# Plugins and the store


async def test_told(transport: str) -> None:
    """Plugins hear each step of a connection's life, in order."""
    listening = Listening()
    async with Manager(config(transport), plugins=[listening]) as manager:
        async with client(manager, "A") as user:
            async with service(manager):
                await user.manager("link", "Echo")
                await user.manager("link", "Echo")
                await user.manager("acquire_lock", "Echo", True)
                await user.manager("release_lock", "Echo")
                await user.manager("release_lock", "Echo")
                await user.manager("unlink", "Echo")
                await user.manager("link", "Echo")
                await user.manager("acquire_lock", "Echo")
            await until(lambda: not manager.services)
        await until(lambda: not manager.clients)
        assert listening.heard == [
            "connecting",
            "joined A",
            "connecting",
            "joined Echo",
            "linked Echo",
            "locked Echo True",
            "unlocked Echo",
            "unlinked Echo",
            "linked Echo",
            "locked Echo False",
            "unlocked Echo",
            "unlinked Echo",
            "left Echo",
            "left A",
        ]


async def test_authorize(transport: str) -> None:
    """A plugin decides once per Service and attribute who may use it, until it is revoked."""

    class Rules:
        def __init__(self) -> None:
            self.asked: list[str] = []

        @hookimpl
        def authorize(self, peer: Peer, service: str, attribute: str) -> None:
            self.asked.append(f"{service}.{attribute}")
            if attribute == "reset":
                raise AuthorizationError("only the owner may reset it")

    rules = Rules()
    async with (
        Manager(config(transport), plugins=[rules]) as manager,
        service(manager) as echo,
        client(manager) as user,
    ):
        rules.asked.clear()
        for uid in "ab":
            await user.call("Echo", "echo", uid=uid)
            assert (await echo.read())["uid"] == uid
        await user.call("Echo", "reset", uid="r")
        refusal = await user.read()
        assert (refusal["message"], refusal["uid"]) == ("PermissionError: only the owner may reset it", "r")
        assert rules.asked == ["Echo.echo", "Echo.reset"]
        manager.revoke_authorizations()
        await user.call("Echo", "echo", uid="c")
        await echo.read()
        assert rules.asked[-1] == "Echo.echo"


async def test_authorize_links_and_locks(transport: str) -> None:
    """A plugin is asked which Service is to be linked with or locked, each time; who may not changes nothing."""

    class Rules:
        def __init__(self) -> None:
            self.asked: list[tuple[str, str, str]] = []
            self.refused = ""

        @hookimpl
        def authorize(self, service: str, attribute: str, action: str) -> None:
            self.asked.append((service, attribute, action))
            if action == self.refused:
                raise AuthorizationError(f"no {action}")

    rules = Rules()
    async with (
        Manager(config(transport), plugins=[rules]) as manager,
        service(manager),
        client(manager) as user,
    ):
        rules.asked.clear()
        rules.refused = "link"
        assert await user.manager("link", "Echo") == "PermissionError: no link"
        assert await user.manager("acquire_lock", "Echo") == (
            f"PermissionError: {next(iter(manager.clients))} cannot acquire a lock "
            "because it is not linked with the 'Echo' service"
        )
        rules.refused = "lock"
        assert "attributes" in await user.manager("link", "Echo")
        assert await user.manager("acquire_lock", "Echo") == "PermissionError: no lock"
        link, lock = ("Echo", "link", "link"), ("Echo", "acquire_lock", "lock")
        assert rules.asked == [("Manager", "link", "call"), link, ("Manager", "acquire_lock", "call"), lock, link, lock]
        rules.refused = ""
        assert await user.manager("acquire_lock", "Echo") == list(manager.clients)


async def test_corrected_identity(transport: str) -> None:
    """A plugin may correct an identity, e.g. limit how many Clients a Service takes."""

    class Limiting:
        @hookimpl
        async def check_identity(self, identity: Identity) -> Identity:
            return Identity(
                type=identity.type, name=identity.name.upper(), attributes=identity.attributes, max_clients=1
            )

    async with Manager(config(transport), plugins=[Limiting()]) as manager, connected(manager) as peer:
        await peer.read()
        await peer.send(result={"type": "service", "name": "dmm", "attributes": {}})
        await until(lambda: "DMM" in manager.services)
        assert manager.services["DMM"]["max_clients"] == 1


async def test_records(transport: str) -> None:
    """The store has the story of each connection."""
    settings = config(transport, auth=["password"], plugin_settings={"password": {"password": "p"}})
    async with Manager(settings) as manager:
        async with connected(manager) as peer:
            await peer.read()
            await peer.ask(b"p")
            await peer.write(b"client\n")
            await peer.silence()
        await until(lambda: not manager.clients)
        async with connected(manager) as peer:
            await peer.read()
            await peer.ask(b"wrong")
            await peer.eof()
        async with connected(manager) as peer:
            await peer.read()
        with anyio.fail_after(10):
            while len(records := await manager.store.records.list()) < 8:
                await anyio.lowlevel.checkpoint()
        stories: dict[int, list[str]] = {}
        for record in records:
            assert record.ip_address == "127.0.0.1"
            stories.setdefault(record.port, []).append(record.message)
        assert list(stories.values()) == [
            ["new connection request", "connected as a client", "disconnected"],
            ["new connection request", "rejected: Wrong Manager password", "disconnected"],
            ["new connection request", "connection closed before receiving the password"],
        ]


# Strangers


class FarAway:
    """A connection from another computer, without a network."""

    remote = ("192.0.2.7", 4711)
    local = ("192.0.2.1", 1875)
    certificate = None

    def __init__(self) -> None:
        self.sent = b""
        self.unsent = 0

    @asynccontextmanager
    async def open(
        self, receiver: Receiver, context: ssl.SSLContext | None, *, handshake: float, closing: float, keepalive: float
    ) -> AsyncIterator[FarAway]:
        receiver.feed(b"client Far\n")
        yield self

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        raise AssertionError

    def pause_reading(self) -> None:
        """There is nothing more to read."""

    resume_reading = pause_reading

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()

    async def discard(self) -> None:
        raise AssertionError


async def test_anonymous_peers_of_other_computers(transport: str) -> None:
    """Without authentication a peer of another computer is refused with a text that says how to change it."""
    listening = Listening()
    async with Manager(config(transport), plugins=[listening]) as manager:
        far = FarAway()
        await manager.new_connection(far)
        (refusal,) = far.sent.splitlines()
        message = json.loads(refusal)["message"]
        assert message.startswith("ValueError: this Manager authenticates nobody")
        assert "auth" in message
        assert "--allow-anonymous" in message
        assert listening.heard[-1].startswith("rejected: this Manager")


class Gone(FarAway):
    """A peer that is gone, and with it our own address, as on macOS."""

    is_discarded = False

    @property
    def local(self) -> tuple[str, int]:  # type: ignore[override]  # it is only read
        raise OSError(errno.EINVAL, "invalid argument")

    async def discard(self) -> None:
        self.is_discarded = True


async def test_left_before_it_was_known(transport: str) -> None:
    """A peer that left before anything is known of it is closed, and the Manager goes on."""
    async with Manager(config(transport)) as manager:
        gone = Gone()
        await manager.new_connection(gone)
        assert gone.is_discarded
        async with client(manager):
            assert manager.clients


async def test_allow_anonymous(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers of other computers are let in without authentication where that is said; the name is found for them."""
    monkeypatch.setattr(socket, "getfqdn", lambda address: {"192.0.2.7": "lab7.example.org"}[address])
    async with Manager(config(transport, allow_anonymous=True)) as manager, anyio.create_task_group() as task_group:
        far = FarAway()
        task_group.start_soon(lambda: manager.new_connection(far))
        await until(lambda: manager.clients)
        assert list(manager.clients) == ["Far[lab7:4711]"]
        task_group.cancel_scope.cancel()


# Lifetimes and TLS


async def test_serves_once(transport: str) -> None:
    """A Manager that has served does not serve again, and says so."""
    manager = Manager(config(transport))
    async with manager:
        pass
    with pytest.raises(StartError, match="serves once"):
        async with manager:
            raise AssertionError


async def test_two_managers(transport: str) -> None:
    """Two Managers run in one process and know nothing of each other; leaving frees their ports."""
    async with Manager(config(transport)) as one, Manager(config(transport, store="sqlite")) as two:
        assert one.port != two.port
        async with service(one), client(two) as user:
            assert "does not exist" in await user.manager("link", "Echo")
        port = one.port
    async with Manager(config(transport, port=port)) as again:
        assert again.port == port


async def test_serve_is_cancelled(transport: str) -> None:
    """Cancelling `serve` closes every connection."""
    manager = Manager(config(transport))
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        async with client(manager) as user:
            task_group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await user.eof()


async def test_error_inside_the_block(transport: str) -> None:
    """An error in the block of a Manager comes out as it is."""
    with pytest.raises(ZeroDivisionError):
        async with Manager(config(transport)) as manager, client(manager):
            _ = 1 / 0


async def test_tls(transport: str, home: Path) -> None:
    """41. With TLS, the certificate that is made on first start is one that a Client can verify by name."""
    async with Manager(config(transport, tls={"enabled": True})) as manager:
        context = ssl.create_default_context(cafile=str(home / "certs" / "localhost.crt"))
        async with connected(manager, context) as peer:
            await peer.read()
            await peer.write(b"client\n")
            await peer.silence()
            await peer.call("Nobody", "x", "x" * 3_000_000)
            assert (await peer.read())["error"]


async def test_not_tls(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """40. Who does not speak TLS, or only fetches the certificate, costs nobody anything and leaves no traceback."""
    caplog.set_level(logging.INFO)
    listening = Listening()
    async with Manager(config(transport, tls={"enabled": True}), plugins=[listening]) as manager:
        async with connected(manager) as peer:
            await peer.write(b"GET / HTTP/1.1\r\n\r\n")
            await peer.eof()
        pem = await anyio.to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", manager.port))
        assert pem.startswith("-----BEGIN CERTIFICATE-----")
        await until(lambda: sum(text.startswith("connection closed prematurely") for text in listening.heard) == 2)
    assert "Traceback" not in caplog.text
    assert all(record.levelno <= logging.INFO for record in caplog.records)


async def test_accept_goes_on(manager: Manager, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    """6. When the system refuses a connection for want of descriptors, the Manager accepts again a moment later."""
    if transport == "protocol":
        original = socket.socket.accept
        failures = [OSError(24, "Too many open files")]

        def accept(self: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return original(self)

        monkeypatch.setattr(socket.socket, "accept", accept)
    async with client(manager), client(manager):
        assert len(manager.clients) == 2


async def test_write_and_close(manager: Manager) -> None:
    """Whoever embeds a Manager may send a peer a request, and close its connection."""
    async with client(manager) as user:
        (peer,) = manager._peers
        await manager.write_request(peer, "blink", 3)
        request = await user.read()
        assert (request["attribute"], request["args"], request["requester"]) == ("blink", [3], manager.network_name)
        manager.close_writer(peer)
        await user.eof()
    await until(lambda: not manager.clients)


async def test_user_store(transport: str) -> None:
    """A Manager hands its store to whoever embeds it."""
    async with Manager(config(transport)) as manager:
        await manager.store.users.insert(User(name="tom", key=b"k", salt=b"s"))
        assert [user.name for user in await manager.store.users.list()] == ["tom"]
