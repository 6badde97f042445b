"""What the bundled plugins refuse, as Clients and Services of 1.0 see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
