"""The systems that can be compared: which packages make them up, and whether a Python has these.

Rule of this file: a system is a line in a table, and nothing is ever installed. It must not import a package
that is measured; the Python that is to run it is asked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DEFAULT", "PACKAGES", "SYSTEMS", "Package", "System", "ask", "inquire"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """What a system needs in a Python.

    Args:
        module: What to import.
        pip: What to give to ``pip install``.
        distributions: What to tell the versions of.
        manager: The words that start its Manager, after ``python -m``.
    """

    module: str
    pip: str
    distributions: tuple[str, ...]
    manager: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class System:
    """What is at both ends, and in the middle.

    Args:
        label: Its name in the table.
        client: The kind of client, see `libraries`.
        service: The kind of Service; it is the package of the client, too.
        names: What the module of the peers must offer.
        manager: The package whose Manager is in the middle.
        broker: The program that is in the middle in place of a Manager. Without either, the client speaks with the
            Service.
    """

    label: str
    client: str
    service: str
    names: tuple[str, ...] = ()
    manager: str | None = None
    broker: str | None = None


PACKAGES: Final[Mapping[str, Package]] = {
    "ours": Package(
        module="msl_network",
        pip="-e .",
        distributions=("msl-network-manager", "anyio", "msgspec", "uvloop"),
        manager=("msl_network", "start", "-H", "127.0.0.1"),
    ),
    "1.0": Package(
        module="msl.network",
        pip="msl-network==1.0.0",
        distributions=("msl-network",),
        manager=("msl.network.cli", "start", "-G", "WARNING"),
    ),
    "rpyc": Package(module="rpyc", pip="rpyc", distributions=("rpyc",)),
    "pyro5": Package(module="Pyro5.api", pip="Pyro5", distributions=("Pyro5", "serpent")),
    "nats": Package(module="nats", pip="nats-py", distributions=("nats-py",)),
}

SYSTEMS: Final[Mapping[str, System]] = {
    "ours": System(label="ours", client="ours", service="ours", names=("connect", "Service"), manager="ours"),
    "ours-async": System(
        label="ours, async", client="ours-async", service="ours", names=("AsyncClient", "Service"), manager="ours"
    ),
    "1.0": System(label="1.0", client="1.0", service="1.0", names=("connect", "Service"), manager="1.0"),
    "ours-on-1.0": System(
        label="ours, 1.0 Manager", client="ours", service="ours", names=("connect", "Service"), manager="1.0"
    ),
    "1.0-on-ours": System(
        label="1.0 peers, our Manager", client="1.0", service="1.0", names=("connect", "Service"), manager="ours"
    ),
    "rpyc": System(label="RPyC (direct)", client="rpyc", service="rpyc"),
    "pyro5": System(label="Pyro5 (direct)", client="pyro5", service="pyro5"),
    "nats": System(label="NATS, nats-py", client="nats", service="nats", broker="nats-server"),
}

DEFAULT: Final = ("ours", "1.0", "rpyc", "pyro5", "nats")

QUESTION: Final = """
import importlib, importlib.metadata, json, platform, sys
module, names, distributions = json.loads(sys.argv[1])
versions = {"python": platform.python_version()}
try:
    found = importlib.import_module(module)
    lacking = [name for name in names if not hasattr(found, name)]
    problem = f"{module} has no {', '.join(lacking)}" if lacking else ""
except ImportError as error:
    problem = str(error)
for name in distributions:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps([problem, versions]))
"""


def inquire(system: System, pythons: Mapping[str, str], folder: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Ask the Pythons of a system whether they can run it.

    Args:
        system: What is to be run.
        pythons: The Python to run each package with.
        folder: Where to run them; no package is to be found there.

    Returns:
        What is missing and what would help, empty if nothing is; and the versions of each package.
    """
    if system.broker and shutil.which(system.broker) is None:
        helpful = f"to add it on Debian: apt install {system.broker}"
        return f"{system.label} is left out: there is no program {system.broker} ({helpful})", {}
    versions = {}
    for name, names in needs(system):
        package, python = PACKAGES[name], pythons[name]
        problem, versions[name] = ask(python, [package.module, names, package.distributions], folder)
        if problem:
            return f"{system.label} is left out: {problem} (to add it: {python} -m pip install {package.pip})", {}
    return "", versions


def needs(system: System) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each package of a system, and the names that it must offer."""
    yield system.service, system.names
    if system.manager and system.manager != system.service:
        yield system.manager, ()


def ask(python: str, question: list[Any], folder: str) -> tuple[str, dict[str, str]]:
    """Ask one Python; return what is wrong, and versions."""
    command = [python, "-c", QUESTION, json.dumps(question)]
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{python} does not run: {error}", {}
    problem, versions = json.loads(answer.splitlines()[-1])
    return problem, versions
