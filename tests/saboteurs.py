"""Plugins that break a Manager, each in a way of its own: a chaos run must find out.

They are copied into the home of a Manager, and so import nothing but what is installed.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from msl_network import Peer, hookimpl
from msl_network.registry import ClientMember

if TYPE_CHECKING:
    from collections.abc import Sequence

OFTEN = 2
"""Every so manieth reply is spoiled: a short run on a busy computer has few."""


class Doubling:
    """Sends some replies of Services twice."""

    def __init__(self) -> None:
        self.count = count(1)

    @hookimpl
    def peer_connecting(self, peer: Peer) -> None:
        enqueue_all = peer.enqueue_all

        def spoiled(parts: Sequence[bytes]) -> None:
            enqueue_all(parts)
            # replies of Services have a line and its end; the Manager's own answers, and notifications, are one part
            if isinstance(peer.member, ClientMember) and not next(self.count) % OFTEN:
                enqueue_all(parts)

        peer.enqueue_all = spoiled


class Leaking:
    """Has a task for each peer that joins, which never ends."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    @hookimpl
    def peer_joined(self, peer: Peer) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))
