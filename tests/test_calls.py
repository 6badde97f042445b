from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from msl_network.calls import OWN_REQUESTS, Call, Calls
from msl_network.errors import ConnectionLostError, MessageError, RemoteError
from msl_network.payload import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable

MANAGER = "Manager[h:1875]"


class Waiting(Call):
    """Notes how it ends and what it is asked."""

    __slots__ = ("ends", "prompts")

    def __init__(self, service: str = "Echo", attribute: str = "echo") -> None:
        super().__init__(service, attribute)
        self.ends: list[object] = []
        self.prompts: list[Arrival] = []

    def finish(self, result: object, error: BaseException | None) -> None:
        super().finish(result, error)
        self.ends.append(result if error is None else error)

    def ask(self, prompt: Arrival) -> None:
        self.prompts.append(prompt)


def line(**message: Any) -> bytes:
    return json.dumps({"error": False, "requester": "", "result": None, "uid": ""} | message).encode() + b"\r\n"


def failure(message: str, uid: str = "", trace: tuple[str, ...] = ()) -> bytes:
    return line(error=True, message=message, traceback=trace, uid=uid)


def prompt(attribute: str, *args: str) -> bytes:
    """What a Manager asks; it has no result."""
    message = {"args": args, "attribute": attribute, "error": False, "kwargs": {}, "requester": MANAGER, "uid": ""}
    return json.dumps(message).encode()


def unknown(service: str) -> str:
    """What 1.0 says of a Service that is not there, without saying to whom."""
    error = KeyError(f"the {service!r} Service is not connected to {MANAGER}")
    return f"KeyError: {error}"


def added(calls: Calls, *names: str) -> list[Waiting]:
    """Add calls to ``Service.attribute``."""
    found = []
    for name in names:
        service, _, attribute = name.partition(".")
        call = Waiting(service, attribute)
        calls.add(call, (), {})
        found.append(call)
    return found


def ends(*waiting: Waiting) -> list[list[Any]]:
    return [call.ends for call in waiting]


# One call


def test_a_request_and_its_result() -> None:
    """The line has what is asked for and a uid; the reply with that uid ends the call with its result."""
    calls = Calls()
    call = Waiting("Echo", "echo")
    request = json.loads(calls.add(call, (1, "a"), {"x": None}))
    assert request == {
        "args": [1, "a"],
        "attribute": "echo",
        "error": False,
        "kwargs": {"x": None},
        "service": "Echo",
        "uid": call.uid,
    }
    assert ends(call) == [[]]
    assert calls.receive(line(result=[[1, "a"], {"x": None}], uid=call.uid)) is None
    assert (call.done, call.result, call.error) == (True, [[1, "a"], {"x": None}], None)
    assert not calls.are_waiting


def test_uids_differ() -> None:
    """No two calls of a connection have one uid, and none has that of notifications or none at all."""
    calls = Calls()
    uids = [call.uid for call in added(calls, *["Echo.echo"] * 100)]
    assert len(set(uids)) == 100
    assert not {"", "notification"} & set(uids)


def test_a_request_and_its_error() -> None:
    """An error says what went wrong on the other side and what was asked for."""
    calls = Calls()
    (call,) = added(calls, "Echo.echo")
    calls.receive(failure("ValueError: no", call.uid, ("line 1", "line 2")))
    error = call.error
    assert isinstance(error, RemoteError)
    assert (error.remote_class, error.remote_message, error.what) == ("ValueError", "no", "Echo.echo")
    assert error.remote_traceback == ("line 1", "line 2")
    assert call.result is None


def test_an_error_without_a_reason() -> None:
    """An error that says nothing is still an error."""
    calls = Calls()
    (call,) = added(calls, "Echo.echo")
    calls.receive(line(error=True, uid=call.uid))
    assert isinstance(call.error, RemoteError)
    assert "gave no reason" in str(call.error)


