"""Everything fails at random, and no reply may be lost, doubled or given to another: see `__main__`.

Rule of this package: it is started with ``python -m benchmarks.chaos``, and one concern has one file.
"""
