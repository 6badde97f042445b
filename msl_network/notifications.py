"""Notifications as an async iterator with a bound.

Rule of this file: who reads too slowly loses the newest, which is counted and said; nobody else waits for that. It must
not know where notifications come from.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Notifications"]

logger = logging.getLogger("msl_network.client")

T = TypeVar("T")


class Notifications(Generic[T]):
    """What a Service notifies, to be read with ``async for``. Made by :meth:`AsyncLink.notifications`.

    Args:
        name: Whose they are, for the log.
        max_waiting: The most that wait. What comes then is lost.

    Raises:
        ValueError: If `max_waiting` is not positive.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        if max_waiting < 1:
            raise ValueError(f"max_waiting must be at least 1, found {max_waiting}")
        self._name = name
        self._max_waiting = max_waiting
        self._waiting: deque[T] = deque()
        self._news: anyio.Event | None = None  # there while somebody waits
        self._is_closed = False
        self.lost = 0
        """How many were lost because too many waited."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            if self._news is None:
                self._news = anyio.Event()
            await self._news.wait()
        return self._waiting.popleft()

    def put(self, notification: T) -> None:
        """Add one.

        Args:
            notification: What is to be read.
        """
        if self._is_closed:
            return
        if len(self._waiting) >= self._max_waiting:
            if not self.lost:
                logger.warning("%s: notifications are not read as fast as they come, some are lost", self._name)
            self.lost += 1
            return
        self._waiting.append(notification)
        self._wake()

    def close(self) -> None:
        """End it, after those that wait."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
