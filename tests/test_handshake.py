from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from msl_network.errors import AuthenticationError, BusyError
from msl_network.handshake import Handshake
from msl_network.peer import PeerLost
from msl_network.throttle import FREE, LONGEST, Throttle

if TYPE_CHECKING:
    from msl_network.messages import Prompt

pytestmark = pytest.mark.anyio


class FakePeer:
    """Answers what it is asked, or leaves. Its clock goes while it is held back, and when it takes time to answer."""

    ip_address = "192.0.2.1"

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.prompts: list[Prompt] = []
        self.handshake: Handshake | None = None
        self.seen: list[str] = []
        self.now = 1000.0
        self.takes = 0.0
        self.held: list[float] = []
        self.while_held: list[Any] = []

    def clock(self) -> float:
        return self.now

    async def ask(self, prompt: Prompt) -> Any:
        self.now += self.takes
        self.prompts.append(prompt)
        if self.handshake is not None:
            self.seen.append(self.handshake.waiting_for)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stay(self, seconds: float) -> None:
        self.held.append(seconds)
        self.now += seconds
        if self.while_held:
            self.while_held.pop(0)()


def shake(peer: FakePeer, throttle: Throttle | None = None) -> Handshake:
    peer.handshake = Handshake(peer, "Manager[lab:1875]", throttle)  # type: ignore[arg-type]
    return peer.handshake


def throttled(peer: FakePeer, failures: int) -> Throttle:
    throttle = Throttle(LONGEST, peer.clock)
    for _ in range(failures):
        throttle.fail(peer.ip_address)
    return throttle


async def test_question_is_a_request_of_the_manager() -> None:
    """The peer is sent attribute and arguments in the name of the Manager."""
    peer = FakePeer("1234")
    assert await shake(peer).ask("password", "badge reader", 5) == "1234"
    (prompt,) = peer.prompts
    assert prompt.attribute == "password"
    assert list(prompt.args) == ["badge reader", 5]
    assert prompt.requester == "Manager[lab:1875]"


async def test_answers_pass_as_they_are() -> None:
    """Whatever JSON value the peer answers is what the plugin gets."""
    answers: list[object] = [None, False, 0, "", {"a": [1]}, 1.5]
    handshake = shake(FakePeer(*answers))
    assert [await handshake.ask("x") for _ in answers] == answers


async def test_what_is_waited_for_is_known() -> None:
    """While a peer is asked it is known for what, for the record of one that leaves; afterwards it is not."""
    peer = FakePeer("me", "secret")
    handshake = shake(peer)
    assert handshake.waiting_for == ""
    await handshake.ask("username")
    await handshake.ask("password", "me")
    assert peer.seen == ["username", "password"]
    assert handshake.waiting_for == ""


async def test_peer_that_leaves_is_lost() -> None:
    """A peer that leaves in place of an answer ends the question, and it is known what was asked."""
    handshake = shake(FakePeer(PeerLost("gone")))
    with pytest.raises(PeerLost, match="gone"):
        await handshake.ask("password")
    assert handshake.waiting_for == "password"


async def test_network_name_is_that_of_the_manager() -> None:
    """Plugins pass the network name on: a Client knows by it which password is meant."""
    assert shake(FakePeer()).network_name == "Manager[lab:1875]"


# Guessing


@pytest.mark.parametrize(("failures", "held"), [(0, []), (FREE, []), (FREE + 1, [1.0]), (FREE + 4, [5.0])])
async def test_answers_are_held_back(failures: int, held: list[float]) -> None:
    """30. After failures from this address an answer comes late, whatever it is."""
    for answer in "right", "wrong", None:
        peer = FakePeer(answer)
        assert await shake(peer, throttled(peer, failures)).ask("password") == answer
        assert peer.held == held


async def test_an_attempt_is_held_back_once() -> None:
    """30. Several questions of one attempt cost one delay."""
    peer = FakePeer("ada", "secret", "1234")
    handshake = shake(peer, throttled(peer, 50))
    for attribute in "username", "password", "badge":
        await handshake.ask(attribute)
    assert peer.held == [5.0]


async def test_who_types_is_hardly_held_back() -> None:
    """30. The time that somebody takes to answer is part of the delay: nobody waits for longer than that."""
    peer = FakePeer("ada", "secret")
    peer.takes = 3.0
    handshake = shake(peer, throttled(peer, 50))
    await handshake.ask("username")
    await handshake.ask("password")
    assert peer.held == [2.0]


async def test_failures_meanwhile_count() -> None:
    """30. When other attempts from this address fail while an answer is held back, it is held back for longer."""
    peer = FakePeer("ada", "secret")
    throttle = throttled(peer, FREE + 1)
    peer.while_held = [lambda: throttle.fail(peer.ip_address)] * 2
    handshake = shake(peer, throttle)
    await handshake.ask("username")
    assert peer.held == [1.0, 1.0, 2.0]
    throttle.fail(peer.ip_address)
    await handshake.ask("password")
    assert peer.held == [1.0, 1.0, 2.0, 1.0]


async def test_what_proves_nothing_is_not_held_back() -> None:
    """30. Without a throttle, as for the identity, answers come at once, and refusals do not count."""
    peer = FakePeer({"type": "client"})
    handshake = shake(peer)
    await handshake.ask("identity")
    handshake.refused()
    assert peer.held == []


async def test_peer_that_leaves_while_it_is_held_back() -> None:
    """Its answer is not handed on, so it learns nothing and nobody works for it."""
    peer = FakePeer("secret")
    throttle = throttled(peer, 50)

    def leave() -> None:
        raise PeerLost("gone")

    peer.while_held = [leave]
    handshake = shake(peer, throttle)
    with pytest.raises(PeerLost):
        await handshake.ask("password")
    assert handshake.waiting_for == "password"


async def test_what_counts_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """30. A refusal counts if something was answered and checked; the log says once that attempts are slowed down."""
    caplog.set_level(logging.DEBUG)
    peer = FakePeer(*"123456")
    throttle = throttled(peer, FREE)
    shake(peer, throttle).refused(AuthenticationError("the computer is not trusted"))
    handshake = shake(peer, throttle)
    await handshake.ask("password")
    handshake.refused(BusyError("too many wait"))
    assert throttle.delay(peer.ip_address) == 0
    assert caplog.text == ""
    delays = []
    for error in AuthenticationError("wrong"), None, AuthenticationError("wrong"):
        handshake = shake(peer, throttle)
        await handshake.ask("password")
        handshake.refused(error)
        delays.append(throttle.delay(peer.ip_address))
    assert delays == [1.0, 2.0, 4.0]
    assert caplog.messages == ["attempts to log in from 192.0.2.1 are slowed down, too many failed"]
