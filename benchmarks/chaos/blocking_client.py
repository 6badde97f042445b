"""The good clients of a chaos run that use the blocking Client of this library, each in a thread.

Rule of this file: it does what the books say is to be done, and enters what came of it. It must not know what is
right.
"""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final

from msl_network import CallTimeoutError, ConnectionLostError, RemoteError, connect
from msl_network.errors import ConnectError

from .books import BREAK, Books
from .calls import NOBODY
from .check import lock_reason
from .part import in_threads

if TYPE_CHECKING:
    from msl_network import Client, Link

    from .calls import Call
    from .part import Part

__all__ = ["run"]

LOCK: Final = 0.03
"""How often a client tries to have a Service for itself, between its calls."""


class BlockingClient:
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
        self.links: dict[str, Link] = {}

    def run(self) -> None:
        """Connect, call, and do it again, until the end."""
        while not self.orders.stop.is_set():
            try:
                client = connect(**self.keywords)
            except ConnectError as error:
                self.books.refused(error)
                self.orders.pause(self.random.uniform(0.05, 0.3))
                continue
            self.books.connected()
            self.links.clear()
            try:
                self.stay(client)
            except ConnectionLostError as error:
                self.books.lost(error)
            finally:
                client.disconnect()

    def stay(self, client: Client) -> None:
        """Call until it is time to leave."""
        while not self.orders.stop.is_set():
            for service in self.books.to_link():
                self.link(client, service)
            if self.orders.settle.is_set():
                for call in self.books.to_settle():
                    self.one(client, call)
                self.orders.pause(0.1)
            elif self.books.is_time_to_leave:
                break
            else:
                if self.random.random() < LOCK:
                    self.lock(client)
                self.calls(client, self.books.batch())
                self.orders.pause(self.random.expovariate(1 / BREAK))
        deadline = time.monotonic() + self.bound
        while self.books.incomplete() and client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.02)
        if client.is_connected():
            self.books.miss()

    def link(self, client: Client, service: str) -> None:
        """Link with a Service."""
        try:
            link = client.link(service, timeout=self.bound)
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

    def calls(self, client: Client, calls: list[Call]) -> None:
        """Make calls: one as anybody does, several at once."""
        if len(calls) == 1:
            self.one(client, calls[0])
            return
        futures = []
        for call in calls:
            link = self.links.get(call.service)
            if link is not None:
                self.books.ledger.open(call)
                futures.append((call, getattr(link, call.attribute)(*call.args, asynchronous=True)))
        deadline = time.monotonic() + self.bound
        for call, future in futures:
            try:
                self.books.result(call.number, future.result(max(0.0, deadline - time.monotonic())))
            except RemoteError as error:
                self.books.error(call.number, error.args[0])
            except FutureTimeoutError:
                self.books.ledger.hang(call.number)

    def one(self, client: Client, call: Call) -> None:
        """Make one call and wait for the answer."""
        if call.service == NOBODY:  # who is not there cannot be linked with, and so not called
            self.link(client, NOBODY)
            return
        link = self.links.get(call.service)
        if link is None:
            return
        self.books.ledger.open(call)
        timeout = self.bound if call.patience is None else call.patience
        try:
            self.books.result(call.number, getattr(link, call.attribute)(*call.args, timeout=timeout))
        except RemoteError as error:
            self.books.error(call.number, error.args[0])
        except CallTimeoutError:
            if call.patience is None:
                self.books.ledger.hang(call.number)
            else:
                self.books.ledger.give_up(call.number)

    def lock(self, client: Client) -> None:
        """Have a Service for itself for a moment, if it can be had."""
        name, bench = self.books.name, self.books.bench
        token = f"{name} {self.random.random()}"
        try:
            with client.link(bench, timeout=self.bound) as link:
                before, _ = link.held(timeout=self.bound)
                names = link.acquire_lock(timeout=self.bound)
                if len(names) != 1:
                    self.report.problem("lock", f"{name} has an exclusive lock, and linked are {names}")
                begun, _ = link.hold(token, timeout=self.bound)
                for _ in range(self.random.randint(1, 5)):
                    self.orders.pause(0.02)
                    boot, found = link.held(timeout=self.bound)
                    # another connection of the Service knows nothing of the lock
                    if found != token and boot == begun == before:
                        self.report.problem("lock", f"{name} has an exclusive lock, and {found!r} has called")
                link.release_lock(timeout=self.bound)
            self.report.count("locks")
        except RemoteError as error:
            kind = lock_reason(error.args[0], bench)
            self.report.count(f"no lock: {kind}")
            if not kind:
                self.report.problem("wrong", f"{name}: a lock of {bench} is answered with {error}")
        except CallTimeoutError as error:
            self.report.problem("lost", f"{name}: {error}")


def run(part: Part) -> None:
    """Be so many clients, until the end.

    Args:
        part: What the process is for.
    """
    names = part.names()
    in_threads(part, {name: BlockingClient(part, name, is_direct=direct).run for name, direct in names.items()})
