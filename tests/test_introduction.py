from __future__ import annotations

import builtins
import getpass
import json
import logging
import sys
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network.connecting import ConnectOptions
from msl_network.errors import RefusedError
from msl_network.introduction import Introduction
from msl_network.payload import Arrival, decode

IDENTITY = {"type": "client", "name": "Me", "language": "Python", "os": "°"}
OF_MANAGER = "Manager[lab-pc:1875]"
SECRETS = ("hunter2", "swordfish")

ATTRIBUTES = st.sampled_from(["username", "password", "identity", "shoe_size", ""])
SUBJECTS = st.sampled_from([[], [OF_MANAGER], ["alice"], [None], [7], ["alice", OF_MANAGER]])


class Person:
    """Somebody at the terminal."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def input(self, text: str) -> str:
        self.asked.append(("input", text))
        return "bob"

    def getpass(self, text: str) -> str:
        self.asked.append(("getpass", text))
        return f"secret {len(self.asked)}"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    person = Person()
    monkeypatch.setattr(builtins, "input", person.input)
    monkeypatch.setattr(getpass, "getpass", person.getpass)
    return person


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Nobody at the terminal: asking raises what the test says."""

    def ask(text: str) -> NoReturn:
        raise request.param("there is no terminal")

    monkeypatch.setattr(builtins, "input", ask)
    monkeypatch.setattr(getpass, "getpass", ask)


def introduction(**options: Any) -> Introduction:
    return Introduction(IDENTITY, ConnectOptions(host="lab-pc", **options))


def full() -> Introduction:
    return introduction(username="alice", password=SECRETS[0], password_manager=SECRETS[1])


def prompt(attribute: str, *args: object) -> bytes:
    message = {"args": args, "attribute": attribute, "error": False, "kwargs": {}, "requester": OF_MANAGER, "uid": ""}
    return json.dumps(message).encode() + b"\r\n"


def answered(peer: Introduction, attribute: str, *args: object) -> Any:
    """What the Manager is told."""
    line = peer.answer_line(prompt(attribute, *args))
    assert line.endswith(b"\r\n")
    message = json.loads(line)
    assert message == {"error": False, "requester": None, "result": message["result"], "uid": ""}
    return message["result"]


# What was given


def test_the_identity() -> None:
    """It is told as it was given, and is the last of the introduction."""
    peer = full()
    assert not peer.is_complete
    assert answered(peer, "username", OF_MANAGER) == "alice"
    assert not peer.is_complete
    assert answered(peer, "identity") == IDENTITY
    assert peer.is_complete


def test_the_identity_of_an_addition() -> None:
    """What our Manager adds to the question changes nothing in the answer."""
    message = json.loads(prompt("identity")) | {"protocol": 2, "features": {"codecs": ["json"]}}
    assert json.loads(full().answer_line(json.dumps(message).encode()))["result"] == IDENTITY


@pytest.mark.parametrize(
    ("subject", "secret"),
    [
        (OF_MANAGER, SECRETS[1]),
        ("Manager[127.0.0.1:1]", SECRETS[1]),
        ("Manager[::1:1875]", SECRETS[1]),
        ("Manager[a-b.c:00]", SECRETS[1]),
        ("alice", SECRETS[0]),
        ("", SECRETS[0]),
        ("Manager", SECRETS[0]),
        ("Manager[lab-pc]", SECRETS[0]),
        ("Manager[lab-pc:]", SECRETS[0]),
        ("Manager[:1875]", SECRETS[0]),
        ("Manager[lab pc:1875]", SECRETS[0]),
        ("Manager[lab-pc:18x]", SECRETS[0]),
        ("manager[lab-pc:1875]", SECRETS[0]),
        (" Manager[lab-pc:1875]", SECRETS[0]),
        ("Manager[lab-pc:1875] ", SECRETS[0]),
        ("Manager[lab-pc:1875]\n", SECRETS[0]),
        ("My Manager[lab-pc:1875]", SECRETS[0]),
    ],
)
def test_which_password(subject: str, secret: str) -> None:
    """The password of the Manager is given when its own name is named, else that of the user."""
    assert answered(full(), "password", subject) == secret


def test_which_password_without_a_name() -> None:
    """Who names nobody is given the password of the user."""
    assert answered(full(), "password") == SECRETS[0]


def test_empty_is_given() -> None:
    """An empty text is an answer: nobody is asked for another."""
    peer = introduction(username="", password="", password_manager="")
    assert [answered(peer, "username", OF_MANAGER), answered(peer, "password", "")] == ["", ""]
    assert answered(peer, "password", OF_MANAGER) == ""


# Asking a person


def test_a_person_is_asked_once(person: Person) -> None:
    """What was not given is asked for, each once, and remembered; a password is not shown while it is typed."""
    peer = introduction()
    for _ in range(2):
        assert answered(peer, "username", OF_MANAGER) == "bob"
        assert answered(peer, "password", "bob") == "secret 2"
        assert answered(peer, "password", OF_MANAGER) == "secret 3"
        assert answered(peer, "identity") == IDENTITY
    assert [how for how, _ in person.asked] == ["input", "getpass", "getpass"]
    assert (peer.username, peer.password, peer.password_manager) == ("bob", "secret 2", "secret 3")


def test_what_a_person_reads(person: Person) -> None:
    """The person reads whose name and whose password is meant."""
    peer = introduction()
    answered(peer, "username", OF_MANAGER)
    answered(peer, "password", "alice")
    answered(peer, "password", OF_MANAGER)
    texts = [text for _, text in person.asked]
    assert [OF_MANAGER in texts[0], "alice" in texts[1], OF_MANAGER in texts[2]] == [True, True, True]
    assert "name" in texts[0]
    assert "assword" in texts[1]
    assert "assword" in texts[2]


