from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msl_network_plugins.certificate import Certificate, names

from msl_network import (
    AsyncClient,
    AuthenticationError,
    Config,
    ConfigError,
    ConnectError,
    Manager,
    Peer,
    RefusedError,
    Service,
    StartError,
    connect,
    hookimpl,
)
from msl_network.settings import build
from tests.laboratory import Laboratory
from tests.wire_peer import config, connected, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE: dict[str, Any] = {
    "subject": (
        (("countryName", "NZ"),),
        (("organizationName", "Lab"),),
        (("organizationalUnitName", "Length"), ("organizationalUnitName", "Mass")),
        (("commonName", "alice"),),
        (("userId", "a7"),),
        (("emailAddress", "old@lab.example"),),
    ),
    "subjectAltName": (
        ("DNS", "pc7.lab.example"),
        ("email", "alice@lab.example"),
        ("URI", "urn:lab:alice"),
        ("IP Address", "192.0.2.7"),
    ),
}


@dataclass(eq=False)
class FakePeer:
    """What the plugin sets and reads of a peer."""

    certificate: dict[str, Any] | None
    username: str = ""
    is_admin: bool = False
    roles: frozenset[str] = frozenset()


def come(certificate: dict[str, Any] | None, *mapping: dict[str, Any], **settings: Any) -> FakePeer:
    plugin = build(Certificate, {"ca_file": "ca.pem", "mapping": list(mapping), **settings})
    peer = FakePeer(certificate)
    anyio.run(plugin.authenticate, peer)
    return peer


# What stands in a certificate


def test_names() -> None:
    """Those of the subject are written with an equals sign, alternative ones with a colon."""
    assert list(names(ALICE)) == [
        *("C=NZ", "O=Lab", "OU=Length", "OU=Mass", "CN=alice", "UID=a7", "emailAddress=old@lab.example"),
        *("DNS:pc7.lab.example", "email:alice@lab.example", "URI:urn:lab:alice", "IP:192.0.2.7"),
    ]
    assert list(names({})) == []


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("CN", "alice"),
        ("UID", "a7"),
        ("email", "alice@lab.example"),
        ("DNS", "pc7.lab.example"),
        ("URI", "urn:lab:alice"),
    ],
)
def test_the_user_name(user: str, found: str) -> None:
    """It is taken from where the settings say; everybody with a good certificate is let in without a mapping."""
    assert come(ALICE, user=user).username == found


def test_no_certificate() -> None:
    """Who shows none is told what to do."""
    with pytest.raises(
        AuthenticationError, match=r"^This Manager lets in who shows a certificate: give yours as client"
    ):
        come(None)


@pytest.mark.parametrize("name", ["", "a\nb", None])
def test_no_user_name(name: str | None) -> None:
    """A certificate in which it is missing, or can be none, lets in nobody."""
    subject = ((("organizationName", "Lab"),),) + (() if name is None else ((("commonName", name),),))
    with pytest.raises(
        AuthenticationError, match="There is no user name in this certificate, which should have it as CN"
    ):
        come({"subject": subject})


def test_mapping() -> None:
    """Entries whose patterns are all met tell roles, rights and the name of the holder."""
    peer = come(
        ALICE,
        {"match": ["O=Lab"], "roles": ["member"]},
        {"match": ["OU=Mass", "email:*@lab.example"], "roles": ["operator"], "user": "Alice"},
        {"match": ["CN=al?ce"], "administrator": True, "user": "second"},
        {"match": ["CN=bob"], "roles": ["boss"], "user": "bob"},
        {"match": ["CN=alice", "O=Other"], "roles": ["foreigner"]},
    )
    assert (peer.username, peer.is_admin) == ("Alice", True)
    assert peer.roles == {"member", "operator"}


