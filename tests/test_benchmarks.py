from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks import __main__ as benchmarks
from benchmarks.comparison import charts
from benchmarks.comparison.disturbances import DISTURBANCES
from benchmarks.comparison.growth import SWEEPS, Point
from benchmarks.comparison.report import measured, targets
from benchmarks.comparison.scenarios import QUICK, SCENARIOS
from benchmarks.comparison.systems import DEFAULT, SYSTEMS
from benchmarks.comparison.targets import ROWS, Goal, Row, judge
from benchmarks.results import Results, ResultsError, merged, read, write
from benchmarks.samples import Measure, Sample, quotients, values
from benchmarks.wire.build import compiler

if TYPE_CHECKING:
    from collections.abc import Sequence

only_here = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="needs Linux and a C compiler")

LATENCY = Measure(scenario="latency", figure="p50_us", heading="", less_is_better=True)


def sample(scenario: str, system: str, number: int = 1, run: int = 0, **figures: float) -> Sample:
    return Sample(round=number, scenario=scenario, system=system, figures=figures, run=run)


def latencies(
    ours: Sequence[float], reference: Sequence[float], relay: Sequence[float] = (), run: int = 0
) -> list[Sample]:
    """A sample of each system for each round."""
    return [
        sample("latency", system, number, run, p50_us=value)
        for system, found in (("ours", ours), ("1.0", reference), ("relay", relay))
        for number, value in enumerate(found, 1)
    ]


