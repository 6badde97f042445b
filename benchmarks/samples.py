"""What was measured: samples, and how those of one system compare with those of another.

Rule of this file: figures in, figures out. It must not know how anything is measured, and reads neither clock nor
machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Measure", "Sample", "quotients", "values"]

Moment = tuple[int, int]
"""A run, and a round of it."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one system reached in one scenario of one round; the figures by name."""

    round: int
    scenario: str
    system: str
    figures: Mapping[str, float]
    run: int = 0


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A line of a table: a figure of a scenario, and whether less of it is better."""

    scenario: str
    figure: str
    heading: str
    less_is_better: bool = False


def values(samples: Sequence[Sample], system: str, measure: Measure) -> list[float]:
    """Return what a system reached in each round; of several runs, the median of each."""
    return condensed(by_moment(samples, system, measure))


def quotients(samples: Sequence[Sample], system: str, reference: str, measure: Measure) -> list[float]:
    """Return what a system reached, divided by what a reference did, in each round that has both.

    Figures of the same round are compared, because these were measured one right after the other. Of several runs
    there is the median of each. Nothing can be divided by what the reference did not reach at all.
    """
    ours, theirs = by_moment(samples, system, measure), by_moment(samples, reference, measure)
    return condensed({moment: ours[moment] / theirs[moment] for moment in ours if theirs.get(moment)})


def by_moment(samples: Sequence[Sample], system: str, measure: Measure) -> dict[Moment, float]:
    """Return what a system reached in each round of each run."""
    return {
        (sample.run, sample.round): sample.figures[measure.figure]
        for sample in samples
        if (sample.system, sample.scenario) == (system, measure.scenario) and measure.figure in sample.figures
    }


def condensed(found: Mapping[Moment, float]) -> list[float]:
    """Return the figures of a run, or the median of each if there are several."""
    runs = list(dict.fromkeys(run for run, _ in found))
    if len(runs) < 2:
        return list(found.values())
    return [median(value for (of_run, _), value in found.items() if of_run == run) for run in runs]
