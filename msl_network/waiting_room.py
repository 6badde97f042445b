"""Who is connected but not let in yet: only so many, and those who say nothing make room.

    accept --> place --> enter --> ... handshake ... --> leave
                 |
                 `-- full: wait until somebody leaves, or show out who is silent for longest

Rule of this file: who is silent has had the time to speak (`GRACE`) before it is shown out, and it is taken from the
address that fills most places, so that no computer can keep the others out. It must not know what a peer is asked,
or any socket.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import Final, Protocol

import anyio

__all__ = ["GRACE", "Guest", "WaitingRoom"]

GRACE: Final = 2.0
"""How long a peer may be silent before it makes room for another, in seconds. A program answers in milliseconds, but a
thousand of them that come at once to a busy computer, each with a TLS handshake of 1 ms, do not."""


AT_A_TIME: Final = 64
"""How many make room when the system has none: those who come next may be as silent."""


class Guest(Protocol):
    """Somebody who waits to be let in."""

    @property
    def ip_address(self) -> str:
        """Where it comes from."""

    @property
    def silent_since(self) -> float:
        """When it began to say nothing though it is its turn, by `time.monotonic`; infinity if it is not."""

    def show_out(self, reason: str) -> None:
        """Close the connection now."""


class WaitingRoom:
    """Keeps who is about to be let in.

    Args:
        places: How many may be.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.shown_out = 0
        """How many had to leave for others."""
        self._guests: dict[str, dict[Guest, None]] = {}
        self._count = 0
        self._changed = anyio.Event()

    def __len__(self) -> int:
        return self._count

    async def place(self) -> None:
        """Wait until there is a place for one more."""
        while self._count >= self.places:
            silent = self._most_silent()
            wait = inf if silent is None else silent.silent_since + GRACE - monotonic()
            if silent is not None and wait <= 0:
                self._show_out(silent, f"closed to make room: {self.places} peers were about to connect, it was silent")
                continue
            self._changed = anyio.Event()
            with anyio.move_on_after(wait):
                await self._changed.wait()

    def make_room(self) -> bool:
        """Show out those who are silent for longest, a few at a time, because the system has no room for another.

        Returns:
            Whether there was anybody.
        """
        count = 0
        while count < AT_A_TIME:
            silent = self._most_silent()
            if silent is None or silent.silent_since + GRACE > monotonic():
                break
            self._show_out(silent, "closed to make room: the system has none for another connection, and it was silent")
            count += 1
        return count > 0

    def enter(self, guest: Guest) -> None:
        """Keep a guest until it leaves."""
        self._guests.setdefault(guest.ip_address, {})[guest] = None
        self._count += 1

    def leave(self, guest: Guest) -> None:
        """Note that somebody waits no longer; again is fine."""
        neighbours = self._guests.get(guest.ip_address, {})
        if guest not in neighbours:
            return
        del neighbours[guest]
        if not neighbours:
            del self._guests[guest.ip_address]
        self._count -= 1
        self._changed.set()

    def _most_silent(self) -> Guest | None:
        """Return who is silent for longest, of those from the address that most come from and that has any."""
        for neighbours in sorted(self._guests.values(), key=len, reverse=True):
            guest = min(neighbours, key=lambda guest: guest.silent_since)
            if guest.silent_since < inf:
                return guest
        return None

    def _show_out(self, guest: Guest, reason: str) -> None:
        self.shown_out += 1
        self.leave(guest)
        guest.show_out(reason)
