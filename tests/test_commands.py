from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from msl_network.commands import Command, CommandTable, manager_commands
from msl_network.errors import ArgumentError, PluginError, UnknownAttributeError

if TYPE_CHECKING:
    from decimal import Decimal


def greet(peer: str, name: str, *, polite: bool = False, end: str = "!") -> str:
    return f"{peer}: {'dear ' if polite else ''}{name}{end}"


async def wait(peer: str, seconds: Decimal | None = None) -> None:
    """Has an annotation that exists only for the type checker."""


class Manager:
    """What `manager_commands` wants of a Manager; it notes what is called."""

    port = 1875

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> str:
            self.calls.append((name, *args, *kwargs.items()))
            return name

        return method


def test_the_signature_of_a_command() -> None:
    """It is what a Client passes: without the peer, without quotes around types, with those of values."""
    assert Command(name="greet", function=greet).signature() == (
        "(name: str, *, polite: bool = False, end: str = '!') -> str"
    )
    assert Command(name="wait", function=wait).signature() == "(seconds: Decimal | None = None) -> None"
    assert Command(name="port", function=lambda _peer: 1).signature() == "()"


def test_a_command_is_for_administrators() -> None:
    """Unless it says that it is not."""
    assert Command(name="greet", function=greet).administrator
    assert not Command(name="greet", function=greet, administrator=False).administrator


def test_a_command_may_be_asynchronous() -> None:
    """Which is known before it is called."""
    assert Command(name="wait", function=wait).is_async
    assert not Command(name="greet", function=greet).is_async


def test_the_call_of_a_command() -> None:
    """Arguments are bound before anything runs."""
    command = Command(name="greet", function=greet)
    assert command.bind("peer", ["Ann"], {"polite": True})() == "peer: dear Ann!"


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ([], {}, "missing a required argument: 'name'"),
        (["a", "b"], {}, "too many positional arguments"),
        (["a"], {"loud": 1}, "got an unexpected keyword argument 'loud'"),
        (["a"], {"name": "b"}, "multiple values for argument 'name'"),
        (["a"], {"peer": "somebody else"}, "multiple values for argument 'peer'"),
    ],
)
def test_arguments_that_do_not_fit(args: list[Any], kwargs: dict[str, Any], text: str) -> None:
    """The Client reads the signature and what is wrong; nobody can pass for another peer."""
    with pytest.raises(ArgumentError) as info:
        Command(name="greet", function=greet).bind("peer", args, kwargs)
    assert str(info.value) == f"greet(name: str, *, polite: bool = False, end: str = '!') -> str: {text}"
    assert info.value.wire_text().startswith("TypeError: greet(")


def test_the_table() -> None:
    """It finds commands by name, and describes those for everybody and those for administrators."""
    table = CommandTable()
    one = Command(name="b.greet", function=greet)
    two = Command(name="a", function=wait, administrator=False)
    table.add([one, two], "mylab")
    assert table.find("b.greet") is one
    assert table.describe(administrator=True) == {"b.greet": one.signature()}
    assert table.describe(administrator=False) == {"a": two.signature()}


@pytest.mark.parametrize("name", ["", "greeet", "__class__", "greet.__globals__", "_loop.stop", "find"])
def test_what_is_not_in_the_table(name: str) -> None:
    """It does not exist, whatever attributes an object may have; the Client reads what there is."""
    table = CommandTable()
    table.add([Command(name="greet", function=greet), Command(name="add", function=greet)], "mylab")
    with pytest.raises(UnknownAttributeError) as info:
        table.find(name)
    assert info.value.wire_text() == f"AttributeError: the Manager has no attribute {name!r}; it has: add, greet"


def test_a_name_that_is_taken() -> None:
    """Two plugins cannot offer one command; the error names both."""
    table = CommandTable()
    table.add([Command(name="greet", function=greet)], "one")
    with pytest.raises(PluginError) as info:
        table.add([Command(name="greet", function=wait)], "two")
    assert str(info.value) == "plugin 'two': the command 'greet' exists already, one offers it"
    assert table.find("greet").function is greet


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "call"),
    [
        ("identity", [], {}, ("identity",)),
        ("link", ["Echo"], {}, ("link", "peer", "Echo")),
        ("unlink", ["Echo"], {}, ("unlink", "peer", "Echo")),
        ("acquire_lock", ["Echo"], {"shared": False}, ("acquire_lock", "peer", "Echo", ("shared", False))),
        ("release_lock", ["Echo"], {}, ("release_lock", "peer", "Echo")),
        ("set_logging_level", ["INFO"], {}, ("set_logging_level", "INFO")),
        ("shutdown_manager", [], {}, ("stop",)),
    ],
)
def test_the_commands_of_every_manager(
    name: str, args: list[Any], kwargs: dict[str, Any], call: tuple[Any, ...]
) -> None:
    """Each calls the method of the Manager that it is about."""
    manager: Any = Manager()
    commands = {command.name: command for command in manager_commands(manager)}
    commands[name].bind("peer", args, kwargs)()
    assert manager.calls == [call]


def test_who_may_ask_every_manager() -> None:
    """Links and locks are everybody's business, the rest is for administrators."""
    manager: Any = Manager()
    commands = {command.name: command for command in manager_commands(manager)}
    assert commands["port"].bind("peer", [], {})() == 1875
    assert {name for name, command in commands.items() if not command.administrator} == {
        "identity",
        "link",
        "unlink",
        "acquire_lock",
        "release_lock",
    }
    assert {"port", "set_logging_level", "shutdown_manager"} <= set(commands)
