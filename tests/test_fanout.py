"""What a Service tells its Clients, below the socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from hypothesis import given
from hypothesis import strategies as st

from msl_network.fanout import GATHER, Fanout
from msl_network.outbox import Outbox, flush

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_network.outbox import Touched


class Client:
    """A Client that reads when it is told to."""

    def __init__(self, limit: int, touched: list[Touched]) -> None:
        self.outbox = Outbox(limit, 5.0, touched, lambda: None)
        self.outbox.transport = self
        self.enqueue = self.outbox.put
        self.unsent = 0
        self.certificate = None
        self.received = b""
        self.writes = 0

    @property
    def peer(self) -> Client:
        return self

    def write(self, data: bytes) -> None:
        self.received += data
        self.writes += 1

    def lose_notifications(self, service: str, count: int) -> None:
        self.outbox.lost[service] = self.outbox.lost.get(service, 0) + count

    def tell_lost(self, service: str) -> int:
        return self.outbox.lost.pop(service)

    def abort(self) -> None:
        raise AssertionError

    def pause_reading(self) -> None:
        raise AssertionError

    def resume_reading(self) -> None:
        raise AssertionError

    def call_soon(self, callback: Callable[[], None]) -> None:
        raise AssertionError


def make(*limits: int) -> tuple[Fanout, list[Client], list[Touched]]:
    touched: list[Touched] = []
    clients = [Client(limit, touched) for limit in limits]
    service: Any = SimpleNamespace(name="Echo", links=dict.fromkeys(clients))
    return Fanout(service, touched, lambda line, lost: b"%d lost, %b" % (lost, line)), clients, touched


def test_one_piece() -> None:
    """What comes in one chunk is given to each Client in one piece, when the chunk is handled."""
    fanout, clients, touched = make(1000, 1000)
    for number in range(3):
        fanout.add(b"%d\n" % number)
    assert [client.received for client in clients] == [b"", b""]
    flush(touched)
    assert [(client.received, client.writes) for client in clients] == [(b"0\n1\n2\n", 1)] * 2
    assert touched == []
    fanout.add(b"3\n")
    flush(touched)
    assert clients[0].received == b"0\n1\n2\n3\n"
    fanout.flush()
    assert clients[0].writes == 2


def test_not_too_much() -> None:
    """What is gathered is handed on when it is a little more than `GATHER`, so that no outbox is taken by surprise."""
    fanout, (client,), _ = make(10**6)
    for _ in range(100):
        fanout.add(b"x" * (GATHER // 10))
        assert sum(map(len, fanout.waiting)) <= GATHER
    assert client.outbox.size >= 9 * GATHER


def test_lost() -> None:
    """16. Who does not keep up loses what came, counted, and is told with the next; others get all of it."""
    fanout, (slow, fast), touched = make(10, 1000)
    slow.outbox.pause()
    slow.outbox.put(b"123456")
    for number in range(3):
        fanout.add(b"%d\n" % number)
    flush(touched)
    assert slow.outbox.lost == {"Echo": 3}
    slow.outbox.resume()
    fanout.add(b"3\n")
    fanout.add(b"4\n")
    flush(touched)
    assert slow.received == b"1234563 lost, 3\n4\n"
    assert slow.outbox.lost == {}
    assert fast.received == b"0\n1\n2\n3\n4\n"


@given(st.lists(st.sampled_from(["add", "flush", "pause", "resume"])))
def test_all_or_counted(steps: list[str]) -> None:
    """16. Each notification arrives, in order, or is counted, whenever the Client reads."""
    fanout, (client,), touched = make(40)
    sent = told = 0
    for step in [*steps, "flush", "resume", "add", "flush"]:
        if step == "add":
            sent += 1
            fanout.add(b"%d\n" % sent)
        elif step == "flush":
            flush(touched)
        else:
            getattr(client.outbox, step)()
    for line in client.received.splitlines():
        lost, _, number = line.rpartition(b" lost, ")
        told += int(lost or 0) + 1
        assert int(number) == told
    assert told + sum(client.outbox.lost.values()) == sent


def test_nobody_is_linked() -> None:
    """A notification for nobody is gone, and not given to who links later."""
    fanout, (client,), touched = make(100)
    links = cast("dict[Client, None]", fanout._service.links)
    links.clear()
    fanout.add(b"1\n")
    flush(touched)
    links[client] = None
    fanout.add(b"2\n")
    flush(touched)
    assert client.received == b"2\n"
