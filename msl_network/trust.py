"""Which certificate of a Manager a Client or a Service trusts, and why a connection could not be made.

A Manager makes its own certificate, which no authority vouches for. So it is trusted on first use: a person is
shown it once (or the script said not to ask), it is stored, and from then on nothing else is accepted for that
host. MSL-Network 1.0 does the same with the same files.

Rule of this file: whatever fails becomes one line that names the Manager's address, what was found, and what
to do; and what is stored is never replaced here, because that is for a person to decide.

It must not know the protocol that is spoken once a connection is made, nor keep anything from one call to
the next: it runs in several threads at once.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from . import paths
from .certificates import fingerprint, load_certificate
from .errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    NetworkError,
    RefusedError,
    StartError,
    UntrustedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509

    from .connecting import ConnectOptions

__all__ = ["closed_early", "explain", "silent_manager", "stored_certificate", "trusted_context"]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_HOST: Final = 253  # characters, by DNS
MAX_NAMES: Final = 12  # a stranger may have written thousands into a certificate

CLOSED: Final = (
    *(ConnectionError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError),
    *(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError),
)
# Of OpenSSL: reasons of ssl.SSLError, and codes of ssl.SSLCertVerificationError (X509_V_ERR_*).
NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
)
TOO_OLD: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION", "VERSION_TOO_LOW"}
)
NOT_VALID_NOW: Final = {9: "is not valid yet", 10: "has expired"}
WRONG_NAME: Final = frozenset({62, 64})  # of a host, of an IP address
OUR_CERTIFICATE: Final = ("CERTIFICATE", "UNKNOWN_CA")
"""What is in the name of each alert that answers the certificate of a Client."""
ANOTHER: Final = frozenset({2, 7, 18, 19, 20, 21, 30})  # no chain to what is trusted, or signed with another key

ASK_OPERATOR: Final = "its operator sees that of the Manager with 'msl-network certdump'"


def stored_certificate(host: str, root: Path | None = None) -> Path:
    """Return where the certificate of a host is stored once it is trusted. MSL-Network 1.0 uses the same file.

    Args:
        host: The host name or IP address, as it was given. (On Windows, where a file name has no colon, those
            of an IPv6 address are written ``%3A``.)
        root: The folder to use in place of :func:`msl_network.paths.home`.

    Raises:
        ConnectError: If it can be no host: it is empty or too long, or has a character that leads to another folder.
    """
    if not 0 < len(host) <= MAX_HOST or not host.isprintable() or not {"/", "\\"}.isdisjoint(host):
        raise ConnectError(f"{host!r} is not a host; give the name or the IP address of the Manager's computer")
    name = host.replace(":", "%3A") if sys.platform == "win32" else host
    return paths.cert_file(root).with_name(f"{name}.crt")


def trusted_context(options: ConnectOptions, *, ask: Callable[[str], str] = input) -> tuple[ssl.SSLContext, Path]:
    """Return the SSL context that accepts the Manager, and nothing else; on first use, ask whether to trust it.

    Blocks, and may wait for a person. Only if neither ``cert_file`` is given nor a certificate stored it
    connects: once, for the certificate, within ``timeout`` (the system's own limit holds for looking up the
    name). The certificate is then shown, unless ``auto_save`` is true, and stored.

    Nobody is asked about the certificate that is stored for ``localhost`` when the same is met under another
    name of this computer.

    Args:
        options: Which Manager, and what to trust.
        ask: Shows a text and returns the answer of a person.

    Returns:
        The context, and the file with the certificate that it trusts.

    Raises:
        UntrustedError: If the person says no, cannot be asked, or the certificate is not valid now.
        ConnectTimeoutError: If the certificate was not fetched in time.
        ConnectError: If the certificate cannot be fetched, read or stored.
    """
    if options.cert_file:
        path = Path(options.cert_file)
        return _context(path, options), path
    path = stored_certificate(options.host)
    with contextlib.suppress(FileNotFoundError):
        return _context(path, options), path

    pem = _fetch(options)
    try:
        cert = load_certificate(pem)
    except CertificateError as error:
        raise explain(error, options) from error
    if not cert.not_valid_before_utc <= datetime.now(timezone.utc) <= cert.not_valid_after_utc:
        raise _not_valid_now(options, "is not valid now", cert, None)  # stored, it would only be in the way later
    if not options.auto_save and not _is_of_this_computer(pem, options.host):
        _ask(_introduction(cert, path, options), options, ask)
    try:
        paths.write_private(path, pem.encode())
    except StartError as error:
        raise ConnectError(f"the certificate of {options.address}: {error}, or give it as cert_file") from error
    return _context(path, options), path


def explain(error: BaseException, options: ConnectOptions, cert_file: Path | None = None) -> ConnectError:
    """Return what to raise when a connection, or the TLS handshake on it, failed.

    Args:
        error: What a socket, the ssl module or anyio raised; or a ConnectError, which is returned as it is.
        options: What was connected to.
        cert_file: The file of :func:`trusted_context`, if it came to that.
    """
    if isinstance(error, ConnectError):
        return error
    error = _innermost(error)
    at, reason = options.address, getattr(error, "reason", None)
    is_closed = isinstance(error, CLOSED) or reason == "UNEXPECTED_EOF_WHILE_READING"
    refused = f"[Errno {errno.ECONNREFUSED}]"  # asyncio joins the texts if a host has several addresses

    if isinstance(error, NetworkError):
        return ConnectError(f"{at}: {error}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, options, cert_file)
    if _is_about_us(error):
        return _not_accepted(error, options)
    if isinstance(error, ssl.SSLError) and not is_closed:
        return ConnectError(f"{at}: {_tls_problem(str(reason or error.strerror or error))}")
    if isinstance(error, TimeoutError):
        limit = "" if options.timeout is None else f" within {options.timeout:g} s"
        return ConnectTimeoutError(
            f"{at} did not answer{limit}; the host may be wrong or switched off, a firewall may be between, or what "
            "listens there may be no Manager (or one without TLS: pass disable_tls=True); else give it more timeout"
        )
    if isinstance(error, ConnectionRefusedError) or refused in str(error):
        where = (
            "on this computer: is a Manager running? Start one with 'msl-network start'"
            if _is_this_computer(options.host)
            else "there, though the computer answers: start the Manager"
        )
        return ConnectError(f"{at}: nothing listens {where}, or correct the port")
    if is_closed:
        return closed_early(options)
    if isinstance(error, (socket.gaierror, UnicodeError)):
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        return ConnectError(
            f"{at}: the host name {options.host!r} is unknown ({why}); correct it, or give the IP address"
        )
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ConnectError(f"{at} cannot be connected to: {why}; correct the host and the port, and check the network")


def silent_manager(options: ConnectOptions, seconds: float) -> ConnectTimeoutError:
    """Return what to raise when a connection was made, but the first question of the Manager does not come.

    Args:
        options: What was connected to.
        seconds: How long it was waited for.
    """
    hint = (
        "it probably uses TLS: leave out disable_tls=True"
        if options.disable_tls
        else "it may be busy, or no Manager: check the port, or give it more timeout"
    )
    return ConnectTimeoutError(f"{options.address} took the connection but said nothing within {seconds:g} s; {hint}")


def closed_early(options: ConnectOptions, error: BaseException | None = None) -> ConnectError:
    """Return what to raise when the other side closed the connection before its first question.

    Args:
        options: What was connected to.
        error: How that was found out. In TLS 1.3 a Client is done with the handshake before the Manager has looked at
            its certificate, so that what the Manager says to that may be in it.
    """
    while error is not None:
        if _is_about_us(error):
            return _not_accepted(error, options)
        error = error.__cause__ or error.__context__
    if options.client_cert_file and not options.disable_tls:
        return RefusedError(
            f"{options.address} closed the connection at once; probably it does not accept the certificate in "
            f"{options.client_cert_file}, because it has another authority, has expired or was revoked: "
            "ask its operator for a new one. (Else it may be full or stopping.)"
        )
    hint = (
        "it probably uses TLS: leave out disable_tls=True"
        if options.disable_tls
        else "it may be full or stopping (try again later), no Manager (check the port), or one without TLS (pass "
        "disable_tls=True)"
    )
    return ConnectError(f"{options.address} closed the connection at once; {hint}")


def _context(path: Path, options: ConnectOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = options.assert_hostname
    # The file may have a certificate whose authority we do not have. VERIFY_X509_STRICT stays unset: the
    # certificates of 1.0 lack what it demands.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    remedy = "correct cert_file" if options.cert_file else "correct or delete it, and connect again"
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not options.cert_file:
            raise  # met for the first time
        what = f"the certificate cannot be read: {getattr(error, 'strerror', None) or error}"
        if isinstance(error, ssl.SSLError):
            what = "there is no certificate in PEM form in it"
        raise ConnectError(f"{path}: {what}; {remedy}") from error
    if options.client_cert_file:
        _show_own(context, Path(options.client_cert_file), options)
    return context


def _show_own(context: ssl.SSLContext, path: Path, options: ConnectOptions) -> None:
    """Have a context present our own certificate."""
    key = Path(options.client_key_file) if options.client_key_file else path
    password = options.client_key_file_password

    def answer() -> str:
        if not password:
            raise ConnectError(f"{key}: the private key is encrypted; give its password (client_key_file_password)")
        return password

    try:
        # a function in any case: without one OpenSSL asks on the terminal when the key is encrypted
        context.load_cert_chain(path, key, answer)
    except (OSError, ValueError) as error:
        if isinstance(error, ConnectError):
            raise
        files = f"{path}" if key == path else f"{path} or {key}"
        if not isinstance(error, ssl.SSLError):
            file = next((file for file in (path, key) if not _is_readable(file)), files)
            raise ConnectError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        raise ConnectError(
            f"{files}: OpenSSL refuses our certificate or its key ({_words(error) or error}); give a certificate in "
            "PEM form as client_cert_file, its own key as client_key_file, and the right password if the key has one"
        ) from error


def _is_readable(file: Path) -> bool:
    """Whether a file can be opened; OpenSSL does not say which of two cannot."""
    try:
        file.open("rb").close()
    except (OSError, ValueError):
        return False
    return True


def _fetch(options: ConnectOptions) -> str:
    """Return the certificate that the Manager shows, unverified, in PEM form."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent or believed; a person, or auto_save, decides
    end = None if options.timeout is None else time.monotonic() + options.timeout

    def left() -> float | None:
        seconds = None if end is None else end - time.monotonic()
        if seconds is not None and seconds <= 0:
            raise TimeoutError
        return seconds

    def connected() -> socket.socket:
        failures = []
        # one by one, because create_connection() gives the whole time to each address of a name
        for *_, address in socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM):
            try:
                return socket.create_connection((str(address[0]), options.port), left())
            except OSError as error:
                failures.append(error)
        raise _telling(failures)

    try:
        with connected() as sock:
            sock.settimeout(left())
            with context.wrap_socket(sock, server_hostname=options.host) as peer:
                return ssl.DER_cert_to_PEM_cert(peer.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError, OverflowError) as error:
        raise explain(error, options) from error