def test_a_traceback_of_anything() -> None:
    """A traceback need not be of texts to be shown."""
    calls = Calls()
    (call,) = added(calls, "Echo.echo")
    calls.receive(line(error=True, message="E: x", traceback=[1, None, ["a"]], uid=call.uid))
    assert isinstance(call.error, RemoteError)
    assert call.error.remote_traceback == ("1", "None", "['a']")


@pytest.mark.parametrize(
    ("service", "attribute", "expected"),
    [
        ("Echo", "echo", False),
        ("Manager", "identity", False),
        ("Echo", "shutdown_manager", False),
        ("Manager", "shutdown_manager", True),
        ("Me[h:1]", "__disconnect__", True),
        ("Manager", "__disconnect__", True),
    ],
)
def test_what_the_end_answers(service: str, attribute: str, expected: bool) -> None:
    """Who takes leave, or shuts the Manager down, is answered by the end of the connection; nobody else is."""
    calls = Calls()
    (call,) = added(calls, f"{service}.{attribute}")
    assert call.ends_connection is expected
    assert call.what == f"{service}.{attribute}"
    calls.lose("over")
    assert call.done
    assert call.result is None
    assert (call.error is None) is expected


def test_a_call_can_be_asked() -> None:
    """A kind of call has to say what it does with a question."""
    with pytest.raises(NotImplementedError):
        Call("Manager", "port").ask(Arrival())


def test_arguments_that_cannot_be_sent() -> None:
    """A call whose arguments JSON cannot carry is not added."""
    calls = Calls()
    call = Waiting()
    with pytest.raises(TypeError):
        calls.add(call, (b"",), {})
    with pytest.raises(ValueError, match="surrogates"):
        calls.add(call, ("\ud800",), {})
    assert not calls.are_waiting
    calls.lose("over")
    assert call.ends == []


# Replies that come when they will


def test_replies_in_any_order() -> None:
    """Each reply goes to its own call, not to the oldest."""
    calls = Calls()
    one, two, three = added(calls, "A.f", "A.f", "Manager.users_table.users")
    calls.receive(line(result=3, uid=three.uid))
    calls.receive(line(result=1, uid=one.uid))
    calls.receive(line(result=2, uid=two.uid))
    assert ends(one, two, three) == [[1], [2], [3]]


def test_a_late_reply() -> None:
    """The reply to a call that was given up is dropped, and so is a second reply."""
    calls = Calls()
    one, two = added(calls, "A.f", "A.f")
    calls.forget(one)
    calls.forget(one)
    assert calls.receive(line(result=1, uid=one.uid)) is None
    assert calls.receive(line(result=2, uid=two.uid)) is None
    assert calls.receive(failure("E: late", two.uid)) is None
    assert ends(one, two) == [[], [2]]
    calls.lose("over")
    assert ends(one, two) == [[], [2]]


@pytest.mark.parametrize("uid", [None, 1, 1.0, True, [], ["1"], {}, {"1": 1}, "3", "01", " 1", "NOTIFICATION"])
def test_a_uid_of_nobody(uid: object) -> None:
    """A reply with a uid that was never given is dropped, of whatever type it is."""
    calls = Calls()
    call, admin = added(calls, "Echo.echo", "Manager.port")
    assert (call.uid, admin.uid) == ("1", "2")
    assert calls.receive(line(result=1, uid=uid)) is None
    assert ends(call, admin) == [[], []]


def test_a_notification() -> None:
    """It is returned, whatever else waits, and ends nothing."""
    calls = Calls()
    (call,) = added(calls, "Heartbeat.reset")
    arrival = calls.receive(line(result=[[1], {"x": 2}], service="Heartbeat", uid="notification"))
    assert arrival is not None
    assert (arrival.service, arrival.result) == ("Heartbeat", [[1], {"x": 2}])
    assert call.ends == []


@pytest.mark.parametrize("garbage", [b"", b"hello", b"[]", b'{"args": 1}', b"\x80"])
def test_garbage(garbage: bytes) -> None:
    """A line that is no message is a MessageError and ends no call by itself."""
    calls = Calls()
    (call,) = added(calls, "Echo.echo")
    with pytest.raises(MessageError):
        calls.receive(garbage)
    assert call.ends == []
    assert calls.are_waiting


