"""Calls plugins in order: one typed method per hook.

Rule of this file: it is the only one that touches pluggy's untyped relay. Each method is one of four verbs:
ask, check, collect, tell (see `hookspecs`). A plugin that fails is named; it harms nobody but the peer it
was asked about. It must not know what any hook is for.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import sys
from functools import cached_property
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import pluggy

from . import hookspecs
from .commands import Command
from .errors import AuthenticationError, AuthorizationError, PluginError, RequestError, StartError
from .messages import Identity
from .observer import Observers
from .peer import PeerLost
from .settings import Mistakes, nearest

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .codec import Codec
    from .config import Config
    from .handshake import Handshake
    from .manager import Manager
    from .observer import Observer
    from .peer import Peer
    from .store import Store

__all__ = ["FAILURES", "FAILURES_LATER", "Authorizer", "Hooks", "implements", "is_cancelled", "without_text"]

logger = logging.getLogger("msl_network")

SAY_AGAIN: Final = 60.0
"""After how long the same trouble of a plugin is logged again, in seconds: each peer that comes meanwhile has it."""

_EXPECTED: Final = (RequestError, PeerLost)
"""What a plugin that is asked about a peer may raise to say something; anything else is its own failure."""

FAILURES: Final = (Exception, SystemExit, asyncio.CancelledError)
"""What a stranger's code that does not wait may raise, and must not end the Manager."""

FAILURES_LATER: Final = (Exception, SystemExit)
"""The same of code that waits; whether a cancellation is its own is to be found out."""

_OBSERVER: Final = ("requested", "answered", "failed")
"""What an observer must be able to do."""

_SPECIFICATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    name: member for name, member in vars(hookspecs).items() if inspect.isfunction(member)
}


class Authorizer(Protocol):
    """Asks the plugins whether a peer may do something; raises if not."""

    def __call__(self, peer: Peer, service: str, attribute: str, action: str = "call") -> None:
        """The arguments are those of the hook `authorize`."""


