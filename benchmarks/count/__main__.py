"""The work of the Manager for each message, counted, and compared with the stored figures.

    python -m benchmarks.count                      # all scenarios; status 1 if one costs more than it did
    python -m benchmarks.count sequential connect   # some of them
    python -m benchmarks.count --store              # from now on these are the figures
    python -m benchmarks.count --profile connect    # where the work goes

Rule of this file: it says what is counted when, and what is told of it. It must not know how a tool is used.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .driver import SCENARIOS, DriverError, Peers
from .figures import compare, differences, key, load, store, table, versions
from .profiling import c_functions, functions, measure_overheads, median, python_functions
from .readers import ReadError
from .watch import TOOLS, WatchError, missing, under_callgrind, under_profiler, under_strace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from .driver import Scenario
    from .figures import Figures

__all__ = ["main"]

STORED: Final = Path(__file__).with_name("figures.json")

TIMES: Final = 5
"""How many profiles are made: others that run on the computer spoil some."""

UNSTEADY: Final = frozenset({"futex", "restart_syscall"})
"""System calls in which threads wait for each other: how many there are depends on who is faster."""

UNCOUNTED: Final = {
    "callgrind": "instructions and allocations are not counted",
    "strace": "system calls are not counted",
}


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.count",
        description=(__doc__ or "").partition("\n")[0],
        epilog="scenarios:\n" + "\n".join(f"  {name:<15} {each.label}" for name, each in SCENARIOS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="what to count (default: everything)")
    parser.add_argument("--store", action="store_true", help="store the figures, and compare with none")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="PERCENT",
        help="by how much a figure may differ from the stored one (default: what is known of each scenario)",
    )
    parser.add_argument("--profile", action="store_true", help="say which functions cost most, and count nothing else")
    parser.add_argument("--top", type=int, default=25, metavar="N", help="of how many functions (default: %(default)s)")
    parser.add_argument(
        "--sort", choices=("own", "inclusive"), default="own", help="Python functions by (default: own)"
    )
    parser.add_argument("--figures", type=Path, default=STORED, metavar="FILE", help="where the figures are stored")
    return parser


def watched(
    under: Callable[..., AbstractContextManager[tuple[int, Callable[[Callable[[], Any]], Any]]]],
    scenario: Scenario,
    times: int = 1,
) -> list[Any]:
    """Have a Manager do what a scenario says, at first unseen; return what was found out each time."""
    with (
        tempfile.TemporaryDirectory(prefix="count-") as folder,
        under(Path(folder), tls=scenario.tls) as (port, watch),
        Peers(port, tls=scenario.tls, clients=scenario.clients) as peers,
    ):
        scenario.run(peers)
        return [watch(lambda: scenario.run(peers)) for _ in range(times)]


def count(name: str, tools: Sequence[str]) -> dict[str, float]:
    """Return how many of what the Manager needs for one message or connection of a scenario."""
    scenario = SCENARIOS[name]
    figures: dict[str, float] = {}
    if "callgrind" in tools:
        [found] = watched(under_callgrind, scenario)
        figures["instructions"] = found.instructions
        if found.allocations is not None:
            figures["allocations"] = found.allocations
    if "strace" in tools:
        [calls] = watched(under_strace, scenario)
        waits = sum(calls.pop(unsteady, 0) for unsteady in UNSTEADY)
        figures["system calls"] = calls.total()
        if waits >= scenario.things:
            tell(f"{name}: threads wait for each other {waits / scenario.things:.0f} times each, which is not compared")
    [stats] = watched(under_profiler, scenario)
    figures["Python calls"] = stats.total_calls
    return {counted: figure / scenario.things for counted, figure in figures.items()}


def profile(scenario: Scenario, tools: Sequence[str], by: str, top: int) -> str:
    """Return where the work for one message or connection of a scenario goes."""
    overheads = measure_overheads()
    profiles = watched(under_profiler, scenario, TIMES)
    found = median([functions(stats.stats, scenario.things, overheads) for stats in profiles])
    parts = [python_functions(found, by, top)]
    if "callgrind" in tools:
        [counted] = watched(under_callgrind, scenario)
        parts.append(c_functions(counted, scenario.things, top))
    return "\n\n".join(parts)


def margins(words: argparse.Namespace) -> dict[str, float]:
    """Return by which part a figure may differ from the stored one, by scenario."""
    if words.margin is not None:
        return dict.fromkeys(SCENARIOS, words.margin / 100)
    return {name: scenario.margin for name, scenario in SCENARIOS.items()}


def tell(text: str) -> None:
    """Say how things go."""
    print(text, file=sys.stderr, flush=True)


def compared(words: argparse.Namespace, now: Figures) -> int:
    """Say how figures compare with those that are stored; return the exit status."""
    stored, taken_with = load(words.figures, key())
    rows = compare(now, stored, margins(words))
    print(table(rows))
    verdicts = {row.verdict for row in rows}
    if not stored:
        print(f"nothing is stored for Python {key()}, so nothing is compared; --store does it")
    elif others := differences(taken_with, versions()):
        print(f"note: the stored figures were taken with other versions, here is {', '.join(others)}")
    if "less" in verdicts:
        print("some cost less than stored: --store keeps the gain")
    if "more" in verdicts:
        print("some cost more than stored; --profile says where the work goes")
    return 1 if "more" in verdicts else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all is well, 1 if something costs more than it did or could not be counted."""
    parser = options()
    words = parser.parse_args(arguments)
    for name in words.scenarios:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    tools = []
    for tool, uncounted in UNCOUNTED.items():
        if program := missing(tool):
            tell(f"there is no {program}, so {uncounted}; install {TOOLS[tool][0]}, e.g. apt install {TOOLS[tool][0]}")
        else:
            tools.append(tool)
    now: Figures = {}
    try:
        for name in dict.fromkeys(words.scenarios or SCENARIOS):
            scenario = SCENARIOS[name]
            tell(f"{name}: {scenario.things} x {scenario.label}")
            if words.profile:
                print(f"{name}, for one {scenario.label}\n\n{profile(scenario, tools, words.sort, words.top)}\n")
            else:
                now[name] = count(name, tools)
    except (DriverError, ReadError, WatchError, OSError) as error:
        tell(f"error: {error}")
        return 1
    if words.profile:
        return 0
    if not words.store:
        return compared(words, now)
    print(table(compare(now, load(words.figures, key())[0], margins(words))))
    store(words.figures, key(), now, versions())
    tell(f"stored in {words.figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
