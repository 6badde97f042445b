"""Our Manager beside that of 1.0 and a relay in C, in one run: what ``python -m benchmarks`` measures and draws.

Rule of this package: what is measured, what it is to reach, and how it is shown are tables in files of their own.
"""
