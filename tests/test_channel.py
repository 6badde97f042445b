from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trustme

from msl_network.channel import Channel, _Session, open_channel
from msl_network.connecting import ConnectOptions
from msl_network.errors import ConnectError, ConnectionLostError, ConnectTimeoutError, RefusedError
from msl_network.introduction import Introduction

from .laboratory import DEADLINE, HERE, MOMENT, Thread, Wire, fake_manager, for_ever, happens, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUESTION = (
    b'{"attribute": "identity", "args": [], "kwargs": {}, "requester": "Manager[x:1]", "error": false, "uid": ""}\r\n'
)


class Security:
    """A certificate and both contexts that go with it."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.pem = authority.cert_pem.bytes()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(HERE).configure_cert(self.server)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client)


class Deadline:
    """The next operation on a socket has a time limit."""

    def apply(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)


@pytest.fixture(scope="module")
def security() -> Security:
    return Security()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test ends the threads that it starts."""
    with no_thread_left():
        yield


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def context(request: pytest.FixtureRequest, security: Security) -> ssl.SSLContext | None:
    """The context of the other side, if there is one."""
    if request.param == "plain":
        return None
    version = ssl.TLSVersion.TLSv1_2 if request.param == "TLS 1.2" else ssl.TLSVersion.TLSv1_3
    security.client.minimum_version = ssl.TLSVersion.TLSv1_2
    security.client.maximum_version = version
    return security.server


@contextmanager
def connected(
    context: ssl.SSLContext | None, security: Security, limit: int | None = None
) -> Iterator[tuple[Channel, socket.socket]]:
    """A channel and the socket at its other end."""
    with ExitStack() as stack:
        with socket.create_server((HERE, 0)) as listener:
            ours = stack.enter_context(socket.create_connection(listener.getsockname(), DEADLINE))
            theirs = stack.enter_context(listener.accept()[0])
        theirs.settimeout(DEADLINE)
        session = None
        if context is not None:
            session = _Session(security.client, HERE)
            shaking = Thread(session.shake_hands, ours, Deadline())
            theirs = stack.enter_context(context.wrap_socket(theirs, server_side=True))
            shaking.result()
        channel = stack.enter_context(closing(Channel(ours, limit, session)))
        yield channel, theirs


@pytest.fixture
def pair(context: ssl.SSLContext | None, security: Security) -> Iterator[tuple[Channel, socket.socket]]:
    with connected(context, security) as both:
        yield both


def lines_of(channel: Channel, count: int, timeout: float = DEADLINE) -> list[bytes]:
    """Receive lines. With TLS some packets bring no byte of them."""
    lines: list[bytes] = []
    while len(lines) < count:
        lines += channel.receive(timeout)
    return lines


def until_the_end(channel: Channel) -> None:
    """Receive nothing but the end."""
    while True:
        assert channel.receive(DEADLINE) == []


def exchange(sock: socket.socket, data: bytes, expected: int) -> bytes:
    """Send and receive at the same time, in one thread: a socket with TLS is not for two."""
    sock.setblocking(False)
    view = memoryview(data)
    received = bytearray()
    while view or len(received) < expected:
        progress = False
        try:
            received += sock.recv(2**18)
            progress = True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if view:
            try:
                view = view[sock.send(view[: 2**16]) :]
                progress = True
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        if not progress:
            found = select.select([sock], [sock] if view else [], [], DEADLINE)
            assert found != ([], [], []), "the other side does not go on"
    sock.settimeout(DEADLINE)
    return bytes(received)


def received(sock: socket.socket, count: int) -> bytes:
    """Receive bytes."""
    return exchange(sock, b"", count)


