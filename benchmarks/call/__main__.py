"""A user's call, timed: our libraries beside MSL-Network 1.0, RPyC, Pyro5 and NATS, in one run on one core.

    python -m benchmarks.call
    python -m benchmarks.call --systems ours,1.0 --scenarios call,window --rounds 9 --json calls.json

Each system has its processes from the beginning to the end: a Manager, if it has one, a Service and a client.
Only one measures at a time. In each round all scenarios are run, each with one system right after the other,
so that whatever slows the machine down slows them all down.

Rule of this file: it says what is measured when, and where the figures go. It must not know any of the
libraries; nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if not __package__:  # run by its path: the folder of the package in place of the folder of this file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.call.measure import SCENARIOS
from benchmarks.call.processes import Running, running
from benchmarks.call.results import report
from benchmarks.call.systems import DEFAULT, PACKAGES, SYSTEMS, inquire
from benchmarks.machine import describe, pinned
from benchmarks.processes import BenchmarkError
from benchmarks.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = ["main"]

DEFAULT_SCENARIOS: Final = ("call", "window", "threads", "large", "connect")
REFERENCES: Final = ("1.0", "rpyc")

NOTES: Final = """\
Every call carries its argument to the Service and the result back. RPyC and Pyro5 speak with the Service
directly, always without TLS. RPyC's method is looked up once: `conn.root.echo(x)` takes it three times as long.
64 in flight: 64 asynchronous calls, always waiting for the oldest; Pyro5 sends them as one batch.
8 threads: with Pyro5 each has a connection of its own; an async client has 8 tasks. NATS is a broker in Go, never with
TLS here; its client is async, both ends read and write JSON, and there is nothing to link. A ratio is the median of
the ratios of each round; more is better, also of times. One core shows the work that is done, not what it
costs to wake another core, which a call through a Manager does more often: `--core none` shows both."""


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--systems",
        type=names(SYSTEMS),
        default=list(DEFAULT),
        metavar="NAMES",
        help=f"separated by commas, of {', '.join(SYSTEMS)} (default: {','.join(DEFAULT)})",
    )
    parser.add_argument(
        "--scenarios",
        type=names(SCENARIOS),
        default=list(DEFAULT_SCENARIOS),
        metavar="NAMES",
        help=f"separated by commas, of {', '.join(SCENARIOS)} (default: {','.join(DEFAULT_SCENARIOS)})",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="the time of each measurement (default: %(default)s)"
    )
    parser.add_argument("--tls", action="store_true", help="the Managers use TLS")
    parser.add_argument(
        "--core",
        type=core,
        default=-1,
        metavar="N",
        help="the core that everything runs on, or 'none' (default: the last one; only Linux can)",
    )
    for name, package in PACKAGES.items():
        parser.add_argument(
            f"--python-{name}",
            type=python,
            default=sys.executable,
            metavar="PATH",
            help=f"the Python that has {package.module} (default: this one)",
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples, and what they were taken on")
    return parser


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads names that are separated by commas."""

    def read(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",")]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(known)}")
        return list(dict.fromkeys(chosen))

    return read


def core(text: str) -> int | None:
    """Read the number of a core, or 'none'."""
    return None if text == "none" else int(text)


def python(text: str) -> str:
    """Read the path of a Python; symbolic links stay, because that of a virtual environment is one."""
    return os.path.abspath(shutil.which(text) or text)  # noqa: PTH100 - Path.resolve() follows links


def tell(text: str) -> None:
    """Say how things go."""
    print(text, file=sys.stderr, flush=True)


def tell_of(name: str, text: str) -> None:
    """Say how a system does."""
    tell(f"{name}: {text}")


