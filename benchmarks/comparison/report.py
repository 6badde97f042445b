"""The tables of a comparison, as Markdown.

Rule of this file: samples in, text out. It must not know how anything is measured, and reads neither clock nor machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.comparison.systems import REFERENCE, SYSTEMS
from benchmarks.comparison.targets import ROWS, judge
from benchmarks.samples import values
from benchmarks.tables import markdown, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.comparison.targets import Goal, Row
    from benchmarks.samples import Sample

__all__ = ["NOTES", "measured", "targets"]

OURS: Final = ("ours", "ours-uvloop")

NOTES: Final = """\
Manager, Services and Clients are on one core, so a figure is what the Manager costs, not how long another core takes to
wake up. Services and Clients are a generator in C, which takes less than 1 us for a message. 1.0 logs from WARNING on,
ours at its default, INFO. The relay in C checks nothing, limits nothing and logs nothing: no Manager can be faster.
MB/s counts a message once, though it crosses four sockets. With TLS each Manager has the key that it makes for itself:
RSA of 2048 bits in 1.0, ECDSA on P-256 in ours. "Others" are their rate divided by that before: while a peer stalls,
that of 7 Clients with 4 in flight each; else that of two Clients of one Service, one calling one after the other and
one with 64 in flight. What disturbs them is on the same core, too, also the computing of password hashes. A ratio is
the median of the ratios of each round, or, of several runs, of each run's."""


def measured(samples: Sequence[Sample]) -> str:
    """Return the table of what was measured: medians, with the least and the greatest in brackets."""
    systems = [name for name in SYSTEMS if any(sample.system == name for sample in samples)]
    rows = [[row.heading, *(spread(values(samples, system, row)) for system in systems)] for row in present(samples)]
    return markdown(["median [min..max]", *(SYSTEMS[system].label for system in systems)], rows)


def targets(samples: Sequence[Sample]) -> str:
    """Return the table of what was to be reached, and of what was; empty if there is nothing of ours to judge."""
    systems = [name for name in OURS if any(sample.system == name for sample in samples)]
    judged = [row for row in present(samples) if row.at_least and any(values(samples, name, row) for name in systems)]
    if not judged:
        return ""
    rows = []
    for row in judged:
        goals = [" and ".join(goal.text(row) for goal in chosen) or "-" for chosen in (row.at_least, row.aim)]
        cells = [cell for name in systems for cell in (standing(row, samples, name), judge(row, samples, name))]
        rows.append([row.heading, *goals, *cells])
    heading = [cell for name in systems for cell in (SYSTEMS[name].label, "reached")]
    return markdown(["target", "at least", "aim", *heading], rows)


def standing(row: Row, samples: Sequence[Sample], system: str) -> str:
    """Return the figures that the targets of a row are about."""
    goals: list[Goal] = []
    for goal in (*row.at_least, *row.aim):
        if all(goal.of != other.of for other in goals):
            goals.append(goal)
    found = [(goal, goal.measured(row, samples, system)) for goal in goals]
    return (
        ", ".join(
            (f"{spread(measured)}x" + ("" if goal.of == REFERENCE else f" of {SYSTEMS[goal.of].label}"))
            if goal.of
            else f"{spread(measured)}{row.unit}"
            for goal, measured in found
            if measured
        )
        or "-"
    )


def present(samples: Sequence[Sample]) -> list[Row]:
    """Return the rows that there is something to say of."""
    found = {sample.scenario for sample in samples}
    return [row for row in ROWS if row.scenario in found]
