"""Failures: every call ends, whatever happens to who should answer it.

How the Manager itself ends is tested in ``test_ending.py``, ``test_exit_status.py`` and ``test_troubles.py``.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.laboratory import HERE
from tests.wire_peer import client, connected, service, until

from .ends import fin, goodbye, rst

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_network import Manager

    from .program import Program

pytestmark = pytest.mark.anyio


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


# 28: the port


def test_port_of_another(start: Callable[..., Program]) -> None:
    """28. The port of a Manager that runs is not taken from it by another."""
    program = start()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind((HERE, program.port))
