from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from msl_network import sending
from msl_network.sending import NoRoomError, Sender

from .laboratory import DEADLINE, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = b"x" * 8_000_000
"""More than the system keeps for a socket."""


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sender, socket.socket]]:
    monkeypatch.setattr(sending, "IDLE", 0.01)  # or each test would wait for the thread
    near, far = socket.socketpair()
    far.settimeout(DEADLINE)
    with no_thread_left(), near, far:
        sender = Sender(near, None)
        yield sender, far
        sender.close()


def received(far: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = far.recv(1_000_000)
        assert piece
        pieces += piece
    return bytes(pieces)


def test_at_once(pair: tuple[Sender, socket.socket]) -> None:
    """What the system takes is sent at once, and no thread is needed."""
    sender, far = pair
    threads = threading.active_count()
    sender.send(b"one\n")
    sender.send(b"two\n")
    assert received(far, 8) == b"one\ntwo\n"
    assert threading.active_count() == threads


def test_in_order(pair: tuple[Sender, socket.socket]) -> None:
    """Nobody waits for a reader that stands still; later it gets everything, whole and in order."""
    sender, far = pair
    for mark in (b"1", b"2", b"3"):
        sender.send(mark + BIG)
        sender.send(b"small")
    data = received(far, 3 * (1 + len(BIG) + 5))
    assert data == b"".join(mark + BIG + b"small" for mark in (b"1", b"2", b"3"))


def test_many_threads(pair: tuple[Sender, socket.socket]) -> None:
    """Lines of several threads are never mixed."""
    sender, far = pair
    lines = [bytes([65 + number]) * 300_000 + b"\n" for number in range(10)]
    threads = [threading.Thread(target=sender.send, args=(line,)) for line in lines for _ in range(5)]
    for thread in threads:
        thread.start()
    data = received(far, 50 * 300_001)
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(data.splitlines(keepends=True)) == sorted(lines * 5)


def test_no_room(pair: tuple[Sender, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would keep too much waits, until its deadline; nothing of it is sent then."""
    sender, far = pair
    monkeypatch.setattr(sending, "MOST_WAITING", 1_000_000)
    sender.send(BIG)
    with pytest.raises(NoRoomError):
        sender.send(b"never", time.monotonic() + 0.01)
    waiting = threading.Thread(target=sender.send, args=(b"late",))
    waiting.start()
    assert received(far, len(BIG) + 4) == BIG + b"late"
    waiting.join(DEADLINE)
    assert not waiting.is_alive()


def test_close(pair: tuple[Sender, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends the thread, and the waiting for room."""
    sender, _ = pair
    monkeypatch.setattr(sending, "MOST_WAITING", 1_000_000)
    sender.send(BIG)
    errors = []

    def send() -> None:
        try:
            sender.send(b"late")
        except OSError as error:
            errors.append(error)

    waiting = threading.Thread(target=send)
    waiting.start()
    sender.close()
    waiting.join(DEADLINE)
    assert not waiting.is_alive()
    with pytest.raises(ConnectionAbortedError):
        sender.send(b"more")


def test_reader_that_leaves(pair: tuple[Sender, socket.socket]) -> None:
    """When the other side is gone, the next who sends is told."""
    sender, far = pair
    sender.send(BIG)
    far.close()

    def flood() -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            sender.send(b"more")

    with pytest.raises(OSError, match=r"\[Errno"):
        flood()


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was interrupted after TLS has encrypted it cannot be followed by another."""
    near, far = socket.socketpair()

    def encrypt(data: bytes) -> bytes:
        raise KeyboardInterrupt

    with near, far:
        plain, tls = Sender(near, None), Sender(near, encrypt)
        with pytest.raises(KeyboardInterrupt):
            tls.send(b"x")
        assert tls.is_cut
        plain.send(b"x")
        assert not plain.is_cut
