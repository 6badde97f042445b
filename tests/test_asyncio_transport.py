"""Accepting connections on asyncio."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from msl_network.asyncio_transport import _Protocol, listener
from msl_network.listening import bind
from msl_network.socket_transport import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

DEADLINE = 10.0


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    """Runs a coroutine on one of the event loops, for a limited time."""

    def run_(work: Coroutine[object, object, None]) -> None:
        async def limited() -> None:
            await asyncio.wait_for(work, DEADLINE)

        if request.param == "uvloop":
            uvloop = pytest.importorskip("uvloop")
            uvloop.run(limited())
        else:
            asyncio.run(limited())

    return run_


def test_many_at_once(run: Any) -> None:
    """Connections that come while nobody asks for them are all accepted later, in their order."""

    async def work() -> None:
        (sock,) = bind("127.0.0.1", 0)
        accepting = listener(sock)
        first = asyncio.create_task(accepting.accept())  # from now on the loop watches
        await asyncio.sleep(0)
        peers = [socket.create_connection(sock.getsockname()) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        accepted = [await first, *[await accepting.accept() for _ in range(9)]]
        assert [one.remote for one in accepted] == [peer.getsockname() for peer in peers]
        last = asyncio.create_task(accepting.accept())
        await asyncio.sleep(0)
        with socket.create_connection(sock.getsockname()):
            await (await last).discard()
        for one in accepted:
            await one.discard()
        for peer in peers:
            assert peer.recv(1) == b""
            peer.close()
        await accepting.aclose()

    run(work())


def test_closing(run: Any) -> None:
    """Who was accepted before anybody asked is closed with the listener; a cancelled `accept` loses nobody."""

    async def work() -> None:
        (sock,) = bind("127.0.0.1", 0)
        accepting = listener(sock)
        task = asyncio.create_task(accepting.accept())
        await asyncio.sleep(0)
        with socket.create_connection(sock.getsockname()) as first, socket.create_connection(sock.getsockname()):
            task.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            accepted = await accepting.accept()
            assert accepted.remote == first.getsockname()
            await accepted.discard()
            for _ in range(20):
                await asyncio.sleep(0)
            await accepting.aclose()
            assert first.recv(1) == b""
        with pytest.raises(OSError):  # noqa: PT011 - the system has its own words for it
            socket.create_connection(sock.getsockname())

    run(work())


class Odd:
    """A listening socket that accepts in its own way as long as it has one left."""

    def __init__(self, sock: socket.socket, *ways: Callable[[], tuple[socket.socket, Any]]) -> None:
        self._sock = sock
        self.ways = list(ways)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def accept(self) -> tuple[socket.socket, Any]:
        return self.ways.pop(0)() if self.ways else self._sock.accept()


def too_many() -> tuple[socket.socket, Any]:
    """Accept nobody, since the system has no descriptor left."""
    raise OSError(errno.EMFILE, "too many")


def test_exhausted(run: Any) -> None:
    """That nothing is left for another connection is told to who accepts, once; it can try again."""

    async def work() -> None:
        (sock,) = bind("127.0.0.1", 0)
        odd = Odd(sock, *[too_many] * 3)
        accepting: Any = listener(odd)  # type: ignore[arg-type]  # it has what is asked of it
        with socket.create_connection(sock.getsockname()):
            with pytest.raises(OSError, match="too many"):
                await accepting.accept()
            for _ in range(20):
                await asyncio.sleep(0)
            odd.ways.clear()  # now that it is known, there is room
            await (await accepting.accept()).discard()
        await accepting.aclose()

    run(work())


def test_left_already(run: Any) -> None:
    """Whose address the system does not know any more, as on macOS, is closed, and the next one is accepted."""

    async def work() -> None:
        (sock,) = bind("127.0.0.1", 0)
        odd = Odd(sock, lambda: (sock.accept()[0], None))
        accepting: Any = listener(odd)  # type: ignore[arg-type]  # as above
        with socket.create_connection(sock.getsockname()) as gone, socket.create_connection(sock.getsockname()) as peer:
            accepted = await accepting.accept()
            assert accepted.remote == peer.getsockname()
            assert gone.recv(1) == b""
            await accepted.discard()
        await accepting.aclose()

    run(work())


class Nobody:
    """Who gets what a peer says, and does nothing about it."""

    def __init__(self) -> None:
        self.is_lost = False

    def feed(self, data: bytes) -> None: ...

    def lost(self) -> None:
        self.is_lost = True

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


def test_lost_before_tls(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is lost before the TLS handshake begins is not waited for until its time is over."""

    async def open_(self: SocketTransport | _Protocol) -> None:
        await real[type(self)](self)
        await self.wait_closed()

    real: dict[type, Any] = {kind: kind.open for kind in (SocketTransport, _Protocol)}
    for kind in real:
        monkeypatch.setattr(kind, "open", open_)

    async def work() -> None:
        (sock,) = bind("127.0.0.1", 0)
        accepting = listener(sock)
        socket.create_connection(sock.getsockname()).close()
        accepted, nobody = await accepting.accept(), Nobody()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with pytest.raises(ConnectionAbortedError, match="left before the TLS handshake"):
            async with accepted.open(nobody, context, handshake=DEADLINE * 2, closing=1, keepalive=60):
                pass
        assert nobody.is_lost
        await accepting.aclose()

    run(work())
