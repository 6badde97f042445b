from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks.call import __main__ as call
from benchmarks.call import measure as call_measure
from benchmarks.call import measure_async as call_measure_async
from benchmarks.call.libraries import ASYNC_CLIENTS, CLIENTS, SERVICES
from benchmarks.call.processes import running
from benchmarks.call.results import MEASURES, ratios, report
from benchmarks.call.systems import DEFAULT, PACKAGES, SYSTEMS
from benchmarks.machine import pinned
from benchmarks.processes import BenchmarkError
from benchmarks.samples import Sample
from benchmarks.tables import spread

if TYPE_CHECKING:
    from collections.abc import Callable

needs_posix = pytest.mark.skipif(os.name == "nt", reason="asks for processes with signals, and starts shell scripts")

KNOWN = [
    Sample(
        round=number, scenario="call", system=system, figures={"p50_us": p50, "p99_us": 9.0, "calls_per_s": 1e6 / p50}
    )
    for number, row in enumerate([(100.0, 400.0, 50.0), (200.0, 600.0, 50.0), (150.0, 900.0, 60.0)])
    for system, p50 in zip(["ours", "1.0", "rpyc"], row, strict=True)
]
LABELS = {"ours": "ours", "1.0": "1.0", "rpyc": "RPyC"}
MEDIAN, RATE = MEASURES[0], MEASURES[2]


def command(*words: str) -> list[str]:
    return [sys.executable, call.__file__, *words]


