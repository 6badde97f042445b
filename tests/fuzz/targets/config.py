"""A text becomes settings that can be shown and read again, or is refused with a ConfigError of one line."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from msl_network_plugins.hostname import Hostname
from msl_network_plugins.identity import IdentityRules
from msl_network_plugins.login import Login
from msl_network_plugins.password import Password
from msl_network_plugins.sqlite import Sqlite

from msl_network.config import Config
from msl_network.errors import ConfigError
from msl_network.settings import build
from msl_network.toml import dump

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGINS: dict[str, type[Any]] = {
    "hostname": Hostname,
    "identity": IdentityRules,
    "login": Login,
    "password": Password,
    "sqlite": Sqlite,
}


def check(data: bytes) -> None:
    """The input is a file of settings, read as `Config.load` does."""
    try:
        settings = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    try:
        config = Config.from_dict(settings, source="lab.toml")
        plugins = [
            (name, build(PLUGINS[name], section, source="lab.toml", section=f"plugins.{name}", base=Path()))
            for name, section in config.sections.items()
            if name in PLUGINS
        ]
    except ConfigError as error:
        text = str(error)
        assert text.startswith("lab.toml")
        assert "\n" not in text or b"\\n" in data or b'"""' in data
        return
    config.log_level_number()
    assert config.enabled_plugins()
    again = Config.from_dict(tomllib.loads(dump(config, plugins)), source=config.source)
    assert _plain(again) == _plain(config)
    for name, plugin in plugins:
        if name != "password":
            section = again.sections.get(name, {})
            assert dataclasses.asdict(build(PLUGINS[name], section, base=Path())) == dataclasses.asdict(plugin)


def _plain(config: Config) -> dict[str, Any]:
    """Return what is shown as it is: neither secrets nor what is not enabled."""
    shown = dataclasses.asdict(dataclasses.replace(config, sections={}, keywords={}))
    del shown["tls"]["key_file_password"]
    return shown
