"""The charts of a comparison, as SVG and PNG.

Rule of this file: a system has the same colour in every chart, of a palette that colour-blind people can tell apart
(Okabe and Ito), and a marker of its own. Figures in, files out. matplotlib is imported here only, when it is needed.
"""

from __future__ import annotations

import importlib
import importlib.util
from math import ceil, floor, log10
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.call.results import MEASURES
from benchmarks.comparison.disturbances import DISTURBANCES
from benchmarks.comparison.growth import SWEEPS
from benchmarks.comparison.systems import REFERENCE, SYSTEMS
from benchmarks.comparison.targets import ROWS
from benchmarks.samples import Measure, quotients, values
from benchmarks.tables import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.comparison.growth import Point, Sweep
    from benchmarks.comparison.targets import Row
    from benchmarks.samples import Sample

__all__ = ["COLOURS", "draw", "missing"]

COLOURS: Final[Mapping[str, str]] = {
    "ours": "#0072B2",
    "ours-uvloop": "#56B4E9",
    "ours-async": "#56B4E9",
    "1.0": "#D55E00",
    "relay": "#7F7F7F",
    "rpyc": "#009E73",
    "pyro5": "#CC79A7",
    "nats": "#E69F00",
    "ours-on-1.0": "#000000",
    "1.0-on-ours": "#F0E442",
}
"""The colour of each system. Two that are never in one chart may share one."""

MARKERS: Final[Mapping[str, str]] = {"ours": "o", "ours-uvloop": "D", "1.0": "s", "relay": "^"}