def test_a_person_is_not_asked_for_what_was_given(person: Person) -> None:
    """One password that was given is not asked for because the other was not."""
    peer = introduction(password=SECRETS[0])
    assert answered(peer, "password", "alice") == SECRETS[0]
    assert person.asked == []
    assert answered(peer, "password", OF_MANAGER) == "secret 1"
    assert peer.password == SECRETS[0]


@given(
    options=st.fixed_dictionaries(
        {}, optional={name: st.just(name) for name in ("username", "password", "password_manager")}
    ),
    attribute=ATTRIBUTES,
    args=SUBJECTS,
)
def test_when_a_person_is_needed(options: dict[str, str], attribute: str, args: list[object]) -> None:
    """Whoever asks beforehand whether a person is needed is told the truth."""
    person = Person()
    peer = introduction(**options)
    question = Arrival(attribute=attribute, args=args)
    expected = peer.needs_person(question)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "input", person.input)
        patch.setattr(getpass, "getpass", person.getpass)
        try:
            peer.answer(question)
        except RefusedError:
            assert attribute not in {"username", "password", "identity"}
    assert bool(person.asked) is expected
    assert not peer.needs_person(question)


@pytest.mark.parametrize("nobody", [EOFError, OSError], indirect=True)
@pytest.mark.parametrize(
    ("attribute", "args", "keyword", "word"),
    [
        ("username", [OF_MANAGER], "username", "username"),
        ("password", ["alice"], "password", "password"),
        ("password", [OF_MANAGER], "password_manager", "password"),
    ],
)
def test_nobody_can_be_asked(nobody: None, attribute: str, args: list[str], keyword: str, word: str) -> None:
    """Where there is no terminal, the error says what was asked for and with which keyword to give it."""
    peer = introduction()
    with pytest.raises(RefusedError, match=rf"^Manager\[lab-pc:1875\] asks for a {word}, .* give it as {keyword}=$"):
        answered(peer, attribute, *args)
    assert getattr(peer, keyword) is None


@pytest.mark.parametrize("nobody", [KeyboardInterrupt], indirect=True)
def test_a_person_who_gives_up(nobody: None) -> None:
    """Ctrl+C is Ctrl+C."""
    with pytest.raises(KeyboardInterrupt):
        answered(introduction(), "username", OF_MANAGER)


@pytest.mark.parametrize("attribute", ["username", "password"])
@pytest.mark.filterwarnings("ignore::getpass.GetPassWarning")
def test_no_standard_input(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without standard input (pythonw) is told the same as one without a terminal."""

    def no_terminal(*args: object, **kwargs: object) -> NoReturn:
        raise OSError("no /dev/tty")

    monkeypatch.setattr("os.open", no_terminal)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(RefusedError, match=f"give it as {attribute}="):
        answered(introduction(), attribute, "alice")


# Refusals


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: Wrong Manager password",
        "NameError: A 'Echo' service is already running on the Manager",
        "two\nlines: °C",
    ],
)
def test_the_manager_refuses(text: str) -> None:
    """What the Manager says is the text of the error."""
    message = {"error": True, "message": text, "requester": OF_MANAGER, "result": None, "traceback": [], "uid": ""}
    peer = full()
    with pytest.raises(RefusedError) as info:
        peer.answer_line(json.dumps(message).encode())
    assert str(info.value) == text
    assert not peer.is_complete


def test_the_manager_refuses_without_a_reason() -> None:
    """A refusal without a text says who gave none."""
    with pytest.raises(RefusedError, match=r"^Manager\[lab-pc:1875\] gave no reason$"):
        full().answer_line(b'{"error": true}')


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"",
        b"[]",
        b'{"args": "x"}',
    ],
)
def test_who_is_no_manager(garbage: bytes) -> None:
    """Whatever else listens at that address, the error says that it is no Manager, and where."""
    with pytest.raises(RefusedError, match=r"^lab-pc:1875 does not speak like a Manager: "):
        full().answer_line(garbage)


@pytest.mark.parametrize("attribute", ["shoe_size", "Username", "answer", "__class__"])
def test_what_nobody_can_answer(attribute: str, person: Person) -> None:
    """Another question is refused, and the error names it; nobody is asked."""
    peer = introduction()
    with pytest.raises(RefusedError, match=f"asks for {attribute!r}; a peer can answer: username, password, identity"):
        peer.answer_line(prompt(attribute))
    assert person.asked == []
    assert not peer.is_complete


def test_no_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Secrets are in the answers to their questions, and in no log, no error, no repr and no other answer."""
    caplog.set_level(logging.DEBUG)
    peer = full()
    told = [peer.answer_line(prompt("username", OF_MANAGER)), peer.answer_line(prompt("identity"))]
    assert SECRETS[0].encode() in peer.answer_line(prompt("password", "alice"))
    assert SECRETS[1].encode() in peer.answer_line(prompt("password", OF_MANAGER))
    errors = []
    for wrong in (prompt("shoe_size"), b"garbage", b'{"error": true}'):
        with pytest.raises(RefusedError) as info:
            peer.answer_line(wrong)
        errors.append(repr(info.value))
    everything = [repr(peer), str(peer), caplog.text, *map(repr, told), *errors]
    assert not any(secret in text for secret in SECRETS for text in everything)


def test_questions_in_mid_session() -> None:
    """A question that comes without its line (the Client has read it) is answered in the same way."""
    peer = full()
    assert json.loads(peer.answer(decode(prompt("password", "alice"))))["result"] == SECRETS[0]
