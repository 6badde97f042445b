from __future__ import annotations

import dataclasses
import inspect

import pytest

from msl_network.connecting import PORT, ConnectOptions

NEW = {"client_cert_file": None, "client_key_file": None, "client_key_file_password": None}
"""Keywords that 1.0 does not have."""


def defaults(function: object) -> dict[str, object]:
    parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    return {name: parameter.default for name, parameter in parameters.items() if name not in {"self", "name"}}


def test_the_keywords_of_a_client_of_1_0() -> None:
    """Keywords, their order and their defaults are those of connect() in 1.0, but for the name; new ones come last."""
    from msl.network.client import connect

    expected = defaults(connect) | NEW
    assert ConnectOptions().keywords() == expected
    assert list(ConnectOptions().keywords()) == list(expected)


def test_the_keywords_of_a_service_of_1_0() -> None:
    """They are those of Service.start() in 1.0, too."""
    from msl.network.service import Service

    assert ConnectOptions().keywords() == defaults(Service.start) | NEW


def test_the_port_of_1_0() -> None:
    """A Manager listens where that of 1.0 does."""
    from msl.network import constants

    assert constants.PORT == PORT
    assert ConnectOptions().port == PORT


def test_the_keywords_make_the_same_options() -> None:
    """What the options give as keywords makes equal options; each keyword is kept."""
    options = ConnectOptions(
        host="lab-pc",
        port=1876,
        timeout=None,
        username="alice",
        password="1",
        password_manager="2",
        read_limit=5,
        disable_tls=True,
        cert_file="m.crt",
        assert_hostname=False,
        auto_save=True,
        client_cert_file="me.crt",
        client_key_file="me.key",
        client_key_file_password="3",
    )
    keywords = options.keywords()
    assert not [name for name, value in ConnectOptions().keywords().items() if keywords[name] == value]
    assert ConnectOptions(**keywords) == options
    assert ConnectOptions(**keywords | {"port": 1}) != options


def test_the_address() -> None:
    """The address is host and port."""
    assert ConnectOptions().address == f"localhost:{PORT}"
    assert ConnectOptions(host="lab-pc", port=1).address == "lab-pc:1"


def test_options_do_not_change() -> None:
    """Options are what they were when they were given, and are given by name."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ConnectOptions().port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ConnectOptions("lab-pc")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ConnectOptions(hots="lab-pc")  # type: ignore[call-arg]


@pytest.mark.parametrize("keyword", ["password", "password_manager", "client_key_file_password"])
def test_no_password_is_shown(keyword: str) -> None:
    """Whoever logs the options shows no password."""
    options = ConnectOptions(username="alice", **{keyword: "hunter2"})  # type: ignore[arg-type]
    assert "hunter2" not in repr(options)
    assert "alice" in repr(options)
