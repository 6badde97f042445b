"""TLS in memory, with OpenSSL's own client at the other end."""

from __future__ import annotations

import random
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from msl_network.tls_layer import RECORD, TLSLayer

if TYPE_CHECKING:
    from collections.abc import Callable

AUTHORITY = trustme.CA()
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost").configure_cert(SERVER)
SERVER.num_tickets = 0


class Peer:
    """Who gets what was said."""

    def __init__(self) -> None:
        self.data = b""
        self.chunks = 0
        self.is_lost = False

    def feed(self, data: bytes) -> None:
        assert data
        self.data += data
        self.chunks += 1

    def lost(self) -> None:
        self.is_lost = True

    def pause_writing(self) -> None:
        """Nothing is kept."""

    def resume_writing(self) -> None:
        """Nothing is kept."""


class Carrier:
    """Carries the encrypted bytes to OpenSSL's client, and does later what is to be done soon."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.later: list[Callable[[], None]] = []
        self.told: list[str] = []
        self.unsent = 7

    def write(self, data: bytes) -> None:
        assert data
        self.written.append(data)

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.later.append(callback)


class Client:
    """OpenSSL's client."""

    def __init__(self, context: ssl.SSLContext | None = None, version: ssl.TLSVersion | None = None) -> None:
        if context is None:
            context = ssl.create_default_context()
            AUTHORITY.configure_trust(context)
        if version is not None:
            context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake_hands(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def say(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def hear(self, data: bytes) -> bytes:
        self.incoming.write(data)
        heard = b""
        while True:
            try:
                part = self.tls.read(RECORD)
            except ssl.SSLWantReadError:
                return heard
            except ssl.SSLZeroReturnError:
                return heard + b"<end>"
            if not part:
                return heard + b"<end>"
            heard += part


class Laboratory:
    """A layer, and both of its ends."""

    def __init__(self, context: ssl.SSLContext = SERVER, client: Client | None = None) -> None:
        self.opened: list[Exception | None] = []
        self.peer, self.carrier, self.client = Peer(), Carrier(), client or Client()
        self.layer = TLSLayer(self.peer, context, self.opened.append)
        self.layer.attach(self.carrier)

    def sent(self) -> bytes:
        data = b"".join(self.carrier.written)
        self.carrier.written.clear()
        return data

    def shake_hands(self, rest: bytes = b"", cut: int = 10**6) -> None:
        while not self.opened:
            data = self.client.shake_hands()
            if rest and self.is_done():
                data += self.client.say(rest)
            assert data, "nobody says anything"
            for start in range(0, len(data), cut):
                self.layer.feed(data[start : start + cut])
            self.client.incoming.write(self.sent())

    def is_done(self) -> bool:
        try:
            self.client.tls.do_handshake()
        except ssl.SSLError:
            return False
        return True


@pytest.mark.parametrize("cut", [1, 7, 10**6])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshake(version: ssl.TLSVersion, cut: int) -> None:
    """It is complete however the network cuts it; then both ends hear what the other says."""
    lab = Laboratory(client=Client(version=version))
    lab.shake_hands(cut=cut)
    assert lab.opened == [None]
    lab.layer.feed(lab.client.say(b"hello"))
    assert lab.peer.data == b"hello"
    lab.layer.write(b"world")
    assert lab.client.hear(lab.sent()) == b"world"
    assert lab.layer.certificate is None


def test_what_comes_with_the_end_of_the_handshake() -> None:
    """It waits until somebody is there to take it, and is not forgotten when nothing follows."""
    lab = Laboratory()
    lab.shake_hands(b"early")
    assert lab.peer.data == b""
    for callback in lab.carrier.later:
        callback()
    assert lab.peer.data == b"early"


def test_what_comes_before_the_carrier() -> None:
    """The first words of a peer may come before the layer knows who carries the answer."""
    opened: list[Exception | None] = []
    layer, carrier, client = TLSLayer(Peer(), SERVER, opened.append), Carrier(), Client()
    layer.feed(client.shake_hands())
    assert carrier.written == []
    layer.attach(carrier)
    assert carrier.written != []


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=5), st.lists(st.integers(1, 50_000), min_size=1))
def test_any_pieces(sizes: list[int], cuts: list[int]) -> None:
    """Whatever is said arrives, in order, however it is written and cut on its way; so does the answer."""
    lab = Laboratory()
    lab.shake_hands()
    said = [random.Random(size).randbytes(size) for size in sizes]
    data = b"".join(map(lab.client.say, said))
    place = 0
    for cut in [*cuts, len(data)]:
        if data[place : place + cut]:
            lab.layer.feed(data[place : place + cut])
        place += cut
    assert lab.peer.data == b"".join(said)
    for each in said:
        lab.layer.write(each)
    assert lab.client.hear(lab.sent()) == b"".join(said)


def test_a_chunk_is_one_piece() -> None:
    """What comes in one chunk is handed on in one, whatever records it is made of: the peer acts once."""
    lab = Laboratory()
    lab.shake_hands()
    lab.layer.feed(b"".join(lab.client.say(b"%d\n" % number) for number in range(100)))
    assert lab.peer.chunks == 1


