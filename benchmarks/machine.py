"""What the figures were measured on.

Rule of this file: it tells, it changes nothing but which core this process runs on. It must not know what is
measured.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["describe", "pinned"]


def describe() -> dict[str, Any]:
    """Return the machine, its kernel, how busy it is, and the date."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "kernel": platform.platform(),
    }


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


@contextmanager
def pinned(core: int | None) -> Iterator[int | None]:
    """Run this process, and all that it starts, on one core.

    Args:
        core: The number of the core; -1: the last one that this process may use; None: wherever the system likes.

    Returns:
        The number of the core, None if nothing is pinned. Only Linux can.

    Raises:
        OSError: If there is no such core.
    """
    if sys.platform == "linux" and core is not None:
        before = os.sched_getaffinity(0)
        chosen = max(before) if core == -1 else core
        os.sched_setaffinity(0, {chosen})
        try:
            yield chosen
        finally:
            os.sched_setaffinity(0, before)
    else:
        yield None
