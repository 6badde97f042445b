"""The two ends of a call, each a process of its own: a Service, and a client that measures when told to.

    python benchmarks/call/peers.py service KIND PORT [--tls] [--manager PROCESS]
    python benchmarks/call/peers.py client KIND PORT [--tls]

A client says ``{}`` when it has reached the Service. It reads commands (``run SCENARIO SECONDS``), one a line,
and answers each with one line of JSON. Both kinds of process end when their standard input does: when whoever
started them has gone, even without a word. The Service then takes the Manager along, which does not notice.

Rule of this file: it is started, never imported. It must not know of other systems, of rounds, or of what is
done with the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if not __package__:  # run by its path: the package is to be found, yet never before what is installed
    del sys.path[0]
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.call import measure as blocking
from benchmarks.call import measure_async as awaited
from benchmarks.call.libraries import ASYNC_CLIENTS, CLIENTS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 20.0
"""How long a client tries to reach the Service, in seconds."""


class Runner(Protocol):
    """What a client process measures with."""

    def run(self, scenario: str, seconds: float) -> dict[str, float]:
        """Return the figures of a scenario."""


class BlockingRunner:
    """Measures with a client that is connected all the time."""

    def __init__(self, kind: str, port: int, tls: bool) -> None:
        self.caller = caller = CLIENTS[kind](port, tls)
        expect("value", caller.echo("value"))
        numbers = blocking.NUMBERS
        expect(len(numbers), caller.length(caller.by_value(numbers)))

    def run(self, scenario: str, seconds: float) -> dict[str, float]:
        """Return the figures of a scenario."""
        return blocking.measure(self.caller, scenario, seconds)


class AsyncRunner:
    """Measures with an async client, which lives as long as one measurement, as its event loop does."""

    def __init__(self, kind: str, port: int, tls: bool) -> None:
        self.open, self.port, self.tls = ASYNC_CLIENTS[kind], port, tls
        asyncio.run(self.check())

    async def check(self) -> None:
        """Reach the Service once."""
        async with self.open(self.port, self.tls) as caller:
            expect("value", await caller.echo("value"))

    def run(self, scenario: str, seconds: float) -> dict[str, float]:
        """Return the figures of a scenario."""
        return asyncio.run(self.measure(scenario, seconds))

    async def measure(self, scenario: str, seconds: float) -> dict[str, float]:
        """Return the figures of a scenario."""
        async with self.open(self.port, self.tls) as caller:
            return await awaited.measure(caller, scenario, seconds)


def expect(value: object, answer: object) -> None:
    """A Service that gives other answers is not worth measuring."""
    if answer != value:
        raise ValueError(f"the Service answered {answer!r}, not {value!r}")


def client(words: argparse.Namespace) -> None:
    """Connect as soon as the Service is there, say so, and then do what the lines of standard input say."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not an answer
    runner = reach(lambda: runner_of(words.kind, words.port, words.tls))
    print("{}", file=answers, flush=True)
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read_to_the_end, args=(commands.put,), daemon=True).start()
    while True:
        print(json.dumps(answer(runner, commands.get())), file=answers, flush=True)


def runner_of(kind: str, port: int, tls: bool) -> Runner:
    """Return what measures with a kind of client, connected."""
    return AsyncRunner(kind, port, tls) if kind in ASYNC_CLIENTS else BlockingRunner(kind, port, tls)


def reach(connect: Callable[[], Runner]) -> Runner:
    """Connect, again and again until the Service has come, too."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except Exception:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def answer(runner: Runner, line: str) -> dict[str, float] | dict[str, str]:
    """Return the figures that a command asks for, or what was wrong."""
    try:
        _run, scenario, seconds = line.split()
        return runner.run(scenario, float(seconds))
    except Exception as error:  # noqa: BLE001 - whatever a library raises is for whoever asked
        return {"error": f"{type(error).__name__}: {error}"}


def service(words: argparse.Namespace) -> None:
    """Serve until standard input ends."""
    threading.Thread(target=read_to_the_end, args=(str, words.manager), daemon=True).start()
    SERVICES[words.kind](words.port, words.tls)


def read_to_the_end(heed: Callable[[str], object], manager: int | None = None) -> None:
    """Read standard input; when it ends, end this process in the middle of whatever it does, and the Manager."""
    for line in sys.stdin:
        heed(line)
    if manager is not None:
        with suppress(OSError):  # it has gone already
            os.kill(manager, signal.SIGTERM)
    os._exit(0)


def main() -> None:
    """Be what the command line says."""
    parser = argparse.ArgumentParser(description="A client or a Service that the benchmark of calls starts.")
    roles = {"client": client, "service": service}
    parser.add_argument("role", choices=roles)
    parser.add_argument("kind", choices=[*CLIENTS, *ASYNC_CLIENTS])
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--manager", type=int, metavar="PROCESS", help="the Manager's, to be ended by the Service")
    words = parser.parse_args()
    roles[words.role](words)


if __name__ == "__main__":
    main()
