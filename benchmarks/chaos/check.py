"""The oracles of a chaos run: what must not be, whatever is done to whom.

    Ledger      a client's calls: each ends once, in time, with the right answer or an error that names why
    Sequence    the notifications of a link: each comes once, in order, and is nobody else's
    Evidence    what clients say and what was done: each loss has its reason

Rule of this file: what is seen comes in, problems go out; no I/O, no clock. It must not know how anything
travels, nor who does what to whom, and why.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .calls import Call, Told
    from .report import Report

__all__ = ["Claim", "Evidence", "Ledger", "Sequence", "link_reason", "lock_reason", "reason"]

SECONDS: Final = 1.0

BEFORE: Final = 20 * SECONDS
"""How long after its reason something may be noticed."""

AFTER: Final = 5 * SECONDS
"""How long before its reason something may be noticed: who loses its connection may stand still, and tell late."""


class Ledger:
    """The calls of one client.

    Args:
        client: The name of the client.
        report: Where problems go.
        bound: How long a call may take, in seconds.
    """

    def __init__(self, client: str, report: Report, bound: float) -> None:
        self.client = client
        self.report = report
        self.bound = bound
        self.waiting: dict[int, tuple[Call, float]] = {}
        self.forgotten: set[int] = set()
        self.lost_at: float | None = None
        self.good: dict[str, int] = defaultdict(int)
        """How many right answers came from each Service."""

    def open(self, call: Call) -> None:
        """Note that a call is made."""
        self.report.count("calls")
        self.waiting[call.number] = (call, self.report.clock())

    def result(self, number: int, result: object) -> None:
        """Take a result.

        Args:
            number: The number of the call.
            result: What came back.
        """
        call = self._close(number)
        if call is None:
            return
        mistake = call.mistake(result)
        if mistake:
            self._problem("wrong", call, mistake)
            return
        self.report.count("replies")
        self.good[call.service] += 1
        if self.lost_at is not None:
            self.report.took("to get through again", self.report.clock() - self.lost_at)
            self.lost_at = None

    def error(self, number: int, message: str) -> None:
        """Take an error.

        Args:
            number: The number of the call.
            message: What came back, ``ClassName: text``.
        """
        call = self._close(number)
        if call is None:
            return
        if call.error and message == call.error:
            self.report.count("errors as asked for")
            return
        kind = reason(message, call.service)
        if not kind:
            self._problem("wrong", call, f"answered with {message[:300]!r}")
            return
        self.report.count(f"error: {kind}")
        if kind in JUDGED:
            self.report.claim(kind, call.service, f"{self.client} ({message[:200]})" if kind == "busy" else self.client)

    def give_up(self, number: int) -> None:
        """Note that a call is not waited for any more, because it was made so."""
        self.report.count("calls given up")
        self.waiting.pop(number, None)
        self.forgotten.add(number)

    def hang(self, number: int) -> None:
        """Note that there is no answer to a call."""
        call, begin = self.waiting.pop(number)
        self.forgotten.add(number)
        self._problem("lost", call, f"no answer within {self.report.clock() - begin:.1f} s")

    def overdue(self) -> None:
        """Note which calls have no answer although they should."""
        now = self.report.clock()
        for number in [number for number, (_, begin) in self.waiting.items() if now - begin > self.bound]:
            self.hang(number)

    def leave(self) -> None:
        """Note that the connection has ended, as it should: what was given up will not come any more."""
        self.waiting.clear()
        self.forgotten.clear()

    def disconnected(self, *, is_direct: bool, why: str) -> None:
        """Note that the connection has ended, and with it all calls.

        Args:
            is_direct: Whether nobody but the Manager could have ended it.
            why: What is known of the reason.
        """
        self.report.count("error: connection lost", len(self.waiting))
        self.leave()
        self.lost_at = self.report.clock()
        if is_direct:
            self.report.claim("lost", "Manager", f"{self.client} ({why})")

    def _close(self, number: int) -> Call | None:
        waiting = self.waiting.pop(number, None)
        if waiting is not None:
            return waiting[0]
        if number in self.forgotten:  # it comes late, once
            self.forgotten.discard(number)
        else:
            self.report.problem("doubled", f"{self.client}: a second answer to call {number}")
        return None

    def _problem(self, kind: str, call: Call, text: str) -> None:
        what = f"{self.client}: call {call.number}, {call.service}.{call.attribute}"
        self.report.problem(kind, f"{what}: {text}")


def reason(message: str, service: str) -> str:
    """Return why a call failed; empty if that is no reason that the Manager may give.

    Args:
        message: The message of the error, ``ClassName: text``.
        service: The Service that was called.
    """
    if message in {
        f"ConnectionAbortedError: the '{service}' service left before it answered",
        f"ConnectionAbortedError: the '{service}' service is leaving",
    }:
        return "left"
    if message.startswith(f"KeyError: \"the '{service}' Service is not connected to Manager["):
        return "unknown"
    if message.startswith("BlockingIOError: "):
        return "busy"
    return ""


def link_reason(message: str, service: str) -> str:
    """Return why a link was refused; empty if that is no reason that the Manager may give.

    Args:
        message: The message of the error, ``ClassName: text``.
        service: The Service.
    """
    return "unknown" if message.startswith(f"KeyError: \"the '{service}' service does not exist, cannot link") else ""


def lock_reason(message: str, service: str) -> str:
    """Return why a lock cannot be had, or cannot be used any more; empty if that is no reason.

    Args:
        message: The message of the error, ``ClassName: text``.
        service: The Service, which others lock, too.
    """
    name, _, text = message.partition(": ")
    if name == "PermissionError":
        if text == f"'{service}' service is locked":
            return "locked"
        if "cannot acquire an exclusive lock, there are " in text:
            return "others are linked"
        if f"because it is not linked with the '{service}' service" in text:
            return "the link is gone"
    if name == "KeyError" and f"'{service}' service does not exist" in text:
        return "unknown"
    return reason(message, service)


JUDGED: Final = frozenset({"left", "unknown", "busy"})
"""What a call may fail with if there was a reason."""


class Sequence:
    """The notifications of one Service, as one link sees them.

    Args:
        client: The name of the client.
        service: The name of the Service.
        report: Where problems go.
        is_ordered: Whether notifications and replies are seen in the order in which they came.
    """

    def __init__(self, client: str, service: str, report: Report, *, is_ordered: bool) -> None:
        self.client = client
        self.service = service
        self.report = report
        self.is_ordered = is_ordered
        self._boot = ""
        self._last: int | None = None  # None: none has come
        self._floor = 0
        self._owed = 0
        self._old: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether as many have come as replies told of."""
        return self._owed <= (self._floor if self._last is None else self._last)

    def take(self, service: object, boot: object, number: object) -> None:
        """Take a notification.

        Args:
            service: The name of the Service in it.
            boot: Which connection of the Service it came from.
            number: The how manieth it is.
        """
        self.report.count("notifications")
        if service != self.service or not isinstance(boot, str) or not isinstance(number, int):
            self._problem("forged notification", f"{(service, boot, number)!r}")
            return
        if boot in self._old:
            self._problem("doubled notification", f"number {number} of {boot}, which has ended")
            return
        if boot != self._boot:
            self._begin(boot, number - 1)
        if self._last is None:
            # an answer may have told of some that were still on their way
            if number > self._floor + 1:
                self._problem("lost notification", f"number {number} is the first, {self._floor + 1} was expected")
        elif number <= self._last:
            self._problem("doubled notification", f"number {number} after {self._last} of {boot}")
            return
        elif number > self._last + 1:
            self._problem("lost notification", f"number {number} after {self._last} of {boot}")
        self._last = number

    def told(self, told: Told) -> None:
        """Take what the Service tells of itself with the answer to a call that was made after it was linked.

        Args:
            told: Which connection that is, and how many notifications were sent.
        """
        if told.boot in self._old:
            return
        if told.boot != self._boot:
            self._begin(told.boot, told.begun)
        self._owed = max(self._owed, told.ended)
        if self.is_ordered and not self.is_complete:
            self._problem("lost notification", f"{self.missing}, although an answer came that was sent later")
            self._last = self._owed

    @property
    def missing(self) -> str:
        """What has not come, in words."""
        last = self._floor if self._last is None else self._last
        return f"{self._owed} of {self._boot} were sent, the last that came is {last}"

    def _begin(self, boot: str, floor: int) -> None:
        if self._boot:
            self._old.add(self._boot)
        self._boot = boot
        self._last = None
        self._floor = floor
        self._owed = 0

    def _problem(self, kind: str, text: str) -> None:
        self.report.problem(kind, f"{self.client}, linked with {self.service}: {text}")