def reset(sock: socket.socket) -> None:
    """End a connection with a bang."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# Sending


def test_threads_do_not_mix_their_lines(pair: tuple[Channel, socket.socket]) -> None:
    """Lines of ten threads, short and long, arrive whole, and those of a thread in their order."""
    channel, peer = pair
    counts = [1, 10, 100, 1000, 70_000]
    barrier = threading.Barrier(10)

    def send(letter: bytes) -> None:
        barrier.wait(DEADLINE)
        for number in range(20):
            channel.send(letter * counts[number % len(counts)] + b"%d\n" % number)

    threads = [Thread(send, b"%c" % (65 + index)) for index in range(10)]
    expected = {b"%c" % (65 + i): [b"%d" % number for number in range(20)] for i in range(10)}
    size = sum(counts[n % len(counts)] + len(str(n)) + 1 for n in range(20)) * 10
    lines = received(peer, size).split(b"\n")
    for thread in threads:
        thread.result()
    assert lines.pop() == b""
    found: dict[bytes, list[bytes]] = {letter: [] for letter in expected}
    for line in lines:
        letter = line[:1]
        number = line.lstrip(letter)
        assert len(line) - len(number) == counts[int(number) % len(counts)]
        found[letter].append(number)
    assert found == expected


def test_large_messages_both_ways(pair: tuple[Channel, socket.socket]) -> None:
    """One thread receives while another sends, each more than all buffers between hold: neither waits for the other."""
    channel, peer = pair
    size = 12 * 2**20
    sending = Thread(channel.send, b"a" * size + b"\n")
    receiving = Thread(lines_of, channel, 1)
    assert exchange(peer, b"b" * size + b"\r\n", size + 1) == b"a" * size + b"\n"
    sending.result()
    assert receiving.result() == [b"b" * size + b"\r"]


def test_receiving_goes_on_while_a_send_is_stuck(pair: tuple[Channel, socket.socket]) -> None:
    """A peer that reads nothing keeps the sender waiting, not the one who receives; close ends the waiting."""
    channel, peer = pair

    def send() -> None:
        with pytest.raises(ConnectionLostError):
            for_ever(channel.send, b"x" * 2**20)

    stuck = Thread(send)
    for number in range(100):
        peer.sendall(b"%d\n" % number)
        assert lines_of(channel, 1) == [b"%d" % number]
    channel.close()
    stuck.result()


def test_send_after_the_end(pair: tuple[Channel, socket.socket]) -> None:
    """Once closed, sending fails with the reason; closing again does nothing."""
    channel, _ = pair
    channel.close()
    channel.close()
    with pytest.raises(ConnectionLostError, match="closed on this side"):
        channel.send(b"x\n")


# Receiving


def test_half_lines(pair: tuple[Channel, socket.socket]) -> None:
    """A line that comes in pieces is returned when it is complete, and the beginning of the next is kept."""
    channel, peer = pair
    peer.sendall(b"one\r\ntw")
    assert lines_of(channel, 1) == [b"one\r"]
    peer.sendall(b"o\nthree")
    assert lines_of(channel, 1) == [b"two"]
    peer.sendall(b"-")
    assert channel.receive(DEADLINE) == []
    peer.sendall(b"\n\n")
    assert lines_of(channel, 2) == [b"three-", b""]


def test_byte_by_byte(pair: tuple[Channel, socket.socket]) -> None:
    """How the bytes of a line are cut into packets does not matter."""
    channel, peer = pair
    for index in range(len(data := b'{"result": 1}\r\nnext\n')):
        peer.sendall(data[index : index + 1])
    assert lines_of(channel, 2) == [b'{"result": 1}\r', b"next"]


def test_timeout(pair: tuple[Channel, socket.socket]) -> None:
    """When nothing comes in time nothing is returned, and what comes later is not lost."""
    channel, peer = pair
    for timeout in (0, 0.001, -1):
        assert channel.receive(timeout) == []
    peer.sendall(b"late\n")
    assert lines_of(channel, 1) == [b"late"]


@pytest.mark.parametrize("timeout", [1e7, 1e10, float("inf")])
def test_long_timeout(pair: tuple[Channel, socket.socket], timeout: float) -> None:
    """A timeout may be longer than what the system can wait for at a time."""
    channel, peer = pair
    peer.sendall(b"x\n")
    assert lines_of(channel, 1, timeout) == [b"x"]


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_close_wakes_who_receives(pair: tuple[Channel, socket.socket], timeout: float | None) -> None:
    """A thread that waits for bytes is told when another closes the channel."""
    channel, peer = pair
    has_begun = threading.Event()

    def receive() -> None:
        peer.sendall(b"x\n")
        assert lines_of(channel, 1) == [b"x"]
        has_begun.set()
        with pytest.raises(ConnectionLostError):
            for_ever(channel.receive, timeout)

    receiving = Thread(receive)
    happens(has_begun)
    channel.close()
    receiving.result()


def test_end_of_the_connection(pair: tuple[Channel, socket.socket]) -> None:
    """The lines before the end are returned; half a line is not; then the end is told, again and again."""
    channel, peer = pair
    peer.sendall(b"last\nhalf")
    assert lines_of(channel, 1) == [b"last"]
    peer.shutdown(socket.SHUT_RDWR)
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match=r"the Manager closed the connection|connection broke"):
            until_the_end(channel)


def test_end_of_the_tls_session(security: Security) -> None:
    """A peer that ends TLS, but not TCP, has ended the connection."""
    with connected(security.server, security) as (channel, peer):
        assert isinstance(peer, ssl.SSLSocket)
        peer.sendall(b"last\n")
        assert lines_of(channel, 1) == [b"last"]
        unwrapping = Thread(peer.unwrap)
        with pytest.raises(ConnectionLostError, match="the Manager closed the connection"):
            until_the_end(channel)
        channel.close()
        with pytest.raises(OSError, match=r"."):
            unwrapping.result()


def test_end_of_the_tls_session_beside_the_last_line(tmp_path: Path) -> None:
    """It has ended also if the peer's last line came in the same packet as the end of TLS; asyncio closes like that."""
    is_told = threading.Event()

    def script(wire: Wire) -> None:
        tls = InMemory(wire)
        tls.write(QUESTION)
        tls.send()
        tls.line()
        tls.write(b"last\n")
        tls.end()
        tls.send()
        assert is_told.wait(2), "it waits for the end of TCP"

    with fake_manager(script) as port:
        InMemory.certificate(tmp_path / "ca.pem")
        opts = options(port, disable_tls=False, cert_file=str(tmp_path / "ca.pem"))
        with closing(opened(opts)) as channel:
            assert lines_of(channel, 1) == [b"last"]
            with pytest.raises(ConnectionLostError, match="the Manager closed the connection"):
                until_the_end(channel)
            is_told.set()


