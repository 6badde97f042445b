"""Runs one target under atheris, in a process of its own.

``python -m tests.fuzz.guided NAME [OPTION OF LIBFUZZER ...]``

Only our own packages are instrumented: what is found in those is what they do with it, not how they do it.
"""

from __future__ import annotations

import logging
import sys

import atheris

from . import harness


def main() -> None:
    """Run the target until libFuzzer ends this process."""
    with atheris.instrument_imports(include=["msl_network", "msl_network_plugins"]):
        check = harness.target(sys.argv[1])
    logging.disable()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
