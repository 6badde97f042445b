"""A plugin that is being checked, and what a check is.

Rule of this file: it says how a plugin is made, started and called. It must not know what is checked.
"""

from __future__ import annotations

import inspect
import logging
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from msl_network.config import DEFAULT_PLUGINS
from msl_network.errors import StartError
from msl_network.hookspecs import hookimpl
from msl_network.settings import build

from .doubles import FakePeer
from .laboratory import Laboratory, laboratory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from msl_network.manager import Manager
    from msl_network.peer import Peer
    from msl_network.store import Store

__all__ = ["Check", "Failed", "NotStarted", "Skipped", "Subject", "logged", "logging_everything"]


SUBJECT: Final = "subject"
"""The name that a store has in the settings of the Manager that it is checked with."""


class Failed(Exception):  # noqa: N818 - it is the outcome of a check
    """Raised when a plugin does not keep a promise."""


class NotStarted(Failed):
    """Raised when no Manager starts with the plugin, so that little can be tried."""


class Skipped(Exception):  # noqa: N818 - as above
    """Raised when there is nothing to check."""


@dataclass(frozen=True)
class Check:
    """One promise that plugins have to keep.

    Args:
        name: Its name.
        hooks: The hooks that it is about; a plugin that implements none of them is not checked. Empty: every plugin is.
        advice: What to do about a failure.
        function: Tries it; raises `Failed`.
    """

    name: str
    hooks: tuple[str, ...]
    advice: str
    function: Callable[[Subject], Awaitable[None]]


@dataclass(kw_only=True)
class Subject:
    """A plugin, and how to get along with it.

    Args:
        plugin: An object, or a class whose settings make one for each check.
        settings: Its section in the TOML file, if it is a class.
        answers: What lets a peer in; None if that is not known.
        free: What is asked for and decides nothing, e.g. a remark.
        peer: Makes the peer that is let in.
        prepare: Fills the store before the plugin starts.
        patience: How long anything may take, in seconds.
    """

    plugin: object
    settings: Mapping[str, Any]
    answers: Sequence[object] | Mapping[str, object] | None
    free: Collection[str]
    peer: Callable[[], Peer]
    prepare: Callable[[Store], Awaitable[None]] | None
    patience: float
    made: list[object] = field(default_factory=list)

    @property
    def factory(self) -> type:
        """The class."""
        return self.plugin if isinstance(self.plugin, type) else type(self.plugin)

    def make(self) -> Any:
        """Return the plugin: a new object, if it can be made.

        Raises:
            Failed: If it cannot.
        """
        if not isinstance(self.plugin, type):
            return self.plugin
        try:
            if is_dataclass(self.plugin):
                return build(self.plugin, self.settings, section=f"plugins.{self.factory.__name__.lower()}")
            return self.plugin()
        except StartError as error:
            raise Failed(f"it cannot be made of its settings: {error}") from None
        except Exception as error:
            raise Failed(f"it cannot be made: {type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def started(self) -> AsyncIterator[tuple[Any, Laboratory]]:
        """Have a Manager run with the plugin.

        Raises:
            Failed: If it does not start.
        """
        plugin = self.make()
        plugins: list[object] = [] if self.prepare is None else [_Preparation(self.prepare)]
        settings: dict[str, Any] = {}
        manager: dict[str, Any] = {"without": DEFAULT_PLUGINS}  # one of them may be the one that is checked
        is_store = self.implementation(plugin, "open_store") is not None and isinstance(self.plugin, type)
        if is_store:
            use = f"{self.factory.__module__}:{self.factory.__qualname__}"
            settings[SUBJECT] = {"use": use, **self.settings}
            manager["store"] = SUBJECT
        else:
            plugins.append(plugin)
        try:
            running = laboratory(*plugins, settings=settings, **manager)
            lab = await running.__aenter__()
        except StartError as error:
            raise NotStarted(f"a Manager with it does not start: {error}") from None
        try:
            yield dict(lab.manager.hooks.plugins)[SUBJECT] if is_store else plugin, lab
        finally:
            await running.__aexit__(None, None, None)

    def implementation(self, plugin: object, hook: str) -> Callable[..., Any] | None:
        """Return the method that implements a hook, if there is one."""
        for name in dir(type(plugin)):
            options = getattr(inspect.getattr_static(type(plugin), name), "msl_network_impl", None)
            if options is not None and (options.get("specname") or name) == hook:
                method: Callable[..., Any] = getattr(plugin, name)
                return method
        return None

    def call(self, plugin: object, hook: str, **values: object) -> Any:
        """Call the implementation of a hook with those values that it takes."""
        method = self.implementation(plugin, hook)
        if method is None:
            raise Skipped
        return method(**{name: values[name] for name in inspect.signature(method).parameters})

    def stranger(self) -> FakePeer:
        """Return another peer than the one that is let in."""
        return FakePeer(ip_address="198.51.100.9", hostname="stranger")


class _Preparation:
    """Fills the store before the plugin that is checked starts."""

    def __init__(self, prepare: Callable[[Store], Awaitable[None]]) -> None:
        self._prepare = prepare

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Do it."""
        await self._prepare(manager.store)


class _Notes(logging.Handler):
    """Keeps all that is logged, as it would stand in a file."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logging_everything() -> Iterator[None]:
    """Have everybody log at all levels. It is not for the thread of a check, which may stay in it for ever."""
    loggers = [logging.getLogger(), logging.getLogger("msl_network")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what is logged by anybody."""
    notes = _Notes()
    logging.getLogger().addHandler(notes)
    try:
        yield notes.lines
    finally:
        logging.getLogger().removeHandler(notes)
