"""Identity check: names that cannot be mistaken, and identities of a reasonable size.

    [plugins.identity]
    max_name_length = 256
    reserved = ["Manager", "self"]

Rule of this file: whatever is refused here would harm somebody else: a reader of a list, a terminal, the
routing by name. It must not know how a peer proved who it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msl_network import Identity, IdentityError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IdentityRules"]


@dataclass(eq=False)
class IdentityRules:
    """Refuses names that are too long or reserved.

    Args:
        max_name_length: The longest name, in characters.
        reserved: Names that no peer may have, in any case.
    """

    max_name_length: int = 256
    reserved: list[str] = field(default_factory=lambda: ["Manager", "self"])

    def __post_init__(self) -> None:
        if self.max_name_length < 1:
            raise ValueError(f"max_name_length: found {self.max_name_length}, allowed is 1 or more")

    @hookimpl
    async def check_identity(self, identity: Identity) -> None:
        """Refuse a peer whose name would be mistaken."""
        name = identity.name
        if len(name) > self.max_name_length:
            raise IdentityError(f"the name has {len(name)} characters, the limit is {self.max_name_length}")
        reserved = {other.lower() for other in self.reserved}
        if name.lower() in reserved or any(name.lower().startswith(f"{other}[") for other in reserved):
            raise IdentityError(f"the name {name!r} is reserved, choose another", wire_name="NameError")

    @hookimpl
    async def reload(self, settings: IdentityRules) -> Callable[[], None]:
        """Check by the new settings who comes from now on."""

        def change() -> None:
            self.max_name_length, self.reserved = settings.max_name_length, settings.reserved

        return change
