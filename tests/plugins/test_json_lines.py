from __future__ import annotations

import json
import math
import random
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msl_network_plugins.json_lines import MAX_DEPTH, MAX_DIGITS, JsonLines, JsonLinesCodec

from msl_network import Answer, Failure, MendedReply, MessageError, Prompt, Reply, Request, Result
from msl_network.testing import check_plugin

CODEC = JsonLinesCodec()

TEXT = st.text(st.characters(exclude_categories=[]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda values: st.lists(values) | st.dictionaries(TEXT, values),
    max_leaves=8,
)
NAMES = st.sampled_from(["Echo", "Manager", "echo", "__disconnect__", "notification", "x\ud800", ""]) | TEXT
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(JSON) | JSON,
        "attribute": NAMES | JSON,
        "error": st.booleans() | JSON,
        "kwargs": st.dictionaries(TEXT, JSON) | JSON,
        "requester": NAMES | JSON,
        "result": st.tuples(st.lists(JSON), st.dictionaries(TEXT, JSON)) | JSON,
        "service": NAMES | JSON,
        "uid": NAMES | JSON,
        "other": JSON,
    },
)
REQUESTS = st.fixed_dictionaries(
    {"service": NAMES, "attribute": NAMES},
    optional={
        "args": st.lists(JSON),
        "kwargs": st.dictionaries(TEXT, JSON),
        "uid": TEXT | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans(),
        "requester": JSON,
        "error": JSON,
    },
)


def spell(value: object, is_ascii: bool, end: str = "\r") -> bytes:
    text = json.dumps(value, ensure_ascii=is_ascii)
    return f"{text}{end}".encode(errors="surrogatepass")


LINES = (
    st.binary()
    | st.text().map(str.encode)
    | st.builds(spell, JSON | MESSAGES | REQUESTS, st.booleans(), st.sampled_from(["", "\r", " \r", "x"]))
)


def request(**fields: Any) -> bytes:
    return spell({"service": "Echo", "attribute": "echo", "uid": "7", **fields}, is_ascii=True)


def raw(payload: str, uid: str = '"7"') -> bytes:
    return f'{{"service": "Echo", "attribute": "echo", "uid": {uid}, "args": {payload}}}\r'.encode()


def refused(line: bytes, decode: str = "decode_request") -> MessageError:
    with pytest.raises(MessageError) as info:
        getattr(CODEC, decode)(line)
    return info.value


