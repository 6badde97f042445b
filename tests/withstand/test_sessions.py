"""Sessions: from the first byte of a connection to its end, whatever that is."""

from __future__ import annotations

import json
import logging
import os
import resource
import socket
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest

from msl_network import Config, Handshake, Manager, Peer, hookimpl
from tests.interop.lab import eventually
from tests.wire_peer import WirePeer, client, config, connected, service, until

from . import network
from .ends import ENDS, fin, no_more, rst
from .network import cable
from .program import MEBI, Caller, Program
from .program import client as blocking_client
from .program import connected as blocking_connected

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

KIBI = 1024


# 1: the handshake as a whole


class Curious:
    """An authenticator that never has enough of questions."""

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        while True:
            await handshake.ask("password", "once more")


async def drip(peer: WirePeer, data: bytes) -> None:
    """Send byte after byte, for as long as the Manager takes them."""
    try:
        for byte in data:
            await peer.stream.send(bytes([byte]))
            await anyio.sleep(0.01)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def is_ended(manager: Manager, data: bytes) -> None:
    """Connect, send data slowly, and wait for the end."""
    async with connected(manager) as peer, anyio.create_task_group() as task_group:
        task_group.start_soon(drip, peer, data)
        await peer.eof()
        task_group.cancel_scope.cancel()


@pytest.mark.parametrize("tls", [False, True])
async def test_handshake_as_a_whole(transport: str, tls: bool) -> None:
    """1. A peer that is not let in within the time is dropped, whether it is silent or sends byte after byte."""
    settings = config(transport, limits={"handshake_timeout": "300 ms"}, tls={"enabled": tls})
    async with Manager(settings) as manager, anyio.create_task_group() as task_group:
        for data in (b"", b"client A" + b" " * 2000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(490)):
            task_group.start_soon(is_ended, manager, data)


async def test_no_time_for_each_answer(transport: str) -> None:
    """1. The time is for the whole handshake: it does not begin anew with each answer."""
    settings = config(transport, limits={"handshake_timeout": "300 ms"})
    async with Manager(settings, plugins=[Curious()]) as manager, connected(manager) as peer:
        count = 0
        while not (prompt := await peer.read())["error"]:
            count += 1
            await peer.send(result="patience")
        assert count > 1
        assert prompt["message"] == "TimeoutError: the handshake was not complete within 0.3 s"
        await peer.eof()


def test_time_that_a_handshake_has() -> None:
    """1. Without a setting it is 10 s."""
    assert Config().limits.handshake_timeout == 10


# 2: the limits of a line


async def test_lines_of_the_default_length(manager: Manager) -> None:
    """2. A line of the handshake may have 64 KiB; one byte more is refused, with a newline or without."""
    identity = b'{"result": {"type": "client", "name": "%s"}}'
    async with connected(manager) as peer:
        await peer.read()
        await peer.write((identity % b"fits").ljust(64 * KIBI) + b"\n")
        await peer.silence()
        for line in ((identity % b"long").ljust(64 * KIBI + 1) + b"\n", b"x" * (64 * KIBI + 1)):
            async with connected(manager) as stranger:
                await stranger.read()
                await stranger.write(line)
                refusal = await stranger.read()
                assert (refusal["error"], refusal["uid"]) == (True, "")
                assert refusal["message"].startswith("ValueError: a message may have 65536 bytes here")
                assert refusal["requester"] == manager.network_name
                await stranger.eof()
        assert [shown["name"] for shown in manager.clients.values()] == ["fits"]


def test_length_of_later_lines() -> None:
    """2. Without a setting a connected peer may send lines of 64 MiB and more."""
    assert Config().limits.max_message >= 64 * MEBI


@pytest.mark.parametrize("tls", [False, True])
def test_flood_without_a_newline(start: Callable[..., Program], tls: bool) -> None:
    """2. 200 MB without a newline, before authentication, cost less than 16 MB of memory."""
    program = start(auth=("password",), tls=tls, plugins={"password": {"password": "p"}})
    context = program.context() if tls else None
    with blocking_connected(program.port, context) as peer:
        assert peer.read()["attribute"] == "password"
    before = program.memory()
    chunk, sent = b"x" * 50_000, 0
    while sent < 200_000_000:
        with blocking_connected(program.port, context) as peer, suppress(OSError):
            while True:  # until the Manager gives it up; then the next one goes on
                peer.write(chunk)
                sent += len(chunk)
    assert program.memory(peak=True) - before < 16_000_000
    with blocking_connected(program.port, context) as peer:
        assert peer.read()["attribute"] == "password"


