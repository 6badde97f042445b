"""Host names of peers, found off the event loop.

Rule of this file: a look-up costs a peer at most the time limit, an address is asked for once at a time, and
the answer (also "none") is kept; that there was none in time is kept for a short while only. Reverse DNS
that does not answer thus holds up nobody. It must not know peers.
"""

from __future__ import annotations

import re
import socket
import time
from collections import OrderedDict
from typing import Final

import anyio

from .threads import Threads

__all__ = ["Resolver"]

MAX_NAMES: Final = 1024
"""How many answers are kept; a laboratory has fewer computers."""

MAX_LOOKUPS: Final = 8
"""How many look-ups may hang at a time; while they do, an address stands for its name."""

KEEP: Final = 300.0
"""How long an answer is kept, in seconds: names of computers change seldom, but they do."""

_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
"""What can be the name of another computer, if it is not that of each: ``localhost``."""

KEEP_LATE: Final = 20.0
"""How long it is kept, in seconds, that there was no answer in time; the next may be."""


class Resolver:
    """Finds and keeps host names.

    Args:
        timeout: How long a look-up may take, in seconds; after it the address stands for the name.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        """How long a look-up may take, in seconds."""
        self._names: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._running: dict[str, anyio.Event] = {}
        self._threads = Threads(MAX_LOOKUPS, "host names")

    async def lookup(self, ip_address: str) -> str:
        """Return the fully qualified host name of an address, or the address itself.

        Args:
            ip_address: The numeric address.
        """
        while True:
            kept = self._names.get(ip_address)
            if kept is not None and kept[1] > time.monotonic():
                return kept[0]
            running = self._running.get(ip_address)
            if running is None:
                return await self._ask(ip_address)
            await running.wait()

    def close(self) -> None:
        """Have the threads end that look up nothing."""
        self._threads.close()

    async def _ask(self, ip_address: str) -> str:
        done = self._running[ip_address] = anyio.Event()
        name, keep = ip_address, KEEP_LATE
        try:
            with anyio.move_on_after(self.timeout):
                name = await self._threads.run(_host_name, ip_address)
                keep = KEEP
            # not reached if whoever asked was cancelled, which says nothing about the address
            self._names.pop(ip_address, None)
            self._names[ip_address] = (name, time.monotonic() + keep)
            if len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)
        finally:
            del self._running[ip_address]
            done.set()
        return name


def _host_name(ip_address: str) -> str:
    """Return the name that a name server has for an address; whoever has the address may have written it."""
    try:
        name = socket.getfqdn(ip_address)
    except (OSError, UnicodeError):
        return ip_address
    is_name = _NAME.fullmatch(name) is not None and name.casefold().partition(".")[0] != "localhost"
    return name if is_name else ip_address
