"""What is compared, as a table: how each figure comes about.

Rule of this file: a scenario is a function of a system; a figure has one name wherever it comes from. It must not know
what the figures are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.comparison.disturbances import DISTURBANCES, disturb, impediment
from benchmarks.wire.measure import figure, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.comparison.managers import Managers
    from benchmarks.wire.measure import Target
    from benchmarks.wire.scenarios import Option

__all__ = ["QUICK", "SCENARIOS", "Scenario", "take"]

Figures = dict[str, float]

TRIES: Final = 2
"""How often to measure if others on this computer disturb it."""

PATIENCE: Final = 0.5
"""How long to wait for a quiet moment, in seconds."""

STALLED: Final = 3.0
"""How long to measure a stall, in seconds: a third of it before."""

ALL: Final = ("ours", "ours-uvloop", "1.0", "relay")
PYTHON: Final = ("ours", "ours-uvloop", "1.0")
OURS: Final = ("ours", "ours-uvloop")

LOAD: Final = {"p50_us": "lat_us.p50", "p99_us": "lat_us.p99", "per_s": "rps", "MB_per_s": "MBps"}
NOTIFY: Final = {"per_s": "dps", "p50_us": "all_received_us.p50"}
CONNECT: Final = {"per_s": "cps", "p50_us": "linked_us.p50", "p99_us": "linked_us.p99"}
COST: Final = {"manager_us": "mgr_us_per_op", "noise": "noise"}
IDLE: Final = {"kb": "kb_per_conn", "cpu": "idle_cpu", "open_us": "open_cpu_us", "close_us": "close_cpu_us"}
STALL: Final = {"late_ratio": "late_ratio", "gap_ms": "gap_after_ms", "rss_max_kb": "rss_max_kb"}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something to be compared.

    Args:
        run: Returns the figures of a system; it takes about so many seconds, beside what it needs to begin.
        systems: Which systems can do it.
        slow: Whether it takes long, so that half the rounds are to do.
        impediment: Returns why it cannot be done on this computer; empty if it can.
    """

    run: Callable[[Managers, str, float], Figures]
    systems: tuple[str, ...] = ALL
    slow: bool = False
    impediment: Callable[[], str] = str


def take(
    target: Target,
    scenario: str,
    seconds: float,
    names: Mapping[str, str],
    options: Mapping[str, Option] | None = None,
    *,
    tries: int = TRIES,
) -> Figures:
    """Measure a Manager with the generator; return its figures by the names of this table."""
    chosen = {"seconds": seconds, "warm_up": seconds * 0.3, **(options or {})}
    result = measure(scenario, target, chosen, tries=tries, patience=PATIENCE)
    return renamed(result, {**names, **COST})


def renamed(result: Mapping[str, Any], names: Mapping[str, str]) -> Figures:
    """Return figures by other names, those that are there."""
    found = {name: figure(result, source) for name, source in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def on_wire(scenario: str, names: Mapping[str, str], variant: str = "plain") -> Callable[..., Figures]:
    """Measure a Manager that stays."""

    def run(managers: Managers, system: str, seconds: float) -> Figures:
        return take(managers.running(system, variant), scenario, seconds, names)

    return run


def idle(managers: Managers, system: str, seconds: float) -> Figures:
    """Measure what 1000 connections cost a Manager that has had none."""
    with managers.fresh(system) as target:
        return take(target, "idle", seconds, IDLE, tries=1)  # a second time, the memory is there already


def stall(scenario: str, managers: Managers, system: str, _seconds: float) -> Figures:
    """Measure what others get while a peer stalls."""
    with managers.fresh(system) as target:
        return take(target, scenario, STALLED, STALL, {"warm_up": 0.3}, tries=1)


def startup(managers: Managers, system: str, _seconds: float) -> Figures:
    """Measure how long a Manager takes to start."""
    return renamed(managers.startup(system), {"ms": "accept_ms", "asked_ms": "identity_request_ms", "rss_kb": "rss_kb"})


def scale(managers: Managers, system: str, seconds: float) -> Figures:
    """Measure the same load of 10 Clients among more and more that are connected."""
    target = managers.running(system)
    options = {"timeout": 120}
    rates = {count: take(target, f"scale{count}", seconds, LOAD, options)["per_s"] for count in (10, 100, 1000)}
    return {
        **{f"per_s_{count}": rate for count, rate in rates.items()},
        "flat": min(rates.values()) / max(*rates.values()),
    }


def log(managers: Managers, system: str, seconds: float) -> Figures:
    """Measure what the default log level costs beside WARNING; neither is always the first."""
    found: Figures = {}
    for scenario, name, less in (("latency", "p50_us", True), ("pipelined", "per_s", False)):
        sums = {"plain": 0.0, "warning": 0.0}
        for variant in ("plain", "warning", "warning", "plain"):
            sums[variant] += take(managers.running(system, variant), scenario, seconds / 2, LOAD)[name]
        ratio = sums["plain"] / sums["warning"]
        found[scenario] = 1 / ratio if less else ratio
    return found


def disturbed(name: str, managers: Managers, system: str, _seconds: float) -> Figures:
    """Measure what others notice of a disturbance."""
    return disturb(managers, system, name)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "latency": Scenario(run=on_wire("latency", LOAD)),
    "pipelined": Scenario(run=on_wire("pipelined", LOAD)),
    "pipelined8": Scenario(run=on_wire("pipelined8", LOAD)),
    "bulk1": Scenario(run=on_wire("bulk1", LOAD)),
    "floats1": Scenario(run=on_wire("floats1", LOAD)),
    "notify": Scenario(run=on_wire("notify", NOTIFY)),
    "connect": Scenario(run=on_wire("connect", CONNECT)),
    "connect16": Scenario(run=on_wire("connect16", CONNECT)),
    "tls-latency": Scenario(run=on_wire("latency", LOAD, "tls"), systems=PYTHON),
    "tls-pipelined": Scenario(run=on_wire("pipelined", LOAD, "tls"), systems=PYTHON),
    "tls-connect": Scenario(run=on_wire("connect", CONNECT, "tls"), systems=PYTHON),
    "startup": Scenario(run=startup),
    "log": Scenario(run=log, systems=OURS),
    "idle": Scenario(run=idle, slow=True),
    "scale": Scenario(run=scale, slow=True),
    **{
        name: Scenario(run=partial(stall, name), systems=PYTHON, slow=True)
        for name in ("hol-reply", "hol-notify", "hol-service")
    },
    **{
        name: Scenario(
            run=partial(disturbed, name),
            systems=PYTHON,
            slow=True,
            impediment=partial(impediment, name),
        )
        for name in DISTURBANCES
    },
}
"""What can be compared, by name."""

QUICK: Final = ("latency", "pipelined", "bulk1", "notify", "connect", "tls-latency", "startup", "storm")
"""What gives an impression."""
