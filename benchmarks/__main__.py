"""All of it in one command: our Manager beside 1.0 and a relay in C, and a user's calls beside RPyC, Pyro5 and NATS.

    python -m benchmarks                        everything, about 12 minutes
    python -m benchmarks --quick                an impression, about a minute
    python -m benchmarks --json run1.json
    python -m benchmarks --from run1.json run2.json run3.json

It writes a table (Markdown) and charts (SVG and PNG), and installs nothing: what is missing is left out, and it says
what would add it.

Rule of this file: the command line, and what is done in which order. It must not know how anything is measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.call import __main__ as call
from benchmarks.call.results import report as report_of_calls
from benchmarks.call.systems import PACKAGES
from benchmarks.call.systems import SYSTEMS as CALL_SYSTEMS
from benchmarks.comparison import charts
from benchmarks.comparison.managers import Managers
from benchmarks.comparison.report import NOTES, measured, targets
from benchmarks.comparison.run import Run
from benchmarks.comparison.scenarios import QUICK, SCENARIOS
from benchmarks.comparison.systems import DEFAULT, SYSTEMS
from benchmarks.machine import describe, pinned
from benchmarks.processes import BenchmarkError
from benchmarks.results import Results, ResultsError, merged, read, write
from benchmarks.wire.build import program

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

SECTIONS: Final = ("wire", "growth", "calls")
CALLS: Final = ("ours", "ours-async", "1.0", "rpyc", "pyro5", "nats")
FOLDER: Final = Path(__file__).with_name("results")


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    summary, _, more = (__doc__ or "").partition("\n\nRule of this file")[0].partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{summary}\n{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few scenarios, one round of 0.3 s each, no growth")
    parser.add_argument(
        "--only",
        type=call.names(SECTIONS),
        metavar="SECTIONS",
        help=f"separated by commas, of {', '.join(SECTIONS)} (default: all of them)",
    )
    for name, known in (("systems", SYSTEMS), ("scenarios", SCENARIOS)):
        parser.add_argument(
            f"--{name}",
            type=call.names(known),
            metavar="NAMES",
            help=f"of the section 'wire', separated by commas, of {', '.join(known)} (default: all of them)",
        )
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5; scenarios that take long: half of it")
    parser.add_argument("--seconds", type=float, metavar="S", help="the time of each measurement (default: 0.6)")
    parser.add_argument(
        "--core",
        type=call.core,
        default=-1,
        metavar="N",
        help="the core that everything runs on, or 'none' (default: the last one)",
    )
    for name, package in PACKAGES.items():
        parser.add_argument(
            f"--python-{name}",
            type=call.python,
            default=sys.executable,
            metavar="PATH",
            help=f"the Python that has {package.module} (default: this one)",
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all there is to know, for --from")
    parser.add_argument(
        "--from", nargs="+", type=Path, metavar="FILE", dest="files", help="measure nothing: table and charts of runs"
    )
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="FOLDER", help="where table and charts go (default: %(default)s)"
    )
    return parser


def tell(text: str) -> None:
    """Say how things go."""
    print(text, file=sys.stderr, flush=True)


def measure(words: argparse.Namespace, stack: ExitStack) -> tuple[Results, bool]:
    """Measure all sections that were asked for; return what was found, and whether all went well.

    Raises:
        OSError: If there is no such core.
    """
    rounds = words.rounds or (1 if words.quick else 5)
    seconds = words.seconds or (0.3 if words.quick else 0.6)
    sections = words.only or [name for name in SECTIONS if name != "growth" or not words.quick]
    machine = {**describe(), "core": stack.enter_context(pinned(words.core))}
    results = Results(machine=machine, options={"rounds": rounds, "seconds": seconds, "sections": sections})
    good = True
    if {"wire", "growth"} & set(sections):
        good = measure_wire(words, sections, rounds, seconds, results)
    if "calls" in sections:
        good = measure_calls(words, max(1, rounds // 2 + 1), seconds, results) and good
    return results, good


def measure_wire(
    words: argparse.Namespace, sections: Sequence[str], rounds: int, seconds: float, results: Results
) -> bool:
    """Measure on the wire; return whether all went well."""
    pythons = {name: vars(words)[f"python_{name}"] for name in PACKAGES}
    try:
        program("generator")
    except BenchmarkError as error:
        tell(str(error))
        results.remarks.append(f"nothing is measured on the wire: {error}")
        return False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        run = Run(Managers(stack, folder, pythons, results.machine["core"], tell), tell)
        run.find(words.systems or DEFAULT)
        if "wire" in sections:
            run.measure(words.scenarios or (QUICK if words.quick else list(SCENARIOS)), rounds, seconds)
        if "growth" in sections:
            run.grow(seconds / 2)
        run.finish()
    results.samples += run.samples
    results.points += run.points
    results.remarks += run.remarks
    results.versions |= {SYSTEMS[name].label: told(found) for name, found in run.versions.items() if found}
    return not run.failed


def measure_calls(words: argparse.Namespace, rounds: int, seconds: float, results: Results) -> bool:
    """Measure calls from end to end; return whether all went well."""
    given = ["--systems", ",".join(CALLS), "--rounds", str(rounds), "--seconds", str(seconds), "--core", "none"]
    given += ["--scenarios", "call,window"] if words.quick else []
    for name in PACKAGES:
        given += [f"--python-{name}", vars(words)[f"python_{name}"]]
    with ExitStack() as stack:
        benchmark = call.Benchmark(call.options().parse_args(given), stack)
        benchmark.start()
        if benchmark.systems:
            benchmark.measure()
    results.calls += benchmark.samples
    results.labels |= {name: CALL_SYSTEMS[name].label for name in benchmark.versions}
    results.remarks += benchmark.remarks
    for name, packages in benchmark.versions.items():
        results.versions.setdefault(CALL_SYSTEMS[name].label, call.told(packages))
    return not benchmark.failed


def told(versions: dict[str, str]) -> str:
    """Return versions in words."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def heading(machine: dict[str, Any], results: Results) -> str:
    """Return what it was measured on, and how."""
    where = "one core" if machine["core"] is not None else "all cores"
    rounds, seconds = results.options.get("rounds"), results.options.get("seconds")
    runs = f"{results.runs} runs of " if results.runs > 1 else ""
    each = f"{rounds} rounds of {seconds} s each" if rounds != 1 else f"one round of {seconds} s each"
    return f"{machine['cpu']}, {where}, {runs}{each}, {machine['kernel']}, {machine['date']}"


