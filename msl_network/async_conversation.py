"""An async Client's connection, shared by tasks.

    a task that calls    hands its line to the writer, and waits for its reply
    the writer           sends line by line; a call that is given up before its turn is never sent
    the reader           brings replies to their calls, and notifications to whoever handles them

Rule of this file: a call that is cancelled, or too late, leaves the connection as it was. So the writer cannot be
cancelled: half a line on the wire would spoil those of all others. It must not know how a connection is made.
"""

# ruff: noqa: ASYNC109 - `timeout` has an exception of its own

from __future__ import annotations

import socket
import sys
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from anyio import CancelScope, to_thread

from .async_channel import BROKEN, CHUNK, reason
from .calls import Call, Calls, check_timeout
from .errors import (
    CallTimeoutError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    MessageError,
    RefusedError,
    RemoteError,
)
from .messages import MANAGER
from .payload import encode_answer, encode_disconnect
from .wire import LineBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connecting import ConnectOptions
    from .introduction import Introduction
    from .payload import Arrival

__all__ = ["AsyncConversation"]


class AsyncConversation:
    """A connection with a Manager.

    Args:
        stream: The connection; the Manager has let us in.
        introduction: Answers what the Manager asks of an administrator.
        name: The name of the Client.
        options: Which Manager, and how.
    """

    def __init__(
        self, stream: anyio.abc.ByteStream, introduction: Introduction, name: str, options: ConnectOptions
    ) -> None:
        self.port: int = stream.extra(anyio.abc.SocketAttribute.local_port)
        self.network_name = f"{name}[{socket.gethostname()}:{self.port}]"
        self._address = options.address
        self._stream = stream
        self._introduction = introduction
        self._lines = LineBuffer(sys.maxsize if options.read_limit is None else options.read_limit)
        self._calls = Calls()
        self._outbox: OrderedDict[object, bytes] = OrderedDict()
        self._has_mail = anyio.Event()
        self._scope = CancelScope(shield=True)  # it ends when leave() or the Manager says so, not before
        self._ended = anyio.Event()
        self._is_leaving = False
        self._reason = "the task that reads has failed"

    @property
    def lost(self) -> ConnectionLostError | None:
        """Why the connection has ended, if it has."""
        return self._calls.lost

    async def run(self, on_notification: Callable[[Arrival], None], on_lost: Callable[[], None]) -> None:
        """Read and write until the connection ends, and clean up.

        Args:
            on_notification: Called for each notification.
            on_lost: Called once, at the end.
        """
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read(on_notification)
        finally:
            self._calls.lose("this Client has disconnected" if self._is_leaving else self._reason)
            self._outbox.clear()
            with CancelScope(shield=True):
                await self._stream.aclose()
            self._ended.set()
            on_lost()

    async def call(
        self, service: str, attribute: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Any:
        """Send a request and wait for the reply.

        Args:
            service: The name of the Service, or ``"Manager"``.
            attribute: What is asked for.
            args: The positional arguments.
            kwargs: The keyword arguments.
            timeout: The longest time to wait, in seconds; None to wait for ever.

        Returns:
            The result.

        Raises:
            RemoteError: If the other side answered with an error.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If the connection has ended.
            TypeError: If JSON cannot carry an argument.
            ValueError: As above.
        """
        if timeout is not None:
            check_timeout(timeout)
        call = _WaitingCall(service, attribute)
        self._post(call, self._calls.add(call, args, kwargs))
        try:
            if timeout is None:
                await self._outcome(call)
            else:
                with anyio.move_on_after(timeout):
                    await self._outcome(call)
        finally:
            if not call.done:
                self._give_up(call)
        if not call.done:
            raise CallTimeoutError(call.what, timeout or 0.0)
        if call.error is not None:
            raise call.error
        return call.result

    async def confirm(self, timeout: float | None) -> None:
        """Wait until it is certain that the Manager accepts the identity, to which it says nothing.

        Args:
            timeout: The longest time to wait, in seconds; None to wait for ever.

        Raises:
            RefusedError: If it does not.
            ConnectError: If the connection ends, or there is no answer in time.
        """
        try:
            # what each Manager answers, and that changes nothing
            await self.call(MANAGER, "unlink", ("",), {}, timeout)
        except RemoteError:
            pass  # an answer it is
        except CallTimeoutError:
            raise ConnectTimeoutError(
                f"Manager[{self._address}] took the identity but answers nothing within {timeout:g} s; it may be busy"
            ) from None
        except ConnectionLostError as error:
            if self._calls.last_words:
                raise RefusedError(self._calls.last_words) from None
            raise ConnectError(f"{self._address}: {error}") from None

    def withdraw_link(self, service: str) -> None:
        """Have a link undone whose reply nobody waits for any more: it may have been made.

        Args:
            service: The name of the Service.
        """
        if self.lost is None:
            call = _WaitingCall(MANAGER, "unlink")
            self._post(object(), self._calls.add(call, (service,), {}))
            self._calls.forget(call)

    async def leave(self, seconds: float) -> None:
        """Take leave of the Manager and close the connection.

        Args:
            seconds: The longest time to wait for the Manager to close it.
        """
        self._is_leaving = True
        if self.lost is None:
            self._post(object(), encode_disconnect(self.network_name))
        try:
            with anyio.move_on_after(seconds, shield=True):
                await self._ended.wait()
        finally:
            self._scope.cancel()
        with CancelScope(shield=True):
            await self._ended.wait()

    async def _outcome(self, call: _WaitingCall) -> None:
        introduction = self._introduction
        while True:
            await call.news.wait()
            if call.done:
                return
            call.news = anyio.Event()
            with CancelScope() as call.asking:  # nobody needs to be asked any more when the connection has ended
                while call.prompts:
                    prompt = call.prompts[0]
                    if introduction.needs_person(prompt):
                        line = await to_thread.run_sync(introduction.answer, prompt, abandon_on_cancel=True)
                    else:
                        line = introduction.answer(prompt)
                    call.prompts.popleft()
                    self._post(object(), line)

    def _give_up(self, call: _WaitingCall) -> None:
        is_unsent = self._outbox.pop(call, None) is not None
        self._calls.forget(call, was_sent=not is_unsent)
        for _ in call.prompts:  # or the Manager would wait for an answer, and let other requests wait
            self._refuse_to_answer()

    def _refuse_to_answer(self) -> None:
        self._post(object(), encode_answer(None))

    def _post(self, key: object, line: bytes) -> None:
        self._outbox[key] = line
        self._has_mail.set()

    async def _write(self) -> None:
        outbox = self._outbox
        try:
            while True:
                if not outbox:
                    self._has_mail = anyio.Event()
                    await self._has_mail.wait()
                lines, size = [], 0
                while outbox and size < CHUNK:
                    lines.append(outbox.popitem(last=False)[1])
                    size += len(lines[-1])
                await self._stream.send(b"".join(lines))
        except BROKEN as error:
            self._lose(reason(error))

    async def _read(self, on_notification: Callable[[Arrival], None]) -> None:
        try:
            while not self._lines.overflow:
                for line in self._lines.feed(await self._stream.receive(CHUNK)):
                    arrival = self._calls.receive(line)
                    if arrival is None:
                        continue
                    if arrival.attribute:
                        self._refuse_to_answer()
                    else:
                        on_notification(arrival)
            limit = self._lines.limit
            self._lose(f"a message is longer than the {limit} bytes of read_limit; allow more, or ask for less")
        except anyio.EndOfStream:
            self._lose("the Manager closed the connection")
        except MessageError as error:  # whom it was for nobody can tell, so nobody must go on waiting
            self._lose(str(error))
        except BROKEN as error:
            self._lose(reason(error))

    def _lose(self, reason: str) -> None:
        self._reason = reason
        self._scope.cancel()


class _WaitingCall(Call):
    """A call whose task waits."""

    __slots__ = ("asking", "news", "prompts")

    def __init__(self, service: str, attribute: str) -> None:
        super().__init__(service, attribute)
        self.news = anyio.Event()
        self.prompts: deque[Arrival] = deque()
        self.asking: CancelScope | None = None

    def finish(self, result: object, error: BaseException | None) -> None:
        super().finish(result, error)
        self.news.set()
        if self.asking is not None:
            self.asking.cancel()

    def ask(self, prompt: Arrival) -> None:
        self.prompts.append(prompt)
        self.news.set()
