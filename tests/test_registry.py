from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from msl_network import registry as registry_module
from msl_network.errors import (
    BusyError,
    LinkError,
    LockError,
    NameTakenError,
    NetworkError,
    NotLinkedError,
    UnknownServiceError,
)
from msl_network.messages import Identity
from msl_network.registry import CLIENTS_AT_THEIR_LIMIT, ClientMember, Registry, ServiceMember

MAX_CALLS = 3
BUSY_CLIENTS = 2
"""How many Clients may fill a Service in the model below; sixteen would hardly ever come together."""

NAMES = st.sampled_from(["A", "B", "C"])
UIDS = st.sampled_from(["1", "2", 1, None])


def client_identity(name: str = "c") -> Identity:
    return Identity(type="client", name=name)


def service_identity(name: str = "Echo", max_clients: int = -1) -> Identity:
    return Identity(type="service", name=name, max_clients=max_clients, attributes={"f": "()"})


def small() -> tuple[Registry[Any], ClientMember[Any], ClientMember[Any], ServiceMember[Any]]:
    registry: Registry[Any] = Registry(max_calls=MAX_CALLS)
    one = registry.join_client("peer 1", client_identity("one"), "h:1")
    two = registry.join_client("peer 2", client_identity("two"), "h:2")
    return registry, one, two, registry.join_service("peer 3", service_identity(), "h:3")


# What is told


def test_who_is_connected() -> None:
    """Members are kept by name, and describe themselves as the Manager's identity shows them."""
    registry, one, two, echo = small()
    assert registry.clients == {"one[h:1]": one, "two[h:2]": two}
    assert registry.services == {"Echo": echo}
    assert one.describe() == {"name": "one", "address": "h:1", "language": "unknown", "os": "unknown"}
    assert echo.describe() == {
        "attributes": {"f": "()"},
        "address": "h:3",
        "language": "unknown",
        "os": "unknown",
        "max_clients": -1,
    }


def test_two_clients_of_one_name_and_address() -> None:
    """14. Each has a network name of its own, and both leave as themselves."""
    registry: Registry[int] = Registry(max_calls=1)
    members = [registry.join_client(number, client_identity(), "h:1") for number in range(3)]
    assert [member.name for member in members] == ["c[h:1]", "c[h:1#2]", "c[h:1#3]"]
    registry.leave_client(members[0])
    again = registry.join_client(4, client_identity(), "h:1")
    registry.leave_client(members[0])
    assert registry.clients["c[h:1]"] is again


def test_a_name_that_is_taken() -> None:
    """A second Service of a name is refused, and the first stays; afterwards the name is free."""
    registry, _, _, echo = small()
    with pytest.raises(NameTakenError, match="A 'Echo' service is already running on the Manager"):
        registry.join_service("peer", service_identity(), "h:9")
    registry.leave_service(echo)
    again = registry.join_service("peer", service_identity(), "h:9")
    registry.leave_service(echo)
    assert registry.services == {"Echo": again}


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("link", "the 'No' service does not exist, cannot link with one[h:1]"),
        ("release_lock", "'No' service does not exist, one[h:1] cannot release the lock"),
    ],
)
def test_a_service_that_does_not_exist(method: str, text: str) -> None:
    """It cannot be linked or unlocked, in the words of 1.0; unlinking it is as good as done."""
    registry, one, _, _ = small()
    with pytest.raises(UnknownServiceError) as info:
        getattr(registry, method)(one, "No")
    assert str(info.value) == text
    with pytest.raises(UnknownServiceError, match=r"'No' service does not exist, one.* cannot acquire a lock"):
        registry.acquire_lock(one, "No", shared=True)
    assert registry.unlink(one, "No") is None


def test_what_a_refusal_says() -> None:
    """Links and locks are refused with the phrases of 1.0, and the names of those who are linked."""
    registry, one, two, _ = small()
    with pytest.raises(NotLinkedError, match="it was not linked with 'Echo'"):
        registry.unlink(one, "Echo")
    with pytest.raises(LockError, match="cannot acquire a lock because it is not linked with the 'Echo' serv"):
        registry.acquire_lock(one, "Echo", shared=False)
    registry.link(two, "Echo")
    registry.link(one, "Echo")
    with pytest.raises(LockError) as info:
        registry.acquire_lock(one, "Echo", shared=False)
    assert str(info.value) == (
        "one[h:1] cannot acquire an exclusive lock, there are 2 links with the 'Echo' service\n"
        "The linked Clients are:\n  one[h:1]\n  two[h:2]"
    )
    registry.acquire_lock(one, "Echo", shared=True)
    three = registry.join_client("peer", client_identity("three"), "h:4")
    with pytest.raises(LinkError, match="'Echo' service is locked"):
        registry.link(three, "Echo")
    with pytest.raises(LinkError, match="'Echo' service is locked"):
        registry.request(three, registry.services["Echo"], "1")


