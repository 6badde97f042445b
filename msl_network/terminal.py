"""What a person types instead of JSON, e.g. into ``openssl s_client``.

    identity                                        the Manager's identity
    link SERVICE                                    link with a Service
    disconnect, exit or __disconnect__              leave
    SERVICE ATTRIBUTE [ARGUMENT ...] [NAME=VALUE ...]    anything else
    client [NAME]                                   the answer to the question who one is

The single words are case-insensitive. Values are JSON or Python literals (``1``, ``[1, 2]``, ``'two
words'``), ``true``, ``false``, ``null``, ``none`` in any case, else text. Inside quotes a backslash escapes.
In a line that is longer than anybody types (`MAX_LITERAL`) what stands in quotes or brackets must be JSON.

Rule of this file: a line either has a meaning or is refused with a sentence that helps; it never guesses.
It must not know who is connected, or any socket.
"""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any, Final, NoReturn

import msgspec

from .errors import MessageError
from .messages import DISCONNECT, MANAGER, MAX_SHOWN, Request

__all__ = ["MAX_LITERAL", "MAX_TEXT", "MAX_WORDS", "parse_identity", "parse_request"]

MAX_TEXT: Final = 64 * 1024
"""The longest line that is read as typed text, in characters: nobody types more, and parsing it costs."""

MAX_LITERAL: Final = 4 * 1024
"""The longest line in which values may be Python literals, in characters: a terminal takes no more. Python's parser
needs 20 ms for the worst of this length, and half a second for the longest line; JSON is read in a fraction of it."""

MAX_WORDS: Final = 4096
"""The most words of a line: each is tried as JSON, and in a short line as a Python literal, which takes 15 us."""

_USAGE: Final = "SERVICE ATTRIBUTE [ARGUMENT ...] [NAME=VALUE ...]"
_LEAVE: Final = frozenset({"disconnect", "exit", DISCONNECT})
_OPENING: Final = {"(": ")", "[": "]", "{": "}"}
_ENCLOSING: Final = {"'", '"', *_OPENING}
_WORDS: Final[dict[str, object]] = {"true": True, "false": False, "null": None, "none": None}


def parse_identity(text: str) -> dict[str, Any] | None:
    """Read a typed answer to the question who one is.

    Args:
        text: The line.

    Returns:
        The identity as JSON would have carried it, or None if the line says nothing of the kind.
    """
    word, *rest = text.split(maxsplit=1) or [""]
    if word.lower() != "client":
        return None
    return {"type": "client", "name": _name("".join(rest).rstrip()) or "Client"}


def parse_request(text: str) -> Request:
    """Read a typed request.

    Args:
        text: The line.

    Returns:
        The request; its uid is empty.

    Raises:
        MessageError: If the line has no meaning.
    """
    if len(text) > MAX_TEXT:
        raise MessageError(f"a line that is not JSON may have {MAX_TEXT} characters, found {len(text)}")
    tokens = _split(text)
    if len(tokens) > MAX_WORDS:
        raise MessageError(f"a line may have {MAX_WORDS} words, found {len(tokens)}; write them as a list: [1, 2]")
    if not tokens:
        raise MessageError(f"an empty line, expected JSON or: {_USAGE}")
    word = tokens[0].lower()
    if word == "client":
        raise MessageError("this connection has an identity already; 'disconnect' and connect again to change it")
    if len(tokens) == 1:
        return _single(tokens[0], word)
    if word == "link":
        service = _name(text.strip()[len("link") :].strip())
        return Request(service=MANAGER, attribute="link", args=_raw([service]))
    return _call(tokens, is_long=len(text) > MAX_LITERAL)


def _single(token: str, word: str) -> Request:
    if word == "identity":
        return Request(service=MANAGER, attribute="identity")
    if word in _LEAVE:
        return Request(service=MANAGER, attribute=DISCONNECT)
    raise MessageError(f"{_shown(token)} is neither JSON nor one of: identity, link SERVICE, disconnect, {_USAGE}")


def _call(tokens: list[str], *, is_long: bool) -> Request:
    service, attribute, *values = tokens
    read = _json_value if is_long else _value
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for token in values:
        name, equals, value = token.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = read(value)
        else:
            args.append(read(token))
    return Request(service=_name(service), attribute=_name(attribute), args=_raw(args), kwargs=_raw(kwargs))


def _split(text: str) -> list[str]:
    """Cut at blanks, but not inside quotes or brackets."""
    tokens: list[str] = []
    token = ""
    quote = ""
    is_escaped = False
    brackets: list[str] = []
    for character in text:
        if quote:
            if not is_escaped and character == quote:
                quote = ""
            is_escaped = character == "\\" and not is_escaped
        elif character in "'\"" and _may_begin(token):
            quote = character  # an apostrophe inside a word is only an apostrophe
        elif character in _OPENING and (brackets or not token or token[-1] == "="):
            brackets.append(_OPENING[character])
        elif brackets and character == brackets[-1]:
            brackets.pop()
        elif character.isspace() and not brackets:
            if token:
                tokens.append(token)
            token = ""
            continue
        token += character
    if quote or brackets:
        raise MessageError(f"the line ends before its closing {quote or brackets[-1]}")
    return [*tokens, token] if token else tokens


def _may_begin(token: str) -> bool:
    """Whether a quote after this is the begin of a text."""
    return not token or token[-1] in "=([{,:" or token[-1].isspace()


def _name(token: str) -> str:
    """Read a name, which may stand in quotes."""
    if token[:1] not in {"'", '"'}:
        return token
    value = (_value if len(token) <= MAX_LITERAL else _json_value)(token)
    return value if isinstance(value, str) else token


def _value(text: str) -> object:
    """Read a value: JSON, a Python literal, or text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for read in (_json, _literal):
        try:
            return _finite(read(text))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _json_value(text: str) -> object:
    """Read a value of a long line: JSON, or a word."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return _finite(_json(text))
    except (ValueError, RecursionError) as error:
        if text[:1] not in _ENCLOSING:
            return text
        raise MessageError(
            f"in a line of more than {MAX_LITERAL} characters what stands in quotes or brackets must be JSON; "
            f"{_shown(text)} is not: {error}"
        ) from None


def _finite(value: object) -> object:
    """Return a value that JSON can carry, or raise what `json` raises."""
    json.dumps(value, allow_nan=False)
    return value


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_json: Final = json.JSONDecoder(parse_constant=_not_json).decode


def _literal(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # '\d' is text here, and no business of the log's
        return ast.literal_eval(text)


def _shown(token: str) -> str:
    return repr(token[:MAX_SHOWN])


def _raw(value: object) -> msgspec.Raw:
    # ASCII with escapes, as 1.0 sends it: also a lone surrogate is carried
    return msgspec.Raw(json.dumps(value).encode())
