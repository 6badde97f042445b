from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import (
    Client,
    ConnectError,
    LinkedClient,
    RefusedError,
    RemoteError,
    Service,
    connect,
    filter_service_start_kwargs,
)
from msl_network.service import set_logging_level

from .laboratory import DEADLINE, HERE, Laboratory, Running, Script, Thread, happens, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test ends the threads that it starts, and changes no level."""
    logger = logging.getLogger("msl_network")
    level = logger.level
    with no_thread_left():
        yield
    logger.setLevel(level)


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory() as laboratory:
        yield laboratory


class Echo(Service):
    """Says what it hears."""

    unit = "V"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shutdowns = 0
        self.offset = 0.5
        self.has_ended = threading.Event()

    @property
    def twice(self) -> float:
        return 2 * self.offset

    def echo(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return what it was called with."""
        return args, kwargs

    def shutdown_handler(self) -> None:
        self.shutdowns += 1
        self.has_ended.set()


class Heard:
    """A handler of notifications."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = threading.Condition()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        with self._news:
            self.all.append((args, kwargs) if kwargs else args)
            self._news.notify_all()

    def until(self, count: int) -> list[Any]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.all) >= count, DEADLINE), self.all
            return list(self.all)


def hearing(lab: Laboratory, service: str) -> tuple[Client, Any, Heard]:
    client = lab.client()
    link: Any = client.link(service)
    heard = Heard()
    link.notification_handler = heard
    return client, link, heard


# Who it is


def test_identity(lab: Laboratory) -> None:
    """Methods with their signatures, values of properties and constants, docstrings; nothing of the framework."""
    lab.start(Echo(max_clients=7, ignore_attributes=["has_ended", "shutdowns"]))
    link = lab.client().link("Echo")
    assert link.service_attributes["echo"].startswith("(*args")
    assert link.service_attributes["unit"] == "V"
    assert link.service_attributes["offset"] == 0.5
    assert link.service_attributes["twice"] == 1.0
    assert set(link.service_attributes) <= {"echo", "unit", "offset", "twice", "set_logging_level"}
    assert link.service_max_clients == 7
    assert link.service_language.startswith("Python 3.")
    assert link.echo.__doc__ == "Return what it was called with."


def test_names() -> None:
    """A Service is called like its class, or as it was told; nothing else is known of one that was not started."""
    assert Echo().name == "Echo"
    service = Echo(name="Other Name")
    assert service.name == "Other Name"
    assert (service.port, service.address_manager, service.loop_thread_id) == (None, None, None)
    assert "Other Name" in repr(service)
    assert "not started" in repr(service)
    assert service.identity()["name"] == "Other Name"


def test_name_of_start(lab: Laboratory) -> None:
    """The name that start is given takes the place of the other."""
    running = lab.start(Echo(name="Old"), name="New")
    assert running.service.name == "New"
    assert lab.client().link("New").service_name == "New"
    assert running.service.address_manager == f"{HERE}:{lab.port}"
    assert str(running.service).startswith("New[")
    assert str(running.service.port) in repr(running.service)


@pytest.mark.parametrize("number", [None, 0, -5])
def test_no_limit_of_clients(number: int | None) -> None:
    """Whatever is not positive is no limit."""
    assert Echo(max_clients=number).max_clients == -1


def test_max_clients(lab: Laboratory) -> None:
    """No more Clients may link than allowed, until one of them goes."""
    lab.start(Echo(max_clients=1))
    first = lab.client("A").link("Echo")
    second = lab.client("B")
    with pytest.raises(RemoteError, match="maximum number of Clients"):
        second.link("Echo")
    first.unlink()
    assert second.link("Echo").echo(1) == [[1], {}]


@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_must_be_positive(number: int) -> None:
    """A Service that runs nothing is a mistake."""
    with pytest.raises(ValueError, match="at least 1"):
        Echo(max_workers=number)


@pytest.mark.parametrize("names", ["offset", ["offset"], ("offset",)])
def test_ignored_attributes(lab: Laboratory, names: Any) -> None:
    """Nobody is told of them; who knows of them can ask for them. They may be given in two places."""
    service = Echo(ignore_attributes=names)
    service.ignore_attributes("has_ended", "unit")
    lab.start(service)
    link = lab.client().link("Echo")
    assert not {"offset", "unit"} & set(link.service_attributes)
    assert link.offset() == 0.5


def test_property_that_fails(lab: Laboratory, caplog: pytest.LogCaptureFixture) -> None:
    """One that fails, or has a value that JSON cannot carry, is left out with a warning; the Service goes on."""

    class Broken(Service):
        ok = 1
        bad = object()

        @property
        def fails(self) -> int:
            raise RuntimeError("not connected to the hardware")

    lab.start(Broken())
    attributes = lab.client().link("Broken").service_attributes
    assert attributes["ok"] == 1
    assert not {"fails", "bad"} & set(attributes)
    assert "not connected to the hardware" in caplog.text


def test_attributes_of_a_subclass(lab: Laboratory) -> None:
    """A subclass may have attributes of any name with one underscore, as the framework may."""

    class Own(Service):
        def __init__(self) -> None:
            self._run: Any = "before"
            self._channel: Any = "before"
            self._workers: Any = "before"
            self._loop: Any = "before"
            super().__init__()
            for name in ("channel", "workers", "loop", "serving", "name", "run", "port", "tasks", "max_clients"):
                setattr(self, f"_{name}", 1)
            self._identity = self._ignored = self._socket = self._lock = self._slow = None

        async def later(self) -> int:
            await asyncio.sleep(0)
            return self._loop + self._run  # type: ignore[no-any-return]

        def now(self) -> int:
            self.emit_notification(self._channel)
            return self._channel + self._workers  # type: ignore[no-any-return]

    running = lab.start(Own())
    _, link, heard = hearing(lab, "Own")
    assert link.later() == 2
    assert link.now() == 2
    assert heard.until(1) == [(1,)]
    lab.stop()
    running.result()


# The start


def test_name_taken(lab: Laboratory) -> None:
    """A Service whose name is taken is refused: start says what the Manager said; the other goes on."""
    lab.start(Echo())
    with pytest.raises(RefusedError, match="'Echo' service is already running"):
        Echo().start(**lab.keywords)
    assert lab.client().link("Echo").echo(1) == [[1], {}]


def test_refused_service_tells_its_handler_once(lab: Laboratory) -> None:
    """The shutdown_handler of a Service is not called twice, also if it was refused; added tasks do not go on."""
    lab.start(Echo())
    service = Echo()
    ran = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ran.set()

    async def ends() -> None:
        return None

    service.add_tasks(ends())
    with pytest.raises(RefusedError):
        service.start(**lab.keywords)
    assert service.shutdowns <= 1


def test_nobody_listens() -> None:
    """Without a Manager start raises, and the Service can be started again."""
    service = Echo()
    with Laboratory() as lab:
        keywords = lab.keywords
    with pytest.raises(ConnectError, match="nothing listens"):
        service.start(**keywords)
    with Laboratory() as lab:
        lab.start(service)
        assert lab.client().link("Echo").echo(1) == [[1], {}]


def test_start_again(lab: Laboratory) -> None:
    """A Service that has ended can be started again."""
    service = ShutsDown()
    for number in (1, 2):
        running = lab.start(service)
        assert lab.client().link("ShutsDown").shutdown_service() is None
        running.result()
        assert service.shutdowns == number


def test_start_in_the_main_thread(lab: Laboratory) -> None:
    """Start blocks until the Service ends, in the main thread as in any other."""

    def use() -> Any:
        lab.who.services("ShutsDown")
        link = lab.client().link("ShutsDown")
        return link.loop(), link.shutdown_service()

    using = Thread(use)
    service = ShutsDown()
    service.start(**lab.keywords)
    assert using.result()[0] == threading.get_ident()


def test_start_inside_a_running_event_loop(lab: Laboratory) -> None:
    """In a notebook, for instance, start works as well, and raises what it raises."""

    def use() -> None:
        lab.who.services("ShutsDown")
        lab.client().link("ShutsDown").shutdown_service()

    async def main() -> None:
        using = Thread(use)
        ShutsDown().start(**lab.keywords)
        using.result()
        lab.start(Echo())
        with pytest.raises(RefusedError, match="already running"):
            Echo().start(**lab.keywords)

    asyncio.run(main())


class ShutsDown(Echo):
    """Can be ended by a Client."""

    def shutdown_service(self, *args: Any) -> Any:
        return args or None

    def loop(self) -> int | None:
        return self.loop_thread_id


# The end


def test_shutdown_service(lab: Laboratory) -> None:
    """The reply arrives, start returns, the handler was called once, and the Manager knows that it is gone."""
    running = lab.start(ShutsDown())
    link = lab.client().link("ShutsDown")
    assert link.shutdown_service(1, "two") == [1, "two"]
    running.result()
    lab.who.services()
    assert running.service.shutdowns == 1  # type: ignore[attr-defined]
    assert running.service.loop_thread_id is None


def test_shutdown_service_that_is_async(lab: Laboratory) -> None:
    """It may be ``async def``, too."""

    class Later(Echo):
        async def shutdown_service(self) -> str:
            await asyncio.sleep(0)
            return "bye"

    running = lab.start(Later())
    assert lab.client().link("Later").shutdown_service() == "bye"
    running.result()


def test_shutdown_service_that_fails(lab: Laboratory) -> None:
    """One that raises is an error like any other, and the Service goes on."""

    class Stays(Echo):
        def shutdown_service(self) -> None:
            raise RuntimeError("not now")

    lab.start(Stays())
    link = lab.client().link("Stays")
    with pytest.raises(RemoteError, match="not now"):
        link.shutdown_service()
    assert lab.client().link("Stays").echo(1) == [[1], {}]


def test_end_of_the_manager(lab: Laboratory) -> None:
    """When the Manager stops, start returns and the handler was called once."""
    running = lab.start(Echo())
    lab.stop()
    running.result()
    assert running.service.shutdowns == 1  # type: ignore[attr-defined]


def test_shutdown_handler_that_fails(lab: Laboratory) -> None:
    """What the handler raises, start raises; the connection is closed all the same."""

    class Fails(Service):
        def shutdown_handler(self) -> None:
            raise ZeroDivisionError("in the handler")

    running = lab.start(Fails())
    lab.stop()
    with pytest.raises(ZeroDivisionError, match="in the handler"):
        running.result()


def test_busy_when_the_manager_ends(lab: Laboratory) -> None:
    """A request that still runs does not keep start from returning; its reply is dropped."""
    go = threading.Event()
    has_begun = threading.Event()

    class Busy(Service):
        def work(self) -> str:
            has_begun.set()
            happens(go)
            return "done"

    running = lab.start(Busy())
    lab.client().link("Busy").work(asynchronous=True)
    happens(has_begun)
    lab.stop()
    running.result()
    go.set()


# Tasks


def test_tasks(lab: Laboratory) -> None:
    """Coroutines and futures run beside the Service, in its loop; the end of one is not that of the Service."""
    service = ShutsDown()
    threads: list[int | None] = []
    has_run = threading.Event()

    async def task(number: int) -> None:
        await asyncio.sleep(0)
        threads.append(service.loop_thread_id)
        threads.append(threading.get_ident())
        if number == 2:
            has_run.set()

    service.add_tasks(task(1), task(2))
    running = lab.start(service)
    happens(has_run)
    link = lab.client().link("ShutsDown")
    assert set(threads) == {link.loop()} == {running.thread.ident}
    link.shutdown_service()
    running.result()


def test_task_that_fails(lab: Laboratory) -> None:
    """Start raises what it raised; the Manager is told, and the handler called once."""
    go = threading.Event()
    service = Echo()

    async def fails() -> None:
        await asyncio.to_thread(happens, go)
        raise ZeroDivisionError("task")

    service.add_tasks(fails())
    running = lab.start(service)
    go.set()
    with pytest.raises(ZeroDivisionError, match="task"):
        running.result()
    assert service.shutdowns == 1
    lab.who.services()


def test_task_that_never_ends(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the end of the connection a task has a while to end, then it is cancelled."""
    monkeypatch.setattr("msl_network.serving.GRACE", 0.05)
    service = Echo()
    events: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def polite() -> None:
        while not service.shutdowns:  # noqa: ASYNC110 - as scripts do
            await asyncio.sleep(0.001)
        events.append("ended")

    service.add_tasks(endless(), polite())
    running = lab.start(service)
    lab.stop()
    running.result()
    assert events == ["ended", "cancelled"]


