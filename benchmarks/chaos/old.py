"""A good client and a good Service of MSL-Network 1.0 in a chaos run; they have a process each.

Peers of 1.0 do not survive everything. When its connection ends in an unusual way, a Client of 1.0 says nothing and its
calls never end; that is found out by looking at its event loop. A Service of 1.0 may then loop for ever, so its process
is killed when the Manager ends.

Rule of this file: as that of :mod:`benchmarks.chaos.blocking_client`; what 1.0 cannot do is not asked of it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from msl.network import Service, connect

from .books import BREAK, Books
from .calls import answer, failure
from .part import in_threads

if TYPE_CHECKING:
    from .calls import Call
    from .part import Part

__all__ = ["run_client", "run_service"]

LOOK: Final = 0.5
"""How often it is looked whether a Client of 1.0 is still alive, in seconds."""

CONNECT: Final = 15.0
"""How long connecting may take, in seconds; 1.0 may wait for ever when the connection ends at that moment."""


class Silent(Exception):  # noqa: N818 - it is what it is
    """Raised when a Client of 1.0 has lost its connection, whether it says so or not."""


class OldClient:
    """One client, which comes back whenever its connection has ended.

    Args:
        part: What the process is for.
        name: Its name.
    """

    def __init__(self, part: Part, name: str) -> None:
        self.orders = part.orders
        self.report = part.report
        self.bound = part.bound
        self.books = Books(part, name, is_direct=True, is_ordered=False)
        self.random = self.books.random
        self.keywords = {"name": name, **part.direct.keywords()}
        self.links: dict[str, Any] = {}

    def run(self) -> None:
        """Connect, call, and do it again, until the end."""
        while not self.orders.stop.is_set():
            try:
                client = self.connect()
            except (OSError, ValueError, Silent) as error:
                self.books.refused(error)
                self.orders.pause(self.random.uniform(0.05, 0.3))
                continue
            self.books.connected()
            self.links.clear()
            try:
                self.stay(client)
            except (ConnectionError, Silent) as error:
                self.books.lost(repr(error))

    def connect(self) -> Any:
        """Connect, in a thread that is forgotten if that never ends."""
        outcome: list[Any] = []

        def attempt() -> None:
            try:
                outcome.append(connect(**self.keywords))
            except Exception as error:  # noqa: BLE001 - it is raised where it belongs
                outcome.append(error)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(CONNECT)
        if not outcome:
            raise Silent(f"connect() of 1.0 has not ended after {CONNECT:.0f} s")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def stay(self, client: Any) -> None:
        """Call until it is time to leave."""
        while not self.orders.stop.is_set():
            for service in self.books.to_link():
                self.link(client, service)
            if self.orders.settle.is_set():
                for call in self.books.to_settle():
                    self.calls(client, [call])
                self.orders.pause(0.1)
            elif self.books.is_time_to_leave:
                break
            else:
                self.calls(client, self.books.batch())
                self.orders.pause(self.random.expovariate(1 / BREAK))
        deadline = time.monotonic() + self.bound
        while self.books.incomplete() and is_alive(client) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.check_alive(client)
        self.books.miss()
        with suppress(FutureTimeoutError):
            client.disconnect(timeout=self.bound)

    def link(self, client: Any, service: str) -> None:
        """Link with a Service."""
        try:
            link = client.link(service, timeout=self.bound)
        except RuntimeError as error:
            self.check_alive(client)  # or it is the event loop that has ended
            self.books.not_linked(service, words(error))
            return
        except FutureTimeoutError:
            self.check_alive(client)
            self.report.problem("lost", f"{self.books.name}: link with {service} has no answer")
            return
        entry = self.books.linked(service)
        self.links[service] = link

        def handle(*args: Any) -> None:
            self.books.notified(entry, service, list(args))

        link.notification_handler = handle

    def calls(self, client: Any, calls: list[Call]) -> None:
        """Make calls, all at once."""
        futures = []
        for call in calls:
            link = self.links.get(call.service)
            if link is not None and call.patience is None:
                self.books.ledger.open(call)
                futures.append((call, getattr(link, call.attribute)(*call.args, asynchronous=True)))
        for call, future in futures:
            try:
                self.books.result(call.number, self.wait(client, future))
            except RuntimeError as error:
                self.check_alive(client)
                self.books.error(call.number, words(error))
            except FutureTimeoutError:
                self.books.ledger.hang(call.number)

    def wait(self, client: Any, future: Any) -> Any:
        """Return the result of a call.

        Raises:
            Silent: If the Client has lost its connection.
        """
        deadline = time.monotonic() + self.bound
        while True:
            try:
                return future.result(LOOK)
            except FutureTimeoutError:
                if not future.done():
                    self.check_alive(client)
                if time.monotonic() > deadline:
                    raise

    def check_alive(self, client: Any) -> None:
        """Raise `Silent` if a Client has lost its connection."""
        if not is_alive(client):
            raise Silent


def is_alive(client: Any) -> bool:
    """Return whether a Client of 1.0 still has what it needs to answer."""
    tasks = asyncio.all_tasks(client._loop) if client.loop_thread_id else ()  # noqa: SLF001 - there is no other way
    # without the reader, which an unusual end of the connection takes along, nothing will ever come
    return client.is_connected() and any("_handle_responses" in repr(task) for task in tasks)


def words(error: RuntimeError) -> str:
    """Return the message of the error that a Client of 1.0 got: the last line of what it makes of it."""
    return str(error).rpartition("\n")[2]


class OldService(Service):  # type: ignore[misc]  # 1.0 has no type hints
    """A Service of 1.0 that can be checked.

    Args:
        part: What the process is for.
        boot: Which of its connections this is.
    """

    def __init__(self, part: Part, boot: int) -> None:
        super().__init__(name=part.options["name"])
        self._part = part
        self._boot = f"{self._name}.{os.getpid()}.{boot}"
        self._begun = self._ended = 0
        self._is_over = False
        self.add_tasks(self._live())

    def echo(self, client: str, number: int, payload: str, seconds: float) -> list[Any]:
        """Return what proves that this call was answered, and no other."""
        time.sleep(seconds)
        return [*self._told(), *answer(client, number, payload, "echo")]

    echo_async = echo  # there are no others in 1.0

    def blow(self, client: str, number: int, payload: int, seconds: float) -> list[Any]:
        """Return a text that is so long."""
        time.sleep(seconds)
        return [*self._told(), *answer(client, number, payload, "blow")]

    def fail(self, client: str, number: int, payload: str, seconds: float) -> None:  # noqa: ARG002 - as all others
        """Raise an error."""
        time.sleep(seconds)
        raise ValueError(failure(client, number))

    def shutdown_handler(self) -> None:
        """Note that the connection has ended."""
        self._is_over = True

    def _told(self) -> tuple[str, int, int]:
        ended = self._ended
        return self._boot, self._begun, ended

    async def _live(self) -> None:
        while not self._part.orders.stop.is_set() and not self._is_over:
            self._begun += 1
            self.emit_notification(self._boot, self._begun)
            self._ended += 1
            await asyncio.sleep(self._part.random.uniform(0.05, 0.5))
        if not self._is_over:
            await self._write({"service": self._network_name, "attribute": "__disconnect__"})


def run_client(part: Part) -> None:
    """Be so many clients, until the end.

    Args:
        part: What the process is for.
    """
    in_threads(part, {name: OldClient(part, name).run for name in part.names()})


def run_service(part: Part) -> None:
    """Be a Service until the end.

    Args:
        part: What the process is for.
    """
    boot = 0
    while not part.orders.stop.is_set():
        boot += 1
        try:
            part.report.event("up", part.options["name"])
            OldService(part, boot).start(**part.direct.keywords())
        except (OSError, ValueError):
            part.report.count("a Service could not connect")
        part.report.event("down", part.options["name"])
        part.orders.pause(0.2)
