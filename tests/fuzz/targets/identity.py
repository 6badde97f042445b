"""Who a peer says it is can be told to every other peer, or is refused with an IdentityError."""

from __future__ import annotations

import json

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import IdentityError, MessageError
from msl_network.messages import Failure, Identity, Result
from msl_network.registry import Registry

from .. import readers  # noqa: TID252 - the tests are not installed


def check(data: bytes) -> None:
    """The input is the answer of a peer, as JSON."""
    codec = JsonLinesCodec()
    try:
        answer = codec.decode_answer(b'{"result":%s}' % data.replace(b"\n", b" "))
        identity = Identity.parse(None if answer is None else answer.value)
    except (IdentityError, MessageError) as error:
        json.loads(codec.encode(Failure(message=error.wire_text(), requester="Manager[h:1]")).decode())
        assert len(error.wire_text()) < 2000  # noqa: PT017 - also the log gets it
        return
    registry: Registry[None] = Registry(max_calls=1)
    if identity.type == "client":
        client = registry.join_client(None, identity, "h:1")
        known = {"clients": {client.name: client.describe()}}
    else:
        service = registry.join_service(None, identity, "h:1")
        known = {"services": {service.name: service.describe() | {"docs": identity.docs}}}
    line = codec.encode(Result(result=known, requester="C[h:2]", uid="7"))
    assert readers.same(readers.client(line, "7")["result"], known)
