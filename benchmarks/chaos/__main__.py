"""Chaos: peers, network and Manager fail at random; no reply may be lost, doubled or given to another.

    python -m benchmarks.chaos --seconds 900
    python -m benchmarks.chaos --seconds 60 --seed 7 --tls --auth login

A Manager, good Services and clients, and those who misbehave run as processes. Some of the good ones reach the Manager
through a proxy that delays and cuts. Every call must end with the right answer or an error that has a reason, every
notification come once and in order, and the Manager be as it was when everybody has left. It runs on Linux only, where
a process can be looked at from outside. The exit status is 0 if nothing was wrong, else 1.

Rule of this file: the command line. What happens is in `run`; nothing is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final

if not __package__:  # run by its path: the folder of the package in place of the folder of this file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.chaos.cast import Cast, Numbers
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.manager import AUTHENTICATIONS, ManagerError, ManagerProcess
from benchmarks.chaos.run import Run
from benchmarks.chaos.tally import Tally
from benchmarks.machine import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

SEEDS: Final = 10**6


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=900.0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="what chance begins with (default: another one each time)"
    )
    parser.add_argument("--tls", action="store_true", help="the Manager uses TLS")
    parser.add_argument("--auth", choices=AUTHENTICATIONS, default="none", help="default: %(default)s")
    parser.add_argument(
        "--transport",
        choices=["auto", "protocol", "streams"],
        default="auto",
        help="how bytes get in and out of the Manager (default: %(default)s)",
    )
    parser.add_argument("--clients", type=int, default=9, metavar="N", help="good clients (default: %(default)s)")
    parser.add_argument("--services", type=int, default=3, metavar="N", help="good Services (default: %(default)s)")
    parser.add_argument("--rogues", type=int, default=8, metavar="N", help="who misbehave (default: %(default)s)")
    parser.add_argument(
        "--old",
        type=int,
        default=0,
        metavar="N",
        help="clients of MSL-Network 1.0, and a Service of it if there are any (default: %(default)s)",
    )
    parser.add_argument(
        "--bound",
        type=float,
        default=30.0,
        metavar="S",
        help="how long a call may take: far more than all that may delay it together (default: %(default)s)",
    )
    parser.add_argument(
        "--plugin", default="", metavar="FILE:CLASS", help="a plugin for the Manager, e.g. one that breaks it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was counted")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where to keep all logs (default: a new folder, kept on problems)"
    )
    return parser


def tell(text: str) -> None:
    """Say how things go."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if nothing was wrong, 1 if something was."""
    words = options().parse_args(arguments)
    if sys.platform != "linux":
        options().error("only Linux shows what a process has open")
    if words.old and importlib.util.find_spec("msl.network") is None:
        options().error(f"--old needs MSL-Network 1.0: {sys.executable} -m pip install msl-network==1.0.0")
    seed = SystemRandom().randrange(SEEDS) if words.seed is None else words.seed
    if words.keep and words.keep.exists():
        options().error(f"--keep: {words.keep} is there already; choose another folder, or remove it")
    folder = words.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    tell(f"seed {seed}, logs in {folder}")
    tally = Tally(time.monotonic, tell)
    run_all(words, Random(seed), folder, tally)
    tell(tally.summary())
    if words.json:
        chosen = {key: value for key, value in vars(words).items() if key not in {"json", "keep"}}
        result = {
            "machine": describe(),
            "options": {**chosen, "seed": seed},
            "counts": tally.counts,
            "times": tally.times,
            "problems": tally.problems,
        }
        words.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if tally.problems:
        tell(f"\n{len(tally.problems)} problems in {tally.seconds:.0f} s; seed {seed}, logs in {folder}")
        return 1
    tell(f"\nno problem in {tally.seconds:.0f} s; seed {seed}")
    if not words.keep:
        shutil.rmtree(folder)
    return 0


def run_all(words: argparse.Namespace, random: Random, folder: Path, tally: Tally) -> None:
    """Run, and end all processes, however that ends."""
    numbers = Numbers(
        clients=words.clients,
        services=words.services,
        rogues=words.rogues,
        old=words.old,
        bound=words.bound,
        has_trio=importlib.util.find_spec("trio") is not None,
    )
    with ExitStack() as stack:
        try:
            manager = ManagerProcess(folder, words.auth, words.transport, words.plugin, tls=words.tls)
            stack.callback(manager.kill)
            cast = Cast(numbers, folder, manager, random, tally)
            stack.callback(cast.kill)
            faults = Faults(manager, cast, random, tally, words.seconds)
            Run(manager, cast, faults, tally, tell).run(words.seconds)
        except ManagerError as error:
            tally.problem("manager", str(error))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
