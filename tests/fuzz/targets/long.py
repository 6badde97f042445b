"""A line that is read piece by piece means what it means when it is read at once, or is refused when that is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network import long_line
from msl_network.errors import MessageError
from msl_network.messages import Answer, MendedReply, Request

from .. import readers  # noqa: TID252 - the tests are not installed

if TYPE_CHECKING:
    from msl_network.long_line import LongLine


def check(data: bytes) -> None:
    """The input is a line; the network cuts where 0xff stands, and where 0xfe stands it is a byte that is no text."""
    pieces = [piece.replace(b"\n", b" ").replace(b"\xfe", b"\xff") for piece in data.split(b"\xff") if piece]
    line = b"".join(pieces)
    codec = JsonLinesCodec()
    with patch.multiple(long_line, PIECE=1, IN_A_TEXT=8):
        long = codec.long_line()
        for piece in pieces:
            long.feed(piece)
        long.close()
    assert long.size == len(line)
    try:
        short = long.short()
        codec._check(short)
    except MessageError:
        assert not _is_object(codec, line)
        return
    assert _is_object(codec, line)
    assert b"".join(long.whole()) == line
    assert b"".join(long.restore(short)) == line
    for read in (_request, _reply):
        meant = read(codec, short, long)
        assert meant is None or meant == read(codec, line, None)


def _is_object(codec: JsonLinesCodec, line: bytes) -> bool:
    """Whether the line, read at once, is an object that may be forwarded."""
    try:
        codec._check(line)
    except MessageError:
        return False
    return True


def _request(codec: JsonLinesCodec, line: bytes, long: LongLine | None) -> Any:
    """Return what a Service reads, as text, or why there is nothing to read."""
    try:
        request = codec.decode_request(line)
        if not isinstance(request, Request):
            return Answer
        if long is not None and long.conceals(request.service, request.attribute, request.uid):
            return None  # the router refuses it: a name that is cut is too long
        sent = codec.encode_request(request, "A[h:1]")
    except MessageError as error:
        return type(error), error.uid  # its text may name what stands for a piece
    return repr(readers.service(_restored(sent, long)))


def _reply(codec: JsonLinesCodec, line: bytes, long: LongLine | None) -> Any:
    """Return what a Client reads, as text, and what it is routed by, or why there is nothing to read."""
    try:
        reply = codec.decode_reply(line)
    except MessageError as error:
        return type(error), error.uid  # its text may name what stands for a piece
    if isinstance(reply, Request):
        return (
            None
            if long is not None and long.conceals(reply.service, reply.attribute)
            else repr((reply.service, reply.attribute))
        )
    routed = (reply.error, reply.requester, reply.service, reply.uid)
    if long is not None and long.conceals(*routed):
        return None  # nobody has such a name, so it is dropped
    if reply.error:  # the router refuses a long one
        return repr(routed)
    sent = reply.line.rstrip() if isinstance(reply, MendedReply) else line
    return repr((routed, json.loads(_restored(sent, long).decode())))


def _restored(text: bytes, long: LongLine | None) -> bytes:
    return text if long is None else b"".join(long.restore(text))
