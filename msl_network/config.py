"""TOML to frozen settings; an unknown key is an error.

    [manager]           Config        where to listen, which plugins, logging
    [manager.tls]       TLSSettings   keys and certificates
    [manager.limits]    Limits        what a peer may cost
    [plugins.NAME]      kept as it is: the plugin's own dataclass decides

Rule of this file: the keyword arguments of 1.0, its command-line flags and the TOML file become one
:class:`Config`, and whoever reads it cannot tell which it was. It is the only file of the core in which names
of plugins appear: as defaults, and behind the keywords of 1.0. It must not know how a plugin is loaded, and
opens no file but those that it is given.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import reprlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from .errors import ConfigError
from .settings import Duration, File, Mistakes, Secret, Size, build, convert, first_line, nearest, settings
from .sockets import KEEPALIVE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DEFAULT_PLUGINS", "DEFAULT_PORT", "Config", "Limits", "TLSSettings", "secret_words"]

DEFAULT_PORT: Final = 1875
"""The port of MSL-Network 1.0: the year in which the BIPM was founded."""

DEFAULT_PLUGINS: Final = ("identity", "hostname", "login")
"""Enabled unless `without` names them. Hostname and login add their commands; they decide on nobody unless
`auth` names them."""

_AUTHENTICATION_KEYWORDS: Final = {
    "auth_hostname": "hostname",
    "auth_password": "password",
    "auth_login": "login",
}

MAX_LEVEL: Final = 10
"""How long a logging level may be that is written as a number, in characters."""

_HIDDEN: Final = {"setting": False}

KIBI: Final = 2**10
MEBI: Final = 2**20
SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class TLSSettings:
    """The settings of [manager.tls].

    Args:
        enabled: Whether peers must use TLS.
        cert_file: The certificate (PEM); the default one, made on first start, if not given.
        key_file: Its private key (PEM); the default one if not given.
        key_file_password: What the key is encrypted with, if it is.
    """

    enabled: bool = True
    cert_file: File | None = None
    key_file: File | None = None
    key_file_password: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The settings of [manager.limits].

    Args:
        max_message: The longest message of a connected peer, in bytes.
        max_handshake_message: The longest message of a peer that is not connected yet, in bytes.
        handshake_timeout: How long a peer has from the connection to its identity, TLS included, in seconds.
        max_handshakes: How many peers may be about to connect at a time; the next ones wait, until the one that is
            silent for longest is closed, or another one is let in.
        keepalive_timeout: Within which time a peer whose computer is gone is found out, in seconds.
        outbox: How much is kept for a peer that does not read, in bytes. Beyond it a Service is busy; a
            Client loses notifications from half of it on, and is disconnected at the whole.
        outbox_timeout: How long a peer may take nothing of what is kept for it, in seconds. Then a Service is busy,
            and a Client is disconnected.
        max_memory: How much is kept for all peers together, in bytes: what they do not read, and messages that they
            have not finished. Beyond it, whoever has most of it is disconnected.
        pending: How many requests of one Client may be unanswered; to one Service, 16 times as many.
        prompt_timeout: How long a connected Client has to answer a question for credentials, in seconds.
        shutdown_timeout: How long a peer that is being closed has to take what was sent to it, in seconds.
        resolve_timeout: How long a reverse DNS look-up may take, in seconds; then the address is the name.
    """

    # 1.0 has no limit; 100 MB arrays are in use, so the limit is well above them.
    max_message: Size = 256 * MEBI
    # No credential or identity of 1.0 comes near it: an identity of 500 methods has 40 KiB.
    max_handshake_message: Size = 64 * KIBI
    handshake_timeout: Duration = 10 * SECONDS
    # 1.0 has none: 500 connections that say nothing are kept for ever.
    max_handshakes: int = 512
    keepalive_timeout: Duration = KEEPALIVE
    outbox: Size = 64 * MEBI
    outbox_timeout: Duration = 30 * SECONDS
    max_memory: Size = 1024 * MEBI
    pending: int = 65536
    prompt_timeout: Duration = 60 * SECONDS
    shutdown_timeout: Duration = 2 * SECONDS
    resolve_timeout: Duration = 1 * SECONDS

    def __post_init__(self) -> None:
        for key in ("max_handshakes", "pending"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: found {getattr(self, key)}, allowed is 1 or more")
        # shorter than a second is nothing that the system could keep, longer than a day nothing that it takes
        if not 2 <= self.keepalive_timeout <= 86400:
            raise ValueError(f"keepalive_timeout: found {self.keepalive_timeout:g} s, allowed is 2 s to 1 d")


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a Manager. `Config()` has the defaults.

    Args:
        host: The name or address to listen on; all interfaces, IPv4 and IPv6, if None.
        port: The TCP port; 0 takes a free one.
        auth: The names of the authentication plugins, in the order in which they are asked; all must agree.
        allow_anonymous: Whether peers of other computers are let in although `auth` is empty.
        store: The name of the persistence plugin.
        database: Where that plugin finds its data, if a person said so when starting it; no setting of the file.
        encoding: The name of the message encoding.
        plugins: The names of further plugins to enable.
        without: The names of default plugins not to enable.
        transport: How bytes get in and out: ``protocol`` (asyncio only, fast), ``streams``, or ``auto``.
        event_loop: What ``msl-network start`` runs the Manager on: ``asyncio``, ``uvloop`` (faster, an extra),
            ``trio`` (an extra), or ``auto`` for uvloop where it is installed, else asyncio.
        log_level: The logging level, a name or a number.
        log_file: Where ``msl-network start`` writes the log; a new file in the log folder if None.
        tls: [manager.tls].
        limits: [manager.limits].
        sections: The sections of the plugins, by name.
        source: Where the settings came from, for messages.
        keywords: What was laid over them, see `with_keywords`.
    """

    host: str | None = None
    port: int = DEFAULT_PORT
    auth: tuple[str, ...] = ()
    allow_anonymous: bool = False
    store: str = "sqlite"
    database: str | None = field(default=None, metadata=_HIDDEN)
    encoding: str = "json_lines"
    plugins: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    transport: Literal["auto", "protocol", "streams"] = "auto"
    event_loop: Literal["auto", "asyncio", "uvloop", "trio"] = "auto"
    log_level: str | int = "INFO"
    log_file: File | None = None
    tls: TLSSettings = field(default_factory=TLSSettings)
    limits: Limits = field(default_factory=Limits)
    # not shown: they hold what is secret to a plugin
    sections: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, metadata=_HIDDEN
    )
    source: str = field(default="", metadata=_HIDDEN)
    # not shown, for the same reason; and how settings came about does not make them others
    keywords: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, compare=False, metadata=_HIDDEN
    )

    def __post_init__(self) -> None:
        if self.host is not None and (not self.host or "\0" in self.host):
            raise ValueError(f"host: found {self.host!r}, allowed is a name or an address; leave it out for all")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: found {self.port}, allowed is 0 (any free port) to 65535")
        for key in ("auth", "plugins", "without"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key}: a name stands twice in {list(names)}")
        for name in self.without:
            if name not in DEFAULT_PLUGINS:
                raise ValueError(f"without: {name!r} is not enabled by default, {nearest(name, DEFAULT_PLUGINS)}")
            if name in self.auth:
                raise ValueError(f"without: {name!r} is in auth, too; take it out of one of the two")
        self.log_level_number()

    @property
    def folder(self) -> Path | None:
        """The folder of the TOML file, which relative paths in it start from; None without a file."""
        return Path(self.source).parent if self.source else None

    def enabled_plugins(self) -> tuple[str, ...]:
        """Return the names of all plugins to enable, in the order in which they are called."""
        default = [name for name in DEFAULT_PLUGINS if name not in self.without]
        names = [*self.auth, *default, self.store, self.encoding, *self.plugins]
        return tuple(dict.fromkeys(names))

    def command_line(self, words: str, database: str | None = None) -> str:
        """Return the command that concerns a Manager with these settings, for a person to type.

        Args:
            words: What comes after ``msl-network``, e.g. ``user list``.
            database: Where the data is, if a person said so (``--database``); where these settings say if None.
        """
        database = database or self.database
        parts = [
            "msl-network",
            *(["--config", _quoted(self.source)] if self.source else []),
            words,
            *(["--database", _quoted(database)] if database else []),
        ]
        return " ".join(parts)

    def log_level_number(self) -> int:
        """Return the logging level as a number.

        Raises:
            ValueError: If it is none.
        """
        return log_level_number(self.log_level)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a TOML file.

        Args:
            path: The file.

        Returns:
            The settings.

        Raises:
            ConfigError: If the file cannot be read, is not TOML, or a setting is wrong.
        """
        file = Path(path)
        try:
            # an editor of Windows puts a mark before the text, which is no TOML
            data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"cannot read the file: {error.strerror}", source=str(path)) from None
        except UnicodeDecodeError:
            raise ConfigError("is not text in UTF-8", source=str(path)) from None
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, and not the only one
            raise ConfigError(f"is not valid TOML: {error}", source=str(path)) from None
        return cls.from_dict(data, source=str(file))

    def reread(self) -> Config:
        """Return these settings as they are now: their file is read again, and their keywords are laid over it.

        Without a file they are as they were, but a password that is in a file of its own is read again in any case.

        Raises:
            ConfigError: As for `load` and `with_keywords`.
        """
        return (Config.load(self.source) if self.source else self).with_keywords(**self.keywords)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "") -> Config:
        """Make settings of what a TOML file would contain.

        Args:
            data: ``{"manager": {...}, "plugins": {"NAME": {...}}}``.
            source: The file, for messages and for relative paths.

        Returns:
            The settings.

        Raises:
            ConfigError: If a setting is wrong.
        """
        _check_integers(data, source)
        mistakes = Mistakes()
        for name in data:
            if name not in {"manager", "plugins"}:
                hint = nearest(name, ["manager", "manager.tls", "manager.limits", "plugins.NAME"])
                mistakes.note(ConfigError(f"unknown section, {hint}", source=source, section=name))
        base = Path(source).parent if source else None
        manager: dict[str, Any] = {}
        with mistakes.noted():
            manager = dict(_table(data, "manager", source, "manager"))
        nested: dict[str, Any] = {}
        for key, factory in (("tls", TLSSettings), ("limits", Limits)):
            with mistakes.noted():
                section = _table({key: manager.pop(key, {})}, key, source, f"manager.{key}")
                nested[key] = build(factory, section, source=source, section=f"manager.{key}", base=base)
            for misplaced in [name for name in manager if name in settings(factory)]:
                del manager[misplaced]
                problem = f"belongs to [manager.{key}]"
                mistakes.note(ConfigError(problem, source=source, section="manager", key=misplaced))
        sections: dict[str, Mapping[str, Any]] = {}
        with mistakes.noted():
            plugins = _table(data, "plugins", source, "plugins")
            for name in plugins:
                with mistakes.noted():
                    sections[name] = _table(plugins, name, source, f"plugins.{name}")
        with mistakes.noted():
            config = build(cls, manager, source=source, section="manager", base=base)
        mistakes.check()
        return dataclasses.replace(config, sections=MappingProxyType(sections), source=source, **nested)

    def with_keywords(
        self,
        *,
        auth_hostname: bool = False,
        auth_login: bool = False,
        auth_password: str | os.PathLike[str] | Secret | None = None,
        disable_tls: bool = False,
        cert_file: str | None = None,
        key_file: str | None = None,
        key_file_password: str | os.PathLike[str] | Secret | None = None,
        database: str | os.PathLike[str] | None = None,
        **others: Any,
    ) -> Config:
        """Return these settings with the keywords of 1.0's ``run_forever`` laid over them.

        Args:
            auth_hostname: Let in trusted host names only.
            auth_login: Let in users with their password only.
            auth_password: Let in only who knows this password, or that in the first line of this file. A `Secret` is a
                password, whatever files there are; a path is that of a file.
            disable_tls: Do without TLS.
            cert_file: The certificate.
            key_file: Its private key.
            key_file_password: What the key is encrypted with, or a file whose first line is that.
            database: Where the store finds its data.
            others: Settings of [manager]; None leaves one as it is.

        Returns:
            The new settings. If one of the three ``auth_`` keywords is given, they replace `auth`.

        Raises:
            ConfigError: If a value is not allowed.
        """
        chosen = {
            "auth_hostname": auth_hostname,
            "auth_password": auth_password is not None,
            "auth_login": auth_login,
        }
        given = {key: _plain(value) for key, value in others.items() if value is not None}
        _check_integers(given, self.source)
        here = Path()  # where a path starts that a person types, wherever the TOML file is
        for key in ("tls", "limits"):
            if key in given:
                raise ConfigError(f"is a section of the TOML file, [manager.{key}]; give its settings there", key=key)
        changes = convert(Config, given, base=here)
        if database is not None:
            changes["database"] = os.fspath(database)
        if any(chosen.values()):
            auth = tuple(_AUTHENTICATION_KEYWORDS[key] for key, given in chosen.items() if given)
            without = changes.get("without", self.without)
            changes |= {"auth": auth, "without": tuple(name for name in without if name not in auth)}
        if auth_password is not None:
            password, auth_password = _password(auth_password)
            section = {**self.sections.get("password", {}), "password": password}
            changes["sections"] = MappingProxyType({**self.sections, "password": section})
        files = {"cert_file": cert_file, "key_file": key_file}
        tls = convert(TLSSettings, {key: _plain(file) for key, file in files.items() if file is not None}, base=here)
        if disable_tls:
            tls["enabled"] = False
        if key_file_password is not None:
            password, key_file_password = _password(key_file_password)
            tls["key_file_password"] = Secret(password)
        new: dict[str, Any] = {
            "auth_hostname": auth_hostname or None,
            "auth_login": auth_login or None,
            "auth_password": auth_password,
            "disable_tls": disable_tls or None,
            "cert_file": tls.get("cert_file"),
            "key_file": tls.get("key_file"),
            "key_file_password": key_file_password,
            "database": database,
            **{key: changes[key] for key in given},
        }
        keywords = {**self.keywords, **{key: value for key, value in new.items() if value is not None}}
        changes["keywords"] = MappingProxyType(keywords)
        try:
            return dataclasses.replace(self, tls=dataclasses.replace(self.tls, **tls), **changes)
        except ValueError as error:
            key, _, problem = str(error).partition(": ")
            raise ConfigError(problem, key=key) from None


