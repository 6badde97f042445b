"""What the targets share: their names, their corpora, how one input is tried.

It imports nothing of the package before a target is asked for: atheris changes modules while they are imported.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: Final = Path(__file__).parent

NAMES: Final = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "__init__")
"""The targets."""

SECONDS: Final = 5
"""How long one input may take, in seconds: a hundred times what the longest line of a person takes."""

LONGEST: Final = 4096
"""The longest input, in bytes. What depends on the length is in tests/test_fuzz.py."""

TOKENS: Final = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"\\", b"\\u", b"\\ud800", b"\\u0000", b"\n", b"\r\n", b"\xff"),
    *(
        b"null",
        b"true",
        b"false",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"None",
        b"-",
        b"0",
        b"1e",
        b"1e400",
        b"0x",
        b"1_0",
    ),
    *(b"\xef\xbb\xbf", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x00", b"\x1f", b"\x7f", b"\xe2\x80\xae"),
    *(b'"args":', b'"attribute":', b'"error":', b'"kwargs":', b'"requester":', b'"result":', b'"service":', b'"uid":'),
    *(
        b'"message":',
        b'"traceback":',
        b'"notification"',
        b'"Manager"',
        b'"__disconnect__"',
        b'"self"',
        b'""',
        b"[]",
        b"{}",
    ),
    *(b'"type":', b'"name":', b'"attributes":', b'"max_clients":', b'"language":', b'"os":', b'"docs":', b'"client"'),
    *(b"link ", b"identity", b"exit", b"client ", b"x=", b"f'", b"b'", b"(1,)", b"{1: 2}", b"[[],{}]", b'{"result":'),
    *(
        b"[manager]\n",
        b"[manager.tls]\n",
        b"[manager.limits]\n",
        b"[plugins.login]\n",
        b'"1 MiB"',
        b'"10 s"',
        b"{ env = ",
    ),
    *(b'"link"', b'"unlink"', b'"acquire_lock"', b'"release_lock"', b'"shared":true', b'"S"', b'"A[h:1]"', b'"B[h:2]"'),
)
"""What inputs are made of. Whoever makes them would find these words in hours, if ever."""


class TooSlowError(AssertionError):
    """Raised when an input takes too long, although it did no harm."""


def target(name: str) -> Callable[[bytes], object]:
    """Return what is to be called with each input."""
    check: Callable[[bytes], object] = importlib.import_module(f"{__package__}.targets.{name}").check
    return check


def corpus(name: str) -> list[Path]:
    """Return the inputs from which a target starts."""
    return sorted(path for path in (HERE / "corpus" / name).iterdir() if path.is_file())


def attempt(check: Callable[[bytes], object], data: bytes) -> None:
    """Try one input; raise what is wrong with it."""
    start = process_time()
    check(data)
    took = process_time() - start
    if took > SECONDS:
        raise TooSlowError(f"{len(data)} bytes took {took:.1f} s")