def decoded(line: bytes) -> Request:
    message = CODEC.decode_request(line)
    assert isinstance(message, Request)
    return message


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; NaN is the same as NaN, 1 is not the same as 1.0 or true."""
    return repr(one) == repr(other)


# Any line


@pytest.mark.no_cover  # which takes six times as long; others run the same lines
@given(LINES)
@example(b"")
@example(b'{"uid":"NaN"}')
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
@example(b'{"uid": [1, {}], "attribute": 1}')
@example(b'{"\x00":1}'.decode().encode("utf-16"))
def test_any_line(line: bytes) -> None:
    """5. Whatever a peer sends is a message or a MessageError, whose uid can be sent back."""
    for name in ("decode_request", "decode_reply", "decode_answer", "decode_notification"):
        try:
            getattr(CODEC, name)(line)
        except MessageError as error:
            answer = CODEC.encode(Failure(message=error.wire_text(), requester="x", uid=error.uid))
            json.loads(answer, parse_constant=pytest.fail)  # NaN is no JSON


USUAL = [
    request(),
    request(uid=""),
    request(args=["a\n\u00e9"], kwargs={"x": {}}),
    spell({"service": "Manager", "attribute": "link", "args": ["Echo"], "uid": "1"}, is_ascii=True),
    spell({"error": False, "requester": "x[y:1]", "result": [1.5, {}], "uid": "7"}, is_ascii=True),
    spell({"error": False, "result": [[], {}], "service": "Echo", "uid": "notification"}, is_ascii=True),
]
UNUSUAL = [
    b"",
    b"\r",
    b"{}\r",
    b"{}{}\r",
    b'{"service": "Echo", "attribute": "echo"}{"service": "Echo", "attribute": "echo"}\r',
    b'{"service": "Echo", "attribute": "echo", "kwargs":{}\r',
    b'{"result": 1, "error": false, "uid": {}\r',
    b"}\r",
    b'{"service": "Echo", "attribute": "echo\x7f"}\r',
    request(attribute="echo\x7f"),
    request(attribute="\x01"),
    request(service="\u202e"),
    request(uid="notification"),
    request(uid="n" * 257),
    request(uid=1),
    request(error=True),
    request(args=["x" * 2000]),
    request()[:-1],
    spell({"error": True, "message": "no", "traceback": [], "result": None, "uid": "7"}, is_ascii=True),
    spell({"error": 0, "result": None, "uid": "7"}, is_ascii=True),
    spell({"result": None, "uid": "7"}, is_ascii=True),
    b"echo help\r",
]


@given(st.lists(st.sampled_from(USUAL + UNUSUAL) | LINES.filter(lambda line: b"\n" not in line), min_size=1))
@example([b'{"error":false,"result":1}{"error":false,"result":2,"uid":{}\r', b'{"error":false,"result":3}\r'])
def test_many_lines_at_once(lines: list[bytes]) -> None:
    """11. Many lines are read at once as they are one by one, each line a message; or not, and then one by one."""
    for at_once, alone in ((CODEC.decode_requests, CODEC.decode_request), (CODEC.decode_replies, CODEC.decode_reply)):
        messages = at_once(lines)
        if messages is not None:
            assert list(map(told, messages)) == [told(alone(line)) for line in lines]


@given(
    st.lists(
        st.sampled_from(
            [
                *USUAL[:4],
                request(args=[["}}"]], kwargs={"a": "}}"}),
                request(args=5),
                request(kwargs=[]),
                request(kwargs="}"),
            ]
        ),
        min_size=1,
    ),
    st.sampled_from([(), ("args", msgspec.Raw(b"[1,\n2]")), ("uid", "\ud800")]),
)
def test_many_requests_are_written_at_once(lines: list[bytes], odd: tuple[str, Any] | tuple[()]) -> None:
    """11. They are written as one by one; or not, if one of them cannot be, and whoever sent it is to be told."""
    requests = [decoded(line) for line in lines]
    if odd:  # which another encoding may have read
        setattr(requests[0], *odd)
    text = CODEC.encode_requests(requests, "a[b:1]")
    try:
        alone = [CODEC.encode_request(one, "a[b:1]") for one in requests]
    except MessageError:
        assert text is None
    else:
        assert text == (None if odd else b"".join(alone))


def told(message: Any) -> dict[str, object]:
    """Return all that a message says."""
    fields = ((name, getattr(message, name)) for name in message.__struct_fields__)
    return {name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in fields}


@pytest.mark.parametrize("end", [b"\r", b""])
def test_usual_lines_at_once(end: bytes) -> None:
    """What well-behaved peers send, and nothing else, is read at once."""
    lines = [line.removesuffix(b"\r") + end for line in USUAL]
    assert CODEC.decode_requests(lines[:4] * 20) is not None
    assert CODEC.decode_replies(lines[4:] * 20) is not None
    for line in [line.removesuffix(b"\r") + end for line in UNUSUAL[:-1]] + UNUSUAL[-1:]:
        usual = CODEC.decode_requests([*lines[:4], line]), CODEC.decode_replies([*lines[4:], line])
        assert usual == (None, None) or line.rstrip() == request().rstrip()


@given(REQUESTS, st.booleans())
def test_a_request_that_passes(message: dict[str, Any], is_ascii: bool) -> None:
    """11. It is written with the same payload and uid, the true requester, and nothing that a peer added."""
    try:
        line = CODEC.encode_request(decoded(spell(message, is_ascii)), "a[b:1]")
    except MessageError:
        unusual = json.dumps([message["attribute"], message["service"], message.get("uid")])
        is_printable = (message["attribute"] + message["service"]).isprintable()
        assert (
            "notification" in unusual or "\\ud" in unusual or "Infinity" in unusual or not (is_ascii and is_printable)
        )
        return
    assert line.endswith(b"}\r\n")
    assert line.count(b"\n") == 1
    written = json.loads(line)
    assert sorted(written) == ["args", "attribute", "error", "kwargs", "requester", "service", "uid"]
    assert same(written["args"], message.get("args", []))
    assert same(written["kwargs"], message.get("kwargs", {}))
    assert same(written["uid"], message.get("uid", ""))
    assert (written["service"], written["attribute"]) == (message["service"], message["attribute"])
    assert (written["requester"], written["error"]) == ("a[b:1]", False)


@given(st.binary() | st.text('[]{},:0123456789.eE+-"\\ nulltrefasNaInfy\t\x01\x7f\xe9').map(str.encode))
def test_any_payload(payload: bytes) -> None:
    """11. Python's json reads whatever is forwarded: no payload ends a Service of 1.0."""
    try:
        message = decoded(b'{"service": "Echo", "attribute": "echo", "args": [%s]}\r' % payload)
    except MessageError:
        return
    assert isinstance(json.loads(CODEC.encode_request(message, "x").decode())["args"], list)


