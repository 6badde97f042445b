"""One connected peer, without a socket."""

from __future__ import annotations

import json
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import AuthenticationError, LineTooLongError
from msl_network.long_line import LongLine
from msl_network.messages import Prompt
from msl_network.outbox import flush
from msl_network.peer import LINES_A_LOOK, LONG_TO_READ, MAX_WAITING_WORK, TURN, Peer, PeerLost
from msl_network.protocol import Event, State

from .wire_peer import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msl_network.wire import Line

pytestmark = pytest.mark.anyio

PROMPT = Prompt(attribute="username", requester="Manager[h:1]")


class Wire:
    """A transport that keeps what is written."""

    certificate = None

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_paused = False
        self.later: list[Callable[[], None]] = []
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        raise AssertionError

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.later.append(callback)


def text(line: Line) -> bytes:
    assert isinstance(line, bytes)
    return line


def never(work: object) -> None:
    raise AssertionError


async def resolve(ip_address: str) -> str:
    return {"192.0.2.1": "lab.example.org"}.get(ip_address, ip_address)


def make(**changes: Any) -> tuple[Peer, Wire]:
    settings: dict[str, Any] = {
        "ip_address": "192.0.2.1",
        "port": 5,
        "is_local": False,
        "hostname": "here",
        "codec": JsonLinesCodec(),
        "touched": [],
        "busy": set(),
        "handshake_limit": 1000,
        "outbox_limit": 1000,
        "outbox_timeout": 5.0,
        "resolve": resolve,
        **changes,
    }
    peer, wire = Peer(**settings), Wire()
    peer.attach(wire)
    return peer, wire


async def test_names() -> None:
    """A peer of another computer has its address until its name is looked up, once; a local one has ours."""
    peer, _ = make()
    assert (peer.domain, peer.hostname, peer.address) == ("192.0.2.1", "192.0.2.1", "192.0.2.1:5")
    assert await peer.resolve_hostname() == await peer.resolve_hostname() == "lab"
    assert (peer.domain, peer.address) == ("lab.example.org", "lab:5")
    assert peer.network_name == "<Unknown>[lab:5]"
    nameless, _ = make(ip_address="2001:db8::1")
    assert await nameless.resolve_hostname() == "2001:db8::1"
    local, _ = make(ip_address="127.0.0.1", is_local=True)
    assert await local.resolve_hostname() == "localhost"
    assert local.address == "here:5"
    assert repr(local) == "<Peer <Unknown>[here:5]>"


async def test_outbox_is_flushed_once() -> None:
    """What is put into the outbox during a chunk is written at its end, in one piece."""
    peer, wire = make()
    peer.receive = lambda peer, line: peer.enqueue(text(line) + b"!")
    peer.feed(b"a\nb\nc\n")
    assert wire.writes == [b"a!b!c!"]


async def test_outbox_waits() -> None:
    """15. While the transport has enough, the outbox keeps everything, and counts it."""
    peer, wire = make()
    peer.pause_writing()
    peer.send(b"12345")
    peer.send(b"678")
    assert wire.writes == []
    assert peer.outbox.size == 8
    peer.resume_writing()
    assert wire.writes == [b"12345678"]
    assert peer.outbox.size == 0


async def test_full_outbox(caplog: pytest.LogCaptureFixture) -> None:
    """Half full is congested, over the limit is full, and one more byte ends the connection, said once.

    Nothing is kept then: nobody waits for what is not taken.
    """
    peer, _ = make()
    peer.pause_writing()
    peer.send(b"x" * 501)
    assert peer.outbox.is_congested
    assert not peer.outbox.is_full
    peer.send(b"x" * 500)
    assert peer.outbox.size == 1001
    assert peer.connection.state is State.HANDSHAKE
    peer.send(b"x")
    peer.send(b"x")
    assert peer.is_closing
    assert peer.outbox.size == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_lost_notifications(caplog: pytest.LogCaptureFixture) -> None:
    """Dropped notifications are counted and said once, but not of a peer that has gone."""
    peer, _ = make()
    peer.lose_notifications("Echo", 1)
    peer.lose_notifications("Echo", 2)
    assert peer.outbox.lost == {"Echo": 3}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    gone, _ = make()
    gone.lost()
    gone.lose_notifications("Echo", 1)
    assert gone.outbox.lost == {}
    assert len(caplog.records) == 1


async def test_ask() -> None:
    """A question is sent, and the next line answers it: JSON, text, or a line that came early."""
    peer, wire = make()
    peer.feed(b'{"result": [1]}\nplain text  \n')
    assert await peer.ask(PROMPT) == [1]
    assert json.loads(wire.writes[0])["attribute"] == "username"
    assert await peer.ask(PROMPT) == "plain text"
    peer.feed(b'{"no": "result"}\n')
    assert await peer.ask(PROMPT) == '{"no": "result"}'
    assert peer.connection.state is State.HANDSHAKE


