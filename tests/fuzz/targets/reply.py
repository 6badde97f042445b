"""What a Service sent is refused with a MessageError, or can be read by every Client that it is forwarded to."""

from __future__ import annotations

import json

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import MessageError
from msl_network.messages import NOTIFICATION_UID, Failure, MendedReply, Request
from msl_network.wire import line_end

from .. import readers  # noqa: TID252 - the tests are not installed


def check(data: bytes) -> None:
    """The input is a line of a Service; it is forwarded as the router does."""
    line = data.replace(b"\n", b" ")
    codec = JsonLinesCodec()
    try:
        reply = codec.decode_reply(line)
        if isinstance(reply, Request):
            return
        if reply.uid == NOTIFICATION_UID:
            sent = reply.line.rstrip() if isinstance(reply, MendedReply) else line
            notification = codec.decode_notification(sent)
            if not notification.service:  # not in the name of the Service, so it is dropped
                return
            sent += line_end(sent)
        else:
            notification = None
            sent = reply.line if isinstance(reply, MendedReply) else line + line_end(line)
    except MessageError as error:
        json.loads(codec.encode(Failure(message=error.wire_text(), requester="S[h:1]", uid=error.uid)).decode())
        return
    assert sent.endswith(b"\r\n")
    assert sent.count(b"\n") == 1
    if not isinstance(reply.uid, str) or not reply.uid:
        json.loads(sent.decode())  # no Client of 1.0 has such a request
        return
    read = readers.client(sent, *(() if notification else (reply.uid,)))
    assert readers.same(read["error"], reply.error)
    assert readers.same(read["uid"], reply.uid)
    assert readers.same(read.get("requester", ""), reply.requester)
    assert readers.same(read.get("service", ""), notification.service if notification else reply.service)
    if notification:
        args, kwargs = notification.result
        assert readers.same(json.loads(bytes(args).decode()), read["result"][0])
        assert readers.same(
            {key: json.loads(bytes(value).decode()) for key, value in kwargs.items()}, read["result"][1]
        )
