"""What each role of a chaos run is given: orders, chance, ways to the Manager, and somebody to tell.

Rule of this file: values, waiting for orders, and threads that tell when they fail. It must not know any role.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .report import Report
    from .wire import Access

__all__ = ["Orders", "Part", "in_threads"]


@dataclass(frozen=True)
class Orders:
    """What a process is told."""

    stop: threading.Event = field(default_factory=threading.Event)
    """End."""

    settle: threading.Event = field(default_factory=threading.Event)
    """Get through to everybody once, then be quiet."""

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the end.

        Args:
            seconds: How long.
        """
        self.stop.wait(seconds)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a role is given.

    Args:
        report: Whom to tell.
        orders: What to do now.
        random: The chance.
        direct: The Manager.
        through_proxy: The Manager, with trouble on the way.
        options: Everything else that was said when the process was started.
    """

    report: Report
    orders: Orders
    random: Random
    direct: Access
    through_proxy: Access
    options: dict[str, Any]

    @property
    def bound(self) -> float:
        """How long a call may take, in seconds."""
        return float(self.options["bound"])

    def access(self, *, is_direct: bool) -> Access:
        """Return a way to the Manager.

        Args:
            is_direct: Whether there is to be no trouble on the way.
        """
        return self.direct if is_direct else self.through_proxy

    def chance(self) -> Random:
        """Return a source of chance of its own, for a thread."""
        return Random(self.random.random())

    def names(self) -> dict[str, bool]:
        """Return the names of the clients of this process, and whether there is nobody between each and the Manager."""
        return {f"{self.options['name']}-{index}": index % 2 == 0 for index in range(self.options["count"])}


def in_threads(part: Part, functions: Mapping[str, Callable[[], None]]) -> None:
    """Call functions at the same time, and wait until all have ended. One that raises is a mistake of ours, and told.

    Args:
        part: What the process is for.
        functions: What to call, by what to call the thread.
    """

    def call(name: str, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception:  # noqa: BLE001 - whatever it is, the run must not look as if it were clean
            part.report.problem("tool", f"{name} has failed:\n{traceback.format_exc()}")

    threads = [threading.Thread(target=call, args=item, name=item[0]) for item in functions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
