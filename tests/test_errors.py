from __future__ import annotations

import concurrent.futures
import copy
import inspect
import pickle
import re
from typing import Any

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
def test_where_a_setting_is_wrong(where: dict[str, Any], text: str) -> None:
    """The text of a ConfigError names file, section and key, as far as there are any."""
    assert str(ConfigError("wrong", **where)) == text


def test_several_settings_are_wrong() -> None:
    """The text of a ConfigError is one line; each mistake has a line of its own, too."""
    error = ConfigError("wrong", key="a", others=[ConfigError("bad", key="b"), ConfigError("odd", key="c")])
    assert error.lines == ["a: wrong", "b: bad", "c: odd"]
    assert str(error) == "a: wrong; b: bad; c: odd"
    assert (error.key, error.problem) == ("a", "wrong")


def test_which_plugin_is_wrong() -> None:
    """The text of a PluginError names the plugin."""
    error = PluginError("badge", "is broken")
    assert str(error) == "plugin 'badge': is broken"
    assert (error.plugin, error.problem) == ("badge", "is broken")


# What the Client and the Service raise

CALLERS = {
    "ConnectError": errors.ConnectError("x"),
    "ConnectTimeoutError": errors.ConnectTimeoutError("x"),
    "UntrustedError": errors.UntrustedError("x"),
    "RefusedError": errors.RefusedError("x"),
    "ConnectionLostError": errors.ConnectionLostError("x"),
    "CallTimeoutError": errors.CallTimeoutError("Echo.echo", 1.5),
    "RemoteError": errors.RemoteError("ValueError: x", "Echo.echo", ("line 1", "line 2")),
}


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConnectError", ConnectionError),
        ("ConnectError", OSError),
        ("ConnectTimeoutError", ConnectionError),
        ("ConnectTimeoutError", TimeoutError),
        ("UntrustedError", ConnectionError),
        ("UntrustedError", ConnectionRefusedError),
        ("RefusedError", ConnectionError),
        ("RefusedError", ValueError),
        ("ConnectionLostError", ConnectionAbortedError),
        ("ConnectionLostError", ConnectionError),
        ("CallTimeoutError", TimeoutError),
        ("CallTimeoutError", concurrent.futures.TimeoutError),
        ("RemoteError", RuntimeError),
    ],
)
def test_what_scripts_of_1_0_catch(name: str, builtin: type[Exception]) -> None:
    """A script that catches what the Client of 1.0 raises catches ours, too; it is raised and read as any."""
    with pytest.raises(builtin) as info:
        raise CALLERS[name]
    assert isinstance(info.value, NetworkError)
    assert "x" in str(info.value) or "Echo.echo" in str(info.value)


@pytest.mark.parametrize("name", CALLERS)
def test_another_process_can_be_told(name: str) -> None:
    """What a Client raises in a process of a pool is the same in the process that reads it, and in a copy."""
    error = CALLERS[name]
    for found in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(found) is type(error)
        assert str(found) == str(error)
        assert found.args == error.args
        assert vars(found) == vars(error)


@pytest.mark.parametrize(("seconds", "text"), [(1.5, "1.5 s"), (10, "10 s"), (0.0, "0 s"), (1e-3, "0.001 s")])
def test_a_call_that_takes_too_long(seconds: float, text: str) -> None:
    """The text says what was not answered, and how long it was waited for."""
    error = errors.CallTimeoutError("Echo.echo", seconds)
    assert str(error) == f"Echo.echo was not answered within {text}"
    assert (error.what, error.seconds) == ("Echo.echo", seconds)


@pytest.mark.parametrize(
    ("message", "remote_class", "remote_message"),
    [
        ("ValueError: no", "ValueError", "no"),
        ("ValueError: a: b", "ValueError", "a: b"),
        ("ValueError: ", "ValueError", ""),
        ("KeyError: 'x'", "KeyError", "'x'"),
        ("ValueError: two\nlines", "ValueError", "two\nlines"),
        ("no class here", "", "no class here"),
        ("ValueError", "", "ValueError"),
        ("ValueError:no", "", "ValueError:no"),
        ("it is late: 10 o'clock", "", "it is late: 10 o'clock"),
        (": nothing", "", ": nothing"),
        ("", "", ""),
    ],
)
def test_what_the_other_side_raised(message: str, remote_class: str, remote_message: str) -> None:
    """The class and the text of the other side's exception can be had apart, if there is a class."""
    error = errors.RemoteError(message)
    assert (error.remote_class, error.remote_message) == (remote_class, remote_message)
    assert (error.what, error.remote_traceback) == ("", ())
    assert str(error) == message


def test_how_a_remote_error_reads() -> None:
    """Its text is what the other side said, what was asked for, and the traceback of the other side."""
    assert str(errors.RemoteError("ValueError: no", "Echo.echo")) == "ValueError: no  [Echo.echo]"
    assert str(errors.RemoteError("ValueError: no", "Echo.echo", ("line 1", "line 2"))).splitlines() == [
        "ValueError: no  [Echo.echo]",
        "",
        "Traceback of the other side:",
        "line 1",
        "line 2",
    ]
    assert str(errors.RemoteError("ValueError: no", remote_traceback=("line",))).startswith("ValueError: no\n")