def _is_of_this_computer(pem: str, host: str) -> bool:
    with contextlib.suppress(OSError, CertificateError):
        known = stored_certificate("localhost").read_bytes()
        return _is_this_computer(host) and fingerprint(known, "SHA256") == fingerprint(pem, "SHA256")
    return False


def _is_this_computer(host: str) -> bool:
    return host.lower() in LOOPBACK or host.lower() == socket.gethostname().lower()


def _ask(text: str, options: ConnectOptions, ask: Callable[[str], str]) -> None:
    remedy = "pass auto_save=True to trust it without being asked, or its certificate as cert_file"
    while True:
        try:
            answer = ask(text).strip().lower()
        except (EOFError, OSError, RuntimeError, ValueError) as error:  # of input(): no terminal, or none any more
            raise UntrustedError(
                f"{options.address} is met for the first time, and there is nobody to ask whether to trust it; {remedy}"
            ) from error
        if answer in {"y", "yes"}:
            return
        if answer in {"n", "no"}:
            raise UntrustedError(
                f"{options.address} is not trusted: the answer was no; connect again to be asked again"
            )
        text = "Please answer y or n: "


def _introduction(cert: x509.Certificate, path: Path, options: ConnectOptions) -> str:
    return (
        f"The Manager at {options.address} is met for the first time: nothing proves yet that it is the one\n"
        "you mean. This is the certificate that it shows:\n\n"
        f"  Names:    {_names(cert) or 'none'}\n"
        f"  Valid:    {_validity(cert)}\n"
        f"  SHA-256:  {fingerprint(cert, 'SHA256')}\n"
        f"  SHA-1:    {fingerprint(cert, 'SHA1')}\n\n"
        f"Compare a fingerprint: {ASK_OPERATOR}.\n"
        f"If you trust it, it is stored as {path}\n"
        "and from then on nothing else is accepted for this host.\n\n"
        "Trust it? y/n: "
    )