@pytest.mark.parametrize("pattern", ["CN=bob", "CN=ALICE", "alice", "O=alice", "CN:alice", "N=alice"])
def test_nobody_is_known_by_it(pattern: str) -> None:
    """Where there is a mapping, a certificate that no entry is about lets in nobody."""
    with pytest.raises(AuthenticationError, match=r"^Nobody is known here by this certificate: C=NZ, O=Lab, OU=Length"):
        come(ALICE, {"match": [pattern]})
    assert come(ALICE, {"match": [pattern]}, {"match": ["*"]}).username == "alice"


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({}, "ca_file: is missing and has no default"),
        ({"ca_file": "ca.pem", "user": "name"}, "user: found 'name', allowed is one of 'CN', 'UID', 'email', "),
        ({"ca_file": "ca.pem", "mapping": [{}]}, "mapping: number 1: match: is missing and has no default"),
        ({"ca_file": "ca.pem", "mapping": [{"match": []}]}, "mapping: number 1: match: found an empty list; "),
        (
            {"ca_file": "ca.pem", "mapping": [{"match": ["*"], "role": []}]},
            "mapping: number 1: role: unknown key, did ",
        ),
    ],
)
def test_a_mistake_in_the_settings(section: dict[str, Any], text: str) -> None:
    """It is one line that says where, what was found, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        build(Certificate, section, source="lab.toml", section="plugins.certificate")
    assert str(caught.value).startswith(f"lab.toml [plugins.certificate] {text}")


# Real certificates


class Authority:
    """An authority, and the files of a laboratory that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, ca: trustme.CA | None = None, **kwargs: Any) -> Path:
        """Make a certificate for somebody; its key is in the same file."""
        cert = (ca or self.ca).issue_cert(f"{name}@lab.example", common_name=name, **kwargs)
        file = self.folder / f"{name}.pem"
        cert.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file

    def revoke(self, *files: Path) -> Path:
        """Write a list of revoked certificates."""
        key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        now = datetime.now(timezone.utc)
        builder = x509.CertificateRevocationListBuilder().last_update(now).next_update(now + timedelta(days=1))
        builder = builder.issuer_name(x509.load_pem_x509_certificate(self.ca.cert_pem.bytes()).subject)
        for file in files:
            serial = x509.load_pem_x509_certificate(file.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        crl = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]  # it is one that can sign
        file = self.folder / "revoked.pem"
        from cryptography.hazmat.primitives.serialization import Encoding

        file.write_bytes(crl.public_bytes(Encoding.PEM))
        return file


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Seen:
    """Remembers who was let in."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    @hookimpl
    def peer_joined(self, peer: Peer) -> None:
        self.peers.append(peer)


class Echo(Service):
    """Repeats."""

    def echo(self, text: str) -> str:
        return text


def settings(authority: Authority, **section: Any) -> dict[str, Any]:
    return {
        "auth": ["certificate"],
        "tls": {"enabled": True},
        "plugin_settings": {"certificate": {"ca_file": str(authority.file), **section}},
    }


class Lab(Laboratory):
    """A laboratory with TLS, in which certificates let in."""

    @property
    def keywords(self) -> dict[str, Any]:
        """How to connect."""
        return {**super().keywords, "host": "localhost", "disable_tls": False, "auto_save": True}


@pytest.fixture
def lab(authority: Authority) -> Iterator[Lab]:
    with Lab(**settings(authority)) as lab:
        yield lab


def test_our_peers(lab: Lab, authority: Authority) -> None:
    """A Client and a Service that show a certificate are let in; key and certificate may be in two files."""
    lab.start(Echo(), client_cert_file=authority.issue("pump"))
    both = authority.issue("alice")
    key, _, chain = both.read_text().partition("-----BEGIN CERTIFICATE")
    (authority.folder / "alice.key").write_text(key)
    (authority.folder / "alice.crt").write_text(f"-----BEGIN CERTIFICATE{chain}")
    files: dict[str, Any] = {
        "client_cert_file": authority.folder / "alice.crt",
        "client_key_file": str(authority.folder / "alice.key"),
    }
    assert lab.client(**files).link("Echo").echo("hello") == "hello"


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.mark.anyio
async def test_who_somebody_is(transport: str, authority: Authority) -> None:
    """On each transport the Manager knows the certificate, and from it user, roles and rights."""
    seen = Seen()
    chosen = settings(authority, mapping=[{"match": ["CN=alice"], "roles": ["operator"], "administrator": True}])
    async with Manager(config(transport, **chosen), plugins=[seen]) as manager:
        context = ssl.create_default_context(cafile=str(manager.cert_file))
        context.load_cert_chain(authority.issue("alice"))
        async with connected(manager, context) as peer:
            assert (await peer.read())["attribute"] == "identity"
            await peer.send(result={"type": "client", "name": "C"})
            await until(lambda: seen.peers)
        (alice,) = seen.peers
        assert (alice.username, alice.is_admin, alice.roles) == ("alice", True, frozenset({"operator"}))
        assert alice.certificate is not None
        assert ("email", "alice@lab.example") in alice.certificate["subjectAltName"]


@pytest.mark.anyio
async def test_who_has_none(transport: str, authority: Authority) -> None:
    """A peer without a certificate is told what it lacks, and one with another user's is told that nobody knows it."""
    chosen = settings(authority, mapping=[{"match": ["CN=alice"]}])
    async with Manager(config(transport, **chosen)) as manager:
        context = ssl.create_default_context(cafile=str(manager.cert_file))
        async with connected(manager, context) as peer:
            assert (await peer.read())["message"].startswith("ValueError: This Manager lets in who shows a certificate")
            await peer.eof()
        context.load_cert_chain(authority.issue("bob"))
        async with connected(manager, context) as peer:
            assert (await peer.read())["message"].startswith("ValueError: Nobody is known here by this certificate: ")
            await peer.eof()


