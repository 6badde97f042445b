"""Tells systemd about a Manager that it has started: it is ready, it is alive, it is stopping.

The protocol is that of sd_notify(3): datagrams to the socket that ``NOTIFY_SOCKET`` names, with a line for each fact.
A unit with ``Type=notify`` has that variable in its environment, one with ``WatchdogSec=`` also ``WATCHDOG_USEC``.

Rule of this file: nobody but systemd asks for it, so without the variable nothing happens; what cannot be told is one
line in the log and harms nobody. It must not know what the Manager does.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from .manager import Manager

__all__ = ["report"]

logger = logging.getLogger("msl_network")

MICROSECONDS: Final = 1e-6

PINGS: Final = 2
"""How often systemd hears from the Manager in the time after which it is taken to hang; sd_watchdog_enabled(3)
recommends it."""


async def report(manager: Manager) -> None:
    """Tell systemd that a Manager is ready, then that it is alive until it is stopped, and that it is stopping.

    The event loop itself says that it is alive: if something holds it up, systemd hears nothing and starts the Manager
    anew. That it is stopping ends the watch, see `TimeoutStopSec` of systemd.service(5).

    Args:
        manager: The Manager, which peers can connect to.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    await _tell(address, f"READY=1\nSTATUS={manager.network_name} serves")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_say_alive, address)
        await manager.wait_stopped()
        tasks.cancel_scope.cancel()
    await _tell(address, "STOPPING=1\nSTATUS=stopping")


async def _say_alive(address: str) -> None:
    """Say so as often as systemd wants to hear it, for ever; return if it does not want to."""
    pause = _watchdog_time() / PINGS
    was_heard = True
    while pause > 0:
        was_heard = await _tell(address, "WATCHDOG=1", is_silent=not was_heard)
        await anyio.sleep(pause)


def _watchdog_time() -> float:
    """Return after which time without a word this process is taken to hang, in seconds; 0 for never."""
    text = os.environ.get("WATCHDOG_USEC", "")
    if not text or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    if text.isdecimal() and int(text):
        return int(text) * MICROSECONDS
    logger.warning("systemd is not told that the Manager is alive: WATCHDOG_USEC: found %r, allowed is a number", text)
    return 0


async def _tell(address: str, text: str, *, is_silent: bool = False) -> bool:
    """Send a datagram; returns whether that was possible, and logs why not, unless `is_silent`."""
    try:
        if address[0] not in "/@":
            raise OSError("allowed is the path of a socket, or '@' and an abstract name")  # noqa: TRY301 - as below
        # a socket for each: systemd may have made another one under this address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            while True:
                try:
                    sock.send(text.encode())
                except BlockingIOError:  # systemd has much to read
                    await anyio.wait_writable(sock)
                else:
                    return True
    except (OSError, AttributeError) as error:  # the latter on a system that has no such sockets
        if not is_silent:
            what = text.partition("=")[0]
            logger.warning("systemd cannot be told %s: NOTIFY_SOCKET is %r: %s", what, address, error)
        return False