def test_reset(pair: tuple[Channel, socket.socket]) -> None:
    """A connection that breaks is told with the reason of the system."""
    channel, peer = pair
    reset(peer)
    with pytest.raises(ConnectionLostError, match=r"connection broke: \w|Manager closed"):
        until_the_end(channel)
    with pytest.raises(ConnectionLostError):
        for_ever(channel.send, b"x\n")


def test_nonsense_in_place_of_tls(security: Security) -> None:
    """Bytes that are no TLS record end the connection."""
    with connected(security.server, security) as (channel, peer):
        raw = socket.socket(fileno=peer.detach())
        with raw:
            raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(ConnectionLostError, match="connection broke"):
                until_the_end(channel)


def test_read_limit(context: ssl.SSLContext | None, security: Security) -> None:
    """A line may be as long as the limit; a longer one ends the connection, after the lines before it were returned."""
    with connected(context, security, limit=10) as (channel, peer):
        peer.sendall(b"123456789\n")
        assert lines_of(channel, 1) == [b"123456789"]
        peer.sendall(b"a\nb\n" + b"x" * 11 + b"\nc\n")
        assert lines_of(channel, 2) == [b"a", b"b"]
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="longer than the 10 bytes of read_limit"):
                channel.receive(DEADLINE)


def test_read_limit_is_not_waited_for(context: ssl.SSLContext | None, security: Security) -> None:
    """A line that is too long already is not received to its end."""
    with connected(context, security, limit=1000) as (channel, peer):
        peer.sendall(b"x" * 1001)
        with pytest.raises(ConnectionLostError, match="read_limit"):
            until_the_end(channel)


def test_descriptor_above_1023(context: ssl.SSLContext | None, security: Security) -> None:
    """A program with many open files can receive with a timeout, which select() could not."""
    with ExitStack() as stack:
        held = stack.enter_context(socket.socket())
        while held.fileno() < 1024:
            try:
                held = stack.enter_context(socket.socket())
            except OSError:
                pytest.skip("the system allows too few open files")
        channel, peer = stack.enter_context(connected(context, security))
        assert channel.receive(0) == []
        peer.sendall(b"x\n")
        assert lines_of(channel, 1) == [b"x"]


# Opening


def options(port: int, **kwargs: object) -> ConnectOptions:
    keywords: dict[str, object] = {"host": HERE, "port": port, "timeout": DEADLINE, "disable_tls": True, **kwargs}
    return ConnectOptions(**keywords)  # type: ignore[arg-type]


def opened(opts: ConnectOptions) -> Channel:
    return open_channel(opts, Introduction({"type": "client", "name": "C"}, opts))


