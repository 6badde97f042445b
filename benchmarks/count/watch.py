"""The Manager at work, while somebody looks on: callgrind, strace, or a profiler.

Rule of this file: whatever is started here has ended when the ``with`` block has, however that ends. It must not know
what the Manager is made to do, nor what becomes of the numbers.
"""

from __future__ import annotations

import os
import pstats
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .readers import read_callgrind, read_strace

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from .readers import Callgrind

__all__ = ["TOOLS", "WatchError", "missing", "under_callgrind", "under_nothing", "under_profiler", "under_strace"]

SECONDS: Final = 1.0

START: Final = 120 * SECONDS
"""How long the Manager may take to start; under valgrind it takes some seconds."""

STOP: Final = 30 * SECONDS
"""How long a process may take to end before it is killed."""

TOOLS: Final = {"callgrind": ("valgrind", "callgrind_control"), "strace": ("strace",)}
"""Which programs each way to count needs; all of the first are of the package valgrind."""

LAUNCHER: Final = Path(__file__).with_name("manager.py")
RUNNING: Final = "Network Manager running on"


class WatchError(Exception):
    """Raised when the Manager does not start, or cannot be watched."""


def missing(tool: str) -> str:
    """Return the first program that is not there of those that a tool needs, or nothing."""
    return next((program for program in TOOLS[tool] if not shutil.which(program)), "")


@contextmanager
def under_nothing(folder: Path, *, tls: bool) -> Iterator[int]:
    """Run a Manager that nobody looks at; return its port."""
    with _manager(folder, [], [], tls) as (port, _):
        yield port


@contextmanager
def under_callgrind(folder: Path, *, tls: bool) -> Iterator[tuple[int, Callable[[Callable[[], Any]], Callgrind]]]:
    """Run a Manager under callgrind.

    Args:
        folder: Its home, where it also leaves its log.
        tls: Whether it uses TLS.

    Returns:
        Its port, and what calls a function and returns what the Manager did meanwhile.

    Raises:
        WatchError: If it does not start, or callgrind does not obey.
    """
    out = folder / "callgrind.out"
    valgrind = ["valgrind", "--tool=callgrind", "--quiet", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    with _manager(folder, valgrind, [], tls) as (port, pid):

        def watch(act: Callable[[], Any]) -> Callgrind:
            _control(pid, "--instr=on")
            act()
            _control(pid, "--dump")
            _control(pid, "--instr=off")
            *_, last = sorted(folder.glob("callgrind.out.*"), key=lambda path: int(path.suffix[1:]))
            with last.open(encoding="utf-8", errors="replace") as lines:
                return read_callgrind(lines)

        yield port, watch


def _control(pid: int, word: str) -> None:
    command = ["callgrind_control", word, str(pid)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START)
    if done.returncode or "OK" not in done.stdout:
        raise WatchError(f"callgrind_control {word} does not work: {(done.stdout + done.stderr).strip()}")


@contextmanager
def under_strace(folder: Path, *, tls: bool) -> Iterator[tuple[int, Callable[[Callable[[], Any]], Counter[str]]]]:
    """Run a Manager that strace looks at; for the rest as `under_callgrind`."""
    with _manager(folder, [], [], tls) as (port, pid):

        def watch(act: Callable[[], Any]) -> Counter[str]:
            table = folder / "strace.out"
            command = ["strace", "-c", "-f", "-o", str(table), "-p", str(pid)]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
                try:
                    assert strace.stderr is not None
                    said = strace.stderr.readline()
                    if "attached" not in said:
                        raise WatchError(f"strace cannot look at another process: {said.strip()}")
                    act()
                finally:
                    strace.send_signal(signal.SIGINT)
                    strace.wait(STOP)
            return read_strace(table.read_text(encoding="utf-8"))

        yield port, watch


@contextmanager
def under_profiler(folder: Path, *, tls: bool) -> Iterator[tuple[int, Callable[[Callable[[], Any]], pstats.Stats]]]:
    """Run a Manager with cProfile; for the rest as `under_callgrind`."""
    out = folder / "profile"
    with _manager(folder, [], ["--profile", str(out)], tls) as (port, pid):

        def watch(act: Callable[[], Any]) -> pstats.Stats:
            os.kill(pid, signal.SIGUSR1)
            act()
            os.kill(pid, signal.SIGUSR2)
            _wait(out.exists, "the profiler does not stop")
            stats = pstats.Stats(str(out))
            out.unlink()
            return stats

        yield port, watch


@contextmanager
def _manager(folder: Path, before: Sequence[str], words: Sequence[str], tls: bool) -> Iterator[tuple[int, int]]:
    """Start a Manager; return its port and the number of its process."""
    log = folder / "manager.log"
    port = _free_port()
    command = [*before, sys.executable, str(LAUNCHER), *words, "start", "-H", "127.0.0.1", "-p", str(port)]
    # what is counted is to be the same whether uvloop is installed or not
    command += ["--event-loop", "asyncio", "-l", str(log), *([] if tls else ["--disable-tls"])]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"MSL_NETWORK_HOME": str(folder), "PYTHONHASHSEED": "0"}
    with (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=errors, stderr=errors)
    try:

        def is_running() -> bool:
            if process.poll() is not None:
                raise WatchError(f"the Manager does not start:\n{_text(folder / 'stderr.txt')}")
            return RUNNING in _text(log)

        _wait(is_running, "the Manager does not start")
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(condition: Callable[[], bool], problem: str) -> None:
    give_up = time.monotonic() + START
    while not condition():
        if time.monotonic() > give_up:
            raise WatchError(f"{problem} within {START:.0f} s")
        time.sleep(0.05)


def _text(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
