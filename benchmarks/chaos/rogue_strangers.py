"""What those do who never say who they are, or say what must not be accepted.

Rule of this file: a function for each misdeed; it ends by itself, soon, or with `Gone`. What the Manager owes even to
such a peer is checked here. It must not know what the others do.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .wire import Gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rogue import Rogue

__all__ = ["MISDEEDS"]

MARGIN: Final = 15.0
"""How much later than the limit the Manager may close a connection on a busy computer, in seconds."""

IDENTITIES: Final[tuple[Any, ...]] = (
    None,
    5,
    [],
    {},
    "",
    {"type": "manager", "name": "x"},
    {"type": "client"},
    {"type": "client", "name": 1},
    {"type": "client", "name": ""},
    {"type": "client", "name": "x" * 257},
    {"type": "client", "name": "two\nlines"},
    {"type": "client", "name": "\ud800"},
    {"type": "service", "name": "Manager", "attributes": {}},
    {"type": "service", "name": "self", "attributes": {}},
    {"type": "service", "name": "NoAttributes"},
    {"type": "service", "name": "Wrong", "attributes": []},
    {"type": "service", "name": "Wrong", "attributes": {}, "max_clients": "many"},
    {"type": "service", "name": "Wrong", "attributes": {}, "language": {}},
)
"""Whom the Manager must not let in."""


def say_nothing(rogue: Rogue) -> None:
    """Connect and say nothing; the Manager must not keep that for ever."""
    wire = rogue.stranger()
    limit = rogue.limits["handshake_timeout"]
    deadline = time.monotonic() + limit + MARGIN
    while time.monotonic() < deadline:
        wire.line(0.5)
        if rogue.is_enough:
            return
    rogue.problem("half-open", f"is kept for {limit + MARGIN:.0f} s without a word, the limit is {limit:.0f} s")


def drip(rogue: Rogue) -> None:
    """Answer one byte at a time; the limit is for the whole handshake."""
    wire = rogue.stranger()
    limit = rogue.limits["handshake_timeout"]
    deadline = time.monotonic() + limit + MARGIN
    for byte in b'{"result": {"type": "client", "name": "' + b"x" * 10_000:
        if time.monotonic() > deadline:
            rogue.problem("half-open", f"drips for {limit + MARGIN:.0f} s, the limit is {limit:.0f} s")
            return
        if rogue.is_enough:
            return
        wire.send(bytes([byte]))
        wire.line(rogue.random.uniform(0.1, 0.6))


def say_garbage(rogue: Rogue) -> None:
    """Send bytes that are no message; to a Manager with TLS, often bytes that are no TLS either."""
    wire = rogue.stranger(tls=rogue.random.random() < 0.5)
    for _ in range(rogue.random.randint(1, 20)):
        wire.send(rogue.random.randbytes(rogue.random.randint(0, 3000)) + rogue.random.choice([b"", b"\n", b"\r\n"]))
        wire.line(0.01)


def say_hello_only(rogue: Rogue) -> None:
    """Begin with TLS and go no further; without TLS, that is garbage, too."""
    wire = rogue.stranger(tls=False)
    hello = bytes.fromhex("16030100c8010000c40303") + rogue.random.randbytes(200)
    wire.send(hello[: rogue.random.randrange(1, len(hello))])
    wire.line(rogue.random.uniform(0, 2 * rogue.limits["handshake_timeout"]))


def storm(rogue: Rogue) -> None:
    """Connect again and again."""
    for _ in range(rogue.random.randint(10, 150)):
        if rogue.is_enough:
            return
        wire = rogue.stranger(tls=rogue.random.random() < 0.3)
        match rogue.random.randrange(4):
            case 0:
                wire.close()
            case 1:
                wire.reset()
            case 2:
                wire.line(0.02)
                wire.close()
            case _:
                pass  # it stays open until all is over


def speak_too_long(rogue: Rogue) -> None:
    """Send a line that has no end; the Manager must not keep more than its limit."""
    wire = rogue.stranger()
    wire.line(1.0)
    try:
        for _ in range(100):
            wire.send(b"x" * 10_000)
    except Gone:
        return
    deadline = time.monotonic() + MARGIN
    while time.monotonic() < deadline:
        wire.line(0.5)
    rogue.problem("half-open", "sent a line of 1 MB in the handshake, and is not thrown out")


def break_off(rogue: Rogue) -> None:
    """Leave in the middle of the answer."""
    wire = rogue.stranger()
    wire.line(1.0)
    answer = b'{"result": {"type": "service", "name": "Echo1", "attributes": {}}}\r\n'
    wire.send(answer[: rogue.random.randrange(len(answer))])
    if rogue.random.random() < 0.5:
        wire.reset()


def be_nobody(rogue: Rogue) -> None:
    """Say that one is who nobody may be; the Manager must say no."""
    identity = rogue.random.choice(IDENTITIES)
    wire = rogue.stranger()
    wire.shake_hands(identity)
    message = wire.message(MARGIN)
    if message is None or not message.get("error"):
        rogue.problem("wrong", f"the identity {str(identity)[:100]!r} is answered with {message}")


def take_a_name_twice(rogue: Rogue) -> None:
    """Come twice as the same service; only one may be let in."""
    _, name = rogue.known_service()
    other, _ = rogue.service(name)
    message = other.message(MARGIN)
    if message is None or not str(message.get("message")).startswith("NameError: "):
        rogue.problem("wrong", f"a second service of a name is answered with {message}")


def answer_wrongly(rogue: Rogue) -> None:
    """Give a wrong password, if there is one; the Manager must say no."""
    wire = rogue.stranger()
    message = wire.message(MARGIN)
    if message is None or message.get("error") or message["attribute"] == "identity":
        return
    while message is not None and not message.get("error"):
        if message["attribute"] == "identity":
            rogue.problem("wrong", "is let in with a wrong password")
            return
        wire.send({"result": rogue.random.choice(["wrong", "", None, 1, "x" * 10_000, "\x00"])})
        message = wire.message(MARGIN)


MISDEEDS: Final[dict[str, Callable[[Rogue], None]]] = {
    "connects and says nothing": say_nothing,
    "drips in the handshake": drip,
    "says garbage in the handshake": say_garbage,
    "says half a hello": say_hello_only,
    "connects again and again": storm,
    "says 1 MB in the handshake": speak_too_long,
    "breaks off the handshake": break_off,
    "has an impossible identity": be_nobody,
    "takes a name twice": take_a_name_twice,
    "gives a wrong password": answer_wrongly,
}
