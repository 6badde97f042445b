"""Whether a Manager that everybody has left is as it was before they came.

Rule of this file: states in, words out; no I/O. It must not know how a state is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .manager import State

__all__ = ["compare", "is_quiet", "shown"]

MEGA: Final = 10**6

MORE_MEMORY: Final = 10 * MEGA
"""How much more memory is no leak, in bytes: Python and the C library have it from the system in arenas, which stay as
long as anything in them does. In runs of ten minutes it was 3 MB."""

MORE_BLOCKS: Final = 2000
"""How many more pieces of memory are no leak: caches fill. A run has thousands of connections, and each has dozens."""

MORE_OBJECTS: Final = 2
"""How many more objects of a class are no leak: who waits for the next connection still knows the last one."""

MORE_DESCRIPTORS: Final = 1
"""How many more descriptors are no leak: uvloop opens one when it is first needed, and keeps it."""

MORE_THREADS: Final = 8
"""How many more threads are no leak: some stay for work that would block."""


def is_quiet(state: State, fresh: State) -> bool:
    """Return whether all that can be waited for has come about.

    Args:
        state: How the Manager is.
        fresh: How it was before anybody came.
    """
    return (
        not state.clients
        and not state.services
        and state.tasks <= fresh.tasks
        and state.descriptors <= fresh.descriptors + MORE_DESCRIPTORS
        and not more_objects(state, fresh)
    )


def compare(state: State, fresh: State, first: State | None) -> list[str]:
    """Return what is not as it was.

    Args:
        state: How the Manager is.
        fresh: How one was before anybody came.
        first: How one was when it had become quiet for the first time, warm from work; None if it is now.
    """
    problems = []
    for what, found, limit in (
        ("Clients", state.clients, 0),
        ("Services", state.services, 0),
        ("tasks", state.tasks, fresh.tasks),
        ("descriptors", state.descriptors, fresh.descriptors + MORE_DESCRIPTORS),
        ("threads", state.threads, fresh.threads + MORE_THREADS),
    ):
        if found > limit:
            problems.append(f"everybody has left, and there are {found} {what}; {limit} are allowed")
    problems += more_objects(state, fresh)
    if first is not None:
        for what, found, before, more in (
            ("pieces of memory in use", state.blocks, first.blocks, MORE_BLOCKS),
            ("bytes of memory", state.memory, first.memory, MORE_MEMORY),
        ):
            if found > before + more:
                problems.append(f"there are {found} {what}, there were {before}; {more} more are allowed")
    return problems


def more_objects(state: State, fresh: State) -> list[str]:
    """Return of which classes of the package there are more objects than before.

    Args:
        state: How the Manager is.
        fresh: How one was before anybody came.
    """
    return [
        f"there are {number} objects of {kind}, there were {fresh.objects.get(kind, 0)}"
        for kind, number in state.objects.items()
        if number > fresh.objects.get(kind, 0) + MORE_OBJECTS
    ]


def shown(state: State) -> str:
    """Return a state in words.

    Args:
        state: How a Manager is.
    """
    return (
        f"{state.clients} Clients, {state.services} Services, {state.tasks} tasks, {state.threads} threads, "
        f"{state.descriptors} descriptors, {state.memory / MEGA:.1f} MB, of which Python has "
        f"{state.spare / MEGA:.1f} MB to use them again, {state.blocks} pieces of memory, "
        f"{sum(state.objects.values())} objects of ours"
    )
