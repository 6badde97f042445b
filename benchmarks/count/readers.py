"""What callgrind and strace print, read.

Rule of this file: text in, numbers out. It must not know who made the text, nor why.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ALLOCATORS", "Callgrind", "ReadError", "read_callgrind", "read_strace"]

ALLOCATORS: Final = (
    *("_PyObject_Malloc", "_PyObject_Calloc", "_PyObject_Realloc"),  # of CPython, up to 512 bytes
    *("malloc", "calloc", "realloc"),  # of the C library, for what is larger, and for the rest
)
"""The functions that are called when memory is needed. What CPython keeps in its free lists is not asked for here."""

_NAME: Final = re.compile(r"(c?fn)=\((\d+)\)(?: (.*))?")
_COST: Final = re.compile(r"(?:[-+]?\d+|\*) (\d+)$")
_CALLS: Final = re.compile(r"calls=(\d+) ")
_HEADER: Final = re.compile(r"(events|totals): (.*)")
_SUFFIX: Final = re.compile(r"'\d+$|@@?GLIBC.*$|\.(?:constprop|isra|part|cold|lto_priv)[.\d]*$")


class ReadError(Exception):
    """Raised when a text is not what its program prints."""


@dataclass
class Callgrind:
    """What callgrind counted.

    Args:
        instructions: All of them.
        own: Those of each function itself, without those of the functions that it calls.
        calls: How often each function was called.
    """

    instructions: int = 0
    own: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def allocations(self) -> int | None:
        """How often memory was asked for; None if the Python does not say which of its functions do that."""
        if not self.own["_PyEval_EvalFrameDefault"] or not self.calls["_PyObject_Malloc"]:
            return None
        return sum(self.calls[name] for name in ALLOCATORS)


def read_callgrind(lines: Iterable[str]) -> Callgrind:
    """Read a file of callgrind, one that has instructions alone and no addresses.

    The format is described in https://valgrind.org/docs/manual/cl-format.html.

    Raises:
        ReadError: If it is none.
    """
    found = Callgrind()
    names: dict[str, str] = {}
    name = callee = ""
    is_call = False
    headers: dict[str, str] = {}
    for text in map(str.rstrip, lines):
        if match := _NAME.match(text):
            role, number, given = match.groups()
            if given:
                names[number] = _SUFFIX.sub("", given)
            if role == "fn":
                name = names[number]
            else:
                callee = names[number]
        elif match := _COST.match(text):
            if not is_call:  # else it is what the callee costs
                found.own[name] += int(match[1])
            is_call = False
        elif match := _CALLS.match(text):
            found.calls[callee] += int(match[1])
            is_call = True
        elif match := _HEADER.match(text):
            headers[match[1]] = match[2]
    if headers.get("events") != "Ir" or "totals" not in headers:
        raise ReadError("callgrind did not write how many instructions there were")
    found.instructions = int(headers["totals"])
    return found


def read_strace(text: str) -> Counter[str]:
    """Read the table of ``strace -c``: how often each system call was made.

    Raises:
        ReadError: If there is none.
    """
    calls: Counter[str] = Counter()
    rules = 0
    for row in text.splitlines():
        words = row.split()
        if row.startswith("------"):
            rules += 1
        elif rules == 1 and len(words) >= 5:  # %, seconds, microseconds each, calls, errors (if any), name
            calls[words[-1]] += int(words[3])
    if rules != 2:
        raise ReadError("strace did not write how many system calls there were")
    return calls
