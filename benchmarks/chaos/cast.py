"""Who takes part in a chaos run beside the Manager, and what each process needs to know.

Rule of this file: all processes are started and ended here. It must not know when they are, or what for.
"""

from __future__ import annotations

import itertools
import queue
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from .manager import free_port
from .member import Member

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from .manager import ManagerProcess
    from .tally import Tally

__all__ = ["BENCH", "CLIENTS", "SERVICES", "Cast", "Numbers"]

BENCH: Final = "Bench"
"""The Service that is locked."""

OLD: Final = "Old"
"""The Service of 1.0."""

CLIENTS: Final = ("blocking", "async", "wire", "old-client", "administrator")
"""The roles of good clients."""

SERVICES: Final = ("service", "old-service")
"""The roles of good Services."""

ORDER: Final = ("rogues", *CLIENTS, *SERVICES, "proxy")
"""In which order they are ended: nobody is to lose somebody by that."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How many there are.

    Args:
        clients: Good clients.
        services: Good Services that anybody may call.
        rogues: Those who misbehave.
        old: Good clients of 1.0; if there are any, there is a Service of 1.0, too.
        has_trio: Whether clients may run on trio.
        bound: How long a call may take, in seconds.
    """

    clients: int
    services: int
    rogues: int
    old: int
    has_trio: bool
    bound: float


class Cast:
    """The processes.

    Args:
        numbers: How many there are.
        folder: Where their logs are to be.
        manager: The Manager.
        random: The chance.
        tally: Who takes what they tell.
    """

    def __init__(self, numbers: Numbers, folder: Path, manager: ManagerProcess, random: Random, tally: Tally) -> None:
        self.numbers = numbers
        self.members: dict[str, Member] = {}
        self.services = [f"Echo{number}" for number in range(1, numbers.services + 1)] + [OLD] * bool(numbers.old)
        self._folder = folder
        self._manager = manager
        self._random = random
        self._tally = tally
        self._proxy = free_port()
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._count = itertools.count(1)

    def start(self) -> None:
        """Start all of them."""
        numbers = self.numbers
        self._tally.done.clear()
        self.all_services_are_down()
        self._start("proxy", "proxy")
        for index, name in enumerate([*self.services, BENCH]):
            is_direct = index % 2 == 0 or name in {OLD, BENCH}
            if not is_direct:
                self._tally.evidence.is_slow(name)
            self._start("old-service" if name == OLD else "service", name, is_direct=is_direct)
        kinds = CLIENTS[:3]
        for index, role in enumerate(kinds):
            count = numbers.clients // len(kinds) + (index < numbers.clients % len(kinds))
            if count:
                self._start(role, role, count=count)
        if numbers.old:
            self._start("old-client", "old-client", count=numbers.old)
        self._start("administrator", "administrator", count=1)
        if numbers.rogues:
            self._start("rogues", "rogues", count=numbers.rogues)

    def start_again(self, member: Member) -> None:
        """Start one again that was killed.

        Args:
            member: Which.
        """
        changing = {
            "access",
            "proxy",
            "services",
            "bench",
            "bound",
            "limits",
            "administrator",
            "seed",
            "name",
            "backend",
        }
        others = {key: value for key, value in member.options.items() if key not in changing}
        self._start(member.role, member.name, **others)

    def all_services_are_down(self) -> None:
        """Note that no Service is connected now."""
        for name in (*self.services, BENCH):
            self._tally.evidence.down(name, time.monotonic())

    def listen(self, seconds: float) -> None:
        """Hand over what they tell.

        Args:
            seconds: For how long.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                message = self._told.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return
            self._tally.take(message)

    def look_after(self) -> None:
        """See that nobody has ended who should not have."""
        for member in self.members.values():
            if member.process.poll() is not None and not member.is_expected_to_end:
                member.is_expected_to_end = True
                self._tally.problem("tool", f"{member.name} has ended with status {member.process.returncode}")

    def settle(self) -> set[str]:
        """Tell all to get through to everybody once, and to make no trouble.

        Returns:
            The names of those who will tell when they have.
        """
        names = set()
        for member in self.members.values():
            member.settle()
            if member.role in CLIENTS:
                names |= {f"{member.options['name']}-{index}" for index in range(member.options["count"])}
        return names

    def end(self) -> None:
        """End all of them."""
        for role in ORDER:
            ending = [member for member in self.members.values() if member.role == role]
            for member in ending:
                member.ask_to_end()
            for member in ending:
                if problem := member.end():
                    self._tally.problem("tool", problem)
        self.members.clear()
        self.listen(0.0)

    def kill(self) -> None:
        """End all of them, whatever they do."""
        for member in self.members.values():
            member.kill()

    def _start(self, role: str, name: str, **others: Any) -> None:
        # the calls of a client that is started again are not those of the one before
        unique = f"{name}.{next(self._count)}" if role in CLIENTS else name
        options = {
            "name": unique,
            "seed": self._random.random(),
            "access": asdict(self._manager.access),
            "proxy": self._proxy,
            "services": self.services,
            "bench": BENCH,
            "bound": self.numbers.bound,
            "administrator": self._manager.administrator,
            "limits": dict(self._manager.limits),
            "backend": self._random.choice(["asyncio", "trio"]) if self.numbers.has_trio else "asyncio",
            **others,
        }
        self.members[name] = Member(role, name, options, self._folder, self._told)
