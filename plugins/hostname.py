"""Authenticates a peer by the computer it connects from, and lets administrators manage the trusted ones.

Rule of this file: nothing is asked of the peer. A computer is trusted if its address or its name is in the
list of the configuration or in that of the store; case does not matter. A name is as trustworthy as the DNS.

It must not know how a name is looked up (the peer does), where the list is kept (the store does), or any
other plugin.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import logging
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from msl_network.commands import Command
from msl_network.errors import ArgumentError, AuthenticationError, StartError, StoreError
from msl_network.hookspecs import hookimpl
from msl_network.messages import is_clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from msl_network.cli import Context
    from msl_network.manager import Manager
    from msl_network.peer import Peer
    from msl_network.store import Hostnames

__all__ = ["Hostname"]

logger = logging.getLogger("msl_network.hostname")

MAX_NAME: Final = 255  # characters: longer is no name in DNS (RFC 1035)


@dataclass(eq=False)
class Hostname:
    """Lets in the peers of trusted computers.

    Args:
        hostnames: Trusted host names and addresses, beside those in the store.
    """

    hostnames: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._table: _Table | None = None
        self._stored: list[str] = []
        self._trusted: frozenset[str] = frozenset()

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Read the list of the Manager's store."""
        self._table = _Table(manager.store.hostnames)
        try:
            await self._table.fill()
        except StoreError as error:
            # a read-only database: what is in it counts, but an empty list must not lock out this computer
            logger.warning("the names of this computer cannot be added to the trusted host names: %s", error)
        self._stored = await self._table.names()
        self._trust()

    @hookimpl
    async def authenticate(self, peer: Peer) -> None:
        """Let a trusted computer in."""
        hostname = await peer.resolve_hostname()
        names = {hostname.casefold(), peer.domain.casefold(), peer.ip_address.casefold()}
        if peer.is_local:
            names |= _own_names()
        if not names & self._trusted:
            raise AuthenticationError(f"{hostname!r} is not a trusted hostname")

    @hookimpl
    async def reload(self, settings: Hostname) -> Callable[[], None]:
        """Trust the names that are in the configuration and in the store now."""
        before = self._stored
        stored = await self._open_table().names()

        def change() -> None:
            self.hostnames = settings.hostnames
            if self._stored is before:  # else an administrator has changed the list meanwhile
                self._stored = stored
            self._trust()

        return change

    @hookimpl
    def commands(self) -> list[Command]:
        """Let administrators manage the list."""
        return [
            Command(name="hostnames_table.hostnames", function=self._list),
            Command(name="hostnames_table.insert", function=self._insert),
            Command(name="hostnames_table.delete", function=self._delete),
        ]

    @hookimpl
    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add ``msl-network hostname``."""
        parser = subparsers.add_parser(
            "hostname",
            help="add, remove or list the trusted computers",
            description="Manage the trusted computers of a Manager that is started with --auth-hostname. "
            "It reads the list when it starts, and when it is told to reload its settings.",
        )
        actions = ["insert", "add", "remove", "delete", "list"]
        parser.add_argument("action", choices=actions, help="what to do")
        parser.add_argument("names", nargs="*", help="the host names or addresses of the computers")
        parser.add_argument("-d", "--database", metavar="PATH", help="the database, if not that of the Manager")
        parser.set_defaults(run=_run)

    async def _read(self) -> None:
        self._stored = await self._open_table().names()
        self._trusted = self._listed()

    def _trust(self) -> None:
        # of an empty list, as of a database that cannot be written to, this computer is not to be locked out
        self._trusted = self._listed() or _own_names()

    def _listed(self) -> frozenset[str]:
        return frozenset(name.casefold() for name in (*self.hostnames, *self._stored))

    def _open_table(self) -> _Table:
        if self._table is None:
            raise StoreError("the trusted host names are not known: the Manager is not started")
        return self._table

    # Commands; each is given the peer that asks

    async def _list(self, _peer: Peer) -> list[str]:
        return await self._open_table().names()

    async def _insert(self, peer: Peer, hostname: str) -> None:
        name = _text(hostname)
        await self._open_table().insert(name)
        await self._read()
        logger.info("%s added the trusted host name %r", peer.network_name, name)

    async def _delete(self, peer: Peer, hostname: str) -> None:
        name = _text(hostname)
        await self._open_table().delete(name)
        await self._read()
        logger.info("%s deleted the trusted host name %r", peer.network_name, name)
        if name.casefold() in self._trusted:
            logger.warning("%r is still trusted: it is in the configuration, too", name)
        if not self._stored:
            logger.warning("no trusted host name is left; the next start adds those of this computer again")


class _Table:
    """The host names of a store; two that differ in case only are the same.

    Args:
        hostnames: The host names of the store.
    """

    def __init__(self, hostnames: Hostnames) -> None:
        self._hostnames = hostnames
        self._changing = anyio.Lock()

    async def names(self) -> list[str]:
        return await self._hostnames.list()

    async def fill(self) -> None:
        """Trust this computer if nobody is trusted yet, as 1.0 does."""
        async with self._changing:
            if not await self._hostnames.list():
                for name in sorted(_own_names()):
                    await self._hostnames.insert(name)

    async def insert(self, name: str) -> None:
        """Add a name, if it is not there yet.

        Raises:
            ValueError: If it can be the name of no computer.
        """
        if not is_clean(name) or any(character.isspace() for character in name) or len(name) > MAX_NAME:
            raise ValueError(f"{name!r} cannot be a hostname: it is empty, too long, or has spaces or the like")
        async with self._changing:
            if not await self._same(name):
                await self._hostnames.insert(name)

    async def delete(self, name: str) -> None:
        """Remove a name, however it is spelt.

        Raises:
            ValueError: If it is not there.
        """
        async with self._changing:
            same = await self._same(name)
            if not same:
                raise ValueError(f"Cannot delete {name!r}. This hostname is not in the table.")
            for found in same:
                await self._hostnames.delete(found)

    async def _same(self, name: str) -> list[str]:
        return [found for found in await self._hostnames.list() if found.casefold() == name.casefold()]


def _own_names() -> frozenset[str]:
    """Return the names of this computer; a local peer is trusted while one of them is."""
    return frozenset({socket.gethostname().casefold(), "localhost", "127.0.0.1", "::1"})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"hostname must be a string, found {type(value).__name__}")
    return value


async def _run(args: argparse.Namespace, context: Context) -> int:
    past = args.action + ("d" if args.action.endswith("e") else "ed")
    if args.action != "list" and not args.names:
        raise StartError(f"No hostnames were {past}: name at least one")
    async with context.open_store(args.database) as store:
        table = _Table(store.hostnames)
        await table.fill()
        if args.action == "list":
            print(f"Trusted devices in {store.location}\n\nHostnames:")
            for name in await table.names():
                print(f"  {name}")
            return 0
        change = table.insert if args.action in {"insert", "add"} else table.delete
        # all are tried: what could be done is done, and said
        done = [await _try(change, name, args.action, past) for name in args.names]
        if change == table.delete and not await table.names():
            print(
                "note: no name is left, so the next start, or command, adds those of this computer again: "
                f"{', '.join(sorted(_own_names()))}; to keep it out, add another name before you {args.action} its own"
            )
    return 0 if all(done) else 1


async def _try(change: Callable[[str], Awaitable[None]], name: str, action: str, past: str) -> bool:
    try:
        await change(name)
    except ValueError as error:
        print(str(error).replace("Cannot delete", f"Cannot {action}"), file=sys.stderr)
        return False
    print(f"{past.title()} {name}")
    return True
