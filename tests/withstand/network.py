"""Two computers with a cable between them, which can be pulled: network namespaces of Linux."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.laboratory import DEADLINE, Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MANAGER = "10.77.0.1"
"""The address of the computer on which the Manager is to run."""

PEERS = "10.77.0.2"
"""That of the computer of the peers."""

CLONE_NEWNET = 0x40000000  # of <sched.h>


class Cable:
    """What connects the two computers.

    Args:
        name: What the names of both begin with.
    """

    def __init__(self, name: str) -> None:
        self.manager = f"{name}m"
        self.peers = f"{name}p"

    @property
    def within(self) -> list[str]:
        """The command that runs another one on the Manager's computer."""
        return ["ip", "netns", "exec", self.manager]

    def connect(self, port: int, computer: str = "") -> socket.socket:
        """Connect to a port of the Manager's computer.

        Args:
            port: The port.
            computer: From where; from the peers' computer by default.
        """
        return on(computer or self.peers, lambda: socket.create_connection((MANAGER, port), DEADLINE))

    def pull(self) -> None:
        """Nothing gets through any more, in either direction, and nobody is told."""
        ip("-n", self.peers, "link", "set", "cable", "down")


def on(computer: str, function: Callable[[], T]) -> T:
    """Call a function in a thread of its own that is on a computer; a socket stays where it was made."""

    def call() -> T:
        with Path(f"/run/netns/{computer}").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return function()

    result: T = Thread(call).result()
    return result


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def cable() -> Iterator[Cable]:
    """Two computers. A name server is set for the Manager's, but there is none: it never answers."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs Linux, root and the command ip (iproute2), to make network namespaces")
    made = Cable(f"msl{os.getpid()}")
    names = Path("/etc/netns") / made.manager
    try:
        try:
            _connect(made, names)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this system does not make network namespaces: {error.stderr.decode().strip()}")
        yield made
    finally:
        shutil.rmtree(names, ignore_errors=True)
        with suppress(OSError):  # others may have something there
            names.parent.rmdir()
        for name in (made.manager, made.peers):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _connect(made: Cable, names: Path) -> None:
    for name in (made.manager, made.peers):
        ip("netns", "add", name)
    names.mkdir(parents=True)
    (names / "resolv.conf").write_text("nameserver 10.77.0.99\n")
    ip("link", "add", "cable", "netns", made.manager, "type", "veth", "peer", "name", "cable", "netns", made.peers)
    for name, address in ((made.manager, MANAGER), (made.peers, PEERS)):
        ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        ip("-n", name, "link", "set", "lo", "up")
