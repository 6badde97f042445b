"""A Service that notifies the Clients that are linked with it, once a second.

Rule of this file: what it emits comes from a task in the event loop of the Service, the way a program adds its own. It
must not know who listens.
"""

from __future__ import annotations

import asyncio
from itertools import count

from msl_network.service import Service

__all__ = ["Heartbeat"]


class Heartbeat(Service):
    """Emits a number that goes up, once it has the task to: ``service.add_tasks(service.emit())``."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count()
        self._seconds = 1.0
        self._is_alive = True

    def kill(self) -> None:
        """Emit nothing any more."""
        self._is_alive = False

    def reset(self) -> None:
        """Go on from 0."""
        # a new counter: to set the old one back could come between its reading and its counting, and be lost
        self._numbers = count()

    def set_heart_rate(self, beats_per_second: float) -> None:
        """Emit so many numbers per second.

        Raises:
            ValueError: If that is not a positive number.
        """
        if not beats_per_second > 0:
            raise ValueError(f"the heart rate must be positive, found {beats_per_second}")
        self._seconds = 1.0 / beats_per_second

    def shutdown_handler(self) -> None:
        """Stop when the connection has ended."""
        self._is_alive = False

    async def emit(self) -> None:
        """Emit until somebody kills it."""
        while self._is_alive:
            self.emit_notification(next(self._numbers))
            await asyncio.sleep(self._seconds)
