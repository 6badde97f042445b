"""One run of a Service: from its connection to the end of it.

    the threads of Workers      read the requests and run them
    the thread of run()         has an event loop, for added tasks and methods that are ``async def``

Rule of this file: whatever a method does, its caller gets a reply: the result or an error. It must not know how
requests find a thread (:mod:`msl_network.workers`), how bytes travel, or what a Service is beyond its attributes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from .channel import open_channel
from .errors import ConnectionLostError, MessageError, RefusedError
from .introduction import Introduction
from .payload import decode, encode_disconnect, encode_error, encode_result
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Coroutine

    from .connecting import ConnectOptions
    from .payload import Arrival
    from .service import Service
    from .workers import Worker

__all__ = ["GRACE", "LOOK", "Serving"]

logger = logging.getLogger("msl_network.service")

SHUTDOWN_SERVICE: Final = "shutdown_service"
"""The method whose reply is followed by the end of the Service, if a subclass has it."""

MOST_WORKERS: Final = 32  # as in 1.0, on a large computer
SLOW: Final = 0.0002  # seconds; a request that takes longer gives the reading away, which costs a tenth of that
GRACE: Final = 5.0  # seconds that added tasks have to end after the connection has
LOOK: Final = 0.5
"""How often whoever waits for the end looks up, in seconds: Ctrl+C may have come by way of another thread, which wakes
nobody, and on Windows nothing interrupts a wait for a thread that has no limit."""


class Serving:
    """A Service that is connected to a Manager.

    Args:
        service: The Service.
        options: Which Manager, and how.
        max_workers: The most requests that run at once; None for the default.
        refused: The attributes that nobody may request.

    Raises:
        ConnectError: If it cannot connect.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self, service: Service, options: ConnectOptions, *, max_workers: int | None, refused: Collection[str]
    ) -> None:
        self._service = service
        self._max_workers = max_workers
        self._refused = refused
        self._name = service.name
        self._channel = open_channel(options, Introduction(service.identity(), options))
        self._slow: set[str] = set()
        self._has_ended = False
        self._refusal = ""
        self._is_accepted = False  # only a Service that is has requests
        self._coroutines: set[asyncio.Task[None]] = set()
        limit = MOST_WORKERS if max_workers is None else max_workers
        self._workers = Workers(self._channel, self._handle, limit=limit, name=f"{self._name} worker")
        self.loop_thread_id: int | None = None
        """The identifier of the thread with the event loop, while it runs."""
        self.port = self._channel.port
        """The port of this end."""
        self.address = options.address
        """The address of the Manager."""
        self.network_name = f"{self._name}[{socket.gethostname()}:{self.port}]"
        """The network name of the Service."""

    def run(self, tasks: list[Awaitable[Any]]) -> None:
        """Serve until the connection ends, or a task fails, or Ctrl+C.

        Args:
            tasks: What else to run in the event loop.

        Raises:
            RefusedError: If the Manager does not accept the identity.
        """
        logger.info("%s has connected to Manager[%s]", self.network_name, self.address)
        try:
            asyncio.run(self._main(tasks))
        except KeyboardInterrupt:
            logger.info("%s was interrupted", self.network_name)
        finally:
            self._channel.close()
            self.loop_thread_id = None
            logger.info("%s has disconnected from Manager[%s]", self.network_name, self.address)
        if self._refusal:
            raise RefusedError(self._refusal)

    def stop(self) -> None:
        """Have `run` end, from any thread."""
        self._say_goodbye()
        self._channel.close()

    def notify(self, line: bytes) -> None:
        """Send a notification; nothing happens when the connection has ended.

        Args:
            line: The line of the notification.
        """
        try:
            self._channel.send(line)
        except ConnectionLostError as error:
            logger.debug("a notification was lost: %s", error)

    async def _main(self, awaitables: list[Awaitable[Any]]) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self.loop_thread_id = threading.get_ident()
        ended: asyncio.Future[str] = loop.create_future()

        def on_end(reason: str) -> None:
            try:
                loop.call_soon_threadsafe(ended.set_result, reason)
            except RuntimeError:
                logger.debug("the connection ended after the event loop: %s", reason)

        tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        try:
            self._workers.start(on_end)
            waiting: set[asyncio.Future[Any]] = {ended, *tasks}
            while not ended.done():
                done, waiting = await asyncio.wait(waiting, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {ended}:
                    task.result()  # raises what the task did
            logger.info("%s: %s", self.network_name, ended.result())
        finally:
            self._has_ended = True
            if not ended.done():
                self._say_goodbye()
            self._service.shutdown_handler()
            for coroutine in self._coroutines:
                coroutine.cancel()  # nobody waits for its result any more
            await _finish([*tasks, *self._coroutines])

    def _say_goodbye(self) -> None:
        try:
            self._channel.send(encode_disconnect(self.network_name))
        except ConnectionLostError as error:
            logger.debug("no good-bye: %s", error)

    def _handle(self, line: bytes, worker: Worker) -> bytes | None:
        """Run the request in a line, and return the line of the reply."""
        try:
            request = decode(line)
        except MessageError as error:
            logger.error("%s: %s", self.network_name, error)  # noqa: TRY400 - a Manager's mistake; nobody to tell
            return None
        attribute = request.attribute
        if request.error or not attribute:
            self._take_words(request)
            return None
        self._is_accepted = True
        try:
            if attribute[0] == "_" or attribute in self._refused:
                raise PermissionError(f"{attribute!r} of the {self._name!r} Service is private")  # noqa: TRY301
            member = getattr(self._service, attribute)
            if callable(member):
                if attribute in self._slow:
                    worker.step_aside()
                begin = perf_counter()
                result = member(*request.args, **request.kwargs)
                if result.__class__ is CoroutineType:
                    self._schedule(result, request)
                    return None
                if perf_counter() - begin > SLOW:
                    self._slow.add(attribute)
                elif self._slow:
                    self._slow.discard(attribute)
            else:
                result = member
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's method raises is for the caller
            return self._failure(error, request)
        return self._reply(result, request)

    def _reply(self, result: object, request: Arrival) -> bytes:
        """Return the line of the reply, and that of the good-bye if this was the last request."""
        try:
            line = encode_result(result, request.requester, request.uid)
            if len(line) > self._service.max_message:
                raise ValueError(  # noqa: TRY301 - as any other problem with the reply
                    f"the reply has {len(line)} bytes, the limit is {self._service.max_message} (max_message of the "
                    "Service); return less at a time"
                )
        except BaseException as error:  # noqa: BLE001 - to_json() is a stranger's, too
            return self._failure(error, request)
        if request.attribute == SHUTDOWN_SERVICE:
            return line + encode_disconnect(self.network_name)
        return line

    def _failure(self, error: BaseException, request: Arrival) -> bytes:
        logger.debug("%s.%s: %s", self._name, request.attribute, error.__class__.__name__, exc_info=error)
        trace = error.__traceback__
        # from the stranger's code on: what is before it is ours, and always the same
        line = encode_error(error.with_traceback(trace.tb_next if trace else None), request.requester, request.uid)
        error.__traceback__ = None  # or that of an object which is raised again and again would grow
        return line

    def _schedule(self, coroutine: Coroutine[Any, Any, Any], request: Arrival) -> None:
        """Have the event loop run a method that is ``async def``."""
        if self._max_workers is not None:
            self._workers.occupy()
        try:
            self._loop.call_soon_threadsafe(self._begin, coroutine, request)
        except RuntimeError:  # the loop has ended, and the connection with it
            coroutine.close()

    def _begin(self, coroutine: Coroutine[Any, Any, Any], request: Arrival) -> None:
        task = self._loop.create_task(self._run_coroutine(coroutine, request))
        self._coroutines.add(task)
        task.add_done_callback(self._coroutines.discard)

    async def _run_coroutine(self, coroutine: Coroutine[Any, Any, Any], request: Arrival) -> None:
        try:
            reply = self._reply(await coroutine, request)
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's method raises is for the caller
            if self._has_ended:
                return
            reply = self._failure(error, request)
        finally:
            if self._max_workers is not None:
                self._workers.release()
        self.notify(reply)

    def _take_words(self, message: Arrival) -> None:
        """Take what the Manager says that is no request: why it refuses the identity, or what it thinks of a reply."""
        logger.warning("Manager[%s]: %s", self.address, message.message or "a message that nobody expected")
        if message.error and not self._is_accepted:
            self._refusal = message.message
            self._channel.close()  # rather than have the Manager wait until we have


async def _finish(tasks: list[asyncio.Task[Any] | asyncio.Future[Any]]) -> None:
    """Wait for tasks to end by themselves, then end them."""
    if not tasks:
        return
    _, pending = await asyncio.wait(tasks, timeout=GRACE)
    for task in pending:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(error, Exception):
            logger.error("a task of the Service ended with %s: %s", type(error).__name__, error)
