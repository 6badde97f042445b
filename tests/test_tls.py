from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from msl_network import paths, tls
from msl_network.certificates import generate_certificate, generate_key, load_certificate, load_key
from msl_network.errors import CertificateError
from msl_network.tls import ensure_certificate, rehearsal_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

Pair = tuple[Path, Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSL_NETWORK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "pair")


def make_pair(folder: Path, **kwargs: str) -> Pair:
    key = generate_key(folder / "k.key", **kwargs)  # type: ignore[arg-type]
    password = kwargs.get("password")
    return generate_certificate(folder / "c.crt", key_file=key, key_file_password=password), key


def ensure(cert: Path | None = None, key: Path | None = None, password: str | None = None) -> Pair:
    return ensure_certificate(cert_file=cert, key_file=key, key_file_password=password)


def use_1_0(home: Path, *words: str) -> None:
    """Run the command line of MSL-Network 1.0."""
    environment = {**os.environ, "MSL_NETWORK_HOME": str(home)}
    command = [sys.executable, "-W", "ignore", "-m", "msl.network.cli", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """Return the TLS version that both agree on, after a line went each way over a socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(ours, server_side=True) as sock:
                sock.sendall(sock.recv(100))
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname=name) as sock:
            sock.sendall(b"identity\r\n")
            assert sock.recv(100) == b"identity\r\n"
            return sock.version()
    finally:
        theirs.close()
        thread.join()


def trusting(cert: Path, *, strict: bool = True) -> ssl.SSLContext:
    """Return what a client of 1.0 does with a certificate that it fetched; strict as from Python 3.13 on."""
    context = ssl.create_default_context(cafile=cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", socket.gethostname()])
@pytest.mark.parametrize("strict", [True, False])
def test_a_client_verifies_the_default_certificate(home: Path, name: str, strict: bool) -> None:
    """41. With the certificate as its authority a client, strict or not, accepts each name of the Manager."""
    cert, key = ensure()
    version = shake_hands(server_context(cert, key), trusting(cert, strict=strict), name)
    assert version == "TLSv1.3"


def test_a_client_refuses_another_name_and_another_key(home: Path, pair: Pair) -> None:
    """The verification is real: a foreign name, or a certificate of another key, is refused."""
    cert, key = ensure()
    context = server_context(cert, key)
    for trusted, name in ((cert, "example.org"), (pair[0], "localhost")):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(context, trusting(trusted), name)


@pytest.mark.parametrize("kwargs", [{"algorithm": "rsa"}, {"curve": "SECP384R1"}, {"curve": "SECP521R1"}])
def test_every_kind_of_key_that_is_offered(tmp_path: Path, kwargs: dict[str, str]) -> None:
    """A strict client accepts the certificate of each kind of key."""
    cert, key = make_pair(tmp_path, **kwargs)
    assert shake_hands(server_context(cert, key), trusting(cert), "localhost") == "TLSv1.3"


def test_tls_1_2_is_the_least(pair: Pair) -> None:
    """40. A client with TLS 1.2 is served, one that has only TLS 1.1 is not."""
    context = server_context(*pair)
    client = trusting(pair[0])
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(context, client, "localhost") == "TLSv1.2"

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    old = trusting(pair[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(context, old, "localhost")


def test_the_certificate_can_be_fetched_by_whoever_asks(pair: Pair) -> None:
    """A client without any trust downloads the very certificate, as 1.0 does before it connects."""
    context = server_context(*pair)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        fetched = pool.submit(ssl.get_server_certificate, ("127.0.0.1", port), timeout=10)
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as peer:
            assert peer.recv(1) == b""
    assert load_certificate(fetched.result()) == load_certificate(pair[0])


def test_a_certificate_of_an_authority(tmp_path: Path) -> None:
    """A chain that an authority issued is served whole, from one file with its key."""
    authority = trustme.CA()
    issued = authority.create_child_ca().issue_cert("localhost")
    both = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    assert ensure(both) == (both, both)
    assert shake_hands(server_context(both, both), client, "localhost") == "TLSv1.3"


def test_the_default_files_are_made_once(home: Path) -> None:
    """41. The first start makes an ECC key and its certificate, private; later starts use them as they are."""
    first = ensure()
    content = [path.read_bytes() for path in first]

    assert first == (home / "certs" / "localhost.crt", home / "keys" / "localhost.key")
    assert load_certificate(first[0]).public_key() == load_key(first[1]).public_key()
    assert ensure() == first
    assert [path.read_bytes() for path in first] == content
    if os.name == "posix":
        assert first[1].stat().st_mode & 0o777 == 0o600
        assert first[1].parent.stat().st_mode & 0o777 == 0o700


def test_a_root_in_place_of_home(home: Path, tmp_path: Path) -> None:
    """With a root of the caller nothing is made in the home."""
    root = tmp_path / "root"
    cert, key = ensure_certificate(cert_file=None, key_file=None, key_file_password=None, root=root)
    assert (cert, key) == (paths.cert_file(root), paths.key_file(root))
    assert not home.exists()


def test_the_files_of_1_0_are_used_as_they_are(home: Path) -> None:
    """41. What 1.0 left stays byte for byte, and its clients, who pinned that certificate, accept the Manager."""
    use_1_0(home, "keygen")
    use_1_0(home, "certgen")
    before = [paths.cert_file().read_bytes(), paths.key_file().read_bytes()]
    cert, key = ensure()

    assert [cert.read_bytes(), key.read_bytes()] == before
    assert load_certificate(cert).subject.rfc4514_string().count("Wellington") == 1
    assert shake_hands(server_context(cert, key), trusting(cert, strict=False), "localhost") == "TLSv1.3"


def test_an_encrypted_key_of_1_0(home: Path) -> None:
    """A key that 1.0 encrypted, in an older form than ours, opens with its password."""
    use_1_0(home, "keygen", "ecc", "--password", "two", "words")
    cert, key = ensure(password="two words")
    assert shake_hands(server_context(cert, key, "two words"), trusting(cert), "localhost") == "TLSv1.3"


def test_the_files_that_1_0_named_after_a_host(home: Path) -> None:
    """A pair named after the host is used for that host; a lone certificate of that name is a client's."""
    cert, key = ensure()
    named = cert.with_name("10.0.0.1.crt"), key.with_name("10.0.0.1.key")
    shutil.copy(cert, named[0])

    def choose() -> Pair:
        return ensure_certificate(cert_file=None, key_file=None, key_file_password=None, host="10.0.0.1")

    assert choose() == (cert, key)
    shutil.copy(key, named[1])
    assert choose() == named


def rehearse(cert: Path | None = None, key: Path | None = None, password: str | None = None) -> ssl.SSLContext:
    return rehearsal_context(cert_file=cert, key_file=key, key_file_password=password)


def test_a_rehearsal_makes_nothing(home: Path, tmp_path: Path) -> None:
    """Where the Manager would make a file, none is made, and that it is missing is no mistake."""
    rehearse()
    assert not home.exists()
    key = generate_key(tmp_path / "own.key")
    rehearse(key=key)
    assert not home.exists()
    cert, default_key = ensure()
    cert.unlink()
    rehearse()
    assert default_key.is_file()
    assert not cert.exists()


def test_a_rehearsal_with_all_files(home: Path, pair: Pair) -> None:
    """The context is that of a Manager, with the default files or those that are named."""
    default = ensure()
    assert shake_hands(rehearse(), trusting(default[0]), "localhost") == "TLSv1.3"
    assert shake_hands(rehearse(*pair), trusting(pair[0]), "localhost") == "TLSv1.3"


def test_a_rehearsal_that_fails(home: Path, tmp_path: Path, pair: Pair) -> None:
    """What would keep the Manager from starting is told as it tells it."""
    with pytest.raises(CertificateError, match=r"none\.crt: the certificate cannot be read: No such file"):
        rehearse(tmp_path / "none.crt")
    with pytest.raises(CertificateError, match=r"none\.key: "):
        rehearse(key=tmp_path / "none.key")
    with pytest.raises(CertificateError, match="does not belong to this certificate"):
        rehearse(pair[0], generate_key(tmp_path / "other.key"))
    ensure(password="secret")
    with pytest.raises(CertificateError, match=r"encrypted; give its password \(key_file_password\)"):
        rehearse()


def test_a_missing_certificate_is_made_from_the_key(home: Path) -> None:
    """When only the default key is there it stays, and gets a certificate."""
    generate_key(paths.key_file())
    before = paths.key_file().read_bytes()
    cert, key = ensure()

    assert key.read_bytes() == before
    server_context(cert, key)


def test_a_certificate_without_its_key_is_made_anew(home: Path) -> None:
    """When only the default certificate is there, which nothing fits, both are made."""
    cert, key = ensure()
    old = cert.read_bytes()
    key.unlink()

    assert ensure() == (cert, key)
    assert cert.read_bytes() != old
    server_context(cert, key)


def test_an_encrypted_default_key(home: Path) -> None:
    """A default key that is made with a password is encrypted; without it the error says what to give."""
    cert, key = ensure(password="secret")
    server_context(cert, key, "secret")
    cert.unlink()
    with pytest.raises(CertificateError, match=r"localhost.key: .* encrypted; give its password \(key_file"):
        ensure()


def test_certificate_and_key_are_given(home: Path, tmp_path: Path) -> None:
    """Both are taken as they are, and nothing is made."""
    given = tmp_path / "a.crt", tmp_path / "a.key"
    assert ensure(*given) == given
    assert not home.exists()


def test_a_certificate_alone(home: Path, pair: Pair) -> None:
    """Its key is the default one, if that exists; if none does, the error names what to give."""
    with pytest.raises(CertificateError, match=r"c.crt: there is no private key .*\(key_file\)"):
        ensure(pair[0])
    default = generate_key(paths.key_file())
    assert ensure(pair[0]) == (pair[0], default)
    with pytest.raises(CertificateError, match="nowhere: the certificate cannot be read: No such file"):
        ensure(pair[0].with_name("nowhere"))


def test_a_key_alone(home: Path, pair: Pair) -> None:
    """A certificate is made from it and named after it; the default one, which Clients pinned, stays."""
    ensure()
    default = paths.cert_file()
    pinned = default.read_bytes()
    own = default.with_name("k.crt")
    for content in (b"", b"damaged", pinned):
        own.write_bytes(content)
        assert ensure(None, pair[1]) == (own, pair[1])
        assert load_certificate(own).public_key() == load_key(pair[1]).public_key()
        server_context(own, pair[1])
    assert default.read_bytes() == pinned
    server_context(*ensure())


def test_a_key_alone_with_the_name_of_the_default_one(home: Path, pair: Pair) -> None:
    """Also a key that is called as the default one leaves the default certificate alone."""
    ensure()
    pinned = paths.cert_file().read_bytes()
    key = pair[1].rename(pair[1].with_name("localhost.key"))
    assert ensure(None, key) == (paths.cert_file().with_name("localhost-2.crt"), key)
    assert paths.cert_file().read_bytes() == pinned


def test_the_default_key_alone(home: Path) -> None:
    """The default key has the default certificate."""
    cert, key = ensure()
    assert ensure(None, key) == (cert, key)


def test_a_key_alone_at_the_next_start(home: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate of the same key stays, because clients pinned it; unless its time is over."""
    cert, key = ensure(None, pair[1])
    pinned = cert.read_bytes()
    ensure(None, key)
    assert cert.read_bytes() == pinned

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return cls(2100, 1, 1, tzinfo=tz)

    monkeypatch.setattr(tls, "datetime", Later)
    ensure(None, key)
    assert cert.read_bytes() != pinned


def test_a_folder_that_cannot_be_looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the folder is another user's, the error is one line with the path."""
    home.mkdir()

    def denied(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(CertificateError, match=r"localhost.key: Permission denied|keys: Permission denied"):
        ensure()


def damaged(pair: Pair) -> Pair:
    pair[0].write_text("hello")
    return pair


def without_key(pair: Pair) -> Pair:
    return pair[0], pair[1].with_name("nowhere.key")


def without_certificate(pair: Pair) -> Pair:
    return pair[0].with_name("nowhere.crt"), pair[1]


def foreign_key(pair: Pair) -> Pair:
    return pair[0], generate_key(pair[1].with_name("other.key"))


def swapped(pair: Pair) -> Pair:
    return pair[1], pair[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (damaged, "c.crt: there is no certificate in PEM form"),
        (without_key, "nowhere.key: there is no such file"),
        (without_certificate, "nowhere.crt: there is no such file"),
        (foreign_key, "other.key does not belong to this certificate; name its own key"),
        (swapped, "k.key: there is no certificate in PEM form"),
    ],
)
def test_what_can_be_wrong_with_files(pair: Pair, change: Callable[[Pair], Pair], text: str) -> None:
    """27. Each fault of the files is one line that names the file."""
    with pytest.raises(CertificateError) as info:
        server_context(*change(pair))
    assert text in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        (None, "k.key: the private key is encrypted; give its password"),
        ("", "k.key: the private key is encrypted; give its password"),
        ("wrong", "k.key: the password (key_file_password) does not open the private key"),
        ("x" * 5000, "k.key: the password (key_file_password) does not open the private key"),
    ],
)
def test_the_password_of_an_encrypted_key(tmp_path: Path, password: str | None, text: str) -> None:
    """A missing or wrong password is said at once."""
    cert, key = make_pair(tmp_path, password="secret")
    with pytest.raises(CertificateError) as info:
        server_context(cert, key, password)
    assert text in str(info.value)


