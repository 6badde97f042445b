from __future__ import annotations

import asyncio
import builtins
import functools
import logging
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import RefusedError, RemoteError, Service

from .laboratory import DEADLINE, MOMENT, Laboratory, Thread, for_ever, happens, no_thread_left, service_of_fake

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test ends the threads that it starts."""
    with no_thread_left():
        yield


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory() as laboratory:
        yield laboratory


class Reading:
    """What JSON does not know."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def to_json(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return {"value": self.value}


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class LethalError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Strange(Service):
    """Does what is not expected of it."""

    constant = (1, 2.5)
    _private = "secret"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = 1

    @property
    def broken(self) -> int:
        raise LookupError("broken property")

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def add(self, x: float, y: float = 1) -> float:
        return x + y

    def reading(self, value: Any) -> Any:
        return [Reading(value), {"deep": Reading([Reading(value)])}]

    def bad_reading(self) -> Any:
        return Reading(ZeroDivisionError("in to_json"))

    def fatal_reading(self) -> Any:
        return Reading(SystemExit("in to_json"))

    def itself(self) -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop

    def nothing(self) -> Any:
        return object()

    def raw(self) -> Any:
        return b"bytes"

    def not_a_number(self) -> Any:
        return [math.nan, math.inf, -math.inf]

    def surrogate(self) -> str:
        return "\ud800"

    def numbers(self) -> Any:
        return {2: 2**100, None: 1e300, True: -0.0}

    def long(self, size: int) -> str:
        return "x" * size

    def fail(self, name: str = "ValueError", *args: Any) -> None:
        self._deeper(name, *args)

    def _deeper(self, name: str, *args: Any) -> None:
        error: BaseException = getattr(builtins, name)(*args)
        raise error

    def unspeakable(self) -> None:
        raise UnspeakableError

    def lethal(self) -> None:
        raise LethalError

    def weird(self, name: str) -> None:
        raise type(name, (Exception,), {})("text: with colon\nand line")

    def recursion(self) -> None:
        self.recursion()

    def group(self) -> None:
        try:
            raise KeyError("first")  # noqa: TRY301 - as scripts do
        except KeyError as error:
            raise ValueError("second") from error

    async def later(self, value: Any = None) -> Any:
        await asyncio.sleep(0)
        return value

    async def fail_later(self, name: str, *args: Any) -> None:
        await asyncio.sleep(0)
        self._deeper(name, *args)

    async def cancels(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(1000))
        task.cancel()
        await task

    async def unspeakable_later(self) -> None:
        raise UnspeakableError

    async def lethal_later(self) -> None:
        raise LethalError

    async def object_later(self) -> object:
        return object()

    partial = staticmethod(functools.partial(max, 5))
    static = staticmethod(len)

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


@pytest.fixture
def link(lab: Laboratory) -> Any:
    """A link with a Strange Service."""
    lab.start(Strange())
    return lab.client().link("Strange")


def is_well(link: Any) -> bool:
    """Whether the Service goes on as if nothing had happened."""
    return bool(link.echo(1, timeout=DEADLINE) == [[1], {}] and link.later(2, timeout=DEADLINE) == 2)


# Results


def test_results(link: Any) -> None:
    """Arguments and results are what JSON makes of them, keyword arguments with any name included."""
    value = [1, 2.5, "ä\u2028\U0001f600\x00", None, True, {"a": {"b": []}}]
    assert link.echo(*value, request=1, line="x") == [value, {"request": 1, "line": "x"}]
    assert link.add(1) == 2
    assert link.add(x=1, y=2.5) == 3.5
    assert link.later(value) == value
    assert link.numbers() == {"2": 2**100, "null": 1e300, "true": -0.0}


def test_properties_and_constants(link: Any, lab: Laboratory) -> None:
    """They are requested without arguments, and evaluated anew."""
    assert link.constant() == [1, 2.5]
    assert link.value() == 1
    assert link.name() == "Strange"
    with pytest.raises(RemoteError, match="broken property"):
        link.broken()


def test_callables_of_all_kinds(link: Any) -> None:
    """Whatever can be called is."""
    assert link.partial(7) == 7
    assert link.static([1, 2]) == 2
    assert link.of_class() == "Strange"