@pytest.mark.parametrize("limit", [64 * KIBI, MEBI])
async def test_line_over_the_limit(transport: str, limit: int) -> None:
    """2. A line over the limit is answered with an error that has its uid, and closes the connection of a Client."""
    text = "x" * 3 * limit
    async with Manager(config(transport, limits={"max_message": limit})) as manager, client(manager, "Good") as good:
        async with service(manager) as echo:
            async with client(manager) as user:
                await user.call("Echo", "echo", text, uid="long")  # the uid comes last, as in 1.0
                reply = await user.read()
                assert (reply["error"], reply["uid"]) == (True, "long")
                assert str(limit) in reply["message"]
                await user.eof()
            await until(lambda: len(manager.clients) == 1)
            await good.call("Echo", "echo", "x" * (limit - 1000), uid="fits")
            request = await echo.read()
            assert len(request["args"][0]) == limit - 1000
            await good.call("Echo", "echo", uid="next")
            await echo.read()
            await echo.send(error=False, requester=request["requester"], result=text, uid="fits")
            assert (await echo.read())["error"] is True
            await echo.send(error=False, requester=request["requester"], result="short", uid="next")
            replies = [await good.read(), await good.read()]
            assert [(reply["uid"], reply["error"]) for reply in replies] == [("fits", True), ("next", False)]


# 3: peers whose computer is gone


