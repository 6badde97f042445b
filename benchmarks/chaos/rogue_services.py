"""What services do that are let in and should not have been.

Rule of this file: as that of :mod:`benchmarks.chaos.rogue_strangers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .rogue_clients import NONSENSE
from .wire import Gone, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rogue import Rogue
    from .wire import Wire

__all__ = ["MISDEEDS"]

MARGIN: Final = 30.0
"""How long an answer may take on a busy computer, in seconds."""


def answer_for_others(rogue: Rogue) -> None:
    """Reply to calls to other services, and notify in their names."""
    spy, _ = rogue.client()
    names = rogue.names_of_clients(spy)
    wire, _ = rogue.service()
    for _ in range(200):
        requester = rogue.random.choice([*names, "Nobody[nowhere:1]", "Manager[x:1]"])
        uid = str(rogue.random.randint(1, 500))
        wire.send({"error": False, "requester": requester, "result": "forged", "uid": uid})
    for service in rogue.services:
        wire.send({"error": False, "result": [["forged", 1], {}], "service": service, "uid": "notification"})
    rogue.pause(0.2)


def talk_nonsense(rogue: Rogue) -> None:
    """Send lines that are no messages; a call must reach the service all the same."""
    spy, _ = rogue.client()
    wire, name = rogue.known_service(spy)
    for _ in range(rogue.random.randint(1, 40)):
        wire.send(rogue.random.choice(NONSENSE) + rogue.random.choice([b"\n", b"\r\n"]))
    spy.send(request(name, "echo", uid="after"))
    if wire.await_uid("after", MARGIN) is None:
        rogue.problem("lost", "after nonsense, a service gets no request")


def answer_twice(rogue: Rogue) -> None:
    """Reply twice, to others, and with other uids; who has called must get one reply, the right one."""
    client, client_name = rogue.client()
    wire, name = rogue.known_service(client)
    number = rogue.random.randint(1, 50)
    client.send(*(request(name, "echo", uid=f"call {uid}") for uid in range(number)))
    for _ in range(number):
        asked = wire.message(MARGIN)
        if asked is None or asked.get("requester") != client_name:
            rogue.problem("lost", f"instead of a request, a service gets {asked}")
            return
        reply = {"error": False, "requester": client_name, "result": asked["uid"], "uid": asked["uid"]}
        others: list[dict[str, Any]] = [
            reply,
            {**reply, "result": "second"},
            {**reply, "uid": f"no {asked['uid']}"},
            {**reply, "requester": "Nobody[nowhere:1]"},
            {**reply, "requester": name},
            {**reply, "uid": None},
        ]
        wire.send(reply, *rogue.random.choices(others, k=3))
    client.send(request("Manager", "unlink", "", uid="end"))
    waiting = {f"call {uid}" for uid in range(number)}
    while waiting:
        message = client.message(MARGIN)
        if message is None:
            rogue.problem("lost", f"{len(waiting)} of {number} calls have no answer")
            return
        if message["uid"] == "end":
            continue
        if message["uid"] not in waiting or message["result"] != message["uid"]:
            rogue.problem("doubled", f"a client got {message}, it waits for {sorted(waiting)[:5]}")
            return
        waiting.discard(message["uid"])
    wire.send({"error": False, "result": [[1], {}], "service": name, "uid": "notification"})
    message = client.message(0.1)
    if message is not None and message["uid"] != "end":
        rogue.problem("doubled", f"a client that waits for nothing and is not linked got {message}")


def die_with_calls(rogue: Rogue) -> None:
    """Take requests, answer none, and leave: each must be answered, and say that the service left."""
    client, _ = rogue.client()
    wire, name = rogue.known_service(client)
    number = rogue.random.randint(1, 100)
    client.send(*(request(name, "echo", "x" * 1000, uid=str(uid)) for uid in range(number)))
    for _ in range(rogue.random.randint(0, number)):
        wire.line(MARGIN)
    match rogue.random.randrange(4):
        case 0:
            wire.reset()
        case 1:
            wire.send({"service": name, "attribute": "__disconnect__"})
        case 2:
            wire.send(b'{"error": false, "requester": "')
            wire.close()
        case _:
            wire.close()
    waiting = set(map(str, range(number)))
    while waiting:
        message = client.message(MARGIN)
        if message is None:
            rogue.problem("lost", f"a service left, {len(waiting)} of {number} calls to it have no answer")
            return
        text = str(message.get("message"))
        # those that arrive after it has left are told that there is no such service
        if message["uid"] not in waiting or not text.startswith(("ConnectionAbortedError: ", "KeyError: ")):
            rogue.problem("wrong", f"a service left, and a client got {message}")
        waiting.discard(message["uid"])


def read_nothing(rogue: Rogue) -> None:
    """Read no requests: they must be refused when there are too many, and answered when the service leaves."""
    client, _ = rogue.client()
    wire, name = rogue.known_service(client)
    number = rogue.random.randint(10, 100)
    payload = "x" * 200_000
    sent = 0
    try:
        for uid in range(number):
            client.send(request(name, "echo", payload, uid=str(uid)))
            sent += 1
    finally:
        rogue.pause(1.0)
        wire.reset()
    waiting = set(map(str, range(sent)))
    while waiting:
        message = client.message(MARGIN)
        if message is None:
            rogue.problem("lost", f"a service read nothing and left, {len(waiting)} of {sent} calls have no answer")
            return
        text = str(message.get("message"))
        if not text.startswith(("ConnectionAbortedError: ", "KeyError: ", "BlockingIOError: ")):
            rogue.problem("wrong", f"a service read nothing and left, and a client got {message}")
        waiting.discard(message["uid"])


def notify_much(rogue: Rogue) -> None:
    """Notify a client that reads, and one that does not for a while: that one must be told how many it has lost."""
    client, _ = rogue.client()
    deaf, _ = rogue.client()
    wire, name = rogue.known_service(client)
    for linked in (client, deaf):
        linked.send(request("Manager", "link", name, uid="link"))
        if linked.await_uid("link", MARGIN) is None:
            rogue.problem("lost", "a link has no answer")
            return
    number = rogue.random.randint(10, 300)
    text = "x" * rogue.random.choice([10, 1000, 20_000])
    last = 0
    for count in range(1, number + 1):
        wire.send(notification(name, count, text))
        while last < count and (not count % 20 or count == number):
            message = client.message(MARGIN)
            if message is None or message["result"][0][0] != last + 1:
                rogue.problem("lost notification", f"after number {last} of {number} comes {str(message)[:200]}")
                return
            last += 1
        if rogue.is_enough:
            return
    hear_late(rogue, deaf, wire, name, number)


def hear_late(rogue: Rogue, deaf: Wire, wire: Wire, name: str, number: int) -> None:
    """See that a client that did not read has got all notifications, or is told how many are lost."""
    last = 0
    while True:
        message = deaf.message(0.5)
        if message is None:
            if last >= number:
                return
            # those that were lost last are told with the next
            number += 1
            wire.send(notification(name, number, ""))
            message = deaf.message(MARGIN)
        found = message["result"][0][0] if message is not None else None
        lost = message.get("lost", 0) if message is not None else 0
        if found != last + 1 + lost:
            rogue.problem("lost notification", f"after number {last} of {number} comes {found}, told lost are {lost}")
            return
        last = found


def notification(service: str, number: int, text: str) -> dict[str, Any]:
    """Return a notification."""
    return {"error": False, "result": [[number, text], {}], "service": service, "uid": "notification"}


def say_too_long(rogue: Rogue) -> None:
    """Reply with a line that is longer than the limit; who has called must be told something."""
    client, client_name = rogue.client()
    wire, name = rogue.known_service(client)
    client.send(request(name, "echo", uid="call"))
    if wire.await_uid("call", MARGIN) is None:
        rogue.problem("lost", "a service gets no request")
        return
    line = b'{"error": false, "requester": "%s", "uid": "call", "result": "' % client_name.encode()
    try:
        wire.send(line)
        for _ in range(60):
            wire.send(b"x" * 100_000)
        wire.send(b'"}\r\n')
    except Gone:
        pass  # it is thrown out, as it should be
    answer = client.await_uid("call", MARGIN)
    if answer is None or not answer["error"]:
        rogue.problem("lost", f"a reply is longer than the limit, and who waits for it got {str(answer)[:200]}")


MISDEEDS: Final[dict[str, Callable[[Rogue], None]]] = {
    "answers for other services": answer_for_others,
    "talks nonsense as a service": talk_nonsense,
    "answers twice": answer_twice,
    "leaves without having answered": die_with_calls,
    "reads no requests": read_nothing,
    "notifies much": notify_much,
    "answers with a line that is too long": say_too_long,
}
