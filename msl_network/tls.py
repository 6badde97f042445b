"""The choice of the key and the certificate that the Manager shows, and the SSL context made of them.

Rule of this file: whatever OpenSSL finds wrong becomes one line that names the file and what to do, before
the Manager serves; and nothing ever asks on the terminal, because a Manager may have none.

It must not know how keys and certificates are made or read (:mod:`msl_network.certificates`), nor use a
socket.
"""

from __future__ import annotations

import contextlib
import ssl
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NoReturn

from msl_network import paths
from msl_network.certificates import generate_certificate, generate_key, load_certificate, load_key
from msl_network.errors import CertificateError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ensure_certificate", "rehearsal_context", "server_context"]

FLIGHTS = 4  # messages back and forth of the longest handshake, that of TLS 1.2
MAKE_BOTH = "make both with 'msl-network keygen' and 'msl-network certgen'"


def ensure_certificate(
    *,
    cert_file: Path | None,
    key_file: Path | None,
    key_file_password: str | None,
    root: Path | None = None,
    host: str | None = None,
) -> tuple[Path, Path]:
    """Return the certificate and the private key to use; make what is missing of the default ones.

    * Neither given: the default ones, as they are, whoever made them.
    * Certificate given: with the key given, else with the key in the same file, else with the default key.
    * Only a key given: the default certificate if it was made from this key, else one that is named after
      the key and is made if need be. 1.0 wrote over the default one, which whoever had pinned it, and the
      next start without a key, then refused.

    Args:
        cert_file: The certificate, or None.
        key_file: The private key, or None.
        key_file_password: Decrypts the private key; a default key that is made now is encrypted with it.
        root: The folder of the default files, in place of :func:`msl_network.paths.home`.
        host: The address that the Manager listens on, if one is set. MSL-Network 1.0 named its files after
            it; a pair that it left is used in place of the default ones.

    Returns:
        The paths of the certificate and of the private key. Both are the same if one file has both.

    Raises:
        CertificateError: If a file is missing that cannot be made, or cannot be read or written.
    """
    default_cert, default_key = paths.cert_file(root), paths.key_file(root)
    if cert_file is not None:
        return cert_file, key_file or _key_of(cert_file, default_key)
    if key_file is not None:
        own_cert = default_cert.with_name(f"{key_file.stem}.crt")
        for cert in dict.fromkeys((default_cert, own_cert)):
            if _is_current(cert, key_file, key_file_password):
                return cert, key_file
        if own_cert == default_cert and _exists(default_cert):
            own_cert = default_cert.with_name(f"{key_file.stem}-2.crt")
        generate_certificate(own_cert, key_file=key_file, key_file_password=key_file_password)
        return own_cert, key_file

    if host:
        named = default_cert.with_name(f"{host}.crt"), default_key.with_name(f"{host}.key")
        if all(map(_exists, named)):
            return named
    new_key = not _exists(default_key)
    if new_key:
        generate_key(default_key, password=key_file_password)
    # without its key an old certificate is of no use to a Manager
    if new_key or not _exists(default_cert):
        generate_certificate(default_cert, key_file=default_key, key_file_password=key_file_password)
    return default_cert, default_key


def server_context(cert_file: Path, key_file: Path, password: str | None = None) -> ssl.SSLContext:
    """Return the SSL context of a Manager, tried out with one handshake in memory.

    Args:
        cert_file: The certificate, followed by those that lead to its authority, if any.
        key_file: The private key; may be the same file.
        password: Decrypts the private key; not used if it is not encrypted.

    Raises:
        CertificateError: If a file is missing, is not what it should be, or does not fit the other, if the
            password is missing or wrong, or if no client could connect with this certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Peers stay connected for days and never resume a session. A client that only fetches the certificate
    # is gone before the tickets are written, which would look like a broken connection.
    context.num_tickets = 0

    def answer() -> str:
        if not password:
            raise CertificateError(f"{key_file}: the private key is encrypted; give its password (key_file_password)")
        return password

    try:
        # a function in any case: without one OpenSSL asks on the terminal when the key is encrypted
        context.load_cert_chain(cert_file, key_file, answer)
    except (OSError, ValueError) as error:
        _explain(error, cert_file, key_file, password)
    _rehearse(context, cert_file)
    return context


def rehearsal_context(
    *,
    cert_file: Path | None,
    key_file: Path | None,
    key_file_password: str | None,
    root: Path | None = None,
    host: str | None = None,
) -> ssl.SSLContext:
    """Return the SSL context that a Manager would have, without making anything.

    Args:
        cert_file: As for `ensure_certificate`.
        key_file: As for `ensure_certificate`.
        key_file_password: As for `ensure_certificate`.
        root: As for `ensure_certificate`.
        host: As for `ensure_certificate`.

    Returns:
        The context; it has no certificate if the Manager may have to make it.

    Raises:
        CertificateError: If the files that are there, or are named, would keep the Manager from starting.
    """
    if key_file is not None:
        load_key(key_file, key_file_password)
    is_there = _exists(paths.cert_file(root)) and _exists(paths.key_file(root))
    if cert_file is None and (key_file is not None or not is_there):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = ensure_certificate(
        cert_file=cert_file, key_file=key_file, key_file_password=key_file_password, root=root, host=host
    )
    return server_context(*files, key_file_password)


def _exists(path: Path) -> bool:
    # what may not be looked at will be reported, with the reason, by the attempt to write it
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def _key_of(cert_file: Path, default_key: Path) -> Path:
    try:
        data = cert_file.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise CertificateError(f"{cert_file}: the certificate cannot be read: {reason}; correct it") from error
    if b"PRIVATE KEY-----" in data:
        return cert_file
    if _exists(default_key):
        return default_key
    raise CertificateError(
        f"{cert_file}: there is no private key in this file, and none at {default_key}; "
        "name the key of this certificate (key_file)"
    )


def _is_current(cert_file: Path, key_file: Path, password: str | None) -> bool:
    key = load_key(key_file, password)
    try:
        cert = load_certificate(cert_file)
    except CertificateError:
        return False
    return cert.public_key() == key.public_key() and cert.not_valid_after_utc > datetime.now(timezone.utc)


def _explain(error: Exception, cert_file: Path, key_file: Path, password: str | None) -> NoReturn:
    """Raise what is wrong with the files; OpenSSL itself names neither the file nor the remedy."""
    certificate = load_certificate(cert_file)
    key = load_key(key_file, password)
    if certificate.public_key() != key.public_key():
        raise CertificateError(
            f"{cert_file}: the private key {key_file} does not belong to this certificate; "
            "name its own key (key_file) or make a new certificate with 'msl-network certgen'"
        ) from error
    raise CertificateError(f"{cert_file}: OpenSSL refuses it: {_reason(error)}; {MAKE_BOTH}") from error


def _rehearse(context: ssl.SSLContext, cert_file: Path) -> None:
    """Shake hands with ourselves: OpenSSL loads certificates without complaint that it can never use."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        context.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in range(FLIGHTS):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLError as error:
        raise CertificateError(
            f"{cert_file}: no client can connect with this certificate ({_reason(error)}); its key must be "
            f"RSA or on a common elliptic curve: {MAKE_BOTH}"
        ) from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)
