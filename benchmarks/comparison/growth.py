"""How rate and latency grow with Clients, Services, size and requests in flight.

Rule of this file: a sweep is a line in a table: one option of the generator, and its values. It must not know how the
points are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.comparison.scenarios import LOAD, take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.comparison.managers import Managers
    from benchmarks.wire.scenarios import Option

__all__ = ["SWEEPS", "Point", "Sweep", "point"]

BULK: Final = 1_000_000
"""From this size on, in bytes, a few requests are enough."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Something that grows.

    Args:
        option: The option of the generator that grows.
        label: What to write at the axis.
        text: The load, for titles.
        values: How far it grows.
        figure: The rate to draw.
        options: Further options of the generator.
    """

    option: str
    label: str
    text: str
    values: tuple[int, ...]
    figure: str = "per_s"
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one system reached at one value of a sweep."""

    sweep: str
    value: int
    system: str
    figures: Mapping[str, float]
    run: int = 0


SWEEPS: Final[Mapping[str, Sweep]] = {
    "clients": Sweep(
        option="clients",
        label="Clients, each with one request in flight",
        text="more and more Clients",
        values=(1, 3, 10, 30, 100, 300, 1000),
        options={"timeout": 120, "parallel": 64},
    ),
    "services": Sweep(
        option="services",
        label="Services, called by 100 Clients",
        text="more and more Services",
        values=(1, 3, 10, 30, 100),
        options={"clients": 100, "timeout": 60},
    ),
    "payload": Sweep(
        option="payload",
        label="size of a request and of its reply, bytes",
        text="larger and larger messages",
        values=(64, 1_000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000, 16_000_000),
        figure="MB_per_s",
        options={"timeout": 60},
    ),
    "in-flight": Sweep(
        option="window",
        label="requests in flight of one Client",
        text="more and more requests in flight",
        values=(1, 4, 16, 64, 256, 1024),
    ),
}
"""What grows, by name."""


def point(managers: Managers, system: str, name: str, value: int, seconds: float) -> Point:
    """Measure one point.

    Args:
        managers: Starts the Manager, if it does not run yet.
        system: Which Manager.
        name: One of `SWEEPS`.
        value: How far that has grown.
        seconds: How long to measure.

    Raises:
        BenchmarkError: If it could not be measured.
    """
    sweep = SWEEPS[name]
    options = {**sweep.options, sweep.option: value}
    if sweep.option == "payload" and value >= BULK:
        options["count"] = 3
    target = managers.running(system)
    return Point(sweep=name, value=value, system=system, figures=take(target, "latency", seconds, LOAD, options))
