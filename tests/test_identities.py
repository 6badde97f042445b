from __future__ import annotations

import types
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msl_network.identities import identities_text

NAMES = st.text(max_size=6)
SIGNATURES = st.sampled_from(["()", "(x: int) -> int", "(...)", "( "])
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
)
# what an identity may also have: what a later version tells
MORE = st.dictionaries(NAMES.map("x_".__add__), VALUES, max_size=2)


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


def whole(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(merged, MORE, st.fixed_dictionaries(known))


CLIENTS = whole({"name": NAMES, "address": NAMES, "language": NAMES, "os": NAMES})
SERVICES = whole(
    {
        "attributes": st.dictionaries(NAMES, SIGNATURES | VALUES, max_size=3),
        "address": NAMES,
        "language": NAMES,
        "max_clients": st.integers(-1, 5),
        "os": NAMES,
    }
)
IDENTITIES = whole(
    {
        "hostname": NAMES,
        "port": st.integers(1, 65535),
        "attributes": st.dictionaries(NAMES, SIGNATURES, max_size=3),
        "language": NAMES,
        "os": NAMES,
        "clients": st.dictionaries(NAMES, CLIENTS, max_size=3),
        "services": st.dictionaries(NAMES, SERVICES, max_size=3),
    }
)

LAB: dict[str, Any] = {
    "hostname": "lab-pc",
    "port": 1875,
    "attributes": {"link": "(service: str) -> bool", "identity": "() -> dict"},
    "language": "Python 3.11.7",
    "os": "Linux",
    "clients": {
        "b[pc:2]": {"name": "b", "address": "pc:2", "language": "C#", "os": "Windows"},
        "a[pc:1]": {"name": "a", "address": "pc:1", "language": "unknown", "os": "unknown"},
    },
    "services": {
        "DMM": {
            "attributes": {"read": "(n=1)", "RANGE": 10, "unit": "V", "none": None},
            "address": "pc:3",
            "language": "LabVIEW",
            "max_clients": -1,
            "os": "Windows",
        }
    },
}

LAB_TEXT = """\
Manager[lab-pc:1875]
  attributes:
    identity() -> dict
    link(service: str) -> bool
  language: Python 3.11.7
  os: Linux
Clients [2]:
  a[pc:1]
    language: unknown
    os: unknown
  b[pc:2]
    language: C#
    os: Windows
Services [1]:
  DMM[pc:3]
    attributes:
      RANGE() -> 10
      none() -> None
      read(n=1)
      unit() -> V
    language: LabVIEW
    max_clients: -1
    os: Windows"""


def by_1_0(identity: dict[str, Any], indent: int) -> str:
    """The text that the Client of 1.0 makes of the same answer."""
    from msl.network.client import Client

    def answer(service: str, attribute: str, timeout: float | None) -> dict[str, Any]:
        assert (service, attribute) == ("Manager", "identity")
        return identity

    client = types.SimpleNamespace(_new_request=answer)
    text: str = Client.identities(client, as_string=True, indent=indent)
    return text


def test_a_laboratory() -> None:
    """Names are in order; of a property or a constant the value is shown as what a call of it returns."""
    assert identities_text(LAB, 2) == LAB_TEXT


@pytest.mark.parametrize("indent", [0, 1, 4, 9])
def test_the_indentation(indent: int) -> None:
    """Each level is indented by so many spaces."""
    expected = "\n".join(
        " " * (indent * (len(line) - len(line.lstrip())) // 2) + line.lstrip() for line in LAB_TEXT.splitlines()
    )
    assert identities_text(LAB, indent) == expected


def test_an_empty_laboratory() -> None:
    """Where nobody is connected, that is said."""
    text = identities_text(LAB | {"clients": {}, "services": {}, "attributes": {}}, 2)
    assert text.endswith("\nClients [0]:\nServices [0]:")
    assert "attributes:\n  language" in text


@given(IDENTITIES, st.integers(0, 6))
@example(LAB, 2)
def test_the_text_of_1_0(identity: dict[str, Any], indent: int) -> None:
    """Whoever is connected, the text is that which 1.0 makes of the same answer."""
    assert identities_text(identity, indent) == by_1_0(identity, indent)
