"""Ends a program when it is told to, in a limited time, whatever hangs in it.

    the stop --> peers take what was sent --> plugins are told --> the store is closed --> the log is written --> end
                 `shutdown_timeout`           PLUGINS              STORE                   log_writer.FLUSH

Rule of this file: one clock for all of it, which begins when the Manager is told to stop; whoever is quick leaves
nothing to the others, but whoever is slow takes nothing from them. Only a program of its own is ended by force.
It must not know what the Manager does in that time.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from .manager import Manager

__all__ = ["PLUGINS", "STORE", "Ending"]

logger = logging.getLogger("msl_network")

PLUGINS: Final = 0.8
"""How long, in seconds, plugins have after the time of the peers."""

STORE: Final = 0.8
"""How long, in seconds, the store has after the time of the plugins, to write what it holds."""

SPARE: Final = 0.3
"""How long, in seconds, the rest may take. With the log, and 2 s for the peers, all is over in 4.4 s, of 5 that
operators are promised."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Stops a Manager on SIGINT and SIGTERM while the ``with`` block lasts; the first counts, later ones are ignored.

    Args:
        manager: The Manager.
        is_program: Whether the process is there for the Manager alone. Then it is ended when the time is over, with
            status 0, and signals are ignored until it has ended. Else a signal has its usual effect when the time is
            over.
        last_act: What is still to be done when the process is ended by force.
    """

    def __init__(self, manager: Manager, *, is_program: bool, last_act: Callable[[], object]) -> None:
        self._manager = manager
        self._is_program = is_program
        self._last_act = last_act
        self._limit = 0.0
        self._clock = threading.Timer(self._limit, self._end_by_force if is_program else self._give_up)
        self._clock.daemon = True
        self._is_told = threading.Lock()
        self._is_over = False
        self._before: dict[signal.Signals, Any] = {}
        self._threads_before: set[threading.Thread] = set()
        # the only kind of queue that a signal may interrupt and use
        self._signals: SimpleQueue[signal.Signals | None] = SimpleQueue()

    def __enter__(self) -> Self:
        self._threads_before = set(threading.enumerate())
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._is_told.locked() and self._is_program:
            self._wait_for_threads()
        self._clock.cancel()
        self._signals.put(None)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._is_program and self._is_told.locked() else handler)

    async def watch(self) -> None:
        """Stop the Manager when a signal comes; start the clock when it is stopped, by whomever."""
        loop = anyio.lowlevel.current_token()
        threading.Thread(target=self._wait, args=[loop], name="signals", daemon=True).start()
        await self._manager.wait_stopped()
        self._start_clock()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as Python calls it
        if self._is_over:
            signal.signal(number, self._before[signal.Signals(number)])
            signal.raise_signal(number)
        self._signals.put(signal.Signals(number))

    def _wait(self, loop: anyio.lowlevel.EventLoopToken) -> None:
        from anyio import from_thread  # noqa: PLC0415 - only in time for the first signal, not for the start

        number = self._signals.get()
        if number is None:
            return
        # the clock first: perhaps something holds up the event loop
        self._start_clock()
        logger.info("stopping, because of %s", number.name)
        with suppress(anyio.RunFinishedError):
            from_thread.run_sync(self._manager.stop, token=loop)

    def _start_clock(self) -> None:
        if self._is_told.acquire(blocking=False):
            # not before: the settings may be reloaded
            self._limit = self._manager.config.limits.shutdown_timeout + PLUGINS + STORE + SPARE
            self._clock.interval = self._limit
            try:
                self._clock.start()
            except (RuntimeError, MemoryError) as error:  # the system has no room for another thread
                logger.warning("whatever hangs is waited for, there is no clock: %s", error)

    def _wait_for_threads(self) -> None:
        """Wait for what Python waits for at the end of a program, while the clock still runs."""
        for thread in set(threading.enumerate()) - self._threads_before:
            if not thread.daemon:
                thread.join()

    def _give_up(self) -> None:
        self._is_over = True

    def _end_by_force(self) -> None:
        logger.error(
            "not all has ended %.1f s after the stop, so the process is ended; still at work: %s",
            self._limit,
            "; ".join(_at_work()) or "unknown",
        )
        self._last_act()
        os._exit(0)


def _at_work() -> list[str]:
    """Say where the threads are that keep the process from ending."""
    frames = sys._current_frames()  # noqa: SLF001 - it is documented
    return [
        f"{thread.name} in {_place(frames[thread.ident])}"
        for thread in threading.enumerate()
        if not thread.daemon and thread.ident in frames
    ]


def _place(frame: FrameType) -> str:
    """Return function, file and line of the innermost call that is not inside of Python's own library."""
    library = str(Path(threading.__file__).parent)
    inner: FrameType | None = frame
    while inner is not None:
        code = inner.f_code
        if not code.co_filename.startswith(library) or "site-packages" in code.co_filename:
            return f"{code.co_name} ({code.co_filename}:{inner.f_lineno})"
        inner = inner.f_back
    return f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"
