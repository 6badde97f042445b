"""What the generator can measure, as a table.

Rule of this file: a scenario is a mode of the generator, and options for it; those of the command line come on top. It
must not know how it is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["GROUPS", "SCENARIOS", "Option", "Scenario", "expand"]

Option = str | int | float


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of load.

    Args:
        text: What it is, for users.
        mode: The mode of the generator, see its source.
        options: The options of the generator, by name.
        figures: What to show of the result; a point leads into an object.
    """

    text: str
    mode: str
    options: Mapping[str, Option] = field(default_factory=dict)
    figures: Sequence[str] = ("rps", "lat_us.p50", "lat_us.p99")


CONNECT: Final = ("cps", "identity_request_us.p50", "linked_us.p50", "lost")
STALL: Final = ("before_rps", "late_rps", "late_ratio", "gap_after_ms", "stalled_peer_closed_ms", "rss_max_kb")

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "latency": Scenario(text="1 Client, one request after the other, 64 B", mode="load"),
    "pipelined": Scenario(text="1 Client with 64 requests in flight, 64 B", mode="load", options={"window": 64}),
    "pipelined8": Scenario(
        text="8 Clients with 16 requests in flight each, 64 B", mode="load", options={"clients": 8, "window": 16}
    ),
    "bulk1": Scenario(
        text="1 MB of text, there and back; MBps counts it once, though it crosses four sockets",
        mode="load",
        options={"payload": 1_000_000},
        figures=("MBps", "lat_us.p50"),
    ),
    "bulk16": Scenario(
        text="16 MB of text",
        mode="load",
        options={"payload": 16_000_000, "count": 3, "timeout": 60},
        figures=("MBps", "lat_us.p50"),
    ),
    "floats1": Scenario(
        text="1 MB of floats, 77 000 of them",
        mode="load",
        options={"payload": 1_000_000, "kind": "floats"},
        figures=("MBps", "lat_us.p50"),
    ),
    "notify": Scenario(
        text="notifications of 1 Service to 50 Clients, 64 B; dps: how many are delivered in a second",
        mode="notify",
        options={"clients": 50, "window": 16},
        figures=("dps", "all_received_us.p50"),
    ),
    "connect": Scenario(
        text="connect, be identified, link, leave; one after the other", mode="connect", figures=CONNECT
    ),
    "connect16": Scenario(text="the same, 16 at a time", mode="connect", options={"clients": 16}, figures=CONNECT),
    "idle": Scenario(
        text="1000 linked Clients that do nothing; needs --process",
        mode="idle",
        options={"idle": 1000, "timeout": 120},
        figures=("kb_per_conn", "idle_cpu", "open_cps", "open_cpu_us", "close_cpu_us"),
    ),
    "scale10": Scenario(
        text="10 Clients with 16 requests in flight each", mode="load", options={"clients": 10, "window": 16}
    ),
    "scale100": Scenario(
        text="the same, 90 more Clients are connected",
        mode="load",
        options={"clients": 10, "window": 16, "idle": 90, "timeout": 120},
    ),
    "scale1000": Scenario(
        text="the same, 990 more Clients are connected",
        mode="load",
        options={"clients": 10, "window": 16, "idle": 990, "timeout": 120},
    ),
    "hol-reply": Scenario(
        text="8 Clients; one asks for 64 replies of 1 MB and reads none: what do the others get?",
        mode="hol",
        options={"clients": 8, "window": 4, "sub": "reply", "seconds": 4.5},
        figures=STALL,
    ),
    "hol-notify": Scenario(
        text="8 Clients; one does not read 400 notifications of 64 KiB",
        mode="hol",
        options={"clients": 8, "window": 4, "sub": "notify", "large": 65536, "burst": 400, "seconds": 4.5},
        figures=STALL,
    ),
    "hol-service": Scenario(
        text="8 Clients; one sends 64 requests of 1 MB to a second Service, which reads none",
        mode="hol",
        options={"clients": 8, "window": 4, "sub": "service", "seconds": 4.5},
        figures=STALL,
    ),
}
"""What can be measured, by name."""

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "scale": ("scale10", "scale100", "scale1000"),
    "hol": ("hol-reply", "hol-notify", "hol-service"),
    "all": tuple(SCENARIOS),
}
"""Names for several scenarios."""


def expand(names: Sequence[str]) -> list[str]:
    """Return the scenarios that names stand for.

    Raises:
        ValueError: If there is no such scenario.
    """
    found: list[str] = []
    for name in names:
        if name not in GROUPS and name not in SCENARIOS:
            raise ValueError(f"there is no scenario {name!r}; there are {', '.join([*SCENARIOS, *GROUPS])}, startup")
        found += GROUPS.get(name, [name])
    return found