def _names(cert: x509.Certificate) -> str:
    """Return the names that a certificate is for, harmless for a terminal; empty if it has none."""
    from cryptography import x509  # noqa: PLC0415  start-up time

    names: list[str] = []
    # not each certificate that TLS accepts can be taken apart
    with contextlib.suppress(
        ValueError, x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType
    ):
        found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += found.get_values_for_type(x509.DNSName)
        names += map(str, found.get_values_for_type(x509.IPAddress))
    with contextlib.suppress(ValueError):
        names = names or [str(name.value) for name in cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    more = [f"and {len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
    # a stranger wrote them, and a terminal obeys control characters
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in ", ".join([*names[:MAX_NAMES], *more]))


def _validity(cert: x509.Certificate) -> str:
    return f"from {cert.not_valid_before_utc:%d %B %Y} to {cert.not_valid_after_utc:%d %B %Y}"


def _innermost(error: BaseException) -> BaseException:
    """Return what the system said: libraries wrap it, in a group if a host has several addresses."""
    while True:
        group = getattr(error, "exceptions", None)
        if group:
            error = _telling(group)
        elif (
            isinstance(error.__cause__, Exception)
            and getattr(error, "errno", None) is None
            and not isinstance(error, (NetworkError, TimeoutError))
        ):
            error = error.__cause__
        else:
            return error


def _telling(errors: Sequence[BaseException]) -> BaseException:
    """Return the error, of those for each address of a host, that says most: somebody answered there."""
    return min(errors, key=lambda error: not isinstance(error, ConnectionRefusedError))


def _tls_problem(reason: str) -> str:
    if reason in NOT_TLS:
        return (
            "what listens there speaks no TLS; correct the port, or pass disable_tls=True if it is a Manager without it"
        )
    if reason in TOO_OLD:
        return "it speaks only TLS older than 1.2, which is not secure; update the Manager, or what it runs on"
    words = reason.replace("_", " ").lower()
    return f"no agreement on TLS ({words}); correct the port, or ask the operator for a new certificate and version"


def _untrusted(error: ssl.SSLCertVerificationError, options: ConnectOptions, cert_file: Path | None) -> UntrustedError:
    at, code = options.address, error.verify_code
    cert = None
    with contextlib.suppress(CertificateError):
        cert = None if cert_file is None else load_certificate(cert_file)

    if code in NOT_VALID_NOW:
        return _not_valid_now(options, NOT_VALID_NOW[code], cert, cert_file)
    if code in WRONG_NAME:
        names = _names(cert) if cert else ""
        has = f" (in {cert_file}: {names})" if names else ""
        return UntrustedError(
            f"{at}: the certificate of the Manager is not for the host {options.host!r}{has}; connect by a name that "
            "it has, or pass assert_hostname=False if you trust it"
        )
    if code in ANOTHER:
        mark = f" (SHA-256 {fingerprint(cert, 'SHA256')})" if cert else ""
        return UntrustedError(
            f"{at} shows another certificate than the one in {cert_file}{mark}; either the Manager has a new one, or "
            f"somebody pretends to be it. Ask its operator; {_remedy(options, cert_file)}"
        )
    return UntrustedError(
        f"{at}: the certificate of the Manager is refused: {error.verify_message}; ask its operator for a new one, "
        "made with 'msl-network certgen'"
    )


def _is_about_us(error: BaseException) -> bool:
    """Whether the other side says by an alert of TLS that it does not accept our certificate."""
    reason = str(getattr(error, "reason", None) or "")
    return isinstance(error, ssl.SSLError) and "ALERT" in reason and any(word in reason for word in OUR_CERTIFICATE)


def _not_accepted(error: BaseException, options: ConnectOptions) -> RefusedError:
    if not options.client_cert_file:
        return RefusedError(
            f"{options.address} lets in only who has a certificate; ask its operator for one, and give it as "
            "client_cert_file"
        )
    return RefusedError(
        f"{options.address} does not accept the certificate in {options.client_cert_file} ({_words(error)}); ask its "
        "operator for one that an authority of the Manager has signed and that is valid now"
    )


def _words(error: BaseException) -> str:
    """Return the reason that OpenSSL gives, in words."""
    return str(getattr(error, "reason", None) or "").replace("_", " ").lower()


def _remedy(options: ConnectOptions, cert_file: Path | None) -> str:
    """Return what to do when the Manager really has a new certificate."""
    if options.cert_file:
        return "if it is new, give the new one as cert_file"
    if cert_file is not None and _is_of_own_manager(cert_file):
        return "do not delete that file, your own Manager uses it: give the other Manager's certificate as cert_file"
    return (
        f"if it is new, delete that file, connect again without auto_save, and compare the fingerprint: {ASK_OPERATOR}"
    )


def _is_of_own_manager(cert_file: Path) -> bool:
    return cert_file == paths.cert_file() and paths.key_file().is_file()


def _not_valid_now(
    options: ConnectOptions, what: str, cert: x509.Certificate | None, cert_file: Path | None
) -> UntrustedError:
    now = datetime.now(timezone.utc)
    dates = ""
    # the file may have that of an authority, which may be valid when the one of the Manager is not
    if cert is not None and not cert.not_valid_before_utc <= now <= cert.not_valid_after_utc:
        dates = f" ({_validity(cert)})"
    then = ""
    if options.cert_file:
        then = " and give it as cert_file"
    elif cert_file is not None and not _is_of_own_manager(cert_file):
        then = f", delete {cert_file}, and connect again"
    return UntrustedError(
        f"{options.address}: the certificate of the Manager {what}{dates}; if the clock of this computer is wrong "
        f"({now:%d %B %Y %H:%M} UTC), set it, else ask its operator for a new one ('msl-network certgen'){then}"
    )
