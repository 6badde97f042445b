"""What a Service tells all its Clients, gathered for as long as one chunk of its bytes is handled.

    notification --add--> gathered --flush--> the outbox of each linked Client, once for all of them

A Service that notifies often writes many notifications at a time. Each Client is given them in one piece: what it
costs per Client is then paid once a chunk, and not once a notification.

Rule of this file: nobody notices. What a Service wrote before and after a notification comes before and after it, and
whoever does not keep up loses it as if it had come alone. It must not know how a notification is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outbox import Touched
    from .peer import Peer
    from .registry import ServiceMember

__all__ = ["Fanout"]

GATHER: Final = 16 * 1024
"""How much is gathered, in bytes: an outbox may pass half of its limit, above which notifications are dropped, by
this."""


class Fanout:
    """Gathers the notifications of one Service.

    Args:
        service: Whose they are.
        touched: Where this puts itself when there is something to hand on; whoever fed a chunk flushes it.
        encode_lost: Writes a notification that says how many before it were lost.
    """

    __slots__ = ("_encode_lost", "_service", "_size", "_touched", "waiting")

    def __init__(
        self, service: ServiceMember[Peer], touched: list[Touched], encode_lost: Callable[[bytes, int], bytes]
    ) -> None:
        self.waiting: list[bytes] = []
        """The lines that are gathered."""
        self._service = service
        self._touched = touched
        self._encode_lost = encode_lost
        self._size = 0

    def add(self, line: bytes) -> None:
        """Take a notification.

        Args:
            line: It, with its line end.
        """
        if not self.waiting:
            self._touched.append(self)
        self.waiting.append(line)
        self._size += len(line)
        if self._size > GATHER:
            self.flush()

    def flush(self) -> None:
        """Hand on what is gathered."""
        lines = self.waiting
        if not lines:
            return
        self.waiting = []
        self._size = 0
        name = self._service.name
        data = lines[0] if len(lines) == 1 else b"".join(lines)
        for client in self._service.links:
            peer = client.peer
            outbox = peer.outbox
            if outbox.is_congested:
                peer.lose_notifications(name, len(lines))
            elif outbox.lost and name in outbox.lost:
                first = self._encode_lost(lines[0], peer.tell_lost(name))
                peer.enqueue(first + data[len(lines[0]) :])
            else:
                peer.enqueue(data)
