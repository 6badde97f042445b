"""Who is connected, linked, locked, and waiting for an answer.

    client --link--> service      at most `max_clients` links; none new while somebody holds a lock
    client --lock--> service      only over a link; exclusive only if it is the only link
    client --call--> service      open from the request until its reply, or until either leaves

Rule of this file: each method either does everything it says or raises and changes nothing, and the books are
kept by connection, never by name alone: `leave` frees all that a connection held. It must not know how
anything travels, and is never told to wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .errors import BusyError, LinkError, LockError, NameTakenError, NotLinkedError, UnknownServiceError
from .messages import MANAGER

if TYPE_CHECKING:
    from .messages import Identity

__all__ = ["Call", "ClientMember", "Registry", "ServiceMember"]

P = TypeVar("P")

CLIENTS_AT_THEIR_LIMIT: Final = 16
"""How many Clients may wait for as many replies of one Service as they may: one alone must not shut it to others."""


@dataclass(eq=False, slots=True, kw_only=True)
class ClientMember(Generic[P]):
    """A connected Client."""

    peer: P
    name: str
    """Its network name, ``NAME[HOST:PORT]``, unlike that of any other connection."""

    address: str
    identity: Identity
    links: dict[ServiceMember[P], None] = field(default_factory=dict)
    open_calls: int = 0

    def describe(self) -> dict[str, Any]:
        """Return what others may know of it, as the Manager's identity shows it."""
        return {
            "name": self.identity.name,
            "address": self.address,
            "language": self.identity.language,
            "os": self.identity.os,
        }


@dataclass(eq=False, slots=True, kw_only=True)
class ServiceMember(Generic[P]):
    """A connected Service."""

    peer: P
    name: str
    address: str
    identity: Identity
    links: dict[ClientMember[P], None] = field(default_factory=dict)
    locks: dict[ClientMember[P], bool] = field(default_factory=dict)
    """Who holds a lock, and whether it is shared."""

    calls: dict[ClientMember[P], dict[object, int]] = field(default_factory=dict)
    """Unanswered requests: who asked, and under which uid how often."""

    open_calls: int = 0

    def describe(self) -> dict[str, Any]:
        """Return what others may know of it, as a link and the Manager's identity show it."""
        return {
            "attributes": self.identity.attributes,
            "address": self.address,
            "language": self.identity.language,
            "os": self.identity.os,
            "max_clients": self.identity.max_clients,
        }

    @property
    def is_full(self) -> bool:
        """Whether it has as many links as it allows."""
        return 0 < self.identity.max_clients <= len(self.links)


@dataclass(slots=True, frozen=True)
class Call(Generic[P]):
    """A request that will never be answered by the Service that it was sent to."""

    client: ClientMember[P]
    service: ServiceMember[P]
    uid: object


