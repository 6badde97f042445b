"""What happens with each line of a connected peer: the data plane.

    Client:   request --> its Service, the Manager, or an error back
    Service:  reply --> the Client that asked; notification --> each linked Client

Rule of this file: no await, no hook, no log line per message; what needs to wait is given to the peer's own task
as work. Every line is checked against the books before it moves: who sent it, to whom, and whether that is
expected. It must not know sockets, or how a message is encoded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from .errors import (
    AuthorizationError,
    BusyError,
    MessageError,
    RequestError,
    ServiceLostError,
    UnknownServiceError,
)
from .fanout import Fanout
from .long_line import LONG, LongLine
from .messages import DISCONNECT, DRIVING, MANAGER, MAX_NAME, NOTIFICATION_UID, Answer, MendedReply, Request
from .peer import LINES_A_LOOK
from .protocol import Event
from .registry import ServiceMember
from .wire import LINE_END, line_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from .desk import Desk
    from .messages import Reply
    from .observer import Observer
    from .outbox import Touched
    from .peer import Peer
    from .registry import ClientMember, Registry
    from .wire import Line

__all__ = ["Router"]

logger = logging.getLogger("msl_network")

MAX_AUTHORIZED: Final = 4096
"""How many decisions of `authorize` are kept per peer; the names in them are the peer's own choice."""


MAX_ANSWER: Final = 64 * 1024
"""The longest answer to a prompt of a connected peer, in bytes; a longer line is a request."""


_UNUSUAL: Final = DRIVING | {DISCONNECT}
"""Attributes that need a closer look."""


