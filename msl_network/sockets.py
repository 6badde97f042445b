"""The options and the addresses of a connected socket, the same at both ends.

Rule of this file: a peer that is gone without a word is found out within a minute, and a small message leaves at
once. It must not know what is sent.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from functools import lru_cache
from typing import Final

__all__ = ["address", "tune"]

logger = logging.getLogger("msl_network")


KEEPALIVE: Final = 60.0
"""Within which time a peer whose computer is gone is found out, in seconds, where nobody says otherwise."""

PROBES: Final = 3
"""How many questions of the system to the other one stay unanswered before it is taken for gone."""


def tune(sock: socket.socket, keepalive: float = KEEPALIVE) -> None:
    """Have a dead peer found out, and small messages sent at once.

    Half of the time may pass in silence, and in the other half the probes are sent; bytes that were sent may stay
    unconfirmed for half of the time.

    Args:
        sock: A connected TCP socket.
        keepalive: Within which time a peer whose computer is gone is to be found out, in seconds.
    """
    for level, option, value in _options(keepalive):
        try:
            sock.setsockopt(level, option, value)
        except OSError as error:  # e.g. the peer has left already
            logger.debug("socket option %s: %s", option, error)


@lru_cache  # it is the same for each connection
def _options(keepalive: float) -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", max(int(keepalive / 2), 1)),  # seconds without a byte until the first probe
        ("TCP_KEEPINTVL", max(int(keepalive / 2 / PROBES), 1)),  # seconds between probes
        ("TCP_KEEPCNT", PROBES),  # probes without an answer
        ("TCP_USER_TIMEOUT", int(keepalive / 2 * 1000)),  # milliseconds that sent bytes may stay unconfirmed
    ):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return options


def address(name: tuple[object, ...]) -> tuple[str, int]:
    """Return the numeric address and the port out of what the system calls the name of a socket.

    Args:
        name: As ``socket.getpeername`` returns it. An IPv4 address in the clothes of IPv6 becomes itself, and what
            says which network interface it belongs to is left out.
    """
    host = str(name[0]).partition("%")[0]
    port = int(str(name[1]))
    if ":" not in host:  # of IPv4
        return host, port
    mapped = ipaddress.ip_address(host)
    if isinstance(mapped, ipaddress.IPv6Address) and mapped.ipv4_mapped:
        return str(mapped.ipv4_mapped), port
    return host, port
