"""The good clients of a chaos run that use the AsyncClient of this library, on asyncio or trio, all in one event loop.

Rule of this file: as that of :mod:`benchmarks.chaos.blocking_client`.
"""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any, Final

import anyio

from msl_network import AsyncClient, CallTimeoutError, ConnectionLostError, RemoteError
from msl_network.errors import ConnectError

from .books import BREAK, Books
from .calls import NOBODY

if TYPE_CHECKING:
    from msl_network import AsyncLink

    from .calls import Call
    from .part import Part

__all__ = ["run"]

CANCELLED: Final = 0.05
"""How often a call that may take as long as it likes is cancelled instead of being given a timeout."""


class AsyncGoodClient:
    """One client, which comes back whenever its connection has ended.

    Args:
        part: What the process is for.
        name: Its name.
        is_direct: Whether there is nobody between it and the Manager.
    """

    def __init__(self, part: Part, name: str, *, is_direct: bool) -> None:
        self.orders = part.orders
        self.report = part.report
        self.bound = part.bound
        self.books = Books(part, name, is_direct=is_direct, is_ordered=False)
        self.random = self.books.random
        self.keywords = {"name": name, **part.access(is_direct=is_direct).keywords()}
        self.links: dict[str, AsyncLink] = {}

    async def run(self) -> None:
        """Connect, call, and do it again, until the end."""
        try:
            while not self.orders.stop.is_set():
                try:
                    await self.once()
                except ConnectError as error:
                    self.books.refused(error)
                    await anyio.sleep(self.random.uniform(0.05, 0.3))
        except Exception:  # noqa: BLE001 - whatever it is, the run must not look as if it were clean
            self.report.problem("tool", f"{self.books.name} has failed:\n{traceback.format_exc()}")

    async def once(self) -> None:
        """Connect, and call until it is time to leave, or the connection ends."""
        async with AsyncClient(**self.keywords) as client:
            self.books.connected()
            self.links.clear()
            try:
                await self.stay(client)
            except ConnectionLostError as error:
                self.books.lost(error)

    async def stay(self, client: AsyncClient) -> None:
        """Call until it is time to leave."""
        while not self.orders.stop.is_set():
            for service in self.books.to_link():
                await self.link(client, service)
            if self.orders.settle.is_set():
                for call in self.books.to_settle():
                    await self.one(client, call)
                await anyio.sleep(0.1)
            elif self.books.is_time_to_leave:
                break
            else:
                await self.calls(client, self.books.batch())
                await anyio.sleep(self.random.expovariate(1 / BREAK))
        with anyio.move_on_after(self.bound):
            while self.books.incomplete() and client.is_connected():  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.02)
        if client.is_connected():
            self.books.miss()

    async def link(self, client: AsyncClient, service: str) -> None:
        """Link with a Service."""
        try:
            link = await client.link(service, timeout=self.bound)
        except RemoteError as error:
            self.books.not_linked(service, error.args[0])
        except CallTimeoutError as error:
            self.report.problem("lost", f"{self.books.name}: {error}")
        else:
            entry = self.books.linked(service)
            self.links[service] = link

            def handle(*args: Any) -> None:
                # the Client finds the handler by the name of the Service in the notification
                self.books.notified(entry, service, list(args))

            link.notification_handler = handle  # type: ignore[method-assign]

    async def calls(self, client: AsyncClient, calls: list[Call]) -> None:
        """Make calls, all at once; if the connection ends meanwhile, all of them must."""
        lost: list[ConnectionLostError] = []

        async def one(call: Call) -> None:
            try:
                await self.one(client, call)
            except ConnectionLostError as error:
                lost.append(error)

        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(one, call)
        if lost:
            raise lost[0]

    async def one(self, client: AsyncClient, call: Call) -> None:
        """Make one call and wait for the answer."""
        if call.service == NOBODY:  # who is not there cannot be linked with, and so not called
            await self.link(client, NOBODY)
            return
        link = self.links.get(call.service)
        if link is None:
            return
        self.books.ledger.open(call)
        method = functools.partial(getattr(link, call.attribute), *call.args)
        try:
            if call.patience is not None and self.random.random() < CANCELLED:
                with anyio.move_on_after(call.patience) as scope:
                    self.books.result(call.number, await method())
                if scope.cancelled_caught:
                    self.books.ledger.give_up(call.number)
            else:
                timeout = self.bound if call.patience is None else call.patience
                self.books.result(call.number, await method(timeout=timeout))
        except RemoteError as error:
            self.books.error(call.number, error.args[0])
        except CallTimeoutError:
            if call.patience is None:
                self.books.ledger.hang(call.number)
            else:
                self.books.ledger.give_up(call.number)


def run(part: Part) -> None:
    """Be so many clients, until the end.

    Args:
        part: What the process is for.
    """

    async def run_all() -> None:
        async with anyio.create_task_group() as tasks:
            for name, is_direct in part.names().items():
                tasks.start_soon(AsyncGoodClient(part, name, is_direct=is_direct).run)

    anyio.run(run_all, backend=part.options["backend"])
