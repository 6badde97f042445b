"""What it takes to connect to a Manager, gathered once for Clients and Services, blocking and async.

Rule of this file: the keywords, their defaults and their meaning are those of MSL-Network 1.0, and what is new comes
after them. It must not know how a connection is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    import anyio.abc

    from .channel import Channel

__all__ = ["PORT", "ConnectOptions", "Host"]

PORT: Final = 1875
"""The default port of a Manager."""

MOST_PORT: Final = 2**16 - 1  # the system takes a larger one modulo 65536
SECONDS: Final = 1.0


class Host(str):
    """The name of a Manager that is reached in another way than over the network; it goes wherever a host name does."""

    __slots__ = ()

    def open_stream(self) -> anyio.abc.ByteStream:
        """Connect, for one who waits in an event loop."""
        raise NotImplementedError

    def open_channel(self, limit: int | None) -> Channel:
        """Connect, for one who waits in a thread.

        Args:
            limit: The longest line to receive, in bytes; None for no limit.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ConnectOptions:
    """Which Manager to connect to, and how.

    Args:
        host: The host name or IP address of the Manager.
        port: Its port.
        timeout: The longest time until the connection is made and the Manager asks its first question, in
            seconds; None for no limit.
        username: Sent when the Manager asks for a user name; None: ask the person at the terminal.
        password: The password of that user; None: ask the person.
        password_manager: The Manager's own password; None: ask the person.
        read_limit: The longest message to accept, in bytes; None for no limit.
        disable_tls: Whether to connect without TLS.
        cert_file: The certificate of the Manager, PEM; None for the one that is stored for this host.
        assert_hostname: Whether the certificate must name `host`.
        auto_save: Whether to trust a Manager that is met for the first time without asking.
        client_cert_file: The certificate that proves who this is, PEM, if the Manager asks for one.
        client_key_file: The private key of that certificate, PEM; None if it is in the same file.
        client_key_file_password: What that key is encrypted with, if it is.

    Raises:
        ValueError: If there is no such port.
    """

    host: str = "localhost"
    port: int = PORT
    timeout: float | None = 10 * SECONDS
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_manager: str | None = field(default=None, repr=False)
    read_limit: int | None = None
    disable_tls: bool = False
    cert_file: str | Path | None = None
    assert_hostname: bool = True
    auto_save: bool = False
    client_cert_file: str | Path | None = None
    client_key_file: str | Path | None = None
    client_key_file_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            port = int(self.port)  # scripts take it from the command line, as text
        except (TypeError, ValueError):
            port = 0
        if not 0 < port <= MOST_PORT:
            raise ValueError(f"the port must be between 1 and {MOST_PORT}, found {self.port!r}")
        object.__setattr__(self, "port", port)
        if isinstance(self.host, Host):  # nobody is on the way who could read along
            object.__setattr__(self, "disable_tls", True)

    @property
    def address(self) -> str:
        """The Manager's address, ``HOST:PORT``."""
        return f"{self.host}:{self.port}"

    def keywords(self) -> dict[str, Any]:
        """Return them as keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