class Router:
    """Routes the lines of connected peers.

    Args:
        registry: The books.
        desk: Who answers requests to the Manager.
        authorize: Checks whether a peer may use an attribute; None if nobody minds.
        touched: Who has something to send when a chunk is handled.
        observer: Is told what becomes of each request; None if nobody wants to know.
    """

    def __init__(
        self,
        registry: Registry[Peer],
        desk: Desk,
        authorize: Callable[[Peer, str, str], None] | None,
        touched: list[Touched],
        observer: Observer | None = None,
    ) -> None:
        self._registry = registry
        self._touched = touched
        self._desk = desk
        self._authorize = authorize
        self._observer = observer
        self.dropped = 0
        """How many lines were dropped: replies that nobody waits for, answers that nobody asked for."""

    def from_client(self, peer: Peer, line: Line) -> None:
        """Handle a line of a Client."""
        long: LongLine | None = None
        try:
            if isinstance(line, LongLine):
                long, line = line, line.short()
            elif peer.is_prompted and len(line) <= MAX_ANSWER and self._is_answer(peer, line):
                return
            request = peer.codec.decode_request(line)
            if isinstance(request, Answer):
                # forged, or late; an error without a uid would end a Client of 1.0, so it is dropped
                self._drop(peer, "an answer that nobody asked for")
                return
            if long is not None:
                _check_long_request(request, long)
        except MessageError as error:
            peer.fail(error, error.uid, peer.network_name)
            return
        try:
            self._request(peer, request, long)
        except RequestError as error:
            peer.fail(error, request.uid, peer.network_name)
            if self._observer is not None:
                self._observer.failed(peer, request.service, request.uid, error)

    def all_from_client(self, peer: Peer, lines: list[bytes]) -> int:
        """Handle many lines of a Client, each as `from_client` would, for a fraction of what that costs.

        Returns:
            How many are handled: those up to the end of the turn, or none if they have to come one by one.
        """
        if peer.is_prompted or self._authorize is not None or self._observer is not None:
            return 0
        requests = peer.codec.decode_requests(lines)
        if requests is None:
            return 0
        client: ClientMember[Peer] = peer.member  # type: ignore[assignment]
        count = 0
        while count < len(requests):
            part = requests[count:]
            count += self._forward_together(client, part) or self._forward_singly(client, part)
            if peer.is_closing:
                return len(lines)
            if peer.is_turn_over():
                break
        return count

    def from_service(self, peer: Peer, line: Line) -> None:
        """Handle a line of a Service."""
        member: ServiceMember[Peer] = peer.member  # type: ignore[assignment]
        long: LongLine | None = None
        try:
            if isinstance(line, LongLine):
                long, line = line, line.short()
            reply = peer.codec.decode_reply(line)
            if isinstance(reply, Request):
                self._request_of_service(peer, reply)
                return
            if isinstance(reply, MendedReply):
                line = reply.line.rstrip()
            if reply.uid == NOTIFICATION_UID:
                # what is left out of the short form may be what ends each linked Client of 1.0
                self._notify(member, line if long is None else b"".join(long.restore(line)))
                return
            if long is not None:
                _check_long_reply(reply, long)
        except MessageError as error:
            self._refuse_reply(peer, line, error)
            return
        uid = reply.uid
        client = self._registry.reply(member, reply.requester, uid if isinstance(uid, str) else _hashable(uid))
        if client is None:
            # a Client that left cannot be answered, which is nobody's fault
            late = reply.requester not in self._registry.clients
            self._drop(peer, f"a reply to {reply.requester!r} that it does not wait for", is_late=late)
            return
        self._tell_first(peer)
        client.peer.enqueue_all([line, line_end(line)] if long is None else [*long.restore(line), line_end(line)])
        if self._observer is not None:
            self._observer.answered(client.peer, member.name, reply.uid, reply.error, line)

    def all_from_service(self, peer: Peer, lines: list[bytes]) -> int:
        """Handle many lines of a Service, each as `from_service` would, for a fraction of what that costs.

        Returns:
            How many are handled: those up to the end of the turn, or none if they have to come one by one.
        """
        if self._observer is not None:
            return 0
        replies = peer.codec.decode_replies(lines)
        if replies is None:
            return 0
        member: ServiceMember[Peer] = peer.member  # type: ignore[assignment]
        count = 0
        while count < len(replies):
            part, these = replies[count:], lines[count:]
            count += self._return_together(member, part, these) or self._return_singly(member, part, these)
            if peer.is_closing:
                return len(lines)
            if peer.is_turn_over():
                break
        return count

    def unanswered(self, calls: list[tuple[ClientMember[Peer], str, object]]) -> None:
        """Answer calls whose Service left.

        Args:
            calls: The Client, the name of the Service, and the uid of each.
        """
        for client, service, uid in calls:
            lost = ServiceLostError(f"the {service!r} service left before it answered")
            client.peer.fail(lost, uid, client.name)
            if self._observer is not None:
                self._observer.failed(client.peer, service, uid, lost)

    def _request(self, peer: Peer, request: Request, long: LongLine | None) -> None:
        if request.attribute == DISCONNECT:
            peer.connection.receive(Event.DISCONNECT)
            peer.close()
            return
        # that a connected Client may send a request is what bound this method; see MOVES
        client: ClientMember[Peer] = peer.member  # type: ignore[assignment]
        if self._observer is not None:
            self._observer.requested(peer, request, long is None)
        if self._authorize is not None:
            self._check(peer, request)
        if request.service == MANAGER:
            if long is not None:
                raise MessageError(f"a request to the Manager may have {LONG} bytes, this one has {long.size}")
            self._desk.take(peer, request)
            return
        service = self._registry.services.get(request.service)
        if service is None:
            raise UnknownServiceError(f"the {request.service!r} Service is not connected to {self._desk.network_name}")
        self._forward(client, service, request, long)

    def _forward(
        self, client: ClientMember[Peer], service: ServiceMember[Peer], request: Request, long: LongLine | None
    ) -> None:
        target = service.peer
        _check_target(service, request.attribute)
        line = target.codec.encode_request(request, client.name)
        self._registry.request(client, service, request.uid)
        if long is None:
            target.enqueue(line)
        else:
            target.enqueue_all(long.restore(line))

    def _forward_together(self, client: ClientMember[Peer], requests: list[Request]) -> int:
        """Forward the first requests in one piece, as far as they are for one Service.

        Returns:
            How many; none if there is anything unusual about one of them.
        """
        name = requests[0].service
        service = self._registry.services.get(name)
        if service is None:
            return 0
        part = []
        for request in requests:
            if request.service != name or request.attribute in _UNUSUAL:
                break
            part.append(request)
        target = service.peer
        if len(part) < 2 or target.outbox.is_full:
            return 0
        data = target.codec.encode_requests(part, client.name)
        if data is None or not self._registry.request_all(client, service, [request.uid for request in part]):
            return 0
        target.enqueue(data)
        return len(part)

    def _forward_singly(self, client: ClientMember[Peer], requests: list[Request]) -> int:
        """Handle requests one by one; returns how many, at least those up to the end of the turn."""
        peer = client.peer
        for count, request in enumerate(requests, 1):
            is_quick = False
            try:
                service = self._registry.services.get(request.service)
                if service is None or request.attribute in _UNUSUAL:
                    self._request(peer, request, None)
                else:
                    self._forward(client, service, request, None)
                    is_quick = True
            except RequestError as error:
                peer.fail(error, request.uid, peer.network_name)
            if (not is_quick or not count % LINES_A_LOOK) and (peer.is_closing or peer.is_turn_over()):
                return count
        return len(requests)

    def _return_together(self, service: ServiceMember[Peer], replies: list[Reply], lines: list[bytes]) -> int:
        """Hand the first replies on in one piece, as far as they are for one Client.

        Returns:
            How many; none if there is anything unusual about one of them.
        """
        name = replies[0].requester
        uids = []
        for reply in replies:
            if reply.requester != name:
                break
            uids.append(reply.uid)
        client = self._registry.reply_all(service, name, uids) if len(uids) > 1 else None
        if client is None:
            return 0
        self._tell_first(service.peer)
        part = lines[: len(uids)]
        data = b"\n".join(part) + b"\n"
        if data.count(LINE_END) != len(part):
            data = b"".join(line + line_end(line) for line in part)
        client.peer.enqueue(data)
        return len(part)

    def _return_singly(self, service: ServiceMember[Peer], replies: list[Reply], lines: list[bytes]) -> int:
        """Handle replies one by one; returns how many, at least those up to the end of the turn."""
        peer = service.peer
        for count, (reply, line) in enumerate(zip(replies, lines, strict=True), 1):
            client = None
            if reply.uid != NOTIFICATION_UID:
                client = self._registry.reply(service, reply.requester, reply.uid)
            if client is None:  # a notification, or a reply that nobody waits for
                self.from_service(peer, line)
            else:
                self._tell_first(peer)
                client.peer.enqueue(line + line_end(line))
            if not count % LINES_A_LOOK and (peer.is_closing or peer.is_turn_over()):
                return count
        return len(replies)

    def _tell_first(self, peer: Peer) -> None:
        """Hand on what a Service told before it answered."""
        if peer.fanout is not None and peer.fanout.waiting:
            peer.fanout.flush()

    def _request_of_service(self, peer: Peer, request: Request) -> None:
        if request.attribute != DISCONNECT:
            peer.connection.receive(Event.REQUEST)  # raises: a Service answers, it does not ask
        peer.connection.receive(Event.DISCONNECT)
        peer.close()

    def _notify(self, service: ServiceMember[Peer], line: bytes) -> None:
        if not service.links:
            return
        codec = service.peer.codec
        notification = codec.decode_notification(line)
        if notification.service != service.name:
            self._drop(service.peer, f"a notification in the name of {notification.service!r}")
            return
        if service.peer.fanout is None:
            service.peer.fanout = Fanout(service, self._touched, codec.encode_lost)
        service.peer.fanout.add(line + line_end(line))

    def _refuse_reply(self, peer: Peer, line: Line, error: MessageError) -> None:
        """Tell a Service that what it sent cannot be read, and whoever waits for it, if that can be found out."""
        peer.fail(error, error.uid, peer.network_name)
        if not isinstance(peer.member, ServiceMember):  # it is closed already, and only finishes its sentence
            return
        self._fail_call(peer.member, error)
        if isinstance(line, LongLine) and error.uid == "":
            # nobody knows who waits for it, and whoever does must not wait for ever
            logger.warning("%s sent a long reply that cannot be read (%s): disconnected", peer.network_name, error)
            peer.close()

    def _fail_call(self, service: ServiceMember[Peer], error: MessageError) -> None:
        """Tell the Client whose reply cannot be read, if its uid can be and says who that is."""
        uid = _hashable(error.uid)
        clients = [client for client, uids in service.calls.items() if uid in uids]
        if uid != "" and len(clients) == 1:
            self._registry.withdraw(clients[0], service, uid)
            problem = RequestError(f"the reply of the {service.name!r} service cannot be read: {error}")
            clients[0].peer.fail(problem, uid, clients[0].name)
            if self._observer is not None:
                self._observer.failed(clients[0].peer, service.name, uid, problem)

    def _check(self, peer: Peer, request: Request) -> None:
        key = (request.service, request.attribute)
        if key in peer.authorized or self._authorize is None:
            return
        self._authorize(peer, *key)
        if len(peer.authorized) >= MAX_AUTHORIZED:
            peer.authorized.clear()
        peer.authorized.add(key)

    def _is_answer(self, peer: Peer, line: bytes) -> bool:
        if peer.codec.decode_answer(line) is None:
            return False
        peer.answer(line)
        return True

    def _drop(self, peer: Peer, what: str, *, is_late: bool = False) -> None:
        self.dropped += 1
        if is_late:
            return
        peer.dropped += 1
        if peer.dropped == 10 ** (len(str(peer.dropped)) - 1):  # the 1st, 10th, 100th, ...: the log is nobody's to fill
            logger.warning("%s sent %s; dropped, as %d before", peer.network_name, what, peer.dropped - 1)


