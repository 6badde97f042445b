"""A Manager in memory with a plugin in it, and peers of all kinds that connect with it.

    async with laboratory(Badge(Secret("1234"))) as lab:
        async with lab.client(password="1234") as client:
            ...

Rule of this file: all that is real but the network, the disk and the person: the Manager, the Clients and Services of
this package, and the bytes between them. It must not know which plugin is tested.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from msl_network.client import AsyncClient
from msl_network.config import Config
from msl_network.errors import ConnectionLostError
from msl_network.manager import Manager
from msl_network.memory import MemoryHost
from msl_network.memory_connection import HERE
from msl_network.plugins import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStream

    from msl_network.service import Service
    from msl_network.store import Store

__all__ = ["Laboratory", "LinePeer", "laboratory", "open_store"]

DEADLINE: Final = 10.0
"""Seconds after which something that was waited for is taken to never happen."""

IN_MEMORY: Final = ":memory:"
"""Where the bundled store keeps nothing when it is closed."""

LONGEST: Final = 2**28
"""The longest line that is read, in bytes."""


@asynccontextmanager
async def laboratory(
    *plugins: object,
    config: Config | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **manager: Any,
) -> AsyncIterator[Laboratory]:
    """Run a Manager in memory: no socket, no file, no certificate, on asyncio or trio.

    Args:
        plugins: Plugin objects; those with `authenticate` are asked.
        config: All settings, if they are at hand; `settings` and `manager` are left out then.
        settings: The sections of plugins by name, as below ``[plugins]`` in the TOML file.
        manager: Settings of ``[manager]``, e.g. ``auth=["login"]``.

    Returns:
        The laboratory; leaving the block ends it.

    Raises:
        StartError: If the Manager cannot start; its text says why.
    """
    if config is None:
        config = Config.from_dict({"manager": manager, "plugins": dict(settings or {})})
    if config.database is None:
        config = dataclasses.replace(config, database=IN_MEMORY)
    async with Manager(config, plugins=plugins, listen=False) as running:
        yield Laboratory(running)


@asynccontextmanager
async def open_store() -> AsyncIterator[Store]:
    """Open the bundled store in memory, for a plugin that keeps data."""
    config = Config()
    async with load(config).open_store(config.store, IN_MEMORY) as store:
        yield store


class Laboratory:
    """A Manager that runs, and the way to it.

    Args:
        manager: The Manager.
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        """The Manager; it has `store`, `clients`, `services` and so on."""

    def host(self, ip_address: str = HERE) -> MemoryHost:
        """Return what takes the place of the host name, e.g. for `connect`, in a thread.

        Args:
            ip_address: Where the peer seems to come from.
        """
        return MemoryHost(self.manager, ip_address=ip_address)

    def client(self, name: str = "Client", *, ip_address: str = HERE, **keywords: Any) -> AsyncClient:
        """Return a Client, which connects in its own ``async with``.

        Args:
            name: Its name.
            ip_address: Where it seems to come from.
            keywords: What :class:`msl_network.AsyncClient` takes, e.g. `username` and `password`.
        """
        return AsyncClient(name=name, host=self.host(ip_address), **keywords)

    def service(
        self, service: Service, *, ip_address: str = HERE, **keywords: Any
    ) -> AbstractAsyncContextManager[Service]:
        """Run a Service in a thread, as long as the ``async with`` lasts.

        Args:
            service: The Service.
            ip_address: Where it seems to come from.
            keywords: What :meth:`msl_network.Service.start` takes.
        """
        return self.host(ip_address).serve(service, **keywords)

    @asynccontextmanager
    async def peer(self, *, ip_address: str = HERE) -> AsyncIterator[LinePeer]:
        """Connect with a peer that reads and writes lines, and so can answer, or not, as no Client would.

        Args:
            ip_address: Where it seems to come from.
        """
        async with self.host(ip_address).open_stream() as stream:
            yield LinePeer(stream)


class LinePeer:
    """The end of a connection: a test reads what the Manager says, and writes the answer.

    Args:
        stream: The connection.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        """The connection, for what is no line."""
        self._lines = BufferedByteReceiveStream(stream)

    async def read(self) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            ConnectionLostError: If the connection ends instead.
            TimeoutError: If none comes.
        """
        try:
            with anyio.fail_after(DEADLINE):
                line = await self._lines.receive_until(b"\n", LONGEST)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead):
            raise ConnectionLostError("the Manager has ended the connection") from None
        message: dict[str, Any] = json.loads(line)
        return message

    async def write(self, **message: Any) -> None:
        """Send a message.

        Args:
            message: Its keys.
        """
        await self.stream.send(json.dumps(message).encode() + b"\r\n")

    async def answer(self, attribute: str, value: Any) -> list[Any]:
        """Wait until the Manager asks for something, and answer.

        Args:
            attribute: What it is expected to ask for.
            value: The answer, a JSON value.

        Returns:
            The arguments of the question.

        Raises:
            AssertionError: If it asks for something else, or refuses.
        """
        question = await self.read()
        if question["error"] or question["attribute"] != attribute:
            raise AssertionError(f"expected to be asked for {attribute!r}, found {question}")
        await self.write(result=value, error=False, requester="", uid="")
        args: list[Any] = question["args"]
        return args

    async def join(self, name: str = "Client") -> None:
        """Say that this is a Client, and wait until it is let in.

        Args:
            name: Its name.

        Raises:
            AssertionError: If it is not.
        """
        await self.answer("identity", {"type": "client", "name": name, "language": "Python", "os": "Linux"})
        answer = await self.request("identity")
        if "clients" not in answer:
            raise AssertionError(f"expected to be let in, found {answer}")

    async def request(self, attribute: str, *args: Any, service: str = "Manager", **kwargs: Any) -> Any:
        """Ask for something, and wait for the reply.

        Args:
            attribute: What is asked for.
            args: Its positional arguments.
            service: Of whom.
            kwargs: Its keyword arguments.

        Returns:
            The result, or the text of the error.

        Raises:
            AssertionError: If the Manager asks for something first, e.g. for the name of an administrator.
        """
        await self.write(service=service, attribute=attribute, args=args, kwargs=kwargs, error=False, uid="1")
        reply = await self.read()
        if not reply["error"] and "result" not in reply:
            raise AssertionError(f"expected a reply, found {reply}")
        return reply["message"] if reply["error"] else reply["result"]

    async def refusal(self) -> str:
        """Wait until the Manager says why it does not let this peer in.

        Returns:
            The text.

        Raises:
            AssertionError: If it asks for something instead.
        """
        message = await self.read()
        if not message["error"]:
            raise AssertionError(f"expected to be refused, found {message}")
        text: str = message["message"]
        return text
