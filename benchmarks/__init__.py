"""Benchmarks: what a user of this project feels, beside what users of its neighbours feel; and what it withstands.

Rule of this package: every number comes from real processes, in one run; only where work is counted, and on the wire,
are the peers made up, so that they do the same each time. It must not know the insides of what it measures, and nothing
of it is installed.

    python -m benchmarks                    all of it: a table, and charts
    python -m benchmarks.wire --help        any Manager, on the wire
    python -m benchmarks.call --help        how long a call takes, from end to end
    python -m benchmarks.count --help       how much work a message is for the Manager
    python -m benchmarks.chaos --help       what happens when everything fails at random
"""
