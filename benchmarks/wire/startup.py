"""How long a Manager takes to start.

Rule of this file: it starts a command and knocks; the process has ended when it returns. It must not know the Manager.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import BenchmarkError, end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["startup"]

PATIENCE: Final = 30.0
"""How long a Manager may take to start, in seconds."""

PAUSE: Final = 0.0005
"""How long to wait before knocking again, in seconds."""


def startup(
    command: Sequence[str],
    port: int,
    *,
    tls: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Start a Manager, and end it; return the milliseconds to its first accept and to its first message, and its RSS.

    Args:
        command: The command; it listens at the port, on 127.0.0.1.
        port: The port.
        tls: Whether it uses TLS.
        environment: Environment variables beside those of this process.
        folder: The working directory; this one if None. ``python -m`` takes what lies in it for what is installed.

    Raises:
        BenchmarkError: If it does not start.
    """
    before = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            with connected(process, port) as plain:
                accepted = time.perf_counter()
                first_line(plain, tls)
            asked = time.perf_counter()
            memory = rss_kb(process.pid)
        finally:
            end(process)
    result = {
        "scenario": "startup",
        "accept_ms": round((accepted - before) * 1000, 2),
        "identity_request_ms": round((asked - before) * 1000, 2),
    }
    return result if memory is None else {**result, "rss_kb": memory}


def connected(process: subprocess.Popen[str], port: int) -> socket.socket:
    """Return a connection as soon as there can be one."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError:
            if process.poll() is not None:
                raise BenchmarkError(f"startup: the Manager ended with status {process.returncode}") from None
            if time.monotonic() > give_up:
                raise BenchmarkError(f"startup: nobody listens at port {port} after {PATIENCE:.0f} s") from None
        time.sleep(PAUSE)


def first_line(plain: socket.socket, tls: bool) -> None:
    """Read what a Manager says first."""
    connection = plain
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(plain)
    with connection:
        received = b""
        while b"\n" not in received:
            data = connection.recv(4096)
            if not data:
                raise BenchmarkError("startup: the Manager closed the connection before it asked who was there")
            received += data


def rss_kb(process: int) -> int | None:
    """Return how much memory a process has, in KiB; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