def text(results: Results) -> str:
    """Return all there is to read, as Markdown."""
    parts = [heading(results.machine, results)]
    if results.samples:
        parts += ["## The Manager on the wire", measured(results.samples)]
        judged = targets(results.samples)
        parts += ["### Targets", judged] if judged else []
        parts += [NOTES]
    if results.calls:
        parts += ["## A user's calls, from end to end", report_of_calls(results.calls, results.labels, call.REFERENCES)]
        parts += [call.NOTES]
    lines = [f"- {label}: {version}" for label, version in results.versions.items()]
    return "\n\n".join([*parts, "\n".join(lines + [f"- {remark}" for remark in results.remarks])]) + "\n"


def publish(results: Results, folder: Path) -> None:
    """Print the table, and write it and the charts."""
    folder.mkdir(parents=True, exist_ok=True)
    table = text(results)
    (folder / "table.md").write_text(table, encoding="utf-8")
    print(table, end="")
    problem = charts.missing()
    if problem:
        tell(problem)
    else:
        paths = charts.draw(folder, results.samples, results.points, results.calls, results.labels)
        tell(f"wrote table.md and {len(paths)} charts to {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all went well, 1 if there is nothing to tell or something failed."""
    parser = options()
    words = parser.parse_args(arguments)
    good = True
    if words.files:
        try:
            results = merged([read(path) for path in words.files])
        except ResultsError as error:
            parser.error(str(error))
    else:
        if sys.platform != "linux":
            parser.error("it needs Linux; python -m benchmarks.call runs everywhere")
        with ExitStack() as stack:
            try:
                results, good = measure(words, stack)
            except OSError as error:
                parser.error(f"core {words.core}: {error}")
    if words.json:
        write(results, words.json)
    if not (results.samples or results.points or results.calls):
        tell("nothing was measured")
        return 1
    publish(results, words.output)
    return 0 if good else 1


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _: sys.exit(128 + given))
    sys.exit(main())
