"""What clients do that are let in and should not have been.

Rule of this file: as that of :mod:`benchmarks.chaos.rogue_strangers`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .wire import Gone, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rogue import Rogue
    from .wire import Wire

__all__ = ["MISDEEDS", "NONSENSE"]

MARGIN: Final = 30.0
"""How long an answer may take on a busy computer, in seconds."""

LARGE: Final = 200_000

NONSENSE: Final = (
    b"{}",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"[[[[",
    b'{"result": 1}',
    b'{"error": true}',
    b'{"attribute": 1, "service": "Echo1", "args": [], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "echo", "service": 1, "args": [], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "echo", "service": "Echo1", "args": {}, "kwargs": {}, "uid": "x"}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": [], "uid": "x"}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": {}, "uid": "notification"}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": {}, "uid": {}}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": {}, "uid": NaN}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": {}, "error": true, "uid": "x"}',
    b'{"attribute": "echo", "service": "Echo1", "args": [], "kwargs": {}, "uid": "' + b"u" * 2000 + b'"}',
    b'{"attribute": "link", "service": "Manager", "args": [], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "link", "service": "Manager", "args": ["\\ud800"], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "\\ud800", "service": "\\ud800", "args": ["\\ud800"], "kwargs": {}, "uid": "\\ud800"}',
    b'{"attribute": "acquire_lock", "service": "Manager", "args": [[]], "kwargs": {"shared": {}}, "uid": "x"}',
    b'{"attribute": "release_lock", "service": "Manager", "args": [{}], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "_loop.stop", "service": "Manager", "args": [], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "emit_notification", "service": "Echo1", "args": ["forged", 1], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "_boot", "service": "Echo1", "args": [], "kwargs": {}, "uid": "x"}',
    b'{"attribute": "start", "service": "Echo1", "args": [], "kwargs": {}, "uid": "x"}',
    b"\xff\xfe\x00",
    b"",
    b"   ",
    b"identity",
    b"link Echo1",
    b"linker Echo1",
    b"Echo1 echo 'unbalanced",
    b"Bench held",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"1" * 5000,
)
"""Lines that are no message, or not one that a peer may send."""


def talk_nonsense(rogue: Rogue) -> None:
    """Send lines that are no messages; the connection must stay, and a request be answered."""
    wire, name = rogue.client()
    for _ in range(rogue.random.randint(1, 40)):
        wire.send(rogue.random.choice(NONSENSE) + rogue.random.choice([b"\n", b"\r\n"]))
    wire.send(request("Manager", "identity", uid="after"))
    answer = wire.await_uid("after", MARGIN)
    if answer is None or answer["error"] or name not in answer["result"]["clients"]:
        rogue.problem("wrong", f"after nonsense, identity is answered with {str(answer)[:300]}")


def forge(rogue: Rogue) -> None:
    """Send replies and notifications as if one were a service."""
    wire, _ = rogue.client()
    names = rogue.names_of_clients(wire)
    for _ in range(200):
        requester = rogue.random.choice(names)
        uid = str(rogue.random.randint(1, 500))
        wire.send({"error": False, "requester": requester, "result": "forged", "uid": uid})
    for service in rogue.services:
        wire.send({"error": False, "result": [["forged", 1], {}], "service": service, "uid": "notification"})


def crash(rogue: Rogue) -> None:
    """End the connection with calls pending, in the way that a crash does, or in another."""
    wire, _ = rogue.client()
    service = rogue.random.choice(rogue.services)
    for _ in range(rogue.random.randint(1, 30)):
        wire.send(rogue.echo(service, "x" * 1000, 0.3))
    rogue.pause(0.1)
    match rogue.random.randrange(5):
        case 0:
            wire.reset()
        case 1:
            wire.send(request("Manager", "__disconnect__"))
            wire.line(1.0)
        case 2:
            wire.send(b'{"args": [], "attribute": "ec')
        case 3:
            wire.half_close()
            wire.line(1.0)
        case _:
            wire.close()


def lock_and_die(rogue: Rogue) -> None:
    """Take the lock of a service and crash."""
    wire, _ = rogue.client()
    wire.send(request("Manager", "link", rogue.bench, uid="link"))
    wire.send(request("Manager", "acquire_lock", rogue.bench, shared=rogue.random.random() < 0.3, uid="lock"))
    wire.await_uid("lock", MARGIN)
    rogue.pause(0.2)
    if rogue.random.random() < 0.5:
        wire.reset()


def break_in(rogue: Rogue) -> None:
    """Call a locked service without a link; the Manager must refuse."""
    owner, _ = rogue.client()
    _, name = rogue.known_service(owner)
    owner.send(request("Manager", "link", name, uid="link"), request("Manager", "acquire_lock", name, uid="lock"))
    lock = owner.await_uid("lock", MARGIN)
    if lock is None or lock["error"]:
        rogue.problem("wrong", f"a lock that nobody else wants is answered with {lock}")
    other, _ = rogue.client()
    other.send(request(name, "echo", uid="call"), request("Manager", "link", name, uid="link"))
    for uid in ("call", "link"):
        answer = other.await_uid(uid, MARGIN)
        if answer is None or not str(answer.get("message")).startswith("PermissionError: "):
            rogue.problem("lock", f"a {uid} by who has no lock is answered with {answer}")


def read_nothing(rogue: Rogue) -> None:
    """Ask for more than the Manager keeps for a client, and do not read it: it must throw us out, not wait."""
    wire, _ = rogue.client()
    service = rogue.random.choice(rogue.services)
    wire.timeout = 2.0
    for _ in range(rogue.random.randint(5, 60)):
        wire.send(rogue.echo(service, LARGE, 0.0, "blow"))
    rogue.pause(5.0)
    if rogue.random.random() < 0.5:
        end = time.monotonic() + 5.0
        while time.monotonic() < end and not rogue.is_enough:  # late, and slowly
            wire.line(0.1)


def listen_to_nothing(rogue: Rogue) -> None:
    """Be linked with services that notify, and do not read for a while."""
    wire, _ = rogue.client()
    for service in rogue.services:
        wire.send(request("Manager", "link", service, uid=f"link {service}"))
    rogue.pause(12.0)
    if rogue.random.random() < 0.5:
        wire.reset()


def flood(rogue: Rogue) -> None:
    """Send more requests than may be unanswered; each must be answered once, and be it that it is too many."""
    wire, _ = rogue.client()
    number = int(rogue.limits["pending"]) + rogue.random.randint(-50, 500)
    wire.send(*(request(rogue.bench, "held", uid=str(uid)) for uid in range(number)))
    waiting = set(map(str, range(number)))
    deadline = time.monotonic() + 2 * MARGIN
    while waiting and (remaining := deadline - time.monotonic()) > 0:
        message = wire.message(remaining)
        if message is None:
            break
        if message["uid"] not in waiting:
            rogue.problem("doubled", f"got an answer that was not waited for: {str(message)[:300]}")
        waiting.discard(message["uid"])
        if rogue.is_enough:
            return
    if waiting:
        rogue.problem("lost", f"{len(waiting)} of {number} calls at once have no answer")


def ask_the_same(rogue: Rogue) -> None:
    """Use the same uid for all calls; there must be as many answers as there are calls."""
    wire, _ = rogue.client()
    number = rogue.random.randint(2, 50)
    wire.send(*(request(rogue.bench, "held", uid="same") for _ in range(number)))
    wire.send(request("Manager", "identity", uid="same"))
    for count in range(number + 1):
        if wire.await_uid("same", MARGIN) is None:
            rogue.problem("lost", f"{number + 1} calls of the same uid have {count} answers")
            return
    if wire.await_uid("same", 0.1) is not None:
        rogue.problem("doubled", f"{number + 1} calls of the same uid have more answers than that")


def leave_the_prompt(rogue: Rogue) -> None:
    """Ask for what only an administrator may, and answer nothing; other requests must be answered meanwhile."""
    wire, _ = rogue.client()
    wire.send(request("Manager", "users_table.usernames", uid="admin"))
    prompt = wire.message(MARGIN)
    if prompt is None or prompt.get("attribute") != "username":
        rogue.problem("wrong", f"instead of a prompt, the Manager says {prompt}")
        return
    wire.send(request("Manager", "unlink", "", uid="meanwhile"))
    if wire.await_uid("meanwhile", MARGIN) is None:
        rogue.problem("lost", "while an administrator is asked for his name, nothing else is answered")
    if rogue.random.random() < 0.5:
        return
    if rogue.random.random() < 0.5:
        wire.send({"result": "nobody"}, {"result": "wrong"})
    answer = wire.await_uid("admin", rogue.limits["prompt_timeout"] + MARGIN)
    if answer is None or not answer["error"]:
        rogue.problem("wrong", f"who is no administrator is answered with {answer}")


def speak_too_long(rogue: Rogue) -> None:
    """Send a line that is longer than the limit, or cut one that is not."""
    wire, _ = rogue.client()
    line = b'{"args": ["' + b"x" * rogue.random.choice([1_000_000, 5_000_000])
    try:
        for begin in range(0, len(line), 100_000):
            wire.send(line[begin : begin + 100_000])
    except Gone:
        return
    if rogue.random.random() < 0.5:
        wire.reset()


def link_and_unlink(rogue: Rogue) -> None:
    """Link and unlink again and again, without waiting for anything."""
    wire, _ = rogue.client()
    service = rogue.random.choice(rogue.services)
    for number in range(rogue.random.randint(1, 200)):
        attribute = rogue.random.choice(["link", "unlink", "release_lock"])
        wire.send(request("Manager", attribute, service, uid=str(number)))
    wire.send(request("Manager", "unlink", "", uid="end"))
    if wire.await_uid("end", MARGIN) is None:
        rogue.problem("lost", "after linking and unlinking again and again, nothing is answered")


def come_too_many(rogue: Rogue) -> None:
    """Link with a service that takes one client only, and call it without a link: the Manager must refuse."""
    _, name = rogue.known_service(max_clients=1)
    wires: list[Wire] = []
    for _ in range(2):
        wire, _ = rogue.client()
        wires.append(wire)
        wire.send(request("Manager", "link", name, uid="link"))
        answer: dict[str, Any] | None = wire.await_uid("link", MARGIN)
        if answer is None or answer["error"] != (len(wires) > 1):
            rogue.problem("wrong", f"link number {len(wires)} with who takes 1 is answered with {answer}")
    wires[1].send(request(name, "echo", uid="call"))
    answer = wires[1].await_uid("call", MARGIN)
    if answer is None or not str(answer.get("message")).startswith("PermissionError: "):
        rogue.problem("wrong", f"a call without a link to who takes no more is answered with {answer}")


MISDEEDS: Final[dict[str, Callable[[Rogue], None]]] = {
    "talks nonsense": talk_nonsense,
    "forges replies as a client": forge,
    "leaves with calls pending": crash,
    "takes a lock and dies": lock_and_die,
    "calls who is locked": break_in,
    "asks for much and reads nothing": read_nothing,
    "is linked and reads nothing": listen_to_nothing,
    "floods with calls": flood,
    "uses one uid for all calls": ask_the_same,
    "leaves the prompt unanswered": leave_the_prompt,
    "says a line that is too long": speak_too_long,
    "links and unlinks again and again": link_and_unlink,
    "comes as one too many": come_too_many,
}
