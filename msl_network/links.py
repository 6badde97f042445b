"""What a link knows of its Service, the same for the blocking and the awaited one.

Rule of this file: the names of a link are those of its Service, so all that is hidden has two underscores. It must not
know how a request travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .signatures import parse_signature

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LinkedService", "is_probe"]

_PROBES = ("__", "_repr_", "_ipython_")


def is_probe(name: str) -> bool:
    """Return whether copy, pickle and notebooks look for such a name to find out what an object can do.

    Args:
        name: The name of an attribute that an object does not have.
    """
    # the last: an attribute of our own that is not there yet
    return name.startswith(_PROBES) or ("__" in name and name.startswith("_"))


class LinkedService:
    """A Service, as its identity describes it.

    Args:
        name: The name of the Service.
        identity: What the Manager said of it.
    """

    def __init__(self, name: str, identity: dict[str, Any]) -> None:
        self.__name = name
        self.__identity = identity

    @property
    def service_name(self) -> str:
        """The name of the Service."""
        return self.__name

    @property
    def service_address(self) -> str:
        """The address of the Service."""
        return str(self.__identity.get("address", "unknown"))

    @property
    def service_attributes(self) -> dict[str, Any]:
        """The attributes of the Service: name to signature, or to the value of a property or constant."""
        attributes: dict[str, Any] = self.__identity.get("attributes") or {}
        return attributes

    @property
    def service_language(self) -> str:
        """The programming language of the Service."""
        return str(self.__identity.get("language", "unknown"))

    @property
    def service_os(self) -> str:
        """The operating system of the Service."""
        return str(self.__identity.get("os", "unknown"))

    @property
    def service_max_clients(self) -> int:
        """The most Clients that may be linked with the Service at a time; no limit if not positive."""
        return int(self.__identity.get("max_clients", -1))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in self.service_attributes if name.isidentifier())})

    def _described(self) -> tuple[str, dict[str, Any]]:
        """Return what this was made of."""
        return self.__name, self.__identity

    def _check_assignment(self, name: str) -> None:
        """Refuse to assign to what is the Service's: the Service would never hear of it."""
        if not name.startswith("_") and name in self.service_attributes:
            raise AttributeError(
                f"{name!r} is an attribute of the {self.__name!r} Service and cannot be assigned here; call a method "
                "that changes it"
            )

    def _dressed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function that asks for an attribute the name, signature and docstring that it has in the Service."""
        method.__name__ = name
        method.__qualname__ = f"{self.__name}.{name}"
        method.__module__ = self.__name
        docs = self.__identity.get("docs")
        text = self.service_attributes.get(name)
        signature = parse_signature(text)
        if signature is not None:
            method.__signature__ = signature  # type: ignore[attr-defined]
        method.__doc__ = docs.get(name) if isinstance(docs, dict) else None
        if method.__doc__ is None and text is not None and signature is None:
            method.__doc__ = f"{name}: {text}"
        return method

    def _has_own(self, name: str, base: type) -> bool:
        """Whether somebody assigned or overrode a method that does nothing in a base class."""
        return name in self.__dict__ or getattr(type(self), name) is not getattr(base, name)
