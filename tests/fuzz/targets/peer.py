"""Whatever Clients and Services send, in any order: nobody gets a line that is not for it, and the books are right.

An input is a number of steps, divided by 0xff. The first byte of a step says what happens, and to whom:

    a b   the Client A or B sends the rest; S T: the Service S or T does
    A B   the Client leaves; s t: the Service does (whoever is not there comes again when it sends something)
    < >   the peer that is named by the next byte no longer reads, or reads again
    ?     the Client that is named by the next byte is asked for credentials
    .     what was put off to another turn goes on

A line of which 64 bytes came and the end did not is a long one, which is read piece by piece. Afterwards all leave.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network import Config, Identity, Manager, Peer, long_line, wire
from msl_network.protocol import Event, State
from msl_network.registry import ClientMember, ServiceMember

from .. import readers  # noqa: TID252 - the tests are not installed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msl_network.registry import Registry
    from msl_network.router import Router
    from msl_network.wire import Line

NAMES = {"a": "A", "b": "B", "S": "S", "T": "T"}
"""Who is named by which byte; small letters are Clients."""

LONGEST = 1500
"""The longest message, in bytes."""

OUTBOX = 3000
"""What is kept for a peer that does not read, in bytes."""


def check(data: bytes) -> None:
    """The input is what happens."""
    with patch.object(wire, "LONG", 64), patch.multiple(long_line, PIECE=16, IN_A_TEXT=16):
        laboratory = Laboratory(_manager())
        try:
            for step in data.split(b"\xff"):
                if step:
                    laboratory.step(chr(step[0]), step[1:])
            laboratory.end()
        except BaseException:
            _manager.cache_clear()  # its books are not what they should be
            raise


@cache
def _manager() -> Manager:
    """A Manager that never serves: its books, its router, and its answers. Making one takes longer than all else."""
    return Manager(Config.from_dict({"manager": {"without": ["login", "hostname"], "limits": {"pending": 4}}}))


class Wire:
    """A transport that keeps what is written."""

    certificate = None

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.later: list[Callable[[], None]] = []
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        raise AssertionError("only the transport itself gives up")

    def pause_reading(self) -> None:
        """Nothing is read but what a step feeds."""

    def resume_reading(self) -> None:
        """Nothing is read but what a step feeds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.later.append(callback)


class Recorded(Peer):
    """A peer that remembers what it is told, whether it reads or not."""

    def __init__(self, wire: Wire, **settings: Any) -> None:
        super().__init__(**settings)
        self.wire = wire
        self.told: list[bytes] = []
        self.bytes_told = 0
        self.attach(wire)
        self.enqueue = self._remember
        self.enqueue_all = self._remember_all

    def _remember(self, data: bytes) -> None:
        self._remember_all([data])

    def _remember_all(self, parts: Sequence[bytes]) -> None:
        before = self.outbox.size
        self.outbox.put_all(parts)
        assert self.is_closing or self.outbox.size > before, "it was told something that nobody kept"
        self.told.append(b"".join(parts))
        self.bytes_told += self.outbox.size - before


