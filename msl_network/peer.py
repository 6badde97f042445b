"""One connected peer: what is known of it, the synchronous way in, and the bounded way out.

    transport --feed--> lines --> receive(peer, line)        whoever has the word: the handshake, later the router
    enqueue --> outbox --flush--> transport                  never waits, see `outbox`

Rule of this file: nothing here awaits another peer, and nothing waits at all but `ask`, `closing`, `stay`, `hear_out`,
`finish` and `resolve_hostname`. It must not know what a message means, which plugins exist, or what a socket is.
"""

from __future__ import annotations

import ipaddress
import logging
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from .errors import LineTooLongError, NetworkError
from .events import OneWaits, one_waits
from .long_line import LongLine
from .messages import Failure, Prompt
from .outbox import Outbox, flush
from .protocol import Connection, Event, Role, State
from .wire import LongLineBuffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .codec import Codec
    from .fanout import Fanout
    from .outbox import Touched
    from .registry import ClientMember, ServiceMember
    from .transport import Transport
    from .wire import Line

__all__ = ["Peer", "PeerLost"]

logger = logging.getLogger("msl_network")

MAX_WAITING_WORK = 256
"""How many administrator requests of one Client may wait; they run one after the other."""


TURN = 0.005
"""How long the messages of one peer are handled at a stretch, in seconds; then the others have their turn."""

DRAIN = 10.0
"""How long a peer may go on sending after a message that is too long, in seconds."""

QUIET = 0.1
"""How long it must be quiet before the connection is closed, in seconds."""

TOGETHER = 64
"""How many messages are handled together at most; then the clock is looked at."""

LINES_A_LOOK = 16
"""After how many messages the clock is looked at: looking costs a tenth of a message."""

LONG_TO_READ = 256
"""After a longer message the clock is looked at, too, in bytes: 4 KiB that a person types take 30 ms at worst."""


class PeerLost(NetworkError):  # noqa: N818 - it is an event, and no error of anybody
    """Raised in the handshake when the peer is gone. Nobody is told: there is nobody."""


