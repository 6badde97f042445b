"""Python values to JSON and back, at the two ends of a call: what Clients and Services put on the wire and find there.

Rule of this file: what arrives is what :mod:`json` would have sent, as in MSL-Network 1.0 (NaN and infinity, big
integers, keys that become texts), and what it refuses is refused here: nothing is turned into something else in
silence. msgspec does the work wherever it does the same, which is nearly always.

It must not know who is connected, what a message is about, or any socket.
"""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .errors import MessageError
from .messages import DISCONNECT, NOTIFICATION_UID
from .wire import LINE_END

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "Arrival",
    "decode",
    "encode_answer",
    "encode_disconnect",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
]

MOST_TEXT: Final = 16 * 1024  # characters of the text of an error, and of each line of its traceback
MOST_LINES: Final = 200  # of a traceback, from its end

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({list, tuple, dict})
_PLAIN: Final = _SCALARS | _CONTAINERS
"""The types that msgspec writes as :mod:`json` does. It writes many more, bytes and sets among them, in ways of its
own: whoever sends those is to know that JSON cannot carry them."""


class Arrival(msgspec.Struct, gc=False):
    """Whatever a Manager sends: a question, a request, a reply, an error or a notification."""

    args: list[Any] = []
    attribute: str = ""
    """What is asked for; empty in what is no question and no request."""

    error: bool = False
    kwargs: dict[str, Any] = {}
    lost: Any = 0
    """How many notifications of the Service before this one were dropped, because this Client did not keep up."""

    message: str = ""
    requester: Any = ""
    result: Any = None
    service: str = ""
    traceback: list[Any] = []
    uid: Any = ""


class _Request(msgspec.Struct, gc=False):
    args: tuple[Any, ...]
    attribute: str
    error: bool
    kwargs: dict[str, Any]
    service: str
    uid: str


class _Result(msgspec.Struct, gc=False):
    error: bool
    requester: Any
    result: Any
    uid: Any


class _Notification(msgspec.Struct, gc=False):
    error: bool
    result: tuple[tuple[Any, ...], dict[str, Any]]
    service: str
    uid: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Arrival).decode


def encode_request(service: str, attribute: str, args: tuple[Any, ...], kwargs: dict[str, Any], uid: str) -> bytes:
    """Return the line of a request.

    Args:
        service: The name of the Service, or ``"Manager"``.
        attribute: What is asked for.
        args: The positional arguments.
        kwargs: The keyword arguments.
        uid: Comes back with the reply.

    Raises:
        TypeError: If JSON cannot carry an argument.
        ValueError: If an argument refers to itself, is nested too deeply, or has a lone surrogate.
    """
    return _line(_Request(args, attribute, False, kwargs, service, uid), args, kwargs)


def encode_result(result: object, requester: object, uid: object) -> bytes:
    """Return the line of a reply.

    Args:
        result: The result; what is not JSON by nature is asked for with its ``to_json()``.
        requester: Who asked.
        uid: The uid of the request.

    Raises:
        TypeError: If JSON cannot carry the result.
        ValueError: If the result refers to itself, is nested too deeply, or has a lone surrogate.
    """
    return _line(_Result(False, requester, result, uid), (result,))


