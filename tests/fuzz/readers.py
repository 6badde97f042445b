"""What the readers of MSL-Network 1.0 do with a line, in the same order.

Whatever is raised here would end a Service or a Client of 1.0, or leave a caller without an answer for ever.
"""

from __future__ import annotations

import json
from typing import Any


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: NaN is the same as NaN, 1 is not the same as 1.0 or true."""
    return repr(one) == repr(other)


def service(line: bytes) -> dict[str, Any]:
    """Read a request as `Service._handle_requests` does, and write a reply to it; return the request."""
    request: dict[str, Any] = json.loads(line.decode())
    if sorted(request) != ["args", "attribute", "error", "kwargs", "requester", "service", "uid"]:
        raise KeyError(*request)
    if request["error"] is not False:
        raise ValueError("an error is logged, and never answered")
    fields = {"args": list, "attribute": str, "kwargs": dict, "requester": str, "service": str}
    if not all(isinstance(request[key], kind) for key, kind in fields.items()):
        raise TypeError(line)
    if request["uid"] == "notification":
        raise ValueError("its reply would be taken for a notification")
    reply = {"error": False, "requester": request["requester"], "result": None, "uid": request["uid"]}
    json.dumps(reply, ensure_ascii=False, allow_nan=False).encode()
    return request


def client(line: bytes, *uids: object) -> Any:
    """Read a line as `Client._handle_responses` does, while requests with these uids wait; return the reply."""
    waiting = dict.fromkeys(uids)
    response = json.loads(line.decode())
    if response["uid"] == "":
        raise ValueError("it would be taken for the answer to another request")
    is_waited_for = response["uid"] in waiting
    if response["error"]:
        "\n".join([*response["traceback"], response["message"]])
        if not is_waited_for:
            raise LookupError(response["uid"])
    elif is_waited_for:
        response["result"]
    elif response["uid"] == "notification":
        args, kwargs = response["result"]
        _handler(response["service"], *args, **kwargs)
    else:
        raise LookupError(response["uid"])
    return response


def _handler(self: object, *args: object, **kwargs: object) -> None:
    """Stand for a method ``notification_handler(self, *args, **kwargs)``."""
