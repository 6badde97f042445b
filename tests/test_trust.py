from __future__ import annotations

import errno
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from msl_network import paths, trust
from msl_network.async_channel import open_stream
from msl_network.certificates import fingerprint, generate_certificate, generate_key
from msl_network.channel import open_channel
from msl_network.connecting import ConnectOptions
from msl_network.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    RefusedError,
    StoreError,
    UntrustedError,
)
from msl_network.introduction import Introduction
from msl_network.tls import server_context
from msl_network.trust import closed_early, explain, silent_manager, stored_certificate, trusted_context

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = "127.0.0.1"
NOW = datetime.now(timezone.utc)
FIRST_QUESTION = b'{"attribute": "identity", "args": [], "kwargs": {}, "requester": "Manager[lab-pc:1875]"}\r\n'


class Person:
    """Answers what it is asked, and remembers the questions."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []

    def __call__(self, question: str) -> str:
        self.questions.append(question)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@contextmanager
def serving(answer: Callable[[socket.socket], object], host: str = HERE) -> Iterator[int]:
    """A computer that answers each connection, one after the other; yields the port."""
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            with sock:
                sock.settimeout(10)
                with suppress(OSError):
                    answer(sock)

    with socket.create_server((host, 0)) as listener:
        listener.settimeout(0.2)
        port: int = listener.getsockname()[1]
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            is_over.set()
            thread.join(20)
            assert not thread.is_alive()


def over_tls(context: ssl.SSLContext) -> Callable[[socket.socket], object]:
    """What a Manager does: shake hands, ask the first question, wait."""

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as peer:
            peer.sendall(FIRST_QUESTION)
            peer.recv(1)

    return answer


def issued(*names: str, authority: trustme.CA | None = None, **kwargs: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority or trustme.CA()).issue_cert(*names, **kwargs).configure_cert(context)
    return context


def made(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of ours, and the context of the Manager that has it."""
    key = generate_key(folder / "m.key")
    cert = generate_certificate(folder / "m.crt", key_file=key)
    return cert, server_context(cert, key)


def use_1_0(home: Path, *words: str) -> str:
    """Run a module of MSL-Network 1.0."""
    environment = {**os.environ, "MSL_NETWORK_HOME": str(home)}
    command = [sys.executable, "-W", "ignore", *words]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60, text=True)
    return done.stdout.strip()


def options(port: int, **kwargs: Any) -> ConnectOptions:
    return ConnectOptions(**{"host": HERE, "port": port, "timeout": 10, **kwargs})


