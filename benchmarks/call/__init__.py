"""How long a user's call takes, with real libraries at both ends: see `__main__`.

Rule of this package: it is started with ``python -m benchmarks.call``, and one concern has one file.
"""
