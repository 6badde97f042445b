"""Opening the sockets to listen on."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import Any

import pytest

from msl_network.errors import ListenError
from msl_network.listening import bind


def test_all_interfaces() -> None:
    """Without a host all interfaces are listened on, IPv4 and (where there is any) IPv6, with one port."""
    sockets = bind(None, 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert socket.AF_INET in {sock.family for sock in sockets}
    finally:
        for sock in sockets:
            sock.close()


def test_port_in_use() -> None:
    """27. A port in use is said so, with what to do."""
    (sock,) = bind("127.0.0.1", 0)
    with closing(sock):
        port = sock.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} is in use, perhaps by another Manager; stop it or choose"):
            bind("127.0.0.1", port)
        with pytest.raises(ListenError, match="in use"):
            bind(None, port)


def test_restart() -> None:
    """28. A port can be listened on again at once, although connections of before are not forgotten yet."""
    (sock,) = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    with closing(sock), closing(socket.create_connection(("127.0.0.1", port))):
        accepted, _ = sock.accept()
        accepted.close()
    bind("127.0.0.1", port)[0].close()


@pytest.mark.parametrize(
    ("host", "text"), [("192.0.2.1", "does not have that address"), ("no such host.invalid", "cannot listen on")]
)
def test_foreign_address(host: str, text: str) -> None:
    """An address of another computer, or none, is an error that names it."""
    with pytest.raises(ListenError, match=text) as caught:
        bind(host, 0)
    assert host in str(caught.value)


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EACCES, "no permission for port 80; choose one above 1023"), (errno.EIO, "Input/output error")],
)
def test_forbidden_port(number: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the system says is passed on in one line."""

    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(number, "Input/output error")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ListenError, match=text):
        bind("127.0.0.1", 80)


def test_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a computer without IPv6, IPv4 is enough."""
    original = socket.socket.__init__

    def refuse(self: socket.socket, family: int = -1, *args: Any, **kwargs: Any) -> None:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        original(self, family, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "__init__", refuse)
    (sock,) = bind(None, 0)
    with closing(sock):
        assert sock.family == socket.AF_INET
