"""What the good clients of a chaos run ask for, and what the right answer is.

    echo    the client, the number of the call, and the hash of what was sent come back
    blow    a text that is so long, and made of client and number
    fail    an error that names client and number

Rule of this file: chance and arithmetic, no I/O; a Service computes its answers here, and a client checks them
here. It must not know how anything travels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["NOBODY", "Call", "Script", "Told", "answer", "blown", "failure", "told"]

NOBODY: Final = "Nobody"
"""The name of a Service that there never is."""

KILO: Final = 1000

LARGEST: Final = 500 * KILO
"""The longest payload, in bytes: long enough for everything that is special about long messages."""

LARGE: Final = 20 * KILO
"""From how many bytes on a payload is large."""

WINDOW: Final = 40
"""The most calls that a client makes at a time."""

SLOWEST: Final = 1.5
"""The longest time that a Service is asked to take, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call, and what the answer to it must be.

    Args:
        client: Who calls; no two clients of a run have the same name.
        number: The how manieth call of this client it is.
        service: The name of the Service.
        attribute: What is asked for.
        payload: What is sent, or how much is to come back.
        seconds: How long the Service is to take.
        patience: How long the client waits, in seconds; None: until there is an answer.
    """

    client: str
    number: int
    service: str
    attribute: str
    payload: str | int = ""
    seconds: float = 0.0
    patience: float | None = None

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of the call."""
        return (self.client, self.number, self.payload, self.seconds)

    @property
    def is_large(self) -> bool:
        """Whether much is sent, or is to come back."""
        return (self.payload if isinstance(self.payload, int) else len(self.payload)) > LARGE

    @property
    def error(self) -> str:
        """The message of the error that must come back; empty if a result must."""
        return f"ValueError: {failure(self.client, self.number)}" if self.attribute == "fail" else ""

    def mistake(self, result: object) -> str:
        """Return what is wrong with a result; empty if nothing is.

        Args:
            result: What came back.
        """
        if self.attribute == "fail":
            return f"an error was expected, found {_shown(result)}"
        if told(result) is None:
            return f"an answer of a Service was expected, found {_shown(result)}"
        assert isinstance(result, list)
        expected = answer(self.client, self.number, self.payload, self.attribute)
        if result[3:] != expected:
            return f"{_shown(expected)} was expected, found {_shown(result[3:])}"
        return ""


@dataclass(frozen=True)
class Told:
    """What a Service tells of itself with each answer.

    Args:
        boot: Which of its connections this is; no two of a run have the same name.
        begun: How many notifications it had begun to send: no later one has left it.
        ended: How many it had sent: all of these have left it.
    """

    boot: str
    begun: int
    ended: int


def told(result: object) -> Told | None:
    """Return what a Service tells of itself with an answer; None if that is no answer of one.

    Args:
        result: What came back.
    """
    match result:
        case [str(boot), int(begun), int(ended), _, _, _]:
            return Told(boot, begun, ended)
    return None


def answer(client: str, number: int, payload: str | int, attribute: str) -> list[Any]:
    """Return what a Service answers, after what it tells of itself.

    Args:
        client: Who calls.
        number: The number of the call.
        payload: What was sent, or how much is to come back.
        attribute: What is asked for.
    """
    if attribute == "blow":
        return [client, number, blown(client, number, int(payload))]
    return [client, number, hashlib.sha1(str(payload).encode()).hexdigest()]


def blown(client: str, number: int, size: int) -> str:
    """Return a text that no other call has.

    Args:
        client: Who calls.
        number: The number of the call.
        size: How long the text is, in characters.
    """
    piece = hashlib.sha1(f"{client} {number}".encode()).hexdigest()
    return (piece * (size // len(piece) + 1))[:size]


def failure(client: str, number: int) -> str:
    """Return the text of an error that no other call has.

    Args:
        client: Who calls.
        number: The number of the call.
    """
    return f"{client} asked for it in call {number}"


class Script:
    """Makes up the calls of one client.

    Args:
        client: Its name.
        services: The names of the Services.
        random: The chance.
    """

    def __init__(self, client: str, services: Sequence[str], random: Random) -> None:
        self.client = client
        self.services = services
        self.random = random
        self.number = 0

    def call(self, service: str, attribute: str = "echo", **details: Any) -> Call:
        """Return a call of a certain kind.

        Args:
            service: The name of the Service.
            attribute: What is asked for.
            details: Other fields of the call.
        """
        self.number += 1
        return Call(client=self.client, number=self.number, service=service, attribute=attribute, **details)

    def batch(self) -> list[Call]:
        """Return the calls that are to be made next, at once."""
        random = self.random
        service = random.choice(self.services)
        match random.choices(range(8), weights=(40, 20, 4, 4, 5, 8, 3, 4))[0]:
            case 0:
                return [self.call(service, random.choice(["echo", "echo_async"]), payload=self._text(200))]
            case 1:
                return [
                    self.call(random.choice(self.services), payload=self._text(2 * KILO))
                    for _ in range(random.randint(2, WINDOW))
                ]
            case 2:
                return [self.call(service, payload=self._text(LARGEST))]
            case 3:
                return [self.call(service, "blow", payload=random.randint(1, LARGEST))]
            case 4:
                attribute = random.choice(["echo", "echo_async"])
                return [
                    self.call(service, attribute, seconds=random.uniform(0, SLOWEST))
                    for _ in range(random.randint(1, 4))
                ]
            case 5:
                return [self.call(service, "fail")]
            case 6:
                return [self.call(NOBODY)]
            case _:
                return [self.call(service, seconds=random.uniform(0.05, 0.5), patience=random.uniform(0.0, 0.2))]

    def _text(self, longest: int) -> str:
        size = self.random.randint(0, longest)
        return (
            blown(self.client, self.number, size) if self.random.random() < 0.8 else '\u00e9\u4e2d\\"\n' * (size // 12)
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}... ({len(text)} characters)"
