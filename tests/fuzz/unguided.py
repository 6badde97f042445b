"""Runs one target with inputs that hypothesis makes, where there is no atheris.

``python -m tests.fuzz.unguided NAME SECONDS FOLDER``

What is found is made as short as possible, and written to the folder.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import traceback
from pathlib import Path
from time import monotonic

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from . import harness

ROUND = 500
"""How many inputs are tried between two looks at the clock."""


def inputs(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return inputs: pieces of the corpus, words of the protocols and any bytes, in any order."""
    seed = st.sampled_from(seeds or [b""])
    piece = st.builds(lambda data, start, length: data[start : start + length], seed, *[st.integers(0, 200)] * 2)
    mixed = st.lists(st.sampled_from(harness.TOKENS) | piece | st.binary(max_size=8)).map(b"".join)
    edited = st.builds(
        lambda data, start, end, new: data[:start] + new + data[max(start, end) :],
        seed,
        st.integers(0, 200),
        st.integers(0, 200),
        mixed,
    )
    return mixed | edited


def main() -> int:
    """Try inputs until the time is over, or one is found that should not be."""
    name, seconds, folder = sys.argv[1:]
    end = monotonic() + float(seconds)
    check = harness.target(name)
    seeds = [path.read_bytes() for path in harness.corpus(name)]
    logging.disable()
    tried = 0
    last = b""

    @settings(
        max_examples=ROUND,
        deadline=None,
        derandomize=False,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(seeds))
    def search(data: bytes) -> None:
        nonlocal last, tried
        last = data
        tried += 1
        harness.attempt(check, data)

    try:
        for last in seeds:
            tried += 1
            harness.attempt(check, last)
        search()
        while monotonic() < end:
            search()
    except Exception:  # noqa: BLE001 - whatever the target raises is a finding
        traceback.print_exc()
        found = Path(folder) / f"crash-{hashlib.sha1(last).hexdigest()}"
        found.write_bytes(last)
        return 1
    print(f"number_of_executed_units: {tried}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
