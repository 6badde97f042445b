"""One measurement of a Manager that runs already.

Rule of this file: it starts the generator and reads what that prints. It must not know the Manager, and compares
nothing.
"""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import BenchmarkError
from benchmarks.wire.build import program
from benchmarks.wire.noise import MAX_NOISE, disturbance, pin, wait_for_quiet
from benchmarks.wire.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.wire.scenarios import Option

__all__ = ["Target", "command", "figure", "measure", "measure_once", "read"]

SECONDS: Final = 1.0

BOUND: Final = 60 * SECONDS
"""How much longer the generator may take than its own options say."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the load goes.

    Args:
        port: Where the Manager listens.
        host: The address of its computer.
        process: The number of its process, if it is on this computer; CPU and memory are measured with it.
        tls: Whether it uses TLS. No certificate is verified.
        core: The core that the generator, and with ``process`` the Manager, run on; None: wherever the system likes.
    """

    port: int
    host: str = "127.0.0.1"
    process: int | None = None
    tls: bool = False
    core: int | None = None


def measure(
    scenario: str,
    target: Target,
    options: Mapping[str, Option] | None = None,
    *,
    tries: int = 1,
    max_noise: float = MAX_NOISE,
    patience: float = 10 * SECONDS,
) -> dict[str, Any]:
    """Measure, again if others disturbed it; return the result that was disturbed least.

    Args:
        scenario: One of `SCENARIOS`.
        target: What to measure.
        options: Options of the generator in place of those of the scenario.
        tries: How often to measure at the most.
        max_noise: How much of a core others may take; ``noisy`` says if it was more.
        patience: How long to wait for a quiet moment before each try, in seconds; a single try does not wait.

    Raises:
        BenchmarkError: If it could not be measured.
    """
    if target.process is not None and target.core is not None:
        try:
            pin(target.process, target.core)
        except OSError as error:
            raise BenchmarkError(f"process {target.process} cannot be bound to core {target.core}: {error}") from None
    best: dict[str, Any] = {}
    for _ in range(max(1, tries)):
        if tries > 1:
            wait_for_quiet(target.core, max_noise, patience)
        result = measure_once(scenario, target, options or {})
        result["noise"] = round(disturbance(result), 3)
        result["noisy"] = result["noise"] > max_noise
        if not best or result["noise"] < best["noise"]:
            best = result
        if not best["noisy"]:
            break
    return best


def measure_once(scenario: str, target: Target, options: Mapping[str, Option]) -> dict[str, Any]:
    """Measure once; return what the generator says.

    Raises:
        BenchmarkError: If it could not be measured.
    """
    chosen = {**SCENARIOS[scenario].options, **options}
    limit = BOUND + float(chosen.get("seconds", 3)) + 2 * float(chosen.get("timeout", 30))
    words = command(SCENARIOS[scenario].mode, target, chosen)
    try:
        finished = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{scenario}: the generator has not ended within {limit:.0f} s") from None
    return {"scenario": scenario, **read(scenario, finished.stdout, finished.stderr)}


def read(what: str, stdout: str, stderr: str) -> dict[str, Any]:
    """Return the last line that the generator printed, as an object.

    Raises:
        BenchmarkError: If there is none, or it says that nothing was measured.
    """
    lines = stdout.splitlines()
    try:
        result: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BenchmarkError(f"{what}: the generator said {stdout[-200:]!r} {stderr[-200:]!r}") from None
    if "fail" in result:
        raise BenchmarkError(f"{what}: {result['fail']}")
    return result


def command(mode: str, target: Target, options: Mapping[str, Option]) -> list[str]:
    """Return the command that starts the generator.

    Raises:
        BenchmarkError: If it cannot be built, or nobody knows the address of the host.
    """
    try:
        host = socket.gethostbyname(target.host)
    except OSError as error:
        raise BenchmarkError(f"host {target.host}: {error}") from None
    values: dict[str, Option] = {"host": host, "port": target.port, "tls": int(target.tls)}
    if target.process is not None:
        values["process"] = target.process
    if target.core is not None:
        values["core"] = target.core
    return [str(program("generator")), mode, *(f"{name}={value}" for name, value in {**values, **options}.items())]


def figure(result: Mapping[str, Any], name: str) -> float | None:
    """Return a figure of a result, None if it has none; a point in the name leads into an object."""
    value: Any = result
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None else float(value)
