"""One run of the comparison: everything is measured in interleaved rounds.

In each round every scenario is run, each with one system right after the other, so that whatever slows the machine
down slows them all down; every other round goes through the systems backwards.

Rule of this file: it says what is measured when. It must not know how, nor what becomes of the figures.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks.comparison.growth import SWEEPS, Point, point
from benchmarks.comparison.scenarios import SCENARIOS
from benchmarks.comparison.systems import REFERENCE, SYSTEMS, inquire
from benchmarks.comparison.targets import ROWS
from benchmarks.processes import BenchmarkError
from benchmarks.samples import Sample
from benchmarks.tables import number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.comparison.managers import Managers

__all__ = ["Run"]

LARGEST: Final = 4_000_000
"""The largest payload, in bytes, that 1.0 is measured with: it takes seconds for a larger one."""

NOISY: Final = 0.1
"""How much of a core others may take before a measurement counts as disturbed."""


class Run:
    """A run, and what it has found.

    Args:
        managers: Starts the Managers.
        tell: Called with what is going on.
    """

    def __init__(self, managers: Managers, tell: Callable[[str], None]) -> None:
        self.managers = managers
        self.tell = tell
        self.systems: list[str] = []
        self.versions: dict[str, dict[str, str]] = {}
        self.remarks: list[str] = []
        self.samples: list[Sample] = []
        self.points: list[Point] = []
        self.failed = False
        self.began = time.monotonic()

    def find(self, names: Sequence[str]) -> None:
        """Find out which systems can be started."""
        for name in names:
            problem, versions = inquire(name, self.managers.pythons, str(self.managers.folder))
            if problem:
                self.remark(problem)
            else:
                self.systems.append(name)
                self.versions[name] = versions

    def measure(self, scenarios: Sequence[str], rounds: int, seconds: float) -> None:
        """Take the samples of the table.

        Args:
            scenarios: Names of `SCENARIOS`.
            rounds: How often; slow scenarios half as often, at least once.
            seconds: How long each measurement takes.
        """
        possible = []
        for name in scenarios:
            problem = SCENARIOS[name].impediment()
            if problem:
                self.remark(f"{name} is left out: {problem}")
            else:
                possible.append(name)
        for round_number in range(1, rounds + 1):
            for name in possible:
                if SCENARIOS[name].slow and round_number > max(1, rounds // 2):
                    continue
                systems = [system for system in self.systems if system in SCENARIOS[name].systems]
                self.compare(round_number, rounds, name, systems if round_number % 2 else systems[::-1], seconds)

    def compare(self, round_number: int, rounds: int, name: str, systems: Sequence[str], seconds: float) -> None:
        """Take one sample of each system."""
        told = []
        for system in systems:
            try:
                figures = SCENARIOS[name].run(self.managers, system, seconds)
            except BenchmarkError as error:
                self.fail(f"{SYSTEMS[system].label}, {name}: {error}")
                self.managers.give_up(system)
                continue
            self.samples.append(Sample(round=round_number, scenario=name, system=system, figures=figures))
            shown = next(row.figure for row in ROWS if row.scenario == name)
            told.append(f"{SYSTEMS[system].label} {number(figures[shown])}")
        self.progress(f"round {round_number} of {rounds}: {name}: {', '.join(told)}")

    def grow(self, seconds: float) -> None:
        """Take the points of the charts."""
        for name, sweep in SWEEPS.items():
            for value in sweep.values:
                told = []
                for system in self.systems:
                    if system == REFERENCE and sweep.option == "payload" and value > LARGEST:
                        continue
                    try:
                        found = point(self.managers, system, name, value, seconds)
                    except BenchmarkError as error:
                        self.fail(f"{SYSTEMS[system].label}, {name} {value}: {error}")
                        self.managers.give_up(system)
                        continue
                    self.points.append(found)
                    told.append(f"{SYSTEMS[system].label} {number(found.figures[sweep.figure])}")
                self.progress(f"growth: {name} {value}: {', '.join(told)}")

    def finish(self) -> None:
        """Remark how quiet it was."""
        noise = [sample.figures["noise"] for sample in self.samples if "noise" in sample.figures]
        disturbed = sum(value > NOISY for value in noise)
        if disturbed:
            self.remark(f"{disturbed} of {len(noise)} measurements were disturbed by others on this computer")

    def progress(self, text: str) -> None:
        """Say how far it is, and since when."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.tell(f"[{minutes}:{seconds:02}] {text}")

    def remark(self, text: str) -> None:
        """Say something now, and once more below the table."""
        self.tell(text)
        self.remarks.append(text)

    def fail(self, text: str) -> None:
        """Remark something that must not be."""
        self.remark(text)
        self.failed = True
