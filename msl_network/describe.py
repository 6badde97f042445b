"""What a Service tells about itself: its public attributes, their signatures and their docstrings.

Rule of this file: looking at an object may run a stranger's code, and whatever that raises costs one attribute and a
line in the log, never the Service. It must not know how a Service is called.
"""

from __future__ import annotations

import inspect
import logging
import platform
import traceback
from typing import TYPE_CHECKING, Any, Final

from .payload import encode_answer, encode_result

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["describe", "language", "system"]

logger = logging.getLogger("msl_network.service")

KIBI: Final = 2**10
MOST_DOCS: Final = 20 * KIBI
"""The most bytes of docstrings: a Manager takes 64 KiB from a peer that it has not let in yet."""

MOST_ATTRIBUTES: Final = 40 * KIBI
"""The most bytes of attributes, for the same reason."""


def language() -> str:
    """Return the name and the version of the programming language, as an identity has it."""
    return f"Python {platform.python_version()}"


def system() -> str:
    """Return the name of the operating system, as an identity has it."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def describe(service: object, ignored: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a Service offers.

    Args:
        service: The Service. Its properties are evaluated.
        ignored: The names to leave out, besides those that begin with an underscore.

    Returns:
        The attributes: name to signature, or to the value of what cannot be called; and the docstrings of those that
        can be called, as far as they find room.
    """
    attributes: dict[str, Any] = {}
    docs: dict[str, str] = {}
    room = MOST_DOCS
    for name in _names(service):
        if name.startswith("_") or name in ignored:
            continue
        try:
            attribute = getattr(service, name)
            value = _signature(attribute) if callable(attribute) else attribute
            encode_result(value, "", "")
        except Exception as error:  # noqa: BLE001 - a stranger's property may raise anything
            logger.warning(
                "%r is left out of the attributes of the Service: %s; ignore_attributes(%r) ends this warning",
                name,
                "".join(traceback.format_exception_only(type(error), error)).strip(),
                name,
            )
            continue
        attributes[name] = value
        found = inspect.getattr_static(type(service), name, None)
        if callable(attribute) or isinstance(found, property):
            doc = _doc(attribute if callable(attribute) else found)
            if _size(doc) > room:
                doc = doc.partition("\n\n")[0]
            if doc and _size(doc) <= room:
                docs[name] = doc
                room -= _size(doc)
    _drop_the_largest(attributes)
    return attributes, docs


def _names(service: object) -> list[str]:
    try:
        return dir(service)
    except Exception as error:  # noqa: BLE001 - a stranger's __dir__ may raise anything
        logger.warning("dir() of the Service failed, what its class has is taken: %s", type(error).__name__)
        return dir(type(service))


def _drop_the_largest(attributes: dict[str, Any]) -> None:
    """Leave out the largest values, as far as a Manager would not take them; they can be requested all the same."""
    sizes = {name: _size(value) + len(name) for name, value in attributes.items()}
    total = sum(sizes.values())
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= MOST_ATTRIBUTES:
            return
        logger.warning(
            "%r is left out of the attributes of the Service: it has %d bytes, and all may have %d; Clients can still "
            "request it",
            name,
            sizes[name],
            MOST_ATTRIBUTES,
        )
        total -= sizes[name]
        del attributes[name]


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:  # written in C, and silent about its parameters
        return "(...)"


def _doc(function: Any) -> str:
    try:
        doc = inspect.getdoc(function) or ""
        encode_answer(doc)
    except Exception:  # noqa: BLE001 - as above
        return ""
    return doc


def _size(value: object) -> int:
    """Return how many bytes a value is on the wire."""
    return len(encode_answer(value))
