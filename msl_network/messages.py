"""The messages of the protocol: what a line becomes once, at the edge, and stays.

Rule of this file: a value that exists here is valid. Payloads (``args``, ``kwargs``, ``result``) stay the
bytes that the peer sent (:class:`msgspec.Raw`): the Manager routes them and never looks inside.

It must not know how bytes become messages (a codec does), who is connected, or any socket.
"""

from __future__ import annotations

import math
import reprlib
import unicodedata
from typing import Any, Final, Literal

import msgspec

from .errors import IdentityError, MessageError

__all__ = [
    "DISCONNECT",
    "DRIVING",
    "EMPTY_ARGS",
    "EMPTY_KWARGS",
    "MANAGER",
    "MAX_NAME",
    "MAX_SHOWN",
    "MAX_UID",
    "NOTIFICATION_UID",
    "Answer",
    "Failure",
    "Identity",
    "MendedReply",
    "Notification",
    "Prompt",
    "Reply",
    "Request",
    "Result",
    "check_names",
    "check_uid",
    "is_clean",
]

DISCONNECT: Final = "__disconnect__"
"""The ``attribute`` with which a peer says that it leaves."""

MANAGER: Final = "Manager"
"""The ``service`` of a request that the Manager answers itself."""

NOTIFICATION_UID: Final = "notification"
"""The ``uid`` by which every reader tells a notification from a reply."""

DRIVING: Final = frozenset(
    {
        "add_tasks",
        "emit_notification",
        "emit_notification_threadsafe",
        "ignore_attributes",
        "shutdown_handler",
        "start",
    }
)
"""What drives a Service that is written in Python. A Client that calls it sends the Service to another Manager, or
speaks to all others in its name; one of 1.0 lets it, and never answers again."""

MAX_UID: Final = 256
"""The longest uid, in characters: the books keep it until the reply. 1.0 sends 32."""

INTEGER_BITS: Final = 64
"""The longest integer that can be a uid, without its sign: what languages without long ones write."""

MAX_NAME: Final = 1024
"""The longest name of a Service or an attribute that can be asked for, in characters: errors and logs repeat it, and
what `authorize` allowed is remembered by it."""

MAX_SHOWN: Final = 256
"""How much of a wrong value is repeated to the peer that sent it, in characters."""

_DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of a text, and so can make one name look like another."""

EMPTY_ARGS: Final = msgspec.Raw(b"[]")
"""The ``args`` of a request that has none, in JSON."""

EMPTY_KWARGS: Final = msgspec.Raw(b"{}")
"""The ``kwargs`` of a request that has none, in JSON."""


class Request(msgspec.Struct, kw_only=True, gc=False):
    """A Client asks for an attribute of a Service, or of the Manager.

    It has all keys of 1.0 and no other, so that what was read can be written for the Service: `args` first and `kwargs`
    last.
    """

    args: msgspec.Raw = EMPTY_ARGS
    """The positional arguments, a JSON array; whoever reads or forwards them checks that."""

    attribute: str
    """The name of the attribute."""

    error: Literal[False] = False
    """A request is no error."""

    requester: str = ""
    """The network name of the Client, which the Manager knows: whatever the Client says is written over."""

    service: str
    """The name of the Service, or ``"Manager"``."""

    uid: Any = ""
    """The Client's own mark of the request: a string, number, boolean or null. It comes back unchanged."""

    kwargs: msgspec.Raw = EMPTY_KWARGS
    """The keyword arguments, a JSON object; checked as `args` are."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A Service answers a request (with a result or an error), or notifies. It is forwarded as it came."""

    result: msgspec.Raw
    """The result; ``null`` beside an error."""

    requester: str = ""
    """The network name of the Client that asked."""

    service: str = ""
    """The name of the Service; only a notification carries it."""

    uid: Any = ""
    """The uid of the request, or ``"notification"``."""

    error: bool
    """Whether it is an error; every Client of 1.0 looks at it."""


class MendedReply(Reply, frozen=True, kw_only=True, gc=False):
    """A reply that lacked something that Clients of 1.0 need; it is forwarded as it should have been."""

    line: bytes
    """The line to forward, with its end."""


