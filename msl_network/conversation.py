"""A Client's connection, shared by threads: each sends its requests itself, and one of them reads for all.

    a thread that calls       reads until its own reply is there, if nobody reads already
    the attendant's thread    reads whenever no caller does: for asynchronous calls, notifications, the end

A reply that is read by the thread that waits for it costs no switch between threads, which is most of what a call
costs. So while one call follows the other, the attendant steps back, looks now and then whether that goes on, and
sleeps while somebody else reads for long.

Rule of this file: the turn to read is held by one thread at a time; whoever gives it up wakes the attendant if anybody
still waits. It must not know how bytes travel, or what a Client looks like to its user.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, Final

from .calls import Call, Calls, check_timeout
from .errors import (
    CallTimeoutError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    MessageError,
    RefusedError,
    RemoteError,
)
from .messages import MANAGER
from .payload import encode_answer, encode_disconnect
from .sending import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Channel
    from .introduction import Introduction
    from .notifier import Notifier
    from .payload import Arrival

__all__ = ["Conversation"]

TICK: Final = 0.005  # seconds; how late a notification can be that comes right after the reply to a call
PATIENCE: Final = 4  # ticks until the attendant sleeps while another thread reads
GOODBYE: Final = 5.0  # seconds that the Manager has to close the connection when it is asked to


_conversations: weakref.WeakSet[Conversation] = weakref.WeakSet()
"""Those of this process: one that is forked from it must not use them, both would read from one socket."""


class Conversation:
    """A connection with a Manager.

    Args:
        channel: The connection; the Manager has let us in.
        introduction: Answers what the Manager asks of an administrator.
        address: The address of the Manager.
        network_name: The network name of this Client.
        notifier: Calls the callbacks of futures.
        on_notification: Called in the thread that reads; must neither block nor raise.
        on_lost: Called once, with the reason, when the connection has ended.
    """

    def __init__(
        self,
        channel: Channel,
        introduction: Introduction,
        *,
        address: str,
        network_name: str,
        notifier: Notifier,
        on_notification: Callable[[Arrival], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._introduction = introduction
        self._address = address
        self._network_name = network_name
        self._notifier = notifier
        self._on_notification = on_notification
        self._on_lost = on_lost
        self._calls = Calls()
        self._lines: deque[bytes] = deque()
        self._turn = threading.RLock()  # because it knows its owner: an interrupted thread can give up what it has
        self._is_read = False  # somebody has the turn
        self._own_turns = 0  # how often a caller has read for itself
        self._caller_waits = False  # and would have read for itself if it could
        self._is_leaving = False
        self._is_abandoned = False
        self._ended = threading.Event()
        self._ending = threading.Lock()  # taken by the one who ends it
        self._bell = threading.Lock()  # locked: nobody has rung
        self._bell.acquire()
        self._attendant_reads = True  # until it has started and gone through its loop once
        self._attendant_sleeps = False
        self._attendant = threading.Thread(target=self._attend, name=f"msl-network {network_name}", daemon=True)
        self._attendant.start()
        if hasattr(os, "register_at_fork"):
            _abandon_when_forked()
        _conversations.add(self)

    @property
    def lost(self) -> ConnectionLostError | None:
        """Why the connection has ended, if it has."""
        return self._calls.lost

    @property
    def may_be_left(self) -> bool:
        """Whether taking leave disturbs nobody: no thread waits for a reply, and the connection is of this process.

        What was forked must not even ask for a lock: a thread that it does not have may hold it.
        """
        return not self._is_abandoned and not any(isinstance(call, _WaitingCall) for call in self._calls.waiting())

    @property
    def thread_id(self) -> int | None:
        """The identifier of the attendant's thread, while it runs."""
        return self._attendant.ident if self._attendant.is_alive() else None

    def call(
        self, service: str, attribute: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Any:
        """Send a request and wait for the reply.

        Args:
            service: The name of the Service, or ``"Manager"``.
            attribute: What is asked for.
            args: The positional arguments.
            kwargs: The keyword arguments.
            timeout: The longest time to wait, in seconds; None to wait for ever.

        Returns:
            The result.

        Raises:
            RemoteError: If the other side answered with an error.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If the connection has ended.
            TypeError: If JSON cannot carry an argument.
            ValueError: As above.
        """
        call = _WaitingCall(service, attribute)
        deadline = None if timeout is None else time.monotonic() + check_timeout(timeout)
        self._send(call, args, kwargs, deadline)
        try:
            while not call.done:
                if self._turn.acquire(blocking=False):
                    self._own_turns += 1
                    self._is_read = True
                    self._lose_if_torn()
                    self._read(call, deadline)
                    self._leave_turn()
                else:
                    self._caller_waits = True
                    call.wait(deadline)
                if call.prompts:
                    self._channel.send(self._introduction.answer(call.prompts[0]))
                    call.prompts.popleft()
                elif deadline is not None and time.monotonic() >= deadline:
                    break
        except BaseException:  # also Ctrl+C, at any moment: the reply, when it comes, is nobody's
            self._give_up(call)
            self._drop_turn()
            raise
        if not call.done:
            self._give_up(call)
            raise CallTimeoutError(call.what, timeout or 0.0)
        if call.error is not None:
            raise call.error
        return call.result

    def abandon(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._is_abandoned = True
        self._ending.acquire(blocking=False)
        self._channel.abandon()
        self._calls.abandon("it belongs to the process that this one was forked from; connect anew")

    def confirm(self, timeout: float | None) -> None:
        """Wait until it is certain that the Manager accepts the identity, to which it says nothing.

        Args:
            timeout: The longest time to wait, in seconds; None to wait for ever.

        Raises:
            RefusedError: If it does not.
            ConnectError: If the connection ends, or there is no answer in time.
        """
        try:
            # what each Manager answers, and that changes nothing
            self.call(MANAGER, "unlink", ("",), {}, timeout)
        except RemoteError:
            pass  # an answer it is
        except CallTimeoutError:
            self.leave(0)
            raise ConnectTimeoutError(
                f"Manager[{self._address}] took the identity but answers nothing within {timeout:g} s; it may be busy"
            ) from None
        except ConnectionLostError as error:
            if self._calls.last_words:
                raise RefusedError(self._calls.last_words) from None
            raise ConnectError(f"{self._address}: {error}") from None

    def call_soon(self, service: str, attribute: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Send a request and go on.

        Args:
            service: The name of the Service, or ``"Manager"``.
            attribute: What is asked for.
            args: The positional arguments.
            kwargs: The keyword arguments.

        Returns:
            The future of the result, or of the error. Its callbacks are called by the notifier.

        Raises:
            ConnectionLostError: If the connection has ended.
            TypeError: If JSON cannot carry an argument.
            ValueError: As above.
        """
        call = _FutureCall(service, attribute, self._notifier)
        self._send(call, args, kwargs)
        if not self._attendant_reads:
            self._ring()
        return call.future

    def withdraw_link(self, service: str) -> None:
        """Have a link undone whose reply nobody waits for any more: it may have been made.

        Args:
            service: The name of the Service.
        """
        call = _WaitingCall(MANAGER, "unlink")
        with contextlib.suppress(ConnectionLostError):
            self._send(call, (service,), {})
            self._calls.forget(call)

    def leave(self, timeout: float | None = None) -> None:
        """Take leave of the Manager and close the connection.

        Args:
            timeout: The longest time to wait for the Manager to close it, in seconds.
        """
        self._is_leaving = True
        if self.lost is None:
            try:
                self._channel.send(encode_disconnect(self._network_name))
            except ConnectionLostError as error:
                self._lose(str(error))
            else:
                self._ring()
                self._ended.wait(GOODBYE if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        self._lose("the Manager did not answer the good-bye")
        if self._attendant is not threading.current_thread():
            self._attendant.join(GOODBYE)

    def _send(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], deadline: float | None = None) -> None:
        line = self._calls.add(call, args, kwargs)
        try:
            self._channel.send(line, deadline)
        except NoRoomError:
            self._calls.forget(call, was_sent=False)
            return  # the caller finds that the time is over
        except ConnectionLostError as error:
            self._calls.forget(call, was_sent=False)
            self._lose(str(error))
            raise
        except BaseException:  # Ctrl+C
            self._calls.forget(call)
            if self._channel.is_cut:
                self._lose(f"interrupted while {call.what} was being sent")
            raise

    def _give_up(self, call: _WaitingCall) -> None:
        self._calls.forget(call)
        for _ in call.prompts:  # or the Manager would wait for an answer, and let other requests wait
            self._refuse_to_answer()

    def _refuse_to_answer(self) -> None:
        with contextlib.suppress(ConnectionLostError):  # whoever reads finds that out
            self._channel.send(encode_answer(None))

    def _read(self, call: _WaitingCall, deadline: float | None) -> None:
        """Read for all, until this call is done, must be asked something, or has waited long enough."""
        while True:
            self._take_lines()
            if call.done or call.prompts or self.lost is not None:
                return
            remaining = None
            if deadline is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
            self._receive(remaining)

    def _receive(self, timeout: float | None = None) -> None:
        try:
            self._lines.extend(self._channel.receive(timeout))
        except ConnectionLostError as error:
            self._lose(str(error))

    def _take_lines(self) -> None:
        lines = self._lines
        while lines:
            try:
                arrival = self._calls.receive(lines.popleft())
            except MessageError as error:  # whom it was for nobody can tell, so nobody must go on waiting
                self._lose(str(error))
                return
            if arrival is None:
                continue
            if arrival.attribute:
                self._refuse_to_answer()
            else:
                self._on_notification(arrival)
        self._channel.taken()

    def _leave_turn(self) -> None:
        self._is_read = False
        self._turn.release()
        self._wake_attendant()

    def _drop_turn(self) -> None:
        """Give up the turn if this thread has it, because it was interrupted."""
        try:
            while True:
                self._turn.release()  # raises if it is not ours
                self._is_read = False
                self._lose_if_torn()
        except RuntimeError:
            self._wake_attendant()

    def _lose_if_torn(self) -> None:
        """End the connection if somebody was interrupted between receiving bytes and taking care of them."""
        if self._channel.is_torn:
            self._lose("interrupted while a reply was being read")

    def _wake_attendant(self) -> None:
        if self._attendant_sleeps or self._lines or self._calls.are_waiting:
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # somebody has rung already
            self._bell.release()

    def _attend(self) -> None:
        while self.lost is None:
            if self._turn.acquire(blocking=False):
                self._attendant_reads = True
                self._is_read = True
                try:
                    self._lose_if_torn()
                    self._read_for_others()
                except BaseException as error:  # nobody would read again, and everybody would wait
                    self._lose(f"the thread that reads has failed: {type(error).__name__}: {error}")
                    raise
                finally:
                    self._is_read = False
                    self._attendant_reads = False
                    self._turn.release()
                if self._calls.are_waiting:
                    continue  # it came while the turn was given up, and found it taken
            else:
                self._attendant_reads = False  # whoever reads now rings when others still wait
            self._step_back()
        self._attendant_reads = False

    def _read_for_others(self) -> None:
        while self.lost is None:
            self._take_lines()
            if self._caller_waits and not self._calls.are_waiting:
                self._caller_waits = False  # its next reply it had better read for itself
                return
            self._receive()

    def _step_back(self) -> None:
        """Wait until somebody rings, or nobody reads any more."""
        ticks = 0
        seen = self._own_turns
        while not self._bell.acquire(timeout=TICK):
            if self.lost is not None:
                return
            if self._own_turns != seen:
                seen = self._own_turns
                ticks = 0
            elif not self._is_read:
                return
            else:
                ticks += 1
                if ticks == PATIENCE:
                    self._attendant_sleeps = True
                    if self._is_read:  # looked at after that was set: it rings when it stops reading
                        self._bell.acquire()
                    self._attendant_sleeps = False
                    return

    def _lose(self, reason: str) -> None:
        if not self._ending.acquire(blocking=False):
            return  # for good: it ends once
        reason = "this Client has disconnected" if self._is_leaving else reason
        self._calls.lose(reason)
        self._channel.close()
        self._ended.set()
        self._ring()
        self._on_lost(reason)


class _WaitingCall(Call):
    """A call whose thread waits."""

    __slots__ = ("_lock", "prompts")

    def __init__(self, service: str, attribute: str) -> None:
        super().__init__(service, attribute)
        self.prompts: deque[Arrival] = deque()
        self._lock: threading.Lock | None = None

    def finish(self, result: object, error: BaseException | None) -> None:
        super().finish(result, error)
        self._wake()

    def ask(self, prompt: Arrival) -> None:
        self.prompts.append(prompt)
        self._wake()

    def wait(self, deadline: float | None) -> None:
        """Wait until there is news, or the deadline has passed."""
        lock = threading.Lock()
        lock.acquire()
        self._lock = lock
        # looked at after the lock is there for whoever brings the news
        if not (self.done or self.prompts):
            lock.acquire(timeout=-1 if deadline is None else _seconds_until(deadline))
        self._lock = None

    def _wake(self) -> None:
        lock = self._lock
        if lock is not None:
            with contextlib.suppress(RuntimeError):  # awake already
                lock.release()


class _FutureCall(Call):
    """A call that nobody waits for in particular."""

    __slots__ = ("future",)

    def __init__(self, service: str, attribute: str, notifier: Notifier) -> None:
        super().__init__(service, attribute)
        self.future: Future[Any] = _CallFuture(notifier)

    def finish(self, result: object, error: BaseException | None) -> None:
        super().finish(result, error)
        try:
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)
        except InvalidStateError:  # cancelled meanwhile: nobody wants it
            return


class _CallFuture(Future[Any]):
    """A future whose callbacks do not keep the thread that reads from reading."""

    def __init__(self, notifier: Notifier) -> None:
        super().__init__()
        self._notifier = notifier

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        if self.done():
            super().add_done_callback(fn)  # it is called here and now
        else:
            super().add_done_callback(lambda future: self._notifier.submit(fn, future))


@functools.cache  # once
def _abandon_when_forked() -> None:
    def abandon() -> None:
        for conversation in list(_conversations):
            conversation.abandon()

    os.register_at_fork(after_in_child=abandon)


def _seconds_until(deadline: float) -> float:
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
