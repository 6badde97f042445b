"""How the connection of a peer can end."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import anyio.abc

if TYPE_CHECKING:
    from tests.wire_peer import WirePeer
TOO_MUCH = 100 * 1024
"""How long a line is that is too long, in bytes; the Manager must not take as much."""


async def fin(peer: WirePeer) -> None:
    await peer.stream.aclose()


async def rst(peer: WirePeer) -> None:
    raw: socket.socket = peer.stream.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await peer.stream.aclose()


async def half_a_line(peer: WirePeer) -> None:
    await peer.write(b'{"service": "Ec')
    await peer.stream.aclose()


async def no_more(peer: WirePeer) -> None:
    stream: Any = peer.stream
    await stream.send_eof()


async def goodbye(peer: WirePeer) -> None:
    await peer.write(b'{"service": "x", "attribute": "__disconnect__"}\r\n')


async def too_long(peer: WirePeer) -> None:
    await peer.write(b"x" * TOO_MUCH + b"\n")


async def broken_then_rst(peer: WirePeer) -> None:
    await peer.write(b'{}\nnull\n[]\n\xff\n{"result": 1}\n{"attribute": 1}\n')
    await rst(peer)


ENDS = [fin, rst, half_a_line, no_more, goodbye, too_long, broken_then_rst]
