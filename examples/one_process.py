"""A Manager, a Service and two Clients in one process: no socket, no port, no certificate.

    python examples/one_process.py

One Client is awaited; it hears what the Service notifies it of. The other one blocks, so it has a thread of its own.
"""

import anyio
from anyio import to_thread

from msl_network import AsyncClient, Manager, MemoryHost, RemoteError, Service, connect


class Bath(Service):
    """A water bath that tells those who are linked with it when its target changes."""

    def __init__(self) -> None:
        super().__init__()
        self._target = 20.0

    def target(self) -> float:
        """Return the target in degrees Celsius."""
        return self._target

    def set_target(self, celsius: float) -> None:
        """Set the target, 5 to 95 degrees Celsius."""
        if not 5 <= celsius <= 95:
            raise ValueError(f"{celsius} is not between 5 and 95")
        self._target = celsius
        self.emit_notification("target", celsius=celsius)


def a_script(here: MemoryHost) -> None:
    """What any script does; only the name of the host is another one."""
    with connect(name="Script", host=here) as client:
        bath = client.link("Bath")
        print("script: the target is", bath.target())
        try:
            bath.set_target(300)
        except RemoteError as error:
            print("script:", error.remote_message)


async def main() -> None:
    """Run all of it; leaving the block ends all of it."""
    async with Manager(listen=False) as manager:
        here = MemoryHost(manager)
        async with here.serve(Bath()), AsyncClient(name="Panel", host=here) as client:
            bath = await client.link("Bath")
            notifications = bath.notifications()
            await bath.set_target(37.5)
            async for args, kwargs in notifications:
                print("panel: told", args, kwargs)
                break
            await to_thread.run_sync(a_script, here)


if __name__ == "__main__":
    anyio.run(main)