class Notification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A Service tells all linked Clients something."""

    result: tuple[msgspec.Raw, dict[str, msgspec.Raw]]
    """The positional arguments (a JSON array) and the keyword arguments for the handler of each Client."""

    service: str
    """The name of the Service."""


class Answer(msgspec.Struct, frozen=True):
    """A peer answers a prompt of the Manager."""

    value: Any
    """The value, or the line itself when somebody typed plain text."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """The Manager asks a peer: for its password, its user name, or its identity."""

    attribute: str
    requester: str
    args: tuple[object, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The Manager answers a request itself."""

    result: Any
    requester: str
    uid: Any = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The Manager refuses a request or a peer. Its traceback is empty: details are for the log."""

    message: str
    requester: str
    uid: Any = ""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a peer says it is."""

    type: Literal["client", "service"]
    name: str
    attributes: dict[str, Any] = {}
    """A Service's attributes: name to signature or value."""

    max_clients: int = -1
    """How many Clients may be linked with a Service at a time; no limit if not positive."""

    language: str = "unknown"
    os: str = "unknown"

    docs: dict[str, str] = {}
    """The docstrings of a Service's methods; ours. Who links with it is told, nobody else."""

    @classmethod
    def parse(cls, value: object) -> Identity:
        """Make an identity of what a peer answered.

        Args:
            value: The decoded JSON value of the answer.

        Returns:
            The identity; optional fields that are missing or null have their defaults.

        Raises:
            IdentityError: If a field is missing or has the wrong type.
        """
        if not isinstance(value, dict):
            found = type(value).__name__
            raise IdentityError(f"the identity must be a JSON object with 'type' and 'name', found {found}")
        kind = _field(value, "type", str)
        name = _field(value, "name", str)
        if kind.lower() not in {"client", "service"}:
            raise IdentityError(f'Unknown connection type {_shown(kind)}. Must be "client" or "service"')
        if not is_clean(name):
            raise IdentityError(f"the name {_shown(name)} is empty or has control or surrogate characters")
        language = _optional(value, "language", str, "unknown")
        system = _optional(value, "os", str, "unknown")
        if kind.lower() == "client":
            return cls(type="client", name=name, language=language, os=system)
        attributes: dict[str, Any] = _field(value, "attributes", dict)
        docs = value.get("docs")
        return cls(
            type="service",
            name=name,
            attributes=attributes,
            max_clients=_max_clients(value.get("max_clients")),
            language=language,
            os=system,
            # no peer of 1.0 sends them, so whatever else is called so is none of our business
            docs={name: doc for name, doc in docs.items() if isinstance(doc, str)} if isinstance(docs, dict) else {},
        )


def is_clean(text: str) -> bool:
    """Whether a text can be a name: something to see, encodable, and nothing that controls what is shown."""
    return bool(text.strip()) and not any(map(_is_harmful, text))


def check_uid(uid: object) -> object:
    """Return the uid of a request if it can come back with the reply.

    Raises:
        MessageError: If it is an array, an object or no finite number, is too long, or marks notifications.
    """
    if isinstance(uid, str):
        if uid == NOTIFICATION_UID:
            raise MessageError("the uid 'notification' is reserved for notifications, choose another", uid=uid)
        if len(uid) > MAX_UID:
            raise MessageError(f"the uid has {len(uid)} characters, the limit is {MAX_UID}", uid=uid)
    elif isinstance(uid, float):
        if not math.isfinite(uid):  # NaN is not even equal to itself
            raise MessageError(f"the uid must be a string, found {uid}", wire_name="TypeError")
    elif isinstance(uid, int):
        # the books find a call by its uid, and thousands of longer integers may be chosen to have one hash
        if uid.bit_length() > INTEGER_BITS:
            raise MessageError(
                f"the uid is an integer of {uid.bit_length()} bits, the limit is {INTEGER_BITS}", uid=uid
            )
    elif uid is not None:
        raise MessageError(f"the uid must be a string, found {type(uid).__name__}", wire_name="TypeError")
    return uid


def check_names(request: Request) -> Request:
    """Return a request if the names of its Service and attribute can be repeated, and are short enough to be kept.

    Raises:
        MessageError: If one is too long, or has characters that do something to a terminal or a log.
    """
    for name in (request.service, request.attribute):
        if not name.isprintable() and any(map(_is_harmful, name)):
            raise MessageError(f"the name {_shown(name)} has control or surrogate characters", uid=request.uid)
    if len(request.service) > MAX_NAME or len(request.attribute) > MAX_NAME:
        lengths = f"{len(request.service)} and {len(request.attribute)}"
        raise MessageError(
            f"'service' and 'attribute' have {lengths} characters, the limit is {MAX_NAME} each", uid=request.uid
        )
    return request


def _is_harmful(character: str) -> bool:
    """Whether a character controls a line or its direction, or is half of a surrogate pair."""
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _DIRECTIONS


def _shown(found: object) -> str:
    return repr(found[:MAX_SHOWN]) if isinstance(found, str) else reprlib.repr(found)


def _field(value: dict[str, Any], key: str, expected: type) -> Any:
    try:
        found = value[key]
    except KeyError:
        raise IdentityError(f"the identity has no {key!r}", wire_name="KeyError") from None
    if not isinstance(found, expected):
        wanted = "string" if expected is str else "object"
        raise IdentityError(f"{key!r} of the identity must be a JSON {wanted}, found {type(found).__name__}")
    return found


def _optional(value: dict[str, Any], key: str, expected: type, default: str) -> str:
    if value.get(key) is None:
        return default
    found: str = _field(value, key, expected)
    return found


def _max_clients(found: object) -> int:
    if found is None:
        return -1
    # LabVIEW writes whole numbers as 5.0
    if isinstance(found, float) and found.is_integer():
        return int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise IdentityError(f"'max_clients' of the identity must be an integer, found {_shown(found)}")
    return found