# Notifications


def test_notifications_from_everywhere(lab: Laboratory) -> None:
    """From a method, an async method, a task, and any thread, with either name; none is lost, those of one in order."""

    class Tells(Echo):
        def sync(self) -> None:
            for number in range(10):
                self.emit_notification("sync", number)

        async def later(self) -> None:
            for number in range(10):
                self.emit_notification_threadsafe("later", number)
                await asyncio.sleep(0)

    go = threading.Event()
    service = Tells()

    async def task() -> None:
        await asyncio.to_thread(happens, go)
        for number in range(10):
            service.emit_notification("task", number)

    service.add_tasks(task())
    lab.start(service)
    _, link, heard = hearing(lab, "Tells")
    go.set()
    link.sync()
    link.later()
    service.emit_notification("thread", 0, key=[1.5])
    found = heard.until(31)
    for name in ("sync", "later", "task"):
        assert [args for args in found if args[0] == name] == [(name, number) for number in range(10)]
    assert (("thread", 0), {"key": [1.5]}) in found


def test_notification_before_the_start() -> None:
    """There is nobody to notify, which is said."""
    with pytest.raises(RuntimeError, match="was not started"):
        Echo().emit_notification(1)


def test_notification_after_the_end(lab: Laboratory) -> None:
    """Nothing happens, because threads of a Service may end later than its connection."""
    running = lab.start(Echo())
    lab.stop()
    running.result()
    running.service.emit_notification(1)


