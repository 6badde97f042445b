"""The async Client: `AsyncClient` and `AsyncLink`, twins of `Client` and `Link` on anyio, for asyncio and trio.

Rule of this file: nothing outlives the ``async with`` of a Client, and what that raises comes out as it is. It must not
know how requests and replies travel (:mod:`msl_network.async_conversation`).
"""

# ruff: noqa: ASYNC109 - the twins have the same parameters, and `timeout` has an exception of its own

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc
from anyio import CancelScope

from . import blocking
from .async_channel import open_stream
from .async_conversation import AsyncConversation
from .connecting import PORT, ConnectOptions
from .describe import language, system
from .errors import CallTimeoutError, NetworkError
from .identities import identities_text
from .introduction import Introduction
from .links import LinkedService, is_probe
from .messages import MANAGER
from .notifications import Notifications
from .service import set_logging_level

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from .payload import Arrival

__all__ = ["AsyncClient", "AsyncLink", "Notifications"]

logger = logging.getLogger("msl_network.client")

GOODBYE: Final = 5.0  # seconds that the Manager has to close the connection when it is asked to
HASTE: Final = 1.0  # as above, when an error or a cancellation wants to get out
MOST_WAITING: Final = 10_000  # notifications that wait for their handlers


class AsyncClient:
    """A connection to a Manager, as long as its ``async with`` lasts; any number of tasks may use it.

    Cancellation does not reach the connection itself: what is shielded can still call, and a Client that is cancelled
    takes leave of the Manager, for which it has a second.

    Args:
        name: The name of the Client, for others to see; ``Client`` if None.
        host: The host name or IP address of the Manager.
        port: Its port.
        timeout: The longest time to connect, in seconds; None for no limit.
        username: The user name, if the Manager asks for one; None: the person at the terminal is asked.
        password: The password of that user; None: as above.
        password_manager: The password of the Manager, if it asks for one; None: as above.
        read_limit: The longest message to accept, in bytes; None for no limit.
        disable_tls: Whether to connect without TLS.
        cert_file: The certificate of the Manager; None for the one that is stored for this host.
        assert_hostname: Whether the certificate must name `host`.
        auto_save: Whether to trust a Manager that is met for the first time without asking.
        client_cert_file: The certificate that proves who this is, PEM, if the Manager asks for one (the plugin
            `certificate`).
        client_key_file: The private key of that certificate, PEM; None if it is in the same file.
        client_key_file_password: What that key is encrypted with, if it is.

    Raises:
        ConnectError: By ``async with``, if it cannot connect; the text says why and what to do.
    """

    def __init__(
        self,
        *,
        name: str | None = "Client",
        host: str = "localhost",
        port: int = PORT,
        timeout: float | None = 10,
        username: str | None = None,
        password: str | None = None,
        password_manager: str | None = None,
        read_limit: int | None = None,
        disable_tls: bool = False,
        cert_file: str | Path | None = None,
        assert_hostname: bool = True,
        auto_save: bool = False,
        client_cert_file: str | Path | None = None,
        client_key_file: str | Path | None = None,
        client_key_file_password: str | None = None,
    ) -> None:
        self.__name = name = "Client" if name is None else name
        self.__options = options = ConnectOptions(
            host=host,
            port=port,
            timeout=timeout,
            username=username,
            password=password,
            password_manager=password_manager,
            read_limit=read_limit,
            disable_tls=disable_tls,
            cert_file=cert_file,
            assert_hostname=assert_hostname,
            auto_save=auto_save,
            client_cert_file=client_cert_file,
            client_key_file=client_key_file,
            client_key_file_password=client_key_file_password,
        )
        self.__identity = {"type": "client", "name": name, "language": language(), "os": system()}
        self.__introduction = Introduction(self.__identity, options)
        self.__links: list[AsyncLink] = []
        self.__to_handle: Notifications[Callable[[], Any]] = Notifications(name, MOST_WAITING)
        self.__context: AbstractAsyncContextManager[None] | None = None
        self.__current: AsyncConversation | None = None

    @property
    def name(self) -> str:
        """The name of the Client."""
        return self.__name

    @property
    def port(self) -> int:
        """The port of this end of the connection."""
        return self.__conversation.port

    @property
    def address_manager(self) -> str:
        """The address of the Manager, ``HOST:PORT``."""
        return self.__options.address

    @property
    def __conversation(self) -> AsyncConversation:
        if self.__current is None:
            raise RuntimeError(
                "this AsyncClient has not connected: it does in 'async with AsyncClient(...) as client:'"
            )
        return self.__current

    async def __aenter__(self) -> Self:
        if self.__context is not None:
            raise RuntimeError("an AsyncClient connects once; make another, or use its spawn()")
        self.__context = self.__connected()
        try:
            await self.__context.__aenter__()
        except BaseException:
            self.__context = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self.__context.__aexit__(kind, error, trace)  # type: ignore[union-attr]  # it was entered

    def __str__(self) -> str:
        return self.__name if self.__current is None else self.__current.network_name

    def __repr__(self) -> str:
        if self.is_connected():
            return f"<{self.__name} manager={self.__options.address} port={self.port}>"
        return f"<{self.__name} disconnected>"

    def identity(self) -> dict[str, Any]:
        """Return who this Client is: type, name, language, os."""
        return dict(self.__identity)

    @staticmethod
    def set_logging_level(level: str | int) -> bool:
        """Set the level of the ``msl_network`` logger.

        Args:
            level: A name, in any case, or a number.

        Returns:
            Whether there is such a level.
        """
        return set_logging_level(level)

    def is_connected(self) -> bool:
        """Return whether there is a connection to the Manager."""
        return self.__current is not None and self.__current.lost is None

    async def link(self, service: str, *, timeout: float | None = None) -> AsyncLink:
        """Link with a Service.

        Args:
            service: The name of the Service.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Returns:
            The link. The methods of the Service are its attributes. ``async with await client.link(...)`` unlinks at
            the end.

        Raises:
            RemoteError: If there is no such Service, or it takes no further Client now.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        conversation = self.__conversation
        try:
            identity = await conversation.call(MANAGER, "link", (service,), {}, timeout)
        except (CallTimeoutError, anyio.get_cancelled_exc_class()):
            if all(link.service_name != service for link in self.__links):
                conversation.withdraw_link(service)
            raise
        link = AsyncLink(self, service, identity, self.__conversation.call)
        self.__links.append(link)
        return link

    async def unlink(self, link: AsyncLink, *, timeout: float | None = None) -> None:
        """Unlink from a Service.

        Args:
            link: What :meth:`link` returned.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Raises:
            TypeError: If that is not a link.
            RemoteError: If there is no such link.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        if not isinstance(link, AsyncLink):
            raise TypeError(f"unlink takes what link() returned, found {type(link).__name__}")
        await self.__conversation.call(MANAGER, "unlink", (link.service_name,), {}, timeout)
        self._discard(link)

    async def identities(
        self, *, as_string: bool = False, indent: int = 2, timeout: float | None = None
    ) -> dict[str, Any] | str:
        """Return who is connected: the identities of the Manager, all Clients and all Services.

        Args:
            as_string: Whether to return a text for people.
            indent: How many spaces each level of the text is indented by.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Raises:
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        identity: dict[str, Any] = await self.__conversation.call(MANAGER, "identity", (), {}, timeout)
        return identities_text(identity, indent) if as_string else identity

    async def admin_request(self, attrib: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Ask the Manager for something that only an administrator may ask for.

        If the Manager asks for a user name or a password that was not given, the person at the terminal is asked, in a
        thread; other tasks go on.

        Args:
            attrib: What to ask for, e.g. ``users_table.usernames``.
            args: Its positional arguments.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
            kwargs: Its keyword arguments.

        Returns:
            The reply; None when the Manager has shut down because it was asked to.

        Raises:
            ValueError: If `asynchronous` is among the keyword arguments.
            RefusedError: If nobody can answer what the Manager asks.
            RemoteError: If the Manager refuses.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        if "asynchronous" in kwargs:
            raise ValueError(
                "a request to the Manager cannot be asynchronous; await it, in a task of its own if need be"
            )
        return await self.__conversation.call(MANAGER, attrib, args, kwargs, timeout)

    def spawn(self, name: str = "Client") -> AsyncClient:
        """Return another Client of the same Manager, which connects in its own ``async with``.

        Args:
            name: The name of the new Client.
        """
        known = self.__options.keywords() | {
            "username": self.__introduction.username,
            "password": self.__introduction.password,
            "password_manager": self.__introduction.password_manager,
        }
        return AsyncClient(name=name, **known)

    async def disconnect(self, timeout: float | None = None) -> None:
        """Disconnect from the Manager. Calls that still wait end with an error.

        Args:
            timeout: The longest time to wait for the Manager to close the connection, in seconds; after that, or after
                5 seconds if None, it is closed from this side. This cannot be cancelled.
        """
        await self.__conversation.leave(GOODBYE if timeout is None else timeout)

    def shutdown_handler(self) -> None:
        """Called once, when the connection to the Manager has ended; assign a function, or override it in a subclass.

        It is called in the event loop, so it must not block; it cannot be ``async def``.
        """

    def _discard(self, link: AsyncLink) -> None:
        """Forget a link."""
        if link in self.__links:
            self.__links.remove(link)
        link._break()  # noqa: SLF001 - the two are one

    @asynccontextmanager
    async def __connected(self) -> AsyncIterator[None]:
        """Be connected; what the body raises, comes out as it is."""
        self.__introduction = Introduction(self.__identity, self.__options)
        stream = await open_stream(self.__options, self.__introduction)
        conversation = AsyncConversation(stream, self.__introduction, self.__name, self.__options)
        self.__current = conversation
        logger.info("%s has connected to Manager[%s]", self, self.__options.address)
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conversation.run, self.__notify, self.__end)
                tasks.start_soon(self.__handle)
                try:
                    await conversation.confirm(self.__options.timeout)
                    yield
                except BaseException:
                    await conversation.leave(HASTE)
                    raise
                await conversation.leave(GOODBYE)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            failure = group.exceptions[0] if len(group.exceptions) == 1 else group
        if failure is not None:  # raised here, where it is given no other context
            raise failure

    def __notify(self, arrival: Arrival) -> None:
        if arrival.lost:
            logger.warning(
                "%s did not keep up, %s notifications of %s were dropped", self, arrival.lost, arrival.service
            )
        try:
            args, kwargs = arrival.result
            args, kwargs = list(args), dict(kwargs)
        except (TypeError, ValueError) as error:
            logger.error("a notification of %s is not as it should be: %s", arrival.service, error)  # noqa: TRY400 - theirs
            return
        for link in list(self.__links):
            if link.service_name == arrival.service:
                link._notify(args, kwargs, self.__to_handle)  # noqa: SLF001 - as above

    async def __handle(self) -> None:
        """Call notification handlers."""
        async for handler in self.__to_handle:
            try:
                outcome = handler()
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception:
                logger.exception("a notification handler of %s failed", self)

    def __end(self) -> None:
        logger.info("%s: %s", self, self.__conversation.lost)
        self.__to_handle.close()
        for link in self.__links:
            link._end_notifications()  # noqa: SLF001 - as above
        try:
            self.shutdown_handler()
        except Exception:
            logger.exception("the shutdown_handler of %s failed", self)


class AsyncLink(LinkedService):
    """A link of a Client with a Service. Made by :meth:`AsyncClient.link`.

    Whatever attribute the Service has can be called: ``await link.add(1, 2)``. A property or a constant is called
    without arguments. ``timeout=`` is the longest time to wait for the reply, in seconds.

    Args:
        client: The Client.
        service: The name of the Service.
        identity: What the Manager said of the Service.
        call: Sends a request and waits for the reply.
    """

    def __init__(
        self,
        client: AsyncClient,
        service: str,
        identity: dict[str, Any],
        call: Callable[[str, str, tuple[Any, ...], dict[str, Any], float | None], Coroutine[Any, Any, Any]],
    ) -> None:
        super().__init__(service, identity)
        self.__client: AsyncClient | None = client
        self.__call = call
        # a stream that nobody reads any more is forgotten
        self.__streams: weakref.WeakSet[Notifications[Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client = self.__client
        if client is None:
            return
        # also if cancelled: others may wait for the lock, or for their turn to link
        with CancelScope(shield=True), contextlib.suppress(NetworkError):
            await self.unlink(timeout=GOODBYE if error is None else HASTE)
        client._discard(self)  # noqa: SLF001 - the two are one

    def __repr__(self) -> str:
        service = f"{self.service_name}[{self.service_address}]"
        if self.__client is None or not self.__client.is_connected():
            return f"<Un-Linked from {service}>"
        return f"<Link with {service} at Manager[{self.__client.address_manager}]>"

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_assignment(name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if is_probe(name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__checked(name)
        method = self.__method(name)
        self.__dict__[name] = method
        return method

    async def acquire_lock(self, shared: bool = False, timeout: float | None = None) -> list[str]:
        """Lock the Service: nobody else can link with it until all locks are released.

        Args:
            shared: Whether others that are linked with it may stay, and have locks, too.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Returns:
            The network names of the Clients that are linked with the Service.

        Raises:
            RemoteError: If the lock cannot be had.
        """
        self.__checked("acquire_lock")
        names: list[str] = await self.__call(MANAGER, "acquire_lock", (self.service_name,), {"shared": shared}, timeout)
        return names

    async def release_lock(self, timeout: float | None = None) -> list[str]:
        """Release the lock.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Returns:
            The network names of the Clients that still have a lock.
        """
        self.__checked("release_lock")
        names: list[str] = await self.__call(MANAGER, "release_lock", (self.service_name,), {}, timeout)
        return names

    def notifications(self, max_waiting: int = 1000) -> Notifications[tuple[list[Any], dict[str, Any]]]:
        """Return the notifications of the Service from now on: ``async for args, kwargs in link.notifications():``.

        They end when the link is broken or the connection has ended. To leave earlier, leave the loop.

        Args:
            max_waiting: The most that wait for the loop. What comes then is lost, and counted in ``lost``.
        """
        self.__checked("notifications")
        stream: Notifications[tuple[list[Any], dict[str, Any]]] = Notifications(self.service_name, max_waiting)
        self.__streams.add(stream)
        return stream

    def notification_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Handle a notification of the Service. Assign a function of your own; it may be ``async def``.

        All handlers of a Client are called in one task, one after the other. One that is not ``async def`` must not
        block; what they raise is logged.

        Args:
            args: The positional arguments that the Service emitted.
            kwargs: The keyword arguments that the Service emitted.
        """

    async def shutdown_service(self, *args: Any, **kwargs: Any) -> Any:
        """Shut the Service down, if it has a method of this name. The link is broken then.

        Args:
            args: The positional arguments for that method.
            kwargs: Its keyword arguments; `timeout` as with any call.

        Returns:
            What the method returned.
        """
        client = self.__checked("shutdown_service")
        result = await self.__method("shutdown_service")(*args, **kwargs)
        client._discard(self)  # noqa: SLF001 - the two are one
        return result

    async def unlink(self, timeout: float | None = None) -> None:
        """Unlink from the Service; nothing happens if that was done.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
        """
        if self.__client is not None:
            await self.__client.unlink(self, timeout=timeout)

    async def disconnect(self, timeout: float | None = None) -> None:
        """Do the same as :meth:`unlink`.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
        """
        await self.unlink(timeout=timeout)

    def _break(self) -> None:
        """Be broken."""
        self.__client = None
        self._end_notifications()

    def _end_notifications(self) -> None:
        """Let those who wait for notifications know that none will come."""
        for stream in list(self.__streams):
            stream.close()

    def _notify(self, args: list[Any], kwargs: dict[str, Any], to_handle: Notifications[Callable[[], Any]]) -> None:
        """Take a notification."""
        for stream in list(self.__streams):
            stream.put((args, kwargs))
        if self._has_own("notification_handler", AsyncLink):
            to_handle.put(functools.partial(self.notification_handler, *args, **kwargs))

    def __checked(self, name: str) -> AsyncClient:
        if self.__client is None:
            raise AttributeError(f"{name!r} cannot be requested: the link with {self.service_name!r} is broken")
        return self.__client

    def __method(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return the function that asks the Service for an attribute."""
        service = self.service_name
        call = self.__call

        async def method(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
            self.__checked(name)
            if "asynchronous" in kwargs:
                raise TypeError(
                    f"{service}.{name}() is async and takes no asynchronous=; start it in a task group instead"
                )
            return await call(service, name, args, kwargs, timeout)

        return self._dressed(name, method)


def __getattr__(name: str) -> Any:
    # in 1.0 the blocking Client is in the module of this name
    if name in blocking.__all__:
        return getattr(blocking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