def _check_target(service: ServiceMember[Peer], attribute: str) -> None:
    """Refuse a request that drives a Service, or that has no room in its outbox."""
    if attribute in DRIVING and attribute not in service.identity.attributes:
        raise AuthorizationError(f"no Client may call {attribute!r}: it drives the {service.name!r} service")
    outbox = service.peer.outbox
    if outbox.is_full:
        if service.peer.is_closing:
            raise ServiceLostError(f"the {service.name!r} service is leaving")
        raise BusyError(f"the {service.name!r} service does not keep up, {outbox.size} bytes wait for it; ask later")


def _check_long_request(request: Request, long: LongLine) -> None:
    """Refuse a request by which nobody could be found, nor its reply: the codec saw only a part of the names."""
    if long.conceals(request.service, request.attribute, request.uid):
        raise MessageError(f"'service', 'attribute' and the uid may have {MAX_NAME} characters each")


def _check_long_reply(reply: Reply, long: LongLine) -> None:
    """Refuse a long error: its traceback may have something in it, out of sight, that ends a Client of 1.0."""
    if reply.error:
        raise MessageError(f"an error may have {LONG} bytes, this one has {long.size}", uid=reply.uid)


def _hashable(uid: object) -> object:
    return uid if isinstance(uid, (str, int, float)) or uid is None else ""
