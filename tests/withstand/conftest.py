"""Fixtures: a Manager in this process, on every backend and transport; or one in a process of its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import Manager
from tests.wire_peer import config

from .program import Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.fixture
async def manager(transport: str) -> AsyncIterator[Manager]:
    """A Manager that authenticates nobody, in this process."""
    async with Manager(config(transport)) as manager:
        yield manager


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Program]]:
    """Starts Managers, each a process of its own; they have ended when the test is over."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Program:
            program = Program(home, **settings)
            stack.callback(program.close)
            return program

        yield start
