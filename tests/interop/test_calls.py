"""What a Client of 1.0 does all day, over TLS and without authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Client


def test_call(client: Client) -> None:
    """A call brings its arguments to the Service and the result back."""
    assert client.run("echo.add(1, 2.5)") == 3.5
    assert client.run("echo.echo('a', [1, None, True], x={'y': 'Ω\\n'})") == [
        ["a", [1, None, True]],
        {"x": {"y": "Ω\n"}},
    ]


def test_remote_error(client: Client) -> None:
    """An exception in the Service reaches the Client with its class and its text, and the link survives."""
    with pytest.raises(PeerError, match="LookupError: no channel 7") as caught:
        client.run("echo.fail('no channel 7')")
    assert str(caught.value).startswith("RuntimeError: ")
    assert client.run("echo.add(1, 1)") == 2


def test_unknown_method(client: Client) -> None:
    """A method that the Service has not is an AttributeError."""
    with pytest.raises(PeerError, match=r"AttributeError: .*nonsense"):
        client.run("echo.nonsense()")


def test_private_method(client: Client) -> None:
    """A private method of a Service is refused."""
    with pytest.raises(PeerError, match=r"PermissionError: .*private"):
        client.run("echo._go()")


def test_wrong_arguments(client: Client) -> None:
    """Arguments that the method does not take are a TypeError."""
    with pytest.raises(PeerError, match=r"TypeError: .*add"):
        client.run("echo.add(1)")


def test_five_megabytes(client: Client) -> None:
    """An argument of 5 MB comes back unchanged."""
    assert client.run("""
text = 'grüß Gott, "Quotes"\\\\\\r\\n\\u2028 ' * 200_000
(args, kwargs) = echo.echo(text, timeout=60)
len(text.encode()) > 5_000_000, args == [text], kwargs == {}
""") == [True, True, True]


def test_asynchronous_calls(client: Client) -> None:
    """500 calls at once each get the answer that belongs to them."""
    assert client.run("""
futures = [echo.add(i, i, asynchronous=True) for i in range(500)]
[future.result(timeout=60) for future in futures] == [2 * i for i in range(500)]
""")


def test_quick_call_overtakes_slow_call(client: Client) -> None:
    """A call that waits in the Service does not hold up another one of the same Client."""
    assert client.run("""
slow = echo.hold(asynchronous=True)
echo.echo('meanwhile'), slow.done(), echo.go(), slow.result(timeout=60)
""") == [[["meanwhile"], {}], False, None, "held"]


def test_two_clients_at_once(connect: Callable[..., Client]) -> None:
    """Two Clients in different processes call the same Services at the same time, without a mix-up."""
    clients = [connect("one"), connect("two")]
    for number, client in enumerate(clients):
        client.submit(f"""
echo, scale = cxn.link('Echo'), cxn.link('Scale')
futures = [link.echo({number}, i, asynchronous=True) for i in range(200) for link in (echo, scale)]
sum(future.result(timeout=60) == [[{number}, n // 2], {{}}] for n, future in enumerate(futures))
""")
    assert [client.result() for client in clients] == [400, 400]


def test_linked_client(client: Client) -> None:
    """A LinkedClient connects, links, calls, unlinks and disconnects."""
    assert client.run("""
linked = LinkedClient('Scale', **kwargs | {'name': 'weighing'})
linked.add(2, 3), linked.service_name, linked.name, linked.service_max_clients, linked.is_connected()
""") == [5, "Scale", "weighing", -1, True]
    assert client.run("'weighing' in [c['name'] for c in cxn.identities()['clients'].values()]")
    with pytest.raises(PeerError, match="LookupError: too heavy"):
        client.run("linked.fail('too heavy')")
    assert client.run("""
other = linked.spawn('another')
sums = other.add(4, 5), linked.add(6, 7)
linked.unlink()
linked.disconnect()
other.disconnect()
sums, linked.is_connected(), other.is_connected()
""") == [[9, 13], False, False]


def test_spawn(client: Client) -> None:
    """``spawn`` makes another connection with the same settings; the first is not touched by its end."""
    assert client.run("""
other = cxn.spawn('spawned')
names = [c['name'] for c in cxn.identities()['clients'].values()]
link = other.link('Scale')
answer = link.add(1, 2)
other.disconnect()
'spawned' in names, other.port != cxn.port, answer, other.is_connected(), cxn.is_connected(), echo.add(1, 1)
""") == [True, True, 3, False, True, 2]


def test_disconnected_client_refuses(client: Client) -> None:
    """After ``disconnect`` the Client knows that it is disconnected."""
    assert client.run("cxn.disconnect(); cxn.is_connected()") is False
    with pytest.raises(PeerError, match=r"^Connection\w*Error: "):
        client.run("echo.add(1, 1)")
