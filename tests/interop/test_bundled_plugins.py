"""What the bundled plugins refuse, as Clients and Services of 1.0 see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trustme

from .lab import PeerError

if TYPE_CHECKING:
    from .lab import Lab

pytestmark = pytest.mark.ours


def start(lab: Lab, settings: str) -> None:
    """Start the Manager with these settings."""
    file = lab.folder / "lab.toml"
    file.write_text(settings, encoding="utf-8")
    lab.start_with("--config", str(file))


ROLES = """
[manager]
host = "127.0.0.1"
auth = ["login"]
plugins = ["roles"]

[[plugins.roles.rules]]
effect = "allow"
users = ["dmm", "ann"]

[[plugins.roles.rules]]
name = "guests look"
effect = "allow"
users = ["bob"]
actions = ["link"]

[[plugins.roles.rules]]
name = "nobody fails"
effect = "deny"
methods = ["fail"]
"""


def test_roles(lab: Lab) -> None:
    """A Client that a rule refuses reads which one it was, and goes on."""
    for name in ("dmm", "ann", "bob"):
        lab.add_user(name, "secret")
    start(lab, ROLES)
    lab.instruments("Echo", username="dmm", password="secret")
    ann = lab.client("ann", username="ann", password="secret")
    assert ann.run("echo = cxn.link('Echo'); echo.add(1, 2)") == 3
    with pytest.raises(PeerError, match=r"PermissionError: ann \(without a role\) may not call 'fail' of 'Echo': "):
        ann.run("echo.fail('x')")
    bob = lab.client("bob", username="bob", password="secret")
    assert bob.run("echo = cxn.link('Echo'); echo.service_name") == "Echo"
    with pytest.raises(PeerError, match=r"PermissionError: .*'add' of 'Echo': no rule of \[plugins.roles\] allows it"):
        bob.run("echo.add(1, 2)")
    with pytest.raises(PeerError, match=r"PermissionError: bob \(without a role\) may not lock 'Echo'"):
        bob.run("echo.acquire_lock()")
    assert bob.run("cxn.is_connected()")
    assert ann.run("echo.add(3, 4)") == 7


TOKEN = """
[manager]
host = "127.0.0.1"
auth = ["token"]
"""


def add_token(lab: Lab, *words: str) -> str:
    """Make a token; return it."""
    return lab.cli("--config", str(lab.folder / "lab.toml"), "token", "add", *words).splitlines()[0]


def test_token(lab: Lab) -> None:
    """A Client and a Service come in with tokens; one that is over, revoked, unknown or not for it says so."""
    (lab.folder / "lab.toml").write_text(TOKEN, encoding="utf-8")
    old = add_token(lab, "old", "--lifetime", "1 s")
    start(lab, TOKEN)
    dmm, pump, leaked = add_token(lab, "dmm", "-s", "service"), add_token(lab, "pump"), add_token(lab, "leaked")
    # the Service is looked for by a Client, which comes in by the same keywords
    both = add_token(lab, "both", "--scope", "service", "client")
    lab.instruments("Echo", password_manager=both)
    client = lab.client(password_manager=pump)
    assert client.run("cxn.link('Echo').add(1, 2)") == 3
    lab.cli("--config", str(lab.folder / "lab.toml"), "token", "revoke", "leaked")
    # a Client of 1.0 that is refused because of its identity reads nothing: it takes itself for connected
    with pytest.raises(PeerError, match="PermissionError: The token 'dmm' does not let in a client, its scope"):
        lab.client(clients="ours", password_manager=dmm)
    notebook = lab.notebook()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC; ask an administrator for a new one"
    for token, text in (
        (old, f"ValueError: The token 'old' expired on {when}"),
        (leaked, f"ValueError: The token 'leaked' was revoked on {when}"),
        ("mslnet_guess", "ValueError: Unknown token; ask an administrator for a new one"),
    ):
        with pytest.raises(PeerError, match=text):
            notebook.run(f"connect(password_manager={token!r}, **kwargs)")
    assert client.run("cxn.is_connected()")


def test_token_or_login(lab: Lab) -> None:
    """Persons of 1.0 log in, and their scripts come with a token, at one Manager."""
    settings = f'{TOKEN}[plugins.token]\notherwise = "login"\n'
    (lab.folder / "lab.toml").write_text(settings, encoding="utf-8")
    lab.add_user("ann", "secret")
    pump = add_token(lab, "pump", "--scope", "client", "service")
    start(lab, settings)
    lab.instruments("Echo", username="token", password=pump)
    for username, password in (("token", pump), ("ann", "secret")):
        client = lab.client(username=username, password=password)
        assert client.run("cxn.link('Echo').add(1, 2)") == 3
    notebook = lab.notebook()
    for username, password, text in (("token", "secret", "Unknown token"), ("ann", pump, "Wrong login password")):
        with pytest.raises(PeerError, match=f"ValueError: .*{text}"):
            notebook.run(f"connect(username={username!r}, password={password!r}, **kwargs)")


CERTIFICATE = """
[manager]
host = "127.0.0.1"
auth = ["certificate"]

