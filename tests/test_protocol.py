from __future__ import annotations

import inspect
import itertools
import re

import pytest

from msl_network import protocol
from msl_network.errors import MessageError
from msl_network.protocol import MOVES, Connection, Event, Role, State

EVERY = list(itertools.product(State, Role, Event))


def other(role: Role) -> Role:
    return next(each for each in Role if each is not role)


def connection(state: State, role: Role) -> Connection:
    made = Connection(role)
    made.state = state
    return made


def test_the_table_is_complete() -> None:
    """It says for each state and each end what may be sent, and each event is possible somewhere."""
    assert set(MOVES) == set(State)
    assert all(set(roles) == set(Role) for roles in MOVES.values())
    possible = {event for roles in MOVES.values() for moves in roles.values() for event in moves}
    assert possible == set(Event)


def test_the_docstring_names_each_state() -> None:
    """The module's docstring says what each state means."""
    drawn = re.findall(r"^    ([A-Z]+)  +\w", inspect.getsource(protocol), re.MULTILINE)
    assert drawn == [state.name for state in State]


def test_every_state_is_reachable() -> None:
    """From the beginning every state can be reached, and from each the end."""
    edges = {state: {after for moves in roles.values() for after in moves.values()} for state, roles in MOVES.items()}
    reached = {State.HANDSHAKE}
    for _ in State:
        reached |= {after for state in reached for after in edges[state]}
    assert reached == set(State)
    assert all(State.CLOSED in edges[state] for state in State if state is not State.CLOSED)


def test_closed_is_final() -> None:
    """On a closed connection nobody may send anything."""
    assert MOVES[State.CLOSED] == {Role.MANAGER: {}, Role.PEER: {}}


def test_either_end_may_leave_at_any_time() -> None:
    """The end of the connection is possible in each state, from both, and leads nowhere else."""
    for state in set(State) - {State.CLOSED}:
        for role in Role:
            assert MOVES[state][role][Event.CLOSE] is State.CLOSED


def test_a_connection_begins_with_the_handshake() -> None:
    """The Manager has the first word, and the peer may only leave."""
    for role in Role:
        assert Connection(role).state is State.HANDSHAKE
        assert role.other is other(role)
    assert set(MOVES[State.HANDSHAKE][Role.PEER]) == {Event.CLOSE}


@pytest.mark.parametrize(("state", "sender", "event"), EVERY)
def test_every_move(state: State, sender: Role, event: Event) -> None:
    """Both ends agree: a legal move leads where the table says, any other changes nothing and is explained."""
    ends = [(connection(state, sender), "send"), (connection(state, other(sender)), "receive")]
    legal = MOVES[state][sender]
    assert ends[1][0].may_receive(event) is (event in legal)
    for end, move in ends:
        if event in legal:
            getattr(end, move)(event)
            assert end.state is legal[event]
            continue
        with pytest.raises(MessageError) as info:
            getattr(end, move)(event)
        assert end.state is state
        text = str(info.value)
        assert text.startswith(f"{event.value} from {sender.value} is not possible")
        assert state.value in text
        assert text.endswith("possible now: " + (", ".join(each.value for each in legal) or "nothing"))


def test_a_client_that_logs_in_as_an_administrator() -> None:
    """A session as a story: asked twice, connected, asked in mid-session, working meanwhile, gone."""
    manager, peer = Connection(Role.MANAGER), Connection(Role.PEER)
    for sender, event, state in [
        (manager, Event.PROMPT, State.ASKED),
        (peer, Event.ANSWER, State.HANDSHAKE),
        (manager, Event.PROMPT, State.ASKED),
        (peer, Event.ANSWER, State.HANDSHAKE),
        (manager, Event.ACCEPT_CLIENT, State.CLIENT),
        (peer, Event.REQUEST, State.CLIENT),
        (manager, Event.PROMPT, State.PROMPTED),
        (peer, Event.REQUEST, State.PROMPTED),
        (manager, Event.REPLY, State.PROMPTED),
        (peer, Event.ANSWER, State.CLIENT),
        (manager, Event.PROMPT, State.PROMPTED),
        (manager, Event.WITHDRAW, State.CLIENT),
        (peer, Event.DISCONNECT, State.CLOSED),
    ]:
        receiver = peer if sender is manager else manager
        sender.send(event)
        receiver.receive(event)
        assert (sender.state, receiver.state) == (state, state)
