"""The stored figures, and the comparison with them.

    {"3.11 x86_64": {"taken with": {"python": "3.11.7", ...}, "sequential": {"instructions": 136400.0, ...}, ...}}

Rule of this file: numbers in, verdicts out. It must not know how anything is counted.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["PACKAGES", "Row", "compare", "differences", "key", "load", "store", "table", "versions"]

PACKAGES: Final = ("anyio", "cryptography", "msgspec", "pluggy")
"""Packages whose code runs in the Manager, and is counted with its own."""

TAKEN_WITH: Final = "taken with"

Figures = dict[str, dict[str, float]]
"""How many of what, per message or connection, by scenario and by what is counted."""


def key() -> str:
    """Return what the figures depend on most: the Python and the kind of machine."""
    return f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


def versions() -> dict[str, str]:
    """Return the versions of what is counted beside the Manager."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


@dataclass(frozen=True)
class Row:
    """One figure beside the stored one.

    Args:
        scenario: What the Manager was made to do.
        counted: What is counted.
        now: The figure.
        stored: What it was when it was stored, or None if it never was.
        margin: By which part it may differ.
    """

    scenario: str
    counted: str
    now: float
    stored: float | None
    margin: float

    @property
    def verdict(self) -> str:
        """``more`` and ``less`` if it differs by more than the margin, ``same`` if not; ``new`` if none is stored."""
        if self.stored is None:
            return "new"
        if self.now > self.stored * (1 + self.margin):
            return "more"
        return "less" if self.now < self.stored * (1 - self.margin) else "same"


def compare(now: Figures, stored: Figures, margins: Mapping[str, float]) -> list[Row]:
    """Return each figure beside the one that is stored."""
    return [
        Row(scenario, counted, figure, stored.get(scenario, {}).get(counted), margins[scenario])
        for scenario, counts in now.items()
        for counted, figure in counts.items()
    ]


def table(rows: list[Row]) -> str:
    """Return figures as lines to read."""
    lines = [f"{'scenario':<15} {'counted':<16} {'stored':>12} {'now':>12} {'':>8}"]
    for row in rows:
        stored, change = "-", ""
        if row.stored is not None:
            stored = number(row.stored)
            change = f"{row.now / row.stored - 1:+.1%}" if row.stored else ""
        word = {"more": "MORE", "same": ""}.get(row.verdict, row.verdict)
        line = f"{row.scenario:<15} {row.counted:<16} {stored:>12} {number(row.now):>12} {change:>8} {word}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def number(figure: float) -> str:
    """Return a figure with the digits that mean something."""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:,.4g}"


def load(path: Path, which: str) -> tuple[Figures, dict[str, str]]:
    """Return the figures of this Python and kind of machine, and the versions that they were taken with.

    Both are empty if there are none.
    """
    if not path.exists():
        return {}, {}
    found = json.loads(path.read_text(encoding="utf-8")).get(which, {})
    taken_with = found.pop(TAKEN_WITH, {})
    return found, taken_with


def store(path: Path, which: str, now: Figures, taken_with: Mapping[str, str]) -> None:
    """Store figures; those of other Pythons, machines and scenarios stay, and what was not counted this time."""
    everything = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    ours = everything.setdefault(which, {})
    ours[TAKEN_WITH] = dict(taken_with)
    for scenario, counts in now.items():
        ours.setdefault(scenario, {}).update({counted: round(figure, 4) for counted, figure in counts.items()})
    path.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")


def differences(taken_with: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return which versions are others than those that the stored figures were taken with, in words."""
    return [f"{name} {here[name]} in place of {was}" for name, was in taken_with.items() if here[name] != was]
