"""How a Manager ends, on every backend and transport; `test_ending` has the same for a process."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from msl_network import Command, Manager, Peer, hookimpl

from .wire_peer import DEADLINE, WirePeer, client, config, connected, service, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

QUICK = {"shutdown_timeout": "100 ms"}
MARGIN = 5.0
"""Seconds that a slow test machine may need beside what the Manager allows itself."""


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


async def stop_reading(peer: WirePeer) -> None:
    """Have the Manager send more than the system takes."""
    for _ in range(300):
        await peer.call("Manager", "identity", uid="x" * 30_000)


def messages(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [message for (message,) in connection.execute("SELECT message FROM connections")]


async def test_port_is_free_while_peers_are_closed(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """26, 28: From the stop on nobody can connect, and the next Manager takes the port, while a peer takes its time."""
    settings = config(transport, limits={"shutdown_timeout": "30 s"})
    async with anyio.create_task_group() as task_group:
        first = Manager(settings)
        await task_group.start(first.serve)
        async with client(first, "Quick") as quick, client(first, "Slow") as slow:
            await stop_reading(slow)
            first.stop()
            await quick.eof()
            await until(lambda: not first.clients)
            with pytest.raises(OSError, match=r"."):
                await anyio.connect_tcp("127.0.0.1", first.port)
            async with Manager(config(transport, port=first.port)) as second, client(second):
                assert second.port == first.port
            assert first._peers  # the slow one is still there
            assert len((await slow.read())["uid"]) == 30_000
            await slow.eof()
    assert "failed" not in caplog.text


async def test_connections_in_time_wait(transport: str) -> None:
    """28. Connections that the Manager has closed, which the system remembers, do not keep the port."""
    async with Manager(config(transport)) as first, client(first) as peer:
        await peer.write(b"disconnect\n")
        await peer.eof()
        port = first.port
    async with Manager(config(transport, port=port)) as second, client(second):
        pass


class Plugin:
    """Ends when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gate = threading.Event()
        self.entered = anyio.Event()
        self.left: list[str] = []
        self.stopped = False

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        self.left.append(peer.network_name.partition("[")[0])

    @hookimpl
    async def stopping(self, manager: Manager) -> None:
        self.stopped = True
        await anyio.sleep_forever()

    @hookimpl
    def commands(self) -> list[Command]:
        return [Command(name="hang", function=self.hang, administrator=False)]

    async def hang(self, peer: Peer) -> None:
        self.entered.set()
        await to_thread.run_sync(self.gate.wait)


async def test_one_clock(transport: str, tmp_path: Path) -> None:
    """26. Peers that take nothing, handshakes and a plugin that hangs have their time together."""
    plugin = Plugin(tmp_path / "x.db")
    settings = config(transport, limits=QUICK, plugin_settings={"sqlite": {"path": str(plugin.path)}})
    async with anyio.create_task_group() as task_group:
        manager = Manager(settings, plugins=[plugin])
        await task_group.start(manager.serve)
        async with client(manager, "Slow") as slow, service(manager), connected(manager) as stranger:
            await stranger.read()
            await stop_reading(slow)
            start = time.monotonic()
            manager.stop()
            with anyio.fail_after(DEADLINE):
                await until(lambda: not manager._peers and plugin.stopped)
    assert time.monotonic() - start < 0.1 + 0.8 + 0.8 + MARGIN
    assert sorted(plugin.left) == ["Echo", "Slow"]
    assert messages(plugin.path).count("disconnected") == 2


async def test_thread_that_hangs_does_not_keep_the_store(transport: str, tmp_path: Path) -> None:
    """26. A command whose thread hangs keeps `serve` from returning, but no peer, no plugin and no record."""
    plugin = Plugin(tmp_path / "x.db")
    settings = config(transport, limits=QUICK, plugin_settings={"sqlite": {"path": str(plugin.path)}})
    is_served = anyio.Event()

    async def serve(task_status: Any) -> None:
        await manager.serve(task_status=task_status)
        is_served.set()

    async with anyio.create_task_group() as task_group:
        manager = Manager(settings, plugins=[plugin])
        await task_group.start(serve)
        try:
            async with client(manager, "A") as peer, client(manager, "B") as other:
                await peer.call("Manager", "hang")
                await plugin.entered.wait()
                manager.stop()
                await other.eof()
                await peer.eof()
                await until(lambda: is_closed(plugin.path))
                assert sorted(plugin.left) == ["A", "B"]
                assert plugin.stopped
                assert not is_served.is_set()
        finally:
            plugin.gate.set()
        await is_served.wait()
    assert messages(plugin.path).count("disconnected") == 2


def is_closed(path: Path) -> bool:
    """Whether nobody has a database open: the last one takes the journal away."""
    return not path.with_name(f"{path.name}-wal").exists()


async def test_cancelled_in_the_same_order(transport: str, tmp_path: Path) -> None:
    """A Manager that is cancelled records that its peers left, before its store is closed."""
    plugin = Plugin(tmp_path / "x.db")
    settings = config(transport, limits=QUICK, plugin_settings={"sqlite": {"path": str(plugin.path)}})
    manager = Manager(settings, plugins=[plugin])
    async with anyio.create_task_group() as task_group:
        await task_group.start(manager.serve)
        async with client(manager, "A") as peer, client(manager, "B"):
            task_group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await peer.eof()
    assert plugin.stopped
    assert messages(plugin.path).count("disconnected") == 2


async def test_peers_in_the_tls_handshake(transport: str, home: Path) -> None:
    """26. Who connects and says nothing, in the middle of TLS, is closed in the time that peers have."""
    settings = config(transport, tls={"enabled": True}, limits={**QUICK, "handshake_timeout": "60 s"})
    with closing(socket.socket()) as silent, closing(socket.socket()) as half:
        async with Manager(settings) as manager:
            for sock in (silent, half):
                sock.settimeout(DEADLINE)
                await to_thread.run_sync(sock.connect, ("127.0.0.1", manager.port))
            half.send(b"\x16\x03\x01")  # the first bytes of a handshake
            await until(lambda: len(manager._peers) == 2)
            start = time.monotonic()
        assert time.monotonic() - start < 0.1 + 0.8 + 0.8 + MARGIN
        for sock in (silent, half):
            assert await to_thread.run_sync(ended(sock))


def ended(sock: socket.socket) -> Callable[[], bool]:
    def wait() -> bool:
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True

    return wait