def accepted(port: int, peer: tuple[str, int]) -> socket.socket:
    """Return the Manager's end of a connection, of this process."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # it is no socket, or has no peer
            found = socket.socket(fileno=os.dup(int(entry.name)))
            try:
                if found.getpeername() == peer and found.getsockname()[1] == port:
                    return found.dup()
            finally:
                found.close()
    raise AssertionError("there is no such connection")


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for the socket where Linux shows it")
@pytest.mark.parametrize(("setting", "idle", "unconfirmed"), [(None, 30, 30_000), ("6 s", 3, 3000)])
async def test_options_of_a_connection(transport: str, setting: str | None, idle: int, unconfirmed: int) -> None:
    """3. The system looks after each peer: it asks who is silent, and gives up who confirms nothing, in time."""
    limits = {} if setting is None else {"keepalive_timeout": setting}
    async with Manager(config(transport, limits=limits)) as manager, client(manager) as user:
        peer = user.stream.extra(anyio.abc.SocketAttribute.local_address)
        with closing(accepted(manager.port, (str(peer[0]), int(peer[1])))) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            first, interval, count, user_timeout = (
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
        assert 0 < first <= idle
        assert first + interval * count <= 2 * idle
        assert 0 < user_timeout <= unconfirmed


def test_computer_that_is_gone(home: Path) -> None:
    """3. When the computer of peers is gone, so are they: idle or not, with their names, links, locks and calls."""
    with cable() as between, ExitStack() as stack:

        def peer(name: str, computer: str = "", **identity: Any) -> Caller:
            caller = Caller(between.connect(program.port, computer))
            stack.callback(caller.close)
            caller.join(name, **identity)
            return caller

        program = Program(
            home,
            host=network.MANAGER,
            within=between.within,
            limits={"keepalive_timeout": "3 s"},
            allow_anonymous=True,
        )
        stack.callback(program.close)
        beat = peer("Beat", between.manager, type="service", attributes={})
        stays = peer("Stays", between.manager)
        peer("Gone", type="service", attributes={})
        eventually(lambda: len(stays.manager("identity")["services"]) == 2)
        stays.manager("link", "Gone")
        idle, busy = peer("Idle"), peer("Busy")
        idle.manager("link", "Gone")
        busy.manager("link", "Beat")
        busy.manager("acquire_lock", "Beat")
        assert "locked" in stays.manager("link", "Beat")
        stays.call("Gone", "x", uid="open")
        between.pull()
        beat.send(error=False, service="Beat", result=[["x" * MEBI], {}], uid="notification")
        lost = stays.read()
        assert (lost["error"], lost["uid"]) == (True, "open")
        assert lost["message"].startswith("ConnectionAbortedError: the 'Gone' service left")
        eventually(lambda: len(stays.manager("identity")["clients"]) == 1)
        assert set(stays.manager("identity")["services"]) == {"Beat"}
        assert stays.manager("link", "Beat")
        assert stays.manager("acquire_lock", "Beat")


# 4: the end of a connection, whatever it is


class Fails:
    """A plugin that fails whenever somebody leaves, and in some requests."""

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        raise ZeroDivisionError

    @hookimpl
    def unlinked(self, peer: Peer, service: str) -> None:
        raise ZeroDivisionError

    @hookimpl
    def authorize(self, peer: Peer, service: str, attribute: str) -> None:
        if attribute == "fails":
            raise ZeroDivisionError


async def fails_in_a_plugin(peer: WirePeer) -> None:
    await peer.call("Echo", "fails", uid="f")
    await peer.stream.aclose()


async def test_service_ends(transport: str) -> None:
    """4. However a Service ends, its name, links, locks and open calls end with it: nobody meets a zombie."""
    settings = config(transport, limits={"max_message": "64 KiB"})
    async with Manager(settings, plugins=[Fails()]) as manager, client(manager, "User") as user:
        for end in ENDS:
            async with service(manager, "DMM", max_clients=1) as dmm:
                await user.manager("link", "DMM")
                await user.manager("acquire_lock", "DMM")
                await user.call("DMM", "read", uid=end.__name__)
                await dmm.read()
                await end(dmm)
                reply = await user.read()
                assert reply["uid"] == end.__name__
                assert reply["message"].startswith("ConnectionAbortedError: the 'DMM' service left")
                assert not (await user.manager("identity"))["services"]
            async with service(manager, "DMM", max_clients=1) as dmm, client(manager, "Next") as other:
                assert "it is not linked" in await user.manager("acquire_lock", "DMM")
                assert (await other.manager("link", "DMM"))["max_clients"] == 1
                assert await other.manager("release_lock", "DMM") == []
                await other.call("DMM", "read", uid="1")
                assert (await dmm.read())["uid"] == "1"
            await until(lambda: len(manager.clients) == 1 and not manager.services)


async def test_client_ends(transport: str) -> None:
    """4. However a Client ends, its name, links, locks and open calls end with it: nobody meets a zombie."""
    settings = config(transport, limits={"max_message": "64 KiB"})
    async with (
        Manager(settings, plugins=[Fails()]) as manager,
        service(manager, max_clients=1) as echo,
        client(manager, "Next") as other,
    ):
        for end in [*ENDS, fails_in_a_plugin]:
            async with client(manager, "Gone") as user:
                await user.manager("link", "Echo")
                await user.manager("acquire_lock", "Echo")
                await user.call("Echo", "echo", uid=end.__name__)
                late = await echo.read()
                assert "locked" in await other.manager("link", "Echo")
                await end(user)
                await until(lambda: len(manager.clients) == 1)
                (name,) = await other.manager("link", "Echo") and await other.manager("acquire_lock", "Echo")
                assert name.startswith("Next[")
                assert await other.manager("unlink", "Echo") is True
                await echo.send(result="late", requester=late["requester"], uid=late["uid"], error=False)
        await other.call("Echo", "echo", uid="1")
        request = await echo.read()
        await echo.send(result="well", requester=request["requester"], uid="1", error=False)
        assert (await other.read())["result"] == "well"


# 5: any line


BROKEN = [
    b"{}",
    b"null",
    b"5",
    b"-1e999",
    b"NaN",
    b"true",
    b"[]",
    b'[{"service": "Echo", "attribute": "echo"}]',
    b'"text"',
    b"{",
    b"}",
    b'{"service": "Echo"}',
    b'{"attribute": "echo"}',
    b'{"service": null, "attribute": null}',
    b'{"service": "Echo", "attribute": {"a": 1}}',
    b'{"service": "Echo", "attribute": "echo", "args": "text"}',
    b'{"service": "Echo", "attribute": "echo", "args": null, "kwargs": null}',
    b'{"service": "Echo", "attribute": "echo", "kwargs": [[]]}',
    b'{"service": "Echo", "attribute": "echo", "uid": {}}',
    b'{"service": "Echo", "attribute": "echo", "uid": Infinity}',
    b'{"service": "Echo", "attribute": "echo", "uid": "' + b"u" * 60_000 + b'"}',
    b'{"service": "Manager", "attribute": "link", "args": [[[]]]}',
    b'{"service": "Manager", "attribute": "link", "args": [], "kwargs": {"self": 1}}',
    b'{"service": "Manager", "attribute": "identity", "args": [' + b"9" * 5000 + b"]}",
    b'{"service": "Manager", "attribute": "acquire_lock", "args": ["Echo"], "kwargs": {"shared": {}, "peer": 1}}',
    b'{"service": "Manager", "attribute": "link", "args": ["\\ud800"]}',
    b'{"service": "\\ud800", "attribute": "echo"}',
    b'{"service": "Echo", "attribute": "\xff", "uid": "u"}',
    b'{"service": "Echo", "attribute": "\\ud800"}',
    b"[" * 60_000,
    b'{"a":' * 12_000,
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"\xed\xa0\x80",
    b"nonsense",
    b"GET / HTTP/1.1",
    b"\x16\x03\x01\x00\xa5\x01",
    b"link",
    b"client B",
    b"Echo echo (((((",
    b"Echo echo " + b"(" * 60_000,
    b"Echo 'echo",
    b"   ",
    b"",
    b"\r",
]


async def test_any_line_of_a_client(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    """5. Whatever a Client sends, it gets one error and stays; no Service hears of it, and there is no traceback."""
    async with service(manager) as echo, client(manager) as user:
        for line in BROKEN:
            reply = await user.ask(line)
            assert reply["error"] is True, line
            assert (reply["result"], reply["traceback"]) == (None, []), line
            assert set(reply) == {"error", "message", "requester", "result", "traceback", "uid"}, line
            assert len(reply["message"]) < 1500, line
        await user.silence()
        await user.call("Echo", "echo", "sound")
        assert (await echo.read())["args"] == ["sound"]
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


async def test_any_line_of_a_service(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    """5. Whatever a Service sends, it stays and goes on answering; no Client hears of it, and there is no traceback."""
    async with service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        for number, line in enumerate(BROKEN):
            await echo.write(line + b"\n")
            await user.call("Echo", "echo", uid=number)
            while "args" not in (request := await echo.read()):
                assert (request["error"], request["traceback"]) == (True, []), line
            await echo.send(result=number, requester=request["requester"], uid=request["uid"], error=False)
            reply = await user.read()
            assert (reply["uid"], reply["result"]) == (number, number), line
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize("answer", ["password", "identity"])
async def test_any_line_of_a_stranger(transport: str, answer: str, caplog: pytest.LogCaptureFixture) -> None:
    """5. Whatever a stranger answers, it is refused with one error, the connection ends, and there is no traceback."""
    auth: dict[str, Any] = {"auth": ["password"], "plugin_settings": {"password": {"password": "p"}}}
    # after the third wrong password from an address, answers come later and later
    lines = [b"{}", b"\xff"] if answer == "password" else [line for line in BROKEN if line != b"client B"]
    async with Manager(config(transport, **(auth if answer == "password" else {}))) as manager:
        for line in lines:
            async with connected(manager) as peer:
                assert (await peer.read())["attribute"] == answer
                refusal = await peer.ask(line)
                assert refusal["error"] is True, line
                assert (refusal["uid"], refusal["traceback"], refusal["requester"]) == ("", [], manager.network_name)
                await peer.eof()
        assert not manager.clients
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


async def test_uid_of_what_is_refused(manager: Manager) -> None:
    """5. The uid comes back with the error if it is a text, a number, a truth or null; any other is an empty text."""
    uids = ["u", "", "\u00e9\n", 7, -1, 0, 1.5, True, False, None]
    async with client(manager) as user:
        for uid in uids:
            for request in ({"service": "Echo", "attribute": 1}, {"service": "Nobody", "attribute": "x"}, {}):
                await user.send(**request, uid=uid)
                reply = await user.read()
                assert reply["error"] is True
                assert (type(reply["uid"]), reply["uid"]) == (type(uid), uid)
        for bad in ([], ["u"], {}, {"u": 1}, float("nan")):
            await user.send(service="Nobody", attribute="x", uid=bad)
            reply = await user.read()
            assert (reply["error"], reply["uid"]) == (True, "")


# 6: many who are about to connect


BEGINNINGS = {"silent": b"", "half a line": b"client"}
TLS_BEGINNINGS = {"silent": b"", "half a hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}


@pytest.mark.parametrize("tls", [False, True])
def test_half_open(start: Callable[..., Program], tls: bool) -> None:
    """6. Behind 700 connections that never finish their handshake, a new Client is served in a moment."""
    program = start(tls=tls)
    context = program.context() if tls else None
    with ExitStack() as stack:
        for beginning in (TLS_BEGINNINGS if tls else BEGINNINGS).values():
            for _ in range(350):
                stranger = stack.enter_context(blocking_connected(program.port))
                stranger.write(beginning)
        began = time.monotonic()
        with blocking_client(program.port, context=context) as user:
            assert time.monotonic() - began < 3  # else it would wait until their time is over: 10 s
            assert len(user.manager("identity")["clients"]) == 1
    program.read("closed to make room")
    assert "Traceback" not in program.transcript


def test_no_descriptor_left(start: Callable[..., Program]) -> None:
    """6. When the system has no descriptor left, those make room who are silent in the handshake, and all goes on."""
    program = start()
    with blocking_client(program.port, "Early") as early, ExitStack() as stack:
        most = program.descriptors() + 30
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (most, most))
        strangers = [stack.enter_context(blocking_connected(program.port)) for _ in range(45)]
        began = time.monotonic()
        with blocking_client(program.port, "Late"):
            assert time.monotonic() - began < 5  # else it would wait until their time is over: 10 s
            names = {shown["name"] for shown in early.manager("identity")["clients"].values()}
            assert names == {"Early", "Late"}
        for stranger in strangers:
            stranger.close()
        with ExitStack() as users:  # who is connected does not make room; who comes later waits
            count = most - program.descriptors()
            connected = [users.enter_context(blocking_connected(program.port)) for _ in range(count + 10)]
            for user in connected[: count - 5]:
                user.join()
        with blocking_client(program.port, "Last"):
            names = {shown["name"] for shown in early.manager("identity")["clients"].values()}
            assert {"Early", "Last"} <= names
    assert "no connection can be accepted until another one ends" in program.transcript
    assert "Traceback" not in program.transcript


# 7: a last line without its end


async def test_last_line_without_newline(manager: Manager) -> None:
    """7. A line whose newline never comes is nothing: no identity, no request, no reply, no notification."""
    async with service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        for end in (fin, no_more, rst):
            async with connected(manager) as stranger:
                await stranger.read()
                await stranger.write(b'{"result": {"type": "client", "name": "Half"}}')
                await end(stranger)
                if end is no_more:
                    await stranger.eof()
            async with client(manager, "Half") as half:
                await half.write(json.dumps({"service": "Echo", "attribute": "echo", "uid": "half"}).encode())
                await end(half)
                await until(lambda: len(manager.clients) == 1)
            async with service(manager, "Half") as half:
                await user.manager("link", "Half")
                await user.call("Half", "x", uid="open")
                name = (await half.read())["requester"]
                await half.write(b'{"error": false, "result": [[1], {}], "service": "Half", "uid": "notification"}')
                await end(half)
                assert (await user.read())["message"].startswith("ConnectionAbortedError: ")
            async with service(manager, "Half") as half:
                await user.call("Half", "x", uid="open")
                await half.read()
                await half.write(json.dumps({"error": False, "requester": name, "result": 1, "uid": "open"}).encode())
                await end(half)
                assert (await user.read())["message"].startswith("ConnectionAbortedError: ")
            await until(lambda: len(manager.services) == 1)
        await user.silence()
        await user.call("Echo", "echo", uid="whole")
        assert (await echo.read())["uid"] == "whole"