def test_objects_that_know_their_json(link: Any) -> None:
    """Their to_json is asked, at any depth."""
    assert link.reading(3) == [{"value": 3}, {"deep": {"value": [{"value": 3}]}}]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nothing", "TypeError: JSON cannot carry a value of type object"),
        ("raw", "TypeError: JSON cannot carry a value of type bytes"),
        ("itself", "ValueError: "),
        ("bad_reading", "ZeroDivisionError: in to_json"),
        ("fatal_reading", "SystemExit: in to_json"),
        ("surrogate", "UnicodeEncodeError: "),
        ("object_later", "TypeError: JSON cannot carry a value of type object"),
    ],
)
def test_impossible_results(link: Any, name: str, error: str) -> None:
    """A result that JSON cannot carry is an error for the caller, which says why; the Service goes on."""
    with pytest.raises(RemoteError) as caught:
        getattr(link, name)()
    assert str(caught.value).startswith(error)
    assert is_well(link)


def test_not_a_number(link: Any) -> None:
    """NaN and infinity come through, as with 1.0."""
    nan, *others = link.not_a_number()
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf]
    (argument,), _ = link.echo(math.nan)
    assert math.isnan(argument)


def test_long_reply(lab: Laboratory) -> None:
    """One that the Manager would not take is an error for the caller; the Service stays connected."""
    service = Strange()
    service.max_message = 10_000
    lab.start(service)
    link = lab.client().link("Strange")
    assert len(link.long(9_000)) == 9_000
    for method, argument in ((link.long, 10_000), (link.later, "x" * 10_000)):
        with pytest.raises(RemoteError, match=r"the reply has 1.* bytes, the limit is 10000"):
            method(argument)
    assert is_well(link)


# Errors


@pytest.mark.parametrize("method", ["fail", "fail_later"])
@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("ValueError", ["my text"], "ValueError: my text"),
        ("KeyError", ["key"], "KeyError: 'key'"),
        ("ZeroDivisionError", [], "ZeroDivisionError: "),
        ("SystemExit", [1], "SystemExit: 1"),
        ("KeyboardInterrupt", [], "KeyboardInterrupt: "),
        ("GeneratorExit", [], "GeneratorExit: "),
        ("StopIteration", [5], "StopIteration: 5"),
        ("ConnectionResetError", ["x"], "ConnectionResetError: x"),
        ("TimeoutError", [], "TimeoutError: "),
        ("UnicodeError", ["\x1b ä\n"], "UnicodeError: \x1b ä\n"),
    ],
)
def test_errors(link: Any, method: str, name: str, args: list[Any], text: str) -> None:
    """Whatever is raised reaches the caller with its class, text and traceback; the Service goes on."""
    if (method, name) == ("fail_later", "StopIteration"):  # as Python has it
        text = "RuntimeError: coroutine raised StopIteration"
    with pytest.raises(RemoteError) as caught:
        getattr(link, method)(name, *args, timeout=DEADLINE)
    error = caught.value
    assert f"{error.remote_class}: {error.remote_message}" == text
    assert error.what == f"Strange.{method}"
    assert is_well(link)


def test_traceback(link: Any) -> None:
    """It begins with the user's own code, and has its lines; nothing of the framework."""
    for method in (link.fail, link.fail_later):
        with pytest.raises(RemoteError) as caught:
            method("ValueError", "x")
        lines = caught.value.remote_traceback
        assert lines[0] == "Traceback (most recent call last):"
        assert "test_serving.py" in lines[1]
        assert any("_deeper" in line for line in lines)
        assert lines[-1] == "ValueError: x"
        assert not any("/msl_network/" in line for line in lines)
        assert "\n".join(lines) in str(caught.value)


def test_traceback_of_a_cause(link: Any) -> None:
    """The cause of an error is told, too."""
    with pytest.raises(RemoteError) as caught:
        link.group()
    text = "\n".join(caught.value.remote_traceback)
    assert "KeyError: 'first'" in text
    assert "direct cause" in text
    assert caught.value.remote_class == "ValueError"


def test_wrong_arguments(link: Any) -> None:
    """They are a TypeError of the method, without a line of the framework."""
    with pytest.raises(RemoteError, match="missing 1 required positional argument: 'x'") as caught:
        link.add()
    assert caught.value.remote_class == "TypeError"
    assert not any("/msl_network/" in line for line in caught.value.remote_traceback)
    with pytest.raises(RemoteError, match="unexpected keyword argument 'z'"):
        link.add(1, z=2)


