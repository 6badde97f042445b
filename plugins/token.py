"""Authenticates scripts by tokens: each has a name, says what it is good for, and ends by itself.

    [manager]
    auth = ["token"]

    $ msl-network --config lab.toml token add pump --scope client --role operator --lifetime "90 d"
    mslnet_...                                      shown once; the script gives it as the Manager's password

With ``otherwise = "login"`` persons log in as ever; a script gives the user name ``token``, and its token as password.

Rule of this file: a token is shown when it is made and never again; what is kept is its SHA-256. A slow hash would
protect nothing more: passwords need one because people choose them and they can be guessed, while nobody guesses 256
random bits, however fast. Only the holder of a token learns that it has expired or was revoked.

It must not know where tokens are kept (the store does), or any other plugin but by the name that the settings give it.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import hashlib
import hmac
import inspect
import logging
import secrets
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import msgspec

from msl_network import (
    ArgumentError,
    AuthenticationError,
    AuthorizationError,
    Command,
    ConfigError,
    Duration,
    StartError,
    StoreError,
    hookimpl,
)
from msl_network.messages import is_clean
from msl_network.settings import convert, nearest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping

    from msl_network import Config, Handshake, Identity, Manager, Peer, Store
    from msl_network.cli import Context

__all__ = ["Token"]

logger = logging.getLogger("msl_network.token")

PREFIX: Final = "mslnet_"
"""What a token begins with, so that people and programs that look for secrets in files know one when they see it."""

RANDOM: Final = 32
"""How many random bytes a token has: as many as its hash, so that guessing the one is no easier than the other."""

SCOPES: Final = ("client", "service", "administrator")
"""What a token may be good for."""

MAX_NAME: Final = 256  # characters, as for the names of users
MAX_ANSWER: Final = 1024  # characters; what is longer is no token
NOTED: Final = timedelta(minutes=1)
"""How old the last use may be that is kept: a script that connects each second must not write each second."""

USERNAME: Final = "token"
"""The user name with which a token comes where user names are asked for."""

UNKNOWN: Final = "Unknown token; ask an administrator for a new one"

NEVER: Final = "never"
DAY: Final = 86400.0  # seconds


@dataclass(eq=False)
class Token:
    """Asks for a token, in place of the Manager's password.

    Args:
        lifetime: How long a token is good for if nobody says, in seconds.
        otherwise: The plugin that decides on who has no token; nobody else is let in if empty.
    """

    lifetime: Duration = 365 * DAY
    otherwise: str = ""

    def __post_init__(self) -> None:
        self._manager: Manager | None = None
        self._other: Callable[..., Awaitable[object]] | None = None
        self._peers: WeakKeyDictionary[Peer, tuple[str, _Record]] = WeakKeyDictionary()
        self._is_troubled = False

    @hookimpl
    def check_config(self, config: Config, plugins: Mapping[str, object]) -> None:
        """Refuse a plugin that cannot decide on who has no token, or decides on everybody anyway.

        Raises:
            ConfigError: If it is one.
        """
        own = next(name for name, plugin in plugins.items() if plugin is self)
        able = [name for name, plugin in plugins.items() if name != own and hasattr(plugin, "authenticate")]
        problem = ""
        if self.otherwise and self.otherwise not in able:
            problem = f"{self.otherwise!r} lets in nobody, {nearest(self.otherwise, able)}"
        elif self.otherwise in config.auth:
            problem = f"{self.otherwise!r} is in auth, so that a token alone lets in nobody; take it out there, or here"
        if problem:
            raise ConfigError(problem, source=config.source, section=f"plugins.{own}", key="otherwise")

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Take the tokens of the Manager's store."""
        self._manager = manager
        if self.otherwise:
            self._other = dict(manager.hooks.plugins)[self.otherwise].authenticate  # type: ignore[attr-defined]
        if manager.is_authenticator(self) and not await _Table(manager.store).items():
            add = manager.config.command_line("token add NAME")
            logger.warning("there are no tokens yet, so nobody can come in; add one with: %s", add)

    @hookimpl
    async def reload(self, settings: Token) -> Callable[[], None]:
        """Give new tokens the new lifetime; who decides on the others is found when the Manager starts."""

        def change() -> None:
            self.lifetime = settings.lifetime

        return change

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        """Let in who has a token that is good now, and have the other plugin decide on the others, if there is one."""
        if self._other is None:
            # a peer of 1.0 answers this from its keyword password_manager, so that a login may be asked for, too
            await self._let_in(peer, await handshake.ask("password", handshake.network_name))
            return
        username = await handshake.ask("username", handshake.network_name)
        if username == USERNAME:
            await self._let_in(peer, await handshake.ask("password", USERNAME))
            return
        known = {"peer": peer, "handshake": _Replay(handshake, username)}
        answer = await self._other(**{name: known[name] for name in inspect.signature(self._other).parameters})
        if answer is not None:  # as in the core: it should raise to refuse
            raise AuthenticationError(f"refused, because the plugin {self.otherwise!r} failed")

    async def _let_in(self, peer: Peer, answer: object) -> None:
        table = self._open()
        name, record = await table.find(answer)
        record.check(name, _now())
        self._peers[peer] = name, record
        peer.username = peer.username or f"token:{name}"
        peer.is_admin = peer.is_admin or "administrator" in record.scopes
        peer.roles |= set(record.roles)
        await self._note_use(table, name)

    @hookimpl
    async def check_identity(self, peer: Peer, identity: Identity) -> None:
        """Refuse a Client whose token is for Services, and the other way round."""
        if peer in self._peers:
            name, record = self._peers[peer]
            if identity.type not in record.scopes:
                raise AuthorizationError(
                    f"The token {name!r} does not let in a {identity.type}, its scope is: {', '.join(record.scopes)}"
                )

    @hookimpl
    def commands(self) -> list[Command]:
        """Let administrators manage the tokens."""
        return [
            Command(name="tokens.list", function=self._list),
            Command(name="tokens.add", function=self._add),
            Command(name="tokens.revoke", function=self._revoke),
        ]

    @hookimpl
    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add ``msl-network token``."""
        parser = subparsers.add_parser(
            "token",
            help="add, revoke or list the tokens with which scripts come in",
            description='Manage the tokens of a Manager that has auth = ["token"]. It need not be restarted.',
        )
        actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
        add = actions.add_parser("add", help="make a token, and show it once")
        add.add_argument("name", help="what the token is called, e.g. the name of the script")
        add.add_argument(
            "-s", "--scope", nargs="+", choices=SCOPES, default=["client"], help="what it is good for (default: client)"
        )
        add.add_argument("-r", "--role", nargs="+", default=[], metavar="ROLE", help="the roles that it gives")
        add.add_argument(
            "-l",
            "--lifetime",
            metavar="TIME",
            help='how long it is good for, e.g. "30 d", "8 h", "never" for no end (default: as configured)',
        )
        revoke = actions.add_parser("revoke", help="have a token not let in anybody any more")
        revoke.add_argument("name", help="what the token is called")
        for action in (add, revoke, actions.add_parser("list", help="show all tokens, but not the secret in them")):
            action.add_argument("-d", "--database", metavar="PATH", help="the database, if not that of the Manager")
        parser.set_defaults(run=self._run)

    async def _note_use(self, table: _Table, name: str) -> None:
        try:
            await table.note_use(name)
        except StoreError as error:  # no reason to keep anybody out
            if not self._is_troubled:
                logger.warning("when tokens are used cannot be noted: %s", error)
            self._is_troubled = True
        else:
            self._is_troubled = False

    def _open(self) -> _Table:
        if self._manager is None:
            raise StoreError("the tokens are not known: the Manager is not started")
        return _Table(self._manager.store)

    # Commands; each is given the peer that asks

    async def _list(self, _peer: Peer) -> list[dict[str, Any]]:
        return await self._open().describe()

    async def _add(
        self, peer: Peer, name: str, scopes: Any = ("client",), roles: Any = (), lifetime: Any = None
    ) -> str:
        for key, value in (("scopes", scopes), ("roles", roles)):
            if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
                raise ArgumentError(f"{key} must be a list of strings, found {type(value).__name__}")
        token = await self._open().add(_text(name), list(scopes), list(roles), self._seconds(lifetime))
        logger.info("%s added the token %r", peer.network_name, name)
        return token

    async def _revoke(self, peer: Peer, name: str) -> int:
        """Revoke a token, and close the connections that were made with it; returns how many."""
        try:
            await self._open().revoke(_text(name))
        except _UnknownTokenError as error:
            raise ValueError(f"{error}; tokens.list has all") from None
        logger.info("%s revoked the token %r", peer.network_name, name)
        users = [user for user, (token, _) in self._peers.items() if token == name and user is not peer]
        for user in users:
            if self._manager is not None:
                self._manager.close_writer(user)
        return len(users)

    def _seconds(self, lifetime: str | float | None) -> float | None:
        """Return a lifetime in seconds, None if it has no end.

        Raises:
            ValueError: If it is none.
        """
        if lifetime == NEVER:
            return None
        if lifetime is None:
            return self.lifetime
        try:
            seconds: float = convert(Token, {"lifetime": lifetime})["lifetime"]
        except StartError as error:
            raise ValueError(f'{error}, or "{NEVER}"') from None
        return seconds

    # The command line

    async def _run(self, args: argparse.Namespace, context: Context) -> int:
        async with context.open_store(args.database) as store:
            table = _Table(store)
            try:
                if args.action == "list":
                    _print(await table.describe(), store.location)
                elif args.action == "revoke":
                    await table.revoke(args.name)
                    print(f"{args.name} has been revoked; who is connected with it stays connected")
                else:
                    print(await table.add(args.name, args.scope, args.role, self._seconds(args.lifetime)))
                    # the token alone is on stdout, so that a script can take it from there
                    print(f"This is the token {args.name!r}. Keep it, it is not shown again.", file=sys.stderr)
            except _UnknownTokenError as error:
                shows_all = context.config.command_line("token list", args.database)
                raise StartError(f"{error}; see all with: {shows_all}") from None
            except ValueError as error:
                raise StartError(str(error)) from None
        return 0


class _UnknownTokenError(ValueError):
    """Raised when there is no token of a name. Who asked for it is told how to see all."""


class _Replay:
    """A handshake in which the peer has told its user name already.

    Args:
        handshake: The handshake.
        username: What it answered.
    """

    def __init__(self, handshake: Handshake, username: object) -> None:
        self._handshake = handshake
        self._username = username

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handshake, name)

    async def ask(self, attribute: str, *args: object) -> Any:
        """Ask, but for what is known."""
        return self._username if attribute == "username" else await self._handshake.ask(attribute, *args)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token."""

    digest: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    scopes: tuple[str, ...] = ("client",)
    roles: tuple[str, ...] = ()

    def check(self, name: str, now: datetime) -> None:
        """Do nothing if the token is good.

        Raises:
            AuthenticationError: If it is not; the text is for who has the token.
        """
        if self.revoked is not None:
            raise AuthenticationError(
                f"The token {name!r} was revoked on {_shown(self.revoked)}; ask an administrator for a new one"
            )
        if self.expires is not None and self.expires <= now:
            raise AuthenticationError(
                f"The token {name!r} expired on {_shown(self.expires)}; ask an administrator for a new one"
            )

    def state(self, now: datetime) -> str:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "good"


