"""Peers that say the same thing at the same moment every time, and so have the Manager do the same work.

They are one process and go in lock step: nobody sends before what was sent last has arrived. So the Manager gets
the same bytes in the same pieces, which real Clients and Services would not give it.

Rule of this file: it speaks bytes, and checks that what came is what had to come. It must not know how the Manager
is watched, nor what is counted.
"""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["SCENARIOS", "DriverError", "Peers", "Scenario"]

SECONDS: Final = 1.0

ANSWER: Final = 120 * SECONDS
"""How long an answer may take; a Manager under callgrind is 50 times slower."""

HERE: Final = "127.0.0.1"
TEXT: Final = "x" * 64
BULK: Final = "x" * 1_000_000
IN_FLIGHT: Final = 64
LINKED: Final = 10
READ: Final = 1 << 20


class DriverError(Exception):
    """Raised when the Manager does not answer, or not with what it must."""


class Peer:
    """One connection to the Manager.

    Args:
        port: Where the Manager listens.
        tls: Whether it uses TLS; its certificate is taken as it is.
        identity: What to say when the Manager asks who this is.
    """

    def __init__(self, port: int, tls: bool, identity: dict[str, Any]) -> None:
        self.socket = socket.create_connection((HERE, port), timeout=ANSWER)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.rest = b""
        asked = json.loads(self.receive(1)[0])
        if asked.get("attribute") != "identity":
            raise DriverError(f"the Manager asks for {asked}, and not for the identity")
        self.send(line({"result": identity}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, at once."""
        self.socket.sendall(data)

    def receive(self, number: int) -> list[bytes]:
        """Wait for lines; there must not be more than these.

        Raises:
            DriverError: If they do not come, or more of them do.
        """
        pieces = [self.rest]
        found = self.rest.count(b"\n")
        while found < number:
            try:
                piece = self.socket.recv(READ)
            except TimeoutError:
                raise DriverError(f"the Manager does not answer within {ANSWER:.0f} s") from None
            if not piece:
                raise DriverError("the Manager closed a connection")
            found += piece.count(b"\n")
            pieces.append(piece)
        *lines, self.rest = b"".join(pieces).split(b"\n")
        if len(lines) != number or self.rest:
            raise DriverError(f"{len(lines)} lines came in place of {number}: {lines[-1][:200]!r}")
        return lines

    def link(self) -> dict[str, Any]:
        """Ask for a link with the Service; return the answer."""
        self.send(request("Manager", "link", "link", "Echo"))
        answer: dict[str, Any] = json.loads(self.receive(1)[0])
        return answer

    def leave(self) -> None:
        """Say that nothing more will come, and wait until the Manager has closed."""
        self.socket.shutdown(socket.SHUT_WR)
        if self.socket.recv(READ):
            raise DriverError("the Manager has something to say to a Client that leaves")
        self.socket.close()


class Peers:
    """A Service, and Clients that are linked with it.

    Args:
        port: Where the Manager listens.
        tls: Whether it uses TLS.
        clients: How many Clients there are.

    Raises:
        DriverError: If the Manager does not do what it has to.
    """

    def __init__(self, port: int, *, tls: bool, clients: int) -> None:
        self.port = port
        self.stack = ExitStack()
        attributes = {"echo": "(text)"}
        service = {"type": "service", "name": "Echo", "attributes": attributes, "language": "Python", "os": "Linux"}
        self.service = self.stack.enter_context(Peer(port, tls, service))
        # the Manager says nothing to a Service that it has let in, but it answers one that asks for nonsense
        self.service.send(b"{}\r\n")
        self.service.receive(1)
        self.clients = [self.linked(port, tls) for _ in range(clients)]

    def linked(self, port: int, tls: bool) -> Peer:
        """Connect a Client, and link it."""
        peer = self.stack.enter_context(client(port, tls))
        answer = peer.link()
        if answer["error"]:
            raise DriverError(f"the Client cannot link: {answer['message']}")
        return peer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def call(self, text: str, number: int = 1) -> None:
        """Have the first Client send so many requests in one piece, and the Service answer all of them in one."""
        sender = self.clients[0]
        sender.send(b"".join(request("Echo", "echo", f"{index:032x}", text) for index in range(number)))
        replies = []
        for asked in map(json.loads, self.service.receive(number)):
            reply = {"error": False, "requester": asked["requester"], "result": asked["args"][0], "uid": asked["uid"]}
            replies.append(line(reply))
        self.service.send(b"".join(replies))
        for index, answer in enumerate(map(json.loads, sender.receive(number))):
            if answer["result"] != text or answer["uid"] != f"{index:032x}":
                raise DriverError(f"request {index} was answered with {str(answer)[:200]}")

    def notify(self) -> None:
        """Have the Service notify all Clients."""
        self.service.send(line({"error": False, "result": [[TEXT], {}], "service": "Echo", "uid": "notification"}))
        for linked in self.clients:
            if json.loads(linked.receive(1)[0])["result"] != [[TEXT], {}]:
                raise DriverError("a notification says something else than what was sent")

    def connect(self) -> None:
        """Have another Client connect, link, and leave."""
        with client(self.port, False) as peer:
            if peer.link()["error"]:
                raise DriverError("a Client that came later cannot link")
            peer.leave()


@dataclass(frozen=True)
class Scenario:
    """What the Manager is made to do.

    Args:
        label: What one of the things is that are counted.
        act: Has it do this once.
        number: How many of these things that are.
        acts: How often it is done while it is counted.
        tls: Whether with TLS.
        clients: How many Clients are linked.
        margin: By which part what is counted may differ from one time to the next.
    """

    label: str
    act: Callable[[Peers], None]
    number: int
    acts: int
    tls: bool = False
    clients: int = 1
    margin: float = 0.02

    @property
    def things(self) -> int:
        """How many things are counted in all."""
        return self.acts * self.number

    def run(self, peers: Peers) -> None:
        """Have the Manager do it, as often as it is done while it is counted."""
        for _ in range(self.acts):
            self.act(peers)


# Connections are recorded and logged in threads, as many at a time as come meanwhile: how many that are depends on the
# time. 1 MB comes in as many pieces as the system likes.
SCENARIOS: Final = {
    "sequential": Scenario("request, one at a time", lambda peers: peers.call(TEXT), 1, 1000),
    "pipelined": Scenario(f"request, {IN_FLIGHT} at a time", lambda peers: peers.call(TEXT, IN_FLIGHT), IN_FLIGHT, 100),
    "notify": Scenario(f"notification, to {LINKED} Clients", Peers.notify, 1, 300, clients=LINKED),
    "connect": Scenario("connection: identity, link, end", Peers.connect, 1, 200, margin=0.1),
    "bulk": Scenario("request with 1 MB of text", lambda peers: peers.call(BULK), 1, 20, margin=0.05),
    "tls-sequential": Scenario("request, one at a time, TLS", lambda peers: peers.call(TEXT), 1, 1000, tls=True),
}
"""What is counted, by name."""


def client(port: int, tls: bool) -> Peer:
    """Connect a Client."""
    return Peer(port, tls, {"type": "client", "name": "Client", "language": "Python", "os": "Linux"})


def request(service: str, attribute: str, uid: str, *args: Any) -> bytes:
    """Return a request, as a Client of this project writes it."""
    message = {"args": args, "attribute": attribute, "error": False, "kwargs": {}, "service": service, "uid": uid}
    return line(message)


def line(message: dict[str, Any]) -> bytes:
    """Return a message as the bytes on the wire."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\r\n"
