"""Tries whether a plugin keeps the promises that every plugin has to keep.

Rule of this file: each check has a thread, an event loop and, if the plugin is given as a class, an object of its own,
so that one which hangs does not keep the others. It must not know what is checked.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import anyio

from msl_network.running import first_of

from . import authenticating, contracts
from .doubles import FakePeer
from .subject import Check, Failed, NotStarted, Skipped, Subject, logging_everything

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from msl_network.peer import Peer
    from msl_network.store import Store

__all__ = ["CHECKS", "PluginCheckError", "check_plugin"]

CHECKS: Final = {check.name: check for check in [*contracts.CHECKS, *authenticating.CHECKS]}
"""All checks, by name."""

PATIENCE: Final = 20.0
"""How long a check may take, in seconds, if nobody says so; deriving keys from passwords takes its time."""


class PluginCheckError(AssertionError):
    """Raised when a plugin does not keep all promises.

    Args:
        plugin: The name of its class.
        failures: Which check failed, why, and what to do.
    """

    def __init__(self, plugin: str, failures: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(plugin, failures)
        self.plugin = plugin
        self.failures = failures

    def __str__(self) -> str:
        lines = [f"- {name}: {problem}\n  To do: {advice}." for name, (problem, advice) in self.failures.items()]
        return "\n".join([f"{self.plugin} fails {len(lines)} of the checks of check_plugin:", *lines])


def check_plugin(
    plugin: object,
    *,
    settings: Mapping[str, Any] | None = None,
    answers: Sequence[object] | Mapping[str, object] | None = None,
    free: Collection[str] = (),
    peer: Callable[[], Peer] = FakePeer,
    prepare: Callable[[Store], Awaitable[None]] | None = None,
    backend: str = "asyncio",
    patience: float = PATIENCE,
    leave_out: Collection[str] = (),
) -> list[str]:
    """Try whether a plugin keeps the promises that every plugin has to keep.

    Args:
        plugin: Its class, of which each check makes an object, or an object that all of them use.
        settings: Its section in the TOML file, without ``use``; for a class.
        answers: What lets a peer in: the answers in order, or by what is asked for; empty if nothing is asked. Without
            them it is only tried who is refused.
        free: What is asked for and decides nothing, so that any answer will do.
        peer: Makes the peer that is let in, if it is not just anybody.
        prepare: Fills the store before the plugin starts, e.g. with users.
        backend: ``asyncio`` or ``trio``.
        patience: How long each check may take, in seconds.
        leave_out: The names of checks that do not hold for this plugin; say why beside it.

    Returns:
        The names of the checks that were made; the others are about hooks that the plugin does not implement.

    Raises:
        PluginCheckError: If a check fails; its text names each, what was found, and what to do.
        ValueError: If there is no check that is to be left out.
    """
    unknown = sorted(set(leave_out) - set(CHECKS))
    if unknown:
        raise ValueError(f"leave_out: there is no check {unknown[0]!r}; there are: {', '.join(CHECKS)}")
    subject = Subject(
        plugin=plugin,
        settings=settings or {},
        answers=answers,
        free=free,
        peer=peer,
        prepare=prepare,
        patience=patience,
    )
    done: list[str] = []
    failures: dict[str, tuple[str, str]] = {}
    for check in CHECKS.values():
        if check.name in leave_out or not _concerns(check, subject):
            continue
        try:
            with logging_everything():
                _Run(check, subject, backend).outcome()
        except Failed as failure:
            failures[check.name] = (str(failure), check.advice)
            if check.name == "fits" or isinstance(failure, NotStarted):  # nothing else can be tried
                break
        except Skipped:
            continue
        done.append(check.name)
    if failures:
        raise PluginCheckError(subject.factory.__name__, failures)
    return done


def _concerns(check: Check, subject: Subject) -> bool:
    if not check.hooks:
        return True
    try:
        plugin = subject.make()
    except Failed:
        return False  # which another check says
    return any(subject.implementation(plugin, hook) is not None for hook in check.hooks)


class _Run(threading.Thread):
    """One check, in a thread that nobody has to wait for.

    Args:
        check: The check.
        subject: The plugin.
        backend: The event loop.
    """

    def __init__(self, check: Check, subject: Subject, backend: str) -> None:
        super().__init__(name=f"check {check.name}", daemon=True)
        self._check = check
        self._subject = subject
        self._backend = backend
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the check."""
        try:
            anyio.run(self._check.function, self._subject, backend=self._backend)
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error

    def outcome(self) -> None:
        """Wait for it, and raise what it did.

        Raises:
            Failed: If the plugin does not keep the promise.
            Skipped: If there is nothing to check.
        """
        self.start()
        self.join(self._subject.patience)
        if self.is_alive():
            raise Failed(f"it did not end within {self._subject.patience:g} s")
        if self._error is not None:
            raise _first(self._error)


def _first(error: BaseException) -> BaseException:
    """Return the outcome of a check; a task group may have wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        error = first_of(error)
    if isinstance(error, (Failed, Skipped)):
        return error
    failure = Failed(f"it failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
