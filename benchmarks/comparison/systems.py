"""The Managers that can be compared: what starts each, and whether that can be done here.

Rule of this file: a system is a line in a table, and so is a variant of how it is started; nothing is ever installed.
It must not know what is measured.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from benchmarks.call.systems import PACKAGES, ask
from benchmarks.processes import BenchmarkError
from benchmarks.wire.build import program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEFAULT", "REFERENCE", "SYSTEMS", "VARIANTS", "System", "command", "inquire"]

REFERENCE: Final = "1.0"
"""The system that the others are compared with."""

EVENT_LOOP: Final = "--event-loop"
"""The option of our command that chooses an event loop, if it has one."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A Manager.

    Args:
        label: Its name in tables and charts.
        package: The Python package it is in, of those of `benchmarks.call`; None: it is the relay in C.
        event_loop: The event loop it is to use; None: the only one it has.
    """

    label: str
    package: str | None
    event_loop: str | None = None


SYSTEMS: Final[Mapping[str, System]] = {
    "ours": System(label="ours", package="ours", event_loop="asyncio"),
    "ours-uvloop": System(label="ours, uvloop", package="ours", event_loop="uvloop"),
    "1.0": System(label="1.0", package="1.0"),
    "relay": System(label="relay in C", package=None),
}

DEFAULT: Final = tuple(SYSTEMS)

VARIANTS: Final[Mapping[str, Sequence[str]]] = {
    "plain": ("--disable-tls",),
    "tls": (),
    "warning": ("--disable-tls", "--log-level", "WARNING"),
    "login": ("--disable-tls", "--auth-login"),
}
"""How a Manager in Python can be started; the relay in C is always plain."""


def inquire(name: str, pythons: Mapping[str, str], folder: str) -> tuple[str, dict[str, str]]:
    """Find out whether a system can be started here.

    Args:
        name: One of `SYSTEMS`.
        pythons: The Python to run each package with.
        folder: Where to run it; no package is to be found there.

    Returns:
        What is missing and what would help, empty if nothing is; and the versions of what it is made of.
    """
    system = SYSTEMS[name]
    if system.package is None:
        try:
            program("relay")
        except BenchmarkError as error:
            return f"{system.label} is left out: {error}", {}
        return "", {}
    package, python = PACKAGES[system.package], pythons[system.package]
    problem, versions = ask(python, [package.module, (), package.distributions], folder)
    if problem:
        return f"{system.label} is left out: {problem} (to add it: {python} -m pip install {package.pip})", {}
    if system.event_loop != "uvloop":
        return "", {key: value for key, value in versions.items() if key != "uvloop"}
    if not chooses_event_loop(python, folder):
        return f"{system.label} is left out: the command of this version has no option {EVENT_LOOP}", {}
    problem, _ = ask(python, ["uvloop", (), ()], folder)
    if problem:
        return f"{system.label} is left out: {problem} (to add it: {python} -m pip install uvloop)", {}
    return "", versions


@cache
def chooses_event_loop(python: str, folder: str) -> bool:
    """Return whether our command has an option for it."""
    module, start = PACKAGES["ours"].manager[:2]
    words = [python, "-m", module, start, "--help"]
    return EVENT_LOOP in subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False).stdout


def command(name: str, variant: str, port: int, pythons: Mapping[str, str], folder: str) -> list[str]:
    """Return the command that starts a Manager, which is to listen on 127.0.0.1.

    Args:
        name: One of `SYSTEMS`.
        variant: One of `VARIANTS`.
        port: Where it is to listen.
        pythons: The Python to run each package with.
        folder: Where to ask for its options.
    """
    system = SYSTEMS[name]
    if system.package is None:
        return [str(program("relay")), str(port)]
    python = pythons[system.package]
    words = [python, "-m", *PACKAGES[system.package].manager, "--port", str(port), *VARIANTS[variant]]
    if system.event_loop and chooses_event_loop(python, folder):
        words += [EVENT_LOOP, system.event_loop]
    return words
