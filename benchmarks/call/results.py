"""From samples to tables: medians, spread, ratios.

Rule of this file: figures in, Markdown out. It must not know how anything is measured, and reads neither clock
nor machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.samples import Measure, Sample, quotients, values
from benchmarks.tables import markdown, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MEASURES", "ratios", "report"]


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
    rows = [[measure.heading, *(spread(values(samples, system, measure)) for system in labels)] for measure in measures]
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


def ratios(samples: Sequence[Sample], system: str, reference: str, measure: Measure) -> list[float]:
    """Return how many times as good as the reference a system was, in each round that has both."""
    if measure.less_is_better:
        return quotients(samples, reference, system, measure)
    return quotients(samples, system, reference, measure)
