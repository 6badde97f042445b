"""New settings for a Manager that runs: what can change changes, connected peers stay.

    the file --> settings --> an object of each plugin, which checks them --> TLS --> each plugin agrees
                                                                                                |
                     in one step, without a pause: all of it takes effect <-- nothing has changed up to here

Rule of this file: whatever may fail comes first, and what it finds wrong is raised; then nothing waits, so that no peer
meets a half of it. What needs a restart stays as it is, and is named. It must not know who asks for it, nor any plugin.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from .errors import PluginError
from .hooks import FAILURES, Hooks
from .plugins import check_names, installed, make
from .settings import Mistakes, settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from .config import Config

__all__ = ["NEEDS_RESTART", "Prepared", "prepare"]

logger = logging.getLogger("msl_network")

NEEDS_RESTART: Final = (
    "host",
    "port",
    "auth",
    "store",
    "database",
    "encoding",
    "plugins",
    "without",
    "transport",
    "event_loop",
    "log_file",
)
"""The settings of [manager] that a Manager which runs cannot change; in [manager.tls] it is `enabled`."""


@dataclass(frozen=True)
class Prepared:
    """New settings that everybody agrees to.

    Args:
        config: What holds from now on: what cannot change is in it as it was.
        cert_file: The certificate that peers are shown, if there is TLS.
        context: The TLS settings of new connections, if there is TLS.
        made: For each plugin with settings of its own in the file, an object made of them.
        changes: What has plugins change, by name.
        stays: The settings that need a restart, apart from those of plugins.
    """

    config: Config
    cert_file: Path | None
    context: ssl.SSLContext | None
    made: Mapping[str, object]
    changes: Sequence[tuple[str, Callable[[], None]]]
    stays: Sequence[str]

    def change(self, hooks: Hooks) -> list[str]:
        """Have the plugins change.

        Args:
            hooks: The plugins.

        Returns:
            The settings that differ but need a restart, as they stand in the file: ``[manager] port``.

        Raises:
            PluginError: If a plugin fails to do what it agreed to; the others have changed.
        """
        failure: PluginError | None = None
        for name, change in self.changes:
            try:
                change()
            except FAILURES as error:
                logger.exception("plugin %r failed to take its new settings", name)
                problem = f"failed to take its new settings ({type(error).__name__}: {error}); all others hold"
                failure = failure or PluginError(name, problem)
        if failure is not None:
            raise failure
        stays = list(self.stays)
        for name, plugin in hooks.plugins:
            if name in self.made:
                stays += [f"[plugins.{name}] {key}" for key in _different(plugin, self.made[name])]
        return stays


async def prepare(
    old: Config,
    new: Config | None,
    hooks: Hooks,
    make_tls: Callable[[Config, Hooks], tuple[Path | None, ssl.SSLContext | None]],
) -> Prepared:
    """Find out whether new settings can be had; nothing changes.

    Args:
        old: The settings that hold.
        new: Those that shall; if None, the old ones, read anew.
        hooks: The plugins.
        make_tls: Makes certificate and TLS settings; called in a worker thread.

    Raises:
        StartError: If not; the text says why in one line.
    """
    config, stays, made, cert_file, context = await to_thread.run_sync(_read, old, new, hooks, make_tls)
    changes = await hooks.reload(made)
    return Prepared(config=config, cert_file=cert_file, context=context, made=made, changes=changes, stays=stays)


def _read(
    old: Config,
    new: Config | None,
    hooks: Hooks,
    make_tls: Callable[[Config, Hooks], tuple[Path | None, ssl.SSLContext | None]],
) -> tuple[Config, list[str], dict[str, object], Path | None, ssl.SSLContext | None]:
    new = old.reread() if new is None else new
    offered = installed()
    check_names(new, offered)
    stays = [f"[manager] {key}" for key in NEEDS_RESTART if getattr(new, key) != getattr(old, key)]
    if new.tls.enabled is not old.tls.enabled:
        stays.append("[manager.tls] enabled")
    sections = dict(new.sections)
    made: dict[str, object] = {}
    candidates: list[tuple[str, object]] = []
    mistakes = Mistakes()
    for name, plugin in hooks.plugins:
        section, section_before = sections.get(name, {}), old.sections.get(name, {})
        if section.get("use") != section_before.get("use"):  # it is another plugin, with settings of another kind
            stays.append(f"[plugins.{name}] use")
            sections[name] = section_before
        elif name in old.enabled_plugins():
            with mistakes.noted():
                if (one := make(new, name, offered)) is not None:
                    made[name] = one
        takes_them = name in made and "reload" in hooks.implemented_by(plugin)
        candidates.append((name, made[name] if takes_them else plugin))
    mistakes.check()
    kept: dict[str, Any] = {key: getattr(old, key) for key in NEEDS_RESTART}
    tls = dataclasses.replace(new.tls, enabled=old.tls.enabled)
    config = dataclasses.replace(new, tls=tls, sections=MappingProxyType(sections), **kept)
    to_come = Hooks(candidates, hooks.authenticators)
    to_come.check_config(config)
    return config, stays, made, *make_tls(config, to_come)


def _different(plugin: object, made: object) -> list[str]:
    """Return the settings of a plugin that are not what they were to become."""
    return [key for key in settings(type(plugin)) if getattr(plugin, key) != getattr(made, key)]
