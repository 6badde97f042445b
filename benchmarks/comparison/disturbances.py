"""What others notice when the Manager is disturbed: two Clients go on, one call after the other and 64 in flight.

Rule of this file: each disturbance is a context that lasts as long as it disturbs. It must not know how the Clients
measure.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.comparison.managers import DATABASE, PASSWORD, USER
from benchmarks.processes import BenchmarkError, end, end_with_us
from benchmarks.wire import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.comparison.managers import Managers
    from benchmarks.wire.measure import Target
    from benchmarks.wire.scenarios import Option

__all__ = ["DISTURBANCES", "Disturbance", "disturb", "impediment", "resolver"]

SECONDS: Final = 1.0

BEFORE: Final = 1 * SECONDS
"""How long to measure what is undisturbed."""

LONGEST: Final = 8 * SECONDS
"""How long a disturbance may last that ends by itself."""

RESOLVER: Final = "127.77.0.1"
"""Where the name server is that does not answer."""

STRANGER: Final = "127.0.0.2"
"""An address of this computer that is in no file of host names."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Something that happens to a Manager.

    Args:
        text: What it is, for tables.
        load: What to have the generator do in the mode ``connect``.
        seconds: How long it lasts; None: until that has been done.
        variant: How the Manager is started.
        silent_dns: Whether the Manager's name server does not answer.
        locked: Whether its database is locked by another process.
    """

    text: str
    load: Mapping[str, Option]
    seconds: float | None
    variant: str = "plain"
    silent_dns: bool = False
    locked: bool = False


DISTURBANCES: Final[Mapping[str, Disturbance]] = {
    "storm": Disturbance(
        text="250 connects/s", load={"clients": 64, "per_second": 250, "seconds": 30}, seconds=2 * SECONDS
    ),
    "dns": Disturbance(
        text="20 connects/s, silent DNS",
        load={"clients": 64, "per_second": 20, "seconds": 30, "source": STRANGER},
        seconds=3 * SECONDS,
        silent_dns=True,
    ),
    "logins": Disturbance(
        text="20 logins at once", load={"clients": 20, "count": 20, "seconds": LONGEST}, seconds=None, variant="login"
    ),
    "locked": Disturbance(
        text="20 connects/s, locked database",
        load={"clients": 64, "per_second": 20, "seconds": 30},
        seconds=2 * SECONDS,
        locked=True,
    ),
}
"""The disturbances, by name."""


def impediment(name: str) -> str:
    """Return why a disturbance cannot be made here; empty if it can."""
    if not DISTURBANCES[name].silent_dns:
        return ""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return "a name server that does not answer needs Linux, root and the command unshare (util-linux)"
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True, text=True)
        with silent_server():
            return ""
    except subprocess.CalledProcessError as error:
        return f"a name server that does not answer needs a mount namespace: {error.stderr.strip()}"
    except OSError as error:
        return f"a name server that does not answer needs port 53 of {RESOLVER}: {error}"


def disturb(managers: Managers, system: str, name: str) -> dict[str, float]:
    """Have two Clients go on during a disturbance; return what they reached, compared with before.

    Args:
        managers: Starts the Manager.
        system: Which Manager.
        name: One of `DISTURBANCES`.

    Returns:
        ``sequential`` and ``pipelined``, the rate of each Client divided by that before; ``gap_ms``, the longest time
        in which one of them had no reply, and ``gap_before_ms``; and rates and 99th percentiles.

    Raises:
        BenchmarkError: If the Manager does not start, or the Clients cannot go on.
    """
    what = DISTURBANCES[name]
    credentials: dict[str, Option] = {}
    if what.variant == "login":
        managers.add_user(system)
        credentials = {"user": USER, "password": PASSWORD}
    with (
        resolver(managers.folder) if what.silent_dns else nothing() as prefix,
        managers.fresh(system, what.variant, prefix) as target,
        clients(target, credentials) as (go_on, result),
        locked(managers.home(system, what.variant) / DATABASE) if what.locked else nothing(),
    ):
        unwatched = replace(target, process=None)  # or the generator would wait until the Manager has nothing to do
        command = measure.command("connect", unwatched, {**what.load, **credentials})
        go_on()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            text=True,
            preexec_fn=end_with_us,  # noqa: PLW1509 - one call of prctl, and this process has no threads
        ) as process:
            try:
                if what.seconds is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(LONGEST)
                else:
                    time.sleep(what.seconds)
                go_on()
                found = result()
            finally:
                end(process)
    return figures(found)


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of the table."""
    sides = {side: found[side] for side in ("sequential", "pipelined")}
    return {
        **{side: values["ratio"] for side, values in sides.items()},
        "gap_ms": max(values["gap_during_ms"] for values in sides.values()),
        "gap_before_ms": max(values["gap_before_ms"] for values in sides.values()),
        **{f"{side}_rps": values["during_rps"] for side, values in sides.items()},
        **{f"{side}_p99_us": values["during_us"]["p99"] for side, values in sides.items()},
    }


@contextmanager
def nothing() -> Iterator[list[str]]:
    """Change nothing."""
    yield []


@contextmanager
def clients(
    target: Target, credentials: Mapping[str, Option]
) -> Iterator[tuple[Callable[[], None], Callable[[], dict[str, Any]]]]:
    """Have two Clients measured undisturbed; then give what tells them to go on, and what returns their result."""
    options = {**credentials, "window": 64, "seconds": BEFORE, "warm_up": 0.3 * BEFORE, "timeout": 60}
    with subprocess.Popen(
        measure.command("beside", target, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_us,  # noqa: PLW1509 - one call of prctl, and this process has no threads
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def go_on() -> None:
            with suppress(OSError):  # it has ended; what it said is better
                stdin.write("\n")
                stdin.flush()

        def result() -> dict[str, Any]:
            return measure.read("beside", stdout.readline(), "")

        try:
            first = stdout.readline()
            if first != "undisturbed\n":
                measure.read("beside", first, "")
                raise BenchmarkError(f"beside: the generator said {first!r}")
            yield go_on, result
        finally:
            end(process)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Lock a database against all who want to write."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=SECONDS)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise BenchmarkError(f"{database.name} cannot be locked: {error}") from None
        yield
    finally:
        connection.close()


@contextmanager
def silent_server() -> Iterator[None]:
    """Take the questions to a name server, and say nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((RESOLVER, 53))
        yield


@contextmanager
def resolver(folder: Path) -> Iterator[list[str]]:
    """Give the words before a command that has only a silent name server; nothing else on this computer notices."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {RESOLVER}\n", encoding="ascii")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    with silent_server():
        yield ["unshare", "--mount", "sh", "-c", script, str(file)]