STYLE: Final[Mapping[str, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "benchmark",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#666666",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.hspace": 0.06,
}

FAINT: Final = "#999999"

NARROW: Final = 1000
"""An axis of less than this, from end to end, has more numbers than the powers of ten."""


def missing() -> str:
    """Return why there can be no charts; empty if there can."""
    if importlib.util.find_spec("matplotlib") is None:
        return "there are no charts without matplotlib (to add it: pip install matplotlib)"
    return ""


def draw(
    folder: Path,
    samples: Sequence[Sample],
    points: Sequence[Point],
    calls: Sequence[Sample],
    labels: Mapping[str, str],
) -> list[Path]:
    """Draw what there is to be drawn.

    Args:
        folder: Where to put the files.
        samples: What was measured on the wire.
        points: What was measured of growth.
        calls: What was measured of calls, from end to end.
        labels: The systems of the calls.

    Returns:
        The files.
    """
    mpl = importlib.import_module("matplotlib")
    mpl.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    paths = []
    with mpl.rc_context(dict(STYLE)):
        for name, figure in charts(pyplot, samples, points, calls, labels):
            for suffix in ("svg", "png"):
                path = folder / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else None
                figure.savefig(path, dpi=150, metadata=metadata)
                paths.append(path)
            pyplot.close(figure)
    return paths


def charts(
    pyplot: Any,
    samples: Sequence[Sample],
    points: Sequence[Point],
    calls: Sequence[Sample],
    labels: Mapping[str, str],
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the figure of each chart that there is something for."""
    rows = [row for row in ROWS if row.at_least and row.at_least[0].of == REFERENCE]
    rows = [row for row in rows if quotients(samples, "ours", REFERENCE, row)]
    if rows:
        yield "ratios", ratios(pyplot, samples, rows)
    found = [name for name in DISTURBANCES if any(sample.scenario == name for sample in samples)]
    if found:
        yield "disturbances", disturbances(pyplot, samples, found)
    for name, sweep in SWEEPS.items():
        chosen = [point for point in points if point.sweep == name]
        if chosen:
            yield f"growth-{name}", growth(pyplot, chosen, sweep)
    measures = [measure for measure in MEASURES if any(measure.scenario == sample.scenario for sample in calls)]
    if measures:
        yield "calls", end_to_end(pyplot, calls, measures, labels)


def ratios(pyplot: Any, samples: Sequence[Sample], rows: Sequence[Row]) -> Any:
    """How many times as good as 1.0, of each row; with what is to be reached at least, and what is aimed for."""
    figure, axes = pyplot.subplots(figsize=(8.5, 1.3 + 0.42 * len(rows)))
    for system in ("ours", "ours-uvloop", "relay"):
        found = [(height, better(row, samples, system)) for height, row in enumerate(rows)]
        found = [(height, gains) for height, gains in found if gains]
        if not found:
            continue
        offset = {"ours": 0.0, "ours-uvloop": 0.18, "relay": 0.0}[system]
        heights = [height + offset for height, _ in found]
        middles = [median(gains) for _, gains in found]
        spans = [
            [middle - min(gains) for middle, (_, gains) in zip(middles, found, strict=True)],
            [max(gains) - middle for middle, (_, gains) in zip(middles, found, strict=True)],
        ]
        axes.errorbar(
            middles,
            heights,
            xerr=spans,
            fmt=MARKERS[system],
            color=COLOURS[system],
            markersize=7,
            elinewidth=1.2,
            capsize=0,
            label=SYSTEMS[system].label,
            zorder=3 if system != "relay" else 2,
        )
    for goals, width, label in (("at_least", 2.2, "to be reached at least"), ("aim", 1.0, "aimed for")):
        marks = [(height, gain) for height, row in enumerate(rows) for gain in wanted(row, goals)]
        axes.scatter(
            [gain for _, gain in marks],
            [height for height, _ in marks],
            marker="|",
            s=260,
            linewidths=width,
            color="#333333",
            label=label,
            zorder=1,
        )
    axes.axvline(1, color=COLOURS[REFERENCE], linewidth=1.4)
    axes.annotate("1.0", (1, -0.62), color=COLOURS[REFERENCE], ha="center", va="bottom", annotation_clip=False)
    axes.set_xscale("log")
    axes.margins(x=0.08)
    plain_numbers(axes.xaxis)
    axes.set_xlabel("times as good as MSL-Network 1.0 (more is better, also of times and memory)")
    axes.set_yticks(range(len(rows)), [short(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1.4, handletextpad=0.4)
    return figure


def better(row: Row, samples: Sequence[Sample], system: str) -> list[float]:
    """Return how many times as good as the reference."""
    if row.less_is_better:
        return quotients(samples, REFERENCE, system, row)
    return quotients(samples, system, REFERENCE, row)


def wanted(row: Row, goals: str) -> list[float]:
    """Return how many times as good as the reference it is to be."""
    limits = [goal.limit for goal in getattr(row, goals) if goal.of == REFERENCE]
    return [1 / limit if row.less_is_better else limit for limit in limits]


def short(row: Row) -> str:
    """Return a heading without its unit."""
    return row.heading.partition(": ")[0].removesuffix(", KB").removesuffix(", ms")


def disturbances(pyplot: Any, samples: Sequence[Sample], names: Sequence[str]) -> Any:
    """What others keep of their rate, and how long they wait."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 1.4 + 0.55 * len(names)), sharey=True)
    systems = [name for name in SYSTEMS if any(sample.system == name for sample in samples if sample.scenario in names)]
    for order, system in enumerate(systems):
        heights = [height + (order - (len(systems) - 1) / 2) * 0.22 for height in range(len(names))]
        style = {"color": COLOURS[system], "marker": MARKERS[system], "markersize": 7, "linestyle": "none"}
        rates = [middle(samples, system, Measure(scenario=name, figure="pipelined", heading="")) for name in names]
        gaps = [middle(samples, system, Measure(scenario=name, figure="gap_ms", heading="")) for name in names]
        left.plot(rates, heights, label=SYSTEMS[system].label, **style)
        right.plot(gaps, heights, **style)
    left.axvline(0.5, color="#333333", linewidth=1, linestyle=":")
    left.annotate("at least", (0.5, -0.55), ha="center", va="bottom", fontsize=8, annotation_clip=False)
    right.axvline(100, color="#333333", linewidth=1, linestyle=":")
    right.annotate("at most", (100, -0.55), ha="center", va="bottom", fontsize=8, annotation_clip=False)
    left.set_xlim(left=-0.03, right=max(1.1, left.get_xlim()[1]))
    left.set_xlabel("rate of the others, as a part of that before")
    right.set_xscale("log")
    right.set_xlim(min(1, right.get_xlim()[0]), max(1000, right.get_xlim()[1]))
    plain_numbers(right.xaxis)
    right.set_xlabel("longest time without a reply, ms")
    left.set_yticks(range(len(names)), [DISTURBANCES[name].text for name in names])
    left.set_ylim(len(names) - 0.5, -0.5)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(systems))
    return figure


def middle(samples: Sequence[Sample], system: str, measure: Measure) -> float:
    """Return a median, not-a-number if there is none."""
    found = values(samples, system, measure)
    return median(found) if found else float("nan")


def growth(pyplot: Any, points: Sequence[Point], sweep: Sweep) -> Any:
    """Rate, and latency, against what grows."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 4))
    systems = [name for name in SYSTEMS if any(point.system == name for point in points)]
    for system in systems:
        style = {"color": COLOURS[system], "marker": MARKERS[system], "markersize": 5, "linewidth": 1.6}
        left.plot(*curve(points, system, sweep.figure), label=SYSTEMS[system].label, **style)
        right.plot(*curve(points, system, "p50_us"), **style)
        right.plot(*curve(points, system, "p99_us"), **{**style, "linestyle": ":", "linewidth": 1.2, "marker": ""})
    left.set_title("MB/s" if sweep.figure == "MB_per_s" else "requests/s")
    right.set_title("latency, us: median (solid) and 99 % (dotted)")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(sweep.label)
        axes.set_ylim(*decades(*axes.get_ylim()))
        plain_numbers(axes.xaxis)
        plain_numbers(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=len(systems))
    return figure


def decades(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a logarithmic axis; a short one is widened to whole powers of ten, so as not to exaggerate."""
    if high / low >= 10:
        return low, high
    return 10 ** floor(log10(low)), 10 ** ceil(log10(high))


def curve(points: Sequence[Point], system: str, figure: str) -> tuple[list[int], list[float]]:
    """Return where a line goes: the median of all runs at each value."""
    found: dict[int, list[float]] = {}
    for point in points:
        if point.system == system and figure in point.figures:
            found.setdefault(point.value, []).append(point.figures[figure])
    return sorted(found), [median(found[value]) for value in sorted(found)]


def end_to_end(pyplot: Any, calls: Sequence[Sample], measures: Sequence[Measure], labels: Mapping[str, str]) -> Any:
    """A small chart of each measure of calls: a bar for each system."""
    columns = 2
    lines = -(-len(measures) // columns)
    figure, grid = pyplot.subplots(lines, columns, figsize=(9.5, lines * (0.8 + 0.26 * len(labels))), squeeze=False)
    systems = list(labels)
    for axes, measure in zip(grid.flat, measures, strict=False):
        found = [middle(calls, system, measure) for system in systems]
        axes.barh(range(len(systems)), found, color=[COLOURS.get(system, FAINT) for system in systems], height=0.7)
        for height, value in enumerate(found):
            if value == value:  # noqa: PLR0124 - not-a-number is not itself
                axes.annotate(f" {number(value)}", (value, height), va="center", fontsize=9)
        axes.set_yticks(range(len(systems)), [labels[system] for system in systems])
        axes.set_ylim(len(systems) - 0.5, -0.5)
        axes.set_title(f"{measure.heading} ({'less' if measure.less_is_better else 'more'} is better)", fontsize=10)
        axes.margins(x=0.18)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
    for axes in list(grid.flat)[len(measures) :]:
        axes.set_visible(False)
    return figure


def plain_numbers(axis: Any) -> None:
    """Write 0.1, 10, 10 k and 1 M in place of powers of ten."""
    ticker = importlib.import_module("matplotlib.ticker")
    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if high / low < NARROW else (1.0,)
    axis.set_major_locator(ticker.LogLocator(base=10, subs=steps, numticks=12))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: brief(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def brief(value: float) -> str:
    """Return a number of few digits."""
    for factor, suffix in ((1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"