def test_notification_in_the_shutdown_handler(lab: Laboratory) -> None:
    """It is no error."""

    class Last(Echo):
        def shutdown_handler(self) -> None:
            super().shutdown_handler()
            self.emit_notification("bye")

    running = lab.start(Last())
    lab.stop()
    running.result()
    assert running.service.shutdowns == 1  # type: ignore[attr-defined]


def test_impossible_notification(lab: Laboratory) -> None:
    """What JSON cannot carry, or what is too long, is raised where it is emitted; the connection stays."""
    service = Echo()
    service.max_message = 1000
    lab.start(service)
    _, link, heard = hearing(lab, "Echo")
    with pytest.raises(TypeError, match="JSON cannot carry"):
        service.emit_notification(object())
    with pytest.raises(ValueError, match="limit"):
        service.emit_notification("x" * 1000)
    service.emit_notification("ok")
    assert heard.until(1) == [("ok",)]
    assert link.echo(1) == [[1], {}]


# Keywords and levels


def test_filter_of_keywords() -> None:
    """What start does not take is left out; the Manager's name of its password is understood."""
    found = filter_service_start_kwargs(port=1, host="x", color="red", auth_password="p")
    assert found == {"port": 1, "host": "x", "password_manager": "p"}
    assert filter_service_start_kwargs(auth_password="p", password_manager="q") == {"password_manager": "q"}
    assert filter_service_start_kwargs(self=1) == {}


