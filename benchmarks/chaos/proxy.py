"""The bad network of a chaos run: a TCP proxy that delays, stalls, splits into single bytes, and cuts.

Rule of this file: bytes that arrive are the bytes that were sent, in order, as with any network; only when, and
whether, is left to chance. It must not know what they mean.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

    from .part import Part

__all__ = ["run"]

CHUNK: Final = 64 * 1024

LIFE: Final = 12.0
"""How long a connection lives, in seconds, on average."""

STALL: Final = 3.0
"""How long nothing is passed on at the longest, in seconds."""


class Proxy:
    """Passes on what comes, somehow.

    Args:
        part: What the process is for.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.count = part.report.count

    @property
    def is_calm(self) -> bool:
        """Whether there is to be no trouble."""
        return self.part.orders.settle.is_set() or self.part.orders.stop.is_set()

    async def serve(self) -> None:
        """Pass on until the end."""
        server = await asyncio.start_server(self.connected, "127.0.0.1", self.part.through_proxy.port, limit=CHUNK)
        await asyncio.to_thread(self.part.orders.stop.wait)
        server.close()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        random = self.part.chance()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.part.direct.port, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        relays = [
            asyncio.create_task(self.relay(reader, far_writer, random)),
            asyncio.create_task(self.relay(far_reader, writer, random)),
        ]
        life = random.expovariate(1 / LIFE)
        try:
            done, _ = await asyncio.wait(relays, timeout=life, return_when=asyncio.FIRST_COMPLETED)
            while not done and self.is_calm:
                done, _ = await asyncio.wait(relays, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
        if not done:
            is_reset = random.random() < 0.5
            self.count("fault: a connection is reset" if is_reset else "fault: a connection is cut")
            if is_reset:
                for end in (writer, far_writer):
                    reset(end)
        for end in (writer, far_writer):
            end.close()
        for end in (writer, far_writer):
            with suppress(OSError):
                await end.wait_closed()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, random: Random) -> None:
        """Pass on what goes in one direction."""
        is_bad = random.random() < 0.6
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if is_bad and not self.is_calm:
                    await self.trouble(data, writer, random)
                else:
                    writer.write(data)
                    await writer.drain()

    async def trouble(self, data: bytes, writer: asyncio.StreamWriter, random: Random) -> None:
        """Pass something on with trouble."""
        chance = random.random()
        if chance < 0.02:
            self.count("fault: a connection is stalled")
            await asyncio.sleep(random.uniform(0, STALL))
        elif chance < 0.4:
            await asyncio.sleep(random.uniform(0, 0.02))
        if 0.4 <= chance < 0.5 and len(data) < 2000:
            self.count("fault: bytes are sent one by one")
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                if random.random() < 0.1:
                    await asyncio.sleep(0.001)
        elif 0.5 <= chance < 0.6:
            middle = random.randint(0, len(data))
            writer.write(data[:middle])
            await writer.drain()
            await asyncio.sleep(random.uniform(0, 0.05))
            writer.write(data[middle:])
            await writer.drain()
        else:
            writer.write(data)
            await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash of the computer would."""
    sock: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def run(part: Part) -> None:
    """Be a bad network until the end.

    Args:
        part: What the process is for.
    """
    asyncio.run(Proxy(part).serve())
