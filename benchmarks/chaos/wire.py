"""A connection to a Manager by hand: a socket, lines of JSON, and no library of ours in between.

Rule of this file: it sends what it is given, right or wrong, and gives back what comes, line by line. It must not
know who is good and who is not.
"""

from __future__ import annotations

import json
import platform
import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["Access", "Gone", "Wire", "request"]

CHUNK: Final = 256 * 1024

MANAGER: Final = re.compile(r"Manager\[\S+:\d+\]")


class Gone(Exception):  # noqa: N818 - it is an event, and often what was wanted
    """Raised when the connection has ended."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to get in.

    Args:
        port: The port of the Manager.
        timeout: How long connecting and shaking hands may take, in seconds.
        cert_file: Its certificate; empty if it does without TLS.
        username: A user.
        password: The password of the user.
        password_manager: The password of the Manager.
    """

    port: int
    timeout: float = 10.0
    cert_file: str = ""
    username: str = ""
    password: str = ""
    password_manager: str = ""

    def keywords(self) -> dict[str, Any]:
        """Return what the Clients and Services of the library, and those of 1.0, are to be given."""
        words: dict[str, Any] = {"host": "localhost", "port": self.port, "timeout": self.timeout}
        words |= {"cert_file": self.cert_file} if self.cert_file else {"disable_tls": True}
        given = {"username": self.username, "password": self.password, "password_manager": self.password_manager}
        return words | {key: value for key, value in given.items() if value}


class Wire:
    """A connection.

    Args:
        access: Which Manager.
        tls: Whether to use TLS, if the Manager does.
        source: The address to come from; on Linux, all of 127.0.0.0/8 are ours.

    Raises:
        Gone: If there is no Manager.
    """

    def __init__(self, access: Access, *, tls: bool = True, source: str = "127.0.0.1") -> None:
        self.access = access
        self.timeout = access.timeout
        """How long connecting, sending and shaking hands may take, in seconds."""

        self._received = bytearray()
        self._searched = 0
        try:
            self.sock = socket.create_connection(("127.0.0.1", access.port), self.timeout, (source, 0))
            self.port: int = self.sock.getsockname()[1]
            if tls and access.cert_file:
                context = ssl.create_default_context(cafile=access.cert_file)
                context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
                self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        except OSError as error:
            self.close()
            raise Gone(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, *messages: Mapping[str, Any] | bytes) -> None:
        """Send messages, or bytes as they are.

        Raises:
            Gone: If the connection has ended, or takes nothing.
        """
        data = b"".join(
            message if isinstance(message, bytes) else json.dumps(message).encode() + b"\r\n" for message in messages
        )
        try:
            self.sock.settimeout(self.timeout)
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def line(self, seconds: float) -> bytes | None:
        """Return the next line; None if there is none in that time.

        Raises:
            Gone: If the connection has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            end = self._received.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._received[: end + 1])
                del self._received[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._received)
            if not self._receive(deadline - time.monotonic()):
                return None

    def message(self, seconds: float) -> dict[str, Any] | None:
        """Return the next message; None if there is none in that time.

        Raises:
            Gone: If the connection has ended.
        """
        line = self.line(seconds)
        if line is None:
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def await_uid(self, uid: object, seconds: float) -> dict[str, Any] | None:
        """Return the next message with a uid, throwing away what comes before; None if it does not come in that time.

        Raises:
            Gone: If the connection has ended.
        """
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            message = self.message(remaining)
            if message is not None and message.get("uid") == uid:
                return message
        return None

    def _receive(self, seconds: float) -> bool:
        try:
            self.sock.settimeout(max(seconds, 0.0005))
            data = self.sock.recv(CHUNK)
        except TimeoutError:
            return False
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the other side has closed the connection")
        self._received += data
        return True

    def shake_hands(self, identity: Mapping[str, Any]) -> None:
        """Answer what the Manager asks, up to and with the identity.

        Raises:
            Gone: If the Manager refuses, or does not ask within the timeout.
        """
        attribute = ""
        while attribute != "identity":
            message = self.message(self.timeout)
            if message is None:
                raise Gone(f"the Manager asks nothing within {self.timeout} s")
            if message.get("error"):
                raise Gone(f"refused: {message['message']}")
            attribute = message["attribute"]
            self.send({"result": self._answer(attribute, message["args"], identity)})

    def _answer(self, attribute: str, args: list[Any], identity: Mapping[str, Any]) -> object:
        if attribute == "identity":
            return identity
        if attribute == "username":
            return self.access.username
        return self.access.password_manager if MANAGER.fullmatch(args[0]) else self.access.password

    def join_client(self, name: str) -> str:
        """Come in as a client, and make sure of it.

        Returns:
            The network name.

        Raises:
            Gone: If the Manager does not let us in.
        """
        self.shake_hands({"type": "client", "name": name, "language": "Python", "os": platform.system()})
        self.send({"service": "Manager", "attribute": "unlink", "args": [""], "kwargs": {}, "uid": "hello"})
        message = self.message(self.timeout)
        if message is None:
            raise Gone(f"the Manager answers nothing within {self.timeout} s")
        if message.get("uid") != "hello":
            raise Gone(f"refused: {message.get('message')}")
        network_name: str = message["requester"]
        return network_name

    def join_service(self, name: str, **identity: Any) -> None:
        """Come in as a service; nothing tells whether the Manager has accepted that.

        Raises:
            Gone: If the Manager does not ask for it.
        """
        self.shake_hands({"type": "service", "name": name, "attributes": {"echo": "(*args)"}, **identity})

    def half_close(self) -> None:
        """Say that nothing more will come, and go on listening."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Gone(str(error)) from error

    def close(self) -> None:
        """Close the connection, in whatever state."""
        if hasattr(self, "sock"):
            self.sock.close()

    def reset(self) -> None:
        """End the connection as a crash of the computer would."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def request(service: str, attribute: str, *args: Any, uid: Any = "1", **kwargs: Any) -> dict[str, Any]:
    """Return a request.

    Args:
        service: The name of the Service, or ``"Manager"``.
        attribute: What is asked for.
        args: The arguments.
        uid: The mark of the request.
        kwargs: The keyword arguments.
    """
    return {"args": args, "attribute": attribute, "error": False, "kwargs": kwargs, "service": service, "uid": uid}