def connect(chosen: ConnectOptions, *answers: str) -> bytes:
    """Do what a Client does; return the beginning of the first question."""
    context, path = trusted_context(chosen, ask=Person(*answers))
    try:
        with socket.create_connection((chosen.host, chosen.port), chosen.timeout) as sock:
            with context.wrap_socket(sock, server_hostname=chosen.host) as peer:
                return peer.recv(13)
    except OSError as error:
        raise explain(error, chosen, path) from error


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A Manager with a certificate of its own."""
    cert, context = made(tmp_path / "manager")
    with serving(over_tls(context)) as port:
        yield port, cert


# Where it is stored


@pytest.mark.parametrize("host", ["localhost", "lab-pc.msl.govt.nz", "127.0.0.1", "::1", "fe80::1%eth0", "LAB", ".."])
def test_a_certificate_is_stored_where_1_0_stores_it(home: Path, host: str) -> None:
    """The file has the name of the host, in the folder of certificates."""
    assert stored_certificate(host) == home / "certs" / f"{host}.crt"
    assert stored_certificate(host, home / "other") == home / "other" / "certs" / f"{host}.crt"


def test_the_folder_is_that_of_1_0(home: Path) -> None:
    """1.0 itself names this folder."""
    folder = use_1_0(home, "-c", "from msl.network.constants import CERT_DIR; print(CERT_DIR)")
    assert stored_certificate("lab-pc") == Path(folder, "lab-pc.crt")


def test_no_colon_in_a_file_name_on_windows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows would write to a stream of another file."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert stored_certificate("::1") == home / "certs" / "%3A%3A1.crt"


@pytest.mark.parametrize("host", ["", "../keys/localhost", "/etc/x", "a\\b", "a\0b", "a\nb", "https://lab", "a" * 254])
def test_what_is_no_host_has_no_file(host: str) -> None:
    """Nothing outside the folder is read or written, and nothing is connected to."""
    with pytest.raises(ConnectError, match="is not a host; give the name or the IP address"):
        stored_certificate(host)
    with pytest.raises(ConnectError, match="is not a host"):
        trusted_context(options(1, host=host, auto_save=True))


# Trust on first use


def test_a_manager_is_met_for_the_first_time(home: Path, manager: tuple[int, Path]) -> None:
    """The person sees its names, dates and both fingerprints, and that it is new; yes stores it, private."""
    port, cert = manager
    person = Person("what?", "", " Yes ")
    context, path = trusted_context(options(port), ask=person)

    shown = person.questions[0]
    for word in (
        "for the first time",
        f"{HERE}:{port}",
        "localhost",
        "Valid:    from ",
        str(path),
        "msl-network certdump",
    ):
        assert word in shown
    for algorithm in ("SHA256", "SHA1"):
        assert fingerprint(cert.read_bytes(), algorithm) in shown
    assert person.questions[1:] == ["Please answer y or n: "] * 2

    assert path == home / "certs" / f"{HERE}.crt"
    assert fingerprint(path.read_bytes()) == fingerprint(cert.read_bytes())
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname is True
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_the_next_time_nobody_is_asked(manager: tuple[int, Path]) -> None:
    """Once it is stored, the context is made without asking, and the Manager accepted."""
    assert connect(options(manager[0]), "y") == FIRST_QUESTION[:13]
    assert connect(options(manager[0])) == FIRST_QUESTION[:13]


def test_a_stored_certificate_needs_no_network(
    home: Path, manager: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is connected to when the certificate is stored, or given."""
    chosen = options(manager[0], auto_save=True)
    _, path = trusted_context(chosen)
    given = options(manager[0], cert_file=str(manager[1]), host="elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", None)
        assert trusted_context(chosen)[1] == path
        assert trusted_context(given)[1] == manager[1]
    assert list((home / "certs").iterdir()) == [path]


@pytest.mark.parametrize("answer", ["n", "NO"])
def test_no_is_no(home: Path, manager: tuple[int, Path], answer: str) -> None:
    """Nothing is stored, and the connection is not made."""
    with pytest.raises(UntrustedError, match=f"{HERE}:{manager[0]} is not trusted: the answer was no"):
        connect(options(manager[0]), answer)
    assert not home.exists()


@pytest.mark.parametrize("error", [EOFError(), OSError(errno.EBADF, "bad"), RuntimeError("lost sys.stdin")])
def test_nobody_can_be_asked(home: Path, manager: tuple[int, Path], error: Exception) -> None:
    """Without a terminal the error says how to go on without one."""

    def ask(question: str) -> str:
        raise error

    with pytest.raises(UntrustedError, match=r"nobody to ask .* auto_save=True .* or its certificate as cert_file"):
        trusted_context(options(manager[0]), ask=ask)
    assert not home.exists()


def test_auto_save_asks_nobody(manager: tuple[int, Path]) -> None:
    """With auto_save a Manager that is met for the first time is trusted."""
    assert connect(options(manager[0], auto_save=True)) == FIRST_QUESTION[:13]


