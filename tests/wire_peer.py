"""A peer that speaks the protocol line by line, and what is needed to run a Manager beside it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from msl_network import Config, Manager

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

DEADLINE = 10.0
"""Seconds after which something that was waited for is taken to never happen."""

WAYS = [("asyncio", "protocol"), ("asyncio", "streams"), ("trio", "streams"), ("uvloop", "protocol")]
"""Backend and transport: each test of the Manager's behaviour runs on all of them."""


class WirePeer:
    """One end of a connection to a Manager."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self._reader = BufferedByteReceiveStream(stream)

    async def line(self, maximum: int = 2**30) -> bytes:
        """Wait for a line."""
        with anyio.fail_after(DEADLINE):
            return await self._reader.receive_until(b"\r\n", maximum) + b"\r\n"

    async def read(self) -> Any:
        """Wait for a message."""
        return json.loads(await self.line())

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        with anyio.fail_after(DEADLINE):
            await self.stream.send(data)

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.write(json.dumps(message).encode() + b"\r\n")

    async def ask(self, text: bytes) -> Any:
        """Type a line and wait for what comes back."""
        await self.write(text + b"\n")
        return await self.read()

    async def call(self, service: str, attribute: str, *args: Any, uid: Any = "1", **kwargs: Any) -> None:
        """Send a request."""
        await self.send(args=args, attribute=attribute, error=False, kwargs=kwargs, service=service, uid=uid)

    async def manager(self, attribute: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request to the Manager and return its result, or its error's text."""
        await self.call("Manager", attribute, *args, uid="m", **kwargs)
        reply = await self.read()
        assert reply["uid"] == "m"
        return reply["message"] if reply["error"] else reply["result"]

    async def eof(self) -> None:
        """Wait for the end of the connection."""
        with anyio.fail_after(DEADLINE):
            try:
                while True:
                    await self._reader.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def silence(self) -> None:
        """Check that nothing was sent, by asking for something whose answer then comes first."""
        await self.send(service="Manager", attribute="identity", uid="silence")
        reply = await self.read()
        assert reply["uid"] == "silence", reply


def config(transport: str = "auto", **manager: Any) -> Config:
    """Return settings for a test: loopback, a free port, no TLS unless asked for."""
    plugins = manager.pop("plugin_settings", {})
    manager = {"host": "127.0.0.1", "port": 0, "transport": transport, "tls": {"enabled": False}, **manager}
    return Config.from_dict({"manager": manager, "plugins": plugins})


@asynccontextmanager
async def connected(manager: Manager, context: ssl.SSLContext | None = None) -> AsyncIterator[WirePeer]:
    """Open a connection."""
    with anyio.fail_after(DEADLINE):
        stream: anyio.abc.ByteStream
        if context is None:
            stream = await anyio.connect_tcp("127.0.0.1", manager.port)
        else:
            stream = await anyio.connect_tcp(
                "127.0.0.1", manager.port, ssl_context=context, tls_hostname="localhost", tls_standard_compatible=False
            )
    async with stream:
        yield WirePeer(stream)


@asynccontextmanager
async def client(manager: Manager, name: str = "C") -> AsyncIterator[WirePeer]:
    """Connect as a Client; the Manager has let it in."""
    async with connected(manager) as peer:
        assert (await peer.read())["attribute"] == "identity"
        await peer.send(result={"type": "client", "name": name, "language": "Python", "os": "Linux"})
        await peer.silence()
        yield peer


@asynccontextmanager
async def service(manager: Manager, name: str = "Echo", **identity: Any) -> AsyncIterator[WirePeer]:
    """Connect as a Service; the Manager has let it in."""
    async with connected(manager) as peer:
        assert (await peer.read())["attribute"] == "identity"
        await peer.send(result={"type": "service", "name": name, "attributes": {"echo": "(x)"}, **identity})
        await until(lambda: name in manager.services)
        yield peer


async def until(condition: Any) -> None:
    """Wait until something holds that no event tells of."""
    with anyio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.001)