# Requests


def test_a_request_is_forwarded_byte_for_byte() -> None:
    """19. The payload is not read and written anew: numbers and texts stay as they were spelled."""
    line = CODEC.encode_request(decoded(raw('[1.10, 1E5, "\\u00e9\\/", 12345678901234567890123]')), "x[y:1]")
    assert line == (
        b'{"args":[1.10, 1E5, "\\u00e9\\/", 12345678901234567890123],"attribute":"echo","error":false,'
        b'"requester":"x[y:1]","service":"Echo","uid":"7","kwargs":{}}\r\n'
    )


def test_what_a_request_may_lack() -> None:
    """Arguments and uid have defaults; a good-bye needs no Service."""
    assert decoded(b'{"service": "Echo", "attribute": "echo"}') == Request(service="Echo", attribute="echo")
    assert decoded(b'{"attribute": "__disconnect__"}') == Request(service="", attribute="__disconnect__")


@pytest.mark.parametrize("end", [b"", b"\r", b" \r", b"\t"])
def test_a_request_with_nan(end: bytes) -> None:
    """NaN and Infinity are no JSON, but Python writes them, and they pass."""
    args, kwargs = CODEC.decode_values(decoded(raw("[NaN, -Infinity, 1.5]").rstrip() + end))
    assert math.isnan(args[0])
    assert (args[1:], kwargs) == ([-math.inf, 1.5], {})


def test_a_mark_before_the_first_line() -> None:
    """A writer of Windows may put a byte order mark before its first line."""
    assert decoded(b"\xef\xbb\xbf" + request()).attribute == "echo"
    assert CODEC.decode_answer(b'\xef\xbb\xbf{"result": 1}') == Answer(1)


def test_typed_text() -> None:
    """A line that is no JSON is what a person typed, also with a name in quotes."""
    assert bytes(decoded(b"Echo echo 1 'a b'\r").args) == b'[1, "a b"]'
    assert decoded(b'"My Service" get\r').service == "My Service"
    assert decoded("Größe messen".encode()).service == "Größe"


@pytest.mark.parametrize(
    ("line", "text", "uid"),
    [
        (b"null", "TypeError: a message must be a JSON object, found NoneType", ""),
        (b'"text"', "TypeError: a message must be a JSON object, found str", ""),
        (b"[]", "TypeError: a message must be a JSON object, found list", ""),
        (b"{}", """KeyError: "the message has no 'attribute'\"""", ""),
        (b'{"attribute": "x", "uid": 5}', """KeyError: "the message has no 'service'\"""", 5),
        (b"{", "JSONDecodeError: the line is not valid JSON: Expecting property name", ""),
        (b'{"uid": "7", "attribute": "a\x01"}', "JSONDecodeError: the line is not valid JSON: Invalid", ""),
        (request(attribute=1), "TypeError: 'attribute' must be a JSON string, found int", "7"),
        (request(attribute=1, uid=[]), "TypeError: the uid must be a string, found list", ""),
        (request(uid=2**64), "ValueError: the uid is an integer of 65 bits, the limit is 64", 2**64),
        (
            request(service="a" * 1025),
            "ValueError: 'service' and 'attribute' have 1025 and 4 characters, the limit",
            "7",
        ),
        (request(attribute="a" * 1025, args=[math.nan]), "ValueError: 'service' and 'attribute' have 4 and 1025", "7"),
        (b"x" * 1025 + b" echo", "ValueError: 'service' and 'attribute' have 1025 and 4 characters", ""),
        (request(service=None), "TypeError: 'service' must be a JSON string, found NoneType", "7"),
        (request(args=math.nan), "TypeError: 'args' must be a JSON array", "7"),
        (request(kwargs=[math.nan]), "TypeError: 'kwargs' must be a JSON object", "7"),
        (request(uid={}), "TypeError: the uid must be a string, found dict", ""),
        (request(uid=math.nan), "TypeError: the uid must be a string, found nan", ""),
        (request(uid="notification"), "ValueError: the uid 'notification' is reserved", "notification"),
        (raw('["\xff"]').decode().encode("latin-1"), "ValueError: the line is not UTF-8: invalid start", "7"),
        (b"\xff\xfe", "ValueError: the line is not UTF-8: invalid start byte at byte 0", ""),
        (b"\r", "ValueError: an empty line", ""),
    ],
)
def test_a_request_that_is_wrong(line: bytes, text: str, uid: object) -> None:
    """It is refused with the class that 1.0 would show, and its uid as far as it is known."""
    error = refused(line)
    assert error.wire_text().startswith(text)
    assert error.uid == uid


