"""What leaves a blocking connection: at once, or by a thread as soon as the system takes it.

Rule of this file: who sends never waits for the other side, until very much waits to be sent; a line is sent whole and
in its turn, also if the thread that sends is interrupted. It must not know what is sent, or who receives.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NoRoomError", "Sender"]

IS_WINDOWS: Final = os.name == "nt"
AT_ONCE: Final = getattr(socket, "MSG_DONTWAIT", 0)  # on Windows the socket itself must not block
MEBI: Final = 2**20
MOST_WAITING: Final = 64 * MEBI
"""Bytes that wait to be sent, from which on whoever sends more waits as well."""

HELP: Final = 0.02  # seconds that the caller itself goes on sending what is large, which saves a switch of threads
IDLE: Final = 1.0  # seconds without work until the thread ends
SLICE: Final = 0.2  # seconds; select() on Windows does not notice that the socket is closed


class NoRoomError(Exception):
    """Raised when too much waited to be sent until the time was over. Nothing of the data was taken."""


class Sender:
    """Sends what several threads have to say, on one socket.

    Args:
        sock: The socket.
        encrypt: Turns plain bytes into what is sent; None if nothing does.
    """

    def __init__(self, sock: socket.socket, encrypt: Callable[[bytes], bytes] | None) -> None:
        self._socket = sock
        self._encrypt = encrypt
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._has_thread = False
        self._is_closed = False
        self._error: OSError | None = None
        self.is_cut = False
        """Whether a thread was interrupted (Ctrl+C) in the middle of a line; no other can follow."""

    def send(self, data: bytes, deadline: float | None = None) -> None:
        """Send bytes, or keep them to be sent.

        Args:
            data: What to send.
            deadline: When to give up if too much waits already, by `time.monotonic`.

        Raises:
            NoRoomError: If the deadline has passed.
            OSError: If the connection has ended.
        """
        with self._lock:
            if self._size > MOST_WAITING:
                self._wait_for_room(deadline)
            if self._error is not None:
                raise self._error
            sent: list[int] = []
            is_done = False
            try:
                out = data if self._encrypt is None else self._encrypt(data)
                if not self._waiting:
                    with contextlib.suppress(BlockingIOError):
                        # sent and noted in one step, between whose parts no signal can interrupt
                        sent.extend(map(self._socket.send, (out,), (AT_ONCE,)))
                end = time.monotonic() + HELP if sent and sent[0] < len(out) else 0.0
                while sum(sent) < len(out) and time.monotonic() < end and self._is_writable(HELP):
                    with contextlib.suppress(BlockingIOError):
                        sent.extend(map(self._socket.send, (memoryview(out)[sum(sent) :],), (AT_ONCE,)))
                if sum(sent) < len(out):
                    self._keep(memoryview(out)[sum(sent) :])
                is_done = True
            finally:
                if not is_done:  # what TLS has encrypted must be sent
                    self.is_cut = sum(sent) < len(out) if sent else self._encrypt is not None

    def close(self) -> None:
        """Send nothing any more."""
        with self._lock:
            self._is_closed = True
            self._error = self._error or ConnectionAbortedError("closed on this side")
            self._waiting.clear()
            self._size = 0
            self._news.notify_all()

    def _wait_for_room(self, deadline: float | None) -> None:
        while self._size > MOST_WAITING and self._error is None:
            remaining = None if deadline is None else min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
            if remaining is not None and remaining <= 0:
                raise NoRoomError
            self._news.wait(remaining)

    def _keep(self, rest: memoryview) -> None:
        self._waiting.append(rest)
        self._size += len(rest)
        if self._has_thread:
            self._news.notify_all()
        else:
            self._has_thread = True
            threading.Thread(target=self._work, name="msl-network sender", daemon=True).start()

    def _work(self) -> None:
        """Send what waits, until nothing has for a while."""
        while True:
            with self._lock:
                if not self._waiting and not self._is_closed:
                    self._news.wait(IDLE)
                if not self._waiting:
                    self._has_thread = False
                    return
            try:
                self._is_writable(SLICE)
                with self._lock:
                    self._send_first()
            except (OSError, ValueError) as error:  # ValueError: the socket is closed
                with self._lock:
                    self._error = error if isinstance(error, OSError) else ConnectionAbortedError(str(error))
                    self._waiting.clear()
                    self._size = 0
                    self._has_thread = False
                    self._news.notify_all()
                return

    def _is_writable(self, seconds: float) -> bool:
        """Wait until the system takes more, but no longer than that."""
        if IS_WINDOWS:
            return bool(select.select([], [self._socket], [], seconds)[1])
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _send_first(self) -> None:
        if not self._waiting:  # closed meanwhile
            return
        first = self._waiting[0]
        try:
            count = self._socket.send(first, AT_ONCE)
        except BlockingIOError:
            return
        if count == len(first):
            self._waiting.popleft()
        else:
            self._waiting[0] = first[count:]
        was_full = self._size > MOST_WAITING
        self._size -= count
        if was_full and self._size <= MOST_WAITING:
            self._news.notify_all()
