"""Processes and ports, for all benchmarks.

Rule of this file: how a process ends, and which port is free. It must not know what any process is for.
"""

from __future__ import annotations

import ctypes
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final

__all__ = ["BenchmarkError", "end", "end_with_us", "free_port"]

PR_SET_PDEATHSIG: Final = 1
"""What prctl(2) of Linux is to do."""

STOP: Final = 5.0
"""How long a process may take to end before it is killed, in seconds."""


class BenchmarkError(Exception):
    """Raised when something that is to be measured does not start, or does not answer any more."""


def free_port() -> int:
    """Return a port that nobody listens on: none of those that the system takes for outgoing connections meanwhile."""
    for port in random.sample(range(30_000, 32_000), 2000):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:  # in use
            continue
    raise OSError("no port from 30000 to 31999 is free")


def end(process: subprocess.Popen[str]) -> None:
    """End a process, gently at first."""
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(OSError):  # a command that was never read
        if process.stdin:
            process.stdin.close()
    if process.stdout and not process.stdout.closed:
        process.stdout.close()


def end_with_us() -> None:
    """Have this process killed when the one that started it ends, however that ends; call it in the new process.

    Only Linux can.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