class Benchmark:
    """One run.

    Args:
        words: The command line.
        stack: Ends the processes and removes their files when it closes.
    """

    def __init__(self, words: argparse.Namespace, stack: ExitStack) -> None:
        self.words = words
        self.stack = stack
        self.pythons: dict[str, str] = {name: vars(words)[f"python_{name}"] for name in PACKAGES}
        self.systems: dict[str, Running] = {}
        self.versions: dict[str, dict[str, dict[str, str]]] = {}
        self.remarks: list[str] = []
        self.samples: list[Sample] = []
        self.failed = False

    def start(self) -> None:
        """Start the systems whose packages are there."""
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        for name in self.words.systems:
            home = folder / name
            home.mkdir()
            problem, versions = inquire(SYSTEMS[name], self.pythons, str(home))
            if problem:
                self.remark(problem)
                continue
            try:
                system = running(SYSTEMS[name], self.pythons, home, self.words.tls, partial(tell_of, name))
                self.systems[name] = self.stack.enter_context(system)
                self.versions[name] = versions
            except BenchmarkError as error:
                self.fail(f"{name} does not start: {error}")

    def measure(self) -> None:
        """Take the samples."""
        for round_number in range(1, self.words.rounds + 1):
            for scenario in self.words.scenarios:
                tell(f"round {round_number} of {self.words.rounds}: {scenario}")
                for name in list(self.systems):
                    self.take(round_number, scenario, name)

    def take(self, round_number: int, scenario: str, name: str) -> None:
        """Take one sample; a system that does not answer has no further ones."""
        try:
            figures = self.systems[name].measure(scenario, self.words.seconds)
        except BenchmarkError as error:
            del self.systems[name]
            self.fail(f"{name} is out, {scenario}: {error}")
            return
        if "error" in figures:
            self.fail(f"{name}, {scenario}: {figures['error']}")
        else:
            self.samples.append(Sample(round=round_number, scenario=scenario, system=name, figures=figures))

    def remark(self, text: str) -> None:
        """Say something now, and once more below the table."""
        tell(text)
        self.remarks.append(text)

    def fail(self, text: str) -> None:
        """Remark something that must not be."""
        self.remark(text)
        self.failed = True

    def result(self, machine: dict[str, Any]) -> dict[str, Any]:
        """Return all there is to know, for JSON."""
        chosen = {name: getattr(self.words, name) for name in ("systems", "scenarios", "rounds", "seconds", "tls")}
        return {
            "machine": machine,
            "options": {**chosen, "pythons": self.pythons},
            "versions": self.versions,
            "remarks": self.remarks,
            "samples": [asdict(sample) for sample in self.samples],
        }

    def text(self, machine: dict[str, Any]) -> str:
        """Return all there is to read, as Markdown."""
        labels = {name: SYSTEMS[name].label for name in self.versions}
        where = "one core" if machine["core"] is not None else "all cores"
        tls = "with TLS" if self.words.tls else "without TLS"
        runs = f"{self.words.rounds} x {self.words.seconds:g} s each"
        heading = f"{machine['cpu']}, {where}, {tls}, {runs}, {machine['kernel']}, {machine['date']}"
        parts = [heading, report(self.samples, labels, REFERENCES), NOTES]
        versions = [f"- {SYSTEMS[name].label}: {told(packages)}" for name, packages in self.versions.items()]
        return "\n\n".join([*parts, "\n".join(versions + [f"- {remark}" for remark in self.remarks])])


def told(packages: dict[str, dict[str, str]]) -> str:
    """Return the versions of packages in words."""
    return "; ".join(", ".join(f"{name} {version}" for name, version in found.items()) for found in packages.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all went well, 1 if there is nothing to tell or something failed."""
    words = options().parse_args(arguments)
    with ExitStack() as stack:
        try:
            machine = {**describe(), "core": stack.enter_context(pinned(words.core))}
        except OSError as error:
            options().error(f"core {words.core}: {error}")
        benchmark = Benchmark(words, stack)
        benchmark.start()
        if benchmark.systems:
            benchmark.measure()
    if words.json:
        words.json.write_text(json.dumps(benchmark.result(machine), indent=1) + "\n", encoding="utf-8")
    if not benchmark.samples:
        tell("nothing was measured")
        return 1
    print(benchmark.text(machine))
    return 1 if benchmark.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
