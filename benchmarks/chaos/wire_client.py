"""The good clients of a chaos run that see each line of the Manager: no library in between that might hide one.

Rule of this file: it does what the books say is to be done, and enters what came of it; a line that nobody waits for is
a problem. It must not know what is right beyond that.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from .books import BREAK, Books
from .part import in_threads
from .wire import Gone, Wire, request

if TYPE_CHECKING:
    from .calls import Call
    from .part import Part

__all__ = ["run"]

MOST: Final = 60
"""How many calls may wait for an answer when further ones are made."""

IDENTITY: Final = 0.03
"""How often the Manager is asked for its identity, between calls."""

UNLINK: Final = 0.01
"""How often a link is undone, between calls."""


class WireClient:
    """One client, which comes back whenever its connection has ended.

    Args:
        part: What the process is for.
        name: Its name.
        is_direct: Whether there is nobody between it and the Manager.
        is_guessable: Whether the uids of its calls can be guessed by who forges replies.
    """

    def __init__(self, part: Part, name: str, *, is_direct: bool, is_guessable: bool) -> None:
        self.orders = part.orders
        self.report = part.report
        self.bound = part.bound
        self.books = Books(part, name, is_direct=is_direct, is_ordered=True)
        self.random = self.books.random
        self.access = part.access(is_direct=is_direct)
        self.network_name = ""
        self._salt = "" if is_guessable else f"{self.random.random()}."
        self._asked: dict[str, tuple[str, str, float]] = {}
        self._asks = 0
        self._patience: dict[int, float] = {}
        self._unlinked: set[str] = set()

    def run(self) -> None:
        """Connect, call, and do it again, until the end."""
        while not self.orders.stop.is_set():
            try:
                with Wire(self.access) as wire:
                    self.network_name = wire.join_client(self.books.name)
                    self.books.connected()
                    self.stay(wire)
            except Gone as error:
                if self.network_name:
                    self.books.lost(error)
                else:
                    self.books.refused(error)
                self.orders.pause(self.random.uniform(0.05, 0.3))
            self.network_name = ""
            self._asked.clear()
            self._patience.clear()
            self._unlinked.clear()

    def stay(self, wire: Wire) -> None:
        """Call until it is time to leave."""
        books = self.books
        while not self.orders.stop.is_set():
            for service in books.to_link():
                self.ask(wire, "link", service)
            if self.orders.settle.is_set():
                if not books.ledger.waiting:
                    self.send(wire, books.to_settle())
                self.pump(wire, 0.1)
            elif books.is_time_to_leave:
                if not books.ledger.waiting:
                    break
                self.pump(wire, 0.1)
            else:
                if len(books.ledger.waiting) < MOST:
                    self.send(wire, books.batch())
                if self.random.random() < IDENTITY:
                    self.ask(wire, "identity")
                if self.random.random() < UNLINK and books.links:
                    self.unlink(wire, self.random.choice(list(books.links)))
                self.pump(wire, self.random.expovariate(1 / BREAK))
        self.leave(wire)

    def leave(self, wire: Wire) -> None:
        """Say good-bye; the Manager closes the connection then, and whatever waits is not answered any more."""
        wire.send(request("Manager", "__disconnect__", uid=""))
        end = time.monotonic() + self.bound
        try:
            while time.monotonic() < end:
                self.pump(wire, 1.0)
        except Gone:
            self.books.ledger.leave()
        else:
            self.report.problem("lost", f"{self.books.name}: the Manager does not close the connection when asked to")

    def ask(self, wire: Wire, attribute: str, *args: str) -> None:
        """Ask the Manager for something."""
        self._asks += 1
        uid = f"{attribute} {self._asks}"
        self._asked[uid] = (attribute, args[0] if args else "", time.monotonic())
        wire.send(request("Manager", attribute, *args, uid=uid))

    def unlink(self, wire: Wire, service: str) -> None:
        """Undo a link."""
        del self.books.links[service]
        self.ask(wire, "unlink", service)

    def send(self, wire: Wire, calls: list[Call]) -> None:
        """Make calls, all at once."""
        lines = []
        for call in calls:
            self.books.ledger.open(call)
            if call.patience is not None:
                self._patience[call.number] = time.monotonic() + call.patience
            lines.append(request(call.service, call.attribute, *call.args, uid=f"{self._salt}{call.number}"))
        wire.send(*lines)

    def pump(self, wire: Wire, seconds: float) -> None:
        """Take what comes, for so long."""
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            line = wire.line(remaining)
            if line is not None:
                self.take(json.loads(line))
        now = time.monotonic()
        for number in [number for number, deadline in self._patience.items() if deadline < now]:
            del self._patience[number]
            if number in self.books.ledger.waiting:
                self.books.ledger.give_up(number)
        self.books.ledger.overdue()
        for uid in [uid for uid, (_, _, begin) in self._asked.items() if now - begin > self.bound]:
            attribute, argument, _ = self._asked.pop(uid)
            self.report.problem("lost", f"{self.books.name}: {attribute} {argument} has no answer")

    def take(self, message: dict[str, Any]) -> None:
        """Take a line of the Manager."""
        uid = message.get("uid")
        if uid == "notification":
            self.notified(message)
        elif message.get("requester") != self.network_name or not isinstance(uid, str):
            self.strange(message)
        elif uid in self._asked:
            self.answered(*self._asked.pop(uid)[:2], message)
        else:
            number = uid.removeprefix(self._salt)
            if not uid.startswith(self._salt) or not number.isdecimal() or int(number) > self.books.script.number:
                self.strange(message)
            elif message["error"]:
                self.books.error(int(number), message["message"])
            else:
                self.books.result(int(number), message["result"])

    def strange(self, message: dict[str, Any]) -> None:
        """Take what should not have come."""
        text = json.dumps(message)[:300]
        self.report.problem("foreign", f"{self.books.name}, which is {self.network_name}, got {text}")

    def notified(self, message: dict[str, Any]) -> None:
        """Take a notification."""
        service = message.get("service")
        link = self.books.links.get(service) if isinstance(service, str) else None
        if message.get("lost"):
            self.report.problem("lost notification", f"{self.books.name} is told that it lost {message['lost']}")
        if link is not None:
            args, _ = message["result"]
            self.books.notified(link, service, args)
        elif service not in self.books.services or service in self._unlinked:
            self.strange(message)

    def answered(self, attribute: str, service: str, message: dict[str, Any]) -> None:
        """Take an answer of the Manager itself."""
        error = message["message"] if message["error"] else ""
        if attribute == "link":
            self._unlinked.discard(service)
            if error:
                self.books.not_linked(service, error)
            else:
                self.books.linked(service)
        elif attribute == "identity":
            if error or self.network_name not in message["result"]["clients"]:
                text = json.dumps(message)[:300]
                self.report.problem("wrong", f"{self.books.name} is not among the clients: {text}")
        elif not error or "was not linked with" in error:  # the Service may have left and come back
            self._unlinked.add(service)
            self.books.links.pop(service, None)  # a link may have been made while that was on its way
        else:
            self.report.problem("wrong", f"{self.books.name}: unlink from {service} is answered with {error!r}")


def run(part: Part) -> None:
    """Be so many clients, until the end.

    Args:
        part: What the process is for.
    """
    clients = [
        WireClient(part, name, is_direct=is_direct, is_guessable=index % 4 < 2)
        for index, (name, is_direct) in enumerate(part.names().items())
    ]
    in_threads(part, {client.books.name: client.run for client in clients})