class _Table:
    """The tokens in a store.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._tokens = store.collection("tokens")
        # apart from the tokens: to note a use must not undo what a command line changes at the same time
        self._uses = store.collection("token uses")

    async def items(self) -> dict[str, _Record]:
        """Return all tokens by name."""
        found: dict[str, _Record] = {}
        for name, value in (await self._tokens.items()).items():
            try:
                found[name] = msgspec.convert(value, _Record)
            except msgspec.ValidationError as error:
                logger.warning("the token %r cannot be read (%s); revoke it and add another", name, error)
        return found

    async def find(self, answer: object) -> tuple[str, _Record]:
        """Return name and record of the token that a peer sent.

        Raises:
            AuthenticationError: If there is none.
        """
        text = answer if isinstance(answer, str) and len(answer) <= MAX_ANSWER else ""
        digest = _digest(text.strip())
        found: tuple[str, _Record] | None = None
        # all of them, and each in the same time, so that the time tells nothing of any
        for name, record in (await self.items()).items():
            if hmac.compare_digest(record.digest.encode(), digest.encode()):
                found = name, record
        if found is None:
            raise AuthenticationError(UNKNOWN)
        return found

    async def add(self, name: str, scopes: list[str], roles: list[str], lifetime: float | None) -> str:
        """Make a token and return it.

        Raises:
            ValueError: If the name is taken by a token that is good, or something cannot be.
        """
        _check(name, scopes, roles)
        now = _now()
        try:
            expires = None if lifetime is None else now + timedelta(seconds=lifetime)
        except OverflowError:
            raise ValueError(f'lifetime: the year 9999 is the last; say "{NEVER}" if it is not to end') from None
        known = (await self.items()).get(name)
        if known is not None and known.state(now) == "good":
            raise ValueError(f"There is a token {name!r} already; revoke it first, or take another name")
        token = PREFIX + secrets.token_urlsafe(RANDOM)
        record = _Record(digest=_digest(token), created=now, expires=expires, scopes=tuple(scopes), roles=tuple(roles))
        await self._uses.delete(name)
        await self._tokens.set(name, msgspec.to_builtins(record))
        return token

    async def revoke(self, name: str) -> None:
        """Have a token not let in anybody any more.

        Raises:
            ValueError: If there is none of that name.
        """
        value = await self._tokens.get(name)
        if value is None:
            raise _UnknownTokenError(f"There is no token {name!r}")
        try:
            record = msgspec.convert(value, _Record)
        except msgspec.ValidationError:  # it lets in nobody as it is
            await self._tokens.delete(name)
            return
        if record.revoked is None:
            await self._tokens.set(name, msgspec.to_builtins(msgspec.structs.replace(record, revoked=_now())))

    async def note_use(self, name: str) -> None:
        """Note that a token was used, to the minute."""
        now = _now()
        last = _moment(await self._uses.get(name))
        if last is None or not last <= now < last + NOTED:
            await self._uses.set(name, now.isoformat())

    async def describe(self) -> list[dict[str, Any]]:
        """Return what may be known of each token."""
        uses = await self._uses.items()
        now = _now()
        return [
            {
                "name": name,
                "state": record.state(now),
                "scopes": list(record.scopes),
                "roles": list(record.roles),
                "created": _shown(record.created),
                "expires": NEVER if record.expires is None else _shown(record.expires),
                "used": NEVER if (used := _moment(uses.get(name))) is None else _shown(used),
            }
            for name, record in (await self.items()).items()
        ]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _moment(value: object) -> datetime | None:
    try:
        return msgspec.convert(value, datetime | None)
    except msgspec.ValidationError:
        return None


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ArgumentError(f"name must be a string, found {type(name).__name__}")
    return name


def _check(name: str, scopes: list[str], roles: list[str]) -> None:
    for text in (name, *roles):
        if not is_clean(text) or len(text) > MAX_NAME:
            raise ValueError(f"A name has 1 to {MAX_NAME} characters, none of them a control character, found {text!r}")
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong:
        raise ValueError(f"There is no scope {wrong[0]!r}, known are: {', '.join(SCOPES)}")
    if not {"client", "service"} & set(scopes):
        raise ValueError("A token is for a client, a service or both; add one of these scopes")


def _print(tokens: list[dict[str, Any]], location: str) -> None:
    if not tokens:
        print(f"There are no tokens in {location}")
        return
    print(f"Tokens in {location}\n")
    heads = ("name", "state", "scopes", "roles", "expires", "used")
    rows = [
        tuple(", ".join(value) if isinstance(value, list) else str(value) for value in map(token.__getitem__, heads))
        for token in tokens
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (tuple(map(str.title, heads)), tuple("=" * width for width in widths), *rows):
        print(" ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
