"""Private keys and self-signed certificates: making, reading and describing them.

Rule of this file: a function takes the files it shall use and says everything that is wrong with them as
one :class:`~msl_network.errors.CertificateError`. The cryptography package is imported inside functions
only: it costs more start-up time than the rest of the package, and a Manager that has its files already
needs none of it.

It must not know the default places of files, nor SSL contexts: see :mod:`msl_network.tls`.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import ipaddress
import math
import re
import socket
import ssl
import sys
import textwrap
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msl_network.errors import CertificateError, StartError
from msl_network.paths import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

    PrivateKey = dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

__all__ = [
    "DEFAULT_ALGORITHM",
    "DEFAULT_CURVE",
    "DEFAULT_HASH",
    "DEFAULT_SIZE",
    "YEARS_VALID",
    "describe_certificate",
    "fingerprint",
    "generate_certificate",
    "generate_key",
    "load_certificate",
    "load_key",
    "own_names",
]

BITS = 1
SECONDS = 1.0

DEFAULT_ALGORITHM = "ecc"  # a handshake costs the Manager a tenth of RSA's, at the same strength
DEFAULT_CURVE = "SECP256R1"  # the one curve that every TLS implementation has
DEFAULT_SIZE = 2048 * BITS
DEFAULT_HASH = "SHA256"

# Clients pin the certificate at their first connection and have nothing that renews it: its end protects
# nobody and stops a laboratory. Twenty years outlive the computer; a hundred (1.0) outlive the cryptography.
YEARS_VALID = 20

# The clock of a laboratory PC may be wrong by a time zone. For such a client a certificate that
# begins now would not be valid yet.
BACKDATED = timedelta(days=1)

CURVES = ("SECP256R1", "SECP384R1", "SECP521R1")  # TLS clients refuse a certificate on any other
HASHES = ("SHA224", "SHA256", "SHA384", "SHA512")  # clients refuse older ones, and SHA-3 with ECC
SIZES = {
    "rsa": range(2048 * BITS, 16384 * BITS + 1),  # OpenSSL refuses shorter ones as weak, longer ones as slow
    "dsa": (2048 * BITS, 3072 * BITS, 4096 * BITS),
}
FINGERPRINTS = ("SHA1", "SHA224", "SHA256", "SHA384", "SHA512")

NAME_LOOKUP = 2 * SECONDS  # a computer without a network still gets its certificate soon
MAX_COMMON_NAME = 64  # characters, by X.509

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def generate_key(
    path: Path,
    *,
    algorithm: str = DEFAULT_ALGORITHM,
    curve: str = DEFAULT_CURVE,
    size: int = DEFAULT_SIZE,
    password: str | None = None,
) -> Path:
    """Make a private key and write it as a PEM file that only its owner can read.

    Args:
        path: The file. One that exists is replaced.
        algorithm: ``ecc``, ``rsa`` or ``dsa``, in any case. No TLS client of today accepts ``dsa``.
        curve: The elliptic curve, in any case; for ``ecc`` only.
        size: The size in bits; for ``rsa`` and ``dsa`` only.
        password: Encrypts the file.

    Returns:
        The path.

    Raises:
        CertificateError: If an argument is not allowed or the file cannot be written.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa  # noqa: PLC0415  start-up time

    if password == "":
        raise CertificateError(f"{path}: the password of a key is empty; give one, or none at all")
    kind = _allowed(algorithm, ("ecc", "rsa", "dsa"), "algorithm of a key")
    if kind in SIZES and size not in SIZES[kind]:
        sizes = "2048 to 16384" if kind == "rsa" else "2048, 3072 or 4096"
        raise CertificateError(f"the size of a key is {size} bits; allowed for {kind.upper()}: {sizes}")
    key: PrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(65537, size)
    elif kind == "dsa":
        key = dsa.generate_private_key(size)
    else:
        name = _allowed("SECP256R1" if curve.lower() == "prime256v1" else curve, CURVES, "elliptic curve")
        key = ec.generate_private_key(getattr(ec, name)())

    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    # PKCS #8, because the older form derives the key of an encrypted file with one round of MD5
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return _write(path, pem)