class InMemory:
    """The other end of a TLS session; what goes into one packet is decided by `send`."""

    _authority: trustme.CA

    @classmethod
    def certificate(cls, path: Path) -> None:
        cls._authority = trustme.CA()
        cls._authority.cert_pem.write_to_path(str(path))

    def __init__(self, wire: Wire, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(HERE).configure_cert(context)
        context.maximum_version = version
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self._session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send()
                self._receive()

    def _receive(self) -> None:
        data = self._wire.sock.recv(2**16)
        assert data
        self._incoming.write(data)

    def write(self, data: bytes) -> None:
        self._session.write(data)

    def end(self) -> None:
        """End the session."""
        with suppress(ssl.SSLWantReadError):
            self._session.unwrap()

    def send(self) -> None:
        """Send all that is there in one packet."""
        self._wire.write(self._outgoing.read())

    def line(self) -> bytes:
        answer = b""
        while not answer.endswith(b"\n"):
            try:
                answer += self._session.read()
            except ssl.SSLWantReadError:
                self._receive()
        return answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_lines_with_the_end_of_the_handshake(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """What a Manager says in the packet that ends the TLS handshake is received, though no further packet comes."""

    def script(wire: Wire) -> None:
        tls = InMemory(wire, version)
        tls.write(QUESTION)
        tls.send()  # the end of the handshake, and the question
        assert b'"name":"C"' in tls.line().replace(b" ", b"")
        tls.write(b"hello\n")
        tls.send()

    with fake_manager(script) as port:
        InMemory.certificate(tmp_path / "ca.pem")
        opts = options(port, disable_tls=False, cert_file=str(tmp_path / "ca.pem"))
        with closing(opened(opts)) as channel:
            assert lines_of(channel, 1) == [b"hello"]


def refusing(wire: Wire) -> None:
    wire.send(error=True, message="ValueError: go away", uid="", requester="Manager[x:1]", result=None)


def closing_at_once(wire: Wire) -> None:
    wire.sock.shutdown(socket.SHUT_WR)


def resetting(wire: Wire) -> None:
    wire.reset()


def talking(wire: Wire) -> None:
    wire.write(b"SSH-2.0-OpenSSH_9.6\r\n")


def demanding(wire: Wire) -> None:
    wire.ask("fingerprint")


def listing(wire: Wire) -> None:
    wire.write(b"[1, 2]\r\n")


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (refusing, RefusedError, "go away"),
        (closing_at_once, ConnectError, "closed the connection at once"),
        (resetting, ConnectError, "closed the connection at once"),
        (talking, RefusedError, "does not speak like a Manager"),
        (listing, RefusedError, "does not speak like a Manager"),
        (demanding, RefusedError, "asks for 'fingerprint'"),
    ],
)
def test_strange_managers(script: Callable[[Wire], None], error: type[Exception], text: str) -> None:
    """Whatever listens there, the error says what it did; the socket is closed."""

    def then_eof(wire: Wire) -> None:
        script(wire)
        if script is not resetting:
            wire.eof()

    with fake_manager(then_eof) as port, pytest.raises(error, match=text):
        opened(options(port))


def test_silent_manager() -> None:
    """A Manager that says nothing is given up after the timeout, and the connection closed."""
    with fake_manager(Wire.eof) as port, pytest.raises(ConnectTimeoutError, match="said nothing within"):
        opened(options(port, timeout=MOMENT))


def test_silence_after_the_first_question() -> None:
    """Between two questions no more than the timeout may pass, either."""

    def script(wire: Wire) -> None:
        wire.ask("username", "Manager[x:1]")
        assert wire.read()["result"] == "alice"
        wire.eof()

    with fake_manager(script) as port, pytest.raises(ConnectTimeoutError, match="said nothing within"):
        opened(options(port, timeout=MOMENT, username="alice"))


def test_silence_in_the_tls_handshake(tmp_path: Path, security: Security) -> None:
    """A Manager that takes the connection and shakes no hands is given up after the timeout."""
    (tmp_path / "ca.pem").write_bytes(security.pem)

    def script(wire: Wire) -> None:
        wire.sock.recv(2**16)
        wire.eof()

    with fake_manager(script) as port, pytest.raises(ConnectTimeoutError, match="did not answer within"):
        opened(options(port, timeout=MOMENT, disable_tls=False, cert_file=str(tmp_path / "ca.pem")))


def test_question_longer_than_read_limit() -> None:
    """If the first question is longer than read_limit, it is read_limit that the error speaks of."""

    def script(wire: Wire) -> None:
        wire.write(QUESTION)
        wire.eof()

    with fake_manager(script) as port, pytest.raises(ConnectError, match="read_limit"):
        opened(options(port, read_limit=10))


def test_nobody_listens() -> None:
    """A port on which nobody listens is named."""
    with socket.create_server((HERE, 0)) as listener:
        port: int = listener.getsockname()[1]
    with pytest.raises(ConnectError, match=f"{port}: nothing listens"):
        opened(options(port))


def test_opened_channel_has_no_timeout() -> None:
    """The timeout is for connecting; afterwards a channel waits as long as it takes."""
    go = threading.Event()

    def script(wire: Wire) -> None:
        wire.write(QUESTION)
        wire.read()
        go.wait(MOMENT * 2)  # longer than the timeout; never set
        wire.write(b"x\n")

    with fake_manager(script) as port, closing(opened(options(port, timeout=MOMENT))) as channel:
        assert channel.receive() == [b"x"]
