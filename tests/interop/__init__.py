"""Interoperability: with ``msl-network==1.0.0``, whose Clients, Services and Managers stay as they are.

Every participant is a process of its own and they talk over TLS, as in a laboratory. ``lab.py`` starts and
stops them, ``peers/`` holds the scripts that they run. Where nothing else is said the Manager is ours and its peers
are those of 1.0; ``test_combinations.py`` tries each with each.
"""