# What a Manager of 1.0 says without a uid


def test_the_answer_to_an_administrator() -> None:
    """1.0 answers an administrator without uid; that ends the oldest such request, and no other call."""
    calls = Calls()
    echo, link, one, two = added(calls, "Echo.echo", "Manager.link", "Manager.port", "Manager.users_table.users")
    calls.receive(line(result=1875))
    assert ends(echo, link, one, two) == [[], [], [1875], []]
    calls.receive(failure("ValueError: You must be an administrator"))
    assert isinstance(two.error, RemoteError)
    assert two.error.remote_message == "You must be an administrator"
    assert two.error.what == "Manager.users_table.users"
    assert ends(echo, link) == [[], []]


@pytest.mark.parametrize("attribute", sorted(OWN_REQUESTS))
def test_what_1_0_answers_with_the_uid(attribute: str) -> None:
    """The five requests of any Client are never mistaken for that of an administrator."""
    calls = Calls()
    (call,) = added(calls, f"Manager.{attribute}")
    calls.receive(line(result=1))
    calls.receive(failure("E: x"))
    assert call.ends == []
    calls.receive(line(result=2, uid=call.uid))
    assert call.ends == [2]


def test_the_error_of_a_service_that_is_not_there() -> None:
    """1.0 says so without uid; that ends the oldest request to the Service of that name."""
    calls = Calls()
    echo, other, again = added(calls, "Echo.echo", "Gone.f", "Gone.g")
    calls.receive(failure(unknown("Gone")))
    assert isinstance(other.error, RemoteError)
    assert other.error.remote_class == "KeyError"
    assert ends(echo, again) == [[], []]
    calls.receive(failure(unknown("Gone")))
    assert isinstance(again.error, RemoteError)
    assert echo.ends == []


@pytest.mark.parametrize(
    "name",
    ["Gone", "A b", "測", "", "x" * 300, "O'Brien", 'the "best"', "both ' and \"", "back\\slash"],
)
def test_the_name_of_a_service_that_is_not_there(name: str) -> None:
    """The Service is found whatever its name, in the text that 1.0 makes of it."""
    calls = Calls()
    (call,) = added(calls, f"{name}.f")
    calls.receive(failure(unknown(name)))
    assert isinstance(call.error, RemoteError)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "KeyError",
        "KeyError: ",
        "KeyError: 7",
        "KeyError: 'the",
        "ValueError: " + "(" * 5000,
        "ValueError: " + "-" * 5000 + "1",
        "ValueError: \0 \ud800",
        "KeyError: {[]}",
    ],
    ids=lambda message: ascii(message[:20]),
)
def test_an_error_for_nobody(message: str) -> None:
    """Whatever its text, an error that is about no call ends none."""
    calls = Calls()
    (call,) = added(calls, "Echo.echo")
    assert calls.receive(failure(message)) is None
    assert call.ends == []


def test_a_result_without_uid_is_never_that_of_a_service() -> None:
    """A Service answers with the uid; what has none and is nobody's is dropped."""
    calls = Calls()
    (echo,) = added(calls, "Echo.echo")
    assert calls.receive(line(result=1)) is None
    assert ends(echo) == [[]]


def test_a_question_for_nobody() -> None:
    """A question while no administrator asks is returned: it must be answered, or the Manager takes no other line."""
    calls = Calls()
    (echo,) = added(calls, "Echo.echo")
    question = calls.receive(prompt("username", MANAGER))
    assert question is not None
    assert (question.attribute, question.args) == ("username", [MANAGER])
    assert echo.prompts == []
    assert ends(echo) == [[]]


