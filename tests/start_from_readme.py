"""Runs the README's first command in a clone, as a newcomer would, and stops the Manager when it serves.

    python tests/start_from_readme.py CLONE PYTHON

It is a program and not a test, because it needs the package registry; `.ci/run` calls it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def main(clone: Path, python: str) -> int:
    """Return 0 if the Manager said that it runs, and stopped in order."""
    readme = (clone / "README.md").read_text(encoding="utf-8")
    (command,) = [line.strip() for line in readme.splitlines() if line.strip().endswith("config.example.toml")]
    print("$", command, flush=True)
    command = command.replace("python3", python, 1)
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=clone,
            env={**os.environ, "MSL_NETWORK_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if "Network Manager running on" in line:
                os.killpg(process.pid, signal.SIGTERM)
        status = process.wait()
    print(f"exit status {status}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
