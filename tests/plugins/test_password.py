from __future__ import annotations

import pytest
from msl_network_plugins.password import Password

from msl_network import AuthenticationError, ConfigError, Secret
from msl_network.settings import build
from msl_network.testing import FakeHandshake, check_plugin

pytestmark = pytest.mark.anyio


async def test_the_question() -> None:
    """It is asked once, with the Manager's name: by that a Client of 1.0 knows which password is meant."""
    handshake = FakeHandshake(password="geheim")
    await Password(Secret("geheim")).authenticate(handshake)
    assert handshake.asked == [("password", "Manager[lab:1875]")]


@pytest.mark.parametrize("text", ["geheim", "my secret words", "Größe 😀", "\ud800", "x" * 100_000])
async def test_who_knows_it_is_let_in(text: str) -> None:
    """Whatever characters it has."""
    handshake = FakeHandshake(password=text)
    await Password(Secret(text)).authenticate(handshake)
    assert len(handshake.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Geheim",
        "geheim ",
        "geheim\0",
        "geheimgeheim",
        "x" * 100_000,
        "\ud800",
        None,
        True,
        5,
        1.5,
        [],
        {},
        ["geheim"],
        {"password": "geheim"},
        b"geheim",
    ],
)
async def test_who_does_not_know_it_is_refused(answer: object) -> None:
    """With the text of 1.0, which says nothing of the password, whatever the answer is."""
    handshake = FakeHandshake(password=answer)
    with pytest.raises(AuthenticationError) as info:
        await Password(Secret("geheim")).authenticate(handshake)
    assert info.value.wire_text() == "ValueError: Wrong Manager password"


async def test_a_password_must_be_set() -> None:
    """None and an empty one are mistakes that are found before anybody is let in."""
    for section, text in [
        ({}, "is missing and has no default"),
        ({"password": ""}, "it is empty; give one, or take 'password' out of auth"),
    ]:
        with pytest.raises(ConfigError) as info:
            build(Password, section, section="plugins.password")
        assert str(info.value) == f"[plugins.password] password: {text}"
    assert "geheim" not in repr(Password(Secret("geheim")))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_keeps_all_promises(backend: str) -> None:
    """Those that every plugin has to keep."""
    done = check_plugin(Password, settings={"password": "geheim"}, answers=["geheim"], backend=backend)
    assert {"lets_in", "refuses", "asks_two_at_once"} <= set(done)


async def test_another_password() -> None:
    """After a reload the new one lets in, and the old one does no longer."""
    plugin = Password(Secret("old"))
    change = await plugin.reload(Password(Secret("new")))
    await plugin.authenticate(FakeHandshake(password="old"))  # until all plugins agree
    change()
    await plugin.authenticate(FakeHandshake(password="new"))
    with pytest.raises(AuthenticationError):
        await plugin.authenticate(FakeHandshake(password="old"))