def test_a_question_for_one_who_has_gone() -> None:
    """A question about a request that was given up is returned, too, rather than asked of the next."""
    calls = Calls()
    one, two = added(calls, "Manager.port", "Manager.users_table.users")
    calls.forget(one)
    calls.forget(two)
    (three,) = added(calls, "Manager.port")
    for attribute in ("username", "password"):
        question = calls.receive(prompt(attribute))
        assert question is not None
        assert question.attribute == attribute
    assert [call.prompts for call in (one, two, three)] == [[], [], []]


def test_a_request_that_was_never_sent() -> None:
    """A request that was given up before it was sent has no answer to wait for."""
    calls = Calls()
    (one,) = added(calls, "Manager.port")
    calls.forget(one, was_sent=False)
    (two,) = added(calls, "Manager.port")
    calls.receive(line(result=1875))
    assert ends(one, two) == [[], [1875]]


def test_what_an_administrator_is_asked() -> None:
    """A question of the Manager goes to the oldest request of an administrator, which goes on waiting."""
    calls = Calls()
    echo, one, two = added(calls, "Echo.echo", "Manager.port", "Manager.users_table.users")
    assert calls.receive(prompt("username", MANAGER)) is None
    assert calls.receive(prompt("password", "alice")) is None
    assert [(asked.attribute, asked.args) for asked in one.prompts] == [
        ("username", [MANAGER]),
        ("password", ["alice"]),
    ]
    assert (echo.prompts, two.prompts) == ([], [])
    assert ends(echo, one, two) == [[], [], []]
    calls.receive(line(result=1875))
    assert one.ends == [1875]


def test_the_late_answer_to_an_administrator() -> None:
    """The reply of 1.0 to a request that was given up does not become the reply to the next."""
    calls = Calls()
    (one,) = added(calls, "Manager.users_table.usernames")
    calls.forget(one)
    (two,) = added(calls, "Manager.users_table.users")
    calls.receive(line(result="of the first"))
    calls.receive(line(result="of the second"))
    assert ends(one, two) == [[], ["of the second"]]


def test_the_late_answer_to_the_first_of_two_administrators() -> None:
    """Two threads ask as administrators and the first gives up: the second is not told the answer to the first."""
    calls = Calls()
    one, two = added(calls, "Manager.users_table.usernames", "Manager.users_table.users")
    calls.forget(one)
    calls.receive(line(result="of the first"))
    calls.receive(line(result="of the second"))
    assert ends(one, two) == [[], ["of the second"]]


