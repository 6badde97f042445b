"""What our Manager is to reach: the lines of the table, and the least and the best that is asked of each.

Rule of this file: the targets are here and nowhere else, and judged here. It must not know how anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.comparison.disturbances import DISTURBANCES
from benchmarks.comparison.systems import REFERENCE, SYSTEMS
from benchmarks.samples import Measure, quotients, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.samples import Sample

__all__ = ["ROWS", "Goal", "Row", "judge", "reached"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A limit that is to be met.

    Args:
        limit: The limit; the better side of it is that of the row.
        of: The system whose figure it is a multiple of; None: it is a figure itself.
    """

    limit: float
    of: str | None = REFERENCE

    def text(self, row: Row) -> str:
        """Return it in words."""
        sign = "<=" if row.less_is_better else ">="
        return f"{sign} {self.limit:g}x of {SYSTEMS[self.of].label}" if self.of else f"{sign} {self.limit:g}{row.unit}"

    def measured(self, row: Row, samples: Sequence[Sample], system: str) -> list[float]:
        """Return what is to meet it, of each round or run."""
        return quotients(samples, system, self.of, row) if self.of else values(samples, system, row)


@dataclass(frozen=True, kw_only=True)
class Row(Measure):
    """A line of the table.

    Args:
        at_least: What must be reached, all of it.
        aim: What is aimed for.
        unit: What to put after a figure.
    """

    at_least: tuple[Goal, ...] = ()
    aim: tuple[Goal, ...] = ()
    unit: str = ""


class Goals(NamedTuple):
    """The least and the best that is asked of a row."""

    at_least: tuple[Goal, ...] = ()
    aim: tuple[Goal, ...] = ()


def times(at_least: float, *aims: Goal | float) -> Goals:
    """Return goals that are multiples of the reference."""
    aim = tuple(aim if isinstance(aim, Goal) else Goal(limit=aim) for aim in aims)
    return Goals(at_least=(Goal(limit=at_least),), aim=aim)


def figures(at_least: float, *aims: float) -> Goals:
    """Return goals that are figures."""
    return Goals(at_least=(Goal(limit=at_least, of=None),), aim=tuple(Goal(limit=aim, of=None) for aim in aims))


def rate(scenario: str, heading: str, goals: Goals = Goals(), figure: str = "per_s") -> Row:  # noqa: B008 - it is frozen
    """Return a row of which more is better."""
    return Row(scenario=scenario, figure=figure, heading=heading, at_least=goals.at_least, aim=goals.aim)


def time(scenario: str, heading: str, goals: Goals = Goals(), figure: str = "p50_us", unit: str = "") -> Row:  # noqa: B008
    """Return a row of which less is better."""
    return Row(
        scenario=scenario,
        figure=figure,
        heading=heading,
        less_is_better=True,
        unit=unit,
        at_least=goals.at_least,
        aim=goals.aim,
    )


ROWS: Final[tuple[Row, ...]] = (
    time("latency", "one request after the other: p50, us", times(0.6, 0.45, Goal(limit=1.5, of="relay"))),
    time("latency", "one request after the other: p99, us", figure="p99_us"),
    rate("pipelined", "64 in flight: requests/s", times(10, 15)),
    rate("pipelined8", "8 Clients, 16 in flight each: requests/s", times(8, 12)),
    rate("bulk1", "1 MB of text: MB/s", times(1.4, 3), "MB_per_s"),
    rate("floats1", "1 MB of floats: MB/s", times(4, 8), "MB_per_s"),
    rate("notify", "notifications, 1 to 50: deliveries/s", times(7, 9)),
    rate("connect", "connect, link, leave: /s", times(25, 40)),
    rate("connect16", "the same, 16 at a time: /s"),
    time("tls-latency", "TLS, one after the other: p50, us", times(0.5, 0.4)),
    rate("tls-pipelined", "TLS, 64 in flight: requests/s", times(12, 17)),
    rate("tls-connect", "TLS, connect, link, leave: /s", times(3, 4)),
    time("idle", "memory of an idle connection, KB", times(1.0, Goal(limit=3, of=None)), "kb", " KB"),
    time("startup", "start to first accept, ms", times(0.7, 0.5), "ms"),
    rate("log", "log level INFO beside WARNING: latency", figures(0.95, 1), "latency"),
    rate("log", "log level INFO beside WARNING: requests/s", figures(0.95, 1), "pipelined"),
    rate("scale", "10 of 10 Clients: requests/s", figure="per_s_10"),
    rate("scale", "10 of 1000 Clients: requests/s", figure="per_s_1000"),
    rate("scale", "slowest by fastest of 10, 100, 1000 Clients", figures(0.85, 0.95), "flat"),
    rate("hol-reply", "others while a Client reads no reply", figures(0.8, 1), "late_ratio"),
    rate("hol-notify", "others while a Client reads no notification", figures(0.8, 1), "late_ratio"),
    rate("hol-service", "others while a Service reads no request", figures(0.8, 1), "late_ratio"),
    *(
        row
        for name, disturbance in DISTURBANCES.items()
        for row in (
            rate(name, f"others during {disturbance.text}: one after the other", figures(0.5, 0.8), "sequential"),
            rate(name, f"others during {disturbance.text}: 64 in flight", figures(0.5, 0.8), "pipelined"),
            time(name, f"others during {disturbance.text}: longest gap, ms", figures(100), "gap_ms", " ms"),
        )
    ),
)
"""The lines of the table, in order. Those without a target are for who wants to know."""


def reached(row: Row, goals: Sequence[Goal], samples: Sequence[Sample], system: str) -> bool | None:
    """Return whether a system meets goals with the median of its figures; None if that was not measured.

    Two decimals of a figure count: what is below is noise.
    """
    if not goals:
        return None
    verdicts = []
    for goal in goals:
        found = goal.measured(row, samples, system)
        if not found:
            return None
        figure = round(median(found), 2)
        verdicts.append(figure <= goal.limit if row.less_is_better else figure >= goal.limit)
    return all(verdicts)


def judge(row: Row, samples: Sequence[Sample], system: str) -> str:
    """Return what a system has reached of a row, in words."""
    least, best = (reached(row, goals, samples, system) for goals in (row.at_least, row.aim))
    if best:
        return "aim"
    return {True: "yes", False: "NO", None: "-"}[least]