[plugins.certificate]
ca_file = "ca.pem"
"""


def test_certificate(lab: Lab) -> None:
    """A Client of 1.0, which has no certificate, reads that it needs one; ours is told if its own is foreign."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(lab.folder / "ca.pem"))
    for name, authority in (("ann", ca), ("mallory", trustme.CA())):
        issued = authority.issue_cert(f"{name}@lab.example", common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(lab.folder / f"{name}.pem"))
    start(lab, CERTIFICATE)
    with pytest.raises(
        PeerError, match="ValueError: This Manager lets in who shows a certificate: give yours as client_"
    ):
        lab.client(clients="theirs")
    ann = str(lab.folder / "ann.pem")
    lab.instruments("Echo", services="ours", client_cert_file=ann)
    assert lab.client(clients="ours", client_cert_file=ann).run("cxn.link('Echo').add(1, 2)") == 3
    with pytest.raises(
        PeerError,
        match=r"does not accept the certificate in .*mallory.pem \(tlsv1 alert unknown ca\); ask",
    ):
        lab.client(clients="ours", client_cert_file=str(lab.folder / "mallory.pem"))


AUDIT = """
[manager]
host = "127.0.0.1"
auth = ["login"]
plugins = ["audit"]
"""


def test_audit(lab: Lab) -> None:
    """What Clients of 1.0 ask for is in the file: results, errors, what an administrator does, and no password."""
    lab.add_user("ann", "secret", admin=True)
    start(lab, AUDIT)
    lab.instruments("Echo", username="ann", password="secret")
    client = lab.client("ann", username="ann", password="secret")
    assert client.run("echo = cxn.link('Echo'); echo.add(1, 2)") == 3
    with pytest.raises(PeerError, match="LookupError: no channel 7"):
        client.run("echo.fail('no channel 7')")
    client.run("cxn.admin_request('users_table.insert', 'bob', 'hunter2', False)")
    client.run("cxn.disconnect()")
    (manager, *_) = lab.processes
    manager.read("ann.* disconnected")
    lab.end(manager)
    text = (lab.home / "audit.jsonl").read_text(encoding="utf-8")
    calls = [
        (entry["user"], entry["service"], entry["attribute"], entry["outcome"], entry.get("error"))
        for entry in map(json.loads, text.splitlines())
        if entry["event"] == "call" and entry["peer"].startswith("ann[")
    ]
    assert calls == [
        ("ann", "Manager", "link", "result", None),
        ("ann", "Echo", "add", "result", None),
        ("ann", "Echo", "fail", "error", "LookupError"),
        ("ann", "Manager", "users_table.insert", "result", None),
    ]
    assert not [secret for secret in ("hunter2", "secret", "channel") if secret in text]
