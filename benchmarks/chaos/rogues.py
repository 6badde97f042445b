"""Those who misbehave in a chaos run: each thread does one bad thing after the other, by chance.

Rule of this file: it chooses, and counts. What can be done is in the files ``rogue_*``; it must not know how.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from . import rogue_clients, rogue_services, rogue_strangers
from .part import in_threads
from .rogue import Rogue
from .wire import Gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from .part import Part

__all__ = ["MISDEEDS", "run"]

MISDEEDS: Final[dict[str, Callable[[Rogue], None]]] = {
    **rogue_strangers.MISDEEDS,
    **rogue_clients.MISDEEDS,
    **rogue_services.MISDEEDS,
}
"""What can be done, by what it is called."""


REST: Final = 0.1
"""How long somebody rests after a misdeed, in seconds, on average."""

REST_AFTER_LOGIN: Final = 3.0
"""As above, when each connection costs the Manager a third of a second of a core: it is not to do nothing else."""


def misbehave(part: Part, number: int) -> None:
    """Do one bad thing after the other until it is enough.

    Args:
        part: What the process is for.
        number: The how manieth of them this is.
    """
    random = part.chance()
    rest = REST_AFTER_LOGIN if part.direct.username else REST
    names = sorted(part.options.get("misdeeds") or MISDEEDS)
    while not (part.orders.stop.is_set() or part.orders.settle.is_set()):
        name = random.choice(names)
        try:
            with Rogue(part, random, number) as rogue:
                MISDEEDS[name](rogue)
                part.report.count(f"fault: {name}")
        except Gone:
            part.report.count(f"fault: {name}")
            part.orders.pause(random.uniform(0, 0.05))
        part.orders.pause(random.expovariate(1 / rest))


def run(part: Part) -> None:
    """Misbehave until the end.

    Args:
        part: What the process is for.
    """
    numbers = range(part.options["count"])
    in_threads(part, {f"Rogue{number}": functools.partial(misbehave, part, number) for number in numbers})
