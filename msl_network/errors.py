"""The exceptions of the package, and how each is said on the wire.

Everything that goes wrong for a reason the package knows is a :class:`NetworkError`:

* :class:`NetworkError`
    * :class:`StartError` - the Manager (or a command) cannot start; its text is one line for a person
        * :class:`ConfigError` - a setting is wrong
        * :class:`PluginError` - a plugin is missing, broken, or does not fit
        * :class:`ListenError` - the address cannot be listened on
        * :class:`CertificateError` - a key or a certificate cannot be made, read or used
        * :class:`StoreError` - the store cannot be opened, read or written
    * :class:`RequestError` - a peer is told, and nothing else happens
        * :class:`MessageError` - what was sent is not a message
            * :class:`LineTooLongError` - a line is longer than its limit
        * :class:`AuthenticationError` - the peer did not prove who it is
        * :class:`HandshakeTimeoutError` - the peer took too long to be let in
        * :class:`IdentityError` - the peer's identity is not acceptable
        * :class:`NameTakenError` - a Service of that name is connected already
        * :class:`UnknownServiceError` - there is no Service of that name
        * :class:`NotLinkedError` - the Client is not linked with the Service
        * :class:`LinkError` - the Service takes no further Client now
        * :class:`LockError` - the lock cannot be had
        * :class:`AuthorizationError` - the peer may not do this
        * :class:`UnknownAttributeError` - the Manager has no such attribute
        * :class:`ArgumentError` - a command was sent the wrong arguments
        * :class:`BusyError` - a limit is reached; the same request may pass later
        * :class:`ServiceLostError` - the Service left before it answered
    * :class:`ConnectError` - a Client or a Service cannot connect; also a :class:`ConnectionError`
        * :class:`ConnectTimeoutError` - it took too long; also a :class:`TimeoutError`
        * :class:`UntrustedError` - the certificate of the Manager is not trusted; also a
          :class:`ConnectionRefusedError`
        * :class:`RefusedError` - the Manager lets the peer not in; also a :class:`ValueError`
    * :class:`ConnectionLostError` - the connection ended; also a :class:`ConnectionAbortedError`
    * :class:`CallTimeoutError` - the reply did not come in time; also a :class:`TimeoutError`
    * :class:`RemoteError` - the other side answered with an error; also a :class:`RuntimeError`

The last four kinds are also the built-in exceptions that the Client of 1.0 raises, which scripts catch.

Rule of this file: a peer sees the class name that MSL-Network 1.0 used (``wire_name``), because scripts look
for it. An exception must not know where it is raised or who catches it.
"""

from __future__ import annotations

import concurrent.futures
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ArgumentError",
    "AuthenticationError",
    "AuthorizationError",
    "BusyError",
    "CallTimeoutError",
    "CertificateError",
    "ConfigError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "HandshakeTimeoutError",
    "IdentityError",
    "LineTooLongError",
    "LinkError",
    "ListenError",
    "LockError",
    "MessageError",
    "NameTakenError",
    "NetworkError",
    "NotLinkedError",
    "PluginError",
    "RefusedError",
    "RemoteError",
    "RequestError",
    "ServiceLostError",
    "StartError",
    "StoreError",
    "UnknownAttributeError",
    "UnknownServiceError",
    "UntrustedError",
]


class NetworkError(Exception):
    """The root of all exceptions of this package."""


class StartError(NetworkError):
    """Raised when the Manager or a command cannot start. Its text is one line that a person understands."""


MOST_LINES: Final = 20
"""How many mistakes in settings are said at once: a terminal has not many more lines."""


class ConfigError(StartError):
    """Raised when a setting is wrong, or several are; its text is one line all the same.

    Args:
        problem: What was found and what is allowed.
        source: The file (or other origin) of the setting; empty if there is none.
        section: The section, as in the TOML file, e.g. ``manager.tls``.
        key: The key in that section.
        others: What else is wrong; none of these has others.
    """

    def __init__(
        self, problem: str, *, source: str = "", section: str = "", key: str = "", others: Sequence[ConfigError] = ()
    ) -> None:
        super().__init__(problem, source, section, key)
        self.problem = problem
        self.source = source
        self.section = section
        self.key = key
        self.others = tuple(others)

    @property
    def lines(self) -> list[str]:
        """Each mistake in a line of its own; if there are very many, how many more at the end."""
        lines = [error._line() for error in (self, *self.others)]  # noqa: SLF001 - its own class
        return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]

    def __str__(self) -> str:
        return "; ".join(self.lines)

    def _line(self) -> str:
        where = [self.source] if self.source else []
        if self.section:
            where.append(f"[{self.section}]")
        if self.key:
            where.append(self.key)
        shown = (part if part.isprintable() else repr(part) for part in where)
        return f"{' '.join(shown)}: {self.problem}" if where else self.problem


class PluginError(StartError):
    """Raised when a plugin is missing, broken, or does not fit.

    Args:
        plugin: The name of the plugin.
        problem: What is wrong with it and what to do.
    """

    def __init__(self, plugin: str, problem: str) -> None:
        super().__init__(plugin, problem)
        self.plugin = plugin
        self.problem = problem

    def __str__(self) -> str:
        return f"plugin {self.plugin!r}: {self.problem}"


class ListenError(StartError):
    """Raised when the Manager cannot listen on the address that it was given."""


class CertificateError(StartError):
    """Raised when a key or a certificate cannot be made, read or used."""


