"""Message encoding: one JSON object in UTF-8 per line, as MSL-Network 1.0 speaks it.

Rule of this file: a line that is as it should be is read once, by msgspec, with its payload left as bytes;
any other takes the slow way, which finds out what is wrong and says so. What JSON allows but a reader of 1.0
would die of goes no further. It must not know who is connected.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Any, Final, Literal

import msgspec

from msl_network import (
    DISCONNECT,
    EMPTY_ARGS,
    NOTIFICATION_UID,
    Answer,
    Failure,
    LongLine,
    MendedReply,
    MessageError,
    Notification,
    Prompt,
    Reply,
    Request,
    Result,
    check_names,
    check_uid,
    hookimpl,
    parse_request,
)
from msl_network.messages import MAX_UID

__all__ = ["JsonLines", "JsonLinesCodec"]

MAX_DIGITS: Final = 4300
"""The digits of the longest integer that Python reads (`sys.int_info.default_max_str_digits`)."""

MAX_DEPTH: Final = 500
"""How deep JSON may be nested: half of what Python reads by default, for the reader is deep in calls, too."""

_HARMLESS: Final = 2 * MAX_DEPTH
"""No line up to this length, in bytes, can be nested too deeply or hold an integer that is too long."""

_STEP: Final = 31  # a prime, so that the columns of a table of numbers do not fall in step with it
_DIGITS_TO_0: Final = bytes(0x30 if 0x30 <= code <= 0x39 else 0x20 for code in range(256))
_SAMPLED_DIGITS: Final = b"0" * (MAX_DIGITS // _STEP)
"""What at least is left of an integer that is too long, when one character in `_STEP` is looked at."""

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_NUMBERS: Final = re.compile(_STRING + rb"|-?([0-9]{%d,})(?![0-9.eE])|[-+.0-9eE]+" % (MAX_DIGITS + 1), re.DOTALL)
_read_at: Final = json.JSONDecoder().raw_decode
_FIRST_KEY: Final = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*(?=")')
_NEXT_KEY: Final = re.compile(r'[ \t\r\n]*,[ \t\r\n]*(?=")')
_COLON: Final = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_RESERVED: Final = f'"{NOTIFICATION_UID}"'.encode()
_ARGS: Final = len('{"args":')
"""Where the arguments begin in a request that is forwarded; the keyword arguments end one character before its end."""

_OPENING: Final = b'{"args":['
_CLOSING: Final = b"}}\n"
_ARRAY: Final = ord("[")
_OBJECT_END: Final = ord("}")  # nothing else that JSON has ends so
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")
_BRACKETS_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")


class _PlainRequest(Request, kw_only=True, gc=False):
    """A request whose uid is what 1.0 writes; any other is read alone."""

    uid: Annotated[str, msgspec.Meta(max_length=MAX_UID)] = ""


class _PlainReply(Reply, frozen=True, kw_only=True, gc=False):
    """A result whose uid is what 1.0 writes; any other, and an error, is read alone."""

    uid: Annotated[str, msgspec.Meta(max_length=MAX_UID)] = ""
    error: Literal[False]


class JsonLinesCodec:
    """Reads and writes JSON lines. It keeps no state: one serves all connections."""

    name = "json_lines"

    def __init__(self) -> None:
        self._request = msgspec.json.Decoder(Request).decode
        self._requests = msgspec.json.Decoder(_PlainRequest).decode_lines
        self._replies = msgspec.json.Decoder(_PlainReply).decode_lines
        self._reply = msgspec.json.Decoder(Reply).decode
        self._notification = msgspec.json.Decoder(Notification).decode
        self._object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._encode = msgspec.json.Encoder().encode
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def long_line(self) -> LongLine:
        """Take a line that is too long to be read at once."""
        return LongLine(self._check)

    def decode_request(self, line: bytes) -> Request | Answer:
        """Read what a connected Client sent."""
        try:
            request = self._request(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._slow_request(line)
        uid = request.uid
        if (
            line.isascii()
            and len(line) <= _HARMLESS
            and isinstance(uid, str)
            and len(uid) <= MAX_UID
            and uid != NOTIFICATION_UID
            and (request.service + request.attribute).isprintable()
        ):
            return request  # as a rule: what follows finds nothing wrong with it
        # msgspec does not look into texts of a payload, and a Service of 1.0 dies of bytes that are no UTF-8
        if not line.isascii():
            _text(line, uid)
        if len(line) > _HARMLESS:
            _check_size(line, uid)
        check_uid(uid)
        return check_names(request)

    def decode_requests(self, lines: list[bytes]) -> list[Request] | None:
        """Read many lines at once: as a rule nothing is wrong with any of them."""
        text = _joined(lines)
        if text is None or _RESERVED in text:
            return None
        try:
            requests = self._requests(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # as they are ASCII, only an escape or DEL can be in a name that nobody could print
        if (b"\\" in text or b"\x7f" in text) and not all(map(_is_printable, requests)):
            return None
        return requests if len(requests) == len(lines) else None  # type: ignore[return-value]  # it is a list of more

    def decode_replies(self, lines: list[bytes]) -> list[Reply] | None:
        """Read many lines at once, as `decode_requests`."""
        text = _joined(lines)
        if text is None:
            return None
        try:
            replies = self._replies(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return replies if len(replies) == len(lines) else None  # type: ignore[return-value]  # as above

    def decode_reply(self, line: bytes) -> Reply | Request:
        """Read what a connected Service sent."""
        try:
            reply = self._reply(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._slow_reply(line)
        if line.isascii() and len(line) <= _HARMLESS and not reply.error:
            return reply  # as a rule
        if not line.isascii():
            _text(line, reply.uid)
        if len(line) > _HARMLESS:
            _check_size(line, reply.uid)
        return self._slow_reply(line) if reply.error else reply

    def decode_notification(self, line: bytes) -> Notification:
        """Read a notification."""
        try:
            return _checked(self._notification(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = _loads(_text(line, ""))
        return _checked(_notification(value))

    def decode_answer(self, line: bytes) -> Answer | None:
        """Read the answer to a prompt."""
        text = _text(line, "").rstrip()
        try:
            value = json.loads(text)
        except RecursionError:
            raise _too_deep() from None
        except ValueError:
            return None if text.lstrip().startswith("{") else Answer(text)
        if len(line) > _HARMLESS:
            _check_size(line, "")
        if not isinstance(value, dict):
            return Answer(text)  # somebody typed 123
        if "result" not in value or value.get("service"):
            return None
        return Answer(value["result"])

    def decode_values(self, request: Request) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a request."""
        try:
            args, kwargs = json.loads(bytes(request.args).decode()), json.loads(bytes(request.kwargs).decode())
        except (ValueError, RecursionError) as error:
            raise MessageError(f"the arguments cannot be read: {error}", uid=request.uid) from None
        if not isinstance(args, list):
            raise _no_array(request.uid)
        if not isinstance(kwargs, dict):
            raise _no_keywords(request.uid)
        return args, kwargs

    def encode_request(self, request: Request, requester: str) -> bytes:
        """Write a request to a Service."""
        request.requester = requester
        try:
            line = self._encode(request)
        except UnicodeEncodeError:  # a lone surrogate in the attribute or the uid
            raise MessageError("the request has characters that cannot be encoded in UTF-8", uid=request.uid) from None
        # the line says what its payload is, at the beginning and at the end, without another look at that
        if line[_ARGS] != _ARRAY:
            raise _no_array(request.uid)
        if line[-2] != _OBJECT_END:
            raise _no_keywords(request.uid)
        return line + b"\r\n"

    def encode_requests(self, requests: list[Request], requester: str) -> bytes | None:
        """Write many requests at once: as a rule nothing is wrong with any of them."""
        for request in requests:
            request.requester = requester
        try:
            text = self._encode_lines(requests)
        except UnicodeEncodeError:
            return None
        lines = text.replace(b"\n", b"\r\n")
        count = len(requests)
        are_right = (  # as in `encode_request`, and no payload has a line end
            len(lines) == len(text) + count
            and text.startswith(_OPENING)
            and text.count(_CLOSING + _OPENING) == count - 1
            and text.endswith(_CLOSING)
        )
        return lines if are_right else None

    def encode_lost(self, line: bytes, lost: int) -> bytes:
        """Write a notification that says, too, how many before it were dropped. Readers of 1.0 do not look at it."""
        return line.rstrip()[:-1] + b', "lost": %d}\r\n' % lost

    def encode(self, message: Prompt | Result | Failure) -> bytes:
        """Write a message of the Manager's own, byte for byte as 1.0 would."""
        fields: dict[str, Any]
        if isinstance(message, Prompt):
            if not message.args:  # each peer is asked for its identity
                return _question(message.attribute, message.requester)
            fields = _prompt(message)
        elif isinstance(message, Result):
            fields = {
                "error": False,
                "requester": message.requester,
                "result": message.result,
                "uid": message.uid,
            }
        else:
            fields = {
                "error": True,
                "message": message.message,
                "requester": message.requester,
                "result": None,
                "traceback": [],
                "uid": message.uid,
            }
        return json.dumps(fields).encode() + b"\r\n"

    def _check(self, text: bytes) -> None:
        """Refuse what is no JSON object that a reader of 1.0 could read."""
        try:
            self._object(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _loads(_text(text, ""))
        else:
            if not text.isascii():
                _text(text, "")
        _check_size(text, "")

    def _slow_request(self, line: bytes) -> Request | Answer:
        text = _text(line, "")
        if not text.lstrip().startswith(("{", "[")):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return _typed(text)
            raise _no_object(value)
        value = _loads(text)
        _check_size(line, _uid(value))
        if "result" in value:
            return Answer(value["result"])
        return _request(value, _written(text))

    def _slow_reply(self, line: bytes) -> Reply | Request:
        text = _text(line, "")
        if not text.lstrip().startswith("{"):
            return parse_request(text)
        value = _loads(text)
        _check_size(line, _uid(value))
        if "result" not in value:
            return _request(value, _written(text))
        mended = _mended(value)
        fields: dict[str, Any] = {
            "result": EMPTY_ARGS,  # only read to route; the line is forwarded
            "requester": _string(value, "requester", ""),
            "service": _string(value, "service", ""),
            "uid": value.get("uid", ""),
            "error": mended["error"],
        }
        changed = {key: json.dumps(item) for key, item in mended.items() if item is not value.get(key, ...)}
        if not changed and line[:1] == b"{":
            return Reply(**fields)
        whole = ",".join(f"{json.dumps(key)}:{item}" for key, item in {**_written(text), **changed}.items())
        return MendedReply(**fields, line=b"{%s}\r\n" % whole.encode())


def _prompt(message: Prompt) -> dict[str, Any]:
    return {
        "args": message.args,
        "attribute": message.attribute,
        "error": False,
        "kwargs": {},
        "requester": message.requester,
        "uid": "",
    }


@lru_cache(64)
def _question(attribute: str, requester: str) -> bytes:
    return json.dumps(_prompt(Prompt(attribute=attribute, requester=requester))).encode() + b"\r\n"


def _joined(lines: list[bytes]) -> bytes | None:
    """Return lines as one text if each is ASCII, short, and begins and ends as an object.

    msgspec takes several values in a line for as many lines, and a value in several lines for one. If there are as many
    values as there are lines, all of which begin with a brace and end with one, then each line is a value.
    """
    text = b"\n".join(lines)
    if not text.isascii() or (len(text) > _HARMLESS and max(map(len, lines)) > _HARMLESS):
        return None
    between = b"}\r\n{" if text.endswith(b"\r") else b"}\n{"
    are_objects = text.startswith(b"{") and text.endswith((b"}", b"}\r")) and text.count(between) == len(lines) - 1
    return text if are_objects else None


def _is_printable(request: Request) -> bool:
    return (request.service + request.attribute).isprintable()


def _typed(text: str) -> Request:
    """Read what a person typed, whose values may be as deep as Python reads them."""
    request = check_names(parse_request(text))
    for payload in (request.args, request.kwargs):
        _check_size(bytes(payload), request.uid)
    return request


def _mended(value: dict[str, Any]) -> dict[str, Any]:
    """Return a reply with all that a Client of 1.0 looks at: without it, its reader ends for good."""
    mended = dict(value)
    if value.get("uid") == NOTIFICATION_UID:
        mended["error"] = False
        return mended
    if not isinstance(value.get("error"), bool):
        mended["error"] = bool(value.get("error"))
    if mended["error"]:
        message, traceback = value.get("message"), value.get("traceback")
        if not isinstance(message, str):
            mended["message"] = f"RuntimeError: the service gave no reason, but {message!r}"
        if not isinstance(traceback, list) or not all(isinstance(line, str) for line in traceback):
            mended["traceback"] = [] if traceback is None else [str(traceback)]
    return mended


def _notification(value: dict[str, Any]) -> Notification:
    result = value.get("result")
    args, kwargs = result if isinstance(result, list) and len(result) == 2 else (None, None)
    if not isinstance(kwargs, dict):
        kwargs, args = {}, None
    return Notification(
        result=(_raw(args), {key: _raw(item) for key, item in kwargs.items()}), service=_string(value, "service", "")
    )


def _checked(notification: Notification) -> Notification:
    args, kwargs = notification.result
    if memoryview(args)[0] != ord("["):
        raise MessageError("the result of a notification must be [[arguments], {keyword arguments}]")
    if "self" in kwargs:  # in Python, and so in each Client of 1.0, it is the handler's own
        raise MessageError("a notification cannot have a keyword argument 'self'; choose another name")
    return notification


def _check_size(line: bytes, uid: object) -> None:
    """Refuse what Python's own reader would: integers that are too long, and JSON that is nested too deeply.

    It costs nearly nothing unless there are such integers, or many brackets. The line must be valid JSON: one
    with a text that does not end would be searched again from each quote in it, for seconds.
    """
    if _SAMPLED_DIGITS in line[::_STEP].translate(_DIGITS_TO_0) and _has_long_integer(line):
        raise MessageError(f"an integer has more than {MAX_DIGITS} digits", uid=uid)
    if (_has_many(line, b"[") or _has_many(line, b"{")) and _depth(line) > MAX_DEPTH:
        raise _too_deep(uid)


def _has_many(line: bytes, bracket: bytes) -> bool:
    """Whether there are so many of a bracket that, with as many of the other, the limit may be passed."""
    place = -1
    for _ in range(MAX_DEPTH // 2):  # bytes.count would look at each byte, bytes.find leaps
        place = line.find(bracket, place + 1)
        if place < 0:
            return False
    return True


def _has_long_integer(line: bytes) -> bool:
    return any(match[1] for match in _NUMBERS.finditer(line))


def _depth(line: bytes) -> int:
    """Return how deep JSON is nested; it must be valid."""
    brackets = _STRINGS.sub(b"", line).translate(_BRACKETS_TO_SQUARE, _NO_BRACKETS)
    depth = 0
    while depth < 8 and brackets:  # each turn takes the innermost pairs away: an array of numbers has 1 to 4
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    # the codes of the two are 0x5b and 0x5d
    return depth + max(accumulate(0x5C - code for code in brackets), default=0)


def _text(line: bytes, uid: object) -> str:
    """Decode a line; some writers of Windows put a mark before the first one."""
    try:
        return line.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise MessageError(f"the line is not UTF-8: {error.reason} at byte {error.start}", uid=uid) from None


def _loads(text: str) -> dict[str, Any]:
    """Read JSON with all that Python's own reader allows, as 1.0 does: NaN, Infinity, lone surrogates."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise MessageError(f"the line is not valid JSON: {error}", wire_name="JSONDecodeError") from None
    if not isinstance(value, dict):
        raise _no_object(value)
    return value


def _written(text: str) -> dict[str, str]:
    """Return how each value of a JSON object is written: it goes on unchanged. The object must be valid."""
    written: dict[str, str] = {}
    place = _FIRST_KEY.match(text)
    while place:
        key, end = _read_at(text, place.end())
        start = _COLON.match(text, end).end()  # type: ignore[union-attr]  # valid JSON has one
        _, end = _read_at(text, start)
        written[key] = text[start:end]
        place = _NEXT_KEY.match(text, end)
    return written


def _no_array(uid: object) -> MessageError:
    return MessageError("'args' must be a JSON array", uid=uid, wire_name="TypeError")


def _no_keywords(uid: object) -> MessageError:
    return MessageError("'kwargs' must be a JSON object", uid=uid, wire_name="TypeError")


def _too_deep(uid: object = "") -> MessageError:
    return MessageError(f"the JSON is nested too deeply, the limit is {MAX_DEPTH}", uid=uid, wire_name="RecursionError")


def _no_object(value: object) -> MessageError:
    return MessageError(f"a message must be a JSON object, found {type(value).__name__}", wire_name="TypeError")


def _uid(value: dict[str, Any]) -> object:
    """Return the uid of a message as far as it can be sent back."""
    uid = value.get("uid", "")
    if isinstance(uid, float):
        return uid if math.isfinite(uid) else ""
    return uid if isinstance(uid, (str, int)) or uid is None else ""


def _request(value: dict[str, Any], written: dict[str, str]) -> Request:
    uid = check_uid(value.get("uid", ""))
    attribute = _string(value, "attribute", None)
    args = value.get("args", [])
    kwargs = value.get("kwargs", {})
    if not isinstance(args, list):
        raise MessageError("'args' must be a JSON array", uid=uid, wire_name="TypeError")
    if not isinstance(kwargs, dict):
        raise MessageError("'kwargs' must be a JSON object", uid=uid, wire_name="TypeError")
    # only a good-bye says nothing of a Service
    service = _string(value, "service", "" if attribute == DISCONNECT else None)
    request = Request(service=service, attribute=attribute, uid=uid)
    if "args" in written:
        request.args = msgspec.Raw(written["args"].encode())
    if "kwargs" in written:
        request.kwargs = msgspec.Raw(written["kwargs"].encode())
    return check_names(request)


def _string(value: dict[str, Any], key: str, default: str | None) -> str:
    uid = _uid(value)
    if key not in value and default is not None:
        return default
    if key not in value:
        raise MessageError(f"the message has no {key!r}", uid=uid, wire_name="KeyError")
    found = value[key]
    if not isinstance(found, str):
        raise MessageError(
            f"{key!r} must be a JSON string, found {type(found).__name__}", uid=uid, wire_name="TypeError"
        )
    return found


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


@dataclass(eq=False)
class JsonLines:
    """The plugin: hands the codec over."""

    def __post_init__(self) -> None:
        self._codec = JsonLinesCodec()

    @hookimpl
    def make_codec(self, name: str) -> JsonLinesCodec | None:
        """Return the codec, the same for each connection."""
        return self._codec if name == self._codec.name else None
