"""Interoperability: our Manager serves unchanged Clients and Services of ``msl-network==1.0.0``.

Every participant is a process of its own and they talk over TLS, as in a laboratory. ``lab.py`` starts and
stops them, ``peers/`` holds the scripts of 1.0 that they run.
"""