def test_many_threads_at_once(manager: tuple[int, Path]) -> None:
    """Threads that meet the same Manager at the same time all come to trust it."""
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(connect(options(manager[0], auto_save=True)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FIRST_QUESTION[:13]] * 8


def test_the_same_computer_under_another_name(home: Path, manager: tuple[int, Path]) -> None:
    """Nobody is asked about what is trusted for localhost; a certificate of its own file it gets all the same."""
    port, cert = manager
    paths.write_private(stored_certificate("localhost"), cert.read_bytes())
    assert connect(options(port)) == FIRST_QUESTION[:13]
    assert stored_certificate(HERE).is_file()


def test_what_localhost_does_not_vouch_for(manager: tuple[int, Path], tmp_path: Path) -> None:
    """A different certificate on this computer, and the same on another one, are met for the first time."""
    paths.write_private(stored_certificate("localhost"), manager[1].read_bytes())
    context = made(tmp_path / "other")[1]
    with serving(over_tls(context)) as port, pytest.raises(UntrustedError, match="nobody to ask"):
        connect(options(port))
    paths.write_private(stored_certificate("localhost"), (tmp_path / "other" / "m.crt").read_bytes())
    with serving(over_tls(context), "127.0.0.2") as port, pytest.raises(UntrustedError, match="nobody to ask"):
        connect(options(port, host="127.0.0.2"))


def test_what_a_stranger_wrote_into_a_certificate(manager: tuple[int, Path], tmp_path: Path) -> None:
    """Its names reach the terminal without control characters, and not by the thousand."""
    names = [f"n{number}.lab" for number in range(100)]
    person = Person("n")
    with serving(over_tls(issued(*names, common_name="evil"))) as port, pytest.raises(UntrustedError):
        trusted_context(options(port), ask=person)
    assert "n11.lab, and 88 more\n" in person.questions[0]

    context = issued(common_name="\x1b[2Jlab")
    with serving(over_tls(context)) as port, pytest.raises(UntrustedError):
        trusted_context(options(port), ask=(person := Person("n")))
    assert "  Names:    \\x1b[2Jlab\n" in person.questions[0]


def test_it_cannot_be_read(home: Path, manager: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What TLS accepts, but nobody could be shown, is not trusted."""

    def load(pem: str) -> None:
        raise CertificateError("the certificate is damaged")

    monkeypatch.setattr(trust, "load_certificate", load)
    with pytest.raises(ConnectError, match=rf"^{HERE}:{manager[0]}: the certificate is damaged$"):
        trusted_context(options(manager[0], auto_save=True))
    assert not home.exists()


def test_it_cannot_be_stored(home: Path, manager: tuple[int, Path]) -> None:
    """The place is named, and the way without storing."""

    def ask(question: str) -> str:
        home.write_text("in the way")
        return "y"

    with pytest.raises(ConnectError, match=rf"{HERE}:{manager[0]}: cannot make the folder .*, or give it as cert_file"):
        trusted_context(options(manager[0]), ask=ask)
    with pytest.raises(ConnectError, match=rf"{HERE}.crt: the certificate cannot be read: Not a directory; correct"):
        trusted_context(options(manager[0]))


# Which certificates


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
def test_a_certificate_of_1_0(home: Path, tmp_path: Path, kind: str) -> None:
    """What the commands of 1.0 made is accepted, on each Python: fetched, stored before, or given."""
    old = tmp_path / "old"
    use_1_0(old, "-m", "msl.network.cli", "keygen", kind)
    use_1_0(old, "-m", "msl.network.cli", "certgen")
    cert = paths.cert_file(old)
    with serving(over_tls(server_context(cert, paths.key_file(old)))) as port:
        assert connect(options(port), "y") == FIRST_QUESTION[:13]
        assert connect(options(port, cert_file=cert)) == FIRST_QUESTION[:13]
        script = (
            "import sys; from msl.network.cryptography import get_ssl_context\n"
            "print(get_ssl_context(host=sys.argv[1], port=int(sys.argv[2]), auto_save=True)[0])"
        )
        stored = use_1_0(home, "-c", script, "localhost", str(port))
        assert Path(stored) == stored_certificate("localhost")
        assert connect(options(port, host="localhost")) == FIRST_QUESTION[:13]


def test_a_certificate_of_an_authority(tmp_path: Path) -> None:
    """It is pinned as it is, without its authority; and the authority's certificate can be given instead."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(over_tls(issued(HERE, authority=authority))) as port:
        assert connect(options(port, auto_save=True)) == FIRST_QUESTION[:13]
        assert connect(options(port, cert_file=tmp_path / "ca.pem")) == FIRST_QUESTION[:13]


def test_a_given_file_that_is_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, unreadable or wrong file is named in one line, and nothing is connected to."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    (tmp_path / "text").write_text("hello")
    key = generate_key(tmp_path / "k.key")
    for name, problem in (
        (tmp_path / "nowhere", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        ("a\0b", "cannot be read: embedded null byte"),
        (tmp_path / "text", "there is no certificate in PEM form in it"),
        (key, "there is no certificate in PEM form in it"),
    ):
        with pytest.raises(ConnectError) as caught:
            trusted_context(options(1, cert_file=name))
        assert str(caught.value).startswith(f"{name}: ")
        assert problem in str(caught.value)
        assert str(caught.value).endswith("; correct cert_file")
        assert "\n" not in str(caught.value)


def test_a_stored_file_that_is_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not replaced in silence: a person may delete it."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    paths.write_private(stored_certificate(HERE), b"damaged")
    with pytest.raises(ConnectError, match=r"127.0.0.1.crt: there is no certificate .*; correct or delete it, and"):
        trusted_context(options(1, auto_save=True))
    assert stored_certificate(HERE).read_bytes() == b"damaged"


# What goes wrong with a certificate


def test_another_name(manager: tuple[int, Path]) -> None:
    """The names that it has are said, and assert_hostname=False accepts it, but no other certificate."""
    with serving(over_tls(issued("example.org", "lab.example.org"))) as port:
        with pytest.raises(UntrustedError) as caught:
            connect(options(port, auto_save=True))
        text = str(caught.value)
        assert f"{HERE}:{port}: the certificate of the Manager is not for the host '{HERE}'" in text
        assert f"(in {stored_certificate(HERE)}: example.org, lab.example.org)" in text
        assert "assert_hostname=False" in text
        assert connect(options(port, assert_hostname=False)) == FIRST_QUESTION[:13]
        with pytest.raises(UntrustedError, match=r"is not for the host 'localhost'"):
            connect(options(port, auto_save=True, host="localhost"))
    with pytest.raises(UntrustedError, match="shows another certificate"):
        connect(options(manager[0], assert_hostname=False))


@pytest.mark.parametrize("kind", ["ours", "1.0", "authority"])
def test_the_certificate_has_changed(manager: tuple[int, Path], tmp_path: Path, kind: str) -> None:
    """The file and its fingerprint are named, and that it may be a fraud; it is not replaced."""
    before = manager[1]
    context = issued(HERE)
    if kind == "ours":
        context = made(tmp_path / "new")[1]
    elif kind == "1.0":
        for name in ("before", "after"):
            use_1_0(tmp_path / name, "-m", "msl.network.cli", "keygen")
            use_1_0(tmp_path / name, "-m", "msl.network.cli", "certgen")
        before = paths.cert_file(tmp_path / "before")
        context = server_context(paths.cert_file(tmp_path / "after"), paths.key_file(tmp_path / "after"))
    stored = stored_certificate(HERE)
    paths.write_private(stored, before.read_bytes())
    with serving(over_tls(context)) as port:
        for assert_hostname in (True, False):
            with pytest.raises(UntrustedError) as caught:
                connect(options(port, auto_save=True, assert_hostname=assert_hostname))
            text = str(caught.value)
            assert f"{HERE}:{port} shows another certificate than the one in {stored} (SHA-256 " in text
            assert fingerprint(before.read_bytes(), "SHA256") in text
            assert "somebody pretends" in text
            assert "delete that file, connect again without auto_save, and compare the fingerprint" in text
        with pytest.raises(UntrustedError, match="if it is new, give the new one as cert_file"):
            connect(options(port, cert_file=before))
    assert stored.read_bytes() == before.read_bytes()


def test_the_file_of_a_manager_of_our_own_is_not_to_be_deleted(home: Path, tmp_path: Path) -> None:
    """localhost.crt is also what the Manager of this user shows; the way out is another one."""
    generate_certificate(paths.cert_file(), key_file=generate_key(paths.key_file()))
    with serving(over_tls(made(tmp_path)[1])) as port, pytest.raises(UntrustedError, match="do not delete that file"):
        connect(options(port, host="localhost"))


@pytest.mark.parametrize(("begin", "end", "words"), [(-9, -1, "has expired"), (1, 9, "is not valid yet")])
def test_it_is_not_valid_now(home: Path, tmp_path: Path, begin: int, end: int, words: str) -> None:
    """The dates and the clock of this computer are said; on first use such a certificate is not stored."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    dates: Any = {"not_before": NOW + timedelta(begin), "not_after": NOW + timedelta(end)}
    leaf = authority.issue_cert(HERE, **dates)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    period = f"(from {dates['not_before']:%d %B %Y} to {dates['not_after']:%d %B %Y})"
    with serving(over_tls(context)) as port:
        with pytest.raises(UntrustedError) as caught:
            connect(options(port, auto_save=True))
        assert f"the certificate of the Manager is not valid now {period}; if the clock" in str(caught.value)
        assert not home.exists()

        with pytest.raises(UntrustedError) as caught:
            connect(options(port, cert_file=tmp_path / "ca.pem"))
        assert f"the certificate of the Manager {words}; if the clock" in str(caught.value)
        assert str(caught.value).endswith("('msl-network certgen') and give it as cert_file")

        paths.write_private(stored_certificate(HERE), leaf.cert_chain_pems[0].bytes())
        with pytest.raises(UntrustedError) as caught:
            connect(options(port))
        assert f"the certificate of the Manager {words} {period}; if the clock" in str(caught.value)
        assert "'msl-network certgen'" in str(caught.value)
        assert str(caught.value).endswith(f", delete {stored_certificate(HERE)}, and connect again")

        paths.write_private(paths.cert_file(), leaf.cert_chain_pems[0].bytes())
        generate_key(paths.key_file())
        with pytest.raises(UntrustedError) as caught:
            connect(options(port, host="localhost", assert_hostname=False))
        assert str(caught.value).endswith("('msl-network certgen')")


def test_it_is_refused_for_another_reason(tmp_path: Path) -> None:
    """What OpenSSL says is passed on, with what to do."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] x")
    error.verify_code, error.verify_message = 26, "unsuitable certificate purpose"
    explained = explain(error, options(1), tmp_path / "nowhere")
    assert isinstance(explained, UntrustedError)
    assert "is refused: unsuitable certificate purpose; ask its operator" in str(explained)


# What goes wrong before


def test_nothing_listens_here(home: Path) -> None:
    """On this computer the question is whether a Manager runs, whichever way it was come to."""
    port = free_port()
    expected = rf":{port}: nothing listens on this computer: is a Manager running\? Start one with 'msl-network start'"
    for host in (HERE, "localhost"):
        with pytest.raises(ConnectError, match=host + expected):
            connect(options(port, host=host, auto_save=True))

    async def use_anyio() -> None:
        await anyio.connect_tcp("localhost", port)

    with pytest.raises(OSError) as caught:  # noqa: PT011  that of anyio has no text of the system
        anyio.run(use_anyio)
    assert f"localhost:{port}: nothing listens on this computer" in str(
        explain(caught.value, options(port, host="localhost"))
    )
    assert not home.exists()


def test_nothing_listens_elsewhere() -> None:
    """Of another computer it is known that it is there."""
    with pytest.raises(ConnectError, match=r"127.0.0.2:\d+: nothing listens there, though the computer answers"):
        connect(options(free_port(), host="127.0.0.2", auto_save=True))


@pytest.mark.parametrize("wrap", ["group", "asyncio"])
def test_a_host_with_several_addresses(wrap: str) -> None:
    """That one address refused says more than that another cannot be reached."""
    unreachable = OSError(errno.ENETUNREACH, "Network is unreachable")
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    error = OSError("All connection attempts failed")
    if wrap == "group":
        error.__cause__ = Group(unreachable, refused)
    else:
        error = OSError(f"Multiple exceptions: {unreachable}, {refused}")
    assert "nothing listens there" in str(explain(error, options(1, host="lab-pc")))
    assert "Network is unreachable" in str(explain(unreachable, options(1, host="lab-pc")))


class Group(Exception):  # noqa: N818
    """What ExceptionGroup is from Python 3.11 on."""

    def __init__(self, *exceptions: Exception) -> None:
        self.exceptions = exceptions


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64, "a..b"])
def test_an_unknown_host(host: str) -> None:
    """The name is said, whether the system does not know it or it cannot be one."""
    with pytest.raises(ConnectError, match=rf"^{host}:1875: the host name '{host}' is unknown \(.*IP address"):
        connect(ConnectOptions(host=host, auto_save=True))


