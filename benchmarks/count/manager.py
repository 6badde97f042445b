"""The Manager, as ``python -m msl_network`` runs it, but for two things.

The messages of one peer are handled for 5 ms at a stretch, which under callgrind, where everything takes 50 times as
long, would split the work otherwise each time. So here such a turn never ends by the clock.

With ``--profile FILE`` in front, SIGUSR1 starts cProfile and SIGUSR2 stops it and writes what it found to the file.

Rule of this file: no further difference. It must not know who looks on.
"""

from __future__ import annotations

import cProfile
import math
import signal
import sys
from pathlib import Path

from msl_network import peer
from msl_network.cli import main

__all__: list[str] = []


def profile_to(path: Path) -> None:
    """Have signals start and stop a profiler."""
    profilers = []

    def start() -> None:
        profilers.append(cProfile.Profile())
        profilers[-1].enable()

    def stop() -> None:
        profiler = profilers.pop()
        profiler.disable()
        part = path.with_suffix(".part")
        profiler.dump_stats(part)
        part.replace(path)  # whoever waits for it finds all of it

    signal.signal(signal.SIGUSR1, lambda *_: start())
    signal.signal(signal.SIGUSR2, lambda *_: stop())


if __name__ == "__main__":
    if not hasattr(peer, "TURN"):
        sys.exit("msl_network.peer has no TURN any more: what ends the turn of a peer now must not end it here")
    peer.TURN = math.inf
    words = sys.argv[1:]
    if words[0] == "--profile":
        profile_to(Path(words[1]))
        words = words[2:]
    sys.exit(main(words))