def _quoted(word: str) -> str:
    """Return a word as a shell takes it."""
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def log_level_number(level: str | int) -> int:
    """Return a logging level as a number.

    Args:
        level: A name in any case, or a number, also as text.

    Raises:
        ValueError: If it is none.
    """
    names = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if isinstance(level, str) and level.strip().isdecimal() and len(level) < MAX_LEVEL:
        level = int(level)
    if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        return level
    if isinstance(level, str) and level.upper() in names:
        number: int = getattr(logging, level.upper())
        return number
    raise ValueError(f"log_level: found {reprlib.repr(level)}, allowed is one of {', '.join(names)} or a number")


def secret_words(words: Sequence[str]) -> str:
    """Return the password that the words of an option mean, as 1.0 reads them.

    Args:
        words: The words.

    Returns:
        The words joined by spaces; if that is the path of a file, the first line of it, without the white
        space around it.

    Raises:
        ConfigError: If the file cannot be read.
    """
    return _password(" ".join(words))[0]


def _password(given: str | os.PathLike[str] | Secret) -> tuple[str, Path | Secret]:
    """Return a password, and where it is to be found again: what was in a file then is not the name of that file."""
    if isinstance(given, Secret):
        return given.value, given
    if isinstance(given, str) and not _is_file(given):
        return given, Secret(given)
    try:
        return first_line(Path(given)), Path(given).absolute()
    except ValueError as error:
        problem = f"the password cannot be read from this file: {error}"
        raise ConfigError(problem, source=os.fspath(given)) from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or a character that none may have
        return False


def _check_integers(data: Mapping[str, Any], source: str) -> None:
    """Refuse what is no integer of TOML; Python, which reads it all the same, could not even show it."""
    waiting: list[tuple[tuple[str, ...], object]] = [((), data)]
    while waiting:  # a dotted key may be deeper than calls
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*path[-8:], name), item) for name, item in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(path, item) for item in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            problem = f"found an integer of {value.bit_length()} bits, allowed are 63 and a sign"
            raise ConfigError(problem, source=source, section=".".join(path[:-1]), key=path[-1])


def _table(data: Mapping[str, Any], key: str, source: str, section: str) -> Mapping[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"found {table!r}, allowed is a section", source=source, section=section)
    return table
