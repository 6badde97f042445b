"""What a chaos run has seen so far: counts, times, and what must not have been.

Rule of this file: messages come in, a summary goes out; no I/O. It must not know who tells, nor what is done to whom.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from .calls import NOBODY
from .check import Claim, Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Tally"]

SHOWN: Final = 10
"""How many problems of a kind are shown; there may be thousands."""

EXPECTED: Final = ("connection records cannot be written, trying again: the database", ": database is locked; ")
"""What the log of the Manager may have at ERROR or above in a chaos run: that another program locks the database."""

GOOD: Final = re.compile(r"\[WARNING\] \S+ - (blocking|async|wire|old-client|administrator|Echo\d+|Bench|Old)\b")
"""A warning about somebody who has done nothing wrong."""


class Tally:
    """All that was seen.

    Args:
        clock: Tells the time, in seconds.
        show: Called with each problem, as text, of the first of each kind.
    """

    def __init__(self, clock: Callable[[], float], show: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.problems: list[tuple[str, str]] = []
        self.evidence = Evidence()
        self.evidence.down(NOBODY, 0.0)
        self.done: set[str] = set()
        """Who has got through to everybody."""

        self._clock = clock
        self._begin = clock()
        self._show = show
        self._shown: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return self._clock() - self._begin

    def take(self, message: dict[str, Any]) -> None:
        """Take what a process tells.

        Args:
            message: What it told, see :mod:`benchmarks.chaos.report`.
        """
        match message:
            case {"counts": counts}:
                self.counts.update(counts)
            case {"claim": kind, "subject": subject, "client": client, "at": at}:
                self.evidence.claim(Claim(kind, subject, client, at))
            case {"event": "up", "subject": subject, "at": at}:
                self.evidence.up(subject, at)
            case {"event": "down", "subject": subject, "at": at}:
                self.evidence.down(subject, at)
            case {"problem": kind, "text": text, "at": at}:
                self.problem(kind, text, at)
            case {"took": what, "seconds": seconds}:
                self.times[what].append(seconds)
            case {"done": who}:
                self.done.add(who)
            case _:
                self.problem("tool", f"a process told {message}")

    def judge(self, *, is_end: bool = False) -> None:
        """See which claims had no reason.

        Args:
            is_end: Whether all that may be a reason is known.
        """
        for claim in self.evidence.judge(float("inf") if is_end else self._clock()):
            self.problem("without reason", claim.words, claim.at)

    def problem(self, kind: str, text: str, at: float | None = None) -> None:
        """Note something that must not be.

        Args:
            kind: In a word or two.
            text: What was found, and what was expected.
            at: When; now if None.
        """
        seconds = (self._clock() if at is None else at) - self._begin
        self.problems.append((kind, f"{seconds:.1f} s: {text}"))
        self._shown[kind] += 1
        if self._shown[kind] <= SHOWN:
            self._show(f"PROBLEM, {kind}, at {self.problems[-1][1]}")

    def read_log(self, lines: list[str]) -> None:
        """Take lines of the Manager's log: there must be no error.

        Args:
            lines: The lines.
        """
        for line in lines:
            if "[WARNING" in line:
                self.counts["warnings in the Manager's log"] += 1
            is_bad = GOOD.search(line) or "[ERROR" in line or "[CRITICAL" in line or "Traceback" in line
            if is_bad and not any(expected in line for expected in EXPECTED):
                self.problem("log", line[:400])

    def progress(self) -> str:
        """Return how things go, in a line."""
        counts = self.counts
        faults = sum(number for what, number in counts.items() if what.startswith("fault: "))
        return (
            f"{self.seconds:6.0f} s: {counts['calls']} calls, {counts['replies']} replies, "
            f"{counts['notifications']} notifications, {faults} faults, {len(self.problems)} problems"
        )

    def summary(self) -> str:
        """Return what came out, as text."""
        lines = [f"{number:10d}  {what}" for what, number in sorted(self.counts.items())]
        for what, seconds in sorted(self.times.items()):
            lines.append(
                f"{len(seconds):10d}  times {what}: median {median(seconds):.2f} s, at most {max(seconds):.2f} s"
            )
        kinds = Counter(kind for kind, _ in self.problems)
        for kind, number in kinds.items():
            lines += ["", f"{number} PROBLEMS, {kind}:"]
            lines += [f"  {text}" for other, text in self.problems if other == kind][:SHOWN]
        return "\n".join(lines)
