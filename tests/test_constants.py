from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msl.network import constants as theirs

from msl_network import constants

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", constants.__all__)
def test_values(name: str) -> None:
    """A constant has the value that it has in 1.0."""
    assert getattr(constants, name) == getattr(theirs, name)


def test_host() -> None:
    """The host name is that of 1.0."""
    assert constants.HOSTNAME == theirs.HOSTNAME


def test_places(home: Path) -> None:
    """Places follow the environment at the time of the question."""
    assert str(home) == constants.HOME_DIR
    assert str(home / "certs") == constants.CERT_DIR
    assert str(home / "keys") == constants.KEY_DIR
    assert str(home / "manager.sqlite3") == constants.DATABASE


def test_unknown() -> None:
    """There is nothing else."""
    with pytest.raises(AttributeError, match="IPV5"):
        getattr(constants, "IPV5")  # noqa: B009 - the type checker knows better
