"""The base class of all Services: makes the methods of a subclass callable through a Manager.

Rule of this file: the public names are those of MSL-Network 1.0, with their meaning; all else is hidden by two
underscores, because a subclass is a stranger's and may call its own attributes what it likes. It must not know how
requests are read and run (:mod:`msl_network.serving`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from .connecting import PORT, ConnectOptions
from .describe import describe, language, system
from .messages import DRIVING
from .payload import encode_notification
from .serving import GRACE, LOOK, Serving

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

__all__ = ["Service", "filter_service_start_kwargs", "set_logging_level"]

logger = logging.getLogger("msl_network")

MEBI: Final = 2**20

_UNLISTED: Final = DRIVING | {
    "address_manager",
    "identity",
    "loop_thread_id",
    "max_clients",
    "max_message",
    "name",
    "port",
}
"""What each Service has, and need not tell."""


class Service:
    """The base class of all Services.

    A subclass defines methods, properties and constants; Clients can request those whose names do not begin with an
    underscore. Several requests may run at once, each in a thread; methods that are ``async def`` run in the event loop
    of the thread that called :meth:`start`.

    Args:
        name: The name of the Service; that of the class if None.
        max_clients: The most Clients that may be linked at a time; no limit if None or not positive.
        ignore_attributes: The name, or the names, of attributes that are not told to others, see
            :meth:`ignore_attributes`.
        max_workers: The most requests that run at once; 1 for an instrument that does one thing after the other. If
            None, 32 that run in threads, and any number that are ``async def``.

    Raises:
        ValueError: If `max_workers` is not positive.
    """

    max_message: int = 256 * MEBI
    """The longest reply or notification, in bytes. The default is that of a Manager, which closes the connection when a
    message is longer than it allows; so a longer reply becomes an error for the Client that asked."""

    def __init__(
        self,
        *,
        name: str | None = None,
        max_clients: int | None = None,
        ignore_attributes: str | list[str] | tuple[str, ...] | None = None,
        max_workers: int | None = None,
    ) -> None:
        for keyword, value in (("max_clients", max_clients), ("max_workers", max_workers)):
            if value is not None and not isinstance(value, (int, float)):
                raise TypeError(f"{keyword} must be a number or None, found {value!r}")
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, found {max_workers}")
        self.__name = type(self).__name__ if name is None else name
        self.__max_clients = -1 if max_clients is None or max_clients <= 0 else int(max_clients)
        self.__max_workers = max_workers
        self.__ignored = set(_UNLISTED)
        if ignore_attributes is not None:
            names = [ignore_attributes] if isinstance(ignore_attributes, str) else ignore_attributes
            self.__ignored.update(names)
        self.__tasks: list[Awaitable[Any]] = []
        self.__serving: Serving | None = None
        self.__starting = threading.Lock()

    @property
    def name(self) -> str:
        """The name of the Service."""
        return self.__name

    @property
    def max_clients(self) -> int:
        """The most Clients that may be linked at a time; no limit if not positive."""
        return self.__max_clients

    @property
    def port(self) -> int | None:
        """The port of this end of the connection; None before there is one."""
        return None if self.__serving is None else self.__serving.port

    @property
    def address_manager(self) -> str | None:
        """The address of the Manager, ``HOST:PORT``; None before there is a connection."""
        return None if self.__serving is None else self.__serving.address

    @property
    def loop_thread_id(self) -> int | None:
        """The identifier of the thread that runs the event loop; None when it does not run."""
        return None if self.__serving is None else self.__serving.loop_thread_id

    def __str__(self) -> str:
        return "<UNKNOWN>" if self.__serving is None else self.__serving.network_name

    def __repr__(self) -> str:
        if self.__serving is None:
            return f"<{type(self).__name__} {self.__name!r}, not started>"
        return f"<{type(self).__name__} {self.__serving.network_name} at Manager[{self.__serving.address}]>"

    def identity(self) -> dict[str, Any]:
        """Return who this Service is, as the Manager is told: name, attributes, docs of the methods, and so on."""
        attributes, docs = describe(self, self.__ignored)
        return {
            "type": "service",
            "name": self.__name,
            "attributes": attributes,
            "max_clients": self.__max_clients,
            "language": language(),
            "os": system(),
            "docs": docs,
        }

    @staticmethod
    def set_logging_level(level: str | int) -> bool:
        """Set the level of the ``msl_network`` logger.

        Args:
            level: A name, in any case, or a number.

        Returns:
            Whether there is such a level.
        """
        return set_logging_level(level)

    def ignore_attributes(self, *names: str) -> None:
        """Do not tell others of some attributes. To be called before :meth:`start`.

        A Client that knows of one can still request it; only what begins with an underscore is refused.

        Args:
            names: The names.
        """
        self.__ignored.update(names)

    def add_tasks(self, *coros_or_futures: Awaitable[Any]) -> None:
        """Have more run in the event loop of the Service. To be called before :meth:`start`.

        A task that raises ends the Service, and :meth:`start` raises the same. When the connection has ended and
        :meth:`shutdown_handler` was called, tasks have five seconds until they are cancelled.

        Args:
            coros_or_futures: Coroutines or futures.
        """
        self.__tasks.extend(coros_or_futures)

    def shutdown_handler(self) -> None:
        """Called once, when the connection to the Manager has ended; a subclass may clean up here."""

    def emit_notification(self, *args: Any, **kwargs: Any) -> None:
        """Tell all linked Clients something: it reaches their ``notification_handler``. From any thread.

        Nothing happens when the connection has ended.

        Args:
            args: The positional arguments for the handlers.
            kwargs: The keyword arguments for the handlers.

        Raises:
            RuntimeError: If the Service was not started.
            TypeError: If JSON cannot carry an argument.
            ValueError: As above, or if it is longer than `max_message`.
        """
        line = encode_notification(self.__name, args, kwargs)
        if len(line) > self.max_message:
            raise ValueError(f"the notification has {len(line)} bytes, the limit (max_message) is {self.max_message}")
        if self.__serving is None:
            raise RuntimeError(f"the {self.__name!r} Service was not started, it has nobody to notify")
        self.__serving.notify(line)

    def emit_notification_threadsafe(self, *args: Any, **kwargs: Any) -> None:
        """Do the same as :meth:`emit_notification`, which 1.0 allows in the event loop only.

        Args:
            args: The positional arguments for the handlers.
            kwargs: The keyword arguments for the handlers.
        """
        self.emit_notification(*args, **kwargs)

    def start(
        self,
        *,
        name: str | None = None,
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
        """Connect to a Manager and serve, until the Manager, ``shutdown_service()`` or Ctrl+C ends that.

        Args:
            name: The name of the Service, in place of that it has.
            host: The host name or IP address of the Manager.
            port: Its port.
            timeout: The longest time to connect, in seconds; None for no limit.
            username: The user name, if the Manager asks for one; None: the person at the terminal is asked.
            password: The password of that user; None: as above.
            password_manager: The password of the Manager, if it asks for one; None: as above.
            read_limit: The longest request to accept, in bytes; None for no limit.
            disable_tls: Whether to connect without TLS.
            cert_file: The certificate of the Manager; None for the one that is stored for this host.
            assert_hostname: Whether the certificate must name `host`.
            auto_save: Whether to trust a Manager that is met for the first time without asking.
            client_cert_file: The certificate that proves who this is, PEM, if the Manager asks for one (the plugin
                `certificate`).
            client_key_file: The private key of that certificate, PEM; None if it is in the same file.
            client_key_file_password: What that key is encrypted with, if it is.

        Raises:
            ConnectError: If it cannot connect, or the Manager does not let it in.
            RuntimeError: If it has started already, or the constructor of the subclass did not call that of Service.
        """
        if "_Service__ignored" not in vars(self):
            raise RuntimeError(f"the constructor of {type(self).__name__} must call super().__init__()")
        if name is not None:
            self.__name = name
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
        if not self.__starting.acquire(blocking=False):
            raise RuntimeError(f"the {self.__name!r} Service has started already, at Manager[{self.address_manager}]")
        try:
            serving = Serving(self, options, max_workers=self.__max_workers, refused=DRIVING)
            self.__serving = serving
            tasks, self.__tasks = self.__tasks, []
            if _has_loop():
                _run_in_thread(serving, tasks, f"{self.__name} loop")
            else:
                serving.run(tasks)
        finally:
            self.__starting.release()


def _has_loop() -> bool:
    """Return whether an event loop runs in this thread, as in a notebook: then no second one can."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_in_thread(serving: Serving, tasks: list[Awaitable[Any]], name: str) -> None:
    failures: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            serving.run(tasks)
        except BaseException as error:  # noqa: BLE001 - it is raised where it belongs
            failures.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(LOOK)
    except KeyboardInterrupt:  # as in a thread of its own, Ctrl+C is the way to end a Service
        serving.stop()
        ended.wait(None if thread.ident else GRACE)  # else it has hardly begun, if it has
    if failures:
        raise failures[0]


def filter_service_start_kwargs(**kwargs: Any) -> dict[str, Any]:
    """Return those keyword arguments that :meth:`Service.start` takes; the others are left out.

    Args:
        kwargs: Any; `auth_password`, as a Manager calls it, becomes `password_manager` unless that is there, too.
    """
    known = inspect.signature(Service.start).parameters.keys() - {"self"}
    chosen = {key: value for key, value in kwargs.items() if key in known}
    if "auth_password" in kwargs:
        chosen.setdefault("password_manager", kwargs["auth_password"])
    return chosen


def set_logging_level(level: str | int) -> bool:
    """Set the level of the ``msl_network`` logger.

    Args:
        level: A name, in any case, or a number, also as text.

    Returns:
        Whether there is such a level.
    """
    if isinstance(level, str):
        level = int(level) if level.strip().isdecimal() else level.strip().upper()
    try:
        logger.setLevel(level)
    except (ValueError, TypeError) as error:
        logger.error("the logging level cannot be set: %s", error)  # noqa: TRY400 - a mistake of somebody's
        return False
    return True
