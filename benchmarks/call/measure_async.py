"""The measuring loops once more, for a client whose calls are awaited.

Rule of this file: each loop is that of `measure` with `await` before the call, and tasks in place of
threads. It must not know which library is behind the calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from benchmarks.call.measure import IN_FLIGHT, LARGE, MEGA, NANO, NUMBERS, TEXT, THREADS, WARM_UP, rate, summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

__all__ = ["SCENARIOS", "AsyncCaller", "measure"]


@dataclass(frozen=True, kw_only=True)
class AsyncCaller:
    """A connected client whose calls are awaited, as functions; see `measure.Caller`."""

    echo: Callable[[str], Coroutine[Any, Any, Any]]
    length: Callable[[Any], Coroutine[Any, Any, Any]]
    session: Callable[[], Coroutine[Any, Any, None]]


async def measure(caller: AsyncCaller, scenario: str, seconds: float) -> dict[str, float]:
    """Warm up, then measure one scenario for about so many seconds; return its figures by name."""
    run = SCENARIOS[scenario]
    await run(caller, seconds * WARM_UP)
    return await run(caller, seconds)


async def time_calls(call: Callable[[], Awaitable[object]], seconds: float) -> list[int]:
    """Call at least once; return how long each took, in nanoseconds."""
    times = []
    before = perf_counter_ns()
    end = before + int(seconds / NANO)
    while True:
        await call()
        after = perf_counter_ns()
        times.append(after - before)
        if after >= end:
            return times
        before = after


async def call(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """One call after the other, with a short text."""
    return summary(await time_calls(lambda: caller.echo(TEXT), seconds))


async def window(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """Many calls at once, a task each, always waiting for the oldest."""
    before = perf_counter_ns()
    end = before + int(seconds / NANO)
    pending = deque(asyncio.ensure_future(caller.echo(TEXT)) for _ in range(IN_FLIGHT))
    finished = 0
    while perf_counter_ns() < end:
        await pending.popleft()
        finished += 1
        pending.append(asyncio.ensure_future(caller.echo(TEXT)))
    await asyncio.gather(*pending)
    return {"calls_per_s": rate(finished + len(pending), perf_counter_ns() - before)}


async def threads(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """Tasks that share a client."""
    before = perf_counter_ns()
    times = await asyncio.gather(*(time_calls(lambda: caller.echo(TEXT), seconds) for _ in range(THREADS)))
    return {"calls_per_s": rate(sum(map(len, times)), perf_counter_ns() - before)}


async def large(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """A large text as the argument."""
    times = await time_calls(lambda: caller.length(LARGE), seconds)
    return {"MB_per_s": rate(len(times), sum(times)) * len(LARGE) / MEGA}


async def floats(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """Many numbers as the argument."""
    times = await time_calls(lambda: caller.length(NUMBERS), seconds)
    return {"calls_per_s": rate(len(times), sum(times))}


async def connect(caller: AsyncCaller, seconds: float) -> dict[str, float]:
    """Connections, one after the other, each with a link."""
    times = await time_calls(caller.session, seconds)
    return {"connects_per_s": rate(len(times), sum(times))}


SCENARIOS: Mapping[str, Callable[[AsyncCaller, float], Awaitable[dict[str, float]]]] = {
    "call": call,
    "window": window,
    "threads": threads,
    "large": large,
    "floats": floats,
    "connect": connect,
}
"""What can be measured, by name."""
