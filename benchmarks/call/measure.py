"""The measuring loops: how long a call takes, and how many there are in a second.

Rule of this file: one loop for each scenario, and all systems go through the same one. It must not know which
library is behind a `Caller`, and imports only the standard library, because each Python runs it.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["IN_FLIGHT", "NUMBERS", "SCENARIOS", "TEXT", "Caller", "measure", "rate", "summary"]

NANO: Final = 1e-9
MEGA: Final = 1e6

TEXT: Final = "x" * 64
"""What is echoed, 64 bytes as UTF-8."""

LARGE: Final = "x" * 1_000_000
"""What the Service returns the length of, 1 MB as UTF-8."""

NUMBERS: Final = [1.0 / n for n in range(1, 50_001)]
"""What the Service returns the length of, as floats; none of them is short in JSON."""

IN_FLIGHT: Final = 64
"""How many calls of the scenario `window` are waiting for their reply at each moment."""

THREADS: Final = 8

WARM_UP: Final = 0.2
"""The part of the time of a measurement that the warm-up before it takes."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A connected client of one library, as functions in that library's own idiom.

    Args:
        echo: Returns what the Service returns: the text.
        length: Returns what the Service returns: the length of a text, or of numbers.
        start: Begins `batch` calls of `echo` without waiting for their results.
        wait: Waits for what `start` began, and returns the last result.
        session: Makes one more connection, finds the Service, and closes the connection.
        batch: How many calls `start` makes.
        by_value: Turns a list of numbers into an argument that travels as a whole.
        echo_of_thread: Returns the `echo` that the calling thread is to use; None: all share one.
    """

    echo: Callable[[str], Any]
    length: Callable[[Any], Any]
    start: Callable[[str], Any]
    wait: Callable[[Any], Any]
    session: Callable[[], None]
    batch: int = 1
    by_value: Callable[[list[float]], Any] = list
    echo_of_thread: Callable[[], Callable[[str], Any]] | None = None


def measure(caller: Caller, scenario: str, seconds: float) -> dict[str, float]:
    """Warm up, then measure one scenario for about so many seconds; return its figures by name."""
    run = SCENARIOS[scenario]
    run(caller, seconds * WARM_UP)
    return run(caller, seconds)


# The loops


def time_calls(call: Callable[[], object], seconds: float) -> list[int]:
    """Call at least once; return how long each took, in nanoseconds."""
    times = []
    before = perf_counter_ns()
    end = before + int(seconds / NANO)
    while True:
        call()
        after = perf_counter_ns()
        times.append(after - before)
        if after >= end:
            return times
        before = after


def time_window(
    start: Callable[[], Any], wait: Callable[[Any], object], outstanding: int, seconds: float
) -> tuple[int, int]:
    """Keep so many outstanding, always waiting for the oldest; return how many, and the nanoseconds they took."""
    before = perf_counter_ns()
    end = before + int(seconds / NANO)
    pending = deque(start() for _ in range(outstanding))
    finished = 0
    while perf_counter_ns() < end:
        wait(pending.popleft())
        finished += 1
        pending.append(start())
    for last in pending:
        wait(last)
    return finished + len(pending), perf_counter_ns() - before


def time_threads(call_of_thread: Callable[[], Callable[[], object]], threads: int, seconds: float) -> tuple[int, int]:
    """Call from several threads at once; return how many calls they made, and in how many nanoseconds."""
    ready = threading.Barrier(threads + 1)

    def calls() -> int:
        call = call_of_thread()
        ready.wait()
        return len(time_calls(call, seconds))

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(calls) for _ in range(threads)]
        ready.wait()
        before = perf_counter_ns()
        count = sum(future.result() for future in futures)
        return count, perf_counter_ns() - before


# The figures


def rate(count: int, nanoseconds: int) -> float:
    """Return how many there are in a second."""
    return count / (nanoseconds * NANO)


def summary(times: list[int]) -> dict[str, float]:
    """Return the median and the 99th percentile of times in nanoseconds, in microseconds, and calls per second."""
    ordered = sorted(times)
    return {
        "p50_us": ordered[len(ordered) // 2] / 1000,
        "p99_us": ordered[len(ordered) * 99 // 100] / 1000,
        "calls_per_s": rate(len(times), sum(times)),
    }


# The scenarios


def call(caller: Caller, seconds: float) -> dict[str, float]:
    """One call after the other, with a short text."""
    return summary(time_calls(lambda: caller.echo(TEXT), seconds))


def window(caller: Caller, seconds: float) -> dict[str, float]:
    """Asynchronous calls, many at once."""
    outstanding = IN_FLIGHT // caller.batch
    count, taken = time_window(lambda: caller.start(TEXT), caller.wait, outstanding, seconds)
    return {"calls_per_s": rate(count * caller.batch, taken)}


def threads(caller: Caller, seconds: float) -> dict[str, float]:
    """Threads that share a client."""

    def call_of_thread() -> Callable[[], object]:
        echo = caller.echo_of_thread() if caller.echo_of_thread else caller.echo
        return lambda: echo(TEXT)

    return {"calls_per_s": rate(*time_threads(call_of_thread, THREADS, seconds))}


def large(caller: Caller, seconds: float) -> dict[str, float]:
    """A large text as the argument."""
    times = time_calls(lambda: caller.length(LARGE), seconds)
    return {"MB_per_s": rate(len(times), sum(times)) * len(LARGE) / MEGA}


def floats(caller: Caller, seconds: float) -> dict[str, float]:
    """Many numbers as the argument."""
    argument = caller.by_value(NUMBERS)
    times = time_calls(lambda: caller.length(argument), seconds)
    return {"calls_per_s": rate(len(times), sum(times))}


def connect(caller: Caller, seconds: float) -> dict[str, float]:
    """Connections, one after the other, each with a link."""
    times = time_calls(caller.session, seconds)
    return {"connects_per_s": rate(len(times), sum(times))}


SCENARIOS: Final[Mapping[str, Callable[[Caller, float], dict[str, float]]]] = {
    "call": call,
    "window": window,
    "threads": threads,
    "large": large,
    "floats": floats,
    "connect": connect,
}
"""What can be measured, by name."""
