"""What the Manager withstands: each docstring begins with the number of the requirement that it proves.

Peers here speak the protocol as they like, on real sockets. ``test_contracts.py`` checks that no number is missing;
what is about one module is proved where that module is tested.
"""
