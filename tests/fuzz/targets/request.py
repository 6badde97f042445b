"""What a Client sent is refused with a MessageError, or reaches the Service as Python's own reader understands it."""

from __future__ import annotations

import json
from typing import Any

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import MessageError
from msl_network.messages import DISCONNECT, Failure, Request, check_names, check_uid

from .. import readers  # noqa: TID252 - the tests are not installed


def check(data: bytes) -> None:
    """The input is a line of a Client."""
    line = data.replace(b"\n", b" ")
    codec = JsonLinesCodec()
    try:
        message = codec.decode_request(line)
        codec.encode(Failure(message="", requester="", uid=message.uid if isinstance(message, Request) else ""))
        if not isinstance(message, Request):
            assert "result" in _object(line)
            return
        args, kwargs = codec.decode_values(message)
        sent = codec.encode_request(message, "A[h:1]")
    except MessageError as error:
        json.loads(codec.encode(Failure(message=error.wire_text(), requester="A[h:1]", uid=error.uid)).decode())
        assert len(line) > 1000 or not _is_fine(line)
        return
    assert sent.endswith(b"\r\n")
    assert sent.count(b"\n") == 1
    read = readers.service(sent)
    assert read["requester"] == "A[h:1]"
    assert readers.same([args, kwargs], [read["args"], read["kwargs"]])
    meant = _object(line)
    if meant:
        meant = {"args": [], "kwargs": {}, "uid": "", "service": "", **meant}
        assert all(readers.same(read[key], meant[key]) for key in ("args", "kwargs", "uid", "service", "attribute"))


def _object(line: bytes) -> dict[str, Any]:
    """Return the JSON object that 1.0 would see; an empty one if the line is something else."""
    try:
        value = json.loads(line.decode().removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_fine(line: bytes) -> bool:
    """Whether a short line is a request that 1.0 would forward, and that we promise to forward."""
    value = _object(line)
    attribute, uid = value.get("attribute"), value.get("uid", "")
    service = value.get("service", "" if attribute == DISCONNECT else None)
    if not isinstance(attribute, str) or not isinstance(service, str):
        return False
    if not isinstance(value.get("args", []), list) or not isinstance(value.get("kwargs", {}), dict):
        return False
    try:
        check_uid(uid)
        check_names(Request(service=service, attribute=attribute))
        json.dumps([service, attribute, uid], ensure_ascii=False).encode()
    except (MessageError, UnicodeEncodeError):
        return False
    return True
