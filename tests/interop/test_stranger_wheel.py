"""A plugin of a stranger, from its wheel: installed beside ours, named in TOML, it keeps the door for Clients of 1.0.

Two wheels are built and installed, as a person does it, into an environment in which there was nothing, and the Manager
is run from there. pip gets what they need from the package index; it is a fault if that cannot be reached.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .lab import RUNNING, Lab, Manager, PeerError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ours,
    pytest.mark.timeout(300),  # half a minute, if the package index is quick
]

ROOT = Path(__file__).parents[2]

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "msl_network", "plugins")
"""What a wheel of ours is built from: a copy, because setuptools leaves a folder ``build`` beside it."""

UNREACHABLE = re.compile(
    r"connection broken by|Could not fetch URL|Max retries exceeded|timed out|Failed to (establish|connect)"
)
"""What pip writes when it is the index, or the way there, that is at fault."""

PLUGIN = '''"""Lets in who has a badge."""

import logging
from dataclasses import dataclass

from msl_network import AuthenticationError, Handshake, Peer, Secret, hookimpl

__all__ = ["BadgeReader"]

logger = logging.getLogger("msl_network.badge_reader")


@dataclass(eq=False)
class BadgeReader:
    """Asks each peer for its badge.

    Args:
        code: What is on the badge.
        desk: Who gives badges out.
    """

    code: Secret
    desk: str = "the front desk"

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        """Refuse a peer without the badge."""
        if not self.code.matches(await handshake.ask("password", "badge reader")):
            raise AuthenticationError(f"Unknown badge; {self.desk} gives you one")
        logger.info("%s has a badge", peer.ip_address)
'''

TEST = '''"""Who is let in."""

import pytest
from msl_network import RefusedError, Secret
from msl_network.testing import check_plugin, laboratory

from badge_reader import BadgeReader

pytestmark = pytest.mark.anyio


async def test_who_is_let_in() -> None:
    """A Client with the badge, and no other one."""
    async with laboratory(BadgeReader(Secret("1234"), "Ann")) as lab:
        async with lab.client(password="1234") as client:
            assert client.is_connected()
        with pytest.raises(RefusedError, match="Unknown badge; Ann gives you one"):
            async with lab.client(password="4321"):
                pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_promises(backend: str) -> None:
    """Those that every plugin has to keep."""
    check_plugin(BadgeReader, settings={"code": "1234"}, answers=["1234"], backend=backend)
'''

SETTINGS = """
[manager]
host = "127.0.0.1"
port = {port}
auth = ["badge_reader"]

[plugins.badge_reader]
code = {{ file = "code.txt" }}
desk = "Ann in room 12"
"""

LOADED = """
import json, sys
from msl_network.cli import main

status = main(["config", "check", "lab.toml"])
files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
print(json.dumps([status, files]))
"""
"""Checks the settings, and says from where each module came that this took."""


class Environment:
    """A virtual environment in which nothing is installed but pip.

    Args:
        folder: Where it is made; it must not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        run([sys.executable, "-m", "venv", str(folder)], folder.parent)

    def run(self, program: str, *arguments: str, folder: Path) -> str:
        """Run a program of the environment in a folder, and return what it wrote."""
        return run([str(self.programs / program), *arguments], folder)


def run(command: list[str], folder: Path) -> str:
    """Run a program to its end and return what it wrote; the test fails if the program does."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", check=False
    )
    if done.returncode and UNREACHABLE.search(done.stdout):
        reason = "the package index could not be reached, so that nothing was tested; this needs the network"
        pytest.fail(f"{reason}\n{done.stdout}", pytrace=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stranger."""
    return tmp_path_factory.mktemp("stranger")


@pytest.fixture(scope="module")
def environment(workplace: Path) -> Iterator[Environment]:
    """The environment with the two wheels.

    The stranger begins with what ``plugin new`` of the installed package writes, and changes it.
    """
    with pytest.MonkeyPatch.context() as variables:
        variables.delenv("PYTHONPATH", raising=False)  # the environment stays empty
        variables.setenv("PIP_RETRIES", "1")  # an index that is away is known as such in seconds
        variables.setenv("PIP_DEFAULT_TIMEOUT", "10")
        environment, dist = Environment(workplace / "environment"), workplace / "dist"
        ours = workplace / "ours"
        ours.mkdir()
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, ours / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, ours)
        environment.run("pip", "wheel", "--no-deps", "-w", str(dist), str(ours), folder=workplace)
        shutil.rmtree(ours)  # from here on there is the wheel alone
        environment.run("pip", "install", *map(str, dist.glob("msl_network_manager-*.whl")), folder=workplace)
        environment.run("msl-network", "plugin", "new", "badge-reader", "--hook", "authenticate", folder=workplace)
        theirs = workplace / "badge-reader"
        (theirs / "badge_reader.py").write_text(PLUGIN, encoding="utf-8")
        (theirs / "tests" / "test_badge_reader.py").write_text(TEST, encoding="utf-8")
        environment.run("pip", "wheel", "--no-deps", "-w", str(dist), str(theirs), folder=workplace)
        environment.run("pip", "install", *map(str, dist.glob("msl_network_badge_reader-*.whl")), folder=workplace)
        yield environment