def test_no_such_attribute(link: Any) -> None:
    """It is an AttributeError that names it; a path is a name like any other."""
    for name in ("nope", "value.real", "constant.0", ""):
        with pytest.raises(RemoteError, match=r"nope|value\.real|constant\.0|not") as caught:
            getattr(link, name or "not there")()
        assert caught.value.remote_class == "AttributeError"


def test_weird_class_name(link: Any) -> None:
    """An exception class may be called anything; its text arrives."""
    for name in ("", "a b", "x: y", "日本", "class"):
        with pytest.raises(RemoteError, match="text: with colon\nand line"):
            link.weird(name)
    assert is_well(link)


def test_error_without_a_text(link: Any) -> None:
    """An exception whose text fails is told with its class."""
    for call in (link.unspeakable, link.unspeakable_later):
        with pytest.raises(RemoteError) as caught:
            call(timeout=DEADLINE)
        assert caught.value.remote_class == "UnspeakableError"
    assert is_well(link)


@pytest.mark.parametrize("name", ["lethal", "lethal_later"])
def test_error_whose_text_ends_programs(link: Any, name: str) -> None:
    """Also if making the text raises SystemExit, the caller gets a reply and the Service goes on."""
    with pytest.raises(RemoteError) as caught:
        getattr(link, name)(timeout=DEADLINE)
    assert caught.value.remote_class == "LethalError"
    assert is_well(link)


def test_recursion(link: Any) -> None:
    """A method without end is an error, with a traceback that is not without end."""
    with pytest.raises(RemoteError) as caught:
        link.recursion()
    assert caught.value.remote_class == "RecursionError"
    assert len(caught.value.remote_traceback) < 100
    assert is_well(link)


def test_errors_do_not_gather(lab: Laboratory) -> None:
    """An exception object that is raised again and again has the traceback of this time only."""
    error = ValueError("the same")

    class Same(Service):
        def fail(self) -> None:
            raise error

    lab.start(Same())
    link = lab.client().link("Same")
    lengths = set()
    for _ in range(5):
        with pytest.raises(RemoteError) as caught:
            link.fail()
        lengths.add(len(caught.value.remote_traceback))
    assert len(lengths) == 1


# What is refused


@pytest.mark.parametrize(
    "name",
    [
        *("_private", "_deeper", "_Service__serving", "__init__", "__class__", "__dict__", "_"),
        *("start", "add_tasks", "emit_notification", "emit_notification_threadsafe"),
        *("ignore_attributes", "shutdown_handler"),
    ],
)
def test_private(lab: Laboratory, name: str) -> None:
    """What begins with an underscore, and what would change the Service, nobody may request."""
    with service_of_fake(Strange()) as (_, wire):
        wire.request(name)
        reply = wire.read()
        assert reply["error"] is True
        assert reply["message"] == f"PermissionError: {name!r} of the 'Strange' Service is private"
        assert reply["result"] is None
        wire.request("value")
        assert wire.read()["result"] == 1


def test_shutdown_service_that_is_not_there(link: Any) -> None:
    """Only a Service that has the method can be ended by a Client."""
    with pytest.raises(RemoteError, match="has no attribute 'shutdown_service'"):
        link.shutdown_service()
    assert is_well(link)


# Concurrency


class Meeting(Service):
    """Requests that need each other."""

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._barrier = threading.Barrier(count)
        self._count = count
        self._waiting: list[asyncio.Future[None]] = []

    def meet(self) -> str:
        self._barrier.wait(DEADLINE)
        return "met"

    async def meet_later(self) -> str:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if len(self._waiting) == self._count:
            for each in self._waiting:
                each.set_result(None)
            self._waiting.clear()
        await asyncio.wait_for(future, DEADLINE)
        return "met"


@pytest.mark.parametrize("name", ["meet", "meet_later"])
def test_requests_run_at_once(lab: Laboratory, name: str) -> None:
    """Requests of one Client, and of several, run at once."""
    lab.start(Meeting(6))
    links = [lab.client().link("Meeting") for _ in range(2)]
    for _ in range(3):
        futures = [getattr(link, name)(asynchronous=True) for link in links for _ in range(3)]
        assert [future.result(DEADLINE) for future in futures] == ["met"] * 6


