"""Authenticates a peer by user name and password, and lets administrators and the command line manage users.

Rule of this file: whoever asks learns nothing but yes or no. An unknown user and a wrong password give the
same questions, the same text and the same work. Keys are derived in worker threads, a few at a time, and the
addresses that peers come from take turns.

It must not know where users are kept (the store does), or any other plugin.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import getpass
import hashlib
import hmac
import logging
import os
import re
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from msl_network.commands import Command
from msl_network.errors import ArgumentError, AuthenticationError, PluginError, StartError, StoreError
from msl_network.hookspecs import hookimpl
from msl_network.messages import is_clean
from msl_network.store import User
from msl_network.threads import Threads
from msl_network.throttle import origin

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable

    from msl_network.cli import Context
    from msl_network.handshake import Handshake
    from msl_network.manager import Manager
    from msl_network.peer import Peer
    from msl_network.store import Users

__all__ = ["Login"]

logger = logging.getLogger("msl_network.login")

REFUSED: Final = "Unregistered user or Wrong login password"  # both phrases of 1.0, which scripts look for

MAX_NAME: Final = 256  # characters, as for the names of Services
MAX_ANSWER: Final = 1024  # characters of a user name or a password that a peer sends

MAX_DERIVATIONS: Final = 4  # at a time: each takes a core and 32 MiB for some 0.3 s

HERE: Final = "127.0.0.1"  # whose turn it is when the command line asks

NOT_A_NAME: Final = re.compile(r":\d+\Z")
"""Clients take ``...:<digits>`` for the name of a Manager when they are asked for a password."""


@dataclass(eq=False)
class Login:
    """Asks for a user name and a password, and compares them with the users in the store."""

    def __post_init__(self) -> None:
        self._accounts: _Accounts | None = None

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Take the users of the Manager's store.

        Raises:
            PluginError: If nobody could log in.
        """
        accounts = _Accounts(manager.store.users)
        if manager.is_authenticator(self) and not await accounts.list():
            add = manager.config.command_line("user insert NAME --password ...")
            raise PluginError("login", f"there are no users yet in {manager.store.location}; add one with: {add}")
        self._accounts = accounts

    @hookimpl
    async def stopping(self) -> None:
        """Have the threads end that derive nothing."""
        if self._accounts is not None:
            self._accounts.close()

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        """Let a registered user in."""
        user = await self._log_in(peer, handshake)
        peer.username = user.name
        peer.is_admin = user.is_admin

    @hookimpl
    async def authenticate_administrator(self, peer: Peer, handshake: Handshake) -> bool:
        """Tell whether the person at a connected Client is an administrator."""
        user = await self._log_in(peer, handshake)
        if user.is_admin:
            logger.info("%s is an administrator from now on, as %r", peer.network_name, user.name)
        return user.is_admin

    @hookimpl
    def commands(self) -> list[Command]:
        """Let administrators manage the users."""
        functions: dict[str, Callable[..., Any]] = {
            "usernames": self._usernames,
            "users": self._list,
            "is_user_registered": self._is_user_registered,
            "is_admin": self._is_admin,
            "insert": self._insert,
            "update": self._update,
            "delete": self._delete,
        }
        return [Command(name=f"users_table.{name}", function=function) for name, function in functions.items()]

    @hookimpl
    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add ``msl-network user``."""
        parser = subparsers.add_parser(
            "user",
            help="add, change, remove or list the users who may log in",
            description="Manage the users of a Manager that is started with --auth-login.",
        )
        actions = ["insert", "add", "remove", "delete", "update", "list"]
        parser.add_argument("action", choices=actions, help="what to do")
        parser.add_argument("username", nargs="?", help="the name of the user")
        parser.add_argument(
            "-a",
            "--admin",
            action="store_true",
            help="the user is an administrator; 'update' without it takes these rights away",
        )
        parser.add_argument("-d", "--database", metavar="PATH", help="the database, if not that of the Manager")
        parser.add_argument(
            "-p",
            "--password",
            nargs="+",
            metavar="WORD",
            help="the password, spaces allowed, or the path of a file whose first line is the password; "
            "without it, 'insert' and 'add' ask for it",
        )
        parser.set_defaults(run=_run)

    async def _log_in(self, peer: Peer, handshake: Handshake) -> User:
        # What can be no name or no password of anybody is refused at once: that tells nobody anything
        username = _check_answer(await handshake.ask("username", handshake.network_name))
        password = _check_answer(await handshake.ask("password", username))
        user = await self._open_accounts().check(username, password, peer.ip_address)
        if user is None:
            raise AuthenticationError(REFUSED)
        return user

    def _open_accounts(self) -> _Accounts:
        if self._accounts is None:
            raise StoreError("the users are not known: the Manager is not started")
        return self._accounts

    # Commands; each is given the peer that asks

    async def _usernames(self, _peer: Peer) -> list[str]:
        return [user.name for user in await self._open_accounts().list()]

    async def _list(self, _peer: Peer) -> list[list[Any]]:
        return [[user.name, user.is_admin] for user in await self._open_accounts().list()]

    async def _is_user_registered(self, _peer: Peer, username: str) -> bool:
        return await self._open_accounts().get(_text("username", username)) is not None

    async def _is_admin(self, _peer: Peer, username: str) -> bool:
        user = await self._open_accounts().get(_text("username", username))
        return user is not None and user.is_admin

    async def _insert(self, peer: Peer, username: str, password: str, is_admin: bool) -> None:
        name, word, admin = _text("username", username), _text("password", password), _flag(is_admin)
        await self._open_accounts().insert(name, word, admin, peer.ip_address)
        logger.info("%s added the user %r", peer.network_name, name)

    async def _update(
        self, peer: Peer, username: str, *, password: str | None = None, is_admin: bool | None = None
    ) -> None:
        name = _text("username", username)
        word = None if password is None else _text("password", password)
        admin = None if is_admin is None else _flag(is_admin)
        await self._open_accounts().update(name, word, admin, peer.ip_address)
        logger.info("%s updated the user %r", peer.network_name, name)

    async def _delete(self, peer: Peer, username: str) -> None:
        name = _text("username", username)
        await self._open_accounts().delete(name)
        logger.info("%s deleted the user %r", peer.network_name, name)


class _Turns:
    """Gives a few places to many, who wait by address: the addresses take turns, and of one the last comes first.

    First come, first served would be unfair: whoever comes with 500 logins at once would keep everybody else
    waiting. And of those 500 it would serve each when its time is just over, so that none gets in. No place is left
    empty while somebody waits. Who waits has a connection, and those are bounded.

    Args:
        places: How many may have one at a time.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, list[anyio.Event]] = {}  # whose turn is next comes first

    @asynccontextmanager
    async def turn(self, ip_address: str) -> AsyncIterator[None]:
        """Wait for a place, and have it.

        Args:
            ip_address: For whom.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(origin(ip_address))
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, where: str) -> None:
        mine = anyio.Event()
        self._waiting.setdefault(where, []).append(mine)
        try:
            await mine.wait()
        except BaseException:
            if mine.is_set():  # the turn came at the moment of giving up
                self._pass_on()
            else:
                self._waiting[where].remove(mine)
                if not self._waiting[where]:
                    del self._waiting[where]
            raise

    def _pass_on(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        where = next(iter(self._waiting))
        waiting = self._waiting.pop(where)
        waiting.pop().set()
        if waiting:
            self._waiting[where] = waiting  # at the end again


class _Accounts:
    """Users and their passwords.

    Args:
        users: The users of the store.
    """

    def __init__(self, users: Users) -> None:
        self._users = users
        self._writing = anyio.Lock()  # a change is read, derive, write: one at a time
        places = min(MAX_DERIVATIONS, os.cpu_count() or 1)
        self._turns = _Turns(places)
        # threads of our own: who has a turn has one at once, and messages go before keys
        self._threads = Threads(places, "passwords", is_background=True)

    def close(self) -> None:
        self._threads.close()

    async def list(self) -> list[User]:
        return await self._users.list()

    async def get(self, name: str) -> User | None:
        return await self._users.get(name) if _is_usable(name) else None

    async def check(self, name: str, password: str, ip_address: str) -> User | None:
        """Return the user if the password is right, else None, after the same work."""
        user = await self.get(name)
        async with self._turns.turn(ip_address):
            is_right, new = await self._threads.run(_check, user, password)
        if not is_right or user is None:
            return None
        if new is not None:
            await self._upgrade(user, *new)
        return user

    async def insert(self, name: str, password: str, is_admin: bool, ip_address: str) -> None:
        """Add a user.

        Raises:
            ValueError: If the name is taken, or the name or the password cannot be used.
        """
        _check_name(name)
        _check_password(name, password)
        key, salt = await self._derive(password, ip_address)
        async with self._writing:
            if not await self._users.insert(User(name=name, key=key, salt=salt, is_admin=is_admin)):
                raise ValueError(f"A user with the name {name!r} already exists")

    async def update(self, name: str, password: str | None, is_admin: bool | None, ip_address: str) -> None:
        """Change the password, the rights, or both.

        Raises:
            ValueError: If there is no such user, the password cannot be used, or there is nothing to change.
        """
        changes: dict[str, Any] = {}
        await self._find(name, "update")
        if password is None and is_admin is None:
            raise ValueError("Must specify either the password and/or the admin rights when updating")
        if password is not None:
            _check_password(name, password)
            changes["key"], changes["salt"] = await self._derive(password, ip_address)
        if is_admin is not None:
            changes["is_admin"] = is_admin
        async with self._writing:
            await self._users.update(replace(await self._find(name, "update"), **changes))

    async def delete(self, name: str) -> None:
        """Remove a user.

        Raises:
            ValueError: If there is no such user.
        """
        async with self._writing:
            await self._find(name, "delete")
            await self._users.delete(name)

    async def _find(self, name: str, action: str) -> User:
        user = await self.get(name)
        if user is None:
            raise ValueError(f"Cannot {action} {name!r}. This user is not in the table.")
        return user

    async def _derive(self, password: str, ip_address: str) -> tuple[bytes, bytes]:
        async with self._turns.turn(ip_address):
            return await self._threads.run(_new_key, password)

    async def _upgrade(self, user: User, key: bytes, salt: bytes) -> None:
        """Replace a key of 1.0. It may wait: a failure is no reason to refuse the user."""
        try:
            async with self._writing:
                # meanwhile the password may have been changed, and must not come back
                now = await self._users.get(user.name)
                if now is not None and (now.key, now.salt) == (user.key, user.salt):
                    await self._users.update(replace(now, key=key, salt=salt))
        except StoreError as error:
            logger.warning("the key of the user %r stays as it is for now: %s", user.name, error)


# Keys. They run in worker threads.

SALT_SIZE: Final = 16  # bytes
KEY_SIZE: Final = 32  # bytes
LEGACY_ITERATIONS: Final = 100_000  # of PBKDF2-HMAC-SHA256, in every database of 1.0
MAX_MEMORY: Final = 2**30  # bytes for one derivation, whatever a database asks for


@dataclass(frozen=True)
class _Scrypt:
    """How a key is derived with scrypt; it is written in front of the salt, so that it can change."""

    n: int
    r: int
    p: int
    salt: bytes

    @classmethod
    def parse(cls, blob: bytes) -> _Scrypt | None:
        found = re.fullmatch(rb"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2}):(.{16})", blob, re.DOTALL)
        if found is None:
            return None
        log_n, r, p = (int(number) for number in found.groups()[:3])
        scheme = cls(2**log_n, r, p, found[4])
        # the bounds of RFC 7914, and ours on memory: the derivation must not fail for what a database says
        possible = 0 < log_n < 16 * r and p > 0 and scheme.memory <= MAX_MEMORY
        return scheme if possible else None

    @classmethod
    def new(cls) -> _Scrypt:
        # OWASP Password Storage Cheat Sheet: with 32 MiB, N=2^15, r=8, p=3 is as good as its other choices
        return cls(2**15, 8, 3, os.urandom(SALT_SIZE))

    @property
    def memory(self) -> int:
        """Bytes that OpenSSL needs."""
        return 128 * self.r * (self.n + self.p + 2)

    def blob(self) -> bytes:
        return b"scrypt:%d:%d:%d:%s" % (self.n.bit_length() - 1, self.r, self.p, self.salt)

    def derive(self, password: str) -> bytes:
        return hashlib.scrypt(
            password.encode(),
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=self.memory,
            dklen=KEY_SIZE,
        )


def _new_key(password: str) -> tuple[bytes, bytes]:
    """Return key and salt for a password."""
    scheme = _Scrypt.new()
    return scheme.derive(password), scheme.blob()


def _is_legacy(user: User) -> bool:
    return len(user.salt) == SALT_SIZE


def _is_current(user: User) -> bool:
    """Whether a key was made as new ones are."""
    scheme = _Scrypt.parse(user.salt)
    return scheme is not None and replace(scheme, salt=b"") == replace(_Scrypt.new(), salt=b"")


def _check(user: User | None, password: str) -> tuple[bool, tuple[bytes, bytes] | None]:
    """Return whether a password is right, and then key and salt that should replace the user's, if they should."""
    if not _is_right(user, password) or user is None:
        return False, None
    return True, None if _is_current(user) else _new_key(password)


