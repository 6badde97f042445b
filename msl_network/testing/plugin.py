"""Fixtures of pytest for those who test a plugin.

    pytest_plugins = ["msl_network.testing.plugin"]        in conftest.py, or
    addopts = ["-p", "msl_network.testing.plugin"]         in [tool.pytest.ini_options] of pyproject.toml

Rule of this file: nothing happens in a test that asks for no fixture. It is the only one that imports pytest; it must
not know which plugin is tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .doubles import FakeHandshake, FakePeer
from .laboratory import Laboratory, laboratory, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from msl_network.store import Store

__all__ = ["handshake", "lab", "local_peer", "memory_store", "network_home", "peer"]


@pytest.fixture
def network_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the files of the Manager that is this test's own (``MSL_NETWORK_HOME``)."""
    folder = tmp_path / "msl-network"
    monkeypatch.setenv("MSL_NETWORK_HOME", str(folder))
    return folder


@pytest.fixture
def peer() -> FakePeer:
    """A stranger on another computer."""
    return FakePeer()


@pytest.fixture
def local_peer() -> FakePeer:
    """A peer on the Manager's computer."""
    return FakePeer(ip_address="127.0.0.1")


@pytest.fixture
def handshake() -> Callable[..., FakeHandshake]:
    """Makes handshakes with the answers that it is given: ``handshake("alice", "wonderland")``."""
    return FakeHandshake


@pytest.fixture
def lab(network_home: Path) -> Callable[..., AbstractAsyncContextManager[Laboratory]]:
    """Makes laboratories, see `msl_network.testing.laboratory`; their Manager keeps its files in `network_home`."""
    del network_home
    return laboratory


@pytest.fixture
def memory_store(network_home: Path) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """Makes stores in memory, see `msl_network.testing.open_store`."""
    del network_home
    return open_store
