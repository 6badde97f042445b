"""One process of a chaos run that is no Manager: Services, clients, the proxy, or those who misbehave.

    python benchmarks/chaos/peer.py ROLE OPTIONS

OPTIONS are JSON. What it sees it tells on standard output, a line of JSON each time. On standard input it is told to
``settle``: to get through to everybody once, and make no trouble any more. It ends when its standard input does: when
whoever started it has gone, even without a word.

Rule of this file: it is started, never imported. Each role is a file of its own; it must not know what they do.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any, Final

if not __package__:  # run by its path: the package is to be found, yet never before what is installed
    del sys.path[0]
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.chaos.part import Orders, Part
from benchmarks.chaos.report import Report
from benchmarks.chaos.wire import Access

PERIOD: Final = 0.5
"""How often counts are told, in seconds."""

GRACE: Final = 20.0
"""How long a role may take to end, in seconds."""


ROLES: Final = {
    "service": "service:run",
    "old-service": "old:run_service",
    "blocking": "blocking_client:run",
    "async": "async_client:run",
    "wire": "wire_client:run",
    "old-client": "old:run_client",
    "administrator": "administrator:run",
    "proxy": "proxy:run",
    "rogues": "rogues:run",
}
"""Where each role is; it is imported only by the process that plays it."""


def main() -> None:
    """Play a role until standard input ends."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not told
    lock = threading.Lock()

    def write(message: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(message), file=told, flush=True)

    role, options = sys.argv[1], json.loads(sys.argv[2])
    report = Report(write)
    orders = Orders()
    part = Part(
        report=report,
        orders=orders,
        random=Random(options["seed"]),
        direct=Access(**options["access"]),
        through_proxy=Access(**{**options["access"], "port": options["proxy"]}),
        options=options,
    )
    threading.Thread(target=listen, args=(orders, report), daemon=True).start()
    threading.Thread(target=tell, args=(report,), daemon=True).start()
    try:
        module, _, function = ROLES[role].partition(":")
        getattr(importlib.import_module(f"benchmarks.chaos.{module}"), function)(part)
    except Exception:  # noqa: BLE001 - whatever it is, the run must not look as if it were clean
        report.problem("tool", f"the {role} has failed:\n{traceback.format_exc()}")
    report.flush()
    os._exit(0)  # no thread of 1.0 that was given up can hold up the end


def listen(orders: Orders, report: Report) -> None:
    """Take orders."""
    for line in sys.stdin:
        if line.strip() == "settle":
            orders.settle.set()
    orders.stop.set()
    time.sleep(GRACE)
    faulthandler.dump_traceback(all_threads=True)
    report.problem("tool", f"a peer has not ended within {GRACE} s; what its threads do is in its log")
    os._exit(1)


def tell(report: Report) -> None:
    """Tell counts now and then."""
    while True:
        time.sleep(PERIOD)
        report.flush()


if __name__ == "__main__":
    main()
