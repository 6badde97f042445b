"""A Service that returns what it is sent.

Rule of this file: nothing is lost or changed but what JSON changes. It must not know who asks.
"""

from __future__ import annotations

from typing import Any

from msl_network.service import Service

__all__ = ["Echo"]


class Echo(Service):
    """Returns what it is sent."""

    @staticmethod
    def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments."""
        return args, kwargs
