from __future__ import annotations

import pytest
from msl_network_plugins.identity import IdentityRules

from msl_network import ConfigError, Identity, IdentityError
from msl_network.settings import build
from msl_network.testing import check_plugin

pytestmark = pytest.mark.anyio


def client(name: str) -> Identity:
    return Identity(type="client", name=name)


@pytest.mark.parametrize("name", ["A", "x" * 256, "Manager 2", "Managers[x]", "my self", "self-made", "测 [量]"])
async def test_a_name_that_is_accepted(name: str) -> None:
    """A name may be what it likes, within the limit."""
    await IdentityRules().check_identity(client(name))


async def test_a_name_that_is_too_long() -> None:
    """12. It is refused with its length, not with itself."""
    with pytest.raises(IdentityError) as info:
        await IdentityRules().check_identity(client("x" * 257))
    assert info.value.wire_text() == "TypeError: the name has 257 characters, the limit is 256"


@pytest.mark.parametrize("name", ["Manager", "manager", "SELF", "Manager[host:1875]", "self[x]"])
async def test_a_name_that_is_reserved(name: str) -> None:
    """12. Nobody can pass for the Manager, nor hide what a Service's own attribute means."""
    with pytest.raises(IdentityError) as info:
        await IdentityRules().check_identity(Identity(type="service", name=name))
    assert info.value.wire_text() == f"NameError: the name {name!r} is reserved, choose another"


async def test_the_settings() -> None:
    """Length and reserved names are the laboratory's choice; a length below 1 is a mistake."""
    rules = build(IdentityRules, {"max_name_length": 3, "reserved": ["Lab"]})
    await rules.check_identity(client("abc"))
    await IdentityRules(reserved=[]).check_identity(client("Manager"))
    for name in ("abcd", "LAB"):
        with pytest.raises(IdentityError):
            await rules.check_identity(client(name))
    with pytest.raises(ConfigError) as info:
        build(IdentityRules, {"max_name_length": 0}, section="plugins.identity")
    assert str(info.value) == "[plugins.identity] max_name_length: found 0, allowed is 1 or more"


def test_it_keeps_all_promises() -> None:
    """Those that every plugin has to keep."""
    assert "judges_identities" in check_plugin(IdentityRules, settings={"max_name_length": 100})


async def test_other_rules() -> None:
    """After a reload those of the settings hold."""
    rules = IdentityRules()
    change = await rules.reload(IdentityRules(max_name_length=3, reserved=["lab"]))
    await rules.check_identity(client("long name"))
    change()
    await rules.check_identity(client("Manager"[:3]))
    for name in ("long name", "lab"):
        with pytest.raises(IdentityError):
            await rules.check_identity(client(name))
