"""Runs Services beside a Manager, in one process: the Manager ends when the last of them has.

Rule of this file: a Service that cannot start, or fails, ends the others and is reported. It must not know how either
of them works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from .connecting import ConnectOptions
from .introduction import Introduction
from .payload import Arrival

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .manager import Manager
    from .service import Service

__all__ = ["ask_for_login", "serve_beside"]


def ask_for_login(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the user name and the password of the Services; a person is asked for what is not given.

    Once, and before anything has started: several Services would ask at the same time, and in threads that Ctrl+C does
    not reach.

    Args:
        keywords: What :meth:`Service.start` takes.

    Raises:
        RefusedError: If nobody can be asked.
    """
    person = Introduction({}, ConnectOptions(username=keywords.get("username"), password=keywords.get("password")))
    person.answer(Arrival(attribute="username", args=["the Services"]))
    person.answer(Arrival(attribute="password", args=[person.username]))
    return {"username": person.username, "password": person.password}


async def serve_beside(manager: Manager, services: Sequence[Service], keywords: dict[str, Any]) -> None:
    """Run Services until the last has ended.

    Args:
        manager: The Manager; it accepts connections.
        services: The Services, not started yet.
        keywords: What :meth:`Service.start` takes.

    Raises:
        ConnectError: If a Service cannot connect.
    """
    known: dict[str, Any] = {"port": manager.port, "disable_tls": not manager.config.tls.enabled}
    if manager.cert_file is not None:  # our own, so nobody needs to be asked
        known["cert_file"] = manager.cert_file
    limiter = anyio.CapacityLimiter(len(services))

    async def serve(service: Service) -> None:
        try:
            await anyio.to_thread.run_sync(lambda: service.start(**(keywords | known)), limiter=limiter)
        except BaseException:
            manager.stop()  # which closes the connections of the others: they end by themselves
            raise

    async with anyio.create_task_group() as task_group:
        for service in services:
            task_group.start_soon(serve, service)
