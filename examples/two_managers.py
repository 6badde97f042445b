"""Two Managers in one trio program, which carries values from one laboratory to the other.

    pip install 'msl-network-manager[trio]'
    python examples/two_managers.py

Each Manager has a port, a database and Services of its own; nobody of the one can reach the other but through this
program. A task of the nursery takes what the thermometer in the cellar tells, and shows it upstairs.
"""

import tempfile
from pathlib import Path

import trio

from msl_network import AsyncClient, Config, Manager, MemoryHost, Service


class Thermometer(Service):
    """Measures, and tells those who are linked with it."""

    def measure(self, celsius: float) -> None:
        """Pretend to measure."""
        self.emit_notification(celsius)


class Display(Service):
    """Shows the last value."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = "nothing"

    def show(self, text: str) -> str:
        """Show a text; returns what was shown before."""
        before, self._shown = self._shown, text
        return before


def settings(folder: Path, name: str) -> Config:
    """Return the settings of one of the two: any free port, and a database of its own."""
    database = str(folder / f"{name}.sqlite3")
    return Config.from_dict({"manager": {"host": "localhost", "port": 0}, "plugins": {"sqlite": {"path": database}}})


async def carry(cellar: MemoryHost, upstairs: MemoryHost, *, task_status: trio.TaskStatus[None]) -> None:
    """Show upstairs what is measured in the cellar, until it is hot."""
    async with AsyncClient(name="Carrier", host=cellar) as here, AsyncClient(name="Carrier", host=upstairs) as there:
        thermometer, display = await here.link("Thermometer"), await there.link("Display")
        measured = thermometer.notifications()
        task_status.started()
        async for args, _ in measured:
            before = await display.show(f"{args[0]} C")
            print(f"shown: {args[0]} C, before: {before}")
            if args[0] > 30:
                return  # it has seen enough


async def main(folder: Path) -> None:
    """Run both laboratories; leaving the block ends both."""
    async with Manager(settings(folder, "cellar")) as one, Manager(settings(folder, "upstairs")) as two:
        print("two ports:", one.port != two.port)
        cellar, upstairs = MemoryHost(one), MemoryHost(two)
        async with cellar.serve(Thermometer()), upstairs.serve(Display()), AsyncClient(host=cellar) as client:
            print("cellar:", *one.services, "- upstairs:", *two.services)
            async with trio.open_nursery() as nursery:
                await nursery.start(carry, cellar, upstairs)
                thermometer = await client.link("Thermometer")
                await thermometer.measure(21.5)
                await thermometer.measure(30.5)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
