"""What the Manager says about itself and everybody to a Client of 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lab import HOSTNAME

if TYPE_CHECKING:
    from .lab import Client, Lab


def test_identities(shared_lab: Lab, client: Client) -> None:
    """``identities`` describes the Manager, the Clients by network name and the Services by name."""
    seen = client.run("cxn.identities()")
    assert seen.keys() == {"hostname", "port", "attributes", "language", "os", "clients", "services"}
    assert (seen["hostname"], seen["port"]) == (HOSTNAME, shared_lab.port)
    assert {"identity", "link"} <= seen["attributes"].keys()

    me = seen["clients"][client.network_name]
    assert me.keys() == {"name", "address", "language", "os"}
    assert me["name"] == "Client"
    assert client.network_name == f"Client[{me['address']}]"
    assert me["language"].startswith("Python ")

    assert seen["services"].keys() == {"Echo", "Scale", "Camera"}
    echo = seen["services"]["Echo"]
    assert echo.keys() == {"attributes", "address", "language", "os", "max_clients"}
    assert echo["max_clients"] == -1
    assert echo["attributes"]["echo"].startswith("(*args")
    assert echo["address"] == client.run("echo.service_address")


def test_identities_as_string(shared_lab: Lab, client: Client) -> None:
    """``identities(as_string=True)`` is a text with a line for everybody."""
    lines = client.run("cxn.identities(as_string=True)").split("\n")
    assert lines[0] == f"Manager[{HOSTNAME}:{shared_lab.port}]"
    assert "Clients [1]:" in lines
    assert f"  {client.network_name}" in lines
    assert "Services [3]:" in lines
    assert f"  Echo[{client.run('echo.service_address')}]" in lines
    assert "    max_clients: -1" in lines
    assert "      add(x: 'float', y: 'float') -> 'float'" in lines
    assert any(line.startswith("    language: Python ") for line in lines)
