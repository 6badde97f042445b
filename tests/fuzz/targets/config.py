"""A text becomes settings that can be shown and read again, or is refused with a ConfigError of one line."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
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
    """The input is a file of settings."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "lab.toml")
        file.write_bytes(data)
        try:
            config = Config.load(file)
            plugins = [
                (name, build(PLUGINS[name], section, source=str(file), section=f"plugins.{name}", base=file.parent))
                for name, section in config.sections.items()
                if name in PLUGINS
            ]
        except ConfigError as error:
            assert str(error).startswith(str(file))  # noqa: PT017
            assert "\n" not in str(error) or "\\n" in data.decode(errors="replace")  # noqa: PT017
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
    shown = dataclasses.asdict(dataclasses.replace(config, sections={}))
    del shown["tls"]["key_file_password"]
    return shown