@pytest.mark.parametrize("args", ["{}", "null", "1", '"[]"', "[1] ", "[]"])
@pytest.mark.parametrize("kwargs", ["[]", "null", "true", '"{}"', "[{}]", " { } ", "{}"])
def test_a_payload_of_another_kind(args: str, kwargs: str) -> None:
    """Arguments are an array and keyword arguments an object: nobody forwards or reads a request that is different."""
    line = f'{{"service": "Echo", "attribute": "echo", "args": {args}, "kwargs": {kwargs}, "uid": "7"}}\r'
    message = decoded(line.encode())
    problem = "" if args.startswith("[") else "'args' must be a JSON array"
    if not problem and kwargs.strip()[0] != "{":
        problem = "'kwargs' must be a JSON object"
    if problem:
        with pytest.raises(MessageError, match=problem) as forwarding:
            CODEC.encode_request(message, "x")
        with pytest.raises(MessageError, match=problem) as reading:
            CODEC.decode_values(message)
        for info in (forwarding, reading):
            assert (info.value.uid, info.value.wire_name) == ("7", "TypeError")
    else:
        sent = json.loads(CODEC.encode_request(message, "x"))
        assert (sent["args"], sent["kwargs"]) == CODEC.decode_values(message) == (json.loads(args), {})


def test_an_attribute_that_cannot_be_written() -> None:
    """A lone surrogate outside of the payload is refused: no UTF-8 has it. Inside, its escape passes."""
    with pytest.raises(MessageError, match="cannot be encoded") as info:
        CODEC.encode_request(Request(service="Echo", attribute="\ud800", uid=3), "x")
    assert info.value.uid == 3
    assert b'["\\ud800"]' in CODEC.encode_request(decoded(request(args=["\ud800"])), "x")


def test_an_answer_that_was_not_asked_for() -> None:
    """A line of a Client with a result is an answer, whatever else it has."""
    assert CODEC.decode_request(b'{"result": [1], "uid": ""}') == Answer([1])


# What Python cannot read


@pytest.mark.parametrize(
    "payload",
    [
        "9" * (MAX_DIGITS + 1),
        "-" + "1" * 5000,
        '"' + "x" * 3000 + '\\"", ' + "1" * (MAX_DIGITS + 1),
        "1, " * 50_000 + "7" * (MAX_DIGITS + 1) + ", 1" * 50_000,
    ],
    ids=["first", "negative", "after a text", "in the middle"],
)
def test_an_integer_that_is_too_long(payload: str) -> None:
    """Python's json would raise ValueError on it, so it is refused with the uid of the request."""
    error = refused(raw(f"[{payload}]"))
    assert error.wire_text() == "ValueError: an integer has more than 4300 digits"
    assert error.uid == "7"
    assert (
        refused(
            b'{"requester": "a", "uid": "7", "error": false, "result": [%s]}' % payload.encode(), "decode_reply"
        ).uid
        == "7"
    )
    assert refused(raw(f"[NaN, {payload}]")).uid == ""
    assert refused(raw("[]", uid="9" * 5000)).uid == ""


