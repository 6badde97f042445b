"""Fixtures: laboratories, one for a test or one for the read-only tests of a file.

Developing the tests themselves, ``MSL_NETWORK_INTEROP=theirs`` puts the Manager of 1.0 in the place of ours;
``MSL_NETWORK_INTEROP_CLIENTS=ours`` and ``MSL_NETWORK_INTEROP_SERVICES=ours`` put our peers in the place of theirs.
Tests that are about one or the other do not heed these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .lab import Client, Lab, chosen, laboratories

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path


def pytest_configure(config: pytest.Config) -> None:
    """Says what the markers of this folder mean."""
    config.addinivalue_line("markers", "ours: a fact that does not hold for the Manager of 1.0")
    config.addinivalue_line("markers", "inside: it reaches into a Client of 1.0, to have it ask what it would not")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what those cannot pass that are put in the place of others."""
    for marker, variable, default, reason in (
        ("ours", "MSL_NETWORK_INTEROP", "ours", "the Manager of 1.0 cannot pass this"),
        ("inside", "MSL_NETWORK_INTEROP_CLIENTS", "theirs", "it reaches into a Client of 1.0"),
    ):
        if chosen(variable, default) != default:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what every process of an open laboratory has written, when a test fails."""
    report = yield
    if report.failed:
        for lab in laboratories:
            report.sections += [(f"{process.label}", process.transcript[-6000:]) for process in lab.processes]
    return report


@pytest.fixture(scope="session")
def implementation() -> str:
    """Whose Manager is tested: ours, or theirs to see whether a test is right."""
    return chosen("MSL_NETWORK_INTEROP", "ours")


@pytest.fixture
def lab(tmp_path: Path, implementation: str) -> Iterator[Lab]:
    """A laboratory without a Manager yet."""
    with Lab(tmp_path, implementation) as lab:
        yield lab


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, implementation: str) -> Iterator[Lab]:
    """A laboratory that the tests of a file share: no authentication, and some Services."""
    with Lab(tmp_path_factory.mktemp("lab"), implementation) as lab:
        lab.start()
        lab.instruments("Echo", "Scale", "Camera")
        yield lab


@pytest.fixture
def connect(shared_lab: Lab) -> Iterator[Callable[..., Client]]:
    """Connects a new Client to the shared laboratory; it goes away after the test."""
    clients: list[Client] = []

    def connect(*args: Any, **kwargs: Any) -> Client:
        clients.append(shared_lab.client(*args, **kwargs))
        return clients[-1]

    yield connect
    for client in clients:
        shared_lab.end(client)


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A Client, ``cxn``, in the shared laboratory, linked with the Service Echo, ``echo``."""
    client = connect()
    client.run("echo = cxn.link('Echo')")
    return client
