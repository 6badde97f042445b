"""Services: instruments that answer, fail, notify and wait.

The command line holds the package whose Services they are, ``msl.network`` or ``msl_network``, and two JSON texts: a
list of instruments, ``{"name": ..., "max_clients": ...}`` each, and the keywords for ``Service.start``. When the
Manager lists all of them, one line is written: a JSON object with ``"ready"`` for each name, or ``"ended"`` if its
connection is over, or the error that ``start`` raised. When all are over, another line is written: an object that
tells for each name how often ``shutdown_handler`` was called.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from typing import Any

network: Any = importlib.import_module(sys.argv[1])


class Reading:
    """What JSON does not know, but knows itself what it is in JSON."""

    def __init__(self, value: float) -> None:
        self.value = value

    def to_json(self) -> dict[str, Any]:
        """Returns what a Client gets."""
        return {"value": self.value, "unit": Instrument.unit}


class Instrument(network.Service):  # type: ignore[misc]  # which one is not known before it runs
    """What the tests call."""

    unit = "mm²"

    def __init__(self, name: str, max_clients: int | None = None) -> None:
        super().__init__(name=name, max_clients=max_clients, ignore_attributes=["hidden"])
        self._go = threading.Event()
        self._shutdowns = 0
        self.offset = 0.25
        self.hidden = "not told, but not refused"

    @property
    def shutdowns(self) -> int:
        """How often ``shutdown_handler`` was called."""
        return self._shutdowns

    def read(self, value: float) -> Reading:
        """Returns an object that knows what it is in JSON."""
        return Reading(value)

    def broken(self) -> object:
        """Returns an object that does not."""
        return object()

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

    def shutdown_handler(self) -> None:
        """Called when the connection is over."""
        self._shutdowns += 1


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


def tell(status: dict[str, Any]) -> None:
    """Writes a line."""
    sys.stdout.write(json.dumps(status) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Connects the instruments one after the other, tells, and serves until all are over."""
    instruments, keywords = map(json.loads, sys.argv[2:])
    runs = []
    for instrument in instruments:
        run = Run(Instrument(**instrument), keywords)
        while run.is_alive() and run.service.port is None:  # until it has sent its identity
            time.sleep(0.005)
        runs.append(run)

    # A Service is not told that it was accepted: a Client asks.
    if any(run.is_alive() for run in runs):
        observer = network.connect(name="observer", **keywords)
        while not all(run.is_known(observer.identities()["services"]) for run in runs if run.is_alive()):
            time.sleep(0.005)
        observer.disconnect()

    tell({run.service.name: "ready" if run.is_alive() else run.outcome for run in runs})
    for run in runs:
        run.join()
    tell({run.service.name: run.service.shutdowns for run in runs})
    os._exit(0)  # a request that is still being executed would keep the process alive


if __name__ == "__main__":
    main()
