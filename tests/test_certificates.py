from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
import stat
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from msl_network import certificates
from msl_network.certificates import (
    describe_certificate,
    fingerprint,
    generate_certificate,
    generate_key,
    load_certificate,
    load_key,
    own_names,
)
from msl_network.errors import CertificateError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return generate_key(tmp_path / "a.key")


def make(key: Path, **kwargs: Any) -> x509.Certificate:
    return load_certificate(generate_certificate(key.with_suffix(".crt"), key_file=key, **kwargs))


def write_key(path: Path, key: Any) -> Path:
    none = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    return path


def signed(key: Any, extensions: tuple[x509.ExtensionType, ...] = (), name: str = "x", digest: Any = None) -> bytes:
    """Return a certificate as a stranger might make it."""
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "lab@example.org"),
        ]
    )
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 0x1234, now, now + timedelta(1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def test_the_default_key(key: Path) -> None:
    """41. A key is ECC on P-256, not encrypted, and readable by its owner only."""
    loaded = load_key(key)

    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert loaded.curve.name == "secp256r1"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(("algorithm", "kind"), [("RSA", rsa.RSAPrivateKey), ("dsa", dsa.DSAPrivateKey)])
def test_the_other_kinds_of_key(tmp_path: Path, algorithm: str, kind: type) -> None:
    """41. RSA and DSA keys have 2048 bits by default."""
    loaded = load_key(generate_key(tmp_path / "b.key", algorithm=algorithm))

    assert isinstance(loaded, kind)
    assert loaded.public_key().key_size == 2048


@pytest.mark.parametrize(
    ("curve", "name"), [("secp384r1", "secp384r1"), ("SECP521R1", "secp521r1"), ("prime256v1", "secp256r1")]
)
def test_curves_in_any_case(tmp_path: Path, curve: str, name: str) -> None:
    """A curve is found in any case, and P-256 by OpenSSL's name for it too."""
    loaded = load_key(generate_key(tmp_path / "b.key", curve=curve))

    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert loaded.curve.name == name


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"algorithm": "rsa", "size": 1024}, "1024 bits; allowed for RSA: 2048 to 16384"),
        ({"algorithm": "rsa", "size": 16385}, "16385 bits; allowed for RSA: 2048 to 16384"),
        ({"algorithm": "dsa", "size": 1024}, "1024 bits; allowed for DSA: 2048, 3072 or 4096"),
        ({"algorithm": "dsa", "size": 2500}, "2500 bits; allowed for DSA: 2048, 3072 or 4096"),
        ({"algorithm": "ecdsa"}, "unknown algorithm of a key: 'ecdsa' (allowed: ecc, rsa, dsa)"),
        ({"curve": "SECP265R1"}, "did you mean SECP256R1? (allowed: SECP256R1, SECP384R1, SECP521R1)"),
        ({"curve": "@"}, "unknown elliptic curve: '@' (allowed: SECP256R1, SECP384R1, SECP521R1)"),
        ({"password": ""}, "the password of a key is empty"),
    ],
)
def test_keys_that_are_refused(tmp_path: Path, kwargs: dict[str, Any], text: str) -> None:
    """What is not allowed is named together with what is, and no file is made."""
    with pytest.raises(CertificateError) as info:
        generate_key(tmp_path / "b.key", **kwargs)
    assert text in str(info.value)
    assert "\n" not in str(info.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_written(tmp_path: Path) -> None:
    """A key where a folder is: the error is a CertificateError that names the path."""
    with pytest.raises(CertificateError, match=f"cannot write {tmp_path}: it exists and is not a file"):
        generate_key(tmp_path)


def test_an_encrypted_key(tmp_path: Path) -> None:
    """An encrypted key opens with its password only, and each failure says so in a line."""
    path = generate_key(tmp_path / "b.key", password="pass wörd")

    assert b"ENCRYPTED" in path.read_bytes()
    assert isinstance(load_key(path, "pass wörd"), ec.EllipticCurvePrivateKey)
    with pytest.raises(CertificateError, match="is encrypted; give its password"):
        load_key(path)
    with pytest.raises(CertificateError, match="does not open the private key"):
        load_key(path, "wrong")


def test_a_needless_password(key: Path) -> None:
    """A password for a key that is not encrypted is not used, as OpenSSL does."""
    assert load_key(key, "needless").public_key() == load_key(key).public_key()


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    """No file, a folder, something else, and a damaged key: each is said in one line with the path."""
    (tmp_path / "text").write_text("hello")
    (tmp_path / "damaged").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    for name, text in {
        "missing": "there is no such file",
        ".": "cannot be read",
        "text": "no private key in PEM form",
        "damaged": "cannot be read; make a new one",
    }.items():
        path = tmp_path / name
        with pytest.raises(CertificateError) as info:
            load_key(path)
        assert str(info.value).startswith(f"{path}: ")
        assert text in str(info.value)


def test_a_certificate(key: Path) -> None:
    """It is of version 3, signed by its own key with SHA-256, named after the computer, and public."""
    cert = make(key)

    assert cert.version is x509.Version.v3
    cert.verify_directly_issued_by(cert)
    assert isinstance(cert.signature_hash_algorithm, hashes.SHA256)
    assert cert.public_key() == load_key(key).public_key()
    assert cert.subject == cert.issuer
    assert cert.subject.rfc4514_string() == f"CN={socket.gethostname()}"
    assert stat.S_IMODE(key.with_suffix(".crt").stat().st_mode) == 0o644


def test_the_names_in_a_certificate(key: Path) -> None:
    """41. It is valid for the hostname, localhost, both loopback addresses, and the computer's own ones."""
    san = make(key).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names, addresses = own_names()

    assert san.get_values_for_type(x509.DNSName) == names
    assert san.get_values_for_type(x509.IPAddress) == addresses
    assert {socket.gethostname(), "localhost"} <= set(names)
    assert [str(address) for address in addresses[:2]] == ["127.0.0.1", "::1"]


def test_the_extensions_that_strict_clients_want(key: Path) -> None:
    """It is an authority for itself alone, may sign, serves servers, and names its key twice."""
    extensions = make(key).extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value

    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, True)
    assert own.digest == issuer.key_identifier