class StoreError(StartError):
    """Raised when the store cannot be opened, read or written."""


class RequestError(NetworkError):
    """Raised when a peer asked for something that it cannot have. The peer is told; nobody else notices.

    Args:
        text: What the peer reads.
        wire_name: The class name that the peer sees, if not that of the class.
    """

    wire_name = "ValueError"

    def __init__(self, text: str, *, wire_name: str | None = None) -> None:
        super().__init__(text)
        if wire_name is not None:
            self.wire_name = wire_name

    def wire_text(self) -> str:
        """Return the ``message`` of the error on the wire: ``ClassName: text``."""
        text = str(self)
        if self.wire_name == "KeyError":
            text = str(KeyError(text))  # in Python, and so in 1.0, the text of a KeyError is quoted
        return f"{self.wire_name}: {text}"


class MessageError(RequestError):
    """Raised when what a peer sent is not a message of the protocol.

    Args:
        text: What is wrong with it.
        uid: The ``uid`` of the message, as far as it is known.
        wire_name: The class name that the peer sees, if not that of the class.
    """

    def __init__(self, text: str, *, uid: object = "", wire_name: str | None = None) -> None:
        super().__init__(text, wire_name=wire_name)
        self.uid = uid


class LineTooLongError(MessageError):
    """Raised when a line is longer than the limit that holds for this connection now."""


class AuthenticationError(RequestError):
    """Raised (by an authentication plugin) when a peer did not prove who it is."""


class HandshakeTimeoutError(RequestError):
    """Raised when a peer took too long to be let in.

    Args:
        seconds: How long it had, from the connection on.
    """

    wire_name = "TimeoutError"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the handshake was not complete within {seconds:g} s")
        self.seconds = seconds


class IdentityError(RequestError):
    """Raised when the identity of a peer is not acceptable."""

    wire_name = "TypeError"


class NameTakenError(RequestError):
    """Raised when a Service of that name is connected already."""

    wire_name = "NameError"


class UnknownServiceError(RequestError):
    """Raised when there is no Service of that name."""

    wire_name = "KeyError"


class NotLinkedError(RequestError):
    """Raised when a Client is not linked with the Service, and what it asks for needs a link."""

    wire_name = "KeyError"


class LinkError(RequestError):
    """Raised when a Service takes no further Client now: it is locked, or has all it allows."""

    wire_name = "PermissionError"


class LockError(RequestError):
    """Raised when a lock cannot be had."""

    wire_name = "PermissionError"


class AuthorizationError(RequestError):
    """Raised (by a plugin that decides on rights) when a peer may not do what it asks for."""

    wire_name = "PermissionError"


class UnknownAttributeError(RequestError):
    """Raised when the Manager has no such attribute."""

    wire_name = "AttributeError"


class ArgumentError(RequestError):
    """Raised when a command of the Manager was sent the wrong arguments."""

    wire_name = "TypeError"


class BusyError(RequestError):
    """Raised when a limit is reached; the same request may pass later."""

    wire_name = "BlockingIOError"


class ServiceLostError(RequestError):
    """Raised when a Service left before it answered."""

    wire_name = "ConnectionAbortedError"


class ConnectError(NetworkError, ConnectionError):
    """Raised when a Client or a Service cannot connect to a Manager."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """Raised when connecting to a Manager takes longer than it may."""


class UntrustedError(ConnectError, ConnectionRefusedError):
    """Raised when the certificate that a Manager shows is not trusted."""


class RefusedError(ConnectError, ValueError):
    """Raised when a Manager does not let a peer in. Its text is what the Manager said."""


class ConnectionLostError(NetworkError, ConnectionAbortedError):
    """Raised when a connection to a Manager has ended, by whichever side."""


if sys.version_info >= (3, 11):
    _TimeoutError = TimeoutError
else:  # they became one in Python 3.11, and scripts catch the one or the other

    class _TimeoutError(TimeoutError, concurrent.futures.TimeoutError):
        pass


class CallTimeoutError(NetworkError, _TimeoutError):
    """Raised when the reply to a request did not come in time. It is dropped when it comes.

    Args:
        what: What was asked for, as ``Service.attribute``.
        seconds: How long it was waited for.
    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} was not answered within {self.seconds:g} s"


class RemoteError(NetworkError, RuntimeError):
    """Raised when the Manager, or a Service, answered a request with an error.

    Args:
        message: What the other side wrote: ``ClassName: text``.
        what: What was asked for, as ``Service.attribute``.
        remote_traceback: The lines of the traceback on the other side; empty if it sent none.
    """

    def __init__(self, message: str, what: str = "", remote_traceback: tuple[str, ...] = ()) -> None:
        super().__init__(message, what, remote_traceback)
        name, colon, text = message.partition(": ")
        is_named = bool(colon) and name.isidentifier()
        self.remote_class = name if is_named else ""
        """The name of the exception's class on the other side, e.g. ``"ValueError"``; empty if it sent none."""
        self.remote_message = text if is_named else message
        """The text of the exception on the other side."""
        self.remote_traceback = remote_traceback
        self.what = what

    def __str__(self) -> str:
        message: str = self.args[0]
        lines = [f"{message}  [{self.what}]" if self.what else message]
        if self.remote_traceback:
            lines += ["", "Traceback of the other side:", *self.remote_traceback]
        return "\n".join(lines)
