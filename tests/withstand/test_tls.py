"""TLS: what is offered, and that nobody who shakes hands badly disturbs another."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from msl_network import Manager
from tests.wire_peer import DEADLINE, config, connected, until

from . import program as blocking
from .program import Caller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .program import Program

pytestmark = pytest.mark.anyio

HOSTNAME = socket.gethostname()
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a Client of TLS begins."""


def trusting(home: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(home / "certs" / "localhost.crt"))


async def get_certificate(port: int) -> str:
    """Fetch the certificate as a Client of 1.0 does before it connects."""
    return await anyio.to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", port))


# 40: handshakes


def abrupt(port: int, home: Path) -> None:
    """Shake hands, and be gone at once, with a bang."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    with trusting(home).wrap_socket(sock, server_hostname="localhost") as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_handshakes_that_come_to_nothing(transport: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """40. Peers that leave right after the handshake, or never do it right, are nothing to warn of, and harm nobody."""
    caplog.set_level(logging.INFO)
    async with Manager(config(transport, tls={"enabled": True})) as manager:
        async with connected(manager, trusting(home)) as peer:
            await peer.read()
            await peer.write(b"client\n")
            for _ in range(5):
                pem = await get_certificate(manager.port)
                assert pem.startswith("-----BEGIN CERTIFICATE-----")
                await anyio.to_thread.run_sync(abrupt, manager.port, home)
            for data in (b"", HELLO, HELLO + bytes(600), b"GET / HTTP/1.1\r\n\r\n", b"client\n", bytes(70_000)):
                async with connected(manager) as stranger:
                    if data:
                        await stranger.write(data)
            await peer.silence()
        await until(lambda: not manager.clients)
    assert "Traceback" not in caplog.text
    assert all(record.levelno <= logging.INFO for record in caplog.records)


async def test_handshake_blocks_nobody(transport: str, home: Path) -> None:
    """40. While others have begun a handshake and do not go on, whoever comes is served; in time they are dropped."""
    settings = config(transport, tls={"enabled": True}, limits={"handshake_timeout": "1 s"})
    async with Manager(settings) as manager, anyio.create_task_group() as task_group:

        async def stuck(data: bytes) -> None:
            async with connected(manager) as stranger:
                await stranger.write(data)
                await stranger.eof()

        for _ in range(20):
            task_group.start_soon(stuck, HELLO)
            task_group.start_soon(stuck, b"\x16")
        for _ in range(3):
            async with connected(manager, trusting(home)) as peer:
                await peer.read()
                await peer.write(b"client\n")
                await peer.silence()


async def test_versions_of_tls(transport: str, home: Path) -> None:
    """40. TLS 1.2 and 1.3 are spoken, nothing older."""
    async with Manager(config(transport, tls={"enabled": True})) as manager:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(home)
            context.minimum_version = context.maximum_version = version
            async with connected(manager, context) as peer:
                assert (await peer.read())["attribute"] == "identity"
        for minor in (0, 1, 2):  # SSL 3.0, TLS 1.0, TLS 1.1: a hello that knows no more
            body = bytes([3, minor]) + bytes(32) + b"\x00" + b"\x00\x04\xc0\x13\x00\x2f" + b"\x01\x00"
            hello = b"\x01" + len(body).to_bytes(3, "big") + body
            async with connected(manager) as peer:
                await peer.write(bytes([22, 3, minor]) + len(hello).to_bytes(2, "big") + hello)
                answer = b""
                with anyio.fail_after(DEADLINE), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        answer += await peer.stream.receive()
                assert answer[:1] in {b"", b"\x15"}  # an alert at most, and no hello


# 41: key and certificate


@pytest.fixture
def program(start: Callable[..., Program]) -> Program:
    return start(tls=True)


def test_names_that_a_client_verifies(program: Program) -> None:
    """41. With the certificate as its authority, a Client verifies each name and address by which it may connect."""
    for name in ("localhost", "127.0.0.1", HOSTNAME):
        sock = socket.create_connection(("127.0.0.1", program.port), 10)
        with ExitStack() as stack:
            peer = Caller(stack.enter_context(program.context().wrap_socket(sock, server_hostname=name)))
            stack.callback(peer.close)
            peer.join()
    sock = socket.create_connection(("127.0.0.1", program.port), 10)
    with sock, pytest.raises(ssl.SSLCertVerificationError):
        program.context().wrap_socket(sock, server_hostname="another.example")


def test_places_of_key_and_certificate(program: Program) -> None:
    """41. Key and certificate are where 1.0 has them, and are the same after a restart: Clients have pinned them."""
    key, certificate = program.home / "keys" / "localhost.key", program.home / "certs" / "localhost.crt"
    before = key.read_bytes(), certificate.read_bytes()
    assert before[0].startswith(b"-----BEGIN")
    shown: Any = ssl.get_server_certificate(("127.0.0.1", program.port))
    assert shown.split() == before[1].decode().split()
    with blocking.client(program.port, context=program.context()) as user:
        assert user.manager("identity")
        assert isinstance(user.sock, ssl.SSLSocket)
        cipher = user.sock.cipher()
        assert cipher is not None
        assert cipher[2] >= 128