def test_what_listens_says_nothing() -> None:
    """The time limit holds for the handshake, too."""
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            ConnectTimeoutError, match=rf"{HERE}:{port} did not answer within 0.05 s; .*disable_tls=True"
        ):
            connect(options(port, timeout=0.05))


def test_no_time_at_all(manager: tuple[int, Path]) -> None:
    """A time limit that is over before it began is one; None is none."""
    with pytest.raises(ConnectTimeoutError, match="within 0 s"):
        connect(options(manager[0], timeout=0))
    assert connect(options(manager[0], timeout=None), "y") == FIRST_QUESTION[:13]
    assert "did not answer; " in str(explain(TimeoutError(errno.ETIMEDOUT, "x"), options(1, timeout=None)))


def test_a_manager_without_tls() -> None:
    """It asks its first question in clear text; the remedy is said, whether it was met before or not."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(FIRST_QUESTION)
        sock.recv(10_000)

    with serving(answer) as port:
        expected = f"{HERE}:{port}: what listens there speaks no TLS; .*disable_tls=True"
        with pytest.raises(ConnectError, match=expected):
            connect(options(port))
        with pytest.raises(ConnectError, match=expected):
            connect(options(port, cert_file=cert_of_nobody()))


def cert_of_nobody() -> Path:
    return generate_certificate(paths.home() / "x.crt", key_file=generate_key(paths.home() / "x.key"))


@pytest.mark.parametrize("is_reset", [True, False])
def test_closed_in_the_handshake(is_reset: bool) -> None:
    """The end of the connection, polite or not, is not an OpenSSL text."""

    def answer(sock: socket.socket) -> None:
        if is_reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.recv(1)
        if not is_reset:
            sock.recv(10_000)

    with serving(answer) as port, pytest.raises(ConnectError) as caught:
        connect(options(port))
    assert str(caught.value) == str(closed_early(options(port)))
    assert f"{HERE}:{port} closed the connection at once; it may be full" in str(caught.value)


@pytest.mark.parametrize("error", [anyio.EndOfStream(), anyio.BrokenResourceError(), EOFError()])
def test_what_anyio_makes_of_an_end(error: Exception) -> None:
    """The streams of anyio say it in their own words; a cause says more."""
    assert str(explain(error, options(1))) == str(closed_early(options(1)))
    broken = anyio.BrokenResourceError()
    broken.__cause__ = OSError(errno.EHOSTUNREACH, "No route to host")
    assert f"{HERE}:1 cannot be connected to: No route to host; correct" in str(explain(broken, options(1)))


def test_only_old_versions_of_tls() -> None:
    """A Manager that speaks only TLS 1.1 is refused, and that is said."""
    context = issued(HERE)
    context.set_ciphers("ALL:@SECLEVEL=0")
    for limit in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            setattr(context, limit, ssl.TLSVersion.TLSv1_1)
    with serving(over_tls(context)) as port:
        with pytest.raises(ConnectError, match=rf"{HERE}:{port}: it speaks only TLS older than 1.2"):
            connect(options(port))


def test_no_cipher_in_common() -> None:
    """Any other disagreement is said in plain words."""
    context = issued(HERE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA256")
    with serving(over_tls(context)) as port:
        with pytest.raises(ConnectError, match=rf"{HERE}:{port}: no agreement on TLS \(.*handshake failure\); correct"):
            connect(options(port))


def test_what_is_explained_stays() -> None:
    """A ConnectError passes as it is; other errors of the package keep their text."""
    error = UntrustedError("no")
    assert explain(error, options(1)) is error
    assert str(explain(StoreError("disk full"), options(1))) == f"{HERE}:1: disk full"


@pytest.mark.parametrize("error", [OSError(), ValueError("odd"), OverflowError("timeout"), ssl.SSLError(1, "[X] y")])
def test_anything_else(error: Exception) -> None:
    """Also an error that nobody foresaw names the address and what to do, in one line."""
    explained = explain(error, options(7))
    assert type(explained) is ConnectError
    assert str(explained).startswith(f"{HERE}:7")
    assert "correct the" in str(explained)


# After the connection was made


def test_tls_that_was_disabled() -> None:
    """When the Manager is silent, or ends, the first thing to suspect is TLS; else it is not."""
    plain, tls = options(1875, disable_tls=True), options(1875)
    for error in (silent_manager(plain, 2), closed_early(plain), explain(ConnectionResetError(), plain)):
        assert f"{HERE}:1875 " in str(error)
        assert "it probably uses TLS: leave out disable_tls=True" in str(error)
    assert "said nothing within 2 s; it may be busy" in str(silent_manager(tls, 2))
    assert isinstance(silent_manager(tls, 2), ConnectTimeoutError)
    assert not isinstance(closed_early(tls), TimeoutError)


# Our own certificate


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_our_certificate_or_our_key_is_missing(tmp_path: Path, missing: str) -> None:
    """Of the two files, the one that cannot be read is named."""
    cert, context = made(tmp_path)
    mine = trustme.CA().issue_cert("me")
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "me.cert"))
    mine.private_key_pem.write_to_path(str(tmp_path / "me.key"))
    (tmp_path / f"me.{missing}").unlink()
    keywords = {"client_cert_file": tmp_path / "me.cert", "client_key_file": tmp_path / "me.key", "host": "localhost"}
    with serving(over_tls(context)) as port:
        ours = options(port, cert_file=str(cert), **keywords)
        with pytest.raises(ConnectError, match=rf"^{tmp_path}/me\.{missing}: cannot be read: No such file"):
            open_channel(ours, Introduction({}, ours))


@pytest.mark.parametrize(
    ("version", "is_shown"),
    # in TLS 1.2 the lack of one is told by an alert that may mean anything
    [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_3, False)],
)
def test_our_certificate_is_not_accepted(tmp_path: Path, version: ssl.TLSVersion, is_shown: bool) -> None:
    """What a Manager says to our certificate, or to the lack of one, comes in the handshake or right after it."""
    cert, context = made(tmp_path)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)
    mine = tmp_path / "mine.pem"
    trustme.CA().issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(mine))
    keywords = {"cert_file": str(cert), "host": "localhost"} | ({"client_cert_file": mine} if is_shown else {})
    text = "lets in only who has a certificate; ask its operator for one, and give it as client_cert_file"
    if is_shown:
        text = rf"does not accept the certificate in {mine} \(tlsv1 alert unknown ca\); ask its operator for one"

    async def open_async() -> None:
        await open_stream(options(port, **keywords), Introduction({}, options(port, **keywords)))

    with serving(over_tls(context)) as port:
        with pytest.raises(RefusedError, match=text):
            open_channel(options(port, **keywords), Introduction({}, options(port, **keywords)))
        with pytest.raises(RefusedError, match=text):
            anyio.run(open_async)
