"""Peers of 1.0 beside peers that do harm: nothing that those send ends them, or keeps them waiting."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.withstand import program

from .lab import Lab, PeerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.withstand.program import Caller

    from .lab import Client

pytestmark = pytest.mark.ours


@pytest.fixture
def spoiler(plain_lab: Lab) -> Iterator[Caller]:
    """A Client that sends what it likes."""
    with program.client(plain_lab.port, "Spoiler") as peer:
        yield peer


@pytest.fixture(scope="module")
def plain_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A laboratory without TLS, with a Service of 1.0."""
    with Lab(tmp_path_factory.mktemp("lab"), "ours") as lab:
        lab.start(tls=False)
        lab.instruments("Echo")
        yield lab


def is_served(client: Client) -> bool:
    """Whether a Client of 1.0 links with a Service of 1.0 and gets its answers."""
    answer: bool = client.run("link = cxn.link('Echo'); link.echo('x', y=1) == [['x'], {'y': 1}]")
    return answer


SPOILED: list[dict[str, Any]] = [
    {"attribute": 1},
    {"attribute": None},
    {"attribute": ["echo"]},
    {"error": True},
    {"error": True, "message": 5, "traceback": 5},
    {"error": 1, "traceback": None},
    {"uid": "notification"},
    {"uid": ["u"]},
    {"uid": {"u": 1}},
    {"args": None},
    {"args": {"a": 1}},
    {"args": "echo"},
    {"kwargs": []},
    {"kwargs": None},
    {"kwargs": {"self": 1}},
    {"kwargs": {"attribute": 1, "request": 2}},
    {"requester": 5},
    {"requester": None},
    {"requester": "Manager[x:1]"},
    {"result": 1},
    {"attribute": "\ud800"},
    {"attribute": "a\u0000b"},
    {"attribute": ""},
    {"attribute": "__class__"},
    {"attribute": "_loop"},
    {"attribute": "nothing"},
    {"attribute": "start", "kwargs": {"host": "127.0.0.1", "port": 9, "disable_tls": True}},
    {"attribute": "add_tasks"},
    {"attribute": "emit_notification", "args": [1]},
    {"attribute": "emit_notification_threadsafe", "args": [1]},
    {"attribute": "ignore_attributes", "args": ["echo"]},
    {"attribute": "shutdown_handler"},
    {"uid": 5},
    {"uid": None},
    {"uid": ""},
    {"args": [float("nan"), float("inf")]},
    {"args": [1] * 1000},
    {"more": {"error": True}},
]


def test_service_of_1_0_survives(plain_lab: Lab, spoiler: Caller) -> None:
    """11. Whatever a Client requests, a Service of 1.0 goes on: what would end it is refused by the Manager."""
    sound = {"args": [], "attribute": "echo", "error": False, "kwargs": {}, "service": "Echo", "uid": "u"}
    client = plain_lab.client("Good")
    assert is_served(client)
    count = 0
    for spoiled in SPOILED:
        spoiler.send(**{**sound, **spoiled})
        count += "result" not in spoiled  # that is an answer that nobody asked for, and gets none
    for line in (b"{}", b"null", b"[]", b"\xff", b"Echo echo", b"[" * 5000):
        spoiler.write(line + b"\n")
        count += 1
    for payload in (b"[" * 1500 + b"]" * 1500, b"[" + b"7" * 5000 + b"]", b'["\xed\xa0\x80"]'):
        spoiler.write(b'{"service": "Echo", "attribute": "echo", "uid": "u", "args": ' + payload + b"}\n")
        count += 1
    for _ in range(count):  # each of them is answered, by the Manager or the Service
        assert spoiler.read()["requester"].startswith("Spoiler[")
    assert is_served(client)


FORGED: list[dict[str, Any]] = [
    {},
    {"result": None, "error": True},
    {"error": True, "message": None, "traceback": None},
    {"error": True, "traceback": "x", "result": 1},
    {"error": None},
    {"error": "x"},
    {"uid": None},
    {"uid": ""},
    {"uid": "", "error": True, "message": "ValueError: x", "traceback": []},
    {"uid": "x"},
    {"uid": "notification"},
    {"uid": "notification", "service": "Echo", "result": [[1], {}]},
    {"uid": "notification", "service": "Echo", "result": 5},
    {"uid": "notification", "service": "Evil", "result": [1, {}]},
    {"uid": "notification", "service": "Evil", "result": [[1], {"self": 1}]},
    {"uid": "notification", "service": "Evil", "error": True, "result": [[1], {}]},
    {"uid": "notification", "service": ["Evil"], "result": [[1], {}]},
    {"result": [[[]]] * 3, "traceback": 5},
    {"requester": None},
]


def test_client_of_1_0_survives(plain_lab: Lab, spoiler: Caller) -> None:
    """8. Whatever a Client, or a Service that it is linked with, sends it, a Client of 1.0 goes on, and calls end."""
    good = plain_lab.client("Good")
    assert is_served(good)
    with program.service(plain_lab.port, "Evil") as evil:
        good.run("evil = cxn.link('Evil')")
        for forged in FORGED:
            good.submit("evil.echo(timeout=10)")
            request = evil.read()
            while "attribute" not in request:
                request = evil.read()
            whole = {"error": False, "requester": request["requester"], "result": "forged", "uid": request["uid"]}
            for key in whole:
                cut = {name: value for name, value in whole.items() if name != key}
                spoiler.send(**cut)
            spoiler.send(**{**whole, **forged})
            evil.send(**{**whole, **forged})
            evil.send(**{**whole, "result": "right"})
            with suppress(PeerError):  # the Service may answer with an error, or with what cannot be read
                good.result()
        for line in (b"{}", b"null", b"\xff", b'{"result": 1}', b"[" * 5000, b"x"):
            evil.write(line + b"\n")
            spoiler.write(line + b"\n")
        assert is_served(good)
    assert is_served(good)


def test_client_of_1_0_and_a_service_that_is_gone(plain_lab: Lab) -> None:
    """23. A Client of 1.0 gets an error for a call whose Service goes away or has gone, and goes on."""
    good = plain_lab.client("Good")
    with program.service(plain_lab.port, "Mortal") as mortal:
        good.run("mortal = cxn.link('Mortal')")
        good.submit("mortal.echo(1, timeout=10)")
        assert mortal.read()["attribute"] == "echo"
    with pytest.raises(PeerError, match="ConnectionAbortedError"):
        good.result()
    with pytest.raises(PeerError, match="KeyError"):
        good.run("mortal.echo(2, timeout=10)")
    assert is_served(good)


def test_names_that_harm(plain_lab: Lab, spoiler: Caller) -> None:
    """12. A name that cannot be sent, which in 1.0 makes each request for the identity fail, is not let in."""
    good = plain_lab.client("Good")
    with program.connected(plain_lab.port) as stranger:
        stranger.read()
        stranger.write(b'{"result": {"type": "client", "name": "\\ud800"}}\n')
        assert stranger.read()["error"] is True
    assert good.run("sorted({c['name'] for c in cxn.identities()['clients'].values()})") == ["Good", "Spoiler"]
    assert json.dumps(spoiler.manager("identity"))
