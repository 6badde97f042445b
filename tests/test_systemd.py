"""What systemd is told, by a socket in its place: in this process, and by the command in one of its own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from msl_network import Manager, hookimpl, run_forever
from msl_network.systemd import report

from .laboratory import DEADLINE, for_ever

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOON = "50000"
"""What WATCHDOG_USEC says, in microseconds."""

NEVER_YET = 0.5
"""How long nothing is heard, in seconds: many times the pause between two datagrams."""


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end at which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield sock


async def heard(sock: socket.socket) -> str:
    """Wait for the next datagram."""
    return (await to_thread.run_sync(sock.recv, 4096)).decode()


@pytest.mark.anyio
async def test_ready_and_stopping(systemd: socket.socket) -> None:
    """Systemd hears that a Manager is ready, and that it is stopping; nothing else if it does not ask for it."""
    async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
        tasks.start_soon(report, manager)
        assert await heard(systemd) == f"READY=1\nSTATUS={manager.network_name} serves"
        manager.stop()
        assert await heard(systemd) == "STOPPING=1\nSTATUS=stopping"
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)


@pytest.mark.anyio
@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["any", "own"])  # the number differs in each process
async def test_alive(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, pid: str | None) -> None:
    """Systemd hears again and again that the Manager is alive, but not while something holds up the event loop."""
    monkeypatch.setenv("WATCHDOG_USEC", SOON)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
        tasks.start_soon(report, manager)
        assert (await heard(systemd)).startswith("READY=1\n")
        for _ in range(3):
            assert await heard(systemd) == "WATCHDOG=1"
        systemd.settimeout(NEVER_YET)
        with pytest.raises(TimeoutError):  # after what was sent before nothing comes: this blocks the event loop
            for_ever(systemd.recv, 4096)
        systemd.settimeout(DEADLINE)
        assert await heard(systemd) == "WATCHDOG=1"
        manager.stop()
        last = await heard(systemd)
        while last == "WATCHDOG=1":
            last = await heard(systemd)
        assert last.startswith("STOPPING=1\n")


@pytest.mark.anyio
@pytest.mark.parametrize(("time", "pid"), [(SOON, "1"), ("0", None), ("soon", None), ("-5", None)])
async def test_no_watchdog(
    systemd: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    time: str,
    pid: str | None,
) -> None:
    """Nothing is sent in the name of another process; a time that is none is named, and the rest works."""
    monkeypatch.setenv("WATCHDOG_USEC", time)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
        tasks.start_soon(report, manager)
        assert (await heard(systemd)).startswith("READY=1\n")
        await anyio.wait_all_tasks_blocked()
        manager.stop()
        assert (await heard(systemd)).startswith("STOPPING=1\n")
    assert (f"WATCHDOG_USEC: found {time!r}, allowed is a number" in caplog.text) == (pid is None)


@pytest.mark.anyio
async def test_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that begins with @ is an abstract name, as in sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0msl-network-test-{os.getpid()}")
        sock.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@msl-network-test-{os.getpid()}")
        async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
            tasks.start_soon(report, manager)
            assert (await heard(sock)).startswith("READY=1\n")
            manager.stop()


@pytest.mark.anyio
async def test_systemd_that_reads_late(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not read at once holds up neither the Manager nor what it is told in the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(os.environ["NOTIFY_SOCKET"])
        with pytest.raises(BlockingIOError):
            for_ever(sock.send, b"STATUS=full")
    async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
        tasks.start_soon(report, manager)
        await anyio.wait_all_tasks_blocked()
        said = await heard(systemd)
        while said == "STATUS=full":
            said = await heard(systemd)
        assert said.startswith("READY=1\n")
        manager.stop()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/no/such/socket", r"No such file or directory"),
        ("vsock:2:1234", r"allowed is the path of a socket, or '@' and an abstract name"),
        ("/" + "x" * 200, r"AF_UNIX path too long"),
    ],
)
async def test_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str, reason: str
) -> None:
    """A Manager that cannot tell systemd says so, once for its being alive, and serves."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    async with Manager(listen=False) as manager, anyio.create_task_group() as tasks:
        with caplog.at_level(logging.WARNING):
            tasks.start_soon(report, manager)
            await anyio.sleep(0.02)
            manager.stop()
    for what in ("READY", "WATCHDOG", "STOPPING"):
        assert caplog.text.count(f"systemd cannot be told {what}: NOTIFY_SOCKET is {address!r}: ") == 1
    assert caplog.text.count(reason) == 3


@pytest.mark.anyio
async def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable nothing happens, and nothing waits."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", SOON)
    async with Manager(listen=False) as manager:
        with anyio.fail_after(DEADLINE):
            await report(manager)


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "msl_network", "start", "-H", "127.0.0.1", "-p", "0", "--disable-tls", *words]
    return subprocess.Popen(program, cwd=folder, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)


def test_process(systemd: socket.socket, tmp_path: Path) -> None:
    """`msl-network start` is ready when somebody can connect, lives, says that it stops, and ends with status 0."""
    log = tmp_path / "log.txt"
    process = start(tmp_path, "-l", str(log), WATCHDOG_USEC=SOON)
    try:
        ready = systemd.recv(4096).decode()
        port = int(ready.partition(":")[2].partition("]")[0])
        with closing(socket.create_connection(("127.0.0.1", port), DEADLINE)) as peer:
            assert b'"attribute"' in peer.recv(4096)
        assert systemd.recv(4096) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        while (said := systemd.recv(4096)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1\nSTATUS=stopping"
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
    assert "[WARNI" not in log.read_text()


def test_process_that_cannot_start(systemd: socket.socket, tmp_path: Path) -> None:
    """A Manager that does not start never says that it is ready: systemd learns it from the status."""
    process = start(tmp_path, "-d", ".")
    assert process.wait(DEADLINE * 3) == 1
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)


class Stops:
    """Stops the Manager as soon as somebody may connect."""

    @hookimpl
    async def started(self, manager: Manager) -> None:
        manager.stop()


def test_program_in_a_unit(systemd: socket.socket, tmp_path: Path) -> None:
    """`run_forever` in a script of one's own tells systemd the same."""
    run_forever(host="127.0.0.1", port=0, disable_tls=True, log_file=str(tmp_path / "log.txt"), plugins=[Stops()])
    assert systemd.recv(4096).startswith(b"READY=1\n")
    assert systemd.recv(4096).startswith(b"STOPPING=1\n")
