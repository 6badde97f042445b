"""What is done to the processes of a chaos run, the Manager included: they are killed, ended, and held up.

Rule of this file: chance decides on whom and what; whatever a client may notice of it is noted as evidence. It must not
know what is checked.
"""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from typing import TYPE_CHECKING, Final

from .cast import CLIENTS, SERVICES
from .manager import ManagerError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from random import Random

    from .cast import Cast
    from .manager import ManagerProcess
    from .tally import Tally

__all__ = ["Faults"]

SECONDS: Final = 1.0

BETWEEN: Final = 1.5 * SECONDS
"""How long it is quiet between two faults of processes, on average."""

BETWEEN_ENDS: Final = 12 * SECONDS
"""How long it is quiet between two faults of the Manager, on average: long enough for everybody to come back."""

STOP: Final = 2 * SECONDS
"""How long a process is held up at the longest; far less than a peer has for the handshake."""

DATABASE: Final = 0.05
"""How many of the faults of processes are that another program locks the database."""

LOCK: Final = 4 * SECONDS
"""How long the database is locked at the longest; longer than the Manager lets an administrator wait."""

AWAY: Final = 2 * SECONDS
"""How long it takes at the longest until somebody who was killed is started again."""


class Faults:
    """What is done to processes.

    Args:
        manager: The Manager.
        cast: All others.
        random: The chance.
        tally: Who counts.
        seconds: How long the whole run takes; in a short one everything happens faster.
    """

    def __init__(self, manager: ManagerProcess, cast: Cast, random: Random, tally: Tally, seconds: float) -> None:
        self.is_manager_at_risk = False
        """Whether the Manager may be killed and ended."""

        self._manager = manager
        self._cast = cast
        self._random = random
        self._tally = tally
        self._pace = min(1.0, seconds / 60)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._lock: sqlite3.Connection | None = None
        self._next = self._next_of_manager = 0.0

    def begin(self) -> None:
        """Wait a while until the next faults."""
        now = time.monotonic()
        self._next = now + self._random.expovariate(1 / (BETWEEN * self._pace))
        self._next_of_manager = now + self._random.expovariate(1 / (BETWEEN_ENDS * self._pace))

    def go_on(self) -> None:
        """Do what is to be done now."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        self._look_after_manager()
        if now > self._next:
            self._fault()
            self._next = now + self._random.expovariate(1 / (BETWEEN * self._pace))
        if now > self._next_of_manager:
            self._fault_of_manager()
            self._next_of_manager = time.monotonic() + self._random.expovariate(1 / (BETWEEN_ENDS * self._pace))

    def finish(self) -> None:
        """Do at once all that was to be done later: let go on who was held up, start who was killed."""
        while self._later:
            heapq.heappop(self._later)[2]()
        self._unlock_database()
        self._look_after_manager()

    def start_manager(self) -> None:
        """Start the Manager.

        Raises:
            ManagerError: If it does not.
        """
        seconds = self._manager.start()
        self._tally.times["to start the Manager"].append(seconds)
        self._tally.evidence.up("Manager", time.monotonic())

    def end_manager(self, *, by_administrator: bool = False) -> None:
        """Ask the Manager to end.

        Args:
            by_administrator: Whether an administrator asks, and not SIGTERM.
        """
        self._unlock_database()  # or records are lost, as they should be
        end = self._manager.shut_down if by_administrator else self._manager.terminate
        try:
            seconds = end()
            self._tally.times["to end the Manager"].append(seconds)
        except ManagerError as error:
            self._tally.problem("manager", str(error))

    def _look_after_manager(self) -> None:
        if self._manager.has_ended:
            self._tally.problem("manager", f"the Manager has ended by itself, with status {self._manager.status}")
            self._manager_is_down()
            self.start_manager()

    def _lock_database(self) -> None:
        self._lock = self._manager.lock_database()
        if self._lock is not None:
            self._tally.counts["fault: the database is locked"] += 1
            self._after(self._random.uniform(0, LOCK * self._pace), self._unlock_database)
            self._tally.evidence.stall("database", time.monotonic())

    def _unlock_database(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _fault(self) -> None:
        if self._random.random() < DATABASE and self._lock is None:
            self._lock_database()
            return
        alive = [
            member
            for member in self._cast.members.values()
            if member.role != "rogues" and not member.is_stopped and member.process.poll() is None
        ]
        if not alive:
            return
        member = self._random.choice(alive)
        kind = "client" if member.role in CLIENTS else "Service" if member.role in SERVICES else member.role
        if self._random.random() < 0.5:
            self._tally.counts[f"fault: a {kind} is killed"] += 1
            if member.role in SERVICES:
                self._tally.evidence.down(member.name, time.monotonic())
            member.kill()
            self._after(self._random.uniform(0, AWAY * self._pace), lambda: self._cast.start_again(member))
        else:
            self._tally.counts[f"fault: a {kind} is held up"] += 1
            self._tally.evidence.stall(member.name, time.monotonic())
            member.stop()
            self._after(self._random.uniform(0, STOP * self._pace), member.go_on)

    def _fault_of_manager(self) -> None:
        chance = self._random.random()
        if not self.is_manager_at_risk or chance < 0.2:
            self._tally.counts["fault: the Manager is held up"] += 1
            self._manager.signal(signal.SIGSTOP)
            self._cast.listen(self._random.uniform(0, STOP * self._pace))
            self._manager.signal(signal.SIGCONT)
            return
        self._manager_is_down()
        if chance < 0.5:
            self._tally.counts["fault: the Manager is killed"] += 1
            self._manager.kill()
            self._unlock_database()
        elif chance < 0.75:
            self._tally.counts["fault: the Manager is ended"] += 1
            self.end_manager()
        else:
            self._tally.counts["fault: the Manager is shut down by an administrator"] += 1
            self.end_manager(by_administrator=True)
        # at once as a rule, as whoever watches over it would
        self._cast.listen(self._random.choice([0, 0, 0, AWAY * self._pace]))
        self.start_manager()

    def _manager_is_down(self) -> None:
        self._tally.evidence.down("Manager", time.monotonic())
        self._cast.all_services_are_down()
        for member in self._cast.members.values():
            if member.role == "old-service" and member.process.poll() is None:  # it would not survive that
                member.kill()
                self._after(0.0, lambda member=member: self._cast.start_again(member))  # type: ignore[misc]

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._count), action))