def encode_notification(service: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return the line of a notification.

    Args:
        service: The name of the Service that emits it.
        args: The positional arguments for the handlers.
        kwargs: The keyword arguments for the handlers.

    Raises:
        TypeError: If JSON cannot carry an argument.
        ValueError: If an argument refers to itself, is nested too deeply, or has a lone surrogate.
    """
    return _line(_Notification(False, (args, kwargs), service, NOTIFICATION_UID), args, kwargs)


def encode_error(error: BaseException, requester: object, uid: object) -> bytes:
    """Return the line of a reply that says what went wrong.

    Args:
        error: What was raised, with its traceback.
        requester: Who asked.
        uid: The uid of the request.
    """
    try:
        text = str(error)
        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
    except BaseException as problem:  # noqa: BLE001 - the exception of a stranger may fail at anything
        text = f"its text cannot be had: {type(problem).__name__}"
        lines = []
    if len(text) > MOST_TEXT:
        text = f"{text[:MOST_TEXT]}... ({len(text) - MOST_TEXT} more characters)"
    lines = [line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}..." for line in lines[-MOST_LINES:]]
    message = {
        "error": True,
        "message": f"{type(error).__name__}: {text}",
        "requester": requester,
        "result": None,
        "traceback": lines if error.__traceback__ is not None else [],
        "uid": uid,
    }
    return json.dumps(message).encode() + LINE_END  # in ASCII: a text may have any character


def encode_answer(value: object) -> bytes:
    """Return the line that answers a question of the Manager.

    Args:
        value: The answer.

    Raises:
        TypeError: If JSON cannot carry it.
    """
    return _by_json({"error": False, "requester": None, "result": value, "uid": ""})


def encode_disconnect(service: str) -> bytes:
    """Return the line with which a peer takes its leave.

    Args:
        service: The peer's own network name: any name but that of the Manager will do.
    """
    return _encode(_Request((), DISCONNECT, False, {}, service, "")) + LINE_END


def decode(line: bytes) -> Arrival:
    """Return the message that a line holds.

    Args:
        line: A line of the Manager, with or without its end.

    Raises:
        MessageError: If it is no message.
    """
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # NaN, a lone surrogate, a null where a text is expected: all of that json reads
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a line of {len(line)} bytes from the Manager is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MessageError(f"a message from the Manager is not a JSON object but {type(value).__name__}")
    known = {key: value[key] for key in Arrival.__struct_fields__ if value.get(key) is not None}
    if value.get("uid", "") is None:
        known["uid"] = None
    known["error"] = bool(known.get("error"))  # in other languages, what 1.0 takes for true or false
    known["message"] = str(known.get("message", ""))
    if isinstance(known.get("traceback"), str):
        known["traceback"] = known["traceback"].splitlines()
    try:
        return msgspec.convert(known, Arrival)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MessageError(f"a message from the Manager is not as it should be: {error}") from None


def _line(message: msgspec.Struct, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> bytes:
    seen: set[type] = set()
    try:
        _survey(args, seen)
        if kwargs:
            _survey_object(kwargs, seen)
        if seen <= _PLAIN:
            data = _encode(message)
            # msgspec writes null for NaN and infinity
            if float not in seen or b"null" not in data:
                return data + LINE_END
    except RecursionError:
        pass  # json tells a loop from a depth
    return _by_json({name: getattr(message, name) for name in message.__struct_fields__})


def _survey(values: Collection[Any], seen: set[type]) -> None:
    """Note the types of all values, at any depth."""
    kinds = set(map(type, values))
    seen |= kinds
    if not kinds.isdisjoint(_CONTAINERS):
        for value in values:
            kind = type(value)
            if kind is list or kind is tuple:
                _survey(value, seen)
            elif kind is dict:
                _survey_object(value, seen)


def _survey_object(mapping: Mapping[Any, Any], seen: set[type]) -> None:
    if set(map(type, mapping)) - {str}:
        seen.add(object)  # other keys are left to json
    else:
        _survey(mapping.values(), seen)


def _by_json(message: dict[str, Any]) -> bytes:
    try:
        return json.dumps(message, ensure_ascii=False, default=_to_json).encode() + LINE_END
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None


def _to_json(value: object) -> object:
    to_json = getattr(type(value), "to_json", None)  # not of the value: a Link has each attribute that is asked for
    if callable(to_json):
        return to_json(value)
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    remedy = (
        "convert it, e.g. with its tolist()" if hasattr(kind, "tolist") else "convert it, or add a to_json() method"
    )
    raise TypeError(f"JSON cannot carry a value of type {name}; {remedy}")