@pytest.fixture
def lab(environment: Environment, tmp_path: Path) -> Iterator[Lab]:
    """A laboratory whose settings name the plugin; the Manager does not run yet."""
    with Lab(tmp_path, "ours") as lab:
        (lab.folder / "code.txt").write_text("blue heron\n", encoding="utf-8")
        (lab.folder / "lab.toml").write_text(SETTINGS.format(port=lab.port), encoding="utf-8")
        lab.keywords["disable_tls"] = False
        yield lab


def test_nothing_comes_from_the_checkout(environment: Environment, lab: Lab) -> None:
    """All that the command line loads is in the environment or belongs to Python; the plugin is found and enabled."""
    checked = environment.run("msl-network", "config", "check", "lab.toml", folder=lab.folder)
    enabled = "badge_reader, identity, hostname, login, sqlite, json_lines"
    assert checked == f"lab.toml: all is well; enabled plugins: {enabled}\n"
    *said, last = environment.run("python", "-c", LOADED, folder=lab.folder).splitlines()
    status, files = json.loads(last)
    assert (said, status) == (checked.splitlines(), 0)
    assert {"msl_network.manager", "msl_network_plugins.sqlite", "badge_reader"} <= set(files)
    for name, file in files.items():
        if name.partition(".")[0] in {"msl_network", "msl_network_plugins", "badge_reader"}:
            assert Path(file).is_relative_to(environment.folder), name
        assert file is None or not Path(file).is_relative_to(ROOT), name
    listed = environment.run("msl-network", "plugins", "--config", "lab.toml", folder=lab.folder)
    row = r"^badge_reader +enabled, authenticates +badge_reader:BadgeReader +\(msl-network-badge-reader 0\.1\.0\)$"
    assert re.search(row, listed, re.MULTILINE), listed


def test_clients_of_1_0_are_let_in_and_kept_out(environment: Environment, lab: Lab) -> None:
    """One with the badge is let in; one with another badge reads why not, and where it gets one. The log tells both."""
    command = [str(environment.programs / "msl-network"), "start", "--config", str(lab.folder / "lab.toml")]
    manager = Manager("the Manager of the environment", command, home=lab.home, gentle=True)
    lab.processes.append(manager)
    manager.read(RUNNING)
    manager.read(r"letting in who passes: badge_reader$")
    visitor = lab.client("Visitor", password="blue heron", clients="theirs")
    assert [who["name"] for who in visitor.run("cxn.identities()")["clients"].values()] == ["Visitor"]
    with pytest.raises(PeerError) as info:
        lab.client("Intruder", password="grey heron", clients="theirs")
    assert str(info.value) == "ValueError: ValueError: Unknown badge; Ann in room 12 gives you one"
    manager.read(r"\[INFO \] msl_network\.badge_reader - 127\.0\.0\.1 has a badge$")
    manager.read(r"Visitor\[\S+\] is connected as a client$")
    manager.read(r"rejected: Unknown badge; Ann in room 12 gives you one$")
    manager.terminate()
    assert manager.wait() == 0
    (log,) = (lab.home / "logs").iterdir()
    assert log.read_text(encoding="utf-8").splitlines() == manager.transcript.splitlines()
    assert re.search(r"heron|Traceback|ERROR|WARN", manager.transcript) is None


def test_what_the_stranger_tests(environment: Environment, workplace: Path) -> None:
    """The tests of the stranger pass with the wheels alone, and what they ask for: ``[test]``."""
    (wheel,) = (workplace / "dist").glob("msl_network_badge_reader-*.whl")
    environment.run("pip", "install", f"{wheel}[test]", folder=workplace)
    theirs = workplace / "badge-reader"
    (theirs / "badge_reader.py").unlink()  # it is installed
    passed = environment.run("pytest", "-p", "no:cacheprovider", folder=theirs)
    assert re.search(r"= 4 passed in ", passed), passed