def test_the_limit_of_clients() -> None:
    """10. A Service that has all it allows is neither linked nor called by others."""
    registry, one, two, _ = small()
    registry.join_service("peer", service_identity("Small", max_clients=1), "h:5")
    registry.link(one, "Small")
    registry.link(one, "Small")
    for method in (registry.link, lambda client, name: registry.request(client, registry.services[name], "1")):
        with pytest.raises(LinkError) as info:
            method(two, "Small")
        assert str(info.value) == (
            "The maximum number of Clients are already linked with 'Small'\nThe linked Clients are:\n  one[h:1]"
        )
    registry.request(one, registry.services["Small"], "1")


def test_the_limit_of_calls() -> None:
    """17. A Client that waits for too much is busy, and so is a Service that many wait for."""
    registry, one, two, _ = small()
    for _ in range(MAX_CALLS):
        registry.request(one, registry.services["Echo"], "same")
    with pytest.raises(BusyError, match=r"one\[h:1\] waits for 3 replies"):
        registry.request(one, registry.services["Echo"], "1")
    registry.request(two, registry.services["Echo"], "1")  # one Client alone does not shut a Service to others
    for number in range(CLIENTS_AT_THEIR_LIMIT - 1):
        other = registry.join_client("", Identity(type="client", name=f"c{number}"), "h:1")
        for _ in range(MAX_CALLS):
            if registry.services["Echo"].open_calls < MAX_CALLS * CLIENTS_AT_THEIR_LIMIT:
                registry.request(other, registry.services["Echo"], "same")
    with pytest.raises(BusyError, match="the 'Echo' service has 48 unanswered requests"):
        registry.request(two, registry.services["Echo"], "1")


def test_two_calls_with_one_uid() -> None:
    """Each is answered once, a third answer is to nobody."""
    registry, one, _, echo = small()
    registry.request(one, registry.services["Echo"], "same")
    registry.request(one, registry.services["Echo"], "same")
    assert [registry.reply(echo, one.name, "same") for _ in range(3)] == [one, one, None]
    assert (one.open_calls, echo.open_calls) == (0, 0)


def test_two_calls_with_one_uid_that_nobody_answers() -> None:
    """A Service that leaves leaves both."""
    registry, one, two, echo = small()
    for client, uid in ((one, "same"), (two, "same"), (one, "1"), (one, "same")):
        registry.request(client, registry.services["Echo"], uid)
    left = [(call.client, call.service, call.uid) for call in registry.leave_service(echo)]
    assert left == [(one, echo, "same"), (one, echo, "same"), (one, echo, "1"), (two, echo, "same")]


def test_a_call_that_is_withdrawn() -> None:
    """It is as if it had never been opened."""
    registry, one, _, echo = small()
    registry.request(one, registry.services["Echo"], "1")
    registry.withdraw(one, echo, "1")
    assert registry.reply(echo, one.name, "1") is None
    assert (one.open_calls, echo.open_calls) == (0, 0)


# All that may happen, in any order


