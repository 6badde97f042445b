"""Authenticates peers by certificates that an authority of the laboratory has signed (mutual TLS).

    [manager]
    auth = ["certificate"]

    [plugins.certificate]
    ca_file = "lab-ca.crt"

    [[plugins.certificate.mapping]]
    match = ["CN=alice", "O=Lab"]           # all of them are in the certificate
    roles = ["operator"]

Rule of this file: OpenSSL decides whether a certificate is good, in the TLS handshake; here is read what stands in it.
It must not know how it travelled, nor any other plugin.
"""

from __future__ import annotations

import fnmatch
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from msl_network import AuthenticationError, ConfigError, File, StartError, hookimpl
from msl_network.messages import is_clean
from msl_network.settings import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from msl_network import Config, Peer

__all__ = ["Certificate", "Entry", "names"]

SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}
"""How attributes of a subject are written in short (RFC 4514); others have the name that OpenSSL gives them."""

MISSING: Final = (
    "This Manager lets in who shows a certificate: give yours as client_cert_file; Clients of MSL-Network 1.0 cannot"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a certificate means.

    Args:
        match: Patterns, each of which matches one of the names in the certificate, e.g. ``CN=alice`` or ``DNS:pc7.*``.
        user: The user name; that of the certificate if empty.
        roles: The roles of its holder.
        administrator: Whether its holder is an administrator.
    """

    match: list[str]
    user: str = ""
    roles: list[str] = field(default_factory=list)
    administrator: bool = False

    def __post_init__(self) -> None:
        if not self.match:
            raise ValueError('match: found an empty list; ["*"] is every certificate')

    def is_about(self, known: tuple[str, ...]) -> bool:
        """Whether it is about a certificate with these names."""
        return all(any(fnmatch.fnmatchcase(name, pattern) for name in known) for pattern in self.match)


@dataclass(eq=False)
class Certificate:
    """Lets in who shows a certificate of the authority.

    Args:
        ca_file: The certificates of the authorities that sign those of peers, PEM.
        crl_file: The list of certificates that they have revoked, PEM; each authority must have one in it.
        user: What of a certificate is the user name: ``CN`` or ``UID`` of its subject, or an alternative name.
        mapping: What certificates mean; the fields of each are those of `Entry`. If there is any, one must match.
    """

    ca_file: File
    crl_file: File | None = None
    user: Literal["CN", "UID", "email", "DNS", "URI"] = "CN"
    mapping: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mapping = [_entry(number, values) for number, values in enumerate(self.mapping, 1)]

    @hookimpl
    def configure_tls(self, context: ssl.SSLContext) -> None:
        """Have peers asked for a certificate, and checked what they show.

        Raises:
            StartError: If a file is not as it should be.
        """
        _load(context, self.ca_file, "ca_file")
        if not context.get_ca_certs():
            raise StartError(f"{self.ca_file}: there is no certificate of an authority in it; correct ca_file")
        if self.crl_file:
            _load(context, self.crl_file, "crl_file")
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        # a peer that must show one and has none would read of an alert; one that may is told what it lacks
        context.verify_mode = ssl.CERT_OPTIONAL

    @hookimpl
    def check_config(self, config: Config) -> None:
        """Refuse to run without TLS, where nobody has a certificate.

        Raises:
            ConfigError: If TLS is off.
        """
        if not config.tls.enabled:
            problem = "the plugin 'certificate' needs TLS; enable it in [manager.tls], or take it out of auth"
            raise ConfigError(problem, source=config.source)

    @hookimpl
    async def reload(self, settings: Certificate) -> Callable[[], None]:
        """Read certificates by the new settings; `configure_tls` of these has loaded the files already."""

        def change() -> None:
            self.ca_file, self.crl_file = settings.ca_file, settings.crl_file
            self.user, self.mapping = settings.user, settings.mapping
            self.__post_init__()

        return change

    @hookimpl
    async def authenticate(self, peer: Peer) -> None:
        """Let in a peer by its certificate, and tell who it is."""
        if peer.certificate is None:
            raise AuthenticationError(MISSING)
        known = tuple(names(peer.certificate))
        entries = [entry for entry in self._mapping if entry.is_about(known)]
        if self._mapping and not entries:
            raise AuthenticationError(f"Nobody is known here by this certificate: {', '.join(known)}")
        user = next((entry.user for entry in entries if entry.user), "") or self._user(known)
        if not is_clean(user):
            raise AuthenticationError(
                f"There is no user name in this certificate, which should have it as {self.user}: {', '.join(known)}"
            )
        peer.username = user
        peer.is_admin = peer.is_admin or any(entry.administrator for entry in entries)
        peer.roles |= {role for entry in entries for role in entry.roles}

    def _user(self, known: tuple[str, ...]) -> str:
        for name in known:
            for separator in "=:":
                if name.startswith(self.user + separator):
                    return name[len(self.user) + 1 :]
        return ""


def names(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Return the names in a certificate: of its subject as ``CN=alice``, alternative ones as ``DNS:pc7.lab.example``.

    Args:
        certificate: As ``ssl.SSLSocket.getpeercert`` has it.
    """
    for part in certificate.get("subject", ()):
        for attribute, value in part:
            yield f"{SHORT.get(attribute, attribute)}={value}"
    for kind, value in certificate.get("subjectAltName", ()):
        yield f"{'IP' if kind == 'IP Address' else kind}:{value}"


def _load(context: ssl.SSLContext, file: str, key: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise StartError(f"{file}: there is nothing in PEM form in it that could be {key}; correct it") from error
    except OSError as error:
        raise StartError(f"{file}: cannot be read: {error.strerror or error}; correct {key}") from error


def _entry(number: int, values: dict[str, Any]) -> Entry:
    try:
        return build(Entry, values)
    except ConfigError as error:
        where = f" {error.key}:" if error.key else ""
        raise ValueError(f"mapping: number {number}:{where} {error.problem}") from None