def lines(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its rule."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [found[0], *found[2:]]


# Samples


def test_quotients_of_rounds() -> None:
    """Figures of the same round are compared; a round that lacks one, or has nothing to divide by, does not count."""
    samples = latencies([10, 20, 30, 40], [20, 80, 0])
    assert quotients(samples, "ours", "1.0", LATENCY) == [0.5, 0.25]
    assert quotients(samples, "ours", "relay", LATENCY) == []


def test_values_of_runs() -> None:
    """Of one run there is each round; of several runs there is the median of each."""
    first, second = latencies([1, 2, 9], [2, 2, 3]), latencies([4, 4, 5], [2, 8, 5], run=1)
    assert values(first, "ours", LATENCY) == [1, 2, 9]
    assert values([*first, *second], "ours", LATENCY) == [2, 4]
    assert quotients([*first, *second], "ours", "1.0", LATENCY) == [1, 1]


# Targets


def test_each_target_is_of_something_that_is_measured() -> None:
    """The rows are of the scenarios, the scenarios of the systems, and what is asked most is more than the least."""
    assert {row.scenario for row in ROWS} == set(SCENARIOS)
    assert {name for scenario in SCENARIOS.values() for name in scenario.systems} == set(SYSTEMS) == set(DEFAULT)
    assert set(QUICK) <= set(SCENARIOS)
    for row in ROWS:
        for goal in row.at_least:
            for aim in row.aim:
                if aim.of == goal.of:
                    assert (aim.limit < goal.limit) == row.less_is_better


LESS = Row(
    scenario="latency",
    figure="p50_us",
    heading="latency",
    less_is_better=True,
    at_least=(Goal(limit=0.6),),
    aim=(Goal(limit=0.45), Goal(limit=1.5, of="relay")),
)
MORE = Row(
    scenario="log",
    figure="latency",
    heading="log",
    at_least=(Goal(limit=0.95, of=None),),
    aim=(Goal(limit=1, of=None),),
)


@pytest.mark.parametrize(
    ("ours", "relay", "verdict"),
    [
        ([45, 45, 500], [30, 30, 30], "aim"),  # the median counts
        ([46, 46, 46], [40, 40, 40], "yes"),
        ([40, 40, 40], [20, 20, 20], "yes"),  # one of two aims is not enough
        ([40, 40, 40], [], "yes"),  # nor is one that was not measured
        ([60, 60, 61], [50, 50, 50], "yes"),
        ([61, 61, 61], [50, 50, 50], "NO"),
    ],
)
def test_judge_less(ours: list[float], relay: list[float], verdict: str) -> None:
    """Of times, less is better; all that is aimed for must be met."""
    assert judge(LESS, latencies(ours, [100, 100, 100], relay), "ours") == verdict


@pytest.mark.parametrize(("figure", "verdict"), [(1.2, "aim"), (0.996, "aim"), (0.98, "yes"), (0.94, "NO")])
def test_judge_more(figure: float, verdict: str) -> None:
    """A figure may be its own measure; its third decimal is noise."""
    assert judge(MORE, [sample("log", "ours", latency=figure)], "ours") == verdict


def test_judge_nothing() -> None:
    """What was not measured, or cannot be compared, is not judged."""
    assert judge(LESS, [], "ours") == "-"
    assert judge(LESS, latencies([1], []), "ours") == "-"


# Tables


def test_tables() -> None:
    """The first table has what was measured, the second what is made of it; each says only what there is."""
    samples = [*latencies([40, 50], [100, 100], [30, 25]), sample("startup", "1.0", ms=180)]
    assert lines(measured(samples)) == [
        ["median [min..max]", "ours", "1.0", "relay in C"],
        ["one request after the other: p50, us", "45.0 [40.0..50.0]", "100 [100..100]", "27.5 [25.0..30.0]"],
        ["one request after the other: p99, us", "-", "-", "-"],
        ["start to first accept, ms", "-", "180", "-"],
    ]
    assert lines(targets(samples)) == [
        ["target", "at least", "aim", "ours", "reached"],
        [
            "one request after the other: p50, us",
            "<= 0.6x of 1.0",
            "<= 0.45x of 1.0 and <= 1.5x of relay in C",
            "0.45 [0.40..0.50]x, 1.67 [1.33..2.00]x of relay in C",
            "yes",
        ],
    ]


def test_figures_that_are_no_ratios() -> None:
    """A target may be a figure with a unit, or a ratio and a figure."""
    samples = [sample("idle", "ours", kb=2.5), sample("idle", "1.0", kb=10.0), sample("storm", "ours", gap_ms=120.0)]
    assert lines(targets(samples))[1:] == [
        ["memory of an idle connection, KB", "<= 1x of 1.0", "<= 3 KB", "0.25x, 2.50 KB", "aim"],
        ["others during 250 connects/s: longest gap, ms", "<= 100 ms", "-", "120 ms", "NO"],
    ]


def test_no_targets_without_ours() -> None:
    """Only ours is judged."""
    assert targets([sample("startup", "1.0", ms=180)]) == ""


# Results


def results(**changes: Any) -> Results:
    known: dict[str, Any] = {
        "machine": {"cpu": "a processor", "core": 1, "kernel": "Linux", "date": "today"},
        "options": {"rounds": 5, "seconds": 0.6},
        "versions": {"ours": "python 3"},
        "remarks": ["something was left out"],
        "samples": latencies([40, 50], [100, 100]),
        "points": [
            Point(
                sweep="clients", value=value, system=system, figures={"per_s": 10.0 * value, "p50_us": 5, "p99_us": 9}
            )
            for value in (1, 10)
            for system in ("ours", "1.0")
        ],
        "calls": [
            sample("call", system, p50_us=value, p99_us=value, calls_per_s=1e6 / value)
            for system, value in (("ours", 100), ("1.0", 300))
        ],
        "labels": {"ours": "ours", "1.0": "1.0"},
    }
    return Results(**{**known, **changes})


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """JSON keeps all there is."""
    path = tmp_path / "run.json"
    write(results(), path)
    assert read(path) == results()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "has no results of python -m benchmarks"),
        ("[]", "has no results of python -m benchmarks"),
        ('{"format": 1}', "has no results of python -m benchmarks: 'samples'"),
        ('{"format": 0}', "was written by another version"),
    ],
)
def test_other_files_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    """What is no result is named, and the command line says so in one line."""
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=message):
        read(path)


def test_merged() -> None:
    """Several runs stay apart in one, also if one of them was several already; a remark is made once."""
    both = merged([results(), results(remarks=["something was left out", "another"])])
    three = merged([both, results()])
    assert [one.run for one in both.samples] == [0] * 4 + [1] * 4
    assert [one.run for one in three.points] == [0] * 4 + [1] * 4 + [2] * 4
    assert (both.runs, three.runs) == (2, 3)
    assert both.remarks == ["something was left out", "another"]


# The command