class Peer:
    """One connection, from its first byte to its last.

    Args:
        ip_address: The numeric address of the peer.
        port: Its TCP port.
        is_local: Whether it runs on this computer.
        hostname: The name of this computer, by which local peers are known.
        codec: Reads and writes its messages.
        touched: The outboxes, and others, that have something to send; whoever fed a chunk flushes them.
        busy: Where a peer puts itself while its messages wait for their turn; all of them share one.
        handshake_limit: The longest line before the peer is connected, in bytes.
        outbox_limit: How many bytes are kept for a peer that does not read.
        outbox_timeout: How long a peer may take nothing of what is kept for it, in seconds.
        resolve: Finds the host name of an address.
    """

    # a quarter of the memory of a dictionary, for each of a thousand peers
    __slots__ = (
        "__dict__",  # plugins may keep something of their own
        "__weakref__",
        "_answered",
        "_answers",
        "_busy",
        "_early",
        "_is_heard",
        "_is_lost",
        "_is_reading",
        "_is_working",
        "_lines",
        "_resolve",
        "_spawn",
        "_touched",
        "_turns",
        "_wake",
        "_work",
        "_working",
        "address",
        "authorized",
        "certificate",
        "codec",
        "connection",
        "domain",
        "dropped",
        "enqueue",
        "enqueue_all",
        "fanout",
        "has_joined",
        "has_worked",
        "hostname",
        "ip_address",
        "is_admin",
        "is_local",
        "is_prompted",
        "member",
        "network_name",
        "outbox",
        "port",
        "receive",
        "receive_all",
        "roles",
        "scope",
        "shown_out",
        "silent_since",
        "transport",
        "turn_ends",
        "username",
    )

    def __init__(  # noqa: PLR0915 - it only says what is known of a peer
        self,
        *,
        ip_address: str,
        port: int,
        is_local: bool,
        hostname: str,
        codec: Codec,
        touched: list[Touched],
        busy: set[Peer],
        handshake_limit: int,
        outbox_limit: int,
        outbox_timeout: float,
        resolve: Callable[[str], Awaitable[str]],
    ) -> None:
        self.ip_address = ip_address
        """Its numeric address."""
        self.port = port
        """Its TCP port."""
        self.is_local = is_local
        """Whether it runs on the same computer as the Manager."""
        self.domain = "localhost" if is_local else ip_address
        """Its fully qualified host name; the address until `resolve_hostname` found one."""
        self.hostname = self.domain
        """The first label of the host name; the address until `resolve_hostname` found a name."""
        self.address = f"{hostname if is_local else ip_address}:{port}"
        """``HOST:PORT`` as others see it; HOST of a local peer is the Manager's host name."""
        self.username = ""
        """Who logged in, if an authentication plugin found out."""
        self.is_admin = False
        """Whether it may send administrator requests."""
        self.roles: frozenset[str] = frozenset()
        """Its roles, if an authentication plugin found out; what they mean, a plugin that authorizes knows."""
        self.certificate: dict[str, Any] | None = None
        """The certificate that it showed, verified, as ``ssl.SSLSocket.getpeercert`` has it; None without one."""
        self.network_name = f"<Unknown>[{self.address}]"
        """``NAME[HOST:PORT]``, by which others know it."""

        self.silent_since = monotonic()
        """Since when it says nothing, though it is its turn in the handshake; infinity if it is not."""
        self.has_worked = False
        """Whether something was done for it that may take its time: then the clock is looked at."""
        self.turn_ends = 0.0
        """Until when what it sent may be handled at a stretch."""
        self.dropped = 0
        """How many lines of it were dropped because nobody waits for them."""
        self.has_joined = False
        """Whether it was let in, ever."""
        self.shown_out = ""
        """Why it had to make room for another in the handshake, if it had to."""
        self.scope: anyio.CancelScope | None = None
        """Ends the handshake."""

        self.codec = codec
        self.connection = Connection(Role.MANAGER)
        self.member: ClientMember[Peer] | ServiceMember[Peer] | None = None
        self.transport: Transport | None = None
        self.receive: Callable[[Peer, Line], None] | None = None
        """Who gets the lines; None until the peer is connected, or closed."""
        self.receive_all: Callable[[Peer, list[bytes]], int] | None = None
        """Who gets some lines at once, and returns how many of them are handled: those up to the end of the turn,
        or none if they have to come one by one."""
        self.is_prompted = False
        """Whether it is connected and was asked for an administrator's credentials."""
        self.authorized: set[tuple[str, str]] = set()
        """What `authorize` allowed, by Service and attribute."""

        self._resolve: Callable[[str], Awaitable[str]] | None = None if is_local else resolve
        self._lines = LongLineBuffer(handshake_limit)
        self._early = bytearray()
        self._is_reading = True  # in the handshake
        self._turns: list[Line] = []
        self._answers: list[bytes] = []
        self._is_heard: bool | None = None  # while its last words are thrown away: whether there were any
        self._is_working = False
        self._working: anyio.CancelScope | None = None
        self._spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None] | None = None
        self._work: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._wake: anyio.Event | OneWaits | None = None  # while somebody waits for it, as the next one
        self._answered: anyio.Event | OneWaits | None = None
        self._touched = touched
        self._busy = busy
        self._is_lost = False
        self.outbox = Outbox(outbox_limit, outbox_timeout, touched, self._too_slow)
        """What is kept for the peer because it does not read."""
        self.fanout: Fanout | None = None
        """What a Service tells its Clients; None until it is let in."""
        self.enqueue = self.outbox.put  # one call less for each message
        """Put bytes into the outbox; `flush` sends them. A peer whose outbox is over its limit is disconnected."""
        self.enqueue_all = self.outbox.put_all
        """Put the parts of one message into the outbox."""

    def __repr__(self) -> str:
        return f"<Peer {self.network_name}>"

    def __str__(self) -> str:
        return self.network_name

    # What the transport calls

    def attach(self, transport: Transport) -> None:
        """Take the transport that carries this peer's bytes."""
        self.transport = self.outbox.transport = transport

    def feed(self, data: bytes) -> None:
        """Take bytes that the peer sent, act on each line that is complete, and send what follows from it.

        What takes longer than a turn goes on when the others had theirs; until then nothing more is read.
        """
        if self._is_heard is not None:
            self._is_heard = True
            self._handle(self._lines.feed(data))  # the end of what was too long has its uid
        elif self.receive is None:
            self._keep(data)
        elif self._turns:
            self._turns.extend(self._lines.feed(data))
        else:
            lines = self._lines.feed(data)
            if not self._handle(lines):
                self._turns.extend(lines)
                self._hold()
            elif self._lines.overflow:
                self._overflow()
        if self._touched:
            flush(self._touched)

    def lost(self) -> None:
        """Note that nothing more will come from the peer, and keep nothing of what came."""
        self._is_lost = True
        self.receive, self.receive_all = Peer._ignore_line, None
        self.transport = None
        self._lines = LongLineBuffer(0)
        self.outbox.close()
        for kept in (self._early, self._turns, self._answers):
            kept.clear()
        self._busy.discard(self)
        self._wake_up()

    def pause_writing(self) -> None:
        """Note that the transport has enough to send."""
        self.outbox.pause()

    def resume_writing(self) -> None:
        """Note that the transport can take more."""
        self.outbox.resume()
        if not self.outbox.size:
            _set(self._wake)  # who closes the connection waits for that

    # Sending

    @property
    def held(self) -> int:
        """How many bytes are kept for the peer: what it does not read, and what it has not finished saying."""
        return self.outbox.size + self._lines.held

    def look(self, now: float) -> None:
        """See whether the peer reads. A Client that takes nothing of what is kept for it for too long is disconnected.

        Args:
            now: The time, in seconds, by a clock that only goes forward.
        """
        was_stuck = self.outbox.is_stuck
        self.outbox.look(now)
        if self.outbox.is_stuck and not was_stuck:
            if self.connection.state is State.SERVICE:
                logger.warning("%s reads nothing, who asks for it is told that it is busy", self.network_name)
            else:
                self._too_slow()

    def lose_notifications(self, service: str, count: int) -> None:
        """Note that notifications are dropped because the peer does not keep up; one that has gone loses nothing.

        Args:
            service: Whose.
            count: How many.
        """
        if self.is_closing:
            return
        lost = self.outbox.lost
        if service not in lost:
            logger.warning("%s does not keep up, notifications of %r to it are dropped", self.network_name, service)
        lost[service] = lost.get(service, 0) + count

    def tell_lost(self, service: str) -> int:
        """Return how many notifications of a Service were dropped; the peer is told now."""
        lost = self.outbox.lost.pop(service)
        logger.warning("%s keeps up again, %d notifications of %r were dropped", self.network_name, lost, service)
        return lost

    def send(self, data: bytes) -> None:
        """Put bytes into the outbox and send it."""
        self.enqueue(data)
        self.flush_all()

    def flush_all(self) -> None:
        """Send what was put into outboxes, of this peer and of others, outside of `feed`."""
        flush(self._touched)

    def fail(self, error: Exception, uid: object, requester: str) -> None:
        """Tell the peer that something it asked for was refused."""
        text = error.wire_text() if hasattr(error, "wire_text") else f"{type(error).__name__}: {error}"
        self.enqueue(self.codec.encode(Failure(message=text, requester=requester, uid=uid)))

    def refuse(self, error: Exception, requester: str = "") -> None:
        """Tell the peer why, and close the connection when that is sent."""
        if self.connection.state is State.CLOSED:
            return
        self.fail(error, "", requester or self.network_name)
        self.connection.send(Event.REFUSE)
        self._end()

    def close(self) -> None:
        """Close the connection when everything is sent."""
        if self.connection.state is not State.CLOSED:
            self.connection.send(Event.CLOSE)
        self._end()

    def show_out(self, reason: str) -> None:
        """Close the connection now, in the handshake, whatever was to be sent.

        Args:
            reason: Why, for the log.
        """
        self.shown_out = reason
        if self.transport is not None:
            self.transport.abort()
        if self.scope is not None:
            self.scope.cancel()

    # Waiting

    @property
    def is_closing(self) -> bool:
        """Whether the peer is gone, or is being closed."""
        return self._is_lost or self.connection.state is State.CLOSED

    async def ask(self, prompt: Prompt) -> Any:
        """Send a prompt and wait for its answer.

        Raises:
            PeerLost: If the peer leaves instead, or is being closed.
        """
        if self.is_closing:
            raise PeerLost(f"{self.address} is gone")
        self.connection.send(Event.PROMPT)
        self.is_prompted = self.connection.state is State.PROMPTED
        self.silent_since = monotonic()
        self.send(self.codec.encode(prompt))
        try:
            line = await (self._next_answer() if self.is_prompted else self._next_line())
        finally:
            if self.connection.state is State.PROMPTED:  # it took too long
                self.connection.send(Event.WITHDRAW)
                self.is_prompted = False
        if self.connection.state is State.ASKED:
            self.connection.receive(Event.ANSWER)
        answer = self.codec.decode_answer(line)
        return line.decode(errors="replace").rstrip() if answer is None else answer.value

    def answer(self, line: bytes) -> None:
        """Take a line that answers the prompt of a connected peer."""
        self.connection.receive(Event.ANSWER)
        self.is_prompted = False
        self._answers.append(line)
        _set(self._answered)

    def welcome(
        self,
        receive: Callable[[Peer, Line], None],
        limit: int,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        receive_all: Callable[[Peer, list[bytes]], int] | None = None,
    ) -> None:
        """Hand all lines to the router from now on, those first that came early.

        Args:
            receive: Takes each line.
            limit: The longest line from now on, in bytes.
            spawn: Starts a task, for what is to be done and needs to wait.
            receive_all: Takes many lines at once, if somebody can.
        """
        self._spawn = spawn
        self.receive_all = receive_all
        self._lines.limit = limit
        self._lines.long_line = self.codec.long_line
        # a Service that was asked for too much is not to blame: whoever asked is told, and nobody else notices
        self._lines.is_forgiving = self.connection.state is State.SERVICE
        self.receive = receive
        early = bytes(self._early)
        self._early.clear()
        self._read_on()
        if early:
            self.feed(early)

    def do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have something done that needs to wait, after what waits already.

        Returns:
            False if too much waits already.
        """
        if len(self._work) >= MAX_WAITING_WORK or self._spawn is None:
            return False
        self._work.append(work)
        if not self._is_working:
            self._is_working = True
            self._spawn(self._work_off)
        return True

    async def closing(self) -> None:
        """Wait until the peer is gone, or is to be closed, or only finishes a message that is too long."""
        while not self.is_closing and self._is_heard is None:
            self._wake = one_waits()
            await self._wake.wait()

    async def hear_out(self, limit: float) -> None:
        """Let the peer finish its sentence, then close: what is closed before is reset, and old Clients hang.

        If the end of a message that is too long does not come, nothing is said: an error without its uid ends a Client
        of 1.0 for good.

        Args:
            limit: How long that may take, in seconds.
        """
        self._is_heard = True
        self._early.clear()
        self._read_on()
        with anyio.move_on_after(limit):
            while self._is_heard:
                self._is_heard = False
                await anyio.sleep(QUIET)
        self.close()

    async def stay(self, seconds: float) -> None:
        """Let time pass, as long as the peer is there.

        Args:
            seconds: How much.

        Raises:
            PeerLost: If the peer leaves meanwhile.
        """
        if self.receive is None and b"\n" not in self._early:
            self._read_on()  # who reads nothing does not notice the end
        self.silent_since = monotonic()  # it does not keep a place from those who have one to take
        with anyio.move_on_after(seconds):
            while not self.is_closing:
                self._answered = one_waits()
                await self._answered.wait()
        self.silent_since = inf
        if self.is_closing:
            raise PeerLost(f"{self.address} left")

    async def finish(self, limit: float) -> None:
        """Wait until all is done that the peer asked for before it left, and all is sent that is kept for it.

        What takes longer is cancelled, or not sent.

        Args:
            limit: How long each may take, in seconds.
        """
        if self._is_working:
            with anyio.move_on_after(limit if self._is_heard is None else max(limit, DRAIN)):
                while self._is_working:
                    await self._sleep()
        self._work.clear()
        if self._working is not None:
            self._working.cancel()
        if self.outbox.size:
            with anyio.move_on_after(limit):
                while self.outbox.size:
                    await self._sleep()

    async def resolve_hostname(self) -> str:
        """Find the host name, once. It takes at most the time that the configuration allows.

        Returns:
            The first label of the host name, or the address if there is no name.
        """
        if self._resolve is not None:
            resolve, self._resolve = self._resolve, None
            self.domain = await resolve(self.ip_address)
            self.hostname = self.domain if _is_address(self.domain) else self.domain.split(".")[0]
            self.address = f"{self.hostname}:{self.port}"
            self.network_name = f"<Unknown>[{self.address}]"
        return self.hostname

    def _handle(self, lines: list[Line]) -> bool:
        """Act on lines. Returns False if the turn is over before them; `lines` are then those that are left."""
        try:
            if len(lines) == 1:  # as a rule; nobody has to wait after it
                self.receive(self, lines[0])  # type: ignore[misc]  # only called when there is a receiver
                return True
            count = 0
            self.turn_ends = monotonic() + TURN / (len(self._busy) or 1)
            while count < len(lines):
                part = lines[count : count + TOGETHER]
                count += self._handle_together(part) or self._handle_singly(part)
                if self.is_turn_over() and count < len(lines):
                    del lines[:count]
                    return False
        except Exception:
            logger.exception("%s: a message could not be handled, closing this connection", self)
            self.close()
        return True

    def _handle_together(self, lines: list[Line]) -> int:
        """Act on lines at once, if that is possible; returns on how many."""
        if self.receive_all is None or LongLine in map(type, lines):
            return 0
        return self.receive_all(self, lines)  # type: ignore[arg-type]  # none of them is a LongLine

    def _handle_singly(self, lines: list[Line]) -> int:
        """Act on lines one by one; returns on how many: those up to the end of the turn."""
        for count, line in enumerate(lines, 1):
            self.receive(self, line)  # type: ignore[misc]  # as above
            if count % LINES_A_LOOK and not self.has_worked and len(line) <= LONG_TO_READ:
                continue
            if self.is_turn_over():
                return count
        return len(lines)

    def is_turn_over(self) -> bool:
        """Whether it is the turn of others; looks at the clock."""
        self.has_worked = False
        return monotonic() > self.turn_ends

    def _hold(self) -> None:
        """Read nothing, and go on in a moment."""
        if self.transport is not None:
            self._busy.add(self)
            self.transport.pause_reading()
            self.transport.call_soon(self._go_on)

    def _go_on(self) -> None:
        lines = list(self._turns)
        self._turns.clear()
        self._busy.discard(self)
        if self.is_closing or self.transport is None:
            return
        if not self._handle(lines):
            self._turns.extend(lines)
            self._hold()
        elif self._lines.overflow:
            self._overflow()
        else:
            self.transport.resume_reading()
        flush(self._touched)

    def _overflow(self) -> None:
        """Close the connection when the peer had the time to finish its line: its end has the uid to answer to."""
        if not self.is_closing:
            logger.warning("%s sent a message of more than %d bytes: disconnected", self, self._lines.limit)
            self._is_heard = True
            _set(self._wake)
            if not self.do(lambda: self.hear_out(DRAIN)):
                self.close()

    async def _work_off(self) -> None:
        with anyio.CancelScope() as self._working:
            while self._work:
                try:
                    await self._work.pop(0)()
                except PeerLost as lost:
                    logger.debug("%s: %s", self, lost)
                except Exception:
                    logger.exception("%s: a request could not be handled, closing this connection", self)
                    self.close()
        self._working = None
        self._is_working = False
        _set(self._wake)

    def _keep(self, data: bytes) -> None:
        """Keep what comes before the peer is connected.

        Nothing more is read while a line waits that nobody asked for: a stranger cannot fill the memory, and who says
        no more after it is not taken for gone before it is answered.
        """
        self._early += data
        lines = data.count(b"\n")
        is_asked = self._wake is not None and not self._wake.is_set()
        if (lines > is_asked or len(self._early) > self._lines.limit) and self.transport is not None:
            self.transport.pause_reading()
            self._is_reading = False
        if lines or not self._is_reading:
            _set(self._wake)

    def _read_on(self) -> None:
        """Read again, if more came than was asked for."""
        if not self._is_reading and self.transport is not None:
            self._is_reading = True
            self.transport.resume_reading()

    async def _next_line(self) -> bytes:
        while True:
            line, end, rest = self._early.partition(b"\n")
            if len(line) > self._lines.limit:
                raise LineTooLongError(f"a message may have {self._lines.limit} bytes here, this one has more")
            if end:
                self._early = rest
                self.silent_since = inf
                return bytes(line)
            if self.is_closing:
                raise PeerLost(f"{self.address} left")
            self._read_on()
            await self._sleep()

    async def _next_answer(self) -> bytes:
        while not self._answers:
            if self.is_closing:
                raise PeerLost(f"{self.address} left")
            self._answered = one_waits()
            await self._answered.wait()
        return self._answers.pop(0)

    async def _sleep(self) -> None:
        self._wake = one_waits()
        await self._wake.wait()

    def _too_slow(self) -> None:
        if not self.is_closing:
            logger.warning("%s does not read, %d bytes wait for it: disconnected", self.network_name, self.outbox.size)
            self.close()
            self.outbox.close()  # nobody waits for it any longer

    def _end(self) -> None:
        self.receive, self.receive_all = Peer._ignore_line, None
        self._wake_up()

    def _wake_up(self) -> None:
        _set(self._wake)
        _set(self._answered)

    def _ignore_line(self, line: Line) -> None:
        """Drop what comes after the end."""


def _set(event: anyio.Event | OneWaits | None) -> None:
    if event is not None:
        event.set()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
