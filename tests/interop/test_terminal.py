"""Somebody types into ``openssl s_client``, beside a Service of 1.0."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .lab import HOSTNAME, Lab, Process

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(Process):
    """A terminal with ``openssl s_client``.

    Args:
        lab: The laboratory to connect to.
    """

    def __init__(self, lab: Lab) -> None:
        command = ["openssl", "s_client", "-connect", f"localhost:{lab.port}"]
        super().__init__("openssl", command, home=lab.folder / "terminal")

    def answer(self) -> Any:
        """Waits for a JSON line among what openssl itself has to say."""
        return json.loads(self.read(r"^\{"))

    def ask(self, line: str) -> Any:
        """Types a line and waits for the answer."""
        self.write(line)
        return self.answer()


@pytest.fixture
def terminal(shared_lab: Lab) -> Iterator[Terminal]:
    """A terminal that has just connected."""
    with closing(Terminal(shared_lab)) as terminal:
        shared_lab.processes.append(terminal)
        yield terminal
        shared_lab.processes.remove(terminal)


def test_typed_session(shared_lab: Lab, terminal: Terminal) -> None:
    """Lines in, JSON lines out: identity, link, a call and the end."""
    manager = f"Manager[{HOSTNAME}:{shared_lab.port}]"
    request = terminal.answer()
    assert {"args", "attribute", "error", "kwargs", "requester", "uid"} <= request.keys()
    assert request["attribute"] == "identity"
    assert request["requester"] == manager

    terminal.write("client")
    reply = terminal.ask("identity")
    assert reply.keys() == {"error", "requester", "result", "uid"}
    (name,) = reply["result"]["clients"]
    assert name.startswith(f"Client[{HOSTNAME}:")
    assert reply["requester"] == name
    assert (reply["error"], reply["uid"]) == (False, "")
    assert reply["result"]["clients"][name]["language"] == "unknown"
    assert "Echo" in reply["result"]["services"]

    assert terminal.ask("link Echo")["result"]["max_clients"] == -1
    reply = terminal.ask("Echo echo hello x=1")
    assert reply == {"error": False, "requester": name, "result": [["hello"], {"x": 1}], "uid": ""}

    reply = terminal.ask('Echo echo 2.5 true null "two words" key="a value" n=3')
    assert reply["result"] == [[2.5, True, None, "two words"], {"key": "a value", "n": 3}]
    reply = terminal.ask("Echo fail broken")
    assert reply["error"] is True
    assert reply["message"] == "LookupError: broken"
    assert reply["result"] is None

    terminal.write("disconnect")
    assert terminal.wait() == 0


def test_typed_nonsense(terminal: Terminal) -> None:
    """A line that says nothing is answered with an error, and the connection stays."""
    terminal.answer()
    terminal.write("client Some Name")
    assert terminal.ask("nonsense")["error"] is True
    assert terminal.ask("identity")["requester"].startswith(f"Some Name[{HOSTNAME}:")
    reply = terminal.ask("link Nobody")
    assert reply["error"] is True
    assert reply["message"].startswith("KeyError: ")
    terminal.write("exit")
    assert terminal.wait() == 0


def test_typed_login(lab: Lab) -> None:
    """The Manager's questions are answered with plain words; a wrong one ends the session with an error."""
    lab.add_user("ann", "ann pw")
    lab.start(["login"])
    with closing(Terminal(lab)) as terminal:
        lab.processes.append(terminal)
        assert terminal.answer()["attribute"] == "username"
        request = terminal.ask("ann")
        assert (request["attribute"], request["args"]) == ("password", ["ann"])
        assert terminal.ask("ann pw")["attribute"] == "identity"
        terminal.write("client")
        assert terminal.ask("identity")["error"] is False
        lab.processes.remove(terminal)
    with closing(Terminal(lab)) as terminal:
        terminal.answer()
        terminal.ask("ann")
        reply = terminal.ask("wrong")
        assert reply["error"] is True
        assert "Wrong login password" in reply["message"]
        assert terminal.wait() == 0