@pytest.mark.parametrize(
    "payload",
    [
        "9" * MAX_DIGITS,
        "-" + "9" * MAX_DIGITS,
        "0." + "1" * 5000,
        "1" * 5000 + ".5",
        "1" * 5000 + "e-5000",
        '"' + "1" * 5000 + '"',
        '"\\"' + "1" * 5000 + '"',
        ", ".join(["12"] * 20_000),
        ", ".join(["0123456789" * 3 + "0"] * 500).replace("0123", "123"),
    ],
    ids=["limit", "negative", "fraction", "float", "exponent", "text", "quote", "table", "step"],
)
def test_digits_that_are_no_long_integer(payload: str) -> None:
    """Texts, fractions and tables of numbers pass, however many digits they have."""
    line = CODEC.encode_request(decoded(raw(f"[{payload}]")), "x")
    assert json.loads(line)["args"] == json.loads(f"[{payload}]")


@given(st.lists(st.integers(1, 6000), min_size=1, max_size=5), st.sampled_from([", ", ".0, ", '", "', "e1, "]))
def test_integers_of_any_length(lengths: list[int], separator: str) -> None:
    """A request passes if and only if Python can read it."""
    line = raw(f"[{separator.join('1' * length for length in lengths)}]")
    try:
        json.loads(line)
    except ValueError:
        assert refused(line).uid in {"7", ""}
    else:
        assert decoded(line).uid == "7"


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


@pytest.mark.parametrize(
    ("payload", "passes"),
    [
        (nested(MAX_DEPTH - 1), True),
        (nested(MAX_DEPTH), False),
        (nested(MAX_DEPTH * 2), False),
        (nested(100_000), False),
        ('[{"a": ' * 249 + "1" + "}]" * 249, True),
        ('[{"a": ' * 250 + "1" + "}]" * 250, False),
        (f"[{', '.join([nested(400)] * 10)}]", True),
        (f'["{"]" * 600}", {nested(600)}]', False),
        (f'["{"[" * 600}", "\\"{"[" * 600}"]', True),
        (json.dumps([[random.random(), 1] for _ in range(5000)]), True),
        (json.dumps([{"a": [[[[[[[[[[1]]]]]]]]]]} for _ in range(500)]), True),
    ],
)
def test_nested_json(payload: str, passes: bool) -> None:
    """JSON that is nested too deeply for a reader is refused, other JSON with many brackets passes."""
    reply = b'{"requester": "a", "uid": "7", "result": %s}' % payload.encode()
    if passes:
        assert json.loads(CODEC.encode_request(decoded(raw(payload)), "x"))["args"] == json.loads(payload)
        assert isinstance(CODEC.decode_reply(reply), Reply)
        return
    for line, decode in [(raw(payload), "decode_request"), (reply, "decode_reply")]:
        error = refused(line, decode)
        assert error.wire_text().startswith("RecursionError: the JSON is nested too deeply")
        assert error.uid in {"7", ""}
    answer = b'{"result": %s}' % payload.encode()
    assert "nested too deeply" in str(refused(answer, "decode_answer"))


@pytest.mark.parametrize("decode", ["decode_request", "decode_reply", "decode_answer", "decode_notification"])
@pytest.mark.parametrize("digits", [b"", b"0" * 5000], ids=["", "digits"])
def test_a_text_that_never_ends(decode: str, digits: bytes) -> None:
    """What looks at brackets and digits does so in valid JSON only; else 64 KiB of a stranger took ten seconds."""
    line = (b"[" * 300 + digits + b'"\\' * 32768)[: 64 * 1024]
    start = process_time()
    if decode == "decode_answer":
        assert CODEC.decode_answer(line) == Answer(line.decode())
    else:
        refused(line, decode)
    assert process_time() - start < 2


def test_typed_text_that_is_nested() -> None:
    """The same limit holds for what a person types: a Service of 1.0 dies of JSON that is deeper than it can read."""
    depth = MAX_DEPTH - 1
    assert json.loads(bytes(decoded(f"E e {nested(depth)}".encode()).args)) == [json.loads(nested(depth))]
    for line in (f"E e {nested(MAX_DEPTH)}", f"E e x={nested(900)}"):
        assert refused(line.encode()).wire_text().startswith("RecursionError: the JSON is nested too deeply")


# Replies and notifications


def test_a_reply() -> None:
    """Only what routes it is read."""
    reply = CODEC.decode_reply(b'{"error": false, "requester": "a[b:1]", "result": [1 ], "uid": 5}\r')
    assert isinstance(reply, Reply)
    assert (bytes(reply.result), reply.requester, reply.uid, reply.service) == (b"[1 ]", "a[b:1]", 5, "")