def test_an_rsa_key_may_encipher(tmp_path: Path) -> None:
    """With an RSA key TLS 1.2 clients may choose RSA key exchange, so the certificate allows it."""
    cert = make(generate_key(tmp_path / "b.key", algorithm="rsa"))
    assert cert.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment is True


@pytest.mark.parametrize(("years", "days"), [(20, 7305), (0.25, 91.3125)])
def test_how_long_a_certificate_is_valid(key: Path, years: float, days: float) -> None:
    """It begins a day ago, for clients whose clock is behind, and ends so many years from now."""
    now = datetime.now(timezone.utc)
    cert = make(key) if years == certificates.YEARS_VALID else make(key, years_valid=years)

    assert abs(cert.not_valid_before_utc - (now - timedelta(days=1))) < timedelta(minutes=1)
    assert abs(cert.not_valid_after_utc - (now + timedelta(days=days))) < timedelta(minutes=1)


@pytest.mark.parametrize("years", [0, -1, 9000, 1e300, float("nan"), float("inf"), 1e-12])
def test_years_that_are_refused(key: Path, years: float) -> None:
    """A time that is over, or that no calendar has, is refused in one line."""
    with pytest.raises(CertificateError, match=r"cannot be valid for .* years; allowed: more than 0"):
        make(key, years_valid=years)


@pytest.mark.parametrize(("word", "name"), [("sha-384", "sha384"), ("SHA512", "sha512"), ("sha224", "sha224")])
def test_hashes_in_any_case(key: Path, word: str, name: str) -> None:
    """The hash is found in any case, with and without a hyphen."""
    digest = make(key, algorithm=word).signature_hash_algorithm
    assert digest is not None
    assert digest.name == name


def test_a_hash_that_is_refused(key: Path) -> None:
    """A broken hash is refused with those that are allowed."""
    with pytest.raises(CertificateError, match=r"'MD5' \(allowed: SHA224, SHA256, SHA384, SHA512\)"):
        make(key, algorithm="MD5")


