"""What is to be sent to one peer, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from msl_network.outbox import PORTION, Outbox, Touched, flush

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire:
    """A transport that takes so many bytes until it has enough."""

    certificate = None

    def __init__(self, outbox: Outbox, room: int = 0) -> None:
        self.outbox = outbox
        self.room = room
        self.unsent = 0
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.unsent += len(data)
        if self.unsent > self.room:
            self.outbox.pause()

    def send(self, count: int) -> None:
        """Let the peer read."""
        self.unsent -= min(count, self.unsent)
        if not self.unsent:
            self.outbox.resume()

    def abort(self) -> None:
        raise AssertionError

    def pause_reading(self) -> None:
        raise AssertionError

    def resume_reading(self) -> None:
        raise AssertionError

    def call_soon(self, callback: Callable[[], None]) -> None:
        raise AssertionError


# asked for anew each time, which a type checker does not expect of a property
def is_full(outbox: Outbox) -> bool:
    return outbox.is_full


def is_congested(outbox: Outbox) -> bool:
    return outbox.is_congested


def is_stuck(outbox: Outbox) -> bool:
    return outbox.is_stuck


def make(limit: int = 1000, timeout: float = 5.0) -> tuple[Outbox, Wire, list[str]]:
    overflows: list[str] = []
    outbox = Outbox(limit, timeout, [], lambda: overflows.append("over"))
    wire = Wire(outbox)
    outbox.transport = wire
    return outbox, wire, overflows


@given(st.lists(st.one_of(st.binary(max_size=30).map(bytes), st.integers(1, 50)), max_size=60))
def test_order_and_size(steps: list[bytes | int]) -> None:
    """Whatever comes in and however slowly it is read, all bytes arrive in order, and what is kept is counted."""
    outbox, wire, _ = make(limit=10**9)
    put = b""
    for step in steps:
        if isinstance(step, bytes):
            outbox.put(step)
            put += step
            outbox.flush()
        else:
            wire.send(step)
        assert outbox.size == len(put) - len(b"".join(wire.written))
    while outbox.size:
        wire.send(1000)
    assert b"".join(wire.written) == put


def test_portions() -> None:
    """Much is handed on in portions, each when the one before was sent: the transport copies what it keeps."""
    outbox, wire, _ = make(limit=100 * PORTION)
    parts = [bytes([number]) * (PORTION // 3) for number in range(20)] + [b"big" * PORTION, b"end"]
    outbox.put_all(parts)
    outbox.flush()
    assert len(wire.written) == 1
    while outbox.size:
        wire.send(2**30)
    assert b"".join(wire.written) == b"".join(parts)
    assert max(len(data) for data in wire.written) == 3 * PORTION
    assert sorted(len(data) for data in wire.written)[-2] <= PORTION


def test_flush_once() -> None:
    """An outbox that was touched often is flushed once."""
    touched: list[Touched] = []
    outbox = Outbox(1000, 5.0, touched, lambda: None)
    wire = Wire(outbox, room=1000)
    outbox.transport = wire
    outbox.put_all([b"a", b"b"])
    outbox.put(b"c")
    assert touched == [outbox]
    flush(touched)
    outbox.put(b"d")
    assert touched == [outbox]
    flush(touched)
    assert wire.written == [b"abc", b"d"]


def test_overflow() -> None:
    """Beyond the limit nothing more is kept, and somebody is told; what is kept stays."""
    outbox, wire, overflows = make(limit=10)
    outbox.pause()
    outbox.put(b"12345")
    assert not is_congested(outbox)
    outbox.put(b"678901")
    assert is_congested(outbox)
    assert is_full(outbox)
    outbox.put(b"x")
    assert overflows == ["over"]
    outbox.put_all([b"x", b"y"])
    assert overflows == ["over", "over"]
    assert outbox.size == 11
    outbox.resume()
    assert wire.written == [b"12345678901"]
    assert not is_full(outbox)


def test_stuck() -> None:
    """An outbox of which nothing is taken for too long is stuck, and full; it is not when anything is taken."""
    outbox, wire, _ = make(timeout=5)
    outbox.look(0)
    outbox.put(b"x" * 100)
    outbox.flush()
    outbox.look(10)
    outbox.look(14.9)
    assert not is_stuck(outbox)
    wire.unsent -= 1
    outbox.look(15)
    outbox.look(19.9)
    assert not is_full(outbox)
    outbox.look(20)
    assert is_stuck(outbox)
    assert is_full(outbox)
    wire.unsent -= 1
    outbox.look(21)
    assert not is_stuck(outbox)
    outbox.look(26)
    assert is_stuck(outbox)
    wire.send(1000)
    outbox.look(27)
    assert not is_full(outbox)


def test_closed() -> None:
    """A closed outbox keeps nothing, and complains of nothing."""
    outbox, wire, overflows = make(limit=10)
    outbox.pause()
    outbox.put(b"x" * 11)
    outbox.close()
    for _ in range(3):
        outbox.put(b"y" * 11)
    outbox.resume()
    outbox.look(99)
    assert (outbox.size, wire.written, overflows, outbox.is_stuck) == (0, [], [], False)
