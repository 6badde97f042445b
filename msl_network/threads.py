"""Runs functions that block in daemon threads, a few at a time: one that hangs holds up nothing that ends.

Rule of this file: who waits for a function can be cancelled at any time, and a thread that hangs keeps neither the
event loop nor the interpreter. (A worker thread of anyio is waited for at the end of the program, and on asyncio one
that was given up counts no more.) It must not know what the functions do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    Ts = TypeVarTuple("Ts")

__all__ = ["Threads"]

T = TypeVar("T")

NICE: Final = 3
"""How much niceness threads in the background get: beside another thread, a third of a processor is left to them. With
10 it is a tenth, and on a computer that is busy with something else people could not log in in time."""

LEAST: Final = 19
"""The most that Linux has."""

IDLE: Final = 1.0
"""Seconds that a thread waits for more to do; starting one costs 0.1 ms."""


class Threads:
    """A few threads, and what is to be done in them, in the order in which it was asked for.

    Args:
        maximum: How many functions run at a time; one that hangs counts as long as it hangs.
        name: What the threads are called.
        is_background: Whether they leave the processor to others, the event loop above all, when it is wanted by both.
            That is so on Linux; other systems have no priorities of threads, or none that anybody may set.
    """

    def __init__(self, maximum: int, name: str, *, is_background: bool = False) -> None:
        self._maximum = maximum
        self._name = name
        self._is_background = is_background
        self._jobs: deque[_Job[Any]] = deque()
        self._news = threading.Condition()
        self._count = 0
        self._free = 0
        self._is_closed = False

    def close(self) -> None:
        """Have each thread end as soon as it has nothing to do. What is asked for later is done all the same."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()

    async def run(self, function: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
        """Call a function in a thread, and wait for what it returns or raises.

        Who is cancelled waits no longer. The function is then not called, or goes on without anybody.

        Args:
            function: What to call.
            args: Its arguments.
        """
        job = _Job(partial(function, *args))
        self._add(job)
        try:
            await job.is_done.wait()
        finally:
            job.is_wanted = False
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # else the error and its traceback would keep each other
        return job.result  # type: ignore[return-value]  # there is one if there was no error

    def _add(self, job: _Job[Any]) -> None:
        with self._news:
            self._jobs.append(job)
            if len(self._jobs) > self._free and self._count < self._maximum:
                self._count += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            else:
                self._news.notify()

    def _work(self) -> None:
        if self._is_background:
            _step_back()
        while (job := self._next()) is not None:
            job.do()
            del job

    def _next(self) -> _Job[Any] | None:
        with self._news:
            self._free += 1
            self._news.wait_for(lambda: self._jobs or self._is_closed, IDLE)
            self._free -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._count -= 1
            return None


def _step_back() -> None:
    """Lower the priority of the thread that calls."""
    if sys.platform == "linux":
        with suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, min(os.getpriority(os.PRIO_PROCESS, own) + NICE, LEAST))


class _Job(Generic[T]):
    """One call, made in an event loop, done in a thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self.is_done = anyio.Event()
        self.is_wanted = True
        self.result: T | None = None
        self.error: BaseException | None = None
        self._call = call
        self._loop = anyio.lowlevel.current_token()

    def do(self) -> None:
        """Call, and tell the event loop, if it is still there."""
        if not self.is_wanted:
            return
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self.error = error
        self._tell()

    def _tell(self) -> None:
        if self.is_wanted:
            with suppress(anyio.RunFinishedError):
                anyio.from_thread.run_sync(self.is_done.set, token=self._loop)
