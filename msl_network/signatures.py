"""The signature of a remote method, read from the text that its Service sent.

Rule of this file: the text is data. Nothing in it is evaluated but literals; a text that is no Python signature
(Services are written in many languages) has none. It must not know who shows it.
"""

from __future__ import annotations

import ast
import inspect
import threading
import warnings
from typing import Any, Final

__all__ = ["parse_signature"]

MOST_CHARACTERS: Final = 10_000  # of a text that is looked at; the parser of Python takes its time

_parsing = threading.Lock()


class _Source:
    """A piece of source text, which shows itself as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def parse_signature(text: object) -> inspect.Signature | None:
    """Return the signature in a text, for example ``(x: number, n=2) -> bool``.

    Args:
        text: The text, as it stands in the attributes of a Service.

    Returns:
        The signature, its annotations as they are written; None if there is none.
    """
    if not isinstance(text, str) or not text.startswith("(") or len(text) > MOST_CHARACTERS:
        return None
    source = f"def f{text}:\n pass"
    try:
        # one at a time, because the filters of warnings are those of all threads; a stranger's text may cause some
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (function,) = ast.parse(source).body
        if not isinstance(function, ast.FunctionDef) or len(function.body) != 1:
            return None
        reader = _Reader(source)
        return inspect.Signature(
            reader.parameters(function.args), return_annotation=reader.annotation(function.returns)
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return None


class _Reader:
    """Reads what Python has parsed.

    Args:
        source: The text.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def parameters(self, arguments: ast.arguments) -> list[inspect.Parameter]:
        """Return the parameters of a function."""
        kinds = inspect.Parameter
        positional: list[tuple[ast.arg, Any]] = [
            *((argument, kinds.POSITIONAL_ONLY) for argument in arguments.posonlyargs),
            *((argument, kinds.POSITIONAL_OR_KEYWORD) for argument in arguments.args),
        ]
        missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
        found = [
            self._parameter(argument, kind, default)
            for (argument, kind), default in zip(positional, [*missing, *arguments.defaults], strict=True)
        ]
        if arguments.vararg:
            found.append(self._parameter(arguments.vararg, kinds.VAR_POSITIONAL, None))
        found += [
            self._parameter(argument, kinds.KEYWORD_ONLY, default)
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ]
        if arguments.kwarg:
            found.append(self._parameter(arguments.kwarg, kinds.VAR_KEYWORD, None))
        return found

    def annotation(self, expression: ast.expr | None) -> Any:
        """Return an annotation as it is written."""
        if expression is None:
            return inspect.Parameter.empty
        if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
            return _Source(expression.value)  # what `from __future__ import annotations` left in quotes
        return self._written(expression)

    def _parameter(self, argument: ast.arg, kind: Any, default: ast.expr | None) -> inspect.Parameter:
        return inspect.Parameter(
            argument.arg,
            kind,
            default=inspect.Parameter.empty if default is None else self._value(default),
            annotation=self.annotation(argument.annotation),
        )

    def _value(self, expression: ast.expr) -> Any:
        try:
            return ast.literal_eval(expression)
        except (ValueError, TypeError, SyntaxError):
            return self._written(expression)

    def _written(self, expression: ast.expr) -> _Source:
        return _Source(ast.get_source_segment(self._source, expression) or ast.unparse(expression))
