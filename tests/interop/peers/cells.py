"""A Client of ``msl-network`` 1.0 that runs cells of Python, like a notebook.

Reads one JSON text per line, the source of a cell, and writes one JSON object per line: ``{"result": ...}``
with the value of the cell's last expression, or ``{"raised": class, "text": ...}``. A cell finds the names
``connect``, ``LinkedClient`` and ``kwargs``, the keywords for ``connect`` that the command line holds.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from typing import Any

from msl.network import LinkedClient, connect


def run(cell: str, names: dict[str, Any]) -> Any:
    """Executes a cell.

    Args:
        cell: The source of the cell.
        names: The variables that cells share.

    Returns:
        The value of the last line if that is an expression, else ``None``.
    """
    tree = ast.parse(cell)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<cell>", "exec"), names)
        return None
    del tree.body[-1]
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def main() -> None:
    """Runs the cells that arrive until the end of the input."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that 1.0 prints gets between the answers
    names: dict[str, Any] = {
        "connect": connect,
        "LinkedClient": LinkedClient,
        "kwargs": json.loads(sys.argv[1]),
    }
    for line in sys.stdin:
        try:
            answer = {"result": run(json.loads(line), names)}
        except Exception as error:  # noqa: BLE001  # whatever it is, the test wants to see it
            answer = {"raised": type(error).__name__, "text": str(error)}
        answers.write(json.dumps(answer, default=repr) + "\n")
        answers.flush()
    os._exit(0)  # a Client of 1.0 that is garbage-collected at exit waits for a thread that is gone


if __name__ == "__main__":
    main()