class Registry(Generic[P]):
    """The books of one Manager.

    Args:
        max_calls: How many requests of one Client may be unanswered at a time; to one Service, 16 times as many.
    """

    def __init__(self, *, max_calls: int) -> None:
        self.limit_calls(max_calls)
        self.clients: dict[str, ClientMember[P]] = {}
        """By network name."""
        self.services: dict[str, ServiceMember[P]] = {}
        """By bare name."""

    def limit_calls(self, max_calls: int) -> None:
        """Set how many requests may be unanswered; those that are too many by now are still answered.

        Args:
            max_calls: As for the class.
        """
        self.max_calls = max_calls
        self.max_calls_of_service = max_calls * CLIENTS_AT_THEIR_LIMIT

    # Coming and going

    def join_client(self, peer: P, identity: Identity, address: str) -> ClientMember[P]:
        """Add a Client.

        Args:
            peer: The connection.
            identity: Who it is.
            address: Its ``HOST:PORT``; a second Client of that name and address is told apart by a number.
        """
        name = f"{identity.name}[{address}]"
        count = 1
        while name in self.clients:
            count += 1
            name = f"{identity.name}[{address}#{count}]"
        member = ClientMember(peer=peer, name=name, address=address, identity=identity)
        self.clients[name] = member
        return member

    def join_service(self, peer: P, identity: Identity, address: str) -> ServiceMember[P]:
        """Add a Service.

        Raises:
            NameTakenError: If a Service of that name is connected.
        """
        if identity.name in self.services or identity.name == MANAGER:
            raise NameTakenError(f"A {identity.name!r} service is already running on the Manager")
        member = ServiceMember(peer=peer, name=identity.name, address=address, identity=identity)
        self.services[identity.name] = member
        return member

    def leave_client(self, client: ClientMember[P]) -> list[ServiceMember[P]]:
        """Remove a Client with its links, locks and open calls.

        Returns:
            The Services that it was linked with.
        """
        if self.clients.get(client.name) is client:
            del self.clients[client.name]
        linked = list(client.links)
        for service in linked:
            service.links.pop(client, None)
            service.locks.pop(client, None)
        client.links.clear()
        for service in self.services.values():
            uids = service.calls.pop(client, None)
            if uids is not None:
                service.open_calls -= sum(uids.values())
        client.open_calls = 0
        return linked

    def leave_service(self, service: ServiceMember[P]) -> list[Call[P]]:
        """Remove a Service with all links to it and locks on it.

        Returns:
            The calls that it leaves unanswered, in the order of the requests of each Client.
        """
        if self.services.get(service.name) is service:
            del self.services[service.name]
        for client in service.links:
            client.links.pop(service, None)
        service.links.clear()
        service.locks.clear()
        calls = []
        for client, uids in service.calls.items():
            for uid, count in uids.items():
                client.open_calls -= count
                calls += [Call(client, service, uid)] * count
        service.calls.clear()
        service.open_calls = 0
        return calls

    # Links and locks

    def find(self, service: str, complaint: str) -> ServiceMember[P]:
        """Return the Service of that name.

        Raises:
            UnknownServiceError: With the complaint, if there is none.
        """
        try:
            return self.services[service]
        except KeyError:
            raise UnknownServiceError(complaint) from None

    def link(self, client: ClientMember[P], service: str) -> ServiceMember[P]:
        """Link a Client with a Service; a second time changes nothing.

        Raises:
            UnknownServiceError: If there is no such Service.
            LinkError: If it is locked, or has as many Clients as it allows.
        """
        member = self.find(service, f"the {service!r} service does not exist, cannot link with {client.name}")
        if client not in member.links:
            self._check_open(member)
            member.links[client] = None
            client.links[member] = None
        return member

    def unlink(self, client: ClientMember[P], service: str) -> ServiceMember[P] | None:
        """Unlink a Client from a Service and release its lock.

        Returns:
            The Service; None if it is gone, which is as good as unlinked.

        Raises:
            NotLinkedError: If the Client is not linked with it.
        """
        member = self.services.get(service)
        if member is None:
            return None
        if client not in member.links:
            raise NotLinkedError(f"cannot unlink {client.name}, it was not linked with {service!r}")
        del member.links[client]
        del client.links[member]
        member.locks.pop(client, None)
        return member

    def acquire_lock(self, client: ClientMember[P], service: str, *, shared: bool) -> ServiceMember[P]:
        """Lock a Service against new links; who holds a lock may ask again, also for the other kind.

        Raises:
            UnknownServiceError: If there is no such Service.
            LockError: If the Client is not linked, or is not the only one and wants an exclusive lock.
        """
        member = self.find(service, f"{service!r} service does not exist, {client.name} cannot acquire a lock")
        if client not in member.links:
            raise LockError(
                f"{client.name} cannot acquire a lock because it is not linked with the {service!r} service"
            )
        if not shared and len(member.links) > 1:
            raise LockError(
                f"{client.name} cannot acquire an exclusive lock, "
                f"there are {len(member.links)} links with the {service!r} service{_linked(member)}"
            )
        member.locks[client] = shared
        return member

    def release_lock(self, client: ClientMember[P], service: str) -> ServiceMember[P]:
        """Release the lock of a Client, if it holds one.

        Raises:
            UnknownServiceError: If there is no such Service.
        """
        member = self.find(service, f"{service!r} service does not exist, {client.name} cannot release the lock")
        member.locks.pop(client, None)
        return member

    # Calls

    def request(self, client: ClientMember[P], service: ServiceMember[P], uid: object) -> None:
        """Open a call.

        Raises:
            LinkError: If the Client is not linked and could not be linked now.
            BusyError: If too many calls are open.
        """
        if client not in service.links:
            self._check_open(service)
        if client.open_calls >= self.max_calls:
            raise BusyError(f"{client.name} waits for {client.open_calls} replies, the limit; wait for some of them")
        if service.open_calls >= self.max_calls_of_service:
            raise BusyError(
                f"the {service.name!r} service has {service.open_calls} unanswered requests, the limit; ask later"
            )
        uids = service.calls.get(client)
        if uids is None:
            uids = service.calls[client] = {}
        uids[uid] = uids.get(uid, 0) + 1
        client.open_calls += 1
        service.open_calls += 1

    def request_all(self, client: ClientMember[P], service: ServiceMember[P], uids: list[Any]) -> bool:
        """Open many calls at once.

        Returns:
            Whether they are open; if not, none is, and each is for `request`, which says why.
        """
        new = dict.fromkeys(uids, 1)
        count = len(uids)
        uids_now = service.calls.get(client)
        if (
            len(new) != count
            or client not in service.links
            or client.open_calls + count > self.max_calls
            or service.open_calls + count > self.max_calls_of_service
            or not (uids_now is None or uids_now.keys().isdisjoint(new))
        ):
            return False
        if uids_now is None:
            service.calls[client] = new
        else:
            uids_now.update(new)
        client.open_calls += count
        service.open_calls += count
        return True

    def reply(self, service: ServiceMember[P], requester: str, uid: object) -> ClientMember[P] | None:
        """Close a call.

        Returns:
            The Client that asked; None if no such call to this Service is open.
        """
        client = self.clients.get(requester)
        if client is None:
            return None
        uids = service.calls.get(client)
        if uids is None:
            return None
        count = uids.pop(uid, 0)
        if count != 1:
            if not count:
                return None
            uids[uid] = count - 1
        client.open_calls -= 1
        service.open_calls -= 1
        return client

    def reply_all(self, service: ServiceMember[P], requester: str, uids: list[Any]) -> ClientMember[P] | None:
        """Close many calls of one Client at once.

        Returns:
            The Client; None if not each of them is open just once, and then all stay open.
        """
        client = self.clients.get(requester)
        uids_now = None if client is None else service.calls.get(client)
        if client is None or uids_now is None:
            return None
        count = len(uids)
        closing = set(uids)
        if len(closing) != count or not closing <= uids_now.keys():
            return None
        if sum(map(uids_now.__getitem__, uids)) != count:
            return None
        for uid in uids:
            del uids_now[uid]
        client.open_calls -= count
        service.open_calls -= count
        return client

    def withdraw(self, client: ClientMember[P], service: ServiceMember[P], uid: object) -> None:
        """Close a call that was opened but could not be forwarded."""
        self.reply(service, client.name, uid)

    def _check_open(self, member: ServiceMember[P]) -> None:
        if member.locks:
            raise LinkError(f"{member.name!r} service is locked")
        if member.is_full:
            raise LinkError(f"The maximum number of Clients are already linked with {member.name!r}{_linked(member)}")


def _linked(member: ServiceMember[P]) -> str:
    names = "\n  ".join(sorted(client.name for client in member.links))
    return f"\nThe linked Clients are:\n  {names}"