@pytest.mark.parametrize(
    ("level", "number"), [("debug", 10), ("WARNING", 30), (" Info ", 20), (40, 40), ("35", 35), ("NOTSET", 0)]
)
def test_logging_level(level: str | int, number: int) -> None:
    """It is a name in any case, or a number."""
    assert set_logging_level(level) is True
    assert logging.getLogger("msl_network").level == number
    assert Echo().set_logging_level(level) is True
    assert Service.set_logging_level(level) is True


@pytest.mark.parametrize("level", ["loud", "", [], None, 1.5])
def test_no_such_level(level: Any) -> None:
    """What is no level changes nothing."""
    before = logging.getLogger("msl_network").level
    assert set_logging_level(level) is False
    assert logging.getLogger("msl_network").level == before


def test_logging_level_of_a_remote_service(lab: Laboratory) -> None:
    """A Client may set it, as with 1.0."""
    lab.start(Echo())
    assert lab.client().link("Echo").set_logging_level("ERROR") is True
    assert logging.getLogger("msl_network").level == logging.ERROR


# Real processes

SERVICE = """
import sys, asyncio, signal, threading
from msl_network import Service
class Real(Service):
    def work(self):
        print("working", flush=True)
        threading.Event().wait(30)
    def stray(self):
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    def shutdown_handler(self):
        print("handler", flush=True)
    async def later(self):
        print("working", flush=True)
        await asyncio.sleep(30)
async def task():
    try:
        await asyncio.Event().wait()
    finally:
        print("task", flush=True)
service = Real()
if "task" in sys.argv:
    import msl_network.serving
    msl_network.serving.GRACE = 0.1
    service.add_tasks(task())
{start}
print("returned", flush=True)
"""
START = 'service.start(host="127.0.0.1", port=int(sys.argv[1]), disable_tls=True)'
IN_A_LOOP = f"""
async def main():
    try:
        {START}
    except KeyboardInterrupt:
        pass
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
threading.Event().wait(3)
"""


