"""Who is about to be let in: only so many, and those who say nothing make room."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import pytest

from msl_network.waiting_room import GRACE, WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


class Visitor:
    """Somebody who is silent for so long."""

    def __init__(self, ip_address: str = "192.0.2.1", silent: float = 10 * GRACE) -> None:
        self.ip_address = ip_address
        self.silent_since = monotonic() - silent
        self.reason = ""

    def show_out(self, reason: str) -> None:
        self.reason = reason


@contextmanager
def guest(room: WaitingRoom, visitor: Visitor) -> Iterator[None]:
    """Have somebody in the room while this is open, or until it has to leave."""
    room.enter(visitor)
    yield
    room.leave(visitor)


async def test_room_for_all() -> None:
    """As long as there are places nobody waits, and nobody leaves for another."""
    room = WaitingRoom(2)
    first, second = Visitor(), Visitor()
    await room.place()
    with guest(room, first):
        await room.place()
        with guest(room, second):
            assert len(room) == 2
    assert len(room) == 0
    assert not first.reason


async def test_most_silent_leaves() -> None:
    """If there is no place, whoever is silent for longest leaves; who does not have to speak stays."""
    room = WaitingRoom(3)
    longest, shorter, working = Visitor(silent=20), Visitor(silent=10), Visitor(silent=-inf)
    with guest(room, working), guest(room, shorter), guest(room, longest):
        await room.place()
        assert "3 peers were about to connect" in longest.reason
        with guest(room, Visitor()):
            room.leave(longest)  # as its connection ends
            assert len(room) == 3
        assert not shorter.reason
        assert not working.reason


async def test_crowded_address_first() -> None:
    """Whoever fills the room from one address takes no place of the others."""
    room = WaitingRoom(5)
    stranger = Visitor("198.51.100.7", silent=99)
    crowd = [Visitor(silent=number) for number in range(2, 6)]
    with (
        guest(room, stranger),
        guest(room, crowd[0]),
        guest(room, crowd[1]),
        guest(room, crowd[2]),
        guest(room, crowd[3]),
    ):
        await room.place()
        assert crowd[3].reason
        assert not stranger.reason


async def test_nobody_leaves_before_it_could_speak() -> None:
    """Who has just come is not sent away: the next one waits until it was silent for a while, or leaves."""
    room = WaitingRoom(1)
    fresh = Visitor(silent=0)
    with guest(room, fresh):
        with anyio.move_on_after(GRACE / 10) as scope:
            await room.place()
        assert scope.cancelled_caught
        await room.place()
        assert fresh.reason
        assert monotonic() - fresh.silent_since >= GRACE


async def test_place_when_somebody_leaves() -> None:
    """A place is free at once when somebody is let in, or leaves."""
    room = WaitingRoom(1)
    busy = Visitor(silent=-inf)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as task_group:
            with guest(room, busy):
                task_group.start_soon(room.place)
                await anyio.wait_all_tasks_blocked()
                room.leave(busy)
    assert not busy.reason


async def test_make_room() -> None:
    """If the system has no room for another connection, whoever is silent for longest leaves, if anybody is."""
    room = WaitingRoom(100)
    assert not room.make_room()
    fresh, old = Visitor(silent=0), Visitor("192.0.2.2")
    with guest(room, fresh):
        assert not room.make_room()
        with guest(room, old), guest(room, Visitor("192.0.2.2", silent=-inf)):
            assert room.make_room()
            assert old.reason
            assert not fresh.reason
            assert room.shown_out == 1
