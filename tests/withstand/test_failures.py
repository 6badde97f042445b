"""Failures: every call ends, whatever happens to who should answer it; and so does the Manager, when it is told to."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import struct
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest

from tests.interop.lab import eventually
from tests.laboratory import HERE
from tests.wire_peer import WirePeer, client, connected, service, until

from . import program as blocking
from .program import MEBI, add_users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msl_network import Manager

    from .program import Caller, Program

pytestmark = pytest.mark.anyio


async def fin(peer: WirePeer) -> None:
    await peer.stream.aclose()


async def rst(peer: WirePeer) -> None:
    raw: socket.socket = peer.stream.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await peer.stream.aclose()


async def goodbye(peer: WirePeer) -> None:
    await peer.write(b'{"service": "Echo", "attribute": "__disconnect__"}\r\n')


# 23: a Service that leaves


@pytest.mark.parametrize("end", [fin, rst, goodbye])
async def test_many_calls_when_a_service_leaves(manager: Manager, end: Callable[..., Any]) -> None:
    """23. However a Service leaves, each open call gets one error with its uid, at once; what is answered gets none."""
    async with client(manager, "A") as one, client(manager, "B") as two, client(manager, "C") as three:
        users = {"A": one, "B": two, "C": three}
        async with service(manager) as echo:
            for name, user in users.items():
                lines = [{"service": "Echo", "attribute": "e", "uid": f"{name}{number}"} for number in range(100)]
                await user.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            requests = [await echo.read() for _ in range(300)]
            answered = {request["uid"] for request in requests[::3]}
            for request in requests[::3]:
                await echo.send(error=False, requester=request["requester"], result=1, uid=request["uid"])
            await end(echo)
            for name, user in users.items():
                got = [await user.read() for _ in range(100)]
                assert {reply["uid"] for reply in got} == {f"{name}{number}" for number in range(100)}
                for reply in got:
                    assert reply["error"] is (reply["uid"] not in answered)
                    if reply["error"]:
                        assert reply["message"].startswith("ConnectionAbortedError: the 'Echo' service left")
                        assert (reply["result"], reply["traceback"]) == (None, [])
                        assert reply["requester"].startswith(f"{name}[")
                await user.silence()


async def test_call_of_a_service_that_has_left(manager: Manager) -> None:
    """23. A call of a Service that has left, by who was linked with it, is an error with its uid, and nothing else."""
    async with client(manager) as user:
        async with service(manager):
            await user.manager("link", "Echo")
        await until(lambda: not manager.services)
        await user.call("Echo", "echo", uid="late")
        reply = await user.read()
        assert (reply["error"], reply["uid"]) == (True, "late")
        assert reply["message"].startswith('KeyError: "')
        assert await user.manager("unlink", "Echo") is True


# 24: a Client that leaves


async def test_late_replies(manager: Manager) -> None:
    """24. Replies to a Client that left are dropped without a word, and its calls count for nobody any more."""
    async with service(manager) as echo, client(manager, "Stays") as stays:
        late = []
        for end in (fin, rst, goodbye):
            async with client(manager, "Gone") as user:
                for number in range(50):
                    await user.call("Echo", "echo", uid=str(number))
                    late.append(await echo.read())
                await end(user)
                await until(lambda: len(manager.clients) == 1)
        await stays.call("Echo", "echo", uid="0")
        request = await echo.read()
        for other in [*late, request]:
            await echo.send(error=False, requester=other["requester"], result=1, uid=other["uid"])
        assert (await stays.read())["uid"] == "0"
        await stays.silence()
        # the Service was told nothing, neither that they left nor that it is too late
        await stays.call("Echo", "echo", uid="next")
        assert (await echo.read())["uid"] == "next"


# 25: what is free again, and when


@pytest.mark.parametrize("end", [fin, rst])
async def test_free_at_once(manager: Manager, end: Callable[..., Any]) -> None:
    """25. Who comes back at once finds its name, and all that it held, free."""
    sound = {"type": "service", "name": "DMM", "attributes": {}, "max_clients": 1}
    async with client(manager) as user:
        for number in range(10):
            async with connected(manager) as dmm:
                await dmm.read()
                await dmm.send(result=sound)
                while "DMM" not in (await user.manager("identity"))["services"]:
                    pass
                assert (await user.manager("link", "DMM"))["max_clients"] == 1
                await user.manager("acquire_lock", "DMM")
                await user.call("DMM", "x", uid=number)
                assert (await dmm.read())["uid"] == number
                await end(dmm)
                assert (await user.read())["uid"] == number


# 26: the end of the Manager


def stuck(stack: ExitStack, program: Program) -> list[Caller]:
    """Connect peers that keep a Manager from ending if anything does; return those that read."""
    silent = stack.enter_context(blocking.connected(program.port))
    shy = stack.enter_context(blocking.connected(program.port))
    assert shy.read()["attribute"] == "identity"
    echo = stack.enter_context(blocking.service(program.port))
    deaf = stack.enter_context(blocking.client(program.port, "Deaf"))
    user = stack.enter_context(blocking.client(program.port, "User"))
    user.manager("link", "Echo")
    user.call("Echo", "echo", uid="open")
    assert echo.read()["uid"] == "open"
    user.call("Manager", "port", uid="prompted")
    assert user.read()["attribute"] == "username"
    deaf.call("Echo", "echo", uid="large")
    request = echo.read()
    echo.send(error=False, requester=request["requester"], result="x" * 20 * MEBI, uid="large")
    return [silent, shy, echo, user]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "shutdown_manager"])
def test_end(home: Path, start: Callable[..., Program], how: str) -> None:
    """26. Told to end, the Manager closes all connections, records that, and is gone with status 0 within 5 s."""
    add_users(home, admins=("root",), root="pw")
    program = start(limits={} if how == "SIGTERM" else {"shutdown_timeout": "200 ms"})
    with ExitStack() as stack:
        peers = stuck(stack, program)
        admin = stack.enter_context(blocking.client(program.port, "Boss"))
        if how == "shutdown_manager":
            admin.call("Manager", "port", uid="p")
            assert admin.read()["attribute"] == "username"
            admin.send(result="root")
            assert admin.read()["attribute"] == "password"
            admin.send(result="pw")
            assert admin.read()["result"] == program.port
        began = time.monotonic()
        if how == "shutdown_manager":
            admin.call("Manager", "shutdown_manager", uid="s")
        else:
            program._popen.send_signal(getattr(signal, how))
        for peer in [*peers, admin]:
            peer.ended()
        assert program.wait() == 0
        assert time.monotonic() - began < 5
    assert "Traceback" not in program.transcript
    with closing(sqlite3.connect(home / "manager.sqlite3")) as connection:
        rows = connection.execute("SELECT port, message FROM connections ORDER BY pid").fetchall()
    ends = dict(rows)
    joined = {port for port, message in rows if message.startswith("connected as")}
    assert len(joined) >= 4
    assert {ends[port] for port in joined} == {"disconnected"}


# 28: the death of the Manager


def test_killed(home: Path, start: Callable[..., Program]) -> None:
    """28. After SIGKILL the database is sound, has what was committed, and the port can be listened on at once."""
    program = start()
    with ExitStack() as stack:
        echo = stack.enter_context(blocking.service(program.port))
        users = [stack.enter_context(blocking.client(program.port, f"C{number}")) for number in range(20)]
        ports = {user.sock.getsockname()[1] for user in users}

        def written() -> set[int]:
            with closing(sqlite3.connect(home / "manager.sqlite3")) as connection:
                rows = connection.execute("SELECT port FROM connections WHERE message = 'connected as a client'")
                return {port for (port,) in rows}

        eventually(lambda: ports <= written())
        for user in users:
            user.call("Echo", "echo", uid="open")
        echo.read()
        program.kill()
        program.wait()
        for peer in [echo, *users]:
            peer.ended()
        again = start(port=program.port)
        assert again.port == program.port
        with closing(sqlite3.connect(home / "manager.sqlite3")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ports <= written()
        with blocking.service(again.port), blocking.client(again.port) as user:
            assert user.manager("link", "Echo")
            user.call("Manager", "port", uid="p")
            assert user.read()["attribute"] == "username"


def test_port_of_another(start: Callable[..., Program]) -> None:
    """28. The port of a Manager that runs is not taken from it by another."""
    program = start()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((HERE, program.port))
