"""Services of ``msl-network`` 1.0: instruments that answer, fail, notify and wait.

The command line holds two JSON texts: a list of instruments, ``{"name": ..., "max_clients": ...}`` each, and
the keywords for ``Service.start``. When the Manager lists all of them, one line is written: a JSON object
with ``"ready"`` for each name, or ``"ended"`` if its connection is over, or the error that ``start`` raised.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from msl.network import Service, connect


class Instrument(Service):  # type: ignore[misc]  # 1.0 has no type hints
    """What the tests call."""

    def __init__(self, name: str, max_clients: int | None = None) -> None:
        super().__init__(name=name, max_clients=max_clients)
        self._go = threading.Event()

    def echo(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns what it was called with."""
        return args, kwargs

    def add(self, x: float, y: float) -> float:
        """Adds two numbers."""
        return x + y

    def fail(self, text: str) -> None:
        """Fails."""
        raise LookupError(text)

    def emit(self, count: int) -> int:
        """Emits numbered notifications, then returns how many."""
        for number in range(count):
            self.emit_notification_threadsafe(number, square=number**2)
        return count

    def hold(self) -> str:
        """Returns after somebody has called ``go``."""
        self._go.wait()
        self._go.clear()
        return "held"

    def go(self) -> None:
        """Ends a ``hold``."""
        self._go.set()

    def shutdown_service(self, reason: str = "") -> str:
        """Allows clients to end the Service."""
        return f"stopped: {reason}"


class Run(threading.Thread):
    """One Service and the thread that serves it."""

    def __init__(self, service: Instrument, keywords: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.keywords = keywords
        self.outcome = "ended"
        self.start()

    def run(self) -> None:
        """Serves until the connection is over."""
        try:
            self.service.start(**self.keywords)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test wants to see it
            self.outcome = f"{type(error).__name__}: {error}"

    def is_known(self, services: dict[str, Any]) -> bool:
        """Whether the Manager lists this very Service, and not another one of its name."""
        return str(services.get(self.service.name, {}).get("address")).endswith(f":{self.service.port}")


def main() -> None:
    """Connects the instruments one after the other, tells, and serves until all are over."""
    instruments, keywords = map(json.loads, sys.argv[1:])
    runs = []
    for instrument in instruments:
        run = Run(Instrument(**instrument), keywords)
        while run.is_alive() and run.service.port is None:  # until it has sent its identity
            time.sleep(0.005)
        runs.append(run)

    # A Service is not told that it was accepted: a Client asks.
    if any(run.is_alive() for run in runs):
        observer = connect(name="observer", **keywords)
        while not all(run.is_known(observer.identities()["services"]) for run in runs if run.is_alive()):
            time.sleep(0.005)
        observer.disconnect()

    status = {run.service.name: "ready" if run.is_alive() else run.outcome for run in runs}
    sys.stdout.write(json.dumps(status) + "\n")
    sys.stdout.flush()
    for run in runs:
        run.join()
    os._exit(0)  # a request that is still being executed would keep the process alive


if __name__ == "__main__":
    main()