def test_from(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is made again, of one run or of several, and what there is to draw is drawn."""
    drawn: list[tuple[Any, ...]] = []

    def draw(*words: Any) -> list[Path]:
        drawn.append(words)
        return []

    monkeypatch.setattr(charts, "missing", str)
    monkeypatch.setattr(charts, "draw", draw)
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    write(results(), paths[0])
    write(results(samples=latencies([60, 60], [100, 100])), paths[1])
    assert benchmarks.main(["--from", *map(str, paths), "--output", str(tmp_path / "new" / "results")]) == 0
    whole = merged([read(path) for path in paths])
    assert drawn == [(tmp_path / "new" / "results", whole.samples, whole.points, whole.calls, whole.labels)]
    told = capsys.readouterr().out
    assert told == (tmp_path / "new" / "results" / "table.md").read_text()
    assert told.startswith("a processor, one core, 2 runs of 5 rounds of 0.6 s each, Linux, today\n")
    assert "0.53 [0.45..0.60]x" in told
    assert "| times as good as 1.0" in told
    assert told.endswith("- ours: python 3\n- something was left out\n")


def test_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is an error in one line."""
    with pytest.raises(SystemExit):
        benchmarks.main(["--from", str(tmp_path / "nowhere.json")])
    assert "nowhere.json has no results of python -m benchmarks: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "wires"], "no 'wires'; there are wire, growth, calls"),
        (["--systems", "ours,2.0"], "no '2.0'; there are ours, ours-uvloop, 1.0, relay"),
        (["--scenarios", "latncy"], "no 'latncy'; there are latency, pipelined"),
        (["--core", "4711"], "core 4711"),
    ],
)
def test_command_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be is said, with what can."""
    if words[0] == "--core" and sys.platform != "linux":
        pytest.skip("only Linux binds a process to a core")
    with pytest.raises(SystemExit):
        benchmarks.main(words)
    assert message in capsys.readouterr().err


@only_here
def test_run(tmp_path: Path) -> None:
    """A tiny run of two systems has a table, targets and JSON, and leaves no process behind."""
    path = tmp_path / "run.json"
    scenarios = ["tls-latency", "startup"]
    words = ["--seconds", "0.1", "--rounds", "1", "--systems", "ours,1.0", "--scenarios", ",".join(scenarios)]
    words += ["--only", "wire", "--json", str(path), "--output", str(tmp_path)]
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks", *words]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (tmp_path / "table.md").read_text()
    found = read(path)
    for row in ROWS:
        if row.scenario in scenarios:
            assert len(quotients(found.samples, "ours", "1.0", row)) == 1
    assert "### Targets" in result.stdout
    processes = re.findall(r"\(process (\d+)\)", result.stderr)
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


# Charts


def test_no_charts_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table comes all the same, and it is said what would draw."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    path = tmp_path / "run.json"
    write(results(), path)
    assert benchmarks.main(["--from", str(path), "--output", str(tmp_path)]) == 0
    assert "no charts without matplotlib (to add it: pip install matplotlib)" in capsys.readouterr().err
    assert [found.name for found in sorted(tmp_path.iterdir())] == ["run.json", "table.md"]


def test_everybody_has_a_colour() -> None:
    """A system has a colour wherever it is drawn, and those of one chart differ."""
    assert set(charts.COLOURS) >= {*SYSTEMS, *benchmarks.CALLS}
    for chart in (SYSTEMS, benchmarks.CALLS):
        assert len({charts.COLOURS[name] for name in chart}) == len(chart)


def test_charts(tmp_path: Path) -> None:
    """Each chart is there twice, and the SVG has its text as text. It needs matplotlib."""
    if charts.missing():
        pytest.skip(charts.missing())
    some = [
        *results().samples,
        *(sample(name, system, pipelined=0.7, gap_ms=5) for name in DISTURBANCES for system in ("ours", "1.0")),
    ]
    points = [
        Point(sweep=name, value=value, system="ours", figures={"per_s": 10, "MB_per_s": 10, "p50_us": 5, "p99_us": 9})
        for name, sweep in SWEEPS.items()
        for value in sweep.values
        if name == "payload"
    ]
    paths = charts.draw(tmp_path, some, points, results().calls, results().labels)
    names = ["ratios", "disturbances", "growth-payload", "calls"]
    assert [path.name for path in paths] == [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]
    words = [element.text for element in ET.parse(tmp_path / "ratios.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "one request after the other" in words
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[1::2])