def test_a_key_without_a_hash_is_refused(tmp_path: Path) -> None:
    """An Ed25519 key, which old clients do not know, is refused by its path."""
    path = write_key(tmp_path / "ed.key", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(CertificateError, match=r"ed.key: a certificate needs an ECC, RSA or DSA key"):
        make(path)


def test_a_long_hostname_with_dots(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostname with a domain is there in full and short; a subject holds its first 64 characters."""
    hostname = "pc1." + ".".join(["laboratory"] * 7) + ".org"
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    cert = make(key)

    assert own_names()[0] == [hostname, "pc1", "localhost"]
    assert cert.subject.rfc4514_string() == f"CN={hostname[:64]}"


@pytest.mark.parametrize(
    ("hostname", "names"),
    [
        ("", ["localhost"]),
        ("localhost", ["localhost"]),
        ("bücher", ["xn--bcher-kva", "localhost"]),
        ("\udcff", ["localhost"]),
    ],
)
def test_odd_hostnames(monkeypatch: pytest.MonkeyPatch, hostname: str, names: list[str]) -> None:
    """A hostname that is missing, common, foreign or broken leaves the names that a client can use."""
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert own_names()[0] == names


def test_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses occur once; those that mean nothing to others (no address, IPv6 link-local) do not."""
    found = ["10.1.2.3", "10.1.2.3", "fe80::1%eth0", "0.0.0.0", "169.254.7.7", "2001:db8::7"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(0, 0, 0, "", (text, 0)) for text in found])
    monkeypatch.setattr(certificates, "_interface_addresses", lambda: ["127.0.0.1"])
    monkeypatch.setattr(certificates, "_routed_addresses", lambda: ["10.9.9.9"])
    expected = ["127.0.0.1", "::1", "10.9.9.9", "10.1.2.3", "169.254.7.7", "2001:db8::7"]
    assert own_names()[1] == [ipaddress.ip_address(text) for text in expected]


def test_a_resolver_that_fails_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows nothing, or does not answer, costs the addresses that it has and no more."""
    monkeypatch.setattr(certificates, "NAME_LOOKUP", 0.05)
    release = threading.Event()

    def fail(*_: object) -> None:
        raise socket.gaierror

    def hang(*_: object) -> list[object]:
        release.wait(60)
        return []

    for resolver in (fail, hang):
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        assert own_names()[0][-1] == "localhost"
    release.set()


def test_a_computer_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any route or interface the loopback addresses are left."""

    class NoNetwork(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", NoNetwork)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "nothing0")])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert [str(address) for address in own_names()[1]] == ["127.0.0.1", "::1"]


def test_other_systems_have_no_interface_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems than Linux the resolver knows the addresses, and the request of Linux is not made."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert list(certificates._interface_addresses()) == []


def test_linux_tells_the_addresses_of_interfaces() -> None:
    """On Linux the loopback interface is among those found."""
    found = list(certificates._interface_addresses())
    assert ("127.0.0.1" in found) is (sys.platform == "linux")


def test_fingerprint(key: Path) -> None:
    """It is the hash of the DER form, in lower case with colons, from text, bytes or a certificate."""
    cert = make(key)
    pem = key.with_suffix(".crt").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    sha1 = hashlib.sha1(der).hexdigest()

    assert fingerprint(pem).replace(":", "") == sha1
    assert fingerprint(pem.encode()) == fingerprint(cert) == fingerprint(pem)
    assert fingerprint(f"a line before it\n{pem}") == fingerprint(pem)
    assert fingerprint(pem)[2] == ":"
    assert fingerprint(pem, "sha-256").replace(":", "") == hashlib.sha256(der).hexdigest()
    with pytest.raises(CertificateError, match=r"unknown hash of a fingerprint: 'CRC' \(allowed: SHA1, "):
        fingerprint(pem, "CRC")


def test_text_that_is_no_certificate() -> None:
    """Text without a certificate in it, or with a damaged one, is refused in one line."""
    damaged = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateError, match="the PEM text: there is no certificate in PEM form in it"):
        fingerprint(b"")
    with pytest.raises(CertificateError, match="the PEM text: the certificate is damaged"):
        fingerprint(damaged.format("A"))
    with pytest.raises(CertificateError, match="the PEM text: the certificate is damaged"):
        load_certificate(damaged.format("AAAA"))


def test_describe(key: Path) -> None:
    """The description has what a person compares: names, dates, key, use, signature and fingerprints."""
    path = key.with_suffix(".crt")
    cert = make(key)
    text = describe_certificate(path)

    for line in (
        "Version: 3",
        f"Issuer: CN={socket.gethostname()}",
        f"Subject: CN={socket.gethostname()}",
        f"  Not before: {cert.not_valid_before_utc:%d %B %Y %H:%M:%S} UTC",
        f"  Not after:  {cert.not_valid_after_utc:%d %B %Y %H:%M:%S} UTC",
        "  Algorithm: ECC",
        "  Curve: secp256r1",
        "  Size: 256 bits",
        "  BasicConstraints (critical):",
        "    CA: yes, path length: 0",
        "    digital_signature, key_cert_sign",
        "    SERVER_AUTH",
        "Signature algorithm: ECDSA_WITH_SHA256 (1.2.840.10045.4.3.2)",
        f"  SHA-1:   {fingerprint(cert)}",
        f"  SHA-256: {fingerprint(cert, 'sha256')}",
    ):
        assert line in text.splitlines()
    serial = int(text.splitlines()[1].removeprefix("Serial number: ").replace(":", ""), 16)
    assert serial == cert.serial_number
    assert "DNSName: localhost" in text
    assert "IPAddress: 127.0.0.1" in text
    assert cert.signature.hex(":")[:74] in text
    assert describe_certificate(path.read_text()) == describe_certificate(path.read_bytes()) == text
    assert describe_certificate(str(path)) == text


@pytest.mark.parametrize(
    ("algorithm", "facts"),
    [("rsa", ["Algorithm: RSA", "Size: 2048 bits", "Exponent: 65537"]), ("dsa", ["Algorithm: DSA"])],
)
def test_describe_other_keys(tmp_path: Path, algorithm: str, facts: list[str]) -> None:
    """RSA and DSA certificates are described too."""
    path = generate_key(tmp_path / "b.key", algorithm=algorithm)
    make(path)
    text = describe_certificate(path.with_suffix(".crt"))
    assert [fact for fact in facts if f"  {fact}\n" not in text] == []


def test_describe_a_stranger() -> None:
    """Extensions and keys of any kind are shown; control characters are not obeyed."""
    issuer = [x509.UniformResourceIdentifier("http://example.org")]
    extensions = (
        x509.BasicConstraints(ca=False, path_length=None),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x01\xff"),
        x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.5.7")]),
        x509.AuthorityKeyIdentifier(None, [x509.DNSName("a")], 7),
        x509.IssuerAlternativeName(issuer),
    )
    text = describe_certificate(signed(ed25519.Ed25519PrivateKey.generate(), extensions, "\x1b[2Jx"))

    assert "\x1b" not in text
    assert "CN=\\x1b[2Jx" in text
    assert "emailAddress=lab@example.org" in text
    for line in (
        "Serial number: 12:34",
        "    CA: no",
        "    1.2.3.4: 01:ff",
        "    1.3.5.7",
        "  Algorithm: Ed25519",
        "Signature algorithm: ED25519 (1.3.101.112)",
    ):
        assert line in text.splitlines()
    assert "http://example.org" in text


def test_describe_without_extensions() -> None:
    """A certificate without extensions is said to have none."""
    text = describe_certificate(signed(ed25519.Ed25519PrivateKey.generate()))
    assert "Extensions:\n  none\n" in text


def test_describe_what_cannot_be_understood() -> None:
    """A key of an unknown kind and a broken extension are said to be so; the rest is shown."""
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\xff")
    pem = signed(ed25519.Ed25519PrivateKey.generate(), (broken,))
    oid = bytes.fromhex("06032b6570")  # Ed25519, three times: twice for signatures, once for the key
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    first, second, rest = der.split(oid, 2)
    der = first + oid + second + bytes.fromhex("06032b6501") + rest
    text = describe_certificate(ssl.DER_cert_to_PEM_cert(der))

    assert "  Algorithm: not supported (1.3.101.1)" in text
    assert "  not readable: " in text
    assert "emailAddress=lab@example.org" in text


def test_start_up_does_not_import_cryptography() -> None:
    """Importing the modules, and a fingerprint, do without the cryptography package."""
    code = (
        "import sys, msl_network.tls, msl_network.cli_files\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'cryptography']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
