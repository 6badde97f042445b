"""What a store keeps, as any persistence plugin offers it: users, trusted hostnames, records, collections.

Rule of this file: interfaces and values only. A plugin that needs data asks for a :class:`Store`; only a
persistence plugin knows where it is kept. It must not know SQL, files, or any plugin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Collection", "Hostnames", "Record", "Records", "Store", "User", "Users"]


@dataclass(frozen=True, kw_only=True)
class User:
    """A person who may log in.

    Args:
        name: The user name.
        key: What a password is checked against: derived from it, never the password itself.
        salt: What the key was derived with; the plugin that derives it decides on the form.
        is_admin: Whether the user is an administrator.
        number: A number that the store gives each user; 0 before it is stored.
    """

    name: str
    key: bytes
    salt: bytes
    is_admin: bool = False
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of a connection's story.

    Args:
        time: When, in local time, to the second.
        ip_address: The numeric address of the peer.
        domain: Its host name as far as it is known, else the address again.
        port: Its TCP port.
        message: What happened.
        number: A number that the store gives each record; 0 before it is stored.
    """

    time: datetime
    ip_address: str
    domain: str
    port: int
    message: str
    number: int = 0


class Users(Protocol):
    """The users."""

    async def get(self, name: str) -> User | None:
        """Return the user of that name, or None."""

    async def list(self) -> list[User]:
        """Return all users, sorted by name."""

    async def insert(self, user: User) -> bool:
        """Add a user. Returns False, and changes nothing, if the name is taken."""

    async def update(self, user: User) -> bool:
        """Replace the user of that name. Returns False if there is none."""

    async def delete(self, name: str) -> bool:
        """Remove a user. Returns False if there is none of that name."""


class Hostnames(Protocol):
    """The trusted host names."""

    async def list(self) -> list[str]:
        """Return all host names, sorted."""

    async def insert(self, hostname: str) -> bool:
        """Add a host name. Returns False if it is there already."""

    async def delete(self, hostname: str) -> bool:
        """Remove a host name. Returns False if it is not there."""


class Records(Protocol):
    """The records of connections."""

    def add(self, record: Record) -> None:
        """Keep a record. Returns at once: it is written later, in a batch, off the event loop."""

    async def list(self, *, start: datetime | None = None, end: datetime | None = None) -> list[Record]:
        """Return the records from start to end (both included), oldest first, those just added as well."""


class Collection(Protocol):
    """JSON values by key, for whatever else a plugin keeps."""

    async def get(self, key: str) -> Any | None:
        """Return the value, or None."""

    async def set(self, key: str, value: Any) -> None:
        """Keep a JSON value under a key, replacing what was there."""

    async def delete(self, key: str) -> bool:
        """Remove a key. Returns False if it is not there."""

    async def items(self) -> Mapping[str, Any]:
        """Return everything, sorted by key."""


class Store(Protocol):
    """Where data is kept. All raise :class:`~msl_network.errors.StoreError` if it cannot be reached."""

    @property
    def location(self) -> str:
        """Where it is, for a person: a path, a URL without secrets."""

    @property
    def users(self) -> Users:
        """The users."""

    @property
    def hostnames(self) -> Hostnames:
        """The trusted host names."""

    @property
    def records(self) -> Records:
        """The records of connections."""

    def collection(self, name: str) -> Collection:
        """Return the collection of that name; it need not exist before."""
