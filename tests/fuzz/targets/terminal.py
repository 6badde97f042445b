"""Whatever is typed has a meaning that every Service can read, or is refused with a MessageError."""

from __future__ import annotations

import json

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import MessageError
from msl_network.messages import MANAGER, Failure, Request
from msl_network.terminal import parse_identity, parse_request

from .. import readers  # noqa: TID252 - the tests are not installed


def check(data: bytes) -> None:
    """The input is what somebody typed."""
    text = data.decode(errors="replace")
    identity = parse_identity(text)
    assert identity is None or (identity["type"] == "client" and identity["name"])
    json.dumps(identity)
    codec = JsonLinesCodec()
    try:
        request = parse_request(text)
    except MessageError as error:
        codec.encode(Failure(message=error.wire_text(), requester="A[h:1]", uid=error.uid))
        return
    assert request.uid == ""
    codec.decode_values(request)
    if request.service != MANAGER:
        _forward(codec, request)


def _forward(codec: JsonLinesCodec, request: Request) -> None:
    try:
        line = codec.encode_request(request, "A[h:1]")
    except MessageError as error:
        assert "\\ud" in json.dumps([request.service, request.attribute])
        assert error.uid == ""  # noqa: PT017
        return
    read = readers.service(line)
    assert (read["service"], read["attribute"]) == (request.service, request.attribute)