class Laboratory:
    """Two Clients, two Services, and what each of them may expect."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.registry: Registry[Peer] = manager._registry
        self.router: Router = manager._router
        self.peers: dict[str, Recorded] = {}
        self.calls: Counter[tuple[str, str, object]] = Counter()
        """Who waits for which reply, by the lines that the Services got."""
        self.mistakes: list[Exception] = []
        for name in NAMES:
            self.join(name)

    def step(self, what: str, rest: bytes) -> None:
        """Let something happen."""
        if what in NAMES:
            if what not in self.peers:
                self.join(what)
            self.peers[what].feed(rest)
            self.judge(what)
        elif what.swapcase() in self.peers:
            self.leave(what.swapcase())
        elif what in "<>?" and rest[:1].decode("latin-1") in self.peers:
            self.change(what, self.peers[rest[:1].decode("latin-1")])
        elif what == ".":
            self.go_on()
        self.audit()

    def change(self, what: str, peer: Recorded) -> None:
        """Let a peer read or not, or ask it for credentials."""
        if what == "<":
            peer.pause_writing()
        elif what == ">":
            peer.resume_writing()
        elif peer.connection.state is State.CLIENT:
            peer.connection.send(Event.PROMPT)
            peer.is_prompted = True

    def go_on(self) -> None:
        """Do what was put off: lines of a peer that sent too many, and the end of those that are closed."""
        for name, peer in list(self.peers.items()):
            while peer.wire.later:
                peer.wire.later.pop(0)()
                self.judge(name)
            if peer.is_closing or peer._lines.overflow:
                self.leave(name)

    def join(self, name: str) -> None:
        """Connect, as `Manager.handler` does."""
        number = list(NAMES).index(name) + 1
        peer = Recorded(
            Wire(),
            ip_address="127.0.0.1",
            port=number,
            is_local=True,
            hostname="h",
            codec=JsonLinesCodec(),
            touched=self.manager._touched,
            busy=self.manager._busy,
            handshake_limit=LONGEST,
            outbox_limit=OUTBOX,
            outbox_timeout=1e9,
            resolve=_nobody,
        )
        receive: Callable[[Peer, Line], None]
        if name.islower():
            identity = Identity(type="client", name=NAMES[name])
            client = self.registry.join_client(peer, identity, peer.address)
            peer.member, peer.network_name = client, client.name
            receive, receive_all = self.router.from_client, self.router.all_from_client
            event = Event.ACCEPT_CLIENT
        else:
            identity = Identity(type="service", name=NAMES[name], max_clients=1 if name == "T" else -1)
            peer.member = self.registry.join_service(peer, identity, peer.address)
            peer.network_name = f"{identity.name}[{peer.address}]"
            receive, receive_all = self.router.from_service, self.router.all_from_service
            event = Event.ACCEPT_SERVICE
        peer.connection.send(event)

        def guarded(peer: Peer, line: Line) -> None:
            try:
                receive(peer, line)
            except Exception as error:
                self.mistakes.append(error)
                raise

        def all_guarded(peer: Peer, lines: list[bytes]) -> int:
            try:
                return receive_all(peer, lines)
            except Exception as error:
                self.mistakes.append(error)
                raise

        peer.welcome(guarded, LONGEST, lambda work: None, all_guarded)
        self.peers[name] = peer

    def leave(self, name: str) -> None:
        """Disconnect, as `Manager.new_connection` does."""
        peer = self.peers.pop(name)
        self.manager.remove_peer(peer)
        peer.lost()
        self.calls = +Counter({call: count for call, count in self.calls.items() if call[0] != name})
        self.judge(name)
        left = [call for call, count in (+self.calls).items() if call[1] == name]
        assert not left, f"{left} wait for a Service that left"

    def end(self) -> None:
        """Let all leave; nothing is left of them."""
        members = [peer.member for peer in self.peers.values()]
        for name in list(self.peers):
            self.leave(name)
            self.audit()
        for member in members:
            assert isinstance(member, (ClientMember, ServiceMember))
            assert not member.links
            assert not member.open_calls
            assert not isinstance(member, ServiceMember) or not (member.calls or member.locks)
        assert (self.registry.clients, self.registry.services) == ({}, {})
        assert (self.manager._touched, self.manager._busy) == ([], set())

    def judge(self, sender: str) -> None:
        """See who was told what, while somebody was heard or left."""
        if self.mistakes:
            raise self.mistakes[0]
        for name, peer in self.peers.items():
            told, peer.told = peer.told, []
            # the notifications of a chunk come in one piece
            for line in [line + b"\n" for data in told for line in data.removesuffix(b"\n").split(b"\n")]:
                assert line.endswith(b"\r\n")
                if name == sender:
                    self.judge_answer(peer, json.loads(line.decode()))
                elif name.isupper():
                    self.judge_request(name, sender, line)
                else:
                    self.judge_reply(name, sender, json.loads(line.decode()))

    def judge_answer(self, peer: Recorded, answer: dict[str, Any]) -> None:
        """The Manager itself answers whoever sent something."""
        assert answer["requester"] == peer.network_name
        assert "result" in answer
        assert answer["error"] is ("message" in answer)

    def judge_request(self, service: str, client: str, line: bytes) -> None:
        """A Service is asked by a Client, in its own name and that of the Client."""
        assert client.islower(), f"{client} made {service} hear something"
        request = readers.service(line)
        assert request["service"] == NAMES[service]
        assert request["requester"] == f"{NAMES[client]}[h:{list(NAMES).index(client) + 1}]"
        self.calls[client, service, request["uid"]] += 1

    def judge_reply(self, client: str, service: str, reply: dict[str, Any]) -> None:
        """A Client hears of a Service what it asked for, once, and the notifications if it is linked."""
        assert service.isupper(), f"{service} made {client} hear something"
        assert isinstance(reply["error"], bool)
        uid = reply.get("uid", "")
        if uid == "notification":
            assert reply["service"] == NAMES[service]
            assert NAMES[service] in {member.name for member in _links(self.peers[client])}
            args, kwargs = reply["result"]
            assert isinstance(args, list)
            assert "self" not in kwargs
            return
        assert reply["requester"] == self.peers[client].network_name
        if reply["error"]:
            "\n".join([reply["message"], *reply["traceback"]])
        call = (client, service, uid if isinstance(uid, (str, int, float, type(None))) else "")
        assert self.calls[call] > 0, f"{client} did not wait for {reply} of {service}"
        self.calls[call] -= 1

    def audit(self) -> None:
        """See that the books are right."""
        for name, peer in self.peers.items():
            assert peer.outbox.size == peer.bytes_told - sum(map(len, peer.wire.written))
            member = peer.member
            assert member is not None
            mine = [count for call, count in self.calls.items() if name in call[:2]]
            assert member.open_calls == sum(mine)
            assert all(member in other.links for other in member.links)
            if isinstance(member, ServiceMember):
                assert set(member.locks) <= set(member.links)
                assert {*member.links, *member.calls} <= set(self.registry.clients.values())
                for client, uids in member.calls.items():
                    waiting = {
                        call[2]: count for call, count in self.calls.items() if call[:2] == (_letter(client), name)
                    }
                    assert uids == +Counter(waiting)
                assert member.identity.max_clients < 0 or len(member.links) <= member.identity.max_clients


def _links(peer: Peer) -> dict[ServiceMember[Peer], None]:
    assert isinstance(peer.member, ClientMember)
    return peer.member.links


def _letter(client: ClientMember[Peer]) -> str:
    return client.identity.name.lower()


async def _nobody(address: str) -> str:
    return address
