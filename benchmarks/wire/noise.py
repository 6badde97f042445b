"""What else the machine did while something was measured.

Rule of this file: it reads what Linux tells; elsewhere, all is quiet. It must not know what is measured.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["MAX_NOISE", "disturbance", "noise_now", "pin", "wait_for_quiet"]

MAX_NOISE: Final = 0.1
"""How much of a core others may take before a measurement counts as disturbed."""

GLANCE: Final = 0.1
"""How long to look at the machine, in seconds."""


def disturbance(result: dict[str, Any]) -> float:
    """Return how much of a core was taken by the host of a virtual machine and by other processes, in a result."""
    return float(result.get("steal", 0.0)) + float(result.get("foreign", 0.0))


def noise_now(core: int | None) -> float:
    """Look at the machine when nothing of ours runs; return how many cores are in use.

    Args:
        core: The core to look at; None: at all of them.
    """
    before = busy(core)
    time.sleep(GLANCE)
    return (busy(core) - before) / GLANCE


def wait_for_quiet(core: int | None, most: float, patience: float) -> None:
    """Wait until no more than ``most`` of a core is in use, for ``patience`` seconds at the most."""
    give_up = time.monotonic() + patience
    while noise_now(core) > most and time.monotonic() < give_up:
        pass


def busy(core: int | None) -> float:
    """Return for how many seconds a core (None: all of them) has been in use."""
    name = "cpu" if core is None else f"cpu{core}"
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    for line in lines:
        found, *fields = line.split()
        if found == name:
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, fields[:8])
            return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
    return 0.0


def pin(process: int, core: int) -> None:
    """Run all threads of a process on one core: those that begin later inherit it.

    Raises:
        OSError: If there is no such process or core, or it is not ours.
    """
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
