from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from msl_network.handshake import Handshake
from msl_network.peer import PeerLost

if TYPE_CHECKING:
    from msl_network.messages import Prompt

pytestmark = pytest.mark.anyio


class FakePeer:
    """Answers what it is asked, or leaves."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.prompts: list[Prompt] = []
        self.handshake: Handshake | None = None
        self.seen: list[str] = []

    async def ask(self, prompt: Prompt) -> Any:
        self.prompts.append(prompt)
        if self.handshake is not None:
            self.seen.append(self.handshake.waiting_for)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def shake(peer: FakePeer) -> Handshake:
    peer.handshake = Handshake(peer, "Manager[lab:1875]")  # type: ignore[arg-type]
    return peer.handshake


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
