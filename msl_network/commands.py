"""What a Client may ask of the Manager: a table, name to function.

Rule of this file: what is not in the table does not exist; no attribute is ever looked up by a name that a
peer sent. It must not know how a request arrived or how its result travels.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .config import log_level_number
from .errors import ArgumentError, PluginError, RequestError, StartError, UnknownAttributeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .manager import Manager

__all__ = ["Command", "CommandTable", "manager_commands"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something that a Client may ask of the Manager.

    Args:
        name: The ``attribute`` of the request, e.g. ``users_table.usernames``.
        function: Called with the peer and then the arguments of the request; may be ``async``, then it is
            called in the peer's own task, one after the other. Returns a JSON value; raises a
            ``RequestError`` (or ValueError, TypeError, KeyError) to refuse, with a text for the peer. Of any
            other exception the log has the class and the place, for the text may hold an argument.
        administrator: Whether only an administrator may ask.
    """

    name: str
    function: Callable[..., Any]
    administrator: bool = True

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)  # which takes longer than most commands

    @cached_property
    def _plain_counts(self) -> range:
        """How many arguments fit whatever they are, when none has a name; else it takes a closer look."""
        parameters = list(self._signature.parameters.values())[1:]
        if any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
            return range(0)
        needed = sum(parameter.default is parameter.empty for parameter in parameters)
        return range(needed, len(parameters) + 1)

    @cached_property
    def is_async(self) -> bool:
        """Whether the function needs to be awaited."""
        return inspect.iscoroutinefunction(self.function)

    def signature(self) -> str:
        """Return the parameters that a Client passes, as text, e.g. ``(service: str) -> bool``."""
        signature = self._signature
        parameters = [
            parameter.replace(annotation=_bare(parameter.annotation))
            for parameter in list(signature.parameters.values())[1:]
        ]
        result = _bare(signature.return_annotation)
        return str(signature.replace(parameters=parameters, return_annotation=result))

    def bind(self, peer: object, args: list[Any], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Return the call with these arguments.

        Raises:
            ArgumentError: If they do not fit.
        """
        if not kwargs and len(args) in self._plain_counts:
            return lambda: self.function(peer, *args)
        try:
            bound = self._signature.bind(peer, *args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name}{self.signature()}: {error}") from None
        return lambda: self.function(*bound.args, **bound.kwargs)


class _Bare(str):
    """An annotation that is a text (postponed ones are): its quotes would only disturb."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


class CommandTable:
    """The commands of one Manager, by name."""

    def __init__(self) -> None:
        self._commands: dict[str, tuple[Command, str]] = {}

    def add(self, commands: Iterable[Command], owner: str) -> None:
        """Add commands.

        Args:
            commands: The commands.
            owner: The name of the plugin that offers them.

        Raises:
            PluginError: If a name is taken.
        """
        for command in commands:
            if command.name in self._commands:
                other = self._commands[command.name][1]
                raise PluginError(owner, f"the command {command.name!r} exists already, {other} offers it")
            self._commands[command.name] = (command, owner)

    def find(self, name: str) -> Command:
        """Return the command of that name.

        Raises:
            UnknownAttributeError: If there is none.
        """
        try:
            return self._commands[name][0]
        except KeyError:
            raise UnknownAttributeError(
                f"the Manager has no attribute {name!r}; it has: {', '.join(sorted(self._commands))}"
            ) from None

    def describe(self, *, administrator: bool) -> dict[str, str]:
        """Return name and signature of the commands, those for everybody or those for administrators."""
        return {
            name: command.signature()
            for name, (command, _) in sorted(self._commands.items())
            if command.administrator is administrator
        }


def _set_logging_level(manager: Manager, level: Any) -> bool:
    try:
        log_level_number(level)
    except ValueError:  # it would be logged, and what a peer sent is not
        return False
    return manager.set_logging_level(level)


async def _reload(manager: Manager) -> list[str]:
    try:
        return await manager.reload()
    except StartError as error:
        raise RequestError(f"reloading the settings failed: {error}") from None


def manager_commands(manager: Manager) -> list[Command]:
    """Return the commands that every Manager has."""

    async def reload(_peer: object) -> list[str]:
        return await _reload(manager)

    return [
        Command(name="identity", function=lambda _peer: manager.identity(), administrator=False),
        Command(name="link", function=manager.link, administrator=False),
        Command(name="unlink", function=manager.unlink, administrator=False),
        Command(name="acquire_lock", function=manager.acquire_lock, administrator=False),
        Command(name="release_lock", function=manager.release_lock, administrator=False),
        Command(name="port", function=lambda _peer: manager.port),
        Command(name="reload", function=reload),
        Command(name="set_logging_level", function=lambda _peer, level: _set_logging_level(manager, level)),
        Command(name="shutdown_manager", function=lambda _peer: manager.stop()),
    ]
