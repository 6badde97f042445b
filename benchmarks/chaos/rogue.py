"""Somebody who misbehaves: ways to get at the Manager, and to leave nothing open afterwards.

Rule of this file: what a misdeed needs, whichever it is. It must not know any.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .wire import Gone, Wire, request

if TYPE_CHECKING:
    from random import Random

    from typing_extensions import Self

    from .part import Part

__all__ = ["Rogue"]


class Rogue:
    """Somebody who does one bad thing; in a ``with`` statement, whose end closes all its connections.

    Args:
        part: What the process is for.
        random: The chance.
        number: The how manieth of them it is.
    """

    def __init__(self, part: Part, random: Random, number: int) -> None:
        self.part = part
        self.random = random
        self.name = f"Rogue{number}"
        # not that of the good ones: the Manager may take measures against an address
        self.source = f"127.0.0.{2 + number % 200}"
        self.bench: str = part.options["bench"]
        self.services: list[str] = part.options["services"]
        self.limits: dict[str, float] = part.options["limits"]
        self._numbers = itertools.count(random.randrange(10**9))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_enough(self) -> bool:
        """Whether it must stop."""
        return self.part.orders.settle.is_set() or self.part.orders.stop.is_set()

    def pause(self, longest: float) -> None:
        """Wait for some time; not after it must stop.

        Args:
            longest: How long at the most, in seconds.
        """
        if not self.part.orders.settle.is_set():
            self.part.orders.pause(self.random.uniform(0, longest))

    def stranger(self, *, tls: bool = True) -> Wire:
        """Return a connection that nothing was said on.

        Args:
            tls: Whether to use TLS, if the Manager does.
        """
        return self._stack.enter_context(Wire(self.part.direct, tls=tls, source=self.source))

    def client(self) -> tuple[Wire, str]:
        """Return a connection as a client, and the network name."""
        wire = self.stranger()
        return wire, wire.join_client(self.name)

    def service(self, name: str = "", **identity: Any) -> tuple[Wire, str]:
        """Return a connection as a service that the Manager may or may not have let in, and its name.

        Args:
            name: What to call it; something that nobody else is called if empty.
            identity: What else to tell.
        """
        name = name or f"{self.name}Service{self.random.random()}"
        wire = self.stranger()
        wire.join_service(name, **identity)
        return wire, name

    def known_service(self, client: Wire | None = None, **identity: Any) -> tuple[Wire, str]:
        """Return a connection as a service that the Manager has let in, and its name.

        Args:
            client: A client to find that out with; another one if None.
            identity: What else to tell.

        Raises:
            Gone: If the Manager does not let it in.
        """
        wire, name = self.service(**identity)
        if client is None:
            client, _ = self.client()
        while not self.is_enough:
            client.send(request("Manager", "identity", uid="who"))
            answer = client.await_uid("who", wire.timeout)
            if answer is not None and name in answer["result"]["services"]:
                return wire, name
            wire.line(0.02)
        raise Gone("it is enough")

    def names_of_clients(self, client: Wire) -> list[str]:
        """Return the network names of the Clients that are connected.

        Args:
            client: A client to find that out with.
        """
        client.send(request("Manager", "identity", uid="who"))
        answer = client.await_uid("who", client.timeout)
        if answer is None:
            raise Gone("the Manager does not answer")
        return list(answer["result"]["clients"])

    def echo(self, service: str, payload: object, seconds: float, attribute: str = "echo") -> dict[str, Any]:
        """Return a request to a good Service, which counts the calls of each client.

        Args:
            service: The name of the Service.
            payload: What to send, or how much is to come back.
            seconds: How long it is to take.
            attribute: What to ask for.
        """
        number = next(self._numbers)
        return request(service, attribute, self.name, number, payload, seconds, uid=str(number))

    def problem(self, kind: str, text: str) -> None:
        """Tell of something that must not be."""
        self.part.report.problem(kind, f"{self.name}: {text}")