def _is_right(user: User | None, password: str) -> bool:
    """Compare a password with a user's key.

    Both derivations run always, so that the time tells neither whether there is a user nor what kind of key
    it has.
    """
    scheme = None if user is None else _Scrypt.parse(user.salt)
    legacy = user is not None and _is_legacy(user)
    modern_key = (scheme or _Scrypt.new()).derive(password)
    salt = user.salt if user is not None and legacy else bytes(SALT_SIZE)
    legacy_key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, LEGACY_ITERATIONS, KEY_SIZE)
    if user is not None and not legacy and scheme is None:
        logger.warning("the key of the user %r is of an unknown kind; set a new password", user.name)
        return False
    expected = os.urandom(KEY_SIZE) if user is None else user.key
    return hmac.compare_digest(legacy_key if legacy else modern_key, expected)


# What a peer or a person wrote


def _is_usable(text: str) -> bool:
    """Whether a text can be a password or a user name that 1.0 took."""
    return 0 < len(text) <= MAX_ANSWER and "\0" not in text and not re.search("[\ud800-\udfff]", text)


def _check_answer(answer: object) -> str:
    if isinstance(answer, str) and _is_usable(answer):
        return answer
    raise AuthenticationError(REFUSED)


def _check_name(name: str) -> None:
    if not is_clean(name):
        raise ValueError(f"A username must not be empty or have control characters, found {name!r}")
    if len(name) > MAX_NAME:
        raise ValueError(f"A username can have {MAX_NAME} characters, found {len(name)}")
    if NOT_A_NAME.search(name):
        raise ValueError('A username cannot end with ":<integer>"')


