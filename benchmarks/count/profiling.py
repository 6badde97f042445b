"""Where the work goes: the Python functions and the C functions that a message costs most in.

Rule of this file: profiles in, text out. It must not know how they were made.
"""

from __future__ import annotations

import cProfile
import re
import statistics
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .readers import Callgrind

__all__ = [
    "Function",
    "Overhead",
    "Overheads",
    "c_functions",
    "functions",
    "measure_overheads",
    "median",
    "python_functions",
]

Place = tuple[str, int, str]
"""A function as `pstats` has it: file, line, name; of a builtin, ``~``, 0 and a description."""

SYSTEM: Final = re.compile(
    r"'(_accept|close|recv|send|setblocking|setsockopt|shutdown)' of '_socket|function socket.close"
    r"|'(control|modify|poll|register|unregister)' of 'select|built-in method select.select"
    r"|'(acquire|release)' of '_thread"
)
"""Builtins that are system calls. How long they take says little of the Manager: others run meanwhile."""

MICRO: Final = 1e6
CALLS: Final = 100_000
ROUNDS: Final = 5


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
class Overheads:
    """What cProfile adds to the calls of functions in Python, and of builtins."""

    python: Overhead
    builtin: Overhead

    def of(self, place: Place) -> Overhead:
        """Return what is added to the calls of this function."""
        return self.builtin if place[0] == "~" else self.python


@dataclass(frozen=True)
class Function:
    """What cProfile found out about a function, for one message.

    Args:
        name: Where it is, and its name.
        calls: How often it was called.
        own: How long it took itself, in microseconds; 0 for a system call.
        inclusive: How long it took with all that it called, in microseconds.
        system: How long the system had it, in microseconds, which is in none of the others.
    """

    name: str
    calls: float
    own: float
    inclusive: float
    system: float = 0.0


def measure_overheads() -> Overheads:
    """Find out what cProfile adds, here and now."""

    def nothing(_: object) -> None:
        pass

    return Overheads(_overhead(nothing, "nothing"), _overhead(callable, "<built-in method builtins.callable>"))


def _overhead(function: Callable[[object], object], name: str) -> Overhead:
    def without() -> float:
        begin = perf_counter()
        for _ in range(CALLS):
            pass
        return perf_counter() - begin

    def calls() -> float:
        begin = perf_counter()
        for _ in range(CALLS):
            function(None)
        return perf_counter() - begin

    def profiled() -> tuple[float, float]:
        profiler = cProfile.Profile()
        seconds = profiler.runcall(calls)
        profiler.create_stats()
        stats: Mapping[Place, Any] = profiler.stats
        return seconds, next(row[2] for place, row in stats.items() if place[2] == name)

    # the least of some, since whoever else runs on this core adds to them
    plain = min(calls() for _ in range(ROUNDS))
    seconds, own = min(profiled() for _ in range(ROUNDS))
    inside = own - (plain - min(without() for _ in range(ROUNDS)))  # what a call costs anyhow stays where it is
    return Overhead(inside / CALLS, (seconds - plain - inside) / CALLS)


def median(profiles: list[list[Function]]) -> list[Function]:
    """Return the functions of several profiles, with the median of what each of them says."""
    places: dict[str, list[Function]] = {}
    for profile in profiles:
        for function in profile:
            places.setdefault(function.name, []).append(function)
    return [
        Function(
            name=name,
            calls=statistics.median(function.calls for function in found),
            own=statistics.median(function.own for function in found),
            inclusive=statistics.median(function.inclusive for function in found),
            system=statistics.median(function.system for function in found),
        )
        for name, found in places.items()
    ]


def functions(stats: Mapping[Place, Any], things: int, overheads: Overheads) -> list[Function]:
    """Return the functions of a profile, without the time of the system and of the profiler itself.

    Args:
        stats: The attribute ``stats`` of `pstats.Stats`.
        things: Of how many messages the profile is.
        overheads: What the profiler added to each call.
    """
    callees: dict[Place, dict[Place, Any]] = {place: {} for place in stats}
    for place, (*_, callers) in stats.items():
        for caller in callers.keys() & callees.keys():
            callees[caller][place] = callers[caller]

    def own_seconds(place: Place) -> float:
        _, calls, own, *_ = stats[place]
        added = calls * overheads.of(place).inside
        added += sum(edge[0] * overheads.of(callee).outside for callee, edge in callees[place].items())
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
            system=stats[place][2] / things * MICRO if SYSTEM.search(place[2]) else 0.0,
        )
        for place in stats
    ]


def _name(place: Place) -> str:
    file, line, name = place
    if file == "~":
        return re.sub(r"^<(.*?)( at 0x\w+)?>$", r"\1", name).replace("built-in method ", "").replace("builtins.", "")
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
    lines += ["", "System calls of the main thread, while others may run:", f"{'calls':>8} {'us':>8}"]
    for function in sorted(found, key=attrgetter("system"), reverse=True):
        if function.system:
            lines.append(f"{function.calls:>8.2f} {function.system:>8.2f}  {function.name}")
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
