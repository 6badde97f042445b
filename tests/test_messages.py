from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network.errors import IdentityError, MessageError
from msl_network.messages import (
    EMPTY_ARGS,
    EMPTY_KWARGS,
    MAX_NAME,
    MAX_UID,
    Identity,
    Reply,
    Request,
    check_names,
    check_uid,
    is_clean,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)
KEYS = st.sampled_from(["type", "name", "attributes", "max_clients", "language", "os", "other"])


def service(**fields: Any) -> dict[str, Any]:
    return {"type": "service", "name": "Echo", "attributes": {}, **fields}


def test_messages_cannot_change() -> None:
    """A message stays what it was when it was read; only who asks is written into a request."""
    request = Request(service="Echo", attribute="echo")
    request.requester = "c[h:1]"
    reply = Reply(result=msgspec.Raw(b"1"), error=False)
    with pytest.raises(AttributeError):
        reply.requester = "c[h:2]"  # type: ignore[misc]
    assert (request.args, request.kwargs, request.uid) == (EMPTY_ARGS, EMPTY_KWARGS, "")
    assert (bytes(EMPTY_ARGS), bytes(EMPTY_KWARGS)) == (b"[]", b"{}")
    assert Reply(result=msgspec.Raw(b"1"), error=False).requester == ""


def test_the_identity_of_a_client() -> None:
    """Type and name are all that a Client needs; what else it sends as a Service would is not kept."""
    identity = Identity.parse({"type": "CLIENT", "name": "A b", "attributes": {"x": 1}, "protocol": 2})
    assert identity == Identity(type="client", name="A b")
    assert (identity.language, identity.os, identity.max_clients) == ("unknown", "unknown", -1)
    assert Identity.parse({"type": "client", "name": "A", "language": None, "os": "Linux"}).os == "Linux"


@pytest.mark.parametrize(("given", "kept"), [(None, -1), (-7, -7), (0, 0), (5, 5), (5.0, 5), (10**30, 10**30)])
def test_the_identity_of_a_service(given: float | None, kept: int) -> None:
    """A Service has attributes, and a limit of Clients that LabVIEW may write as 5.0."""
    identity = Identity.parse(service(type="Service", attributes={"f": "(x)"}, max_clients=given))
    assert identity == Identity(type="service", name="Echo", attributes={"f": "(x)"}, max_clients=kept)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "TypeError: the identity must be a JSON object with 'type' and 'name', found NoneType"),
        ([], "TypeError: the identity must be a JSON object with 'type' and 'name', found list"),
        ("client", "TypeError: the identity must be a JSON object with 'type' and 'name', found str"),
        ({}, """KeyError: "the identity has no 'type'\""""),
        ({"type": "client"}, """KeyError: "the identity has no 'name'\""""),
        ({"type": "service", "name": "A"}, """KeyError: "the identity has no 'attributes'\""""),
        ({"type": 1, "name": "A"}, "TypeError: 'type' of the identity must be a JSON string, found int"),
        ({"type": "client", "name": 1}, "TypeError: 'name' of the identity must be a JSON string, found int"),
        (
            {"type": "spy", "name": "A"},
            'TypeError: Unknown connection type \'spy\'. Must be "client" or "service"',
        ),
        (
            {"type": "client", "name": ""},
            "TypeError: the name '' is empty or has control or surrogate characters",
        ),
        (
            service(attributes=[]),
            "TypeError: 'attributes' of the identity must be a JSON object, found list",
        ),
        (service(language=3), "TypeError: 'language' of the identity must be a JSON string, found int"),
        (service(os=[]), "TypeError: 'os' of the identity must be a JSON string, found list"),
        (service(max_clients=True), "TypeError: 'max_clients' of the identity must be an integer, found True"),
        (service(max_clients=1.5), "TypeError: 'max_clients' of the identity must be an integer, found 1.5"),
        (
            service(max_clients=float("inf")),
            "TypeError: 'max_clients' of the identity must be an integer, found inf",
        ),
        (service(max_clients="5"), "TypeError: 'max_clients' of the identity must be an integer, found '5'"),
    ],
)
def test_an_identity_that_is_wrong(value: object, text: str) -> None:
    """13. It is refused with the class of 1.0 and a text that says what was found."""
    with pytest.raises(IdentityError) as info:
        Identity.parse(value)
    assert info.value.wire_text() == text


