"""The course of a chaos run: stretches of trouble, and quiet points after them.

    warm up     everything but the end of the Manager; how it is then is what it must come back to
    trouble     the same, for long: one Manager must bear all of it
    upheaval    the Manager is killed and ended, too
    trouble     once more, to see that all is well

Rule of this file: it says what happens when. It must not know how anything is done, or checked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .quiet import compare, is_quiet, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cast import Cast
    from .faults import Faults
    from .manager import ManagerProcess, State
    from .tally import Tally

__all__ = ["Run", "stretches"]

SECONDS: Final = 1.0

STRETCH: Final = 120 * SECONDS
"""How long it takes until there is quiet, about."""

QUIET: Final = 8 * SECONDS
"""How long the Manager has to be as it was when everybody has left, beyond its own limits."""

SHORT: Final = 20 * SECONDS
"""A run that is shorter has two stretches only, since each is followed by some seconds of quiet."""

VERY_SHORT: Final = 5 * SECONDS
"""A run that is shorter has one stretch, in which the Manager is not ended."""

PROGRESS: Final = 10 * SECONDS
"""How often it is said how things go."""

STEP: Final = 0.05 * SECONDS


class Run:
    """A run.

    Args:
        manager: The Manager.
        cast: All others.
        faults: What is done to them.
        tally: Who counts.
        tell: Called with how things go, a line at a time.
    """

    def __init__(
        self, manager: ManagerProcess, cast: Cast, faults: Faults, tally: Tally, tell: Callable[[str], None]
    ) -> None:
        self._manager = manager
        self._cast = cast
        self._faults = faults
        self._tally = tally
        self._tell = tell
        self._first: State | None = None
        self._most = 0
        self._next_progress = time.monotonic() + PROGRESS

    def run(self, seconds: float) -> None:
        """Do everything.

        Args:
            seconds: How long there is to be trouble.

        Raises:
            ManagerError: If there is no Manager that one could do anything to.
        """
        # one that was there before: the first of all makes a certificate and a database, and is not like the others
        self._faults.start_manager()
        self._faults.end_manager()
        self._faults.start_manager()
        fresh = self._manager.look()
        parts = stretches(seconds)
        for number, (length, is_manager_at_risk) in enumerate(parts, 1):
            risk = ", and the Manager is ended, too" if is_manager_at_risk else ""
            self._tell(f"stretch {number} of {len(parts)}: {length:.0f} s of trouble{risk}")
            self._faults.is_manager_at_risk = is_manager_at_risk
            self._cast.start()
            self._trouble(length)
            self._settle()
            self._cast.end()
            self._be_quiet(fresh)
        self._faults.end_manager()
        self._tally.read_log(self._manager.new_lines())
        for problem in self._manager.problems_of_database():
            self._tally.problem("database", problem)
        self._tally.counts["MB that the Manager had at most"] = self._most // 10**6

    def _trouble(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._faults.begin()
        while time.monotonic() < end:
            self._step()
            self._faults.go_on()

    def _settle(self) -> None:
        """Have all clients get through to all Services."""
        self._faults.finish()
        expected = self._cast.settle()
        begin = time.monotonic()
        patience = 2 * self._cast.numbers.bound  # a call that was made before may take so long, and then another one
        while expected - self._tally.done and time.monotonic() < begin + patience:
            self._step()
            self._faults.finish()
        self._tally.times["to settle when the trouble was over"].append(time.monotonic() - begin)
        for name in sorted(expected - self._tally.done):
            text = f"{name} has not got through to all Services although there is no trouble"
            self._tally.problem("not recovered", text)

    def _be_quiet(self, fresh: State) -> None:
        """See that the Manager is as it was before everybody came."""
        limits = self._manager.limits
        deadline = time.monotonic() + QUIET + max(limits["handshake_timeout"], limits["prompt_timeout"])
        while not is_quiet(state := self._manager.look(), fresh) and time.monotonic() < deadline:
            time.sleep(10 * STEP)
        self._tell(f"quiet: {shown(state)}")
        for problem in compare(state, fresh, self._first):
            self._tally.problem("not as it was", problem)
        self._first = self._first or state
        self._tally.judge(is_end=True)
        self._tally.read_log(self._manager.new_lines())

    def _step(self) -> None:
        self._cast.listen(STEP)
        self._cast.look_after()
        self._tally.judge()
        memory = self._manager.memory()
        self._most = max(self._most, memory)
        if time.monotonic() > self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS
            descriptors = self._manager.descriptors()
            self._tell(f"{self._tally.progress()}; the Manager: {memory // 10**6} MB, {descriptors} descriptors")


def stretches(seconds: float) -> list[tuple[float, bool]]:
    """Return how long each stretch of trouble takes, and whether the Manager may be ended in it.

    Args:
        seconds: How long all of them take together.
    """
    if seconds < VERY_SHORT:
        return [(seconds, False)]
    if seconds < SHORT:
        return [(seconds / 2, False), (seconds / 2, True)]
    warm_up = min(STRETCH, seconds / 8)
    parts = [(warm_up, False)]
    for share, is_manager_at_risk in ((0.4, False), (0.45, True), (0.15, False)):
        length = (seconds - warm_up) * share
        number = max(1, round(length / STRETCH))
        parts += [(length / number, is_manager_at_risk)] * number
    return parts
