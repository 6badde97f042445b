"""How a plugin asks a peer something.

Rule of this file: one question, one answer; the protocol's table decides whether a question may be asked now, and the
throttle how soon the plugin gets the answer. It must not know what is asked for, or why.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .errors import BusyError
from .messages import Prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .errors import RequestError
    from .peer import Peer
    from .throttle import Throttle

__all__ = ["Handshake"]

logger = logging.getLogger("msl_network")


class Handshake:
    """Asks one peer, and waits for its answers. It is one attempt to log in.

    Args:
        peer: The connection.
        network_name: The Manager's network name, ``Manager[HOST:PORT]``.
        throttle: Says how long answers are held back; None if they prove nothing, so that nobody guesses them.
    """

    def __init__(self, peer: Peer, network_name: str, throttle: Throttle | None = None) -> None:
        self._peer = peer
        self._throttle = throttle
        self._began: float | None = None
        self._is_answered = False
        self.network_name = network_name
        """The Manager's network name; a Client that is asked for a ``password`` with this argument sends the
        Manager's password, with any other argument that of the user."""
        self.waiting_for = ""
        """The attribute that was asked for last and is not answered; empty if there is none."""
        self.is_forgotten = False
        """Whether nobody waits for the answer: ``await`` is missing."""

    def ask(self, attribute: str, *args: object) -> Awaitable[Any]:
        """Send a request of the Manager and wait for the answer.

        Where attempts to log in failed before, from the same address, answers come some seconds late, be they right or
        wrong: at most half of ``handshake_timeout`` after the first question.

        Args:
            attribute: What is asked for; peers of 1.0 know ``username``, ``password`` and ``identity``.
            args: Arguments that tell the peer more, JSON values.

        Returns:
            The answer, which is any JSON value, or the text that a person typed. Check its type.

        Raises:
            PeerLost: If the peer leaves instead. Let it pass.
        """
        # noted before anybody awaits: whoever forgets to has checked nothing
        self.waiting_for, self.is_forgotten = attribute, True
        return self._ask(Prompt(attribute=attribute, args=args, requester=self.network_name))

    def refused(self, error: RequestError | None = None) -> None:
        """Note that the attempt failed: further ones from this address are slowed down.

        It does not count if nothing was answered, or nobody looked at the answer.

        Args:
            error: Why it failed, if an exception said so.
        """
        if self._throttle is None or not self._is_answered or isinstance(error, BusyError):
            return
        if self._throttle.fail(self._peer.ip_address):
            logger.warning("attempts to log in from %s are slowed down, too many failed", self._peer.ip_address)

    async def _ask(self, prompt: Prompt) -> Any:
        self.is_forgotten = False
        if self._throttle is not None and self._began is None:
            self._began = self._throttle.clock()
        answer = await self._peer.ask(prompt)
        self._is_answered = True
        if self._throttle is not None and self._began is not None:
            await self._hold_back(self._throttle, self._began)
        self.waiting_for = ""
        return answer

    async def _hold_back(self, throttle: Throttle, began: float) -> None:
        # Counted from the first question, so that one attempt waits once, and hardly a person who types. Looked at
        # again after each wait: of many answers that come together, one is checked, and the others wait longer.
        while (rest := began + throttle.delay(self._peer.ip_address) - throttle.clock()) > 0:
            await self._peer.stay(rest)
