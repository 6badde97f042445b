"""Free TCP ports, for what must know its port before it listens."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

FIRST: Final = 20_000
"""Below the ports that the system takes for outgoing connections, which may come between the look and the use."""

EACH: Final = 1000
"""How many ports each process of pytest-xdist has for itself."""


def free_port() -> int:
    """Return a port on which nobody listens."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for port in random.sample(range(FIRST + worker * EACH, FIRST + (worker + 1) * EACH), EACH):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:  # in use
            continue
    raise AssertionError("no port is free")
