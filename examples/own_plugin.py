"""A plugin object that the program makes itself, and hands over to the Manager.

    python examples/own_plugin.py

An object knows what no file of settings can: here, a set of codes that the program changes while the Manager serves. It
has `authenticate`, so everybody must pass it.
"""

import anyio

from msl_network import (
    AsyncClient,
    AuthenticationError,
    Handshake,
    Manager,
    MemoryHost,
    Peer,
    RefusedError,
    Secret,
    hookimpl,
)


class Badges:
    """Lets in who shows a badge that is valid at this moment."""

    def __init__(self) -> None:
        self.valid: dict[str, Secret] = {}

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        """Ask for the code of a badge, and say whose it is."""
        answer = await handshake.ask("password", "badge")
        for owner, code in self.valid.items():
            if code.matches(answer):
                peer.username = owner
                return
        raise AuthenticationError("Unknown badge")


async def visit(here: MemoryHost, code: str) -> None:
    """Try to come in."""
    try:
        async with AsyncClient(host=here, password=code) as client:
            print(f"{client.name} is in")
    except RefusedError as error:
        print("refused:", error)


async def main() -> None:
    """Hand a plugin over, and change what it knows."""
    badges = Badges()
    async with Manager(listen=False, plugins=[badges]) as manager:
        here = MemoryHost(manager)
        await visit(here, "1234")
        badges.valid["alice"] = Secret("1234")
        await visit(here, "1234")


if __name__ == "__main__":
    anyio.run(main)
