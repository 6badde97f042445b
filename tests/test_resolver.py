from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest

from msl_network import resolver
from msl_network.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

LONG = 20.0
"""Seconds that no look-up of a test takes, unless something is broken."""


class NameServer:
    """Stands in for the name server; can hold back its answers."""

    def __init__(self) -> None:
        self.names: dict[str, str | Exception] = {}
        self.asked: list[str] = []
        self.is_open = threading.Event()
        self.is_open.set()

    def getfqdn(self, ip_address: str) -> str:
        self.asked.append(ip_address)
        assert self.is_open.wait(LONG)
        name = self.names.get(ip_address, ip_address)
        if isinstance(name, Exception):
            raise name
        return name


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getfqdn", server.getfqdn)
    yield server
    server.is_open.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the resolver sees, in seconds; the test sets it."""
    now = [1000.0]
    monkeypatch.setattr(resolver, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_name_is_found_off_the_loop_and_kept(server: NameServer, clock: list[float]) -> None:
    """20. A name is asked for once, and again when it is too old."""
    server.names["10.0.0.7"] = "pc7.lab"
    names = Resolver(LONG)
    assert await names.lookup("10.0.0.7") == "pc7.lab"
    server.names["10.0.0.7"] = "pc8.lab"
    clock[0] += resolver.KEEP - 1
    assert await names.lookup("10.0.0.7") == "pc7.lab"
    assert len(server.asked) == 1
    clock[0] += 1
    assert await names.lookup("10.0.0.7") == "pc8.lab"


async def test_no_name_is_kept_too(server: NameServer) -> None:
    """An address without a name stands for itself, and is asked for once."""
    names = Resolver(LONG)
    assert await names.lookup("10.0.0.7") == "10.0.0.7"
    assert await names.lookup("10.0.0.7") == "10.0.0.7"
    assert server.asked == ["10.0.0.7"]


@pytest.mark.parametrize("error", [OSError("no server"), UnicodeError("label too long")])
async def test_name_server_that_fails(error: Exception, server: NameServer) -> None:
    """A look-up that fails costs nobody anything."""
    server.names["10.0.0.7"] = error
    assert await Resolver(LONG).lookup("10.0.0.7") == "10.0.0.7"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.lab", "a b", "x\nfake", "pc[1]", "", "a..b", "p\u00e4.lab"])
async def test_name_that_cannot_be_one(name: str, server: NameServer) -> None:
    """34. Whoever has an address may have written its name: no control character, and not the name of this computer."""
    server.names["10.0.0.7"] = name
    assert await Resolver(LONG).lookup("10.0.0.7") == "10.0.0.7"


async def test_look_up_takes_no_longer_than_its_limit(server: NameServer, clock: list[float]) -> None:
    """20. A name server that does not answer costs the limit once, and is asked again a little later."""
    server.is_open.clear()
    server.names["10.0.0.7"] = "pc7.lab"
    names = Resolver(0.01)
    with anyio.fail_after(LONG):
        assert await names.lookup("10.0.0.7") == "10.0.0.7"
        assert await names.lookup("10.0.0.7") == "10.0.0.7"
    assert len(server.asked) == 1
    server.is_open.set()
    clock[0] += resolver.KEEP_LATE
    names.timeout = LONG
    assert await names.lookup("10.0.0.7") == "pc7.lab"


async def test_many_ask_for_one_address_once(server: NameServer) -> None:
    """Peers of one computer that come at the same time share one look-up."""
    server.names["10.0.0.7"] = "pc7.lab"
    server.is_open.clear()
    names = Resolver(LONG)
    found: list[str] = []

    async def ask() -> None:
        found.append(await names.lookup("10.0.0.7"))

    async with anyio.create_task_group() as task_group:
        for _ in range(10):
            task_group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        server.is_open.set()
    assert found == ["pc7.lab"] * 10
    assert len(server.asked) == 1


async def test_peer_that_is_cancelled_decides_nothing(server: NameServer) -> None:
    """When who asked is cancelled, nothing is kept, and who waits for the same address asks itself."""
    server.names["10.0.0.7"] = "pc7.lab"
    server.is_open.clear()
    names = Resolver(LONG)
    found: list[str] = []
    first = anyio.CancelScope()

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            found.append(await names.lookup("10.0.0.7"))

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(ask, first)
        await anyio.wait_all_tasks_blocked()
        task_group.start_soon(ask, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        server.is_open.set()
    assert found == ["pc7.lab"]
    assert await names.lookup("10.0.0.7") == "pc7.lab"


async def test_slow_name_does_not_hold_up_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """20. Addresses are looked up side by side."""
    both = threading.Barrier(2, timeout=LONG)

    def getfqdn(ip_address: str) -> str:
        both.wait()
        return f"pc-{ip_address}"

    names = Resolver(LONG)
    found: list[str] = []

    async def ask(ip_address: str) -> None:
        found.append(await names.lookup(ip_address))

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(ask, "10.0.0.1")
        task_group.start_soon(ask, "10.0.0.2")
    assert sorted(found) == ["pc-10.0.0.1", "pc-10.0.0.2"]


async def test_number_of_names_is_bounded(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """18. Somebody with many addresses cannot fill the memory; the oldest name goes first."""
    monkeypatch.setattr(resolver, "MAX_NAMES", 2)
    names = Resolver(LONG)
    for ip_address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        await names.lookup(ip_address)
    assert list(names._names) == ["10.0.0.2", "10.0.0.3"]
