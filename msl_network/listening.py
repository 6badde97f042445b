"""Opens the sockets that the Manager listens on.

Rule of this file: either all addresses are listened on, with one port, or none, and then a person is told why.
It must not know what happens with a connection.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Final

from .errors import ListenError

__all__ = ["bind"]

BACKLOG: Final = 1024
"""How many connections the system keeps while we are busy; Linux cuts it to net.core.somaxconn."""


def bind(host: str | None, port: int) -> list[socket.socket]:
    """Open the sockets to listen on.

    Args:
        host: A name or an address; None for all interfaces, IPv4 and IPv6.
        port: The port; 0 takes one that is free on all addresses.

    Returns:
        The listening sockets, all with one port.

    Raises:
        ListenError: If that is not possible.
    """
    where = f"{host or 'all interfaces'}, port {port}"
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {where}: {error}; give the name or address of this computer") from None
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, kind, number, _, address in dict.fromkeys(infos):
        try:
            sock = socket.socket(family, kind, number)
        except OSError as error:  # no IPv6 on this computer
            problem = error
            continue
        try:
            if sys.platform != "win32":  # there it would let two Managers share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            free = sockets[0].getsockname()[1] if sockets else port
            sock.bind((address[0], free, *address[2:]))
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            problem = error
            if host is None and error.errno == errno.EADDRNOTAVAIL:
                continue
            break
        sockets.append(sock)
    else:
        if sockets:
            return sockets
    for sock in sockets:
        sock.close()
    raise ListenError(f"cannot listen on {where}: {_why(problem, port)}")


def _why(error: OSError | None, port: int) -> str:
    if error is not None and error.errno == errno.EADDRINUSE:
        return f"port {port} is in use, perhaps by another Manager; stop it or choose another port"
    if error is not None and error.errno == errno.EACCES:
        return f"no permission for port {port}; choose one above 1023"
    if error is not None and error.errno == errno.EADDRNOTAVAIL:
        return "this computer does not have that address"
    return str(error.strerror if error else "no address found")
