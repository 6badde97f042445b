"""Finds, configures and builds the enabled plugins.

    [plugins.badge]
    use = "mylab.auth:Badge"      a class in an importable module, or
                                  no `use`: an entry point "badge" in the group "msl_network"
    code = "1234"                 the fields of the class are its section

A module that `use` names is looked for where Python finds modules, and after all of these in the folder of
the TOML file: with ``lab.toml`` beside ``mylab/auth.py``, ``msl-network start --config /any/where/lab.toml``
works. That folder stays on ``sys.path``, so that the module can import what is beside it whenever it wants
to.

Rule of this file: only enabled plugins are imported, and one that is not as it should be is refused by name.
It must not know any plugin.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from .errors import ConfigError, PluginError, StartError
from .hooks import Hooks, implements
from .hookspecs import PROJECT
from .settings import Mistakes, build, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .config import Config

__all__ = ["Found", "check_names", "find", "installed", "load", "make"]

_TARGET: Final = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where a plugin comes from.

    Args:
        name: Its name in the configuration.
        target: ``module:Class``.
        distribution: The installed package that offers it, with its version; empty for one named by `use`.
    """

    name: str
    target: str
    distribution: str = ""


def installed() -> dict[str, list[Found]]:
    """Return all installed plugins by name; more than one under a name is a conflict."""
    found: dict[str, list[Found]] = {}
    for point in metadata.entry_points(group=PROJECT):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else ""
        # without the extras that an entry point may ask for: mylab.auth:Badge [ldap]
        target = point.value.partition("[")[0].strip()
        offer = Found(name=point.name, target=target, distribution=origin)
        offers = found.setdefault(point.name, [])
        if offer not in offers:  # an editable install shows one distribution twice
            offers.append(offer)
    return found


def find(config: Config, name: str, offered: Mapping[str, Sequence[Found]] | None = None) -> Found:
    """Return where the plugin of that name comes from.

    Args:
        config: The settings, which may say so themselves.
        name: The name of the plugin.
        offered: What `installed` returned, if it is at hand.

    Raises:
        ConfigError: If there is none.
        PluginError: If two installed packages offer it.
    """
    use = config.sections.get(name, {}).get("use")
    if use is not None:
        if not isinstance(use, str) or not _TARGET.fullmatch(use):
            raise ConfigError(
                f'found {use!r}, allowed is "module:Class"',
                source=config.source,
                section=f"plugins.{name}",
                key="use",
            )
        return Found(name=name, target=use)
    offered = installed() if offered is None else offered
    offers = offered.get(name, [])
    if not offers:
        known = {*offered, *_with_use(config)}
        raise ConfigError(
            f"there is no plugin {name!r}, {nearest(name, known)}; install the package that offers it, "
            f'or say where it is with use = "module:Class" in [plugins.{name}]',
            source=config.source,
            section="manager",
            key=_key(config, name),
        )
    if len(offers) > 1:
        packages = " and ".join(offer.distribution for offer in offers)
        raise PluginError(name, f"is offered by {packages}; uninstall one, or choose with 'use' in [plugins.{name}]")
    if not _TARGET.fullmatch(offers[0].target):
        raise PluginError(
            name,
            f"{offers[0].distribution} says that it is {offers[0].target!r}; allowed is 'module:Class'",
        )
    return offers[0]


def load(config: Config, extra: Sequence[object] = ()) -> Hooks:
    """Build the enabled plugins.

    Args:
        config: Says which, and holds their sections.
        extra: Plugin objects to add. One with `authenticate` is asked like those that ``auth`` names, after
            them.

    Returns:
        The plugins, ready to be called.

    Raises:
        ConfigError: If a name or a section is wrong.
        PluginError: If a plugin does not fit.
        StartError: If a plugin refuses the settings.
    """
    offered = installed()
    mistakes = Mistakes()
    with mistakes.noted():
        _check_sections(config, offered)
    plugins: list[tuple[str, object]] = []
    for name in config.enabled_plugins():
        with mistakes.noted():
            plugins.append((name, _build(config, find(config, name, offered))))
    mistakes.check()
    named = [(_name(plugin, index), plugin) for index, plugin in enumerate(extra)]
    for name, plugin in plugins:
        if name in config.plugins and name not in config.auth and implements(plugin, "authenticate"):
            raise ConfigError(
                f"{name!r} decides who is let in, but only plugins in 'auth' are asked; put it there",
                source=config.source,
                section="manager",
                key="plugins",
            )
    more = (name for name, plugin in named if implements(plugin, "authenticate"))
    hooks = Hooks([*plugins, *named], [*config.auth, *more])
    if "open_store" not in hooks.implemented_by(dict(plugins)[config.store]):
        raise ConfigError(
            f"{config.store!r} keeps no data: it implements no 'open_store'",
            source=config.source,
            section="manager",
            key="store",
        )
    hooks.make_codec(config.encoding)  # else the first peer would find out
    hooks.check_config(config)
    return hooks