@pytest.mark.anyio
async def test_without_the_plugin(transport: str, authority: Authority) -> None:
    """Nobody is asked for a certificate, and who would show one is none the better known for it."""
    seen = Seen()
    async with Manager(config(transport, tls={"enabled": True}), plugins=[seen]) as manager:
        context = ssl.create_default_context(cafile=str(manager.cert_file))
        context.load_cert_chain(authority.issue("alice"))
        async with connected(manager, context) as peer:
            await peer.read()
            await peer.send(result={"type": "client", "name": "C"})
            await until(lambda: seen.peers)
        assert (seen.peers[0].certificate, seen.peers[0].username) == (None, "")


def bad_files(authority: Authority, kind: str) -> Path:
    """A certificate that is not good."""
    if kind == "foreign":
        return authority.issue("mallory", trustme.CA())
    if kind == "expired":
        return authority.issue("mallory", not_after=datetime.now(timezone.utc) - timedelta(days=1))
    return authority.folder / "revoked-one.pem"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["foreign", "expired", "revoked"])
async def test_not_accepted(transport: str, authority: Authority, kind: str) -> None:
    """Our Clients say that the Manager does not take their certificate, which file it is, and what to do."""
    good = authority.issue("alice")
    authority.issue("mallory").rename(authority.folder / "revoked-one.pem")
    crl = authority.revoke(authority.folder / "revoked-one.pem")
    bad = bad_files(authority, kind)
    async with Manager(config(transport, **settings(authority, crl_file=str(crl)))) as manager:
        keywords: dict[str, Any] = {"port": manager.port, "auto_save": True}
        async with AsyncClient(**keywords, client_cert_file=good) as client:
            assert client.is_connected()
        text = rf"^localhost:{manager.port} .*(does not accept the certificate in {bad}).*ask its operator for"
        with pytest.raises(RefusedError, match=text):
            async with AsyncClient(**keywords, client_cert_file=bad):
                raise AssertionError
        with pytest.raises(RefusedError, match=text):
            await anyio.to_thread.run_sync(lambda: connect(**keywords, client_cert_file=bad))
        with pytest.raises(
            RefusedError, match="This Manager lets in who shows a certificate: give yours as client_cert"
        ):
            await anyio.to_thread.run_sync(lambda: connect(**keywords))


