"""One connection as a table: in which state who may send what, and where that leads.

    HANDSHAKE  the Manager has the word: it asks, accepts or refuses
    ASKED      the Manager waits for the answer to a question of the handshake
    CLIENT     the peer is connected as a Client
    PROMPTED   a connected Client is asked for an administrator's credentials; it may go on working meanwhile
    SERVICE    the peer is connected as a Service
    CLOSED     nothing may be sent any more

Rule of this file: everything that decides whether a message is legal now is in `MOVES`; both roles read the
same table. It must not know names, links or payloads, or how a message is encoded.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .errors import MessageError

__all__ = ["MOVES", "Connection", "Event", "Role", "State"]


class Role(Enum):
    """The two ends of a connection."""

    MANAGER = "the Manager"
    PEER = "the peer"

    @property
    def other(self) -> Role:
        """The opposite end."""
        return Role.PEER if self is Role.MANAGER else Role.MANAGER


class State(Enum):
    """Where a connection is; the module's table says what each means."""

    HANDSHAKE = "in the handshake"
    ASKED = "asked in the handshake"
    CLIENT = "connected as a Client"
    PROMPTED = "a Client asked for credentials"
    SERVICE = "connected as a Service"
    CLOSED = "closed"


class Event(Enum):
    """What one end says to the other. The acceptances and a withdrawal are silent: nothing travels."""

    PROMPT = "a question"
    WITHDRAW = "the withdrawal of a question"
    ANSWER = "an answer to a question"
    ACCEPT_CLIENT = "the acceptance as a Client"
    ACCEPT_SERVICE = "the acceptance as a Service"
    REFUSE = "a refusal"
    REQUEST = "a request"
    REPLY = "a reply"
    NOTIFICATION = "a notification"
    FAILURE = "an error"
    DISCONNECT = "a good-bye"
    CLOSE = "the end of the connection"


MOVES: Final[dict[State, dict[Role, dict[Event, State]]]] = {
    State.HANDSHAKE: {
        Role.MANAGER: {
            Event.PROMPT: State.ASKED,
            Event.ACCEPT_CLIENT: State.CLIENT,
            Event.ACCEPT_SERVICE: State.SERVICE,
            Event.REFUSE: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
        Role.PEER: {Event.CLOSE: State.CLOSED},
    },
    State.ASKED: {
        Role.MANAGER: {Event.REFUSE: State.CLOSED, Event.CLOSE: State.CLOSED},
        Role.PEER: {Event.ANSWER: State.HANDSHAKE, Event.CLOSE: State.CLOSED},
    },
    State.CLIENT: {
        Role.MANAGER: {
            Event.REPLY: State.CLIENT,
            Event.NOTIFICATION: State.CLIENT,
            Event.FAILURE: State.CLIENT,
            Event.PROMPT: State.PROMPTED,
            Event.REFUSE: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
        Role.PEER: {
            Event.REQUEST: State.CLIENT,
            Event.DISCONNECT: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
    },
    State.PROMPTED: {
        Role.MANAGER: {
            Event.REPLY: State.PROMPTED,
            Event.NOTIFICATION: State.PROMPTED,
            Event.FAILURE: State.PROMPTED,
            Event.WITHDRAW: State.CLIENT,
            Event.REFUSE: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
        Role.PEER: {
            Event.REQUEST: State.PROMPTED,
            Event.ANSWER: State.CLIENT,
            Event.DISCONNECT: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
    },
    State.SERVICE: {
        Role.MANAGER: {
            Event.REQUEST: State.SERVICE,
            Event.FAILURE: State.SERVICE,
            Event.REFUSE: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
        Role.PEER: {
            Event.REPLY: State.SERVICE,
            Event.NOTIFICATION: State.SERVICE,
            Event.DISCONNECT: State.CLOSED,
            Event.CLOSE: State.CLOSED,
        },
    },
    State.CLOSED: {Role.MANAGER: {}, Role.PEER: {}},
}
"""State, who sends, what is sent: the next state. What is not in the table is not legal."""


class Connection:
    """Where one connection is in the protocol.

    Args:
        role: Which end we are.
    """

    __slots__ = ("role", "state")

    def __init__(self, role: Role) -> None:
        self.role = role
        self.state = State.HANDSHAKE

    def may_receive(self, event: Event) -> bool:
        """Whether the other end may send this now."""
        return event in MOVES[self.state][self.role.other]

    def send(self, event: Event) -> None:
        """Note that we send this.

        Raises:
            MessageError: If we may not; the state is unchanged.
        """
        self._move(self.role, event)

    def receive(self, event: Event) -> None:
        """Note that the other end sent this.

        Raises:
            MessageError: If it may not; the state is unchanged.
        """
        self._move(self.role.other, event)

    def _move(self, sender: Role, event: Event) -> None:
        legal = MOVES[self.state][sender]
        try:
            self.state = legal[event]
        except KeyError:
            allowed = ", ".join(other.value for other in legal) or "nothing"
            raise MessageError(
                f"{event.value} from {sender.value} is not possible on a connection that is "
                f"{self.state.value}; possible now: {allowed}"
            ) from None