def check_names(config: Config, offered: Mapping[str, Sequence[Found]]) -> None:
    """Check, without importing any, that there are the plugins that settings name.

    Args:
        config: The settings.
        offered: What `installed` returned.

    Raises:
        ConfigError: If there is none of a name.
        PluginError: If two installed packages offer it.
    """
    mistakes = Mistakes()
    with mistakes.noted():
        _check_sections(config, offered)
    for name in config.enabled_plugins():
        with mistakes.noted():
            find(config, name, offered)
    mistakes.check()


def make(config: Config, name: str, offered: Mapping[str, Sequence[Found]] | None = None) -> object | None:
    """Make an object of the new section of a plugin that is enabled already.

    Args:
        config: The settings, which hold the section.
        name: The name of the plugin.
        offered: What `installed` returned, if it is at hand.

    Returns:
        The object; None if the plugin takes no settings.

    Raises:
        ConfigError: If the section is wrong.
        PluginError: If the plugin cannot be made of it.
    """
    found = find(config, name, offered)
    factory, has_settings = _factory(config, found)
    return _make(config, found, factory, has_settings=True) if has_settings else None


def _check_sections(config: Config, offered: Mapping[str, Sequence[Found]]) -> None:
    known = {*offered, *config.enabled_plugins()}
    mistakes = Mistakes()
    for name, section in config.sections.items():
        if name not in known and "use" not in section:
            problem = f"there is no plugin {name!r}, {nearest(name, known)}"
            mistakes.note(ConfigError(problem, source=config.source, section=f"plugins.{name}"))
    mistakes.check()


def _with_use(config: Config) -> list[str]:
    """Return the names of plugins whose sections say where they are."""
    return [name for name, section in config.sections.items() if "use" in section]


def _key(config: Config, name: str) -> str:
    """Return the key of [manager] that names a plugin; empty if it is one of the defaults."""
    for key in ("auth", "plugins"):
        if name in getattr(config, key):
            return key
    return next((key for key in ("store", "encoding") if getattr(config, key) == name), "")


def _build(config: Config, found: Found) -> object:
    factory, has_settings = _factory(config, found)
    return _make(config, found, factory, has_settings=has_settings)


def _factory(config: Config, found: Found) -> tuple[Any, bool]:
    """Return what makes a plugin, and whether it takes settings."""
    factory = _import(found, None if found.distribution else config.folder)
    if not callable(factory):
        raise PluginError(found.name, f"{found.target} is no class")
    has_settings = dataclasses.is_dataclass(factory) and isinstance(factory, type)
    section = _section(config, found)
    if section and not has_settings:
        raise ConfigError(
            f"takes no settings: {found.target} is no dataclass; put @dataclass(eq=False) before the class, "
            "and name this key in it",
            source=config.source,
            section=f"plugins.{found.name}",
            key=next(iter(section)),
        )
    return factory, has_settings


def _section(config: Config, found: Found) -> dict[str, Any]:
    return {key: value for key, value in config.sections.get(found.name, {}).items() if key != "use"}


def _make(config: Config, found: Found, factory: Any, *, has_settings: bool) -> object:
    try:
        if not has_settings:
            return factory()
        where = f"plugins.{found.name}"
        return build(factory, _section(config, found), source=config.source, section=where, base=config.folder)
    except StartError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(found.name, f"{found.target} cannot be made: {type(error).__name__}: {error}") from error


def _import(found: Found, folder: Path | None) -> Any:
    module, _, attributes = found.target.partition(":")
    if folder is not None:
        place = str(folder.resolve())
        if place not in sys.path:
            sys.path.append(place)
    try:
        target = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
        where = ""
        if isinstance(error, ModuleNotFoundError) and folder is not None and error.name == module.partition(".")[0]:
            where = f"; it is neither installed nor in {place}"
        raise PluginError(found.name, f"cannot import {module!r}: {type(error).__name__}: {error}{where}") from error
    try:
        return attrgetter(attributes)(target)
    except AttributeError:
        own = (value for value in vars(target).values() if isinstance(value, type) and value.__module__ == module)
        hint = nearest(attributes, (value.__name__ for value in own))
        raise PluginError(found.name, f"the module {module!r} has no class {attributes!r}, {hint}") from None


def _name(plugin: object, index: int) -> str:
    return f"{getattr(plugin, '__name__', type(plugin).__name__)}-{index + 1}"
