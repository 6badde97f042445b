from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from msl_network.threads import Threads

from .laboratory import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "a thread of a test"


class Gate:
    """Holds up whoever passes, and counts."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.inside: set[int] = set()
        self.most = 0
        self._news = threading.Condition()
        self._is_open = False

    def open(self) -> None:
        with self._news:
            self._is_open = True
            self._news.notify_all()

    def go(self, number: int) -> int:
        with self._news:
            self.inside.add(number)
            self.most = max(self.most, len(self.inside))
            self.entered.release()
            self._news.wait_for(lambda: self._is_open, DEADLINE)
            self.inside.discard(number)
        return number


@contextmanager
def closed() -> Iterator[Gate]:
    """A gate that is open in the end; then the threads end by themselves."""
    gate = Gate()
    try:
        yield gate
    finally:
        gate.open()
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join(DEADLINE)
            assert not thread.is_alive()


async def entered(gate: Gate) -> None:
    """Wait until somebody stands at the gate."""
    assert await to_thread.run_sync(lambda: gate.entered.acquire(timeout=DEADLINE))


@pytest.mark.anyio
async def test_result_and_error() -> None:
    """What the function returns or raises comes out, whatever it is; the thread is another one, and a daemon."""
    threads = Threads(1, NAME)

    def fail() -> None:
        raise SystemExit(3)

    with closed():
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(SystemExit, match="3"):
            await threads.run(fail)
        found = await threads.run(threading.current_thread)
        assert found is not threading.current_thread()
        assert (found.name, found.daemon) == (NAME, True)


@pytest.mark.anyio
async def test_closed_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without work ends when it is told to, and one with work after that; what is asked for later is done."""
    monkeypatch.setattr("msl_network.threads.IDLE", 3600)
    threads = Threads(2, NAME)
    with closed() as gate:
        idle = await threads.run(threading.current_thread)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(threads.run, gate.go, 1)
            await entered(gate)
            second = await threads.run(threading.current_thread)
            threads.close()
            gate.open()
        assert (await threads.run(threading.current_thread)).name == NAME
        assert {idle.name, second.name} == {NAME}
    # `closed` has seen the end of all of them


@pytest.mark.anyio
async def test_as_many_as_allowed_run_at_a_time() -> None:
    """At most the given number run side by side; the others follow in the order in which they came."""
    finished: list[int] = []
    threads = Threads(2, NAME)

    async def run(gate: Gate, number: int) -> None:
        finished.append(await threads.run(gate.go, number))

    with closed() as gate:
        async with anyio.create_task_group() as task_group:
            for number in range(6):
                task_group.start_soon(run, gate, number)
                await anyio.wait_all_tasks_blocked()
            for _ in range(2):
                await entered(gate)
            assert gate.inside == {0, 1}
            gate.open()
    assert gate.most == 2
    assert sorted(finished) == list(range(6))


@pytest.mark.anyio
async def test_who_waits_can_be_cancelled() -> None:
    """A function that hangs holds up nobody who is cancelled; what waits behind it is not called."""
    threads = Threads(1, NAME)
    called: list[int] = []
    with closed() as gate:
        with anyio.move_on_after(DEADLINE) as scope:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(threads.run, gate.go, 1)
                await entered(gate)
                task_group.start_soon(threads.run, called.append, 2)
                await anyio.wait_all_tasks_blocked()
                task_group.cancel_scope.cancel()
        assert not scope.cancelled_caught
        assert gate.inside == {1}
        with anyio.move_on_after(0.05) as scope:
            await threads.run(called.append, 3)
        assert scope.cancelled_caught
        gate.open()
        await threads.run(called.append, 4)
    assert called == [4]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_answer_after_the_end_of_the_loop(backend: str) -> None:
    """A function that returns when the event loop has ended harms nobody."""
    threads = Threads(1, NAME)

    async def give_up(gate: Gate) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(threads.run, gate.go, 1)
            await entered(gate)
            task_group.cancel_scope.cancel()

    with closed() as gate:
        anyio.run(give_up, gate, backend=backend)
        assert gate.inside == {1}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_thread_that_hangs_does_not_keep_the_interpreter(backend: str) -> None:
    """20. A program whose look-up hangs ends all the same, on both backends."""
    program = (
        "import anyio, threading\n"
        "from msl_network.threads import Threads\n"
        "async def main():\n"
        "    with anyio.move_on_after(0.1):\n"
        "        await Threads(1, 'x').run(threading.Event().wait)\n"
        f"anyio.run(main, backend='{backend}')\n"
        "print('ended')\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (result.stdout, result.stderr) == ("ended\n", "")


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads that anybody may set")
@pytest.mark.parametrize("is_background", [False, True])
async def test_background(is_background: bool) -> None:
    """A thread in the background leaves the processor to others; the thread of the event loop is not changed."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    found = await Threads(1, NAME, is_background=is_background).run(niceness)
    assert found == (min(before + 3, 19) if is_background else before)
    assert niceness() == before