async def test_ask_somebody_who_leaves() -> None:
    """Who asks a peer that leaves is told so, also when it left before."""
    peer, _ = make()
    async with anyio.create_task_group() as task_group:

        async def ask() -> None:
            with pytest.raises(PeerLost):
                await peer.ask(PROMPT)

        task_group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        peer.lost()
    other, _ = make()
    other.lost()
    with pytest.raises(PeerLost):
        await other.ask(PROMPT)


async def test_prompt_is_withdrawn() -> None:
    """A prompt that nobody answers in time is withdrawn, and a late line is no answer to the next one."""
    peer, _ = make()
    peer.connection.send(Event.ACCEPT_CLIENT)
    with anyio.move_on_after(0):
        await peer.ask(PROMPT)
    assert peer.connection.state is State.CLIENT
    assert not peer.is_prompted


async def test_early_lines_wait() -> None:
    """Nothing more is read while a line waits that was not asked for; then the next one is."""
    peer, wire = make()
    peer.feed(b"1\n2\n3")
    assert wire.is_paused
    assert await peer.ask(PROMPT) == "1"
    assert await peer.ask(PROMPT) == "2"
    assert wire.is_paused
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(peer.ask, PROMPT)
        await anyio.wait_all_tasks_blocked()
        assert [wire.is_paused] == [False]
        peer.feed(b"3\n")


async def test_an_answer_stops_no_reading() -> None:
    """Reading goes on when the line that is asked for comes, which saves two system calls; a second one stops it."""
    peer, wire = make()
    for rest in (b"", b"2\n"):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(peer.ask, PROMPT)
            await anyio.wait_all_tasks_blocked()
            peer.feed(b"1\n" + rest)
            assert wire.is_paused is bool(rest)


async def test_stay() -> None:
    """Time passes while the peer is there; other lines of it change nothing, and are kept."""
    peer, _ = make()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(peer.ask, PROMPT)
        await anyio.wait_all_tasks_blocked()
        peer.feed(b"1\n")
    await peer.stay(0.01)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(peer.stay, 0.01)
        await anyio.wait_all_tasks_blocked()
        peer.feed(b"2\n")
    assert await peer.ask(PROMPT) == "2"


@pytest.mark.parametrize("is_connected", [False, True])
async def test_leaving_ends_a_stay(is_connected: bool) -> None:
    """Nobody waits for a peer that is gone: its end is noticed although it was not asked for anything."""
    peer, wire = make()
    if is_connected:
        peer.welcome(lambda peer, line: None, 1000, never)
    else:
        peer.feed(b"1\n")
        assert await peer.ask(PROMPT) == "1"
        assert wire.is_paused
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as task_group:

            async def stay() -> None:
                with pytest.raises(PeerLost):
                    await peer.stay(10 * DEADLINE)

            task_group.start_soon(stay)
            await anyio.wait_all_tasks_blocked()
            assert not wire.is_paused
            peer.lost()
        with pytest.raises(PeerLost):
            await peer.stay(10 * DEADLINE)


async def test_a_stay_reads_no_more_than_is_kept() -> None:
    """While a line waits that was not asked for, nothing more is read, so that a stranger cannot fill the memory."""
    peer, wire = make()
    peer.feed(b"1\n2\n")
    assert await peer.ask(PROMPT) == "1"
    await peer.stay(0.01)
    assert wire.is_paused
    peer.welcome(lambda peer, line: None, 1000, never)
    wire.pause_reading()  # because of its turns
    await peer.stay(0.01)
    assert wire.is_paused


async def test_turns() -> None:
    """17. Who sends much at once has its turn, then the others have theirs; nothing is read meanwhile, nor lost."""
    peer, wire = make()
    heard: list[bytes] = []

    def slow(peer: Peer, line: Line) -> None:
        heard.append(text(line))
        end = monotonic() + 0.001
        while monotonic() < end:
            pass

    peer.welcome(slow, 5000, never)
    peer.feed(b"".join(b"%d\n" % number for number in range(LINES_A_LOOK * 4)))
    assert len(heard) == LINES_A_LOOK
    assert wire.is_paused
    peer.feed(b"last\n")  # what was on its way when reading was paused
    while wire.later:
        wire.later.pop()()
    assert heard == [b"%d" % number for number in range(LINES_A_LOOK * 4)] + [b"last"]
    assert not wire.is_paused


async def test_turn_of_long_messages() -> None:
    """A message that may have taken long ends the turn if it did."""
    peer, wire = make()
    heard: list[int] = []

    def slow(peer: Peer, line: Line) -> None:
        assert isinstance(line, bytes)
        heard.append(len(line))
        end = monotonic() + 2 * TURN
        while monotonic() < end:
            pass

    peer.welcome(slow, 5000, never)
    peer.feed(b"short\n" + b"x" * (LONG_TO_READ + 1) + b"\nshort\nshort\n")
    assert heard == [5, LONG_TO_READ + 1]
    wire.later.pop()()
    assert heard == [5, LONG_TO_READ + 1, 5, 5]