def load_key(path: Path, password: str | None = None) -> PrivateKey:
    """Read a private key from a PEM file.

    Args:
        path: The file.
        password: Decrypts the file; not used if it is not encrypted.

    Raises:
        CertificateError: If there is no such file, or no key in it that the password opens.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  as above

    data = _read(path)
    if b"PRIVATE KEY-----" not in data:
        raise CertificateError(f"{path}: there is no private key in PEM form in this file; name the key file")
    # both spellings of "encrypted": PKCS #8 in the header, the older form in a line below it
    encrypted = b"ENCRYPTED" in data
    if encrypted and not password:
        raise CertificateError(f"{path}: the private key is encrypted; give its password (key_file_password)")
    try:
        key = load_pem_private_key(data, cast("str", password).encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise CertificateError(
                f"{path}: the password (key_file_password) does not open the private key; correct it"
            ) from error
        raise CertificateError(f"{path}: the private key cannot be read; make a new one") from error
    return cast("PrivateKey", key)


def generate_certificate(
    path: Path,
    *,
    key_file: Path,
    key_file_password: str | None = None,
    algorithm: str = DEFAULT_HASH,
    years_valid: float = YEARS_VALID,
) -> Path:
    """Make a self-signed certificate of this computer and write it as a PEM file.

    Its subject is the hostname; it is valid for the names and addresses of :func:`own_names`. A client
    that has it can verify with it whoever holds the key.

    Args:
        path: The file. One that exists is replaced.
        key_file: The private key.
        key_file_password: Decrypts the private key.
        algorithm: The hash that is signed, e.g. ``SHA256``.
        years_valid: For how many years from now; fractions are fine.

    Returns:
        The path.

    Raises:
        CertificateError: If an argument is not allowed, the key cannot be used, or the file not be written.
    """
    from cryptography import x509  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa  # noqa: PLC0415  start-up time
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415  start-up time

    digest = getattr(hashes, _allowed(algorithm.replace("-", ""), HASHES, "hash of a certificate"))()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    try:
        end = (now + timedelta(days=365.25 * years_valid)).replace(microsecond=0)
    except (OverflowError, ValueError):
        end = now
    if not (years_valid > 0 and end > now):
        raise CertificateError(
            f"a certificate cannot be valid for {years_valid:g} years; "
            "allowed: more than 0, ending before the year 10000"
        )

    key = load_key(key_file, key_file_password)
    # Ed25519 has its hash built in; TLS has it, but LabVIEW and older clients do not
    if not isinstance(key, (dsa.DSAPrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise CertificateError(f"{key_file}: a certificate needs an ECC, RSA or DSA key; make one")

    hostname = _hostname()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname[:MAX_COMMON_NAME])])
    names, addresses = own_names()
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    # Clients load the certificate as their authority and verify the server, which sends the same one, with
    # it: it is both. VERIFY_X509_STRICT (default from Python 3.13 on) wants each of these, some critical.
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(encipher=isinstance(key, rsa.RSAPrivateKey)), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        (x509.SubjectAlternativeName([*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]), False),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    pem = builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)
    _write(path, pem)
    path.chmod(0o644)  # a certificate is public: whoever connects is given it
    return path


def load_certificate(source: Path | str | bytes) -> x509.Certificate:
    """Read the first certificate of a PEM file or text.

    Args:
        source: A path, or (bytes, or a string with a PEM header in it) the text.

    Raises:
        CertificateError: If there is no such file, or no certificate in it.
    """
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  start-up time

    try:
        return load_der_x509_certificate(_der(source))
    except ValueError as error:
        raise CertificateError(f"{_origin(source)}: the certificate is damaged; make a new one") from error


def fingerprint(pem_or_cert: str | bytes | x509.Certificate, algorithm: str = "SHA1") -> str:
    """Return the fingerprint of a certificate: lower-case hexadecimal bytes with colons between.

    Args:
        pem_or_cert: A certificate, or the text of one in PEM form.
        algorithm: The hash, e.g. ``SHA1`` (what MSL-Network 1.0 shows) or ``SHA256``.

    Raises:
        CertificateError: If it is not a certificate, or the hash is not known.
    """
    name = _allowed(algorithm.replace("-", ""), FINGERPRINTS, "hash of a fingerprint")
    if isinstance(pem_or_cert, (str, bytes)):
        der = _der(pem_or_cert)
    else:
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  start-up time

        der = pem_or_cert.public_bytes(Encoding.DER)
    # a fingerprint is compared by a person with one made elsewhere; which hash is not ours to choose
    return hashlib.new(name.lower(), der, usedforsecurity=False).digest().hex(":")


def describe_certificate(path_or_pem: Path | str | bytes) -> str:
    """Return what a certificate says, as lines for a person.

    Args:
        path_or_pem: A path, or (bytes, or a string with a PEM header in it) the text of a certificate.

    Raises:
        CertificateError: If there is no such file, or no certificate in it.
    """
    from cryptography import x509  # noqa: PLC0415  start-up time

    cert = load_certificate(path_or_pem)
    signed = _names_in(x509.SignatureAlgorithmOID)
    oid = cert.signature_algorithm_oid
    email = {x509.NameOID.EMAIL_ADDRESS: "emailAddress"}
    lines = [
        f"Version: {cert.version.value + 1}",
        f"Serial number: {_hex(cert.serial_number)}",
        f"Issuer: {cert.issuer.rfc4514_string(email)}",
        f"Subject: {cert.subject.rfc4514_string(email)}",
        "Validity:",
        f"  Not before: {cert.not_valid_before_utc:%d %B %Y %H:%M:%S} UTC",
        f"  Not after:  {cert.not_valid_after_utc:%d %B %Y %H:%M:%S} UTC",
        "Public key:",
        *_describe_public_key(cert),
        "Extensions:",
        *_describe_extensions(cert),
        f"Signature algorithm: {signed.get(oid, 'unknown')} ({oid.dotted_string})",
        *_wrapped(cert.signature.hex(":")),
        "Fingerprints:",
        f"  SHA-1:   {fingerprint(cert, 'SHA1')}",
        f"  SHA-256: {fingerprint(cert, 'SHA256')}",
    ]
    # a stranger wrote the names in it, and a terminal obeys control characters
    return "\n".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def own_names() -> tuple[list[str], list[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Return the names and the addresses by which clients reach this computer.

    No packet is sent, except that the resolver may ask its server for our own hostname; it is given
    two seconds.

    Returns:
        The hostname, its first label and ``localhost``; then 127.0.0.1, ::1 and the addresses of the network
        interfaces, as far as the operating system tells them. Nothing occurs twice.
    """
    names: list[str] = []
    hostname = _hostname()
    for name in (hostname, hostname.partition(".")[0], "localhost"):
        try:
            encoded = name.encode("ascii").decode() if name.isascii() else name.encode("idna").decode()
        except UnicodeError:  # no client can ask for it by such a name
            continue
        if encoded and encoded not in names:
            names.append(encoded)

    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    found = (*_interface_addresses(), *_routed_addresses(), *_resolved_addresses(hostname))
    for text in ("127.0.0.1", "::1", *found):
        address = ipaddress.ip_address(text.partition("%")[0])
        # a link-local address of IPv6 means nothing without the interface, which a certificate cannot say
        useless = address.is_unspecified or (address.version == 6 and address.is_link_local)
        if address not in addresses and not useless:
            addresses.append(address)
    return names, addresses


