"""From samples to tables: medians, spread, ratios.

Rule of this file: figures in, Markdown out. It must not know how anything is measured, and reads neither clock
nor machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.tables import markdown, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MEASURES", "Measure", "Sample", "ratios", "report"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one system reached in one scenario of one round; the figures by name."""

    round: int
    scenario: str
    system: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A line of the table: a figure of a scenario, and whether less of it is better."""

    scenario: str
    figure: str
    heading: str
    less_is_better: bool = False


MEASURES: Final = (
    Measure(scenario="call", figure="p50_us", heading="call, 64 B: median, us", less_is_better=True),
    Measure(scenario="call", figure="p99_us", heading="call, 64 B: 99 %, us", less_is_better=True),
    Measure(scenario="call", figure="calls_per_s", heading="call, 64 B: calls/s"),
    Measure(scenario="window", figure="calls_per_s", heading="64 in flight: calls/s"),
    Measure(scenario="threads", figure="calls_per_s", heading="8 threads, one client: calls/s"),
    Measure(scenario="large", figure="MB_per_s", heading="1 MB of text: MB/s"),
    Measure(scenario="floats", figure="calls_per_s", heading="50 000 floats: calls/s"),
    Measure(scenario="connect", figure="connects_per_s", heading="connect, link, disconnect: /s"),
)
"""The lines of the table, in order."""


def report(samples: Sequence[Sample], labels: Mapping[str, str], references: Sequence[str]) -> str:
    """Return the tables.

    Args:
        samples: What was measured.
        labels: The columns: the name of each system, and what to call it.
        references: The systems that the others are to be compared with; one that is no column is left out.
    """
    measures = [measure for measure in MEASURES if any(measure.scenario == sample.scenario for sample in samples)]
    rows = [
        [measure.heading, *(spread(list(by_round(samples, system, measure).values())) for system in labels)]
        for measure in measures
    ]
    parts = [markdown(["median [min..max]", *labels.values()], rows)]
    for reference in references:
        others = [system for system in labels if system != reference]
        if reference in labels and others:
            rows = [
                [measure.heading, *(spread(ratios(samples, system, reference, measure)) for system in others)]
                for measure in measures
            ]
            title = f"times as good as {labels[reference]}"
            parts.append(markdown([title, *(labels[system] for system in others)], rows))
    return "\n\n".join(parts)


def by_round(samples: Sequence[Sample], system: str, measure: Measure) -> dict[int, float]:
    """Return what a system reached in each round."""
    return {
        sample.round: sample.figures[measure.figure]
        for sample in samples
        if (sample.system, sample.scenario) == (system, measure.scenario) and measure.figure in sample.figures
    }


def ratios(samples: Sequence[Sample], system: str, reference: str, measure: Measure) -> list[float]:
    """Return how many times as good as the reference a system was, in each round that has both.

    Figures of the same round are compared, because these were measured one right after the other.
    """
    ours, theirs = by_round(samples, system, measure), by_round(samples, reference, measure)
    both = [number for number in ours if number in theirs]
    if measure.less_is_better:
        return [theirs[number] / ours[number] for number in both]
    return [ours[number] / theirs[number] for number in both]
