"""A Service that takes its time, which shows the difference that ``asynchronous=True`` makes.

Rule of this file: each method waits as long as it does in MSL-Network 1.0: 1 s, 2 s, ... 6 s. It must not know who
asks.
"""

from __future__ import annotations

import time

from msl_network.service import Service

__all__ = ["BasicMath"]

number = int | float  # Clients see this name in the signatures


class BasicMath(Service):
    """Calculates, slowly."""

    euler = 2.718281828459045

    @property
    def pi(self) -> float:
        """The ratio of a circle's circumference to its diameter."""
        return 3.141592653589793

    def add(self, x: number, y: number) -> number:
        """Return x + y, after 1 second."""
        time.sleep(1)
        return x + y

    def subtract(self, x: number, y: number) -> number:
        """Return x - y, after 2 seconds."""
        time.sleep(2)
        return x - y

    def multiply(self, x: number, y: number) -> number:
        """Return x * y, after 3 seconds."""
        time.sleep(3)
        return x * y

    def divide(self, x: number, y: number) -> number:
        """Return x / y, after 4 seconds."""
        time.sleep(4)
        return x / y

    def ensure_positive(self, x: number) -> bool:
        """Return True if x is not negative, after 5 seconds.

        Raises:
            ValueError: If it is.
        """
        time.sleep(5)
        if x < 0:
            raise ValueError("The value is < 0")
        return True

    def power(self, x: number, n: number = 2) -> number:
        """Return x to the power of n, after 6 seconds."""
        time.sleep(6)
        result: number = x**n
        return result
