"""An event that one task waits for, once.

anyio's serves any number of tasks, and keeps a queue of 700 bytes for them on asyncio. A Manager has such an event for
each peer, all the time.

Rule of this file: it behaves as `anyio.Event` does, for one task. It must not know what is waited for.
"""

from __future__ import annotations

import asyncio

import anyio

__all__ = ["OneWaits", "one_waits"]


class OneWaits:
    """Such an event on asyncio."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_set(self) -> bool:
        """Whether it happened; a task that was cancelled waits no more, as if it had."""
        return self._future.done()

    def set(self) -> None:
        """Note that it happened; again is fine."""
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Wait until it happened."""
        await self._future


def one_waits() -> anyio.Event | OneWaits:
    """Return a new event for one task that waits for it now."""
    try:
        return OneWaits()
    except RuntimeError:  # trio, whose events are small
        return anyio.Event()