def test_nothing_asks_on_the_terminal(tmp_path: Path) -> None:
    """With a terminal at hand, OpenSSL does not ask for the password of an encrypted key."""
    cert, key = make_pair(tmp_path, password="secret")
    code = (
        "import sys; from pathlib import Path; from msl_network.tls import server_context\n"
        "try: server_context(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    master, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(cert), str(key)],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        output, _ = process.communicate(timeout=30)
    os.close(terminal)
    os.set_blocking(master, False)
    try:
        shown = os.read(master, 1000)
    except OSError:
        shown = b""
    os.close(master)
    assert (output, shown) == (b"CertificateError\n", b"")


def test_a_weak_key(tmp_path: Path) -> None:
    """A certificate that OpenSSL holds for too weak is refused with its reason and the remedy."""
    key = tmp_path / "weak.key"
    weak = rsa.generate_private_key(65537, 1024)
    none = serialization.NoEncryption()
    key.write_bytes(weak.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    cert = generate_certificate(tmp_path / "weak.crt", key_file=key)
    with pytest.raises(CertificateError, match=r"weak.crt: OpenSSL refuses it: ee key too small; make both"):
        server_context(cert, key)


def test_a_certificate_that_no_client_can_use(tmp_path: Path) -> None:
    """A DSA certificate, which OpenSSL loads but no client accepts, is refused before the Manager listens."""
    cert, key = make_pair(tmp_path, algorithm="dsa")
    with pytest.raises(CertificateError, match=r"c.crt: no client can connect with this certificate \(no "):
        server_context(cert, key)
