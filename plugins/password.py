"""Authentication: one password that everybody knows who may come in.

    [manager]
    auth = ["password"]

    [plugins.password]
    password = { file = "password.txt" }        # or { env = "NAME" }, or "the text itself"

Rule of this file: the password is compared in constant time and never shown. It must not know users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msl_network import AuthenticationError, Handshake, Secret, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Password"]


@dataclass(eq=False)
class Password:
    """Asks each peer for the Manager's password.

    Args:
        password: The password, at least one character.
    """

    password: Secret

    def __post_init__(self) -> None:
        if not self.password.value:
            raise ValueError("password: it is empty; give one, or take 'password' out of auth")

    @hookimpl
    async def authenticate(self, handshake: Handshake) -> None:
        """Refuse a peer that does not know the password."""
        if not self.password.matches(await handshake.ask("password", handshake.network_name)):
            raise AuthenticationError("Wrong Manager password")

    @hookimpl
    async def reload(self, settings: Password) -> Callable[[], None]:
        """Ask for the password that is in the settings now; who is connected stays."""

        def change() -> None:
            self.password = settings.password

        return change
