"""A Service that makes arrays of numbers and calculates with them; Clients in LabVIEW and C# are tried out with it.

Rule of this file: an array is a list of numbers, nothing that only Python has. It must not know who asks.
"""

from __future__ import annotations

from msl_network.service import Service

__all__ = ["MyArray"]

number = int | float  # Clients see this name in the signatures


class MyArray(Service):
    """Makes arrays of numbers."""

    @staticmethod
    def linspace(start: number, stop: number, n: int = 100) -> list[float]:
        """Return n numbers at equal distances, the first is `start`, the last is `stop`."""
        count = int(n)  # LabVIEW writes whole numbers as 5.0
        if count == 1:
            return [float(start)]
        step = (stop - start) / (count - 1)
        return [start + i * step for i in range(count)]

    @staticmethod
    def scalar_multiply(scalar: number, data: list[float]) -> list[float]:
        """Return `data`, each element multiplied by `scalar`."""
        return [scalar * element for element in data]