def script(path: Path, text: str) -> str:
    """Make a program that is started in place of a Python."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def assert_gone(progress: str, expected: int) -> None:
    """So many processes were started, the progress says, and they are no more."""
    processes = re.findall(r"\(process (\d+)\)", progress)
    assert len(processes) == expected
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


# The table


def test_report() -> None:
    """Each line has the medians; then come the ratios to those that were measured, too."""
    tables = [table.splitlines() for table in report(KNOWN, LABELS, ["1.0", "rpyc", "pyro5"]).split("\n\n")]
    assert [[re.sub(" +", " ", line) for line in (table[0], table[2], table[4])] for table in tables] == [
        [
            "| median [min..max] | ours | 1.0 | RPyC |",
            "| call, 64 B: median, us | 150 [100..200] | 600 [400..900] | 50.0 [50.0..60.0] |",
            "| call, 64 B: calls/s | 6_667 [5_000..10_000] | 1_667 [1_111..2_500] | 20_000 [16_667..20_000] |".replace(
                "_", "\N{NO-BREAK SPACE}"
            ),
        ],
        [
            "| times as good as 1.0 | ours | RPyC |",
            "| call, 64 B: median, us | 4.00 [3.00..6.00] | 12.0 [8.00..15.0] |",
            "| call, 64 B: calls/s | 4.00 [3.00..6.00] | 12.0 [8.00..15.0] |",
        ],
        [
            "| times as good as RPyC | ours | 1.0 |",
            "| call, 64 B: median, us | 0.40 [0.25..0.50] | 0.08 [0.07..0.12] |",
            "| call, 64 B: calls/s | 0.40 [0.25..0.50] | 0.08 [0.07..0.12] |",
        ],
    ]


def test_report_is_a_table() -> None:
    """All lines of a table are as long as its heading, and one aligns the numbers."""
    for table in report(KNOWN, LABELS, ["1.0"]).split("\n\n"):
        lines = table.splitlines()
        assert {len(line) for line in lines} == {len(lines[0])}
        assert re.fullmatch(r"\| -+ \|( -+: \|)+", lines[1])


def test_ratios_need_both() -> None:
    """A round in which one of them has no figure has no ratio."""
    samples = [sample for sample in KNOWN if (sample.round, sample.system) != (1, "1.0")]
    assert ratios(samples, "ours", "1.0", MEDIAN) == [4.0, 6.0]
    assert ratios(samples, "ours", "1.0", RATE) == pytest.approx([4.0, 6.0])
    assert ratios(samples, "ours", "pyro5", RATE) == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([0.5], "0.50"),
        ([12345.6], "12\N{NO-BREAK SPACE}346"),
        ([1.0, 30.0, 2.0], "2.00 [1.00..30.0]"),
        ([1, 2], "1.50 [1.00..2.00]"),
    ],
)
def test_spread(values: list[float], text: str) -> None:
    """The median, and the extremes if there are several values."""
    assert spread(values) == text


# The loops


class Counting:
    """A client that counts, and answers at once."""

    def __init__(self) -> None:
        self.started = self.most = self.sessions = 0
        self.finished: list[int] = []

    def start(self, _text: str) -> int:
        self.started += 1
        self.most = max(self.most, self.started - len(self.finished))
        return self.started

    def session(self) -> None:
        self.sessions += 1

    def caller(self, batch: int = 1) -> call_measure.Caller:
        return call_measure.Caller(
            echo=str,
            length=len,
            start=self.start,
            wait=self.finished.append,
            session=self.session,
            batch=batch,
        )


def figures(scenario: str) -> set[str]:
    return {measure.figure for measure in MEASURES if measure.scenario == scenario}


@pytest.mark.parametrize("scenario", call_measure.SCENARIOS)
def test_measure(scenario: str) -> None:
    """A scenario yields the figures that the table shows, even if there is time for one call only."""
    result = call_measure.measure(Counting().caller(), scenario, 0.0)
    assert result.keys() == figures(scenario)
    assert min(result.values()) > 0


@pytest.mark.parametrize("scenario", call_measure_async.SCENARIOS)
def test_measure_async(scenario: str) -> None:
    """The awaited calls yield the same figures."""

    async def echo(value: Any) -> Any:
        return value

    async def session() -> None:
        pass

    caller = call_measure_async.AsyncCaller(echo=echo, length=echo, session=session)
    assert asyncio.run(call_measure_async.measure(caller, scenario, 0.0)).keys() == figures(scenario)


@pytest.mark.parametrize("batch", [1, 64])
def test_window(batch: int) -> None:
    """There are 64 calls in flight at the most, the oldest is waited for first, and none is left behind."""
    counting = Counting()
    call_measure.window(counting.caller(batch), 0.01)
    assert counting.most * batch == 64
    assert counting.finished == list(range(1, counting.started + 1))


def test_threads_may_have_their_own() -> None:
    """A library whose clients belong to a thread gives one to each."""
    given: list[Callable[[str], object]] = []

    def echo_of_thread() -> Callable[[str], object]:
        given.append(str)
        return str

    caller = Counting().caller()
    caller = call_measure.Caller(**{**vars(caller), "echo_of_thread": echo_of_thread})
    call_measure.threads(caller, 0.0)
    assert len(given) == 8


def test_summary() -> None:
    """Median and 99th percentile are those of the calls, the rate that of their sum."""
    times = [*range(1_000, 99_000, 1_000), 99_000, 1_000_000]
    assert call_measure.summary(times) == pytest.approx(
        {"p50_us": 51.0, "p99_us": 1000.0, "calls_per_s": 100 / (sum(times) * 1e-9)}
    )


# What there is


def test_tables_agree() -> None:
    """What can be chosen can be measured, shown and started."""
    assert {measure.scenario for measure in MEASURES} == set(call_measure.SCENARIOS)
    assert set(call_measure_async.SCENARIOS) == set(call_measure.SCENARIOS)
    assert {system.client for system in SYSTEMS.values()} == {*CLIENTS, *ASYNC_CLIENTS}
    assert {system.service for system in SYSTEMS.values()} == set(SERVICES) == set(PACKAGES)
    assert set(DEFAULT) <= set(SYSTEMS)


def test_unknown_names_are_refused() -> None:
    """A name that is not known is named, with those that are."""
    with pytest.raises(argparse.ArgumentTypeError, match="no 'b'; there are a, c"):
        call.names(["a", "c"])("a, b")
    assert call.names(["a", "c"])("c, a,c") == ["c", "a"]


def test_python_is_not_resolved(tmp_path: Path) -> None:
    """The Python of a virtual environment is a link that must stay one, and holds in any folder."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert call.python(os.path.relpath(link)) == str(link)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_pinned() -> None:
    """Within the block there is one core, after it there are those from before."""
    before = os.sched_getaffinity(0)
    with pinned(-1) as core:
        assert os.sched_getaffinity(0) == {core} == {max(before)}
    assert os.sched_getaffinity(0) == before
    with pinned(None) as core:
        assert core is None
        assert os.sched_getaffinity(0) == before