def test_goodbye_of_the_peer() -> None:
    """A peer that says good-bye is answered, and the connection closed when all is sent; what it said before counts."""
    lab = Laboratory()
    lab.shake_hands()
    last = lab.client.say(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        lab.client.tls.unwrap()
    lab.layer.feed(last + lab.client.outgoing.read())
    assert lab.peer.data == b"last words"
    assert lab.carrier.told == ["close"]
    assert lab.client.hear(lab.sent()).endswith(b"<end>")
    lab.layer.write(b"too late")
    assert lab.carrier.written == []


class Owing(Peer):
    """Who keeps a reply while the transport has enough to send, and says it in pieces."""

    def __init__(self, *kept: bytes) -> None:
        super().__init__()
        self.kept = list(kept)
        self.layer: TLSLayer | None = None

    def resume_writing(self) -> None:
        assert self.layer is not None
        self.layer.write(self.kept.pop(0))
        if self.kept:  # the transport has enough again
            self.layer.pause_writing()


def test_goodbye_of_a_peer_that_still_reads() -> None:
    """Who says no more gets all that is kept for it; what it says after its good-bye is not heard."""
    lab = Laboratory()
    lab.peer = owing = Owing(b"one ", b"two ", b"three")
    owing.layer = lab.layer = TLSLayer(owing, SERVER, lab.opened.append)
    lab.layer.attach(lab.carrier)
    lab.shake_hands()
    lab.layer.pause_writing()
    with pytest.raises(ssl.SSLWantReadError):
        lab.client.tls.unwrap()
    lab.layer.feed(lab.client.outgoing.read())
    lab.layer.feed(b"whatever")
    for _ in range(3):
        assert lab.carrier.told == []
        lab.layer.resume_writing()
    assert lab.carrier.told == ["close"]
    assert lab.client.hear(lab.sent()) == b"one two three<end>"
    assert owing.data == b""


def test_goodbye_to_the_peer() -> None:
    """Who is told good-bye knows that nobody cut the connection; what it says then is of no interest."""
    lab = Laboratory()
    lab.shake_hands()
    lab.layer.write(b"last words")
    lab.layer.say_goodbye()
    lab.layer.say_goodbye()
    assert lab.client.hear(lab.sent()) == b"last words<end>"
    lab.layer.feed(lab.client.say(b"but"))
    assert lab.peer.data == b""
    lab.client.tls.unwrap()
    lab.layer.feed(lab.client.outgoing.read())
    assert lab.carrier.told == ["close"]


def test_bytes_that_are_not_what_was_sent() -> None:
    """A record that was changed on its way ends the connection, and nothing of it is handed on."""
    lab = Laboratory()
    lab.shake_hands()
    data = bytearray(lab.client.say(b"hello"))
    data[-1] ^= 1
    lab.layer.feed(bytes(data))
    assert lab.peer.data == b""
    assert lab.carrier.told == ["close"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b'{"result": 1}\r\n', b"\x16\x03\x01\x00\x05hello"])
def test_somebody_without_tls(data: bytes) -> None:
    """Bytes that are no TLS end the handshake with an error, once."""
    lab = Laboratory()
    lab.layer.feed(data)
    (error,) = lab.opened
    assert isinstance(error, ssl.SSLError)
    lab.layer.feed(data)
    lab.layer.lost()
    assert len(lab.opened) == 1
    assert lab.peer.data == b""


def test_alert() -> None:
    """A peer whose certificate is refused is told so, in the words of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    foreign = ssl.create_default_context()
    AUTHORITY.configure_trust(foreign)
    trustme.CA().issue_cert("c").configure_cert(foreign)
    lab = Laboratory(context, Client(foreign))
    lab.shake_hands()
    assert isinstance(lab.opened[0], ssl.SSLCertVerificationError)
    with pytest.raises(ssl.SSLError, match="alert"):
        lab.client.tls.read(1)


def test_certificate() -> None:
    """The certificate of a peer is known when the handshake is complete, and verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    known = ssl.create_default_context()
    AUTHORITY.configure_trust(known)
    AUTHORITY.issue_cert("c.lab").configure_cert(known)
    lab = Laboratory(context, Client(known))
    seen = [lab.layer.certificate]
    lab.shake_hands()
    seen.append(lab.layer.certificate)
    assert seen[0] is None
    assert seen[1] is not None
    assert seen[1]["subjectAltName"] == (("DNS", "c.lab"),)


def test_the_end() -> None:
    """The end of the connection is told to whoever is there; before the handshake is complete, that is an error."""
    lab = Laboratory()
    lab.layer.feed(lab.client.shake_hands())
    lab.layer.lost()
    assert isinstance(lab.opened[0], ConnectionAbortedError)
    other = Laboratory()
    other.shake_hands()
    assert other.layer.unsent == 7
    other.layer.pause_reading()
    other.layer.resume_reading()
    other.layer.abort()
    assert other.carrier.told == ["pause", "resume", "abort"]
    other.layer.lost()
    assert other.peer.is_lost
    other.layer.write(b"x")
    other.layer.abort()
    other.layer.say_goodbye()
    assert other.layer.unsent == 0
    assert (other.opened, other.carrier.told) == ([None], ["pause", "resume", "abort"])
