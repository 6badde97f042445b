"""How long the answers of an address are held back after some of its answers were wrong.

    failures so far     0   1   2   3     4     5     6 ...
    answers are held    -   -   -   1 s   2 s   4 s   5 s

Rule of this file: it counts and computes; who asks it waits. A right answer changes nothing, or whoever has an account
could wipe out the guesses at others; time does. Nobody is locked out: the longest delay is a fixed one. It must not
know what was answered, by whom, or what checks it; the clock is given to it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST", "Throttle", "origin"]

FREE: Final = 2
"""How many failures cost nothing: whoever mistypes a password does so once or twice."""

FIRST: Final = 1.0
"""How long answers are held back after the failure that follows, in seconds; each further one doubles it."""

LONGEST: Final = 5.0
"""The longest delay, in seconds: half of what a peer has to be let in, so that a right answer is still in time."""

KEEP: Final = 600.0
"""How long after its last failure an address has a clean record again, in seconds."""

MAX_ORIGINS: Final = 4096
"""How many addresses are remembered, some 1 MB; the one whose last failure is the oldest is forgotten first."""

ENOUGH: Final = 64
"""Where counting ends: no delay grows that long."""

PREFIX: Final = 64
"""How many bits of an IPv6 address are one origin. A computer may give itself as many addresses within its /64 as it
likes, and is meant to (RFC 7934, RFC 8981), so counting each of them would count nothing."""


def origin(ip_address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 network of an IPv6 address.

    Args:
        ip_address: The numeric address of a peer.
    """
    address = ipaddress.ip_address(ip_address)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"{ipaddress.IPv6Address(int(address) >> PREFIX << PREFIX)}/{PREFIX}"
        address = address.ipv4_mapped
    return str(address)


class Throttle:
    """Remembers the failures of each address, for some time, and says how long its answers are held back.

    Args:
        longest: The longest delay, in seconds.
        clock: Tells the time, in seconds from whenever.
    """

    def __init__(self, longest: float, clock: Callable[[], float]) -> None:
        self.longest = longest
        """The longest delay, in seconds."""
        self.clock = clock
        """Tells the time, in seconds."""
        self._failures: dict[str, tuple[int, float]] = {}  # how many, and when the last; the oldest comes first

    def delay(self, ip_address: str) -> float:
        """Return how long an answer of this address is held back now, in seconds, from the question on.

        Args:
            ip_address: The numeric address of the peer.
        """
        count = self._count(origin(ip_address)) - FREE
        return min(FIRST * 2 ** (count - 1), self.longest) if count > 0 else 0.0

    def fail(self, ip_address: str) -> bool:
        """Note that an attempt to log in failed.

        Args:
            ip_address: The numeric address of the peer.

        Returns:
            Whether it is because of this failure that answers of the address are held back.
        """
        where = origin(ip_address)
        count = min(self._count(where) + 1, ENOUGH)
        self._failures.pop(where, None)
        self._failures[where] = (count, self.clock())
        if len(self._failures) > MAX_ORIGINS:
            del self._failures[next(iter(self._failures))]
        return count == FREE + 1

    def _count(self, where: str) -> int:
        count, last = self._failures.get(where, (0, 0.0))
        return count if self.clock() - last < KEEP else 0