def test_a_refusal_is_short() -> None:
    """5. What is wrong is not repeated without end, however long or deep it is."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (
        service(name="\x00" * 60_000),
        service(type="x" * 60_000),
        service(max_clients="9" * 60_000),
        service(max_clients=deep),
    ):
        with pytest.raises(IdentityError) as info:
            Identity.parse(value)
        assert len(str(info.value)) < 1500
    while deep:  # Python would free so deep a list by recursion
        deep = deep[0]


@given(st.dictionaries(KEYS, JSON | st.sampled_from(["client", "service"])) | JSON)
def test_any_identity(value: object) -> None:
    """Any JSON value is an identity whose fields have the right types, or an IdentityError."""
    try:
        identity = Identity.parse(value)
    except IdentityError:
        return
    assert identity.type in {"client", "service"}
    assert identity.name
    assert is_clean(identity.name)
    assert isinstance(identity.attributes, dict)
    assert type(identity.max_clients) is int
    assert isinstance(identity.language, str)
    assert isinstance(identity.os, str)


@given(st.text())
def test_a_clean_name(name: str) -> None:
    """A clean name shows something, can be encoded, and is one line on a terminal."""
    if is_clean(name):
        assert name.strip()
        assert name.encode().decode().splitlines() == [name]
        assert not any(code < 0x20 or 0x7F <= code < 0xA0 for code in map(ord, name))
    else:
        assert not name.strip() or not name.isprintable()


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\x1b[2J", "\x7f", "\x85", "\ud800", "a\udfff", "a\u202eb", "a\u2028b"]
)
def test_a_name_that_harms(name: str) -> None:
    """12. Control characters and halves of surrogate pairs make no name; letters of any language do."""
    assert not is_clean(name)
    assert is_clean("Größe 測定 😀 [x]")


@pytest.mark.parametrize("uid", ["", "a" * MAX_UID, "1", 0, 2**64 - 1, 1 - 2**64, 1e300, 1.5, True, None])
def test_a_uid(uid: object) -> None:
    """Text, number, boolean and null come back as they are."""
    assert check_uid(uid) is uid


@pytest.mark.parametrize(
    ("uid", "text"),
    [
        ([], "TypeError: the uid must be a string, found list"),
        ({}, "TypeError: the uid must be a string, found dict"),
        (float("nan"), "TypeError: the uid must be a string, found nan"),
        (float("-inf"), "TypeError: the uid must be a string, found -inf"),
        (
            "notification",
            "ValueError: the uid 'notification' is reserved for notifications, choose another",
        ),
        ("a" * (MAX_UID + 1), "ValueError: the uid has 257 characters, the limit is 256"),
        (2**64, "ValueError: the uid is an integer of 65 bits, the limit is 64"),
        (-(10**400), "ValueError: the uid is an integer of 1329 bits, the limit is 64"),
    ],
)
def test_a_uid_that_cannot_come_back(uid: object, text: str) -> None:
    """12. A uid that is no key of a book, or means something else to a reader, is refused."""
    with pytest.raises(MessageError) as info:
        check_uid(uid)
    assert info.value.wire_text() == text
    assert info.value.uid == (uid if isinstance(uid, (str, int)) else "")


def test_names_of_any_length() -> None:
    """A name is repeated in errors and remembered, so the length of both is limited."""
    fine = Request(service="a" * MAX_NAME, attribute="b" * MAX_NAME, uid=1)
    assert check_names(fine) is fine
    long = "a" * (MAX_NAME + 1)
    for names in ((long, "echo"), ("Echo", long)):
        with pytest.raises(MessageError) as info:
            check_names(Request(service=names[0], attribute=names[1], uid=1))
        assert "1025" in str(info.value)
        assert str(info.value).endswith("characters, the limit is 1024 each")
        assert info.value.uid == 1


@given(JSON)
def test_any_uid(uid: Any) -> None:
    """It is refused, or can be found in a book and sent back."""
    try:
        assert check_uid(uid) is uid
    except MessageError as error:
        json.dumps(error.uid, allow_nan=False)
        return
    assert {uid: 1}[uid] == 1
    assert json.loads(json.dumps(uid, allow_nan=False)) == uid


RIGHT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["service", "SERVICE", "Service"]),
        "name": st.text().filter(is_clean),
        "attributes": st.dictionaries(st.text(), JSON),
    },
    optional={
        "max_clients": st.none() | st.integers(),
        "language": st.none() | st.text(),
        "os": st.none() | st.text(),
        "docs": st.none() | st.dictionaries(st.text(), st.text()),
        "other": JSON,
    },
)


@given(RIGHT)
def test_an_identity_that_is_right(sent: dict[str, Any]) -> None:
    """Each field is kept as it was sent; one that is missing or null has its default."""
    defaults: dict[str, Any] = {"max_clients": -1, "language": "unknown", "os": "unknown", "docs": {}}
    expected: dict[str, Any] = defaults | {
        key: value for key, value in sent.items() if value is not None and key != "other"
    }
    assert Identity.parse(sent) == Identity(**{**expected, "type": "service"})
