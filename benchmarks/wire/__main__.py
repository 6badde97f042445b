"""Any Manager, measured on the wire: a generator in C plays all Services and all Clients.

    python -m benchmarks.wire --port 1875 latency pipelined
    python -m benchmarks.wire --port 1875 --process 4711 --core 1 all --json
    python -m benchmarks.wire --port 1875 --source 127.0.0.2 connect       what slow reverse DNS does
    python -m benchmarks.wire --port 1875 startup -- msl-network start --port 1875 --disable-tls

With --process the Manager's CPU, memory and the noise of other processes are measured, too: without it, processes
other than the generator cannot be told from the Manager. With --core all runs on one core: on a virtual machine it
takes 50 to 100 us to wake another core, which hides what the Manager costs. The generator takes less than 1 us for a
message, so it does not disturb there. `errors`, `bad` and `closed` of a result must be 0; `gen_bound` says that the
generator, not the Manager, was the limit; `noise` is how much of a core others took.

Rule of this file: the command line. It needs a C compiler, and Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import BenchmarkError
from benchmarks.tables import number
from benchmarks.wire.measure import Target, figure, measure
from benchmarks.wire.noise import MAX_NOISE
from benchmarks.wire.scenarios import SCENARIOS, expand
from benchmarks.wire.startup import startup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.wire.scenarios import Option

__all__ = ["main"]

GENERATOR: Final = (
    *("seconds", "warm_up", "timeout"),
    *("clients", "services", "window", "payload", "idle", "large", "burst", "per_second"),
    *("source", "user", "password"),
)
"""The options of the generator that the command line passes on."""

COMMON: Final = ("mgr_us_per_op", "rss_kb", "noise", "errors", "bad", "closed")


def options() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    summary, _, more = (__doc__ or "").partition("Rule of this file")[0].partition("\n")
    table = "\n".join(f"  {name:12} {scenario.text}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wire",
        description=f"{summary}\n{more}\nscenarios:\n{table}\n  {'startup':12} time from the start of a command to its "
        "first accept and first message\n  scale, hol, all: several of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="+", help="what to measure; after 'startup' and -- the command")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=1875, help="default: %(default)s")
    parser.add_argument("--tls", action="store_true", help="use TLS; the certificate is not verified")
    parser.add_argument("--process", type=int, metavar="N", help="the process of the Manager")
    parser.add_argument("--core", type=int, metavar="N", help="the core for the generator and, with --process, for it")
    parser.add_argument("--json", action="store_true", help="print all there is to know")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--tries", type=int, default=1, metavar="N", help="measure again if others disturbed it")
    parser.add_argument("--max-noise", type=float, default=MAX_NOISE, metavar="CORES", help="default: %(default)s")
    parser.add_argument("--patience", type=float, default=10.0, metavar="S", help="wait so long for a quiet moment")
    parser.add_argument("--service", metavar="NAME", help="a Service that runs already and has the method 'echo'")
    load = parser.add_argument_group("options of the generator, in place of those of the scenario")
    for name in GENERATOR[:3]:
        load.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="S")
    for name in GENERATOR[3:-3]:
        load.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    for name in GENERATOR[-3:]:
        load.add_argument(f"--{name}", metavar="TEXT")
    return parser


def generator_options(words: argparse.Namespace) -> dict[str, Option]:
    """Return the options of the generator that the command line has."""
    found: dict[str, Option] = {name: getattr(words, name) for name in GENERATOR if getattr(words, name) is not None}
    return {**found, "service": words.service, "services": 0} if words.service else found


def show(result: dict[str, Any]) -> str:
    """Return the figures of a result in one line."""
    name = result["scenario"]
    shown = SCENARIOS[name].figures if name in SCENARIOS else ("accept_ms", "identity_request_ms")
    values = {figure_name: figure(result, figure_name) for figure_name in (*shown, *COMMON)}
    words = [f"{figure_name}={told(value)}" for figure_name, value in values.items() if value is not None]
    return " ".join([f"{name:12}", *words, *(["(the generator was the limit)"] if result.get("gen_bound") else [])])


def told(value: float) -> str:
    """Return a number that may be a count."""
    return f"{value:.0f}" if value == int(value) else number(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if all was measured, else 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    here = given.index("--") if "--" in given else len(given)
    command = given[here + 1 :]
    parser = options()
    words = parser.parse_intermixed_args(given[:here])
    try:
        names = [name for word in words.scenario for name in ([word] if word == "startup" else expand([word]))]
    except ValueError as error:
        parser.error(str(error))
    if "startup" in names and not command:
        parser.error("startup needs the command to start, after --")
    target = Target(host=words.host, port=words.port, process=words.process, tls=words.tls, core=words.core)
    settings = {"tries": words.tries, "max_noise": words.max_noise, "patience": words.patience}
    results, failed = [], False
    for name in [name for name in names for _ in range(words.repeat)]:
        try:
            if name == "startup":
                result = startup(command, words.port, tls=words.tls)
            else:
                result = measure(name, target, generator_options(words), **settings)
        except BenchmarkError as error:
            failed = True
            print(error, file=sys.stderr, flush=True)
            continue
        results.append(result)
        if not words.json:
            print(show(result), flush=True)
    if words.json:
        print(json.dumps(results, indent=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
