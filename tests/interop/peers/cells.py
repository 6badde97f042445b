"""A Client that runs cells of Python, like a notebook.

The command line holds the package whose Client it is, ``msl.network`` or ``msl_network``, and a JSON text, the
keywords for ``connect``. Reads one JSON text per line, the source of a cell, and writes one JSON object per line:
``{"result": ...}`` with the value of the cell's last expression, or ``{"raised": class, "text": ...}``, the class
being one that Python knows. A cell finds the names ``network``, the package, ``connect``, ``LinkedClient`` and
``kwargs``.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from typing import Any


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


def builtin(kind: type) -> str:
    """Returns what a script of 1.0 calls an exception: ours name their built-in base class as the last."""
    while kind.__module__ != "builtins":
        kind = kind.__bases__[-1]
    return kind.__name__


def main() -> None:
    """Runs the cells that arrive until the end of the input."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that the package prints gets between the answers
    network = importlib.import_module(sys.argv[1])
    names: dict[str, Any] = {
        "network": network,
        "connect": network.connect,
        "LinkedClient": network.LinkedClient,
        "kwargs": json.loads(sys.argv[2]),
    }
    for line in sys.stdin:
        try:
            answer = {"result": run(json.loads(line), names)}
        except Exception as error:  # noqa: BLE001  # whatever it is, the test wants to see it
            answer = {"raised": builtin(type(error)), "text": str(error)}
        answers.write(json.dumps(answer, default=repr) + "\n")
        answers.flush()
    os._exit(0)  # a Client of 1.0 that is garbage-collected at exit waits for a thread that is gone


if __name__ == "__main__":
    main()
