"""The threads of a Service: they read its requests and run them, several at once.

    the leader     has the turn to read. It runs what it reads itself and goes on reading: no switch between threads
    a runner       was the leader until its request took long; it lost the turn, ends its request, and takes what waits
    a parked one   waits to become the next leader
    the watch      looks now and then whether the leader is still at the same request; then it gives the turn to another

A request that is known to take long gives the turn away before it begins. So quick requests cost nothing but
themselves, and slow ones wait for nobody.

Rule of this file: the turn, the queue and the number of runners change under one lock, which is never held while a
request runs or a socket waits. It must not know what a request means.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from .errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Channel

__all__ = ["Worker", "Workers"]

logger = logging.getLogger("msl_network.service")

TICK: Final = 0.002  # seconds; between one and two of them, the first slow request delays those behind it
IDLE: Final = 20  # ticks without a request until the watch sleeps
MEBI: Final = 2**20
MOST_LINES: Final = 256  # that wait for a free worker; the rest waits at the Manager, which tells who asks too much
MOST_BYTES: Final = 16 * MEBI
LOOK: Final = 0.2  # seconds between two looks whether the connection has ended, while nothing is read
BATCH: Final = 64 * 1024  # bytes of replies that are sent at once, at most


class Workers:
    """Runs the requests of one connection.

    Args:
        channel: The connection.
        run: Runs the request in a line; returns the line of the reply, or None if that comes later or not at all. Must
            not raise.
        limit: The most requests to run at once.
        name: What the threads are called.
    """

    def __init__(
        self,
        channel: Channel,
        run: Callable[[bytes, Worker], bytes | None],
        *,
        limit: int,
        name: str,
    ) -> None:
        self._channel = channel
        self._run = run
        self._limit = limit
        self._name = name
        self._on_end: Callable[[str], None] = logger.debug
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[bytes] = deque()
        self._replies: list[bytes] = []  # of the leader, not sent yet
        self._leader: Worker | None = None
        self._running = 0  # requests that are run by others than the leader
        self._parked: list[Worker] = []
        self._count = 0
        self._is_busy = False  # the leader is at a request
        self._turns = 0  # which one
        self._has_ended = False
        self._watch_sleeps = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def start(self, on_end: Callable[[str], None]) -> None:
        """Begin to read.

        Args:
            on_end: Called once, by one of the threads, when the connection has ended, with the reason.
        """
        self._on_end = on_end
        with self._lock:
            worker = self._leader = self._unparked()
        worker.wake()
        threading.Thread(target=self._watch, name=f"{self._name} watch", daemon=True).start()

    def occupy(self) -> None:
        """Count a request that goes on without a thread."""
        with self._lock:
            self._running += 1

    def release(self) -> None:
        """Count a request that went on without a thread as done."""
        with self._lock:
            if not self._queue:
                self._running -= 1
                self._room.notify()
                return
            try:
                worker = self._unparked()  # takes over the place
            except RuntimeError as error:  # as in _dismiss: the leader runs what waits when it has read more
                logger.warning("the Service cannot run more at once: %s", error)
                self._running -= 1
                return
        worker.wake()

    def step_aside(self, worker: Worker) -> None:
        """Give the turn to read away, because the request that is about to run takes long.

        Args:
            worker: Who runs the request; nothing happens if it does not have the turn.
        """
        with self._lock:
            if self._leader is not worker:
                return
            self._dismiss()

    def _serve(self, worker: Worker) -> None:
        """Be a thread: lead or run until there is nothing to do, then park."""
        while not self._has_ended:
            worker.wait()
            try:
                if self._leader is worker and not self._has_ended:
                    self._lead(worker)
                self._work_off(worker)
            except ConnectionLostError as error:
                self._end(str(error))
            except BaseException as error:
                self._end(f"a thread of the Service has failed: {type(error).__name__}: {error}")
                raise

    def _lead(self, worker: Worker) -> None:
        """Read and run until the turn was taken away; the worker is a runner then."""
        reply: bytes | None = None
        size = 0  # of the replies that were not sent yet
        self._flush()
        while True:
            with self._lock:
                if self._leader is not worker:
                    break
                self._is_busy = False
                if reply is not None:
                    self._replies.append(reply)
                    size += len(reply)
                line = self._next_line() if size < BATCH else None
            if line is not None:
                if self._watch_sleeps:
                    self._ring()
                reply = self._run(line, worker)
                continue
            reply = None
            if size:
                self._flush()
                size = 0
            else:
                self._read()
        if reply is not None:
            self._send(reply)

    def _next_line(self) -> bytes | None:
        """Take a request for the leader, if there is one that may run now; the lock is held."""
        if not self._queue or self._running >= self._limit:
            return None
        self._is_busy = True
        self._turns += 1
        return self._queue.popleft()

    def _read(self) -> None:
        """Wait for requests."""
        if self._queue:  # for a free worker
            self._wait_for_room()
        self._queue.extend(self._channel.receive())
        self._channel.taken()  # or a large message would be in memory twice while it is worked on

    def _work_off(self, worker: Worker) -> None:
        """Run what waits, as a runner, then park."""
        while True:
            with self._lock:
                self._room.notify()
                # a request that goes on without a thread may have taken the place of this one
                if self._has_ended or not self._queue or self._running > self._limit:
                    self._running -= 1
                    if not self._has_ended:
                        self._parked.append(worker)
                    return
                line = self._queue.popleft()
            reply = self._run(line, worker)
            if reply is not None:
                self._send(reply)

    def _wait_for_room(self) -> None:
        """Let the leader wait while too much waits for a free worker."""
        queue = self._queue
        with self._room:
            while self._running >= self._limit and not self._has_ended:
                if len(queue) < MOST_LINES and sum(map(len, queue)) < MOST_BYTES:
                    return
                if self._channel.is_over():
                    queue.clear()  # commands that nobody waits for any more
                    return
                self._room.wait(LOOK)

    def _flush(self) -> None:
        """Send the replies of the leader."""
        with self._lock:
            replies, self._replies = self._replies, []
        if replies:
            self._send(replies[0] if len(replies) == 1 else b"".join(replies))

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except ConnectionLostError as error:
            logger.debug("a reply was lost: %s", error)  # the leader finds the end when it reads

    def _dismiss(self) -> None:
        """Make the leader a runner and another the leader; the lock is held."""
        try:
            worker = self._unparked()
        except RuntimeError as error:  # the system has no thread left: the leader keeps the turn
            logger.warning("the Service cannot run more at once: %s", error)
            return
        self._running += 1
        self._is_busy = False
        self._leader = worker
        worker.wake()

    def _unparked(self) -> Worker:
        if self._parked:
            return self._parked.pop()
        self._count += 1
        worker = Worker(self, self._count)
        threading.Thread(target=self._serve, args=(worker,), name=f"{self._name} {self._count}", daemon=True).start()
        return worker

    def _watch(self) -> None:
        idle = 0
        while not self._has_ended:
            turn, was_busy = self._turns, self._is_busy
            self._bell.acquire(timeout=TICK)
            if self._turns != turn:
                idle = 0
                continue
            if was_busy:
                with self._lock:
                    if self._is_busy and self._turns == turn:
                        self._dismiss()
            idle += 1
            if idle < IDLE:
                continue
            self._watch_sleeps = True
            if not (self._is_busy or self._has_ended):  # looked at after that was set: who changes it now rings
                self._bell.acquire()
            self._watch_sleeps = False
            idle = 0

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # somebody has rung already
            self._bell.release()

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            self._queue.clear()
            parked, self._parked = self._parked, []
            self._room.notify_all()
        for worker in parked:
            worker.wake()
        self._ring()
        self._channel.close()
        self._on_end(reason)


class Worker:
    """A thread of a Service.

    Args:
        workers: All of them.
        number: Which one it is.
    """

    __slots__ = ("_lock", "_workers", "number")

    def __init__(self, workers: Workers, number: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._lock.acquire()
        self.number = number

    def step_aside(self) -> None:
        """Let another thread read meanwhile, because what follows takes long."""
        self._workers.step_aside(self)

    def wait(self) -> None:
        """Be parked."""
        self._lock.acquire()

    def wake(self) -> None:
        """End the parking."""
        self._lock.release()
