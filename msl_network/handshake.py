"""How a plugin asks a peer something.

Rule of this file: one question, one answer; the protocol's table decides whether a question may be asked now.
It must not know what is asked for, or why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .messages import Prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .peer import Peer

__all__ = ["Handshake"]


class Handshake:
    """Asks one peer, and waits for its answers.

    Args:
        peer: The connection.
        network_name: The Manager's network name, ``Manager[HOST:PORT]``.
    """

    def __init__(self, peer: Peer, network_name: str) -> None:
        self._peer = peer
        self.network_name = network_name
        """The Manager's network name; a Client that is asked for a ``password`` with this argument sends the
        Manager's password, with any other argument that of the user."""
        self.waiting_for = ""
        """The attribute that was asked for last and is not answered; empty if there is none."""

    def ask(self, attribute: str, *args: object) -> Awaitable[Any]:
        """Send a request of the Manager and wait for the answer.

        Args:
            attribute: What is asked for; peers of 1.0 know ``username``, ``password`` and ``identity``.
            args: Arguments that tell the peer more, JSON values.

        Returns:
            The answer: any JSON value, or the text that a person typed. Check its type.

        Raises:
            PeerLost: If the peer leaves instead. Let it pass.
        """
        # noted before anybody awaits: whoever forgets to has checked nothing
        self.waiting_for = attribute
        return self._ask(Prompt(attribute=attribute, args=args, requester=self.network_name))

    async def _ask(self, prompt: Prompt) -> Any:
        answer = await self._peer.ask(prompt)
        self.waiting_for = ""
        return answer
