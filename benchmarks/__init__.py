"""Benchmarks: what a user of this project feels, beside what users of its neighbours feel.

Rule of this package: every number comes from real libraries in real processes, in one run. It must not know
the insides of what it measures, and nothing of it is installed.

Run ``python -m benchmarks.call --help``.
"""
