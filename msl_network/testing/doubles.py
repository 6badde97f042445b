"""Doubles of what a hook is given: a handshake that answers as it is told, a peer and a Manager that are not there.

Rule of this file: each is of the class that it stands for, so that a plugin's type hints hold in its tests, and has
what `hookspecs` promises of it, and nothing else works. It must not know which plugin it is given to.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from msl_network.config import Config
from msl_network.handshake import Handshake
from msl_network.manager import Manager
from msl_network.peer import Peer, PeerLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection

    from msl_network.store import Store

__all__ = ["LEAVES", "SILENT", "FakeHandshake", "FakeManager", "FakePeer", "Instead"]


class Instead(Enum):
    """What a peer does in place of an answer."""

    LEAVES = "leaves"
    SILENT = "silent"


LEAVES: Final = Instead.LEAVES
"""In place of an answer: the peer leaves, `ask` raises `PeerLost`."""

SILENT: Final = Instead.SILENT
"""In place of an answer: the peer says nothing, `ask` waits until it is cancelled."""


_NO_CODEC: Final[Any] = None  # nothing is sent to a peer that is not there


class FakePeer(Peer):
    """A peer that is not there. By default it is a stranger on another computer, ``pc7.lab.example``.

    Args:
        ip_address: Its numeric address; one that begins with 127, and ``::1``, is that of this computer.
        port: Its TCP port.
        hostname: The first label of its host name; that of a peer of this computer is ``localhost``.
        domain: Its full host name; ``HOSTNAME.lab.example`` if None.
        name: The name of the Client or Service; empty while it is not connected.
        username: Who logged in.
        is_admin: Whether it is an administrator.
    """

    def __init__(
        self,
        *,
        ip_address: str = "192.0.2.7",  # an address for documentation, RFC 5737: nobody has it
        port: int = 50000,
        hostname: str = "pc7",
        domain: str | None = None,
        name: str = "",
        username: str = "",
        is_admin: bool = False,
    ) -> None:
        is_local = ip_address.startswith("127.") or ip_address == "::1"
        domain = f"{hostname}.lab.example" if domain is None else domain

        async def resolve(_ip_address: str) -> str:
            await anyio.lowlevel.checkpoint()
            return domain

        super().__init__(
            ip_address=ip_address,
            port=port,
            is_local=is_local,
            hostname="lab",
            codec=_NO_CODEC,
            touched=[],
            busy=set(),
            handshake_limit=0,
            outbox_limit=0,
            outbox_timeout=0.0,
            resolve=resolve,
        )
        self.username = username
        self.is_admin = is_admin
        if name:  # the host name is looked up before that
            if not is_local:
                self.hostname, self.domain, self._resolve = domain.split(".")[0], domain, None
                self.address = f"{self.hostname}:{port}"
            self.network_name = f"{name}[{self.address}]"
            self.has_joined = True


class FakeHandshake(Handshake):
    """Answers what a plugin asks, and keeps what that was.

    ``FakeHandshake("alice", "wonderland")`` answers the first question and the second,
    ``FakeHandshake(username="alice", password="wonderland")`` by what is asked for, as often as it is. In place of an
    answer may stand `LEAVES`, `SILENT`, or an exception to raise.

    Args:
        answers: The answers, in order: JSON values.
        network_name: The Manager's network name.
        peer: Who is asked.
        by_attribute: The answers, by the attribute that is asked for; before those in order.
    """

    def __init__(
        self,
        *answers: object,
        network_name: str = "Manager[lab:1875]",
        peer: Peer | None = None,
        **by_attribute: object,
    ) -> None:
        super().__init__(FakePeer() if peer is None else peer, network_name)
        self.answers = list(answers)
        """The answers in order that are left."""
        self.by_attribute = by_attribute
        """The answers by what is asked for."""
        self.asked: list[tuple[object, ...]] = []
        """What was asked for: the attribute and its arguments, in order."""
        self.is_asking = anyio.Event()
        """Set when the first question is asked."""

    def ask(self, attribute: str, *args: object) -> Awaitable[Any]:
        """Take a question, and answer it.

        Args:
            attribute: What is asked for.
            args: Arguments that tell the peer more.

        Raises:
            AssertionError: If there is no answer for it.
        """
        self.waiting_for = attribute
        self.asked.append((attribute, *args))
        return self._answer(attribute)

    async def _answer(self, attribute: str) -> Any:
        self.is_asking.set()
        await anyio.lowlevel.checkpoint()
        if attribute in self.by_attribute:
            answer = self.by_attribute[attribute]
        elif self.answers:
            answer = self.answers.pop(0)
        else:
            raise AssertionError(f"the plugin asked for {attribute!r}, and the test has no answer to that")
        if answer is LEAVES:
            raise PeerLost("the peer left")
        if answer is SILENT:
            await anyio.sleep_forever()
        if isinstance(answer, BaseException):
            raise answer
        self.waiting_for = ""
        return answer


class FakeManager(Manager):
    """A Manager that does not serve: what `started` and `stopping` are given.

    Args:
        store: The store, e.g. of `open_store`.
        config: The settings.
        authenticators: The plugins that decide who is let in.
    """

    def __init__(
        self, store: Store | None = None, *, config: Config | None = None, authenticators: Collection[object] = ()
    ) -> None:
        self.config = Config() if config is None else config
        if store is not None:
            self.store = store
        self.hostname = "lab"
        self._port = self.config.port
        self._authenticators = authenticators
        self.revocations = 0
        """How often `revoke_authorizations` was called."""

    def is_authenticator(self, plugin: object) -> bool:
        """Whether a plugin decides who is let in."""
        return any(plugin is other for other in self._authenticators)

    def revoke_authorizations(self) -> None:
        """Count that it was called."""
        self.revocations += 1
