"""Writes `public_names.txt`: each public name with its signature, so that no change of one goes unseen.

python -m tests.public_names
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec

from msl_network import hookspecs

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_suffix(".txt")

MODULES = [
    # all that most people need, and what a test of a plugin needs
    "msl_network",
    "msl_network.testing",
    "msl_network.testing.plugin",
    # what a bundled plugin imports, a stranger's may import, too
    "msl_network.cli",
    "msl_network.commands",
    "msl_network.errors",
    "msl_network.handshake",
    "msl_network.hookspecs",
    "msl_network.log_writer",
    "msl_network.manager",
    "msl_network.messages",
    "msl_network.peer",
    "msl_network.settings",
    "msl_network.store",
    "msl_network.threads",
    "msl_network.throttle",
    # what scripts of 1.0 import
    "msl_network.constants",
    "msl_network.examples",
    "msl_network.ssh",
]
"""The modules whose names are public: docs/stability.md names them."""

GIVEN = {"AsyncLink", "Client", "Handshake", "Link", "LongLine", "Notifications", "Peer"}
"""Classes whose objects one is given: how they are made is nobody's business."""

WHAT_A_PEER_TELLS = [
    *("network_name", "address", "ip_address", "port", "hostname", "domain", "resolve_hostname", "is_local"),
    *("username", "is_admin", "roles", "certificate"),
]
"""What a plugin may use of a peer, as `hookspecs` says; the rest is how the Manager talks with it."""

HEAD = """\
# The public names and their signatures. A change of this file is a promise that is kept or broken: docs/stability.md.
# Written by: python -m tests.public_names
"""


def public_names() -> str:
    """Return the text of the file, as the code has it now."""
    return HEAD + "\n".join(f"\n# {name}\n\n" + "\n".join(module(name)) for name in MODULES) + "\n"


def module(name: str) -> Iterator[str]:
    """One line for each name of a module, and for each member of a class."""
    found = importlib.import_module(name)
    exported = set(found.__all__)
    if found is hookspecs:
        exported |= {each for each, value in vars(hookspecs).items() if hasattr(value, "msl_network_spec")}
    for each in sorted(exported):
        value = getattr(found, each)
        home = importlib.import_module("msl_network")
        if found is not home and each in home.__all__ and getattr(home, each) is value:
            yield f"{each} = msl_network.{each}"
        elif isinstance(value, type):
            yield from class_(each, value)
        elif isinstance(value, FunctionType):
            yield f"{kind(value)}{each}{signature(value)}"
        elif get_origin(value) is Annotated:
            yield f"{each}: {get_args(value)[0].__name__}"
        else:
            yield f"{each}: {type(value).__name__}{shown(value)}"


def class_(name: str, value: type) -> Iterator[str]:
    """A line for a class with what it takes and its bases, and one for each member."""
    # an underscore: what stands for a class that another version of Python has
    bases = [base.__name__.lstrip("_") for base in value.__bases__ if base.__name__ not in {"object", "Generic"}]
    yield f"class {name}{constructor(value)}" + (f" is a {', '.join(bases)}" if bases else "")
    others = public_classes() - {value}
    own = [base for base in reversed(value.__mro__) if base.__module__.startswith("msl_network") and base not in others]
    members: dict[str, str] = {}
    for base in own:
        for each, annotation in inspect.get_annotations(base).items():
            members[each] = f"{name}.{each}: {plain(str(annotation))}"
        for each, member in vars(base).items():
            members[each] = f"{name}.{each}{described(member)}" if each not in members else members[each]
            if isinstance(member, (FunctionType, staticmethod, classmethod)):
                function = inspect.unwrap(getattr(base, each))
                members[each] = f"{kind(function)}{name}.{each}{signature(function)}"
    names = sorted(set(members) & set(WHAT_A_PEER_TELLS)) if name == "Peer" else sorted(members)
    yield from (f"    {members[each]}" for each in names if not each.startswith("_"))


@cache
def public_classes() -> set[type]:
    """All classes that have lines of their own."""
    modules = [importlib.import_module(name) for name in MODULES]
    values = [getattr(found, each) for found in modules for each in found.__all__]
    return {value for value in values if isinstance(value, type)}


def constructor(value: type) -> str:
    """What a class takes, if it is one of ours that says so, and people make objects of it."""
    if value.__name__ in GIVEN or getattr(value, "_is_protocol", False):
        return ""
    if issubclass(value, msgspec.Struct):
        return signature(value)
    for base in value.__mro__:
        if not base.__module__.startswith("msl_network"):
            break
        if {"__init__", "__new__"} & set(vars(base)):
            return signature(value)
    return ""


def described(member: object) -> str:
    """What is known of an attribute of a class."""
    if isinstance(member, (property, cached_property)):
        getter = member.fget if isinstance(member, property) else member.func
        annotation = inspect.get_annotations(getter).get("return", "") if getter is not None else ""
        return f": {plain(str(annotation))} (property)"
    if isinstance(member, enum.Enum):
        return f" = {member.value!r}"
    return shown(member)


def shown(value: object) -> str:
    """The value of a constant, if it is a short one, and the same everywhere."""
    text = repr(value)
    return f" = {text}" if isinstance(value, (int, float, str, bytes)) and len(text) < 60 and "/" not in text else ""


def kind(function: Any) -> str:
    """The word that stands before an async function."""
    return "async " if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else ""


def signature(function: Any) -> str:
    """What a function takes and returns, without quotes and addresses, which differ between runs."""
    try:
        return plain(str(inspect.signature(function)))
    except ValueError:  # a class of C
        return "(...)"


def plain(text: str) -> str:
    """An annotation is text in one module and a class in another one."""
    text = re.sub(r"<[^<>]*>", "...", re.sub(r"<class '([\w.]*)'>", r"\1", text))
    return re.sub(r"(?<=: )'([^']*)'|(?<=-> )'([^']*)'", lambda match: match[1] or match[2], text)


if __name__ == "__main__":
    FILE.write_text(public_names(), encoding="utf-8")
    print(f"written: {FILE.name}")
