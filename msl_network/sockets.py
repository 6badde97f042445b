"""The options of a connected socket, the same at both ends.

Rule of this file: a peer that is gone without a word is found out within a minute, and a small message leaves at
once. It must not know what is sent.
"""

from __future__ import annotations

import logging
import socket

__all__ = ["tune"]

logger = logging.getLogger("msl_network")


def tune(sock: socket.socket) -> None:
    """Have a dead peer found out, and small messages sent at once.

    Args:
        sock: A connected TCP socket.
    """
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", 30),  # seconds without a byte until the first probe
        ("TCP_KEEPINTVL", 10),  # seconds between probes
        ("TCP_KEEPCNT", 3),  # probes without an answer
        ("TCP_USER_TIMEOUT", 30_000),  # milliseconds that sent bytes may stay unconfirmed
    ):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    for level, option, value in options:
        try:
            sock.setsockopt(level, option, value)
        except OSError as error:  # e.g. the peer has left already
            logger.debug("socket option %s: %s", option, error)
