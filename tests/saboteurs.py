"""Plugins that break a Manager, each in a way of its own: a chaos run must find out.

They are copied into the home of a Manager, and so import nothing but what is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias
from weakref import WeakSet

from msl_network import Peer, hookimpl
from msl_network.registry import ClientMember

Enqueue: TypeAlias = Callable[..., None]

OFTEN = 2
"""Every so manieth reply is spoiled: a short run on a busy computer has few."""


class Saboteur:
    """Does something to some replies of Services, and nothing else."""

    def __init__(self) -> None:
        self.count = count(1)
        self.clients: WeakSet[Peer] = WeakSet()

    @hookimpl
    def peer_connecting(self, peer: Peer) -> None:
        enqueue = peer.enqueue

        def spoiled(*parts: bytes) -> None:
            # the Manager's own answers have one part, and forwarded replies two
            is_reply = isinstance(peer.member, ClientMember) and len(parts) == 2 and b'"notification"' not in parts[0]
            if is_reply:
                self.clients.add(peer)
            if is_reply and not next(self.count) % OFTEN:
                self.spoil(peer, enqueue, *parts)
            else:
                enqueue(*parts)

        peer.enqueue = spoiled

    def spoil(self, peer: Peer, enqueue: Enqueue, *parts: bytes) -> None:
        raise NotImplementedError


class Doubling(Saboteur):
    """Sends some replies twice."""

    def spoil(self, peer: Peer, enqueue: Enqueue, *parts: bytes) -> None:
        enqueue(*parts)
        enqueue(*parts)


class Misdirecting(Saboteur):
    """Sends some replies to another, too."""

    def spoil(self, peer: Peer, enqueue: Enqueue, *parts: bytes) -> None:
        enqueue(*parts)
        for other in self.clients:
            if other is not peer and other.member is not None:
                other.outbox.put(*parts)


class Losing(Saboteur):
    """Sends some replies to nobody."""

    def spoil(self, peer: Peer, enqueue: Enqueue, *parts: bytes) -> None:
        pass


class Leaking:
    """Has a task for each peer that joins, which never ends."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    @hookimpl
    def peer_joined(self, peer: Peer) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))
