"""An event that one task waits for behaves as that of anyio."""

from __future__ import annotations

import anyio
import pytest

from msl_network.events import OneWaits, one_waits

pytestmark = pytest.mark.anyio


async def test_its_own_kind(anyio_backend: str) -> None:
    """On asyncio it is the small one, on trio that of anyio."""
    assert isinstance(one_waits(), OneWaits if anyio_backend == "asyncio" else anyio.Event)


async def test_set_and_waited_for() -> None:
    """Who waits goes on when it is set, who comes later does not wait, and setting it again is fine."""
    event = one_waits()
    assert not event.is_set()
    passed = anyio.Event()

    async def wait() -> None:
        await event.wait()
        passed.set()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not passed.is_set()
        event.set()
        event.set()
        with anyio.fail_after(5):
            await passed.wait()
    assert event.is_set()
    await event.wait()


async def test_cancelled() -> None:
    """Who waits can be cancelled, and setting the event afterwards harms nobody."""
    event = one_waits()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await event.wait()
    assert scope.cancelled_caught
    event.set()
    assert event.is_set()