def _check_password(name: str, password: str) -> None:
    if not password:
        raise ValueError(f"You must specify a password for {name!r}")
    if not _is_usable(password):
        raise ValueError(f"A password can have {MAX_ANSWER} characters, none of them NUL or half a character")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be a string, found {type(value).__name__}")
    return value


def _flag(value: object) -> bool:
    if value not in (True, False):  # 0 and 1, too: not every language has booleans
        raise ArgumentError(f"is_admin must be true or false, found {value!r}")
    return bool(value)


# The command line


async def _run(args: argparse.Namespace, context: Context) -> int:
    try:
        if args.action == "list":
            await _print_users(args, context)
        else:
            await _change_user(args, context)
    except ValueError as error:
        # the word that was typed, as 1.0 says it
        raise StartError(str(error).replace("Cannot delete", f"Cannot {args.action}")) from None
    return 0


async def _print_users(args: argparse.Namespace, context: Context) -> None:
    async with context.open_store(args.database) as store:
        users = await store.users.list()
    if not users:
        print("There are no users in the database")
        return
    width = max(len("Username"), *(len(user.name) for user in users))
    print(f"Users in {store.location}\n")
    print(f"{'Username':{width}} Administrator\n{'=' * width} =============")
    for user in users:
        print(f"{user.name:{width}} {user.is_admin}")