class Hooks:
    """The plugins of one Manager, ready to be called.

    Args:
        plugins: Name and object of each plugin, in the order in which they are called.
        authenticators: The names of those that decide who is let in.

    Raises:
        PluginError: If a plugin does not fit; it names plugin and hook.
    """

    def __init__(self, plugins: Sequence[tuple[str, object]], authenticators: Iterable[str] = ()) -> None:
        self.plugins = tuple(plugins)
        self.authenticators = tuple(authenticators)
        self._said: dict[tuple[str, str], tuple[str, float]] = {}
        relay = _Relay(hookspecs.PROJECT)
        relay.add_hookspecs(hookspecs)
        for name, plugin in self.plugins:
            _register(relay, name, plugin)
        # The order of the configuration, also for a plugin that says `tryfirst`: who is asked when is the
        # decision of the laboratory.
        place = {name: index for index, (name, _) in enumerate(self.plugins)}
        self._table: dict[str, list[Any]] = {
            hook: sorted(getattr(relay.hook, hook).get_hookimpls(), key=lambda impl: place[impl.plugin_name])
            for hook in _SPECIFICATIONS
        }
        for name in self.authenticators:
            if name not in {impl.plugin_name for impl in self._table["authenticate"]}:
                raise PluginError(name, "is to authenticate, but it implements no 'authenticate'")

    # Who somebody is

    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        """Check: every authenticator must let the peer in."""
        for name in self.authenticators:
            for impl in self._implementations("authenticate"):
                if impl.plugin_name == name:
                    try:
                        answer = await self._guarded(impl, AuthenticationError, peer=peer, handshake=handshake)
                    except RequestError:
                        if handshake.is_forgotten:  # it compared something else with what is right
                            _mistake(impl, _not_waited(handshake))
                        raise
                    _check_agreed(impl, "authenticate", answer, AuthenticationError)
                    if handshake.waiting_for:  # 'await' was forgotten, so nothing was checked
                        _mistake(impl, _not_waited(handshake))
                        raise _refusal(impl, AuthenticationError)

    async def authenticate_administrator(self, peer: Peer, handshake: Handshake) -> bool:
        """Ask: whether the peer is an administrator; if nobody knows, it is not."""
        for impl in self._implementations("authenticate_administrator"):
            answer = await self._guarded(impl, AuthenticationError, peer=peer, handshake=handshake)
            if answer is not None:
                return answer is True
        return False

    async def check_identity(self, peer: Peer, identity: Identity) -> Identity:
        """Check: every plugin must accept the identity, and may correct it for the next."""
        for impl in self._implementations("check_identity"):
            corrected = await self._guarded(impl, AuthenticationError, peer=peer, identity=identity)
            if isinstance(corrected, Identity):
                identity = corrected
            elif corrected is not None:
                _mistake(impl, f"'check_identity': it returned {type(corrected).__name__}, not an Identity or None")
                raise _refusal(impl, AuthenticationError)
        return identity

    @property
    def authorizer(self) -> Authorizer | None:
        """Check: whether a peer may call an attribute of a Service, link or lock. None if no plugin minds."""
        implementations = self._implementations("authorize")
        if not implementations:
            return None

        def authorize(peer: Peer, service: str, attribute: str, action: str = "call") -> None:
            try:
                for impl in implementations:
                    answer = _call(impl, peer=peer, service=service, attribute=attribute, action=action)
                    _check_agreed(impl, "authorize", answer, AuthorizationError)
            except _EXPECTED:
                raise
            except FAILURES as error:
                raise _broken(impl, "authorize", error, AuthorizationError) from None

        return authorize

    # What a Manager is made of

    def check_config(self, config: Config) -> None:
        """Check: every plugin must find that it can work with the settings.

        Raises:
            StartError: If one cannot.
        """
        plugins = MappingProxyType(dict(self.plugins))
        mistakes = Mistakes()
        for impl in self._implementations("check_config"):
            answer = None
            with mistakes.noted():
                answer = _made(impl, "check_config", config=config, plugins=plugins)
            if answer is not None:
                problem = (
                    f"check_config: it returned {type(answer).__name__}; it should raise to refuse, and return nothing"
                )
                raise PluginError(impl.plugin_name, problem)
        mistakes.check()

    def open_store(self, plugin: str, location: str | None) -> AbstractAsyncContextManager[Store]:
        """Ask the plugin that keeps the data to open its store.

        Raises:
            PluginError: If that plugin offers none.
            StoreError: If it cannot be opened.
        """
        for impl in self._implementations("open_store"):
            if impl.plugin_name == plugin:
                store = _made(impl, "open_store", location=location)
                if store is None:
                    break
                if not hasattr(store, "__aenter__"):
                    raise PluginError(
                        plugin,
                        f"open_store: found {type(store).__name__}, allowed is an async context manager",
                    )
                return store  # type: ignore[no-any-return]
        raise PluginError(plugin, "offers no store (open_store), so it cannot be the 'store' of [manager]")

    def configure_tls(self, context: ssl.SSLContext) -> None:
        """Tell: the TLS settings are made. Any failure stops the Manager: it must not run with less than was meant.

        Raises:
            StartError: If a plugin fails.
        """
        for impl in self._implementations("configure_tls"):
            _made(impl, "configure_tls", context=context)

    def make_codec(self, name: str) -> Codec:
        """Ask for the codec of that name.

        Raises:
            PluginError: If nobody offers it.
        """
        for impl in self._implementations("make_codec"):
            codec = _made(impl, "make_codec", name=name)
            if codec is not None:
                return codec  # type: ignore[no-any-return]
        raise PluginError(name, "offers no message encoding (make_codec), so it cannot be the 'encoding' of [manager]")

    def make_observer(self) -> Observer | None:
        """Collect: who wants to know what becomes of each request. None if nobody does.

        Raises:
            PluginError: If a plugin fails, or returns what cannot observe.
        """
        observers: list[tuple[str, Observer]] = []
        for impl in self._implementations("make_observer"):
            observer = _made(impl, "make_observer")
            missing = [name for name in _OBSERVER if not callable(getattr(observer, name, None))]
            if observer is not None and missing:
                kind = type(observer).__name__
                raise PluginError(impl.plugin_name, f"make_observer: {kind} has no method {missing[0]!r}")
            if observer is not None:
                observers.append((impl.plugin_name, observer))
        return Observers(observers) if observers else None

    def commands(self) -> list[tuple[str, Sequence[Command]]]:
        """Collect: the commands of each plugin, with its name.

        Raises:
            PluginError: If a plugin fails, or returns anything else.
        """
        collected: list[tuple[str, Sequence[Command]]] = []
        for impl in self._implementations("commands"):
            offered = _made(impl, "commands")
            if not isinstance(offered, (list, tuple)) or not all(isinstance(item, Command) for item in offered):
                raise PluginError(impl.plugin_name, "commands: must return a list of Command")
            collected.append((impl.plugin_name, offered))
        return collected

    def cli_commands(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Tell: the command line is being made."""
        for impl in self._implementations("cli_commands"):
            _heard(impl, "cli_commands", {"subparsers": subparsers}, brief=True)

    # What happens

    async def started(self, manager: Manager) -> None:
        """Tell: the Manager is about to let peers in. A StartError stops it; who has started then hears `stopping`."""
        begun: list[object] = []
        try:
            for impl in self._implementations("started"):
                await _agreed_later(impl, "started", manager=manager)
                begun.append(impl.plugin)
        except StartError:
            for impl in self._implementations("stopping"):
                if impl.plugin in begun:
                    await _heard_later(impl, "stopping", manager=manager)
            raise

    async def reload(self, made: Mapping[str, object]) -> list[tuple[str, Callable[[], None]]]:
        """Check: every plugin must be able to work with its new settings.

        Args:
            made: The object that is made of the new settings of a plugin, by name; the others get themselves.

        Returns:
            What makes the changes, with the name of the plugin.

        Raises:
            StartError: If one is not.
        """
        changes: list[tuple[str, Callable[[], None]]] = []
        for impl in self._implementations("reload"):
            change = await _agreed_later(impl, "reload", settings=made.get(impl.plugin_name, impl.plugin))
            if callable(change):
                changes.append((impl.plugin_name, change))
            elif change is not None:
                kind = type(change).__name__
                raise PluginError(impl.plugin_name, f"reload: it returned {kind}, allowed is a function or None")
        return changes

    async def stopping(self, manager: Manager) -> None:
        """Tell: everybody has left."""
        for impl in self._implementations("stopping"):
            await _heard_later(impl, "stopping", manager=manager)

    def peer_connecting(self, peer: Peer) -> None:
        """Tell: somebody connected."""
        self._tell("peer_connecting", peer=peer)

    def peer_refused(self, peer: Peer, reason: str) -> None:
        """Tell: a connection ended before it was accepted."""
        self._tell("peer_refused", peer=peer, reason=reason)

    def peer_joined(self, peer: Peer, identity: Identity) -> None:
        """Tell: a peer is connected."""
        self._tell("peer_joined", peer=peer, identity=identity)

    def peer_left(self, peer: Peer) -> None:
        """Tell: a connected peer left."""
        self._tell("peer_left", peer=peer)

    def linked(self, peer: Peer, service: str) -> None:
        """Tell: a Client linked with a Service."""
        self._tell("linked", peer=peer, service=service)

    def unlinked(self, peer: Peer, service: str) -> None:
        """Tell: a link ended."""
        self._tell("unlinked", peer=peer, service=service)

    def locked(self, peer: Peer, service: str, *, shared: bool) -> None:
        """Tell: a Client locked a Service."""
        self._tell("locked", peer=peer, service=service, shared=shared)

    def unlocked(self, peer: Peer, service: str) -> None:
        """Tell: a lock ended."""
        self._tell("unlocked", peer=peer, service=service)

    # What is registered

    def implemented_by(self, plugin: object) -> list[str]:
        """Return the names of the hooks that a plugin implements, sorted."""
        return sorted(hook for hook, impls in self._table.items() if any(impl.plugin is plugin for impl in impls))

    def _implementations(self, hook: str) -> list[Any]:
        return self._table[hook]

    async def _guarded(self, impl: Any, refusal: type[RequestError], **values: object) -> Any:
        """Call one implementation; its failure becomes a refusal."""
        try:
            return await _call(impl, **values)
        except _EXPECTED:
            raise
        except FAILURES_LATER as error:
            if isinstance(error, StartError) and self._is_said(impl, str(error)):
                raise _refusal(impl, refusal) from None
            raise _broken(impl, impl.function.__name__, error, refusal, secret="handshake" in values) from None
        except anyio.get_cancelled_exc_class() as error:
            if is_cancelled():
                raise
            # something in the plugin was cancelled, and it let that out
            raise _broken(impl, impl.function.__name__, error, refusal) from None

    def _is_said(self, impl: Any, trouble: str) -> bool:
        """Whether the same trouble of a plugin was logged a while ago; if not, it is to be logged now."""
        key = (impl.plugin_name, impl.function.__name__)
        said, moment = self._said.get(key, ("", 0.0))
        if said == trouble and monotonic() < moment + SAY_AGAIN:
            return True
        self._said[key] = (trouble, monotonic())
        return False

    def _tell(self, hook: str, **values: object) -> None:
        for impl in self._implementations(hook):
            _heard(impl, hook, values)


def implements(plugin: object, hook: str) -> bool:
    """Return whether an object implements a hook, or has a method of that name and so seems to.

    Args:
        plugin: The object; it need not be registered.
        hook: The name of the hook.
    """
    relay = _Relay(hookspecs.PROJECT)
    return hook in {
        attribute if options is None else options.get("specname") or attribute
        for attribute in dir(plugin)
        if (options := relay.parse_hookimpl_opts(plugin, attribute)) is not None or attribute == hook
    }


class _Relay(pluggy.PluginManager):
    """Leaves the properties of a plugin alone: they may need what only `started` brings."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Return what ``@hookimpl`` says, or None for anything that is not marked with it."""
        if isinstance(inspect.getattr_static(plugin, name, None), (property, cached_property)):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def _register(relay: _Relay, name: str, plugin: object) -> None:
    kind = type(plugin).__name__
    _check_object(relay, name, plugin)
    count = 0
    for attribute in dir(plugin):
        options = relay.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            count += 1
            hook = options.get("specname") or attribute
            _check_implementation(name, hook, getattr(plugin, attribute), options)
        elif attribute in _SPECIFICATIONS and inspect.isroutine(inspect.getattr_static(plugin, attribute, None)):
            raise PluginError(name, f"{attribute}: has the name of a hook but is not marked with @hookimpl")
    if not count:
        raise PluginError(name, f"{kind} implements no hook; mark its methods with @hookimpl")
    relay.register(plugin, name)


def _check_object(relay: _Relay, name: str, plugin: object) -> None:
    kind = type(plugin).__name__
    if isinstance(plugin, type):
        raise PluginError(name, f"{plugin.__name__} is a class; give an object of it: {plugin.__name__}(...)")
    if type(plugin).__hash__ is None:
        raise PluginError(name, f"{kind} is not hashable; make it @dataclass(eq=False)")
    for other, registered in relay.list_name_plugin():
        if other == name:
            raise PluginError(name, "two plugins have this name")
        if registered is plugin:
            raise PluginError(name, f"is the same object as the plugin {other!r}")
        if registered == plugin:
            raise PluginError(name, f"equals the plugin {other!r}; make {kind} @dataclass(eq=False)")


def _check_implementation(plugin: str, hook: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    if hook not in _SPECIFICATIONS:
        if options.get("optionalhook"):  # it is for another version
            return
        raise PluginError(plugin, f"{hook}: there is no such hook, {nearest(hook, _SPECIFICATIONS)}")
    specification = _SPECIFICATIONS[hook]
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(plugin, f"{hook}: a wrapper is not possible here, implement the hook itself")
    is_async = inspect.iscoroutinefunction(function)
    if is_async is not inspect.iscoroutinefunction(specification):
        should = "must not be async" if is_async else "must be async ('async def')"
        raise PluginError(plugin, f"{hook}: {should}")
    known = inspect.signature(specification).parameters
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise PluginError(plugin, f"{hook}: the parameter {parameter.name!r} must be plain, without a default")
        if parameter.name not in known:
            raise PluginError(
                plugin, f"{hook}: there is no parameter {parameter.name!r}, {nearest(parameter.name, known)}"
            )


def _call(impl: Any, **values: object) -> Any:
    return impl.function(*[values[name] for name in impl.argnames])


def _check_agreed(impl: Any, hook: str, answer: object, refusal: type[RequestError]) -> None:
    """Refuse if a plugin answered where it should raise: whoever returns False means no."""
    if answer is not None:
        _mistake(impl, f"{hook!r}: it returned {type(answer).__name__}; it should raise to refuse, and return nothing")
        raise _refusal(impl, refusal)


def _not_waited(handshake: Handshake) -> str:
    hint = " ('await' is missing)" if handshake.is_forgotten else ""
    return f"'authenticate': it did not wait for the {handshake.waiting_for} that it asked for{hint}"


def _mistake(impl: Any, what: str) -> None:
    logger.error("plugin %r failed in %s; it refuses", impl.plugin_name, what)


class _Untold(Exception):  # noqa: N818 - the name is read in the log
    """Stands in the log for an exception whose text may hold what a peer answered."""


def without_text(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return what has logging tell the class of an exception and where it was raised, and nothing else.

    The text of an exception holds what a stranger's code was at work with: ``int(password)`` says the password.

    Args:
        error: The exception.
    """
    untold = _Untold(f"{type(error).__name__}; its text is left out, it may hold a secret")
    return type(untold), untold, error.__traceback__


def is_cancelled() -> bool:
    """Whether somebody ends the task that calls, by a scope of anyio or by asyncio itself."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and sys.version_info >= (3, 11) and task.cancelling() > 0


def _made(impl: Any, hook: str, **values: object) -> Any:
    """Return what a plugin makes for the Manager, which cannot run without."""
    try:
        return _call(impl, **values)
    except StartError:
        raise
    except FAILURES as error:
        raise PluginError(impl.plugin_name, _failed(hook, error)) from error


def _heard(impl: Any, hook: str, values: Mapping[str, object], *, brief: bool = False) -> None:
    try:
        _call(impl, **values)
    except FAILURES as error:
        _shrug(impl, hook, error, brief=brief)


async def _heard_later(impl: Any, hook: str, **values: object) -> None:
    try:
        await _call(impl, **values)
    except FAILURES_LATER as error:
        _shrug(impl, hook, error)


async def _agreed_later(impl: Any, hook: str, **values: object) -> Any:
    try:
        return await _call(impl, **values)
    except StartError:
        raise
    except FAILURES_LATER as error:
        # a plugin that could not prepare cannot be trusted to refuse anybody
        logger.exception("plugin %r failed in %r", impl.plugin_name, hook)
        raise PluginError(impl.plugin_name, _failed(hook, error)) from error


def _shrug(impl: Any, hook: str, error: BaseException, *, brief: bool = False) -> None:
    if brief or isinstance(error, StartError):  # its text says all
        logger.warning("%s", PluginError(impl.plugin_name, _failed(hook, error)))
    else:
        logger.error("plugin %r failed in %r", impl.plugin_name, hook, exc_info=error)


def _failed(hook: str, error: BaseException) -> str:
    return f"failed in {hook!r}: {type(error).__name__}: {error}"


def _broken(
    impl: Any, hook: str, error: BaseException, refusal: type[RequestError], *, secret: bool = False
) -> RequestError:
    if isinstance(error, StartError):  # e.g. the database cannot be read: its text says all
        logger.error("plugin %r failed in %r, it refuses: %s", impl.plugin_name, hook, error)
    else:
        told = without_text(error) if secret else error
        logger.error("plugin %r failed in %r, it refuses", impl.plugin_name, hook, exc_info=told)
    return _refusal(impl, refusal)


def _refusal(impl: Any, refusal: type[RequestError]) -> RequestError:
    return refusal(f"refused, because the plugin {impl.plugin_name!r} failed; the Manager's log has the details")