def test_a_reply_with_nan() -> None:
    """Python's NaN is routed like any result, with requester and uid."""
    reply = CODEC.decode_reply(b'{"requester": "a", "result": [NaN, Infinity], "uid": "7", "service": "S"}')
    assert isinstance(reply, Reply)
    assert (reply.requester, reply.uid, reply.service) == ("a", "7", "S")


def test_a_service_says_good_bye() -> None:
    """In JSON with its name, as 1.0 does, or typed."""
    for line in (b'{"service": "Echo", "attribute": "__disconnect__"}', b"disconnect"):
        message = CODEC.decode_reply(line)
        assert isinstance(message, Request)
        assert message.attribute == "__disconnect__"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"result": NaN, "requester": 1, "uid": "7"}', "TypeError: 'requester' must be a JSON string"),
        (b'{"result": 1, "requester": [], "uid": "7"}', "TypeError: 'requester' must be a JSON string"),
        (b'{"result": 1, "service": 1, "uid": "7"}', "TypeError: 'service' must be a JSON string"),
        (b'{"result": "\xff", "uid": "7", "error": false}', "ValueError: the line is not UTF-8"),
        (b'{"uid": "7"}', "KeyError: \"the message has no 'attribute'"),
    ],
)
def test_a_reply_that_is_wrong(line: bytes, text: str) -> None:
    """It is refused with its uid."""
    error = refused(line, "decode_reply")
    assert error.wire_text().startswith(text)
    assert error.uid == "7"


@pytest.mark.parametrize("value", ["1", "NaN"])
def test_a_notification(value: str) -> None:
    """It has positional and keyword arguments for the handlers."""
    line = f'{{"result": [[{value}], {{"x": {value}}}], "service": "Echo", "uid": "notification"}}'.encode()
    notification = CODEC.decode_notification(line)
    args, kwargs = notification.result
    assert notification.service == "Echo"
    assert bytes(args) == f"[{value}]".encode()
    assert {key: bytes(item) for key, item in kwargs.items()} == {"x": value.encode()}


def test_a_notification_for_self() -> None:
    """9. A keyword argument that is called self would end the Clients of 1.0, whose handlers are methods."""
    error = refused(b'{"result": [[], {"self": 1}], "service": "Echo"}', "decode_notification")
    assert "keyword argument 'self'" in str(error)


@pytest.mark.parametrize(
    ("line", "mended"),
    [
        (b'{"result": 1, "uid": "7"}', {"error": False}),
        (b'{"result": 1, "uid": "7", "error": null}', {"error": False}),
        (b'\xef\xbb\xbf{"result": 1, "uid": "7", "error": false}', {"error": False}),
        (b'{"result": null, "uid": "7", "error": 1}', {"error": True, "traceback": []}),
        (b'{"result": null, "uid": "7", "error": true, "message": "x"}', {"message": "x", "traceback": []}),
        (b'{"result": null, "uid": "7", "error": true, "message": 5, "traceback": "t"}', {"traceback": ["t"]}),
        (b'{"result": [[], {}], "uid": "notification", "error": true, "service": "E"}', {"error": False}),
    ],
)
def test_a_reply_that_lacks_something(line: bytes, mended: dict[str, Any]) -> None:
    """8. What would end the Clients of 1.0 is mended before it is forwarded."""
    reply = CODEC.decode_reply(line)
    assert isinstance(reply, MendedReply)
    found = json.loads(reply.line)
    assert {key: found[key] for key in mended} == mended
    assert isinstance(found["error"], bool)
    assert not found["error"] or isinstance(found["message"], str)
    assert reply.line.endswith(b"}\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b'{"error": false, "result": 1, "uid": "7"}',
        b'{"error": true, "result": null, "uid": "7", "message": "KeyError: x", "traceback": ["a"]}',
        b'{"error": false, "result": NaN, "uid": "7"}',
    ],
)
def test_a_reply_that_is_whole(line: bytes) -> None:
    """It is forwarded as it is."""
    assert type(CODEC.decode_reply(line)) is Reply


@pytest.mark.parametrize("result", ["1", "[]", "[[]]", "[[], {}, 1]", "[{}, []]", "[[], null]", "null"])
def test_a_notification_that_is_wrong(result: str) -> None:
    """9. A result that is not [[...], {...}] would end the Clients of 1.0 that read it."""
    error = refused(f'{{"result": {result}, "service": "Echo"}}'.encode(), "decode_notification")
    assert str(error) == "the result of a notification must be [[arguments], {keyword arguments}]"


