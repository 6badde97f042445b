"""What all tests share: a home of their own, and both backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the files of the person who runs it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MSL_NETWORK_HOME", str(folder))
    return folder


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each asynchronous test runs on both backends."""
    backend: str = request.param
    return backend
