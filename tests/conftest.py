"""What all tests share: a home of their own, and both backends."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from .wire_peer import WAYS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

# No test asserts time. Continuous integration tries the same examples each time, developers new ones.
hypothesis.settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("project")


LONGEST = (
    "test_combinations.py",
    "test_chaos.py",
    "test_docs.py",
    "test_documented_scripts.py",
    "test_manager.py",
    "test_troubles.py",
    "test_plugin_docs.py",
    "test_sessions.py",
    "test_ending.py",
    "test_stranger_wheel.py",
    "test_fuzz.py",
    "test_cli_plugin.py",
    "test_secrets.py",
    "test_memory_and_fairness.py",
)
"""The files whose tests take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that share the files begin with the long ones, or one of them would do the last of these alone."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the files of the person who runs it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MSL_NETWORK_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_options_for_others() -> None:
    """What is said to this pytest from outside is not meant for those that tests run, but for its own workers."""
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """No test changes what others log."""
    loggers = [logging.getLogger(), logging.getLogger("msl_network"), logging.getLogger("msl_network.client")]

    def state() -> list[object]:
        levels = [(logger.level, logger.disabled, logger.propagate) for logger in loggers]
        return [*levels, logging.root.manager.disable]

    before = state()
    yield
    assert state() == before


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each asynchronous test runs on both backends."""
    backend: str = request.param
    return backend


@pytest.fixture(params=WAYS, ids=["-".join(way) for way in WAYS])
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Backend and transport, for what must hold on all of them; `anyio_backend` is then to be the first."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def backend(way: tuple[str, str]) -> str | tuple[str, dict[str, Any]]:
    """The backend of `way`, as the fixture `anyio_backend` has it."""
    return ("asyncio", {"use_uvloop": True}) if way[0] == "uvloop" else way[0]


@pytest.fixture
def transport(way: tuple[str, str]) -> str:
    """The transport of `way`."""
    return way[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests log may have half characters, which no worker of pytest-xdist can pass on."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