def test_many_async_methods_at_once(lab: Laboratory) -> None:
    """Methods that are ``async def`` need no thread: hundreds of them wait at a time."""
    lab.start(Meeting(300))
    link = lab.client().link("Meeting")
    futures = [link.meet_later(asynchronous=True) for _ in range(300)]
    assert {future.result(DEADLINE) for future in futures} == {"met"}


def test_async_method_does_not_wait_for_a_thread(lab: Laboratory) -> None:
    """It runs in the event loop; while it waits other requests are answered."""

    class Loop(Strange):
        async def wait(self) -> int:
            self._event = asyncio.Event()
            await self._event.wait()
            return threading.get_ident()

        async def go(self) -> int:
            self._event.set()
            return threading.get_ident()

    running = lab.start(Loop())
    link = lab.client().link("Loop")
    future = link.wait(asynchronous=True)
    assert link.echo(1) == [[1], {}]
    assert link.go() == running.thread.ident == running.service.loop_thread_id
    assert future.result(DEADLINE) == running.thread.ident


@pytest.mark.parametrize("limit", [1, 2])
def test_max_workers(lab: Laboratory, limit: int) -> None:
    """Requests in threads and such that are ``async def`` count together; never do more of them run at once."""

    class Counts(Service):
        def __init__(self) -> None:
            super().__init__(max_workers=limit)
            self._lock = threading.Lock()
            self._running = 0
            self.most = 0

        def _begin(self) -> None:
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)

        def _end(self) -> None:
            with self._lock:
                self._running -= 1

        def quick(self) -> None:
            self._begin()
            self._end()

        def slow(self) -> None:
            self._begin()
            threading.Event().wait(0.004)
            self._end()

        async def later(self) -> None:
            self._begin()
            await asyncio.sleep(0.002)
            self._end()

    service = Counts()
    lab.start(service)
    link = lab.client().link("Counts")
    calls = [link.slow, link.later, link.quick, link.later, link.later, link.slow, link.quick]
    for round_ in range(8):
        futures = [call(asynchronous=True) for call in calls[round_ % 3 :] + calls]
        for future in futures:
            assert future.result(DEADLINE) is None
    assert service.most == limit


def test_order_with_one_worker(lab: Laboratory) -> None:
    """With one worker requests run in the order in which they were made."""
    order: list[int] = []

    class Orders(Service):
        def note(self, number: int) -> None:
            order.append(number)
            if number % 40 == 0:
                threading.Event().wait(0.005)

        async def note_later(self, number: int) -> None:
            await asyncio.sleep(0)
            order.append(number)

    lab.start(Orders(max_workers=1))
    link = lab.client().link("Orders")
    futures = [(link.note_later if number % 3 == 0 else link.note)(number, asynchronous=True) for number in range(200)]
    for future in futures:
        future.result(DEADLINE)
    assert order == list(range(200))


def test_pipelined_requests(lab: Laboratory) -> None:
    """Five thousand requests at once: each is answered once, with its own result."""
    lab.start(Strange())
    link = lab.client().link("Strange")
    futures = [link.add(number, number, asynchronous=True) for number in range(5000)]
    assert [future.result(DEADLINE) for future in futures] == [2 * number for number in range(5000)]


def test_cancelled_inside(link: Any) -> None:
    """An async method that is cancelled, by itself or by what it waits for, is an error for the caller."""
    future = link.cancels(asynchronous=True)
    with pytest.raises(RemoteError, match="CancelledError"):
        future.result(2)
    assert is_well(link)


