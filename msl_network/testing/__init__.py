"""For those who write plugins: what their tests need, from a handshake to talk to, to a whole laboratory in memory.

FakeHandshake, FakePeer, FakeManager     what a hook is given, for a test that calls it itself
laboratory                               a Manager in memory, with Clients, Services, and peers that write lines
check_plugin                             the promises that every plugin has to keep, tried one by one
msl_network.testing.plugin               fixtures of pytest, see there
"""

from .checks import CHECKS, PluginCheckError, check_plugin
from .doubles import LEAVES, SILENT, FakeHandshake, FakeManager, FakePeer
from .laboratory import Laboratory, LinePeer, laboratory, open_store

__all__ = [
    "CHECKS",
    "LEAVES",
    "SILENT",
    "FakeHandshake",
    "FakeManager",
    "FakePeer",
    "Laboratory",
    "LinePeer",
    "PluginCheckError",
    "check_plugin",
    "laboratory",
    "open_store",
]