async def _change_user(args: argparse.Namespace, context: Context) -> None:
    name = args.username
    if name is None:
        raise ValueError(f"You must specify a username to {args.action}")
    password = None if args.password is None else _read_password(" ".join(args.password))
    adding = args.action in {"insert", "add"}
    if adding and password is None:
        _check_name(name)
        password = _ask_password(name)
    async with context.open_store(args.database) as store:
        with closing(_Accounts(store.users)) as accounts:
            if adding:
                await accounts.insert(name, password or "", args.admin, HERE)
            elif args.action == "update":
                await accounts.update(name, password, args.admin, HERE)
            else:
                await accounts.delete(name)
    print(f"Updated {name}" if args.action == "update" else f"{name} has been {_past(args.action)}")
    if args.action == "update" and not args.admin:
        # as in 1.0 it takes the rights away, which nobody should overlook
        print(f"note: {name} is not an administrator now; update with --admin to change that", file=sys.stderr)


def _past(action: str) -> str:
    return f"{action}d" if action.endswith("e") else f"{action}ed"


def _read_password(text: str) -> str:
    """Return the password, or the first line of the file of that name."""
    if not os.path.isfile(text):  # noqa: PTH113 - a password may be no path at all, which only this forgives
        return text
    print("Reading the password from the file")
    try:
        with Path(text).open(encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartError(f"cannot read the password from {text}: {reason}; choose another file") from error


def _ask_password(name: str) -> str:
    if not sys.stdin.isatty():
        raise StartError(f"You must specify a password for {name!r} with --password")
    try:
        password = getpass.getpass(f"Password for {name}: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise StartError("No password was typed; nothing was changed") from None
    if again != password:
        raise StartError("The passwords differ; nothing was changed")
    return password
