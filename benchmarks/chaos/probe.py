"""A plugin of the Manager that tells how it is when it gets SIGUSR1, and ends it when its standard input does.

    [plugins.chaos_probe]
    use = "chaos_probe:Probe"
    file = "state.json"

Rule of this file: it looks, and writes one file; whoever started the Manager holds the other end of its standard input,
so that the Manager does not stay when that one was killed. It uses what every plugin may use, and counts objects by the
names of their classes, so it must not know how the Manager keeps its books.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msl_network import hookimpl

if TYPE_CHECKING:
    from msl_network import Manager

__all__ = ["Probe"]


@dataclass(eq=False)
class Probe:
    """Tells how the Manager is.

    Args:
        file: Where to write that, as JSON; first when the Manager begins to listen.
    """

    file: str

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Be ready."""
        self.number = 0
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.tell, manager)
        loop.add_reader(sys.stdin, manager.stop)
        self.tell(manager)

    def tell(self, manager: Manager) -> None:
        """Write how the Manager is."""
        self.number += 1
        path = Path(self.file)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"process": os.getpid(), "number": self.number, **self.look(manager)}))
        new.replace(path)

    def look(self, manager: Manager) -> dict[str, Any]:
        """Return how the Manager is."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed does not count, although the process may keep it
        types = (type(found) for found in gc.get_objects())
        ours = Counter(kind.__qualname__ for kind in types if str(kind.__module__).startswith("msl_network"))
        return {
            "clients": len(manager.clients),
            "services": len(manager.services),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "objects": dict(ours),
            "blocks": sys.getallocatedblocks(),
            "spare": spare(),
        }


def spare() -> int:
    """Return how much of the memory that Python has from the system it does not use, in bytes; 0 if it does not tell.

    Python gives back an arena of a MiB only when the last small object in it is gone, and uses the rest of it again.
    """
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    libc.free.argtypes = [ctypes.c_void_p]
    tell = getattr(ctypes.pythonapi, "_PyObject_DebugMallocStats", None)
    if tell is None:  # another Python
        return 0
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    tell(ctypes.c_void_p(stream))
    libc.fclose(stream)
    lines = ctypes.string_at(text.value or 0, size.value).decode().splitlines()
    libc.free(text)
    found = [line for line in lines if "bytes in available blocks" in line or " unused pools * " in line]
    return sum(int(line.rpartition("=")[2].replace(",", "")) for line in found)