class Books(RuleBasedStateMachine):
    """The registry beside plain sets and counters that say what must hold."""

    clients = Bundle("clients")
    services = Bundle("services")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(registry_module, "CLIENTS_AT_THEIR_LIMIT", BUSY_CLIENTS)
        self.registry: Registry[Any] = Registry(max_calls=MAX_CALLS)
        self.members: list[ClientMember[Any]] = []
        self.left: list[ClientMember[Any] | ServiceMember[Any]] = []
        self.by_name: dict[str, ServiceMember[Any]] = {}
        self.links: set[tuple[ClientMember[Any], ServiceMember[Any]]] = set()
        self.locks: dict[tuple[ClientMember[Any], ServiceMember[Any]], bool] = {}
        self.calls: Counter[tuple[ClientMember[Any], ServiceMember[Any], object]] = Counter()

    def teardown(self) -> None:
        """Let all leave: nothing is left of anybody."""
        self.patch.undo()
        for service in list(self.by_name.values()):
            self.registry.leave_service(service)
        for client in self.members:
            self.registry.leave_client(client)
        assert (self.registry.clients, self.registry.services) == ({}, {})
        for member in [*self.members, *self.by_name.values(), *self.left]:
            assert_empty(member)

    def linked(self, service: ServiceMember[Any]) -> set[ClientMember[Any]]:
        return {client for client, other in self.links if other is service}

    def is_locked(self, service: ServiceMember[Any]) -> bool:
        return any(other is service for _, other in self.locks)

    def is_full(self, service: ServiceMember[Any]) -> bool:
        return 0 < service.identity.max_clients <= len(self.linked(service))

    def open_calls(self, member: object) -> int:
        return sum(count for call, count in self.calls.items() if member in call[:2])

    def forget(self, member: object) -> None:
        self.links = {link for link in self.links if member not in link}
        self.locks = {link: shared for link, shared in self.locks.items() if member not in link}
        self.calls = Counter({call: count for call, count in self.calls.items() if member not in call[:2]})

    def refused(self, expected: type[NetworkError] | None, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call it; see that it raises exactly what is expected."""
        try:
            result = function(*args, **kwargs)
        except NetworkError as error:
            assert type(error) is expected  # noqa: PT017 - which one, the books decide
            return None
        assert expected is None
        return result

    @rule(target=clients, name=NAMES)
    def join_client(self, name: str) -> ClientMember[Any]:
        peer = object()
        member = self.registry.join_client(peer, client_identity(name), "h:1")
        assert member.peer is peer
        assert member.name.startswith(f"{name}[h:1")
        assert member.name not in {other.name for other in self.members}
        self.members.append(member)
        return member

    @rule(target=services, name=NAMES, max_clients=st.integers(-1, 2))
    def join_service(self, name: str, max_clients: int) -> Any:
        member = self.refused(
            NameTakenError if name in self.by_name else None,
            self.registry.join_service,
            object(),
            service_identity(name, max_clients),
            "h:1",
        )
        if member is not None:
            self.by_name[name] = member
        return member or self.by_name[name]

    @rule(client=consumes(clients), twice=st.booleans())
    def leave_client(self, client: ClientMember[Any], twice: bool) -> None:
        left = self.registry.leave_client(client)
        assert set(left) == {service for other, service in self.links if other is client}
        assert len(left) == len(set(left))
        if twice:
            assert self.registry.leave_client(client) == []
        self.members.remove(client)
        self.left.append(client)
        self.forget(client)

    @rule(service=services)
    def leave_service(self, service: ServiceMember[Any]) -> None:
        is_here = self.by_name.get(service.name) is service
        left = Counter((call.client, call.service, call.uid) for call in self.registry.leave_service(service))
        assert left == (
            Counter({call: count for call, count in self.calls.items() if call[1] is service}) if is_here else Counter()
        )
        if is_here:
            del self.by_name[service.name]
            self.left.append(service)
        self.forget(service)

    @rule(client=clients, name=NAMES)
    def link(self, client: ClientMember[Any], name: str) -> None:
        service = self.by_name.get(name)
        expected: type[NetworkError] | None = None
        if service is None:
            expected = UnknownServiceError
        elif (client, service) not in self.links and (self.is_locked(service) or self.is_full(service)):
            expected = LinkError
        if self.refused(expected, self.registry.link, client, name) is not None:
            assert service is not None
            self.links.add((client, service))

    @rule(client=clients, name=NAMES)
    def unlink(self, client: ClientMember[Any], name: str) -> None:
        service = self.by_name.get(name)
        is_linked = service is None or (client, service) in self.links
        found = self.refused(None if is_linked else NotLinkedError, self.registry.unlink, client, name)
        if is_linked:
            assert found is service
        if service is not None:
            self.links.discard((client, service))
            self.locks.pop((client, service), None)

    @rule(client=clients, name=NAMES, shared=st.booleans())
    def acquire_lock(self, client: ClientMember[Any], name: str, shared: bool) -> None:
        service = self.by_name.get(name)
        expected: type[NetworkError] | None = None
        if service is None:
            expected = UnknownServiceError
        elif (client, service) not in self.links or (not shared and len(self.linked(service)) > 1):
            expected = LockError
        if self.refused(expected, self.registry.acquire_lock, client, name, shared=shared) is not None:
            assert service is not None
            self.locks[client, service] = shared

    @rule(client=clients, name=NAMES)
    def release_lock(self, client: ClientMember[Any], name: str) -> None:
        service = self.by_name.get(name)
        expected = UnknownServiceError if service is None else None
        assert self.refused(expected, self.registry.release_lock, client, name) is service
        if service is not None:
            self.locks.pop((client, service), None)

    @rule(client=clients, name=NAMES, uid=UIDS)
    def request(self, client: ClientMember[Any], name: str, uid: object) -> None:
        service = self.by_name.get(name)
        if service is None:
            return
        expected: type[NetworkError] | None = None
        if (client, service) not in self.links and (self.is_locked(service) or self.is_full(service)):
            expected = LinkError
        elif self.open_calls(client) >= MAX_CALLS or self.open_calls(service) >= MAX_CALLS * BUSY_CLIENTS:
            expected = BusyError
        self.refused(expected, self.registry.request, client, service, uid)
        if expected is None:
            self.calls[client, service, uid] += 1

    @rule(client=clients, name=NAMES, uids=st.lists(UIDS, min_size=1, max_size=3))
    def request_all(self, client: ClientMember[Any], name: str, uids: list[object]) -> None:
        service = self.by_name.get(name)
        if service is None:
            return
        is_usual = (
            (client, service) in self.links
            and len(set(uids)) == len(uids)
            and not any(self.calls[client, service, uid] for uid in uids)
            and self.open_calls(client) + len(uids) <= MAX_CALLS
            and self.open_calls(service) + len(uids) <= MAX_CALLS * BUSY_CLIENTS
        )
        assert self.registry.request_all(client, service, uids) is is_usual
        if is_usual:
            self.calls.update((client, service, uid) for uid in uids)

    @rule(client=clients, service=services, uids=st.lists(UIDS, min_size=1, max_size=3))
    def reply_all(self, client: ClientMember[Any], service: ServiceMember[Any], uids: list[object]) -> None:
        is_usual = len(set(uids)) == len(uids) and all(self.calls[client, service, uid] == 1 for uid in uids)
        found = self.registry.reply_all(service, client.name, uids)
        assert found is (client if is_usual else None)
        if is_usual:
            self.calls.subtract((client, service, uid) for uid in uids)

    @rule(client=clients, service=services, uid=UIDS)
    def reply(self, client: ClientMember[Any], service: ServiceMember[Any], uid: object) -> None:
        is_open = self.calls[client, service, uid] > 0
        found = self.registry.reply(service, client.name, uid)
        assert found is (client if is_open else None)
        if is_open:
            self.calls[client, service, uid] -= 1

    @rule(client=clients, service=services, uid=UIDS)
    def withdraw(self, client: ClientMember[Any], service: ServiceMember[Any], uid: object) -> None:
        """It is taken back as if it had been answered; if it was not open, nothing happens."""
        self.registry.withdraw(client, service, uid)
        if self.calls[client, service, uid] > 0:
            self.calls[client, service, uid] -= 1

    @rule(service=services, uid=UIDS)
    def reply_to_one_who_was_here(self, service: ServiceMember[Any], uid: object) -> None:
        for gone in self.left:
            if gone.name not in self.registry.clients:
                assert self.registry.reply(service, gone.name, uid) is None
                assert self.registry.reply_all(service, gone.name, [uid]) is None

    @rule(service=services, name=st.sampled_from(["A", "A[h:2]", "", "A[h:1#9]"]), uid=UIDS)
    def reply_to_nobody(self, service: ServiceMember[Any], name: str, uid: object) -> None:
        assert self.registry.reply(service, name, uid) is None

    @invariant()
    def the_books_are_right(self) -> None:
        assert set(self.registry.clients.values()) == set(self.members)
        assert self.registry.services == self.by_name
        assert all(member.name == name for name, member in self.registry.clients.items())
        for client in self.members:
            assert set(client.links) == {service for other, service in self.links if other is client}
            assert client.open_calls == self.open_calls(client)
        for service in self.by_name.values():
            assert set(service.links) == self.linked(service)
            assert {(client, service): shared for client, shared in service.locks.items()} == {
                link: shared for link, shared in self.locks.items() if link[1] is service
            }
            assert service.is_full is self.is_full(service)
            assert service.open_calls == self.open_calls(service)
            assert service.open_calls == sum(sum(uids.values()) for uids in service.calls.values())

    @invariant()
    def links_are_symmetric(self) -> None:
        """Each side of a link knows the other, locks are held by linked Clients only."""
        for service in self.registry.services.values():
            assert all(service in client.links for client in service.links)
            assert set(service.locks) <= set(service.links)
            assert list(service.locks.values()) in ([False], [True] * len(service.locks))
        for client in self.registry.clients.values():
            assert all(client in service.links for service in client.links)

    @invariant()
    def nobody_who_left_appears(self) -> None:
        """Whoever is mentioned anywhere is connected."""
        for service in self.registry.services.values():
            assert {*service.links, *service.locks, *service.calls} <= set(self.members)
        for client in self.registry.clients.values():
            assert set(client.links) <= set(self.by_name.values())
        for member in self.left:
            assert_empty(member)


def assert_empty(member: ClientMember[Any] | ServiceMember[Any]) -> None:
    """Who left holds nothing, and nobody."""
    assert not member.links
    assert member.open_calls == 0
    if isinstance(member, ServiceMember):
        assert not member.locks
        assert not member.calls


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=200, stateful_step_count=60)
