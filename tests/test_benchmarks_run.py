from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks.call.systems import PACKAGES
from benchmarks.comparison import disturbances, systems
from benchmarks.comparison.disturbances import DISTURBANCES, disturb, impediment, resolver
from benchmarks.comparison.managers import Managers
from benchmarks.comparison.run import Run
from benchmarks.comparison.scenarios import SCENARIOS, Scenario
from benchmarks.comparison.systems import SYSTEMS, VARIANTS
from benchmarks.comparison.targets import ROWS
from benchmarks.processes import BenchmarkError
from benchmarks.wire.build import compiler

only_here = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="needs Linux and a C compiler")

PYTHONS = dict.fromkeys(PACKAGES, sys.executable)


# What can be measured


class Told:
    """Managers that measure nothing, and what a run says."""

    folder = Path()
    pythons = PYTHONS

    def __init__(self) -> None:
        self.given_up: list[str] = []
        self.told: list[str] = []
        self.run = Run(self, self.told.append)  # type: ignore[arg-type]  # it hands them on

    def give_up(self, system: str) -> None:
        self.given_up.append(system)


def test_interleaved_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system is measured in each round, every other round backwards; what is slow, in half of the rounds."""
    order: list[tuple[str, str]] = []

    def measure(name: str) -> Any:
        def run(_managers: object, system: str, _seconds: float) -> dict[str, float]:
            order.append((name, system))
            return {row.figure: 1.0 for row in ROWS}

        return run

    monkeypatch.setitem(SCENARIOS, "latency", Scenario(run=measure("latency")))
    monkeypatch.setitem(SCENARIOS, "idle", Scenario(run=measure("idle"), systems=("ours",), slow=True))
    told = Told()
    told.run.systems = ["ours", "1.0"]
    told.run.measure(["latency", "idle"], 3, 0.1)
    assert order == [
        *(("latency", "ours"), ("latency", "1.0"), ("idle", "ours")),
        *(("latency", "1.0"), ("latency", "ours")),
        *(("latency", "ours"), ("latency", "1.0")),
    ]
    assert told.told[0].endswith("round 1 of 3: latency: ours 1.00, 1.0 1.00")


def test_a_failure_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Manager that cannot be measured is started anew for what comes next; the run remarks it, and has failed."""

    def run(_managers: object, system: str, _seconds: float) -> dict[str, float]:
        if system == "1.0":
            raise BenchmarkError("no reply")
        return {"p50_us": 2.0}

    monkeypatch.setitem(SCENARIOS, "latency", Scenario(run=run))
    told = Told()
    told.run.systems = ["1.0", "ours"]
    told.run.measure(["latency"], 1, 0.1)
    assert [one.system for one in told.run.samples] == ["ours"]
    assert told.given_up == ["1.0"]
    assert told.run.failed
    assert told.run.remarks == ["1.0, latency: no reply"]


def test_what_cannot_be_done_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root there is no silent name server; it is said, and is no failure."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    told = Told()
    told.run.systems = ["ours"]
    told.run.measure(["dns"], 1, 0.1)
    assert told.run.samples == []
    assert not told.run.failed
    assert told.run.remarks[0].startswith("dns is left out: a name server that does not answer needs Linux, root and")


@pytest.mark.parametrize("system", SYSTEMS)
def test_inquire(system: str, tmp_path: Path) -> None:
    """What is there can be started; what is missing is named, with what would help."""
    problem, versions = systems.inquire(system, PYTHONS, str(tmp_path))
    label = SYSTEMS[system].label
    if problem:
        assert problem.startswith(f"{label} is left out: ")
    else:
        assert ("python" in versions) == (system != "relay")


def test_missing_package(tmp_path: Path) -> None:
    """A Python that is not there has no package either."""
    problem, _ = systems.inquire("1.0", {**PYTHONS, "1.0": str(tmp_path / "nowhere")}, str(tmp_path))
    assert "1.0 is left out: " in problem
    assert problem.endswith("-m pip install msl-network==1.0.0)")


def test_event_loop_is_chosen_if_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our command has the option, both say which event loop they mean; 1.0 has none to choose."""
    for has in (True, False):
        monkeypatch.setattr(systems, "chooses_event_loop", lambda *_, has=has: has)
        for name, loop in (
            ("ours", ["--event-loop", "asyncio"]),
            ("ours-uvloop", ["--event-loop", "uvloop"]),
            ("1.0", []),
        ):
            words = systems.command(name, "plain", 1875, PYTHONS, str(tmp_path))
            assert words[-2:] == (loop if has and loop else ["1875", "--disable-tls"])
    problem, _ = systems.inquire("ours-uvloop", PYTHONS, str(tmp_path))
    assert problem == "ours, uvloop is left out: the command of this version has no option --event-loop"


def test_variants_are_words_of_both_commands(tmp_path: Path) -> None:
    """What the variants say is understood by our command and by that of 1.0."""
    said = {word for words in VARIANTS.values() for word in words if word.startswith("--")}
    for name in ("ours", "1.0"):
        words = systems.command(name, "plain", 1875, PYTHONS, str(tmp_path))
        help_words = [*words[: words.index("start") + 1], "--help"]
        text = subprocess.run(help_words, capture_output=True, text=True, check=True).stdout
        assert all(word in text for word in said)


# Disturbances


@only_here
@pytest.mark.parametrize("name", ["storm", "logins", "locked"])
def test_disturb(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others notice of a disturbance is compared with what was before."""
    what = DISTURBANCES[name]
    short = replace(what, seconds=what.seconds and 0.2, load={**what.load, "count": 2})
    monkeypatch.setitem(DISTURBANCES, name, short)
    monkeypatch.setattr(disturbances, "BEFORE", 0.1)
    with ExitStack() as stack:
        managers = Managers(stack, tmp_path, PYTHONS, None, lambda _: None)
        figures = disturb(managers, "ours", name)
    assert figures["sequential"] > 0
    assert figures["pipelined"] > 0
    assert figures["gap_ms"] > 0


@only_here
@pytest.mark.skipif(bool(impediment("dns")), reason="needs a mount namespace with a name server of its own")
def test_silent_dns(tmp_path: Path) -> None:
    """Whoever is started behind a silent name server waits for it; nobody else does."""
    script = "import pathlib; print(pathlib.Path('/etc/resolv.conf').read_text())"
    with resolver(tmp_path) as prefix:
        words = [*prefix, sys.executable, "-c", script]
        inside = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert inside.strip() == f"nameserver {disturbances.RESOLVER}"
        assert disturbances.RESOLVER not in Path("/etc/resolv.conf").read_text()
        with pytest.raises(OSError, match="in use"), disturbances.silent_server():
            pytest.fail("somebody listens there")
