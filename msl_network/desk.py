"""Answers what Clients ask of the Manager: at once, or in the Client's own task if that needs to wait.

Rule of this file: each request gets exactly one answer, its result or an error with its uid; whatever a command
raises or returns, nothing else happens. It must not know what the commands do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio

from .errors import ArgumentError, AuthenticationError, BusyError, RequestError, StoreError
from .handshake import Handshake
from .hooks import FAILURES, FAILURES_LATER, is_cancelled, without_text
from .messages import Request, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .commands import Command, CommandTable
    from .manager import Manager
    from .observer import Observer
    from .peer import Peer

__all__ = ["Desk"]

logger = logging.getLogger("msl_network")

MAX_ARGUMENTS: Final = 64 * 1024
"""The longest arguments of a request that needs to wait, in bytes: each Client may have hundreds of them wait."""

_NOT_ADMINISTRATOR = "You must be an administrator to send this request to the Manager"


class Desk:
    """Where requests to the Manager are answered.

    Args:
        manager: The Manager.
        commands: What it can be asked for.
        observer: Is told what becomes of each request; None if nobody wants to know.
    """

    def __init__(self, manager: Manager, commands: CommandTable, observer: Observer | None = None) -> None:
        self._manager = manager
        self._commands = commands
        self._observer = observer

    @property
    def network_name(self) -> str:
        """The Manager's network name."""
        return self._manager.network_name

    def take(self, peer: Peer, request: Request) -> None:
        """Answer a request to the Manager: at once, or in the peer's own task if that needs to wait.

        Raises:
            RequestError: If it is refused at once.
        """
        command = self._commands.find(request.attribute)
        peer.has_worked = True
        if command.is_async or (command.administrator and not peer.is_admin):
            size = memoryview(request.args).nbytes + memoryview(request.kwargs).nbytes
            if size > MAX_ARGUMENTS:
                raise ArgumentError(
                    f"the arguments of {command.name} may have {MAX_ARGUMENTS} bytes, these have {size}"
                )
            if not peer.do(lambda: self._work(peer, request, command)):
                raise BusyError("too many requests to the Manager wait already; ask again later")
        else:
            self._answer(peer, request, _attempt(command, self._bind(peer, request, command)))

    async def _work(self, peer: Peer, request: Request, command: Command) -> None:
        """Answer a request that needs to wait: for credentials, or for the command itself."""
        try:
            if command.administrator and not peer.is_admin:
                await self._log_in(peer)
            result = _attempt(command, self._bind(peer, request, command))
            self._answer(peer, request, await _attempt_later(command, result) if command.is_async else result)
        except RequestError as error:
            peer.fail(error, request.uid, peer.network_name)
            if self._observer is not None:
                self._observer.failed(peer, request.service, request.uid, error)
        peer.flush_all()

    async def _log_in(self, peer: Peer) -> None:
        handshake = Handshake(peer, self._manager.network_name, self._manager.throttle)
        try:
            with anyio.fail_after(self._manager.config.limits.prompt_timeout):
                peer.is_admin = await self._manager.hooks.authenticate_administrator(peer, handshake)
        except BusyError:
            raise
        except TimeoutError:
            logger.info("%s is no administrator: no answer", peer.network_name)
        except RequestError as error:
            handshake.refused(error)
            logger.info("%s is no administrator: %s", peer.network_name, error)
        else:
            if not peer.is_admin:  # a plugin may say so of a wrong answer, too
                handshake.refused()
                logger.info("%s is no administrator: it logged in as somebody who is none", peer.network_name)
        if not peer.is_admin:
            raise AuthenticationError(_NOT_ADMINISTRATOR)

    def _bind(self, peer: Peer, request: Request, command: Command) -> Callable[[], Any]:
        if command.administrator:
            logger.info("%s sent the administrator request %r", peer.network_name, request.attribute)
        return command.bind(peer, *peer.codec.decode_values(request))

    def _answer(self, peer: Peer, request: Request, result: object) -> None:
        if self._manager.is_stopping:  # who shut the Manager down expects the end of the connection, not a reply
            self._tell_answered(peer, request)
            return
        try:
            line = peer.codec.encode(Result(result=result, requester=peer.network_name, uid=request.uid))
        except Exception as error:  # whatever a plugin's command returned
            logger.exception("the result of %r cannot be sent", request.attribute)
            raise RequestError(
                f"the result of {request.attribute!r} cannot be sent, the Manager's log has the details",
                wire_name="RuntimeError",
            ) from error
        peer.enqueue(line)
        self._tell_answered(peer, request)

    def _tell_answered(self, peer: Peer, request: Request) -> None:
        if self._observer is not None:
            self._observer.answered(peer, request.service, request.uid, False, b"")


def _attempt(command: Command, call: Callable[[], Any]) -> Any:
    """Call a command; what it raises becomes something that a peer can be told."""
    try:
        return call()
    except FAILURES as error:
        raise _refusal(command, error) from error


async def _attempt_later(command: Command, result: Awaitable[Any]) -> Any:
    try:
        return await result
    except FAILURES_LATER as error:
        raise _refusal(command, error) from error
    except anyio.get_cancelled_exc_class() as error:
        if is_cancelled():
            raise
        raise _refusal(command, error) from error


def _refusal(command: Command, error: BaseException) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, (ValueError, TypeError, KeyError)):
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        return RequestError(text, wire_name=type(error).__name__)
    if isinstance(error, StoreError):
        logger.error("%s: %s", command.name, error)
        return RequestError(str(error), wire_name="OSError")
    logger.error("the command %r failed", command.name, exc_info=without_text(error))
    return RequestError(f"{command.name!r} failed; the Manager's log has the details", wire_name="RuntimeError")
