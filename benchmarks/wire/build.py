"""The programs in C, built when they are first needed, and again when their source has changed.

Rule of this file: it runs the compiler that is there, and installs nothing. It must not know what the programs do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platformdirs import user_cache_path

from benchmarks.processes import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["compiler", "program"]

SOURCE: Final = Path(__file__).with_name("engine")

TRIALS: Final[dict[str, Sequence[Sequence[str]]]] = {
    "generator": (["-lssl", "-lcrypto"], ["-DNO_TLS"]),
    "relay": ([],),
}
"""What to give to the compiler for each program; where that fails, the next one. Without OpenSSL there is no TLS."""


def compiler() -> str | None:
    """Return the path of the C compiler, None if there is none."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def program(name: str) -> Path:
    """Return the path of a program, built.

    Args:
        name: One of `TRIALS`.

    Raises:
        BenchmarkError: If it cannot be built.
    """
    text = b"".join(path.read_bytes() for path in sorted(SOURCE.glob("*.[ch]")))
    path = user_cache_path("msl-network-benchmarks") / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}"
    if not path.exists():
        build(name, path)
    return path


def build(name: str, path: Path) -> None:
    """Build a program, and put it in its place only when it is whole."""
    cc = compiler()
    if cc is None:
        raise BenchmarkError(f"there is no C compiler to build the {name} with (on Debian: apt install gcc libssl-dev)")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    said = ""
    for words in TRIALS[name]:
        command = [cc, "-O2", "-o", str(unfinished), str(SOURCE / f"{name}.c"), *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            unfinished.replace(path)
            return
        said = result.stderr
    raise BenchmarkError(f"the {name} cannot be built with {cc}:\n{said[-2000:]}")