# Answers


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b'{"result": "secret"}', Answer("secret")),
        (b'{"result": null, "requester": null, "uid": "", "error": false}\r', Answer(None)),
        (b'{"result": {"type": "client"}, "service": ""}', Answer({"type": "client"})),
        (b"my password \r", Answer("my password")),
        (b"123", Answer("123")),
        (b"[1]", Answer("[1]")),
        (b'"quoted"', Answer('"quoted"')),
        (b"NaN", Answer("NaN")),
        ("Größe".encode(), Answer("Größe")),
        (b"", Answer("")),
        (b'{"service": "Echo", "attribute": "echo"}', None),
        (b'{"result": 1, "service": "Echo"}', None),
        (b"{}", None),
        (b"{ no JSON", None),
    ],
)
def test_an_answer(line: bytes, answer: Answer | None) -> None:
    """An answer is a line with a result and without a Service, or what somebody typed."""
    assert CODEC.decode_answer(line) == answer


def test_an_answer_that_cannot_be_read() -> None:
    """Bytes that are no text are refused."""
    assert str(refused(b"\xff", "decode_answer")).startswith("the line is not UTF-8")
    assert "nested too deeply" in str(refused(b"[" * 100_000, "decode_answer"))


def test_the_arguments_of_a_request() -> None:
    """They become Python values when the Manager answers itself."""
    assert CODEC.decode_values(decoded(request(args=[1, "é"], kwargs={"a": None}))) == ([1, "é"], {"a": None})
    assert CODEC.decode_values(Request(service="Manager", attribute="x")) == ([], {})


@pytest.mark.parametrize("args", [b"[" * 100_000, b"[" + b"1" * 5000 + b"]"])
def test_arguments_that_cannot_be_read(args: bytes) -> None:
    """Whatever way they came, arguments that Python cannot read are refused with the uid."""
    template = Request(service="Manager", attribute="x")
    message = Request(service="Manager", attribute="x", args=type(template.args)(args), uid="7")
    with pytest.raises(MessageError, match="the arguments cannot be read") as info:
        CODEC.decode_values(message)
    assert info.value.uid == "7"


# The Manager's own


def test_what_the_manager_says() -> None:
    """Prompts, results and errors are byte for byte those of 1.0."""
    prompt = Prompt(attribute="password", requester="Manager[h:1]", args=("Manager[h:1]",))
    assert CODEC.encode(prompt) == (
        b'{"args": ["Manager[h:1]"], "attribute": "password", "error": false, "kwargs": {}, '
        b'"requester": "Manager[h:1]", "uid": ""}\r\n'
    )
    assert CODEC.encode(Result(result=["é", None], requester="a", uid=7)) == (
        b'{"error": false, "requester": "a", "result": ["\\u00e9", null], "uid": 7}\r\n'
    )
    assert CODEC.encode(Failure(message="ValueError: no", requester="a", uid="7")) == (
        b'{"error": true, "message": "ValueError: no", "requester": "a", "result": null, "traceback": [], '
        b'"uid": "7"}\r\n'
    )


@given(JSON, TEXT, st.none() | st.integers() | TEXT)
def test_python_reads_what_the_manager_says(result: Any, text: str, uid: object) -> None:
    """One line of ASCII, whatever it is about: also a lone surrogate is carried."""
    for message in (
        Result(result=result, requester=text, uid=uid),
        Failure(message=text, requester=text, uid=uid),
        Prompt(attribute=text, requester=text, args=(result,)),
    ):
        line = CODEC.encode(message)
        assert line.isascii()
        assert line.count(b"\n") == 1
        assert json.loads(line)["requester"] == text


def test_the_plugin() -> None:
    """It offers its encoding by name, one codec for all connections, and no other."""
    plugin = JsonLines()
    codec = plugin.make_codec("json_lines")
    assert isinstance(codec, JsonLinesCodec)
    assert codec.name == "json_lines"
    assert plugin.make_codec("json_lines") is codec
    assert plugin.make_codec("other") is None


def test_it_keeps_all_promises() -> None:
    """Those that every plugin has to keep."""
    assert "leaves_other_encodings" in check_plugin(JsonLines)
