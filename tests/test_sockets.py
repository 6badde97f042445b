from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest

from msl_network.sockets import _options, address, tune

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE = 60
OPTIONAL = ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What is kept of the options of this system is forgotten, since a test may take some of them away."""
    _options.cache_clear()
    yield
    _options.cache_clear()


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as one:
            other, _ = listener.accept()
            with other:
                yield one, other


def tcp(sock: socket.socket, name: str) -> int:
    if not hasattr(socket, name):
        pytest.skip(f"this system has no {name}")
    return sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


def test_both_ends(connected: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture) -> None:
    """Either end can be tuned: it sends small messages at once and asks a silent peer whether it is there."""
    caplog.set_level(logging.DEBUG)
    for sock in connected:
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        tune(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert caplog.records == []


def test_a_dead_peer_is_found_out_within_a_minute(connected: tuple[socket.socket, socket.socket]) -> None:
    """Whether there is nothing to say or something that nobody confirms, it takes a minute at most."""
    sock, _ = connected
    tune(sock)
    silence = tcp(sock, "TCP_KEEPIDLE") + tcp(sock, "TCP_KEEPINTVL") * tcp(sock, "TCP_KEEPCNT")
    assert 0 < silence <= MINUTE
    assert 0 < tcp(sock, "TCP_USER_TIMEOUT") <= MINUTE * 1000


def test_it_still_works(connected: tuple[socket.socket, socket.socket]) -> None:
    """A tuned connection carries bytes in both directions."""
    one, other = connected
    tune(one)
    tune(one)
    tune(other)
    one.sendall(b"ping")
    assert other.recv(4) == b"ping"
    other.sendall(b"pong")
    assert one.recv(4) == b"pong"


def test_a_system_that_has_less(
    connected: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where an option does not exist the others are set, and nobody is told."""
    caplog.set_level(logging.DEBUG)
    for name in OPTIONAL:
        monkeypatch.delattr(socket, name, raising=False)
    sock, _ = connected
    tune(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert caplog.records == []


def test_one_option_that_fails(
    connected: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An option that the system knows but refuses does not keep the others from being set."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(socket, "TCP_KEEPIDLE", 9999, raising=False)
    sock, _ = connected
    tune(sock)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert tcp(sock, "TCP_KEEPCNT") == 3
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("msl_network", logging.DEBUG)
    assert "9999" in record.getMessage()


def test_a_peer_that_has_left(connected: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture) -> None:
    """A socket that is closed already is no error, at most a line for those who debug."""
    caplog.set_level(logging.DEBUG)
    sock, _ = connected
    sock.close()
    tune(sock)
    assert caplog.records
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("192.0.2.7", 1875), ("192.0.2.7", 1875)),
        (("2001:db8::7", 1875, 0, 0), ("2001:db8::7", 1875)),
        (("::ffff:192.0.2.7", 1875, 0, 0), ("192.0.2.7", 1875)),
        (("fe80::1%eth0", 1875, 0, 2), ("fe80::1", 1875)),
    ],
)
def test_address(name: tuple[object, ...], expected: tuple[str, int]) -> None:
    """A peer has one address, however the system writes it."""
    assert address(name) == expected