async def test_nothing_is_kept_of_who_left() -> None:
    """4. A peer that is lost keeps none of what it sent, nor what holds it."""
    peer, _ = make()
    peer.feed(b"x" * 900)
    peer.lost()
    assert not peer._early
    assert peer.transport is None
    peer.feed(b"too late\n\n")
    assert not peer._early
    other, wire = make()
    other.welcome(lambda peer, line: None, 10_000, never)
    other.feed(b"x" * 9000)
    other.lost()
    assert other._lines.held == 0
    for callback in wire.later:
        callback()


async def test_long_line() -> None:
    """A line over the limit ends the connection: before it is connected with an error, afterwards without."""
    peer, wire = make()
    peer.feed(b"x" * 1001)
    assert wire.is_paused
    with pytest.raises(LineTooLongError, match="1000 bytes here"):
        await peer.ask(PROMPT)
    connected, wire = make()
    heard: list[Line] = []
    spawned: list[Any] = []
    connected.welcome(lambda peer, line: heard.append(line), 50, spawned.append)
    connected.feed(b"good\n" + b"x" * 51)
    connected.feed(b'", "uid": "u"}\n' + b"y\n" * 10)
    assert connected.connection.state is State.HANDSHAKE
    (drain,) = spawned
    await drain()  # until it is quiet
    assert connected.is_closing
    good, long = heard
    assert good == b"good"
    assert isinstance(long, LongLine)
    with pytest.raises(LineTooLongError, match="50 bytes") as caught:
        long.short()
    assert caught.value.uid == "u"
    assert wire.writes == []


async def test_welcome() -> None:
    """Lines that came before the peer was let in are handled then, in order; a longer line is possible from then on."""
    peer, _ = make()
    heard: list[Line] = []
    peer.feed(b"1\n2\n")
    peer.welcome(lambda peer, line: heard.append(line), 5000, never)
    peer.feed(b"x" * 3000 + b"\n")
    assert heard == [b"1", b"2", b"x" * 3000]


async def test_mistake_in_the_router(caplog: pytest.LogCaptureFixture) -> None:
    """If handling a line fails, that connection is closed, the log says why, and nothing is raised."""
    peer, _ = make()

    def fail(peer: Peer, line: Line) -> None:
        raise ZeroDivisionError

    peer.receive = fail
    peer.feed(b"x\n")
    assert peer.is_closing
    assert "ZeroDivisionError" in caplog.text


async def test_refuse_once() -> None:
    """A refusal is sent once, with its requester; a connection that is closed stays so."""
    peer, wire = make()
    peer.refuse(AuthenticationError("no"), "Manager[h:1]")
    peer.refuse(AuthenticationError("no"), "Manager[h:1]")
    peer.close()
    peer.feed(b"ignored\n")
    (line,) = wire.writes
    assert json.loads(line) == {
        "error": True,
        "message": "ValueError: no",
        "requester": "Manager[h:1]",
        "result": None,
        "traceback": [],
        "uid": "",
    }


async def test_work() -> None:
    """Work is done in order, by one task, from a bounded queue; a mistake in it costs that connection only."""
    peer, _ = make()
    done: list[int] = []
    spawned: list[Any] = []

    async def work(number: int) -> None:
        done.append(number)

    assert not peer.do(lambda: work(-1)), "it is not connected yet"
    peer.welcome(lambda peer, line: None, 1000, spawned.append)
    for number in range(MAX_WAITING_WORK):
        assert peer.do(lambda number=number: work(number))  # type: ignore[misc]
    assert not peer.do(lambda: work(-1))
    (work_off,) = spawned
    await work_off()
    assert done == list(range(MAX_WAITING_WORK))

    async def fail() -> None:
        raise ZeroDivisionError

    peer.do(fail)
    await spawned.pop()()
    assert peer.is_closing


async def test_work_of_a_peer_that_left() -> None:
    """4. What a peer asked for before it left is finished, unless it takes too long."""
    peer, _ = make()
    done: list[str] = []
    goes_on = anyio.Event()

    async def short() -> None:
        await goes_on.wait()
        done.append("short")

    async def long() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            done.append("cancelled")

    async with anyio.create_task_group() as task_group:

        def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
            task_group.start_soon(work)

        peer.welcome(lambda peer, line: None, 1000, spawn)
        peer.do(short)
        peer.lost()
        await peer.closing()
        goes_on.set()
        await peer.finish(DEADLINE)
        assert done == ["short"]
        peer.do(long)
        await peer.finish(0.05)
        await until(lambda: done == ["short", "cancelled"])
        await peer.finish(DEADLINE)


async def test_nothing_to_nobody() -> None:
    """Nothing is written to a peer that is gone, or has no transport yet."""
    peer, wire = make()
    peer.lost()
    peer.send(b"x")
    assert wire.writes == []
    early = make()[0]
    early.transport = early.outbox.transport = None
    early.send(b"x")
    early.attach(wire)
    flush([early.outbox])
    assert wire.writes == [b"x"]
