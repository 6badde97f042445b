"""Where the work goes: the Python functions and the C functions that a message costs most in.

Rule of this file: profiles in, text out. It must not know how they were made.
"""

from __future__ import annotations

import cProfile
import re
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .readers import Callgrind

__all__ = ["Function", "Overhead", "c_functions", "functions", "measure_overhead", "python_functions"]

Place = tuple[str, int, str]
"""A function as `pstats` has it: file, line, name; of a builtin, ``~``, 0 and a description."""

SYSTEM: Final = re.compile(r"'(accept|control|poll|recv|send)' of|built-in method select.select")
"""Builtins that are system calls. How long they take says nothing of the Manager: others run meanwhile."""

MICRO: Final = 1e6
CALLS: Final = 100_000


@dataclass(frozen=True)
class Overhead:
    """What cProfile adds to each call, in seconds.

    Args:
        inside: To the time of the function that is called.
        outside: To the time of its caller.
    """

    inside: float
    outside: float


@dataclass(frozen=True)
class Function:
    """What cProfile found out about a function, for one message.

    Args:
        name: Where it is, and its name.
        calls: How often it was called.
        own: How long it took itself, in microseconds.
        inclusive: How long it took with all that it called, in microseconds.
    """

    name: str
    calls: float
    own: float
    inclusive: float


def measure_overhead() -> Overhead:
    """Find out what cProfile adds here and now, with a function that does nothing."""

    def nothing() -> None:
        pass

    def call() -> float:
        begin = perf_counter()
        for _ in range(CALLS):
            nothing()
        return perf_counter() - begin

    plain = min(call() for _ in range(3))
    profiler = cProfile.Profile()
    profiled = min(profiler.runcall(call) for _ in range(3))
    profiler.create_stats()
    stats: Mapping[Place, Any] = profiler.stats
    [inside] = [row[2] / row[1] for place, row in stats.items() if place[2] == "nothing"]
    return Overhead(inside, max(0.0, (profiled - plain) / CALLS - inside))


def functions(stats: Mapping[Place, Any], things: int, overhead: Overhead) -> list[Function]:
    """Return the functions of a profile, without the time of the system and of the profiler itself.

    Args:
        stats: The attribute ``stats`` of `pstats.Stats`.
        things: Of how many messages the profile is.
        overhead: What the profiler added to each call.
    """
    callees: dict[Place, dict[Place, Any]] = {place: {} for place in stats}
    for place, (*_, callers) in stats.items():
        for caller in callers.keys() & callees.keys():
            callees[caller][place] = callers[caller]

    def own_seconds(place: Place) -> float:
        _, calls, own, *_ = stats[place]
        added = calls * overhead.inside + sum(edge[0] for edge in callees[place].values()) * overhead.outside
        return 0.0 if SYSTEM.search(place[2]) else max(0.0, float(own) - added)

    known: dict[Place, float] = {}

    def inclusive_seconds(place: Place) -> float:
        if place not in known:
            seconds = own_seconds(place)
            known[place] = 0.0  # where a function calls itself: that time is in the first call already
            for callee, edge in callees[place].items():  # its share of what the callee costs all its callers
                seconds += edge[3] / (stats[callee][3] or 1) * inclusive_seconds(callee)
            known[place] = seconds
        return known[place]

    return [
        Function(
            name=_name(place),
            calls=stats[place][1] / things,
            own=own_seconds(place) / things * MICRO,
            inclusive=inclusive_seconds(place) / things * MICRO,
        )
        for place in stats
    ]


def _name(place: Place) -> str:
    file, line, name = place
    if file == "~":
        return re.sub(r"^<(.*)>$", r"\1", name).replace("built-in method ", "").replace("builtins.", "")
    parts = Path(file).parts
    return f"{'/'.join(parts[-2:])}:{line} {name}"


def python_functions(found: list[Function], by: str, top: int) -> str:
    """Return the Python functions in which a message costs most, as lines to read.

    Args:
        found: The functions.
        by: What they are sorted by, ``own`` or ``inclusive``.
        top: How many of them to tell.
    """
    total = sum(function.own for function in found)
    calls = sum(function.calls for function in found)
    lines = [
        f"Python functions and builtins of the main thread: {calls:,.1f} calls, {total:,.1f} us without the system",
        f"{'calls':>8} {'own us':>8} {'own':>6} {'inclusive':>9}  function",
    ]
    for function in sorted(found, key=attrgetter(by), reverse=True)[:top]:
        shares = f"{function.own / total:>6.1%} {function.inclusive / total:>9.1%}"
        lines.append(f"{function.calls:>8.2f} {function.own:>8.2f} {shares}  {function.name}")
    return "\n".join(lines)


def c_functions(found: Callgrind, things: int, top: int) -> str:
    """Return the C functions in which a message costs most, as lines to read."""
    total = found.instructions or 1
    lines = [
        f"C functions: {found.instructions / things:,.0f} instructions in all",
        f"{'calls':>8} {'own':>9} {'own':>6}  function",
    ]
    for name, own in found.own.most_common(top):
        lines.append(f"{found.calls[name] / things:>8.2f} {own / things:>9,.0f} {own / total:>6.1%}  {name}")
    return "\n".join(lines)
