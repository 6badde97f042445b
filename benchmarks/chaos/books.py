"""What one good client of a chaos run keeps books of, whichever library it uses: its links, its calls, what it got.

Rule of this file: it says what is to be done next and takes what came of it; no I/O. It must not know how anything is
done, nor what is right: that knows :mod:`benchmarks.chaos.check`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .calls import NOBODY, Call, Script, told
from .check import Ledger, Sequence, link_reason

if TYPE_CHECKING:
    from .part import Part

__all__ = ["BREAK", "Books", "Link"]

SECONDS: Final = 1.0

ENOUGH: Final = 3
"""How many right answers from each Service show that a client has got through."""

STAY: Final = 30 * SECONDS
"""How long a client stays until it leaves and comes back, on average."""

AGAIN: Final = 0.25 * SECONDS
"""How long a client waits until it tries again to link with a Service that was not there."""

BREAK: Final = 0.03 * SECONDS
"""How long a client does nothing between its calls, on average."""

MOST_LARGE: Final = 4
"""How many large calls a client makes at a time: together they are less than half of what may wait for it, or it would
lose notifications."""

REGARDLESS: Final = 0.03
"""How often a Service is called although the client is not linked with it: so it learns that it is not there."""


@dataclass(eq=False)
class Link:
    """A link with a Service.

    Args:
        service: The name of the Service.
        sequence: Its notifications.
        boot: With which connection of the Service it is, as far as is known.
        at: Since when it has been there, in seconds.
    """

    service: str
    sequence: Sequence
    boot: str
    at: float


class Books:
    """The books of one client.

    Args:
        part: What the process is for.
        name: The name of the client; no two of a run have the same.
        is_direct: Whether there is nobody between it and the Manager.
        is_ordered: Whether it sees notifications and replies in the order in which they came.
    """

    def __init__(self, part: Part, name: str, *, is_direct: bool, is_ordered: bool) -> None:
        self.name = name
        self.is_direct = is_direct
        self.report = part.report
        self.random = part.chance()
        self.services: list[str] = part.options["services"]
        self.bench: str = part.options["bench"]
        self.script = Script(name, self.services, self.random)
        self.ledger = Ledger(name, self.report, part.bound)
        self.links: dict[str, Link] = {}
        self.has_settled = False
        self._is_ordered = is_ordered
        self._boots: dict[str, str] = {}
        self._next_link: dict[str, float] = {}
        self._leave_at = 0.0
        self._good_before: dict[str, int] = {}

    # the connection

    def connected(self) -> None:
        """Note that there is a connection."""
        self.ledger.leave()
        self.links.clear()
        self._boots.clear()
        self._next_link.clear()
        self._leave_at = self.report.clock() + self.random.expovariate(1 / STAY)

    def refused(self, why: object) -> None:
        """Note that there is none."""
        self.report.count("a client could not connect")
        if self.is_direct:
            self.report.claim("refused", "Manager", f"{self.name} ({why})")

    def lost(self, why: object) -> None:
        """Note that the connection has ended, although it was wanted."""
        self.ledger.disconnected(is_direct=self.is_direct, why=str(why))

    @property
    def is_time_to_leave(self) -> bool:
        """Whether it is time to leave, and to come back."""
        return self.report.clock() > self._leave_at

    # links

    def to_link(self) -> list[str]:
        """Return with which Services a link is to be made now."""
        now = self.report.clock()
        missing = [name for name in self.services if name not in self.links and self._next_link.get(name, 0.0) < now]
        self._next_link.update(dict.fromkeys(missing, now + AGAIN))
        return missing

    def linked(self, service: str) -> Link:
        """Note that there is a link, and return it."""
        sequence = Sequence(self.name, service, self.report, is_ordered=self._is_ordered)
        link = self.links[service] = Link(service, sequence, self._boots.get(service, ""), self.report.clock())
        return link

    def not_linked(self, service: str, message: str) -> None:
        """Note that the Manager refuses a link.

        Args:
            service: The name of the Service.
            message: What the Manager says, ``ClassName: text``.
        """
        kind = link_reason(message, service)
        if kind:
            self.report.claim(kind, service, self.name)
        else:
            self.report.problem("wrong", f"{self.name}: link with {service} is answered with {message[:300]!r}")

    def notified(self, link: Link, service: object, args: list[Any]) -> None:
        """Take a notification that came over a link; one that was forgotten may still be told of some."""
        if self.links.get(link.service) is link:
            boot, number = args if len(args) == 2 else ("", args)
            link.sequence.take(service, boot, number)

    def incomplete(self) -> list[Link]:
        """Return the links whose notifications have not all come that replies told of."""
        return [link for link in self.links.values() if not link.sequence.is_complete]

    def miss(self) -> None:
        """Note that the notifications that have not come are not waited for any more."""
        for link in self.incomplete():
            text = f"{self.name}, linked with {link.service}: {link.sequence.missing}"
            self.report.problem("lost notification", text)

    # calls

    def batch(self) -> list[Call]:
        """Return the calls to make now, all at once."""
        return [call for call in self.script.batch() if self._makes_sense(call)]

    def result(self, number: int, result: Any) -> None:
        """Take a result."""
        waiting = self.ledger.waiting.get(number)
        self.ledger.result(number, result)
        tale = told(result)
        if waiting is None or tale is None:
            return
        call, begin = waiting
        self._boots[call.service] = tale.boot
        link = self.links.get(call.service)
        if link is None:
            return
        if link.boot != tale.boot:
            # only a connection from before the link until now is known to be the one that it is with
            del self.links[call.service]
        elif begin > link.at:
            link.sequence.told(tale)

    def error(self, number: int, message: str) -> None:
        """Take an error, ``ClassName: text``."""
        waiting = self.ledger.waiting.get(number)
        self.ledger.error(number, message)
        if waiting is not None and message.startswith(("ConnectionAbortedError: ", "KeyError: ")):
            self.links.pop(waiting[0].service, None)

    # the end

    def to_settle(self) -> list[Call]:
        """Return the calls to make to show that each Service can be reached; none when that is shown."""
        good = self.ledger.good
        if not self._good_before:
            self._good_before = {name: good[name] for name in self.services}
        missing = [name for name in self.services if good[name] < self._good_before[name] + ENOUGH]
        if not missing and not self.has_settled:
            self.has_settled = True
            self.report.done(self.name)
        return [self.script.call(name, payload="settle") for name in missing]

    def _makes_sense(self, call: Call) -> bool:
        if call.is_large and sum(other.is_large for other, _ in self.ledger.waiting.values()) >= MOST_LARGE:
            return False
        return call.service in self.links or call.service == NOBODY or self.random.random() < REGARDLESS