def _hostname() -> str:
    return socket.gethostname() or "localhost"


def _interface_addresses() -> Iterable[str]:
    """Yield the IPv4 address of each interface: on Linux a hostname seldom resolves to them."""
    if sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415  not there on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = name.encode()[:15].ljust(40, b"\0")
            try:
                answer = fcntl.ioctl(sock.fileno(), 0x8915, request)  # SIOCGIFADDR
            except OSError:  # the interface has no IPv4 address
                continue
            yield socket.inet_ntoa(answer[20:24])


def _routed_addresses() -> Iterable[str]:
    """Yield the addresses that the routes to the outside leave from."""
    # addresses reserved for documentation; to connect a UDP socket looks up the route and sends nothing
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # there may be no such route, or no IPv6 at all
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            yield sock.getsockname()[0]


def _resolved_addresses(hostname: str) -> list[str]:
    """Return the addresses that the resolver has for the hostname, or none when it takes too long."""
    found: list[str] = []

    def look_up() -> None:
        try:
            found.extend(str(info[4][0]) for info in socket.getaddrinfo(hostname, None))
        except (OSError, UnicodeError):
            return

    # getaddrinfo has no timeout of its own; a daemon does not keep the process when it hangs
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(NAME_LOOKUP)
    return list(found)


def _key_usage(*, encipher: bool) -> x509.KeyUsage:
    from cryptography.x509 import KeyUsage  # noqa: PLC0415  start-up time

    return KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        key_encipherment=encipher,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _describe_public_key(cert: x509.Certificate) -> list[str]:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa  # noqa: PLC0415  start-up time
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  as above

    try:
        key = cert.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return [f"  Algorithm: not supported ({cert.public_key_algorithm_oid.dotted_string})"]
    if isinstance(key, ec.EllipticCurvePublicKey):
        facts = ["Algorithm: ECC", f"Curve: {key.curve.name}", f"Size: {key.curve.key_size} bits"]
        number = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex(":")
    elif isinstance(key, rsa.RSAPublicKey):
        facts = ["Algorithm: RSA", f"Size: {key.key_size} bits", f"Exponent: {key.public_numbers().e}"]
        number = _hex(key.public_numbers().n)
    elif isinstance(key, dsa.DSAPublicKey):
        facts = ["Algorithm: DSA", f"Size: {key.key_size} bits"]
        number = _hex(key.public_numbers().y)
    else:
        facts = [f"Algorithm: {type(key).__name__.removesuffix('PublicKey')}"]
        number = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex(":")
    return [*(f"  {fact}" for fact in facts), *_wrapped(number)]


