"""A Manager, Services and Clients in one process: bytes are handed over in memory, without a socket.

    async with Manager(config, listen=False) as manager:
        here = MemoryHost(manager)
        async with here.serve(Echo()), AsyncClient(host=here) as client:
            echo = await client.link("Echo")

Rule of this file: all is as with a socket but the way of the bytes: the Manager authenticates, limits and closes as it
always does. It must not know how the bytes get from one end to the other (`memory_connection`), or what they mean.
"""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread

from .connecting import Host
from .errors import ConnectError, StartError
from .memory_connection import HERE, Connection, End, Loop, MemoryChannel, MemoryStream

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

    from .channel import Channel
    from .manager import Manager
    from .service import Service

__all__ = ["MemoryHost"]

_numbers = itertools.count(65536)
"""Stand for the ports of the peers, whose network names differ by them; no TCP port is that high."""


class MemoryHost(Host):
    """Stands for the host name of a Manager of this process: ``AsyncClient(host=here)``, ``connect(host=here)``.

    To be made in the Manager's event loop. What blocks (`connect`, ``Service.start``) belongs into another thread, for
    example by ``anyio.to_thread.run_sync``, or else the Manager could not answer.

    Args:
        manager: The Manager; it serves when somebody connects.
        ip_address: The address that the peers seem to come from. One that begins with 127 is that of this computer.
    """

    __slots__ = ("_connections", "_is_closed", "_lock", "_loop", "ip_address", "manager")

    def __new__(cls, manager: Manager, *, ip_address: str = HERE) -> MemoryHost:  # noqa: PYI034 - Self needs Python 3.11
        """Make the text that it is."""
        del manager, ip_address
        return super().__new__(cls, "memory")

    def __init__(self, manager: Manager, *, ip_address: str = HERE) -> None:
        self.manager = manager
        self.ip_address = ip_address
        self._loop = Loop()
        self._lock = threading.Lock()
        self._connections: list[Connection] = []
        self._is_closed = False

    def open_stream(self) -> ByteStream:
        """Connect, for one who waits in an event loop: that of the Manager or another one.

        Raises:
            ConnectError: If the Manager does not serve.
        """
        stream = MemoryStream(Loop())
        self._connect(stream.end)
        return stream

    def open_channel(self, limit: int | None) -> Channel:
        """Connect, for one who waits in a thread.

        Args:
            limit: The longest line to receive, in bytes; None for no limit.

        Raises:
            ConnectError: If the Manager does not serve.
            RuntimeError: If this is the thread of the Manager, which would wait for itself.
        """
        if self._loop.is_here:
            raise RuntimeError(
                "this blocks the event loop of the Manager, which then cannot answer; do it in a thread, "
                "e.g. await anyio.to_thread.run_sync(...), or use AsyncClient"
            )
        end = End()
        self._connect(end)
        return MemoryChannel(end, limit)

    @asynccontextmanager
    async def serve(self, service: Service, **keywords: Any) -> AsyncIterator[Service]:
        """Run a Service in a thread, connected with the Manager, until the block is left.

        Args:
            service: The Service, not started yet.
            keywords: What :meth:`msl_network.Service.start` takes, e.g. `username` and `password`.

        Raises:
            ConnectError: If the Manager does not let it in.
        """
        host = MemoryHost(self.manager, ip_address=self.ip_address)  # which knows the connections of this Service alone
        start = partial(service.start, **keywords, host=host)
        is_left = False
        failure: BaseException | None = None

        async def run() -> None:
            try:
                await anyio.to_thread.run_sync(start, limiter=anyio.CapacityLimiter(1))
            except ConnectError:  # it came too late
                if not is_left:
                    raise

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                try:
                    await self.manager.wait_for_service(keywords.get("name") or service.name)
                    yield service
                finally:
                    is_left = True
                    host.close()
        except BaseExceptionGroup as group:
            failure = group.exceptions[0] if len(group.exceptions) == 1 else group
        if failure is not None:  # raised here, where it is given no other context
            raise failure

    def close(self) -> None:
        """Close all connections that were made with this, and make no other."""
        with self._lock:
            self._is_closed = True
        for connection in self._connections:
            connection.far.close()

    def _connect(self, far: End) -> None:
        connection = far.connection = Connection(far, self._loop, self.ip_address, next(_numbers))
        with self._lock:
            if self._is_closed:
                raise ConnectError("this MemoryHost is closed, nobody can connect with it")
            self._connections = [*(other for other in self._connections if not other.has_ended), connection]
        try:
            if self._loop.is_here:
                self.manager.start_connection(connection)
            else:
                anyio.from_thread.run_sync(self.manager.start_connection, connection, token=self._loop.token)
        except (StartError, RuntimeError) as error:  # the latter if the event loop has ended
            raise ConnectError(f"{self.manager.network_name} does not serve, nobody can connect with it") from error
