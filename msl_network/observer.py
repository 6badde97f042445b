"""What becomes of each request, told to objects of plugins that want to know.

    requested --> answered        by its Service, or by the Manager itself
              --> failed          it was refused, or its Service left

Rule of this file: an observer is told and never asked, and one that fails harms nobody. Without one nothing is told, so
that the path of a message costs one look. It must not know why somebody observes.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .errors import RequestError
    from .messages import Request
    from .peer import Peer

__all__ = ["Observer", "Observers"]

logger = logging.getLogger("msl_network")

SAY_AGAIN: Final = 60.0
"""After how long it is logged again that an observer fails, in seconds: it may do so with each message."""


FAILURES: Final = (Exception, SystemExit)
"""What a stranger's code may raise, and must not end the connection that it observes."""


class Observer(Protocol):
    """Hears of each request and its end.

    All methods run on the event loop for each message: they must be quick and must not block. A request ends once,
    unless its Client leaves before (`peer_left`). It is known by Client, Service and uid; a Client may use one uid for
    several requests at a time.
    """

    def requested(self, peer: Peer, request: Request, is_complete: bool) -> None:
        """Hear that a Client asks for something; whether it may is not known yet.

        Args:
            peer: The Client.
            request: What it asks for; of the Manager itself if ``request.service`` is ``"Manager"``. Then the arguments
                may be passwords.
            is_complete: Whether the arguments are what was sent; those of a long request are not.
        """

    def answered(self, peer: Peer, service: str, uid: object, is_error: bool, line: bytes) -> None:
        """Hear that a request was answered.

        Args:
            peer: The Client.
            service: The name of the Service, or ``"Manager"``.
            uid: The uid of its request.
            is_error: Whether its Service answered with an error.
            line: What the Service sent, in its encoding; empty if the Manager answered itself, and the short form of a
                long line.
        """

    def failed(self, peer: Peer, service: str, uid: object, error: RequestError) -> None:
        """Hear that a request came to nothing, and its Client was told why.

        Args:
            peer: The Client.
            service: The name of the Service, or ``"Manager"``.
            uid: The uid of its request.
            error: Why. The text of one that a command of the Manager raised may repeat its arguments.
        """


class Observers:
    """Tells several observers, as if they were one.

    Args:
        observers: The name of the plugin and the observer of each.
    """

    def __init__(self, observers: Sequence[tuple[str, Observer]]) -> None:
        self._observers = tuple(observers)
        self._said = dict.fromkeys((name for name, _ in observers), float("-inf"))

    def requested(self, peer: Peer, request: Request, is_complete: bool) -> None:
        """Tell that a Client asks for something."""
        for name, observer in self._observers:
            try:
                observer.requested(peer, request, is_complete)
            except FAILURES as error:
                self._shrug(name, error)

    def answered(self, peer: Peer, service: str, uid: object, is_error: bool, line: bytes) -> None:
        """Tell that a request was answered."""
        for name, observer in self._observers:
            try:
                observer.answered(peer, service, uid, is_error, line)
            except FAILURES as error:
                self._shrug(name, error)

    def failed(self, peer: Peer, service: str, uid: object, error: RequestError) -> None:
        """Tell that a request came to nothing."""
        for name, observer in self._observers:
            try:
                observer.failed(peer, service, uid, error)
            except FAILURES as problem:
                self._shrug(name, problem)

    def _shrug(self, name: str, error: BaseException) -> None:
        now = monotonic()
        if now >= self._said[name] + SAY_AGAIN:
            self._said[name] = now
            # without the text, which may hold what was sent
            kind = type(error).__name__
            logger.error("plugin %r failed in observing a request: %s; that is said once a minute", name, kind)
