"""Services of 1.0 come and go, and Clients of 1.0 link with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import HOSTNAME, PeerError, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Client, Lab

PEERS = "sorted(c['name'] for c in cxn.identities()['clients'].values())"
SERVICES = "sorted(cxn.identities()['services'])"


def test_link_tells_about_the_service(client: Client) -> None:
    """A link knows the Service that it is a link with."""
    assert client.run("""
echo.service_name, echo.service_attributes['add'], echo.service_max_clients, echo.service_language.split()[0]
""") == ["Echo", "(x: 'float', y: 'float') -> 'float'", -1, "Python"]
    address = client.run("echo.service_address")
    assert address.startswith(f"{HOSTNAME}:")
    assert client.run("repr(echo)").startswith(f"<Link with Echo[{address}] at Manager[localhost:")


def test_link_twice(client: Client) -> None:
    """The same Client may link with a Service again."""
    assert client.run("again = cxn.link('Echo'); again.add(1, 2), echo.add(3, 4)") == [3, 7]


def test_link_unknown_service(client: Client) -> None:
    """A link with a Service that does not exist is a KeyError."""
    with pytest.raises(PeerError, match=r"KeyError: .*the 'Nobody' service does not exist, cannot link with"):
        client.run("cxn.link('Nobody')")


def test_unlink(client: Client) -> None:
    """A link that was ended is broken, on the Client's side and on the Manager's, and can be made again."""
    client.run("echo.unlink()")
    with pytest.raises(PeerError, match=r"^AttributeError: .*add"):
        client.run("echo.add(1, 2)")
    assert client.run("echo = cxn.link('Echo'); cxn.unlink(echo); cxn.link('Echo').add(1, 2)") == 3


@pytest.mark.inside
def test_unlink_without_a_link(client: Client) -> None:
    """A Client that is not linked cannot unlink."""
    client.run("echo.unlink()")
    with pytest.raises(PeerError, match=r"KeyError: .*cannot unlink Client.*, it was not linked with 'Echo'"):
        client.run("cxn._new_request('Manager', 'unlink', 'Echo')")


def test_max_clients(shared_lab: Lab, connect: Callable[..., Client]) -> None:
    """No more Clients than ``max_clients`` may link; one that is refused is told who is linked."""
    shared_lab.instruments("Balance", max_clients=2)
    clients = [connect("first"), connect("second")]
    for client in clients:
        assert client.run("link = cxn.link('Balance'); link.service_max_clients") == 2
    third = connect("third")
    with pytest.raises(PeerError) as caught:
        third.run("cxn.link('Balance')")
    names = "\n  ".join(sorted(client.network_name for client in clients))
    assert (
        "PermissionError: The maximum number of Clients are already linked with 'Balance'\n"
        f"The linked Clients are:\n  {names}"
    ) in str(caught.value)
    clients[0].run("link.unlink()")
    assert third.run("cxn.link('Balance').add(1, 2)") == 3


def test_client_that_disconnects(connect: Callable[..., Client]) -> None:
    """Others see that a Client has disconnected, and that one has died."""
    observer, polite, rude = connect("observer"), connect("polite"), connect("rude")
    assert observer.run(PEERS) == ["observer", "polite", "rude"]
    polite.run("cxn.disconnect()")
    eventually(lambda: observer.run(PEERS) == ["observer", "rude"])
    rude.kill()
    eventually(lambda: observer.run(PEERS) == ["observer"])


def test_service_that_starts_again(shared_lab: Lab, client: Client) -> None:
    """A Service may end and start again under its name; a connected Client just links again."""
    before = shared_lab.instruments("Laser")
    assert client.run("laser = cxn.link('Laser'); laser.add(1, 2)") == 3
    before.kill()
    eventually(lambda: "Laser" not in client.run(SERVICES))
    client.run("laser.unlink()")  # the Manager says yes to that, although it knows no such Service
    shared_lab.instruments("Laser")
    assert client.run("laser = cxn.link('Laser'); laser.add(1, 2), echo.add(3, 4)") == [3, 7]


def test_duplicate_service_name(shared_lab: Lab, client: Client) -> None:
    """A second Service of the same name is refused and told so; the first one does not notice."""
    second = shared_lab.instruments("Echo", ready=False)
    assert second.wait() == 0
    assert "NameError: A 'Echo' service is already running on the Manager" in "".join(second.errors)
    assert client.run("echo.add(1, 2)") == 3


def test_shutdown_service(shared_lab: Lab, client: Client) -> None:
    """``shutdown_service`` returns what the Service says; then the Service ends and its name is free."""
    pump = shared_lab.instruments("Pump")
    client.run("pump = cxn.link('Pump')")
    assert client.run("pump.shutdown_service(reason='holidays')") == "stopped: holidays"
    assert pump.wait() == 0
    eventually(lambda: "Pump" not in client.run(SERVICES))
    with pytest.raises(PeerError, match=r"^AttributeError: .*add"):
        client.run("pump.add(1, 2)")
    shared_lab.instruments("Pump")
    assert client.run("cxn.link('Pump').add(1, 2)") == 3


@pytest.mark.ours
def test_service_that_dies_while_it_works(shared_lab: Lab, client: Client) -> None:
    """A call that a Service does not live to answer ends in an error at once."""
    oven = shared_lab.instruments("Oven")
    client.run("oven = cxn.link('Oven'); waiting = oven.hold(asynchronous=True); oven.add(1, 2)")
    oven.kill()
    with pytest.raises(PeerError, match=r"^RuntimeError: (?s:.*)ConnectionAbortedError: "):
        client.run("waiting.result(timeout=10)")
    assert client.run("echo.add(1, 2)") == 3


@pytest.mark.ours
def test_call_of_a_service_that_has_left(shared_lab: Lab, client: Client) -> None:
    """A call of a Service that is not there any more is a KeyError, and the Client lives on."""
    fan = shared_lab.instruments("Fan")
    client.run("fan = cxn.link('Fan')")
    fan.kill()
    eventually(lambda: "Fan" not in client.run(SERVICES))
    with pytest.raises(PeerError, match=r"KeyError: .*the 'Fan' Service is not connected to Manager\["):
        client.run("fan.add(1, 2, timeout=10)")
    assert client.run("echo.add(1, 2)") == 3
