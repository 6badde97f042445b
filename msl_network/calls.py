"""A Client's calls: which request waits for which reply.

    request --> uid --> the call that waits --> its result, its error, or the end of the connection

Rule of this file: each call that is added ends exactly once, whatever the other side sends or does. It must not know
a socket, a thread or a task: :mod:`msl_network.conversation` and :mod:`msl_network.client` do the waiting.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from .errors import ConnectionLostError, RemoteError
from .messages import DISCONNECT, MANAGER, NOTIFICATION_UID
from .payload import decode, encode_request

if TYPE_CHECKING:
    from .payload import Arrival

__all__ = ["SHUTDOWN_MANAGER", "Call", "Calls", "check_timeout"]

SHUTDOWN_MANAGER: Final = "shutdown_manager"
"""The request of an administrator whose answer is the end of the connection."""

OWN_REQUESTS: Final = frozenset({"identity", "link", "unlink", "acquire_lock", "release_lock"})
"""What a Manager of 1.0 answers with the uid of the request; it answers an administrator with none."""


class Call:
    """A request that waits for its reply.

    Args:
        service: The name of the Service, or ``"Manager"``.
        attribute: What is asked for.
    """

    __slots__ = ("attribute", "done", "error", "is_forgotten", "result", "service", "uid")

    def __init__(self, service: str, attribute: str) -> None:
        self.service = service
        self.attribute = attribute
        self.uid = ""
        self.done = False
        self.is_forgotten = False
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def what(self) -> str:
        """What was asked for, as ``Service.attribute``."""
        return f"{self.service}.{self.attribute}"

    @property
    def is_of_administrator(self) -> bool:
        """Whether only an administrator may ask for it."""
        return self.service == MANAGER and self.attribute not in OWN_REQUESTS

    @property
    def ends_connection(self) -> bool:
        """Whether the end of the connection is the answer that is hoped for."""
        return self.attribute == DISCONNECT or (self.service == MANAGER and self.attribute == SHUTDOWN_MANAGER)

    def finish(self, result: object, error: BaseException | None) -> None:
        """Take the outcome.

        Args:
            result: The result, if there is no error.
            error: What went wrong, or None.
        """
        self.result = result
        self.error = error
        self.done = True

    def ask(self, prompt: Arrival) -> None:
        """Take a question of the Manager that must be answered before it answers this call.

        Args:
            prompt: The question.
        """
        raise NotImplementedError


class Calls:
    """The calls of one connection."""

    def __init__(self) -> None:
        self._waiting: dict[object, Call] = {}
        self._next_uid = count(1).__next__
        self.last_words = ""
        """The last error of the Manager that was about no call: why it refuses the identity, perhaps."""
        self.lost: ConnectionLostError | None = None
        """Why the connection has ended, if it has."""

    @property
    def are_waiting(self) -> bool:
        """Whether the reply to any call is still to come."""
        return bool(self._waiting)

    def waiting(self) -> list[Call]:
        """Return the calls whose replies are still to come."""
        return list(self._waiting.values())

    def add(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Add a call, and return the line to send for it.

        Args:
            call: The call.
            args: The positional arguments.
            kwargs: The keyword arguments.

        Raises:
            ConnectionLostError: If the connection has ended.
            TypeError: If JSON cannot carry an argument; the call is not added.
            ValueError: As above.
        """
        call.uid = uid = str(self._next_uid())
        line = encode_request(call.service, call.attribute, args, kwargs, uid)
        self._waiting[uid] = call
        # in this order: a thread that ends all calls now either finds this one, or has set `lost`
        if self.lost is not None:
            self._waiting.pop(uid, None)
            raise ConnectionLostError(f"cannot ask for {call.what}: {self.lost}")
        return line

    def forget(self, call: Call, *, was_sent: bool = True) -> None:
        """Wait no longer for the reply of a call; it is dropped when it comes.

        Args:
            call: The call.
            was_sent: Whether its line has left, or may have.
        """
        if was_sent and call.is_of_administrator:
            # the Manager goes on with it: it may ask for a password, and one of 1.0 answers without a uid, which must
            # not be taken for the answer to the next
            call.is_forgotten = True
        else:
            self._waiting.pop(call.uid, None)

    def receive(self, line: bytes) -> Arrival | None:
        """Take a line of the Manager.

        Args:
            line: The line.

        Returns:
            A notification, or a question of the Manager that is left to nobody: its `attribute` is not empty, and it is
            to be answered with null. None if it was anything else, and is done with.

        Raises:
            MessageError: If the line is no message.
        """
        arrival = decode(line)
        uid = arrival.uid
        call = self._waiting.get(uid) if uid.__class__ is str else None
        if call is not None:
            self.last_words = ""  # whatever it was about, it was not the end
            # in this order: if Ctrl+C comes in between, the call is still found when the connection ends
            self._finish(call, arrival)
            self._waiting.pop(uid, None)
        elif uid == NOTIFICATION_UID:
            return arrival
        elif uid == "":
            return self._receive_without_uid(arrival)
        # else the reply comes too late, its call was given up
        return None

    def lose(self, reason: str) -> None:
        """End all calls, because the connection has ended.

        Args:
            reason: Why, in a sentence.
        """
        if self.last_words:
            reason = f"{reason}; before, it said: {self.last_words}"
        if self.lost is None:
            self.lost = ConnectionLostError(reason)
        while self._waiting:
            try:
                _, call = self._waiting.popitem()
            except KeyError:  # another thread took the last
                break
            if call.is_forgotten or call.done:
                continue
            # one object for each: a traceback grows with every place that raises it
            call.finish(None, None if call.ends_connection else ConnectionLostError(str(self.lost)))

    def abandon(self, reason: str) -> None:
        """Note that the connection is not to be used any more; nobody is there who waits for a reply.

        Args:
            reason: Why, in a sentence.
        """
        self._waiting.clear()
        self.lost = ConnectionLostError(reason)

    def _finish(self, call: Call, arrival: Arrival) -> None:
        if call.is_forgotten or call.done:
            return
        if arrival.error:
            text = arrival.message or "the other side gave no reason"
            call.finish(None, RemoteError(text, call.what, tuple(map(str, arrival.traceback))))
        else:
            call.finish(arrival.result, None)

    def _receive_without_uid(self, arrival: Arrival) -> Arrival | None:
        """Take a question of a Manager, or what one of 1.0 says without saying to whom."""
        call = self._oldest(arrival.message if arrival.error else "")
        if arrival.attribute and not arrival.error:
            if call is None:
                return arrival
            if not call.is_forgotten:
                call.ask(arrival)
            if call.is_forgotten:  # before, or at this moment by another thread
                return arrival
        elif call is not None:
            if self._waiting.pop(call.uid, None) is not None:
                self._finish(call, arrival)
        elif arrival.error:
            self.last_words = arrival.message
        return None

    def _oldest(self, message: str) -> Call | None:
        """Return the call that a message without uid is about: a Manager works on those of a Client in turn."""
        for call in list(self._waiting.values()):
            if call.service == MANAGER:
                if call.is_of_administrator:
                    return call
            # as Python quotes the text of a KeyError
            elif str(KeyError(f"the {call.service!r} Service is not connected"))[1:-1] in message:
                return call
        return None


def check_timeout(timeout: object) -> float:
    """Return a timeout if it is one.

    Args:
        timeout: The longest time to wait, in seconds.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is no number after all (NaN).
    """
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, found {timeout!r}")
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds or None, found NaN")
    return timeout
