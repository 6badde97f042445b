"""Calls the notification handlers and the callbacks of a Client, one after the other, in a thread of their own.

Rule of this file: a handler may take its time, raise, or call its Service; neither replies nor other handlers suffer.
Of notifications, what comes while too much waits is lost, counted and said. It must not know where they come from.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Notifier"]

logger = logging.getLogger("msl_network.client")

MOST_WAITING: Final = 10_000
"""Notifications that wait for their handlers, at most."""


class Notifier:
    """Calls handlers. Its thread is there from the first notification until :meth:`close`.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._news = threading.Condition()
        self._waiting: deque[tuple[Callable[..., Any], list[Any], dict[str, Any]]] = deque()
        self._has_thread = False
        self._is_closed = False
        self.lost = 0
        """How many notifications were lost because too many waited."""

    def put(self, handler: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        """Have a handler called.

        Args:
            handler: The handler.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
        """
        with self._news:
            if self._is_closed:
                return
            if len(self._waiting) >= MOST_WAITING:
                if not self.lost:
                    logger.warning("%s does not keep up with its notifications, some are lost", self._name)
                self.lost += 1
                return
            self._add(handler, args, kwargs)

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        """Have a function called that must not be lost, after what waits now; by the caller itself after :meth:`close`.

        Args:
            function: The function.
            args: Its arguments.
        """
        with self._news:
            if not self._is_closed:
                self._add(function, list(args), {})
                return
        function(*args)

    def close(self) -> None:
        """Let the thread end when it has called the handlers that wait now."""
        with self._news:
            self._is_closed = True
            self._news.notify()

    def _add(self, handler: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        self._waiting.append((handler, args, kwargs))
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._work, name=f"{self._name} notifications", daemon=True).start()
        self._news.notify()

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._waiting:
                    if self._is_closed:
                        return
                    self._news.wait()
                handler, args, kwargs = self._waiting.popleft()
            try:
                handler(*args, **kwargs)
            except BaseException:  # also of sys.exit(): the next handler is another's
                logger.exception("a handler of %s failed", self._name)
            del handler, args, kwargs  # or they would live until the next notification
