"""The good Services of a chaos run, made with this library: one in a process.

Rule of this file: a Service answers what :mod:`benchmarks.chaos.calls` says, numbers its notifications, and comes back
whenever its connection has ended. It must not know who calls, or why it loses its connection.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from msl_network import RefusedError, Service
from msl_network.errors import ConnectError

from .calls import answer, failure

if TYPE_CHECKING:
    from .part import Part

__all__ = ["run"]

BURST: Final = 40
"""The most notifications that are sent one right after the other."""

STAY: Final = 40.0
"""How long a Service stays until it leaves by itself, in seconds, on average."""


class Leave(Exception):  # noqa: N818 - it is what was wanted
    """Raised in the event loop of a Service to end it."""


class Good(Service):
    """A Service that can be checked.

    Args:
        part: What the process is for.
        name: Its name.
        is_bench: Whether it is the one that is locked; so that the order of requests can be checked, it has one thread.
    """

    def __init__(self, part: Part, name: str, *, is_bench: bool) -> None:
        super().__init__(name=name, max_workers=1 if is_bench else None)
        self._part = part
        self._is_bench = is_bench
        self._boots = 0
        self._boot = ""
        self._begun = 0
        self._ended = 0
        self._is_over = False
        self._has_task = False
        self._holder = ""
        self._seen: defaultdict[str, set[int]] = defaultdict(set)

    def echo(self, client: str, number: int, payload: str, seconds: float) -> list[Any]:
        """Return what proves that this call was answered, and no other."""
        self._see(client, number)
        time.sleep(seconds)
        return [*self._told(), *answer(client, number, payload, "echo")]

    async def echo_async(self, client: str, number: int, payload: str, seconds: float) -> list[Any]:
        """Do the same in the event loop."""
        self._see(client, number)
        await asyncio.sleep(seconds)
        return [*self._told(), *answer(client, number, payload, "echo")]

    def blow(self, client: str, number: int, payload: int, seconds: float) -> list[Any]:
        """Return a text that is so long."""
        self._see(client, number)
        time.sleep(seconds)
        return [*self._told(), *answer(client, number, payload, "blow")]

    def fail(self, client: str, number: int, payload: str, seconds: float) -> None:  # noqa: ARG002 - as all others
        """Raise an error."""
        self._see(client, number)
        time.sleep(seconds)
        raise ValueError(failure(client, number))

    def hold(self, token: str) -> tuple[str, str]:
        """Note who has the lock; return which connection this is, and who had it."""
        before, self._holder = self._holder, token
        return self._boot, before

    def held(self) -> tuple[str, str]:
        """Return which connection this is, and who has the lock."""
        return self._boot, self._holder

    def begin(self) -> None:
        """Be another one than before."""
        self._boots += 1
        self._boot = f"{self.name}.{os.getpid()}.{self._boots}"
        self._begun = self._ended = 0
        self._is_over = False
        if not self._has_task:  # it has one still if it could not connect
            self._has_task = True
            self.add_tasks(self._live())

    def shutdown_handler(self) -> None:
        """Tell at once that the connection has ended: `start` returns only when the task has, too."""
        self._is_over = True
        self._part.report.event("down", self.name)

    def _told(self) -> tuple[str, int, int]:
        ended = self._ended  # in this order: what is sent in between is begun, and not yet ended
        return self._boot, self._begun, ended

    def _see(self, client: str, number: int) -> None:
        """Note a call; each is made once."""
        seen = self._seen[client]
        if number in seen:
            self._part.report.problem("doubled request", f"{self.name}: call {number} of {client} comes once more")
        seen.add(number)

    async def _live(self) -> None:
        """Send notifications, until it is time to leave."""
        orders, random, report = self._part.orders, self._part.random, self._part.report
        self._has_task = False
        report.event("up", self.name)
        leave = time.monotonic() + random.expovariate(1 / STAY)
        while not (orders.stop.is_set() or self._is_over):
            for _ in range(random.choice([1, 1, 2, BURST])):
                self._begun += 1
                self.emit_notification(self._boot, self._begun)
                self._ended += 1
            await asyncio.sleep(random.uniform(0.05, 0.5))
            if time.monotonic() > leave and not orders.settle.is_set() and not self._is_bench:
                report.count("fault: a Service leaves")
                raise Leave
        if orders.stop.is_set():
            raise Leave


def run(part: Part) -> None:
    """Be a Service until the end.

    Args:
        part: What the process is for.
    """
    name, is_direct = part.options["name"], part.options["is_direct"]
    keywords = part.access(is_direct=is_direct).keywords()
    service = Good(part, name, is_bench=name == part.options["bench"])
    taken_since: float | None = None
    while not part.orders.stop.is_set():
        service.begin()
        try:
            service.start(**keywords)
        except Leave:
            taken_since = None
            continue
        except RefusedError as error:
            # the Manager may not know yet that the connection before has ended, but it must find out
            part.report.event("down", name)
            part.report.count("a Service's name was still taken")
            taken_since = taken_since or time.monotonic()
            if "already running" not in str(error) or time.monotonic() - taken_since > part.bound:
                part.report.problem("zombie", f"{name} is not let in: {error}")
                taken_since = None
        except ConnectError as error:
            part.report.count("a Service could not connect")
            if is_direct:
                part.report.claim("refused", "Manager", f"{name} ({error})")
        else:
            taken_since = None
            if is_direct:
                part.report.claim("lost", "Manager", name)
        part.orders.pause(part.random.uniform(0.05, 0.3))
