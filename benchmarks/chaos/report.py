"""How the processes of a chaos run tell what they see: counts now and then, all else at once.

Rule of this file: whatever is told is one line of JSON, and telling never fails a peer. It must not know what is
told, nor what becomes of it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Report"]


class Report:
    """What one process, or one part of it, tells. Any number of threads may use it.

    Args:
        write: Takes a message, a dictionary that JSON can carry.
        clock: Tells the time, in seconds; the same for all processes of a computer.
    """

    def __init__(self, write: Callable[[dict[str, Any]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._write = write
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def count(self, what: str, number: int = 1) -> None:
        """Count something that happens often; `flush` tells it.

        Args:
            what: What happened.
            number: How often.
        """
        with self._lock:
            self._counts[what] += number

    def flush(self) -> None:
        """Tell what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            self._write({"counts": counts})

    def problem(self, kind: str, text: str) -> None:
        """Tell of something that must not be.

        Args:
            kind: In a word or two, to be counted by.
            text: What was expected, and what was found.
        """
        self._write({"problem": kind, "text": text, "at": self.clock()})

    def claim(self, kind: str, subject: str, client: str) -> None:
        """Tell of something that may be if something else was the reason, to be judged by who knows that.

        Args:
            kind: What happened, as :mod:`benchmarks.chaos.check` calls it.
            subject: To what: the name of a Service, or ``"Manager"``.
            client: Who says so.
        """
        self._write({"claim": kind, "subject": subject, "client": client, "at": self.clock()})

    def event(self, kind: str, subject: str) -> None:
        """Tell of something that may be the reason for something else.

        Args:
            kind: ``"up"`` or ``"down"``.
            subject: The name of a Service.
        """
        self._write({"event": kind, "subject": subject, "at": self.clock()})

    def took(self, what: str, seconds: float) -> None:
        """Tell how long something took.

        Args:
            what: What.
            seconds: How long.
        """
        self._write({"took": what, "seconds": seconds})

    def done(self, who: str) -> None:
        """Tell that somebody has got through to everybody, as it was ordered.

        Args:
            who: Its name.
        """
        self._write({"done": who})
