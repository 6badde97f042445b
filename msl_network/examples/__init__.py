"""Services to try things out with: ``python -m msl_network.examples Echo``, or start one from a program.

Rule of this file: names and methods are those of the examples of MSL-Network 1.0, so that what was written for them
works with these. It must not know how a Service is started (:mod:`msl_network.examples.__main__`).
"""

from .basic_math import BasicMath
from .echo import Echo
from .heartbeat import Heartbeat
from .my_array import MyArray

__all__ = ["BasicMath", "Echo", "Heartbeat", "MyArray"]