@pytest.mark.anyio
async def test_other_settings(transport: str, authority: Authority, tmp_path: Path) -> None:
    """After a reload another authority, a list of revoked ones and a mapping hold; who is connected stays."""
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new")
    alice, bob, carol = authority.issue("alice"), new.issue("bob"), new.issue("carol")
    async with Manager(config(transport, **settings(authority))) as manager:
        keywords: dict[str, Any] = {"port": manager.port, "auto_save": True}
        async with AsyncClient(**keywords, client_cert_file=alice) as client:
            broken = settings(authority, crl_file=str(tmp_path / "none.pem"))
            with pytest.raises(
                StartError, match=r"none\.pem: cannot be read: No such file or directory; correct crl_file"
            ):
                await manager.reload(config(transport, **broken))
            async with AsyncClient(**keywords, client_cert_file=alice):
                pass
            mapping = [{"match": ["CN=bob"], "user": "robert"}]
            chosen = settings(new, crl_file=str(new.revoke(carol)), mapping=mapping, user="UID")
            assert await manager.reload(config(transport, **chosen)) == []
            for refused in (alice, carol):
                with pytest.raises(RefusedError, match="does not accept the certificate"):
                    async with AsyncClient(**keywords, client_cert_file=refused):
                        raise AssertionError
            async with AsyncClient(**keywords, client_cert_file=bob):
                known: Any = await client.identities()
                assert len(known["clients"]) == 2


# Files that are not as they should be


@pytest.mark.parametrize("key", ["ca_file", "crl_file"])
@pytest.mark.parametrize(
    ("content", "text"), [(None, "cannot be read: No such file"), ("x", "there is nothing in PEM")]
)
@pytest.mark.anyio
async def test_files_of_the_manager(authority: Authority, key: str, content: str | None, text: str) -> None:
    """The Manager does not start, and names the file and the key."""
    file = authority.folder / "wrong.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StartError) as caught:
        async with Manager(config(**settings(authority, **{key: str(file)}))):
            raise AssertionError
    assert str(caught.value).startswith(f"{file}: {text}")
    assert key in str(caught.value)


@pytest.mark.anyio
async def test_a_file_without_an_authority(authority: Authority) -> None:
    """A list of revoked certificates is none of authorities."""
    chosen = settings(authority, ca_file=str(authority.revoke()))
    with pytest.raises(StartError, match="there is no certificate of an authority in it; correct ca_file"):
        async with Manager(config(**chosen)):
            raise AssertionError


def test_without_tls(authority: Authority) -> None:
    """Without TLS nobody could come in, so no Manager is made."""
    chosen = settings(authority) | {"tls": {"enabled": False}}
    with pytest.raises(StartError, match="the plugin 'certificate' needs TLS; enable it in"):
        Manager(config(**chosen))


def test_files_of_a_client(lab: Lab, authority: Authority) -> None:
    """A Client says which file is missing, of another kind, encrypted, or does not fit."""
    alice, bob = authority.issue("alice"), authority.issue("bob")
    with pytest.raises(ConnectError, match=r"^/.*nobody.pem: cannot be read: No such file"):
        lab.client(client_cert_file=authority.folder / "nobody.pem")
    with pytest.raises(ConnectError, match="OpenSSL refuses our certificate or its key"):
        lab.client(client_cert_file=authority.file)
    with pytest.raises(ConnectError, match=r"alice.pem or .*bob.pem: OpenSSL refuses .*\(key values mismatch\); give"):
        lab.client(client_cert_file=alice, client_key_file=bob)


def test_an_encrypted_key(lab: Lab, authority: Authority) -> None:
    """Its password is a keyword; without it, nobody is asked on the terminal."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    alice = authority.issue("alice")
    key = load_pem_private_key(alice.read_bytes(), None)
    file = authority.folder / "encrypted.key"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
    )
    files: dict[str, Any] = {"client_cert_file": alice, "client_key_file": file}
    with pytest.raises(ConnectError, match=r"encrypted\.key: the private key is encrypted; give its password"):
        lab.client(**files)
    with pytest.raises(ConnectError, match="OpenSSL refuses our certificate or its key"):
        lab.client(**files, client_key_file_password="wrong")
    assert lab.client(**files, client_key_file_password="secret").is_connected()


def test_it_is_installed(authority: Authority) -> None:
    """`auth = ["certificate"]` enables it, with the path of its file from the folder of the TOML file."""
    file = authority.folder / "lab.toml"
    file.write_text('[manager]\nauth = ["certificate"]\n[plugins.certificate]\nca_file = "ca.pem"\n')
    manager = Manager(Config.load(file))
    plugin = next(plugin for name, plugin in manager.hooks.plugins if name == "certificate")
    assert isinstance(plugin, Certificate)
    assert Path(plugin.ca_file) == authority.file