def _describe_extensions(cert: x509.Certificate) -> list[str]:
    try:
        extensions = list(cert.extensions)
    except ValueError as error:
        return [f"  not readable: {error}"]
    lines = []
    for extension in extensions:
        # the class names are the names of X.509
        kind = type(extension.value).__name__
        critical = " (critical)" if extension.critical else ""
        lines += [f"  {kind}{critical}:", f"    {_describe_extension(extension.value)}"]
    return lines or ["  none"]


def _describe_extension(value: x509.ExtensionType) -> str:
    from cryptography import x509  # noqa: PLC0415  start-up time
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415  start-up time

    if isinstance(value, x509.BasicConstraints):
        length = "" if value.path_length is None else f", path length: {value.path_length}"
        return f"CA: {'yes' if value.ca else 'no'}{length}"
    if isinstance(value, x509.SubjectAlternativeName):
        return ", ".join(f"{type(name).__name__}: {name.value}" for name in value)
    if isinstance(value, x509.ExtendedKeyUsage):
        known = _names_in(ExtendedKeyUsageOID)
        return ", ".join(known.get(oid, oid.dotted_string) for oid in value)
    if isinstance(value, x509.KeyUsage):
        # encipher_only and decipher_only may be asked for only together with key_agreement
        uses = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        return ", ".join(use for use in f"{uses} key_cert_sign crl_sign".split() if getattr(value, use))
    if isinstance(value, x509.SubjectKeyIdentifier):
        return value.digest.hex(":")
    if isinstance(value, x509.AuthorityKeyIdentifier) and value.key_identifier is not None:
        return value.key_identifier.hex(":")
    if isinstance(value, x509.UnrecognizedExtension):
        return f"{value.oid.dotted_string}: {value.value.hex(':')}"
    return repr(value)


def _names_in(oids: type) -> dict[x509.ObjectIdentifier, str]:
    """Return the public names of a class of object identifiers."""
    return {oid: name for name, oid in vars(oids).items() if not name.startswith("_")}


def _allowed(found: str, allowed: tuple[str, ...], what: str) -> str:
    """Return the allowed spelling of a word that was found in any case."""
    spelling = {name.lower(): name for name in allowed}
    if found.lower() in spelling:
        return spelling[found.lower()]
    nearest = difflib.get_close_matches(found.lower(), spelling, n=1, cutoff=0.85)  # sha1 is not near sha512
    hint = f"; did you mean {spelling[nearest[0]]}?" if nearest else ""
    raise CertificateError(f"unknown {what}: {found!r}{hint} (allowed: {', '.join(allowed)})")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CertificateError(f"{path}: there is no such file; correct the path or make the file") from error
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror or error}") from error


def _write(path: Path, pem: bytes) -> Path:
    try:
        write_private(path, pem)
    except StartError as error:
        raise CertificateError(str(error)) from error
    return path


def _is_pem(source: Path | str | bytes) -> bool:
    return isinstance(source, bytes) or (isinstance(source, str) and "-----BEGIN" in source)


def _origin(source: Path | str | bytes) -> str:
    return "the PEM text" if _is_pem(source) else str(source)


def _der(source: Path | str | bytes) -> bytes:
    """Return the first certificate of a file or text, undecoded. Needs no cryptography package."""
    data: str | bytes = cast("str | bytes", source) if _is_pem(source) else _read(Path(cast("str", source)))
    match = CERTIFICATE.search(data if isinstance(data, str) else data.decode("latin-1"))
    if match is None:
        raise CertificateError(f"{_origin(source)}: there is no certificate in PEM form in it")
    try:
        return ssl.PEM_cert_to_DER_cert(match[0])
    except ValueError as error:
        raise CertificateError(f"{_origin(source)}: the certificate is damaged; make a new one") from error


def _hex(number: int) -> str:
    return number.to_bytes(max(1, math.ceil(number.bit_length() / 8)), "big").hex(":")


def _wrapped(text: str) -> list[str]:
    return [f"    {line}" for line in textwrap.wrap(text, 75)]  # 25 bytes a line
