"""The blocking Client: `connect`, `Client`, `Link` and `LinkedClient`.

Rule of this file: names, keywords and meaning are those of MSL-Network 1.0; what is hidden has two underscores, because
the names of a Link are those of its Service, and a LinkedClient is made for subclasses. It must not know how requests
and replies travel (:mod:`msl_network.conversation`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from .channel import open_channel
from .connecting import PORT, ConnectOptions
from .conversation import Conversation
from .describe import language, system
from .errors import CallTimeoutError, ConnectionLostError, NetworkError, RemoteError
from .identities import identities_text
from .introduction import Introduction
from .links import LinkedService, is_probe
from .messages import MANAGER
from .notifier import Notifier
from .service import filter_service_start_kwargs, set_logging_level

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from .payload import Arrival

__all__ = ["Client", "Link", "LinkedClient", "connect", "filter_client_connect_kwargs"]

logger = logging.getLogger("msl_network.client")

RETRY: Final = 0.2  # seconds between two looks for a Service that may still be starting
GOODBYE: Final = 5.0  # seconds that unlinking at the end of a ``with`` may take
EXIT: Final = 1.0  # seconds that a forgotten Client may delay the end of the program


def connect(
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
) -> Client:
    """Connect to a Manager as a Client.

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

    Returns:
        The connected Client; use it in a ``with`` statement, or call its `disconnect`.

    Raises:
        ConnectError: If that is not possible; the text says why and what to do.
    """
    options = ConnectOptions(
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
    return Client("Client" if name is None else name, options)


def filter_client_connect_kwargs(**kwargs: Any) -> dict[str, Any]:
    """Return those keyword arguments that :func:`connect` takes; the others are left out.

    Args:
        kwargs: Any; `auth_password`, as a Manager calls it, becomes `password_manager` unless that is there, too.
    """
    return filter_service_start_kwargs(**kwargs)


class Client:
    """A connection to a Manager. Made by :func:`connect`; any number of threads may use it.

    Args:
        name: The name of the Client, for others to see.
        options: Which Manager, and how.
    """

    def __init__(self, name: str, options: ConnectOptions) -> None:
        self.__name = name
        self.__options = options
        self.__identity = {"type": "client", "name": name, "language": language(), "os": system()}
        self.__links: list[Link] = []
        self.__introduction = Introduction(self.__identity, options)
        channel = open_channel(options, self.__introduction)
        self.__port = channel.port
        self.__network_name = f"{name}[{socket.gethostname()}:{channel.port}]"
        self.__notifier = Notifier(self.__network_name)
        # a thread reads as long as there is a connection; it must not keep a Client alive that nobody has any more
        client = weakref.ref(self)

        def on_notification(arrival: Arrival) -> None:
            found = client()
            if found is not None:
                found.__notify(arrival)  # noqa: SLF001 - it is its own

        def on_lost(reason: str) -> None:
            found = client()
            if found is not None:
                found.__end(reason)  # noqa: SLF001 - it is its own

        self.__conversation = Conversation(
            channel,
            self.__introduction,
            address=options.address,
            network_name=self.__network_name,
            notifier=self.__notifier,
            on_notification=on_notification,
            on_lost=on_lost,
        )
        # called when the Client is forgotten, and when the program ends
        weakref.finalize(self, _forget, self.__conversation, self.__notifier)
        self.__conversation.confirm(options.timeout)
        logger.info("%s has connected to Manager[%s]", self.__network_name, options.address)

    @property
    def name(self) -> str:
        """The name of the Client."""
        return self.__name

    @property
    def port(self) -> int:
        """The port of this end of the connection."""
        return self.__port

    @property
    def address_manager(self) -> str:
        """The address of the Manager, ``HOST:PORT``."""
        return self.__options.address

    @property
    def loop_thread_id(self) -> int | None:
        """The identifier of the thread that reads what no caller waits for; None when there is no connection."""
        return self.__conversation.thread_id if self.is_connected() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def __str__(self) -> str:
        return self.__network_name

    def __repr__(self) -> str:
        if self.is_connected():
            return f"<{self.__name} manager={self.__options.address} port={self.__port}>"
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
        return self.__conversation.lost is None

    def link(self, service: str, *, timeout: float | None = None) -> Link:
        """Link with a Service.

        Args:
            service: The name of the Service.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Returns:
            The link. The methods of the Service are its attributes.

        Raises:
            RemoteError: If there is no such Service, or it takes no further Client now.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        try:
            identity = self.__request("link", service, timeout=timeout)
        except (CallTimeoutError, KeyboardInterrupt):
            if all(link.service_name != service for link in self.__links):
                self.__conversation.withdraw_link(service)
            raise
        link = Link(self, service, identity, self.__conversation)
        self.__links.append(link)
        return link

    def unlink(self, link: Link, *, timeout: float | None = None) -> None:
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
        if not isinstance(link, Link):
            raise TypeError(f"unlink takes what link() returned, found {type(link).__name__}")
        self.__request("unlink", link.service_name, timeout=timeout)
        self._discard(link)

    def identities(
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
        identity: dict[str, Any] = self.__request("identity", timeout=timeout)
        return identities_text(identity, indent) if as_string else identity

    def admin_request(self, attrib: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Ask the Manager for something that only an administrator may ask for.

        Args:
            attrib: What to ask for, e.g. ``users_table.usernames``.
            args: Its positional arguments.
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
            kwargs: Its keyword arguments.

        Returns:
            The reply; None when the Manager has shut down because it was asked to.

        Raises:
            ValueError: If `asynchronous` is among the keyword arguments.
            RemoteError: If the Manager refuses.
            CallTimeoutError: If the reply does not come in time.
            ConnectionLostError: If there is no connection.
        """
        if "asynchronous" in kwargs:
            raise ValueError("a request to the Manager cannot be asynchronous: it may have to ask for a password")
        return self.__conversation.call(MANAGER, attrib, args, kwargs, timeout)

    def spawn(self, name: str = "Client") -> Client:
        """Return a new connection to the same Manager.

        Args:
            name: The name of the new Client.
        """
        known = self.__options.keywords() | {
            "username": self.__introduction.username,
            "password": self.__introduction.password,
            "password_manager": self.__introduction.password_manager,
        }
        return connect(name=name, **known)

    def disconnect(self, timeout: float | None = None) -> None:
        """Disconnect from the Manager. Calls that still wait end with an error.

        Args:
            timeout: The longest time to wait for the Manager to close the connection, in seconds; after that, or after
                5 seconds if None, it is closed from this side.
        """
        self.__conversation.leave(timeout)

    def shutdown_handler(self) -> None:
        """Called once, when the connection to the Manager has ended; assign a function of your own."""

    def add_tasks(self, *coros_or_futures: Any) -> None:
        """Refuse: there is no event loop in a Client.

        Args:
            coros_or_futures: Coroutines or futures.

        Raises:
            RuntimeError: In any case.
        """
        raise RuntimeError(
            f"a Client has no event loop for {len(coros_or_futures)} tasks; use AsyncClient, or add them to a Service"
        )

    def _discard(self, link: Link) -> None:
        """Forget a link."""
        if link in self.__links:
            self.__links.remove(link)
        link._break()  # noqa: SLF001 - the two are one

    def __request(self, attribute: str, *args: Any, timeout: float | None) -> Any:
        return self.__conversation.call(MANAGER, attribute, args, {}, timeout)

    def __notify(self, arrival: Arrival) -> None:
        if arrival.lost:
            logger.warning(
                "%s did not keep up, %s notifications of %s were dropped", self, arrival.lost, arrival.service
            )
        for link in list(self.__links):
            if link.service_name == arrival.service and link._has_own("notification_handler", Link):  # noqa: SLF001
                try:
                    args, kwargs = arrival.result
                    self.__notifier.put(link.notification_handler, list(args), dict(kwargs))
                except (TypeError, ValueError) as error:
                    logger.warning("a notification of %s is not as it should be: %s", arrival.service, error)

    def __end(self, reason: str) -> None:
        logger.info("%s: %s", self.__network_name, reason)
        self.__notifier.close()
        try:
            self.shutdown_handler()
        except Exception:
            logger.exception("the shutdown_handler of %s failed", self.__network_name)


class Link(LinkedService):
    """A link of a Client with a Service. Made by :meth:`Client.link`.

    Whatever attribute the Service has can be called: ``link.add(1, 2)``. A property or a constant is called without
    arguments. With ``asynchronous=True`` a call returns a :class:`concurrent.futures.Future` at once; ``timeout=`` is
    the longest time to wait for the reply, in seconds.

    Args:
        client: The Client.
        service: The name of the Service.
        identity: What the Manager said of the Service.
        conversation: The connection of the Client.
    """

    def __init__(self, client: Client, service: str, identity: dict[str, Any], conversation: Conversation) -> None:
        super().__init__(service, identity)
        self.__client: Client | None = client
        self.__conversation = conversation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client = self.__client
        if client is None:
            return
        with contextlib.suppress(NetworkError):  # what happened in the body is more important
            self.unlink(timeout=GOODBYE)
        client._discard(self)  # noqa: SLF001 - the two are one

    def __repr__(self) -> str:
        service = f"{self.service_name}[{self.service_address}]"
        if self.__client is None or self.__conversation.lost is not None:
            return f"<Un-Linked from {service}>"
        return f"<Link with {service} at Manager[{self.__client.address_manager}]>"

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_assignment(name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if is_probe(name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__checked(name)
        method = self.__method(name)
        self.__dict__[name] = method
        return method

    def acquire_lock(self, shared: bool = False, timeout: float | None = None) -> list[str]:
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
        names: list[str] = self.__conversation.call(
            MANAGER, "acquire_lock", (self.service_name,), {"shared": shared}, timeout
        )
        return names

    def release_lock(self, timeout: float | None = None) -> list[str]:
        """Release the lock.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.

        Returns:
            The network names of the Clients that still have a lock.
        """
        self.__checked("release_lock")
        names: list[str] = self.__conversation.call(MANAGER, "release_lock", (self.service_name,), {}, timeout)
        return names

    def notification_handler(self, *args: Any, **kwargs: Any) -> None:
        """Handle a notification of the Service. Assign a function of your own, it is called in a thread of its own.

        Args:
            args: The positional arguments that the Service emitted.
            kwargs: The keyword arguments that the Service emitted.
        """

    def shutdown_service(self, *args: Any, **kwargs: Any) -> Any:
        """Shut the Service down, if it has a method of this name. The link is broken then.

        Args:
            args: The positional arguments for that method.
            kwargs: Its keyword arguments; `timeout` as with any call.

        Returns:
            What the method returned.
        """
        client = self.__checked("shutdown_service")
        result = self.__method("shutdown_service")(*args, **kwargs)
        client._discard(self)  # noqa: SLF001 - the two are one
        return result

    def unlink(self, timeout: float | None = None) -> None:
        """Unlink from the Service; nothing happens if that was done.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
        """
        if self.__client is not None:
            self.__client.unlink(self, timeout=timeout)

    def disconnect(self, timeout: float | None = None) -> None:
        """Do the same as :meth:`unlink`.

        Args:
            timeout: The longest time to wait for the reply, in seconds; None to wait for ever.
        """
        self.unlink(timeout=timeout)

    def _break(self) -> None:
        """Be broken."""
        self.__client = None

    def __checked(self, name: str) -> Client:
        if self.__client is None:
            raise AttributeError(f"{name!r} cannot be requested: the link with {self.service_name!r} is broken")
        return self.__client

    def __method(self, name: str) -> Callable[..., Any]:
        """Return the function that asks the Service for an attribute."""
        service = self.service_name
        call = self.__conversation.call
        call_soon = self.__conversation.call_soon

        def method(*args: Any, asynchronous: bool = False, timeout: float | None = None, **kwargs: Any) -> Any:
            if self.__client is None:
                self.__checked(name)
            if asynchronous:
                return call_soon(service, name, args, kwargs)
            return call(service, name, args, kwargs, timeout)

        return self._dressed(name, method)


class LinkedClient(LinkedService):
    """A Client that is linked with one Service: the methods of the Service are its attributes. Made for subclasses.

    Args:
        service_name: The name of the Service. It may still be starting.
        kwargs: What :func:`connect` takes; `name` is that of the class by default, `timeout` includes the wait for the
            Service.

    Raises:
        ConnectError: If it cannot connect.
        TimeoutError: If there is no such Service in time.
        RemoteError: If the Service takes no further Client now.
    """

    def __init__(self, service_name: str, **kwargs: Any) -> None:
        kwargs.setdefault("name", type(self).__name__)
        kwargs.setdefault("timeout", 10)
        keywords = filter_client_connect_kwargs(**kwargs)
        timeout: float | None = keywords["timeout"]
        deadline = None if timeout is None else time.monotonic() + timeout
        client = connect(**keywords)
        try:
            link = _link_in_time(client, service_name, deadline)
        except BaseException:
            client.disconnect()
            raise
        super().__init__(*link._described())  # noqa: SLF001 - the same of both
        self.__keywords = keywords
        self.__client: Client | None = client
        self.__link: Link | None = link
        self.__first_client = client  # tells its name also when the connection has ended
        if type(self).notification_handler is not LinkedClient.notification_handler:
            link.notification_handler = _weak_method(self.notification_handler)  # type: ignore[method-assign]

    @property
    def client(self) -> Client | None:
        """The Client; None after :meth:`disconnect`."""
        return self.__client

    @property
    def link(self) -> Link | None:
        """The link; None after :meth:`unlink` or :meth:`disconnect`."""
        return self.__link

    @property
    def name(self) -> str:
        """The name of the Client."""
        return self.__first_client.name

    @property
    def port(self) -> int:
        """The port of this end of the connection."""
        return self.__first_client.port

    @property
    def address_manager(self) -> str:
        """The address of the Manager, ``HOST:PORT``."""
        return self.__first_client.address_manager

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        service = f"{self.service_name}[{self.service_address}]"
        if self.__link is None:
            return f"<Un-Linked[name={self.name}] from {service}>"
        return f"<Link[name={self.name}] with {service} at Manager[{self.address_manager}]>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if is_probe(name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method: Callable[..., Any] = getattr(self.__checked_link(name), name)

        def request(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except BaseException:
                self.service_error_handler()
                raise

        return functools.update_wrapper(request, method)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "notification_handler":  # it is the link that is notified
            self.__checked_link(name).notification_handler = value  # type: ignore[method-assign]
        else:
            super().__setattr__(name, value)

    def acquire_lock(self, shared: bool = False, timeout: float | None = None) -> list[str]:
        """Lock the Service, see :meth:`Link.acquire_lock`."""
        return self.__checked_link("acquire_lock").acquire_lock(shared=shared, timeout=timeout)

    def release_lock(self, timeout: float | None = None) -> list[str]:
        """Release the lock, see :meth:`Link.release_lock`."""
        return self.__checked_link("release_lock").release_lock(timeout=timeout)

    def admin_request(self, attrib: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the Manager as an administrator, see :meth:`Client.admin_request`."""
        return self.__checked_client().admin_request(attrib, *args, **kwargs)

    def identity(self) -> dict[str, Any]:
        """Return who this Client is, see :meth:`Client.identity`."""
        return self.__checked_client().identity()

    def identities(
        self, *, as_string: bool = False, indent: int = 2, timeout: float | None = None
    ) -> dict[str, Any] | str:
        """Return who is connected, see :meth:`Client.identities`."""
        return self.__checked_client().identities(as_string=as_string, indent=indent, timeout=timeout)

    def is_connected(self) -> bool:
        """Return whether there is a connection to the Manager."""
        return self.__client is not None and self.__client.is_connected()

    def notification_handler(self, *args: Any, **kwargs: Any) -> None:
        """Handle a notification, see :meth:`Link.notification_handler`. Override it, or assign a function."""

    def service_error_handler(self) -> None:
        """Called right before the error of a request is raised; a subclass may clean up here. The Service goes on."""

    def shutdown_service(self, *args: Any, **kwargs: Any) -> Any:
        """Shut the Service down, see :meth:`Link.shutdown_service`."""
        return self.__checked_link("shutdown_service").shutdown_service(*args, **kwargs)

    def spawn(self, name: str = "LinkedClient") -> LinkedClient:
        """Return a new connection to the same Manager that is linked with the same Service.

        Args:
            name: The name of the new Client.
        """
        return LinkedClient(self.service_name, **(self.__keywords | {"name": name}))

    def unlink(self, timeout: float | None = None) -> None:
        """Unlink from the Service, see :meth:`Link.unlink`."""
        if self.__link is not None:
            self.__link.unlink(timeout=timeout)
            self.__link = None

    def disconnect(self, timeout: float | None = None) -> None:
        """Disconnect from the Manager, see :meth:`Client.disconnect`."""
        if self.__client is not None:
            self.__client.disconnect(timeout=timeout)
            self.__client = self.__link = None

    def __checked_link(self, name: str) -> Link:
        if self.__link is None:
            raise AttributeError(f"{name!r} cannot be requested: the link with {self.service_name!r} is broken")
        return self.__link

    def __checked_client(self) -> Client:
        if self.__client is None:
            raise ConnectionLostError("this LinkedClient has disconnected")
        return self.__client


def _link_in_time(client: Client, service: str, deadline: float | None) -> Link:
    """Link with a Service that may not be there yet."""
    while True:
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return client.link(service, timeout=remaining)
        except RemoteError as error:
            if error.remote_class != "KeyError":
                raise
            if remaining is not None and remaining < RETRY:
                raise TimeoutError(f"there is no {service!r} Service at Manager[{client.address_manager}]") from error
        time.sleep(RETRY)


def _weak_method(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls a method as long as its object is there."""
    reference = weakref.WeakMethod(method)

    def call(*args: Any, **kwargs: Any) -> None:
        found = reference()
        if found is not None:
            found(*args, **kwargs)

    return call


def _forget(conversation: Conversation, notifier: Notifier) -> None:
    """Take leave for a Client that nobody has any more."""
    if not conversation.may_be_left:
        return  # the program ends, and threads that still wait end with it, silently; or it is another's
    notifier.close()
    conversation.leave(EXIT)