def test_async_methods_at_the_end(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run when the connection ends are given a while, then they are cancelled."""
    monkeypatch.setattr("msl_network.serving.GRACE", 0.05)
    events: list[str] = []
    has_begun = threading.Event()

    class Endless(Service):
        async def wait(self) -> None:
            has_begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                events.append("cancelled")

    running = lab.start(Endless())
    lab.client().link("Endless").wait(asynchronous=True)
    happens(has_begun)
    lab.stop()
    running.result()
    assert events == ["cancelled"]


# A Manager that misbehaves


def test_replies_have_uid_and_requester() -> None:
    """Whatever they are, they come back as they came."""
    with service_of_fake(Strange()) as (_, wire):
        for uid in ("1", "", 5, None, "ü", "x" * 10_000):
            wire.request("echo", 1, uid=uid)
            reply = wire.read()
            assert reply == {"error": False, "requester": "C[fake:2]", "result": [[1], {}], "uid": uid}
            wire.request("fail", "ValueError", "x", uid=uid)
            reply = wire.read()
            assert (reply["uid"], reply["requester"], reply["message"]) == (uid, "C[fake:2]", "ValueError: x")


def test_broken_lines(caplog: pytest.LogCaptureFixture) -> None:
    """What is no message is logged; the requests behind it are answered."""
    with service_of_fake(Strange()) as (_, wire):
        for line in (b"{", b"[]", b"null", b"\xff\xfe", b'{"args": 5}', b'{"attribute": 7}', b"\x00", b"[" * 100_000):
            wire.write(line + b"\r\n")
        wire.request("value")
        assert wire.read()["result"] == 1
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) >= 8


def test_half_a_request() -> None:
    """A connection that ends within a request ends the Service, without an answer to it."""
    with service_of_fake(Strange()) as (running, wire):
        wire.write(b'{"attribute": "value", "uid": "1"')
        wire.close()
        running.result()


def test_connection_that_breaks() -> None:
    """A connection that ends with a bang ends start without an error, as any other end does."""
    with service_of_fake(Strange()) as (running, wire):
        wire.request("value")
        wire.read()
        wire.reset()
        running.result()


def test_refusal_after_the_identity() -> None:
    """An error in place of the first request is a refusal: start raises what it said."""
    with service_of_fake(Strange()) as (running, wire):
        wire.send(error=True, message="NameError: taken", requester="Manager[x:1]", result=None, uid="")
        wire.close()
        with pytest.raises(RefusedError, match="NameError: taken"):
            running.result()


def test_complaint_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """An error that the Manager sends to a Service that has worked already is logged; the Service goes on."""
    with service_of_fake(Strange()) as (running, wire):
        wire.request("value")
        wire.read()
        wire.send(error=True, message="ValueError: that reply was odd", requester="Manager[x:1]", result=None, uid="")
        wire.request("value")
        assert wire.read()["result"] == 1
        wire.close()
        running.result()
    assert "that reply was odd" in caplog.text


def test_client_that_pretends_an_error(lab: Laboratory) -> None:
    """A request that says it is an error is no refusal by the Manager: the Service goes on, and ends well."""
    running = lab.start(Strange())
    client = lab.client()
    link = client.link("Strange")
    conversation = next(v for k, v in vars(client).items() if k.endswith("conversation"))
    message = b'{"service": "Strange", "attribute": "echo", "args": [], "kwargs": {}, "error": true, "uid": "",'
    conversation._channel.send(message + b' "message": "ValueError: bad", "result": null}\r\n')
    assert is_well(link)
    lab.stop()
    running.result()


def test_read_limit() -> None:
    """A request that is longer than read_limit ends the Service."""
    with service_of_fake(Strange(), read_limit=1000) as (running, wire):
        wire.request("echo", "x" * 500)
        assert wire.read()["result"] == [["x" * 500], {}]
        wire.request("echo", "x" * 1000)
        wire.eof()
        running.result()


def test_manager_that_reads_nothing() -> None:
    """A Manager that takes no replies keeps the Service waiting; when it ends, so does the Service."""
    with service_of_fake(Strange()) as (running, wire):

        def send() -> None:
            with pytest.raises(OSError, match=r"."):
                for_ever(wire.request, "long", 2**20)

        sending = Thread(send)
        sending.join(MOMENT)
        wire.sock.shutdown(2)
        sending.result()
        wire.reset()
        running.result()


def test_ends_while_requests_come(lab: Laboratory) -> None:
    """A Service that ends in the midst of traffic leaves nothing behind: no thread, no task, no warning."""

    class Ends(Strange):
        def shutdown_service(self) -> None:
            pass

    for _ in range(5):
        running = lab.start(Ends())
        client = lab.client()
        link = client.link("Ends")
        futures = [link.later(number, asynchronous=True) for number in range(200)]
        client.link("Ends").shutdown_service()
        running.result()
        lab.who.services()
        client.disconnect()
        assert all(future.done() for future in futures)