class Interrupted(Calls):
    """Another thread does something between finding a call and ending it."""

    def __init__(self, meanwhile: Callable[[Calls, Call], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def _oldest(self, message: str) -> Call | None:
        call = super()._oldest(message)
        if call is not None:
            self.meanwhile(self, call)
        return call


def test_a_call_given_up_while_its_reply_is_read() -> None:
    """The thread that reads survives that a call is given up at any time, and the reply is that of no other."""
    calls = Interrupted(lambda calls, call: calls.forget(call))
    one, two = added(calls, "Manager.port", "Manager.port")
    assert calls.receive(line(result="of the first")) is None
    calls.meanwhile = lambda calls, call: None
    calls.receive(line(result="of the second"))
    assert two.ends == ["of the second"]
    assert len(one.ends) <= 1


def test_a_call_that_ends_while_its_reply_is_read() -> None:
    """The end of the connection and a reply at the same time end a call once."""
    calls = Interrupted(lambda calls, call: calls.lose("cut"))
    (call,) = added(calls, "Manager.port")
    assert calls.receive(line(result=1875)) is None
    assert len(call.ends) == 1


# The end of the connection


def test_the_end_of_the_connection() -> None:
    """All calls that wait end with the reason, each with an error object of its own."""
    calls = Calls()
    one, two, gone = added(calls, "A.f", "A.g", "A.h")
    calls.forget(gone)
    calls.lose("the cable is cut")
    assert isinstance(calls.lost, ConnectionLostError)
    assert not calls.are_waiting
    for call in (one, two):
        assert isinstance(call.error, ConnectionLostError)
        assert str(call.error) == str(calls.lost) == "the cable is cut"
    assert one.error is not two.error
    assert ends(gone) == [[]]


def test_the_first_end_is_the_reason() -> None:
    """A connection ends once; what is said later changes nothing."""
    calls = Calls()
    calls.lose("first")
    lost = calls.lost
    calls.lose("second")
    assert calls.lost is lost
    assert str(lost) == "first"


def test_a_call_after_the_end() -> None:
    """It is refused with the reason, is not added, and so does not end."""
    calls = Calls()
    calls.lose("the cable is cut")
    call = Waiting()
    with pytest.raises(ConnectionLostError, match=r"^cannot ask for Echo\.echo: the cable is cut$"):
        calls.add(call, (), {})
    assert not calls.are_waiting
    calls.lose("again")
    assert call.ends == []


def test_a_call_amid_the_end() -> None:
    """A call that is being written while the connection ends is refused, too."""
    calls = Calls()

    class Cutting:
        def to_json(self) -> int:
            calls.lose("the cable is cut")
            return 1

    call = Waiting()
    with pytest.raises(ConnectionLostError, match="the cable is cut"):
        calls.add(call, (Cutting(),), {})
    assert not calls.are_waiting
    assert call.ends == []


def test_a_reply_after_the_end() -> None:
    """What is still read after the end ends nothing a second time."""
    calls = Calls()
    call, admin = added(calls, "Echo.echo", "Manager.port")
    calls.lose("over")
    assert calls.receive(line(result=1, uid=call.uid)) is None
    assert calls.receive(line(result=1)) is None
    assert [len(ended) for ended in ends(call, admin)] == [1, 1]


def test_the_last_words_of_the_manager() -> None:
    """What the Manager said to nobody in particular before it closed the connection is part of the reason."""
    calls = Calls()
    (echo,) = added(calls, "Echo.echo")
    assert calls.receive(failure("ValueError: a line is longer than 1 MiB")) is None
    assert echo.ends == []
    calls.lose("the Manager closed the connection")
    assert str(calls.lost) == str(echo.error)
    assert "the Manager closed the connection" in str(echo.error)
    assert "ValueError: a line is longer than 1 MiB" in str(echo.error)


def test_the_last_words_are_the_last() -> None:
    """Only the last of several errors for nobody is told."""
    calls = Calls()
    calls.receive(failure("E: first"))
    calls.receive(failure("E: last"))
    calls.lose("closed")
    assert "E: last" in str(calls.lost)
    assert "E: first" not in str(calls.lost)


# Whatever happens


class AnyOrder(RuleBasedStateMachine):
    """A connection to a Manager of 1.0 or ours, in which anything happens in any order."""

    @initialize()
    def connect(self) -> None:
        self.calls = Calls()
        self.all: list[Waiting] = []
        self.waiting: list[Waiting] = []
        self.expected: dict[Waiting, tuple[str, object]] = {}
        self.is_lost = False
        self.replies = 0
        self.ghosts: list[Waiting] = []  # given up, but a Manager of 1.0 still answers them
        self.in_turn = True  # see test_the_late_answer_to_the_first_of_two_administrators

    def end(self, call: Waiting, kind: str, what: object) -> None:
        self.waiting.remove(call)
        self.expected[call] = (kind, what)

    def of_admin(self) -> list[Waiting]:
        """The requests of administrators that are still to be answered, in turn."""
        unanswered = [*self.waiting, *self.ghosts]
        return [call for call in self.all if call in unanswered and call.is_of_administrator]

    @rule(
        service=st.sampled_from(["Echo", "Gone", "Manager", "Me[h:1]"]),
        attribute=st.sampled_from(["f", "link", "identity", "users_table.users", "shutdown_manager", "__disconnect__"]),
    )
    def add(self, service: str, attribute: str) -> None:
        call = Waiting(service, attribute)
        if self.is_lost:
            with pytest.raises(ConnectionLostError):
                self.calls.add(call, (), {})
        else:
            assert json.loads(self.calls.add(call, (), {}))["uid"] == call.uid
            self.waiting.append(call)
        self.all.append(call)

    @rule(data=st.data(), is_error=st.booleans())
    def reply(self, data: st.DataObject, is_error: bool) -> None:
        """To any call, also one that has ended or was given up."""
        if not self.all:
            return
        call = data.draw(st.sampled_from(self.all))
        self.replies += 1
        message = failure(f"E: {self.replies}", call.uid) if is_error else line(result=self.replies, uid=call.uid)
        assert self.calls.receive(message) is None
        if call in self.waiting:
            self.end(call, "error" if is_error else "result", self.replies)
        elif call in self.ghosts:
            self.ghosts.remove(call)

    @precondition(lambda self: self.in_turn)
    @rule(is_error=st.booleans())
    def reply_of_1_0(self, is_error: bool) -> None:
        self.replies += 1
        message = failure(f"E: {self.replies}") if is_error else line(result=self.replies)
        assert self.calls.receive(message) is None
        for call in self.of_admin()[:1]:
            if call in self.ghosts:
                self.ghosts.remove(call)
            else:
                self.end(call, "error" if is_error else "result", self.replies)

    @precondition(lambda self: self.in_turn)
    @rule()
    def question(self) -> None:
        asked = [call for call in self.of_admin()[:1] if call in self.waiting]
        before = {call: len(call.prompts) for call in self.all}
        question = self.calls.receive(prompt("username", MANAGER))
        assert (question is None) is bool(asked)
        for call in self.all:
            assert len(call.prompts) == before[call] + (call in asked)

    @precondition(lambda self: not self.of_admin())
    @rule(service=st.sampled_from(["Echo", "Gone", "Nobody"]))
    def service_is_not_there(self, service: str) -> None:
        assert self.calls.receive(failure(unknown(service))) is None
        call = next((call for call in self.waiting if call.service == service), None)
        if call is not None:
            self.end(call, "error", "Service is not connected")

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if not self.all:
            return
        call = data.draw(st.sampled_from(self.all))
        queue = self.of_admin()
        if call in queue and call is not queue[-1]:
            self.in_turn = False
        self.calls.forget(call)
        if call in self.waiting:
            self.waiting.remove(call)
            if call.is_of_administrator:
                self.ghosts.append(call)

    @rule(value=st.integers())
    def notification(self, value: int) -> None:
        arrival = self.calls.receive(line(result=[[value], {}], service="Echo", uid="notification"))
        assert arrival is not None
        assert arrival.result == [[value], {}]

    @rule(garbage=st.sampled_from([b"", b"hello", b"[]", b"null", b'{"args": 1}', b"\x80"]))
    def garbage(self, garbage: bytes) -> None:
        with pytest.raises(MessageError):
            self.calls.receive(garbage)

    @rule(uid=st.none() | st.integers() | st.floats() | st.lists(st.text()) | st.text(min_size=1).map("x".__add__))
    def nobody(self, uid: object) -> None:
        assert self.calls.receive(line(result=1, uid=uid)) is None

    @rule()
    def lose(self) -> None:
        self.calls.lose("cut")
        self.is_lost = True
        for call in list(self.waiting):
            self.end(call, "result" if call.ends_connection else "lost", None)
        self.ghosts.clear()

    @invariant()
    def each_ends_once(self) -> None:
        assert self.calls.are_waiting is bool(self.waiting or self.ghosts)
        for call in self.all:
            if call not in self.expected:
                assert call.ends == []
                assert not call.done
                continue
            kind, what = self.expected[call]
            (end,) = call.ends
            if kind == "result":
                assert end == what
            elif kind == "lost":
                assert isinstance(end, ConnectionLostError)
            else:
                assert isinstance(end, RemoteError)
                assert str(what) in end.remote_message

    def teardown(self) -> None:
        """Whatever has happened, the end of the connection leaves no call waiting."""
        self.lose()
        self.each_ends_once()


def test_each_call_ends_once() -> None:
    """Whatever the Manager sends and the user does, in any order, each call ends exactly once, as it should."""
    run_state_machine_as_test(AnyOrder)