@pytest.mark.parametrize("busy", ["idle", "work", "task"])
def test_ctrl_c(lab: Laboratory, busy: str) -> None:
    """Ctrl+C ends a Service whatever it does: the handler is called, start returns, status 0, no traceback."""
    with Script(SERVICE.replace("{start}", START), lab.port, busy) as script:
        lab.who.services("Real")
        link = lab.client().link("Real")
        assert link.set_logging_level("WARNING")  # it has begun to serve, not only connected
        if busy == "work":
            link.work(asynchronous=True)
            assert script.line() == "working"
        script.interrupt()
        status, output, errors = script.end()
    assert errors == ""
    # Python 3.10 cancels the tasks itself, before anybody is asked
    assert sorted(output.split()) == ["handler", "returned", *(["task"] if busy == "task" else [])]
    assert status == 0
    lab.who.services()


def test_ctrl_c_in_a_notebook(lab: Laboratory) -> None:
    """Also where an event loop runs already, Ctrl+C ends the Service, and not only the waiting for it."""
    with Script(SERVICE.replace("{start}", IN_A_LOOP), lab.port) as script:
        lab.who.services("Real")
        assert lab.client().link("Real").set_logging_level("WARNING")
        script.interrupt()
        assert script.line() == "handler"
        lab.who.services()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows gives signals to no thread in particular")
@pytest.mark.parametrize("start", [START, IN_A_LOOP], ids=["start", "in a loop"])
def test_ctrl_c_in_another_thread(lab: Laboratory, start: str) -> None:
    """Where the system tells another thread than the waiting one of Ctrl+C, the Service ends all the same."""
    with Script(SERVICE.replace("{start}", start), lab.port) as script:
        lab.who.services("Real")
        lab.client().link("Real").stray(asynchronous=True)
        assert script.line() == "handler"
        lab.who.services()


def test_end_of_the_manager_ends_the_process(lab: Laboratory) -> None:
    """A process with a Service ends by itself, with status 0, also when a request still runs."""
    with Script(SERVICE.replace("{start}", START), lab.port) as script:
        lab.who.services("Real")
        lab.client().link("Real").work(asynchronous=True)
        assert script.line() == "working"
        lab.stop()
        assert script.end() == (0, "handler\nreturned\n", "")


def test_linked_client_inside_a_service(lab: Laboratory) -> None:
    """A method of a Service may itself be a Client of another Service."""

    class Middle(Service):
        def through(self, x: int) -> Any:
            with LinkedClient("Echo", **lab.keywords) as other:
                return other.echo(x)

    lab.start(Echo())
    lab.start(Middle())
    link = lab.client().link("Middle")
    futures = [link.through(number, asynchronous=True) for number in range(8)]
    assert [future.result(DEADLINE) for future in futures] == [[[number], {}] for number in range(8)]


def test_many_services_in_one_process(lab: Laboratory) -> None:
    """Services in several threads do not get into each other's way."""
    running = [lab.start(Echo(name=f"Echo {number}")) for number in range(5)]
    assert all(isinstance(each, Running) for each in running)
    with connect(**lab.keywords) as client:
        for number in range(5):
            assert client.link(f"Echo {number}").echo(number) == [[number], {}]


def test_forgotten_constructor(lab: Laboratory) -> None:
    """A subclass whose constructor forgets that of Service is told so."""

    class Forgetful(Service):
        def __init__(self) -> None:
            self.volts = 5

    with pytest.raises(RuntimeError, match=r"the constructor of Forgetful must call super\(\)\.__init__\(\)"):
        Forgetful().start(**lab.keywords)


@pytest.mark.parametrize("keyword", ["max_clients", "max_workers"])
def test_a_number_that_is_none(keyword: str) -> None:
    """A limit is a number."""
    with pytest.raises(TypeError, match=f"{keyword} must be a number or None, found 'x'"):
        Service(**{keyword: "x"})  # type: ignore[arg-type]


def test_started_twice(lab: Laboratory) -> None:
    """A Service that runs cannot be started again meanwhile, and is not disturbed by the attempt."""
    service = Echo()
    lab.start(service)
    link: Any = lab.client().link("Echo")
    told = threading.Event()
    link.notification_handler = told.set
    with pytest.raises(RuntimeError, match="'Echo' Service has started already"):
        service.start(**lab.keywords)
    service.emit_notification()
    happens(told)
