"""Many lines at once, beside the same lines one by one. What single lines do is in test_manager and withstand/."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from msl_network import Config, Manager
from msl_network.peer import TOGETHER

from .fuzz.targets import peer as target
from .fuzz.targets.peer import Laboratory


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a chunk that is no longer than a message may be is read at once, and what follows from it is kept."""
    monkeypatch.setattr(target, "LONGEST", 10**5)
    monkeypatch.setattr(target, "OUTBOX", 10**6)


def manager(pending: int) -> Manager:
    limits = {"pending": pending}
    return Manager(Config.from_dict({"manager": {"without": ["login", "hostname"], "limits": limits}}))


FEW, MANY = manager(4), manager(10_000)
"""A Manager that is soon busy, and one that never is; making one takes longer than all else."""

WHO = {"a": "A[h:1]", "b": "B[h:2]"}


def request(service: str = "S", attribute: str = "echo", uid: object = "1", **more: Any) -> bytes:
    message = {"args": [], "attribute": attribute, "kwargs": {}, "service": service, "uid": uid, **more}
    return json.dumps(message).encode()


def reply(requester: str = "A[h:1]", uid: object = "1", **more: Any) -> bytes:
    return json.dumps({"error": False, "requester": requester, "result": None, "uid": uid, **more}).encode()


SERVICES = st.sampled_from("SST")
UIDS = st.sampled_from(["1", "2", "3", "4", "5", "6", "7"]) | st.sampled_from(["", 1, None, "\ud800"])

REQUESTS = st.one_of(
    st.builds(request, SERVICES, uid=UIDS),
    st.builds(request, SERVICES, uid=UIDS),
    st.builds(request, SERVICES, uid=UIDS, args=st.sampled_from([[1, {"x": "}}"}], 5, None, "]"])),
    st.builds(request, SERVICES, uid=UIDS, kwargs=st.sampled_from([{"a": {}}, [], '"}']), requester=st.text()),
    st.builds(request, st.sampled_from(["U", "Manager"]), st.sampled_from(["echo", "port", "link"]), UIDS),
    st.builds(request, SERVICES, st.sampled_from(["shutdown_service", "__disconnect__", "start", "\ud800"])),
    st.sampled_from([b"", b"{}", b"S echo 1", b"identity", b'{"result":1}']),
)
LINKS = [request("Manager", "link", "l", args=["S"]), request("Manager", "link", "l", args=["T"])]
REPLIES = st.one_of(
    st.builds(reply, st.sampled_from(list(WHO.values())), UIDS),
    st.builds(reply, st.sampled_from(list(WHO.values())), UIDS),
    st.builds(reply, st.sampled_from(["", "C[h:3]"]), UIDS, error=st.booleans()),
    st.just(reply("", "notification", service="S", result=[[], {}])),
    st.sampled_from([b"", b"{}", b"not JSON", b'{"attribute":"__disconnect__"}']),
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\n"])


def told(steps: list[tuple[str, list[bytes]]], manager: Manager, end: bytes, cut: int | None = None) -> Any:
    """Return what each peer is told, and what the books say afterwards, if lines come in such pieces, or singly."""
    laboratory = Laboratory(manager)
    peers, registry = dict(laboratory.peers), laboratory.registry
    for who, lines in steps:
        chunks = [line + end for line in lines]
        if cut is not None:
            data = b"".join(chunks)
            chunks = [data[start : start + cut] for start in range(0, len(data), cut)]
        for chunk in chunks:
            if peers[who].is_closing:
                break
            peers[who].feed(chunk)
            while peers[who].wire.later:  # its turn was over
                peers[who].wire.later.pop(0)()
    heard = {name: b"".join(peer.told) for name, peer in peers.items()}
    books = {
        name: ({client.name: list(uids.items()) for client, uids in service.calls.items() if uids}, service.open_calls)
        for name, service in registry.services.items()
    }
    open_calls = {name: client.open_calls for name, client in registry.clients.items()}
    for peer in peers.values():
        peer.told.clear()
    for name in peers:
        laboratory.leave(name)
    assert laboratory.mistakes == []
    return heard, books, open_calls


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("manager", [FEW, MANY], ids=["busy", "idle"])
@given(
    st.lists(
        st.tuples(st.sampled_from("aab"), st.lists(REQUESTS, max_size=8))
        | st.tuples(st.sampled_from("SST"), st.lists(REPLIES, max_size=8)),
        max_size=8,
    ),
    ENDS,
    st.just(10**6) | st.integers(1, 1000),
)
@example([("a", [request(uid=str(uid)) for uid in range(3 * TOGETHER)])], b"\r\n", 10**6)
@example([("a", [request(uid=str(uid)) for uid in range(3 * TOGETHER)])], b"\r\n", 5000)
@example(
    [
        ("a", [request(uid="1"), request(uid="2"), request(uid="2")]),
        ("b", [request(uid="1"), request(uid="2")]),
        ("S", [reply("B[h:2]", "2"), reply("B[h:2]", "1"), reply(uid="2"), reply(uid="2"), reply(uid="2")]),
    ],
    b"\n",
    10**6,
)
def test_as_one_by_one(manager: Manager, steps: list[tuple[str, list[bytes]]], end: bytes, cut: int) -> None:
    """11. Lines that come in one piece do what they do one by one, to whoever hears of it and in the books."""
    steps = [("a", LINKS[:1]), ("b", LINKS), *steps]
    assert told(steps, manager, end, cut) == told(steps, manager, end)


def test_usual_lines_go_in_one_piece() -> None:
    """Requests to one Service, and its replies to one Client, are handed on together, however the network cut them."""
    laboratory = Laboratory(MANY)
    client, service = laboratory.peers["a"], laboratory.peers["S"]
    client.feed(LINKS[0] + b"\r\n")
    uids = [str(uid) for uid in range(TOGETHER)]
    client.told.clear()
    requests = b"".join(request(uid=uid) + b"\r\n" for uid in uids)
    half = len(requests) // 2 + 10  # in the middle of a line
    client.feed(requests[:half])
    client.feed(requests[half:])
    service.feed(b"".join(reply(uid=uid) + b"\r\n" for uid in uids))
    assert (len(service.told), len(client.told)) == (2, 1)
    assert [json.loads(line)["uid"] for line in b"".join(service.told).splitlines()] == uids
    assert client.told[0] == b"".join(reply(uid=uid) + b"\r\n" for uid in uids)
    for peer in client, service:
        peer.told.clear()
    laboratory.end()