@dataclass(frozen=True)
class Claim:
    """Something that must have had a reason.

    Args:
        kind: ``lost`` (the connection), ``refused`` (a connection), ``left``, ``unknown`` or ``busy`` (a Service), or
            ``database`` (it is locked).
        subject: The Service, ``"Manager"``, or ``"database"``.
        client: Who says so.
        at: When, in seconds.
    """

    kind: str
    subject: str
    client: str
    at: float

    @property
    def words(self) -> str:
        """What it means, if there was no reason."""
        return f"{self.client} {WORDS[self.kind].format(self.subject)}"


class Evidence:
    """What clients say, and what happened. A Manager and Services are up or down."""

    def __init__(self) -> None:
        self._claims: deque[Claim] = deque()
        self._downs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._slow: set[str] = set()
        self._stalls: dict[str, list[float]] = defaultdict(list)

    def down(self, subject: str, at: float) -> None:
        """Note that somebody has gone.

        Args:
            subject: A Service, or ``"Manager"``.
            at: When, in seconds.
        """
        downs = self._downs[subject]
        if not downs or downs[-1][1] != float("inf"):
            downs.append((at, float("inf")))

    def up(self, subject: str, at: float) -> None:
        """Note that somebody is there again.

        Args:
            subject: A Service, or ``"Manager"``.
            at: When, in seconds.
        """
        downs = self._downs[subject]
        if downs and downs[-1][1] == float("inf"):
            downs[-1] = (downs[-1][0], at)

    def stall(self, subject: str, at: float) -> None:
        """Note that somebody was held up for a while.

        Args:
            subject: A Service, or ``"database"``.
            at: When, in seconds.
        """
        self._stalls[subject].append(at)

    def is_slow(self, subject: str) -> None:
        """Note that somebody may be held up at any time.

        Args:
            subject: A Service.
        """
        self._slow.add(subject)

    def claim(self, claim: Claim) -> None:
        """Note what somebody says."""
        self._claims.append(claim)

    def judge(self, now: float) -> list[Claim]:
        """Return which claims have no reason, of those that are old enough for the reason to be known.

        Args:
            now: The time, in seconds; infinity to judge all of them.
        """
        unfounded = []
        while self._claims and self._claims[0].at < now - 2 * AFTER:
            claim = self._claims.popleft()
            if not self._has_reason(claim):
                unfounded.append(claim)
        return unfounded

    def _has_reason(self, claim: Claim) -> bool:
        earliest, latest = claim.at - BEFORE, claim.at + AFTER
        if claim.kind in {"busy", "database"}:
            return claim.subject in self._slow or any(earliest <= at <= latest for at in self._stalls[claim.subject])
        for begin, end in self._downs[claim.subject]:
            # who was cut off must have been so within that time; who is not there may have been so for long
            if earliest <= begin <= latest or (
                claim.kind not in {"lost", "left"} and begin <= latest and end >= earliest
            ):
                return True
        return False


WORDS: Final = {
    "lost": "lost its connection with the {}, which went on",
    "refused": "was refused a connection by the {}, which was there",
    "left": "was told that {} had left, which it had not",
    "unknown": "was told that {} is not connected, which it was",
    "database": "was told that the {} is locked, which it was not",
    "busy": "was told that {} is busy, which it had no reason to be",
}
"""What a claim without a reason is called."""
