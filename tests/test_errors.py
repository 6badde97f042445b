from __future__ import annotations

import inspect
import re

import pytest

from msl_network import errors
from msl_network.errors import ConfigError, MessageError, NetworkError, PluginError, RequestError

CLASSES = {name: getattr(errors, name) for name in errors.__all__}


def test_the_tree_in_the_docstring() -> None:
    """The docstring draws the tree as it is: each class, below its base."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^( *)\* :class:`(\w+)`", inspect.getdoc(errors) or "", re.MULTILINE):
        depth = len(indent) // 4
        path = [*path[:depth], name]
        drawn[name] = path[-2] if depth else "Exception"
    assert drawn == {name: kind.__bases__[0].__name__ for name, kind in CLASSES.items()}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"NetworkError"}))
def test_when_it_is_raised(name: str) -> None:
    """Each exception says when it is raised, and is one of ours."""
    assert issubclass(CLASSES[name], NetworkError)
    assert (CLASSES[name].__doc__ or "").startswith("Raised ")


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("AuthenticationError", "ValueError"),
        ("IdentityError", "TypeError"),
        ("NameTakenError", "NameError"),
        ("UnknownServiceError", "KeyError"),
        ("NotLinkedError", "KeyError"),
        ("LinkError", "PermissionError"),
        ("LockError", "PermissionError"),
        ("AuthorizationError", "PermissionError"),
        ("UnknownAttributeError", "AttributeError"),
        ("ArgumentError", "TypeError"),
        ("BusyError", "BlockingIOError"),
        ("ServiceLostError", "ConnectionAbortedError"),
        ("MessageError", "ValueError"),
        ("LineTooLongError", "ValueError"),
    ],
)
def test_the_name_on_the_wire(name: str, wire_name: str) -> None:
    """A peer sees the class that 1.0 would have raised; the text of a KeyError is quoted."""
    text = "'no'" if wire_name == "KeyError" else "no"
    assert CLASSES[name]("no").wire_text() == f"{wire_name}: {text}"


def test_another_name_on_the_wire() -> None:
    """One error can be said under another name than its class."""
    error = MessageError("it has no 'x'", uid=7, wire_name="KeyError")
    assert error.wire_text() == """KeyError: "it has no 'x'\""""
    assert error.uid == 7
    assert MessageError.wire_name == "ValueError"
    assert RequestError("text").wire_text() == "ValueError: text"


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({}, "wrong"),
        ({"source": "lab.toml"}, "lab.toml: wrong"),
        ({"source": "lab.toml", "section": "manager"}, "lab.toml [manager]: wrong"),
        ({"source": "lab.toml", "section": "manager", "key": "port"}, "lab.toml [manager] port: wrong"),
        ({"key": "port"}, "port: wrong"),
    ],
)
def test_where_a_setting_is_wrong(where: dict[str, str], text: str) -> None:
    """The text of a ConfigError names file, section and key, as far as there are any."""
    assert str(ConfigError("wrong", **where)) == text


def test_which_plugin_is_wrong() -> None:
    """The text of a PluginError names the plugin."""
    error = PluginError("badge", "is broken")
    assert str(error) == "plugin 'badge': is broken"
    assert (error.plugin, error.problem) == ("badge", "is broken")