# Runs


@needs_posix
def test_run(tmp_path: Path) -> None:
    """A run prints a table, writes its samples, and leaves no process behind."""
    path = tmp_path / "calls.json"
    words = ["--seconds", "0.05", "--rounds", "1", "--systems", "1.0", "--json", str(path)]
    result = subprocess.run(command(*words), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shown = [measure.heading for measure in MEASURES if measure.scenario in call.DEFAULT_SCENARIOS]
    assert re.findall(r"^\| (\w.*?) +\| +[\d.\xa0 ]+ \|$", result.stdout, re.MULTILINE)[1:] == shown
    data = json.loads(path.read_text())
    assert [sample["scenario"] for sample in data["samples"]] == list(call.DEFAULT_SCENARIOS)
    assert data["versions"]["1.0"]["1.0"].keys() == {"python", "msl-network"}
    assert data["machine"].keys() >= {"date", "cpu", "kernel", "core"}
    assert_gone(result.stderr, 3)


@needs_posix
def test_end_of_run() -> None:
    """A run that is told to end takes its processes with it."""
    words = ["--seconds", "60", "--systems", "1.0"]
    with subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        progress = ""
        for line in process.stderr:
            progress += line
            if line.startswith("round 1"):
                process.terminate()
    assert process.returncode == 143
    assert_gone(progress, 3)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes that are not its own")
def test_killed_run(tmp_path: Path) -> None:
    """Even if a run has no time to clean up, its processes end."""
    words = ["--seconds", "0.05", "--rounds", "1000000", "--systems", "1.0"]
    processes = []
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # where its files stay
    with subprocess.Popen(
        command(*words), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"\(process (\d+)\)", line):
                processes.append(os.pidfd_open(int(found[1])))
            if line.startswith("round 1 of"):
                process.kill()
    assert len(processes) == 3
    for ended in processes:
        assert select.select([ended], [], [], 30) == ([ended], [], [])
        os.close(ended)


@needs_posix
def test_missing_package(tmp_path: Path) -> None:
    """A system whose package is missing is left out, and it is said what would add it."""
    bare = script(tmp_path / "bare", f'exec "{sys.executable}" -I -S "$@"')
    result = subprocess.run(
        command("--systems", "rpyc", "--python-rpyc", bare), capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"RPyC (direct) is left out: No module named 'rpyc' (to add it: {bare} -m pip install rpyc)",
        "nothing was measured",
    ]


def test_missing_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Python that is not there is named."""
    nowhere = str(tmp_path / "nowhere")
    assert call.main(["--systems", "1.0", "--python-1.0", nowhere, "--core", "none"]) == 1
    assert f"1.0 is left out: {nowhere} does not run" in capsys.readouterr().err


@needs_posix
def test_manager_that_does_not_start(tmp_path: Path) -> None:
    """What a process said before it ended is part of the error, and nothing stays."""
    progress: list[str] = []
    broken = script(tmp_path / "broken", "echo No such luck; exit 1")
    pythons = dict.fromkeys(PACKAGES, broken)
    with (
        pytest.raises(BenchmarkError, match="the Manager does not listen\n  Manager: No such luck"),
        running(SYSTEMS["1.0"], pythons, tmp_path, False, progress.append),
    ):
        pytest.fail("it did not start")
    assert_gone("\n".join(progress), 1)
