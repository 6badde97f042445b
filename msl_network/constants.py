"""The constants of MSL-Network 1.0 that scripts import from here.

Rule of this file: a name for what others define; nothing new. What depends on the environment is looked up when it is
asked for, not at import. It must not know what the constants are used for.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from . import paths
from .calls import SHUTDOWN_MANAGER
from .connecting import PORT
from .messages import DISCONNECT, NOTIFICATION_UID
from .serving import SHUTDOWN_SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DISCONNECT_REQUEST",
    "NETWORK_MANAGER_RUNNING_PREFIX",
    "NOTIFICATION_UID",
    "PORT",
    "SHUTDOWN_MANAGER",
    "SHUTDOWN_SERVICE",
]

DISCONNECT_REQUEST: Final = DISCONNECT
NETWORK_MANAGER_RUNNING_PREFIX: Final = "Network Manager running on"
"""What a Manager writes when it accepts connections, followed by its address."""


def __getattr__(name: str) -> str:
    looked_up: dict[str, Callable[[], str]] = {
        "HOSTNAME": socket.gethostname,
        "HOME_DIR": lambda: str(paths.home()),
        "CERT_DIR": lambda: str(paths.cert_file().parent),
        "KEY_DIR": lambda: str(paths.key_file().parent),
        "DATABASE": lambda: str(paths.database()),
    }
    if name in looked_up:
        return looked_up[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
