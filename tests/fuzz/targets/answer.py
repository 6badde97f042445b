"""An answer to a prompt is what JSON says, or the text itself; a message of another kind is not taken for one."""

from __future__ import annotations

import json

from msl_network_plugins.json_lines import JsonLinesCodec

from msl_network.errors import MessageError

from .. import readers  # noqa: TID252 - the tests are not installed


def check(data: bytes) -> None:
    """The input is a line of a peer that was asked for something."""
    line = data.replace(b"\n", b" ")
    try:
        answer = JsonLinesCodec().decode_answer(line)
    except MessageError as error:
        assert error.uid == ""  # noqa: PT017
        error.wire_text()
        return
    text = line.decode().removeprefix("\ufeff").rstrip()
    try:
        value = json.loads(text)
    except ValueError:
        assert answer is None if text.lstrip().startswith("{") else answer is not None
        assert answer is None or answer.value == text
        return
    if not isinstance(value, dict):
        assert answer is not None
        assert answer.value == text
    elif "result" in value and not value.get("service"):
        assert answer is not None
        assert readers.same(answer.value, value["result"])
    else:
        assert answer is None
