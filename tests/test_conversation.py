from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, as_completed, wait
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import CallTimeoutError, Client, ConnectionLostError, RemoteError, Service

from .laboratory import DEADLINE, MOMENT, Laboratory, Script, Thread, client_of_fake, happens, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .laboratory import Wire


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test ends the threads that it starts."""
    with no_thread_left():
        yield


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory() as laboratory:
        yield laboratory


class Echo(Service):
    """Answers at once, or when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.is_held = threading.Event()

    def echo(self, *args: Any) -> Any:
        return args

    def hold(self, *args: Any) -> Any:
        self.is_held.set()
        happens(self.go)
        return args

    def tell(self, *args: Any) -> None:
        self.emit_notification(*args)

    def fail(self) -> None:
        raise ValueError("x")


@pytest.fixture
def echo(lab: Laboratory) -> Iterator[Echo]:
    service = Echo()
    lab.start(service)
    yield service
    service.go.set()


def fake_link(client: Client, wire: Wire) -> Any:
    """A link with a Service that the test plays, too."""
    linking = Thread(client.link, "S")
    request = wire.read()
    assert request["attribute"] == "link"
    wire.reply(request["uid"], {"type": "service", "name": "S", "address": "x:1", "attributes": {"f": "()"}})
    return linking.result()


def waiting(client: Client) -> int:
    """How many calls wait for a reply."""
    conversation: Any = next(value for key, value in vars(client).items() if key.endswith("__conversation"))
    return len(conversation._calls._waiting)


# Threads


def test_threads_share_a_client(lab: Laboratory, echo: Echo) -> None:
    """Twenty threads call at once, each gets its own results, whether it waits or has a future."""
    client = lab.client()
    link: Any = client.link("Echo")
    barrier = threading.Barrier(20)

    def use(index: int) -> None:
        barrier.wait(DEADLINE)
        for number in range(30):
            assert link.echo(index, number) == [index, number]
            futures = [link.echo(index, number, each, asynchronous=True) for each in range(3)]
            for each, future in enumerate(futures):
                assert future.result(DEADLINE) == [index, number, each]
            if number % 10 == 0:
                assert "Echo" in str(client.identities())
                with pytest.raises(RemoteError, match="ValueError: x"):
                    link.fail()

    for thread in [Thread(use, index) for index in range(20)]:
        thread.result()
    assert waiting(client) == 0


def test_slow_call_of_another_thread(lab: Laboratory, echo: Echo) -> None:
    """While a thread waits for long, others call as if it were not there, with all kinds of calls."""
    link: Any = lab.client().link("Echo")
    link.echo(1)
    slow = Thread(link.hold, "slow")
    happens(echo.is_held)
    for number in range(50):
        assert link.echo(number) == [number]
        assert link.echo(number, asynchronous=True).result(DEADLINE) == [number]
        assert link.echo(number, timeout=DEADLINE) == [number]
    echo.go.set()
    assert slow.result() == ["slow"]


def test_nobody_spins(lab: Laboratory, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a caller reads for all the attendant sleeps, also when there are asynchronous calls meanwhile."""
    client = lab.client()
    link: Any = client.link("Echo")
    conversation: Any = next(value for key, value in vars(client).items() if key.endswith("__conversation"))
    rounds = 0
    step_back = conversation._step_back

    class Turn:
        """Counts how often the turn is asked for."""

        def __init__(self, turn: Any) -> None:
            self.release = turn.release
            self._acquire = turn.acquire

        def acquire(self, blocking: bool = True) -> bool:
            nonlocal rounds
            rounds += 1
            return bool(self._acquire(blocking=blocking))

    assert step_back
    for _ in range(5):
        link.echo(1)
    conversation._turn = Turn(conversation._turn)
    slow = Thread(link.hold)
    happens(echo.is_held)
    for number in range(10):
        assert link.echo(number, asynchronous=True).result(DEADLINE) == [number]
    threading.Event().wait(MOMENT)
    echo.go.set()
    slow.result()
    assert rounds < 200


def test_futures(lab: Laboratory, echo: Echo) -> None:
    """They are those of concurrent.futures: wait and as_completed take them; errors are their exceptions."""
    link: Any = lab.client().link("Echo")
    held = link.hold(0, asynchronous=True)
    futures = [link.echo(number, asynchronous=True) for number in range(10)]
    done, pending = wait([held, *futures], DEADLINE, return_when="FIRST_COMPLETED")
    assert done
    assert held in pending
    assert sorted(future.result() for future in as_completed(futures, DEADLINE)) == [[number] for number in range(10)]
    assert not held.done()
    echo.go.set()
    assert held.result(DEADLINE) == [0]
    assert isinstance(held, Future)
    assert isinstance(link.fail(asynchronous=True).exception(DEADLINE), RemoteError)


def test_cancelled_future(lab: Laboratory, echo: Echo) -> None:
    """It is cancelled at once; the reply, when it comes, is dropped, and nothing else suffers."""
    client = lab.client()
    link: Any = client.link("Echo")
    future = link.hold(asynchronous=True)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    assert future.cancel()
    happens(called)
    with pytest.raises(CancelledError):
        future.result(DEADLINE)
    echo.go.set()
    assert link.hold(1) == [1]
    assert waiting(client) == 0


# Callbacks


def test_callback_that_calls(lab: Laboratory, echo: Echo) -> None:
    """The callback of a future may call the same Client, and the callbacks of that may, too."""
    link: Any = lab.client().link("Echo")
    results: list[Any] = []
    done = threading.Event()

    def second(future: Future[Any]) -> None:
        results.append(("second", future.result(), link.echo(3), link.echo(3, timeout=DEADLINE)))
        done.set()

    def first(future: Future[Any]) -> None:
        results.append(("first", future.result(), link.echo(2)))
        link.echo(2.5, asynchronous=True).add_done_callback(second)
        link.echo(4)

    link.hold(1, asynchronous=True).add_done_callback(first)
    echo.go.set()
    happens(done)
    assert results == [("first", [1], [2]), ("second", [2.5], [3], [3])]


def test_callbacks_of_many_threads_that_call(lab: Laboratory, echo: Echo) -> None:
    """Callbacks call while other threads wait for their own replies: all of them get these."""
    link: Any = lab.client().link("Echo")
    count = 0
    lock = threading.Lock()
    done = threading.Event()

    def callback(future: Future[Any]) -> None:
        nonlocal count
        assert link.echo("nested", *future.result()) == ["nested", *future.result()]
        with lock:
            count += 1
            if count == 4 * 10:
                done.set()

    def use(index: int) -> None:
        for number in range(10):
            future = link.echo(index, number, asynchronous=True)
            future.add_done_callback(callback)
            assert link.echo(index, number) == [index, number]
            assert future.result(DEADLINE) == [index, number]

    for thread in [Thread(use, index) for index in range(4)]:
        thread.result()
    happens(done)


def test_callbacks_that_call_are_not_nested_without_end() -> None:
    """However many futures have callbacks that call, each of these gets its reply, and so does a thread that waits."""
    count = 400
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        results: list[Any] = []
        futures = [link.f(asynchronous=True) for _ in range(count)]
        for future in futures:
            future.add_done_callback(lambda _: results.append(link.f()))
        uids = [wire.read()["uid"] for _ in range(count)]
        waiting_thread = Thread(link.f)
        uids.append(wire.read()["uid"])
        wire.write(b"".join(b'{"result": 1, "uid": "%s"}\r\n' % uid.encode() for uid in uids))
        wire.sock.settimeout(3)
        for _ in range(count):
            wire.reply(wire.read()["uid"], 2)
        assert waiting_thread.result() == 1
        assert client.is_connected()
    assert results == [2] * count


def test_callback_that_fails(lab: Laboratory, echo: Echo, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and nobody else suffers."""
    link: Any = lab.client().link("Echo")
    called, third = threading.Event(), threading.Event()

    def callback(future: Future[Any]) -> None:
        called.set()
        raise ZeroDivisionError("in a callback")

    future = link.hold(asynchronous=True)
    future.add_done_callback(callback)
    echo.go.set()
    happens(called)
    assert link.echo(1) == [1]
    follower = threading.Event()
    future.add_done_callback(lambda _: follower.set())  # called here and now: it is done
    happens(follower)
    link.hold(asynchronous=True).add_done_callback(lambda _: third.set())
    happens(third)  # in the thread of the callbacks, after the one that failed
    assert "in a callback" in caplog.text


def test_callback_that_disconnects(lab: Laboratory, echo: Echo) -> None:
    """A callback may end the connection; others that wait are told."""
    client = lab.client()
    link: Any = client.link("Echo")
    done = threading.Event()
    pending = link.hold(asynchronous=True)
    happens(echo.is_held)

    def callback(future: Future[Any]) -> None:
        client.disconnect()
        done.set()

    link.echo(1, asynchronous=True).add_done_callback(callback)
    happens(done)
    assert not client.is_connected()
    with pytest.raises(ConnectionLostError, match="this Client has disconnected"):
        pending.result(DEADLINE)
    assert client.loop_thread_id is None


# Notifications


def test_handler_that_calls(lab: Laboratory, echo: Echo) -> None:
    """A notification handler may call the Service that notified it, also while other threads wait for replies."""
    link: Any = lab.client().link("Echo")
    found: list[Any] = []
    done = threading.Event()

    def handler(number: int) -> None:
        found.append(link.echo(number))
        if number == 19:
            done.set()

    link.notification_handler = handler
    for number in range(20):
        link.tell(number)
    happens(done)
    assert found == [[number] for number in range(20)]


def test_notification_without_a_call(lab: Laboratory, echo: Echo) -> None:
    """A notification arrives though nobody calls, and right after a call."""
    link: Any = lab.client().link("Echo")
    heard: list[int] = []
    news = threading.Condition()

    def handler(number: int) -> None:
        with news:
            heard.append(number)
            news.notify_all()

    link.notification_handler = handler
    for number in range(20):
        if number % 2:
            link.echo(1)
        echo.emit_notification(number)
        with news:
            assert news.wait_for(lambda: number in heard, DEADLINE)  # noqa: B023 - waits here
    assert heard == list(range(20))


def test_slow_handler(lab: Laboratory, echo: Echo) -> None:
    """A handler that takes its time keeps neither replies nor callbacks waiting."""
    client = lab.client()
    link: Any = client.link("Echo")
    go = threading.Event()
    has_begun = threading.Event()

    def handler() -> None:
        has_begun.set()
        happens(go)

    link.notification_handler = handler
    link.tell()
    link.tell()
    happens(has_begun)
    assert link.echo(1) == [1]
    assert link.echo(2, asynchronous=True).result(DEADLINE) == [2]
    client.disconnect()
    go.set()


def test_handler_that_disconnects(lab: Laboratory, echo: Echo) -> None:
    """A notification handler may end the connection."""
    client = lab.client()
    link: Any = client.link("Echo")
    done = threading.Event()

    def handler() -> None:
        client.disconnect()
        done.set()

    link.notification_handler = handler
    link.tell()
    happens(done)
    assert not client.is_connected()


# Timeouts


def test_timeout(lab: Laboratory, echo: Echo) -> None:
    """The call ends in time; its late reply is dropped, and the next call has its own."""
    client = lab.client()
    link: Any = client.link("Echo")
    for timeout in (0.01, 0, -1):
        with pytest.raises(CallTimeoutError, match=r"Echo\.hold was not answered within"):
            link.hold("late", timeout=timeout)
    assert waiting(client) == 0
    assert link.echo("next") == ["next"]
    echo.go.set()
    assert link.hold("again", timeout=DEADLINE) == ["again"]


def test_timeout_is_a_builtin(lab: Laboratory, echo: Echo) -> None:
    """Scripts catch TimeoutError."""
    link: Any = lab.client().link("Echo")
    with pytest.raises(TimeoutError):
        link.hold(timeout=0.01)


def test_timeouts_of_threads(lab: Laboratory, echo: Echo) -> None:
    """Threads that give up, who may be reading for all, leave the others to their replies."""
    link: Any = lab.client().link("Echo")

    def impatient() -> None:
        for _ in range(10):
            with pytest.raises(CallTimeoutError):
                link.hold(timeout=0.005)

    def patient() -> None:
        for number in range(50):
            assert link.echo(number) == [number]

    held = Thread(link.hold, "held")
    for thread in [Thread(impatient), Thread(patient), Thread(impatient), Thread(patient)]:
        thread.result()
    echo.go.set()
    assert held.result() == ["held"]


@pytest.mark.parametrize("timeout", [1e7, 1e10, float("inf")])
def test_long_timeout(lab: Laboratory, echo: Echo, timeout: float) -> None:
    """A timeout may be as long as anybody likes, whoever reads."""
    link: Any = lab.client().link("Echo")
    for _ in range(5):
        assert link.echo(1, timeout=timeout) == [1]
    held = Thread(link.hold, timeout=timeout)
    happens(echo.is_held)
    assert link.echo(1, timeout=timeout) == [1]
    echo.go.set()
    held.result()


# What cannot be sent


def test_impossible_argument(lab: Laboratory, echo: Echo) -> None:
    """It is raised at once, where the call is, and nothing is left behind."""
    client = lab.client()
    link: Any = client.link("Echo")
    loop: list[Any] = []
    loop.append(loop)
    for value, error in ((object(), TypeError), ({1, 2}, TypeError), (loop, ValueError), ("\ud800", ValueError)):
        for asynchronous in (False, True):
            with pytest.raises(error):
                link.echo(value, asynchronous=asynchronous)
            with pytest.raises(error):
                link.echo(key=value, asynchronous=asynchronous)
    assert waiting(client) == 0
    assert link.echo(1) == [1]


def test_large_messages_of_threads(lab: Laboratory, echo: Echo) -> None:
    """Threads that send and receive megabytes at once do not wait for each other for ever."""
    link: Any = lab.client().link("Echo")
    text = "x" * 3 * 2**20

    def use(letter: str) -> None:
        for _ in range(2):
            assert link.echo(letter + text) == [letter + text]
            assert link.echo(letter + text, asynchronous=True).result(DEADLINE) == [letter + text]

    for thread in [Thread(use, letter) for letter in "abc"]:
        thread.result()


# The end


def test_lost_manager() -> None:
    """When the Manager is gone, whoever waits is told: all threads, and all futures; and so is who calls then."""
    for end in ("close", "reset"):
        with client_of_fake(name="Lost") as (client, wire):
            link = fake_link(client, wire)
            futures = [link.f(asynchronous=True) for _ in range(5)]
            threads = [Thread(link.f) for _ in range(5)] + [Thread(link.f, timeout=DEADLINE) for _ in range(5)]
            for _ in range(15):
                wire.read()
            getattr(wire, end)()
            for thread in threads:
                with pytest.raises(ConnectionLostError):
                    thread.result()
            for future in futures:
                assert isinstance(future.exception(DEADLINE), ConnectionLostError)
            assert not client.is_connected()
            assert "disconnected" in repr(client)
            assert client.loop_thread_id is None
            for call in (link.f, client.identities, link.acquire_lock, lambda: link.f(asynchronous=True)):  # noqa: B023
                with pytest.raises(ConnectionLostError, match="cannot ask for"):
                    call()
            client.disconnect()


def test_each_has_an_error_of_its_own() -> None:
    """Those who wait get different exception objects, because a traceback grows where it is raised."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        futures = [link.f(asynchronous=True) for _ in range(3)]
        wire.close()
        assert len({id(future.exception(DEADLINE)) for future in futures}) == 3


def test_killed_manager() -> None:
    """A Manager whose process is killed ends what waits."""
    text = (
        "import anyio\nfrom tests.wire_peer import config\nfrom msl_network import Manager\n"
        "async def main():\n    async with Manager(config()) as manager:\n"
        "        print(manager.port, flush=True)\n        await anyio.sleep_forever()\nanyio.run(main)"
    )
    with Script(text) as script:
        port = int(script.line())
        service = Echo()
        running = Thread(service.start, port=port, host="127.0.0.1", disable_tls=True)
        client = __import__("msl_network").LinkedClient("Echo", port=port, host="127.0.0.1", disable_tls=True)
        future = client.hold(asynchronous=True)
        thread = Thread(client.hold)
        happens(service.is_held)
        script.kill()
        with pytest.raises(ConnectionLostError):
            future.result(DEADLINE)
        with pytest.raises(ConnectionLostError):
            thread.result()
        running.result()
        service.go.set()
        assert not client.is_connected()
        client.disconnect()


def test_disconnect_while_others_wait(lab: Laboratory, echo: Echo) -> None:
    """Threads that wait are told that this Client has disconnected, whoever reads."""
    client = lab.client()
    link: Any = client.link("Echo")
    link.echo(1)
    threads = [Thread(link.hold) for _ in range(4)]
    futures = [link.hold(asynchronous=True) for _ in range(4)]
    happens(echo.is_held)
    for each in [Thread(client.disconnect, timeout=MOMENT) for _ in range(3)]:
        each.result()
    for thread in threads:
        with pytest.raises(ConnectionLostError):
            thread.result()
    for future in futures:
        with pytest.raises(ConnectionLostError, match="this Client has disconnected"):
            future.result(DEADLINE)


def test_disconnect_does_not_wait_for_replies(lab: Laboratory, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Manager closes the connection of a Client that has left, also while a request of it still runs."""
    monkeypatch.setattr("msl_network.conversation.GOODBYE", DEADLINE)
    client = lab.client()
    future = client.link("Echo").hold(asynchronous=True)
    happens(echo.is_held)
    leaving = Thread(client.disconnect)
    leaving.join(2)
    is_waiting = leaving.is_alive()
    echo.go.set()
    leaving.result()
    assert future.done()
    assert not is_waiting


def test_manager_that_does_not_answer_the_goodbye() -> None:
    """The connection is closed after the timeout, whatever the Manager does."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        future = link.f(asynchronous=True)
        client.disconnect(timeout=0.01)
        assert not client.is_connected()
        assert wire.read()["attribute"] == "f"
        assert wire.read()["attribute"] == "__disconnect__"
        wire.eof()
        with pytest.raises(ConnectionLostError):
            future.result(DEADLINE)


# A Manager that misbehaves


@pytest.mark.parametrize("line", [b"{", b"[1]", b'"x"', b"\xff\xfe{}", b'{"traceback": 5}', b"[" * 100_000])
def test_broken_line(line: bytes) -> None:
    """A line that is no message ends the connection: whom it was for nobody can tell, and nobody waits for ever."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        future = link.f(asynchronous=True)
        thread = Thread(link.f)
        wire.read()
        wire.read()
        wire.write(line + b"\r\n")
        with pytest.raises(ConnectionLostError, match="from the Manager"):
            future.result(DEADLINE)
        with pytest.raises(ConnectionLostError):
            thread.result()
        wire.eof()


def test_lines_that_nobody_waits_for() -> None:
    """Replies of no call, twice the same, strange uids, and questions that are none, do no harm."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        strange: list[Any] = ["nope", "1", None, 5, [], {}, ""]
        for uid in strange:
            wire.reply(uid, "wrong")
        wire.send(error=True, message="odd", uid="nope")
        wire.ask("username", "Manager[x:1]")
        assert wire.read()["result"] is None
        wire.send(uid="notification", service="Other", result=[[], {}])
        wire.send(uid="notification", service="S", result=5)
        wire.send(uid="notification")
        future = link.f(asynchronous=True)
        uid = wire.read()["uid"]
        wire.reply(uid, "right")
        wire.reply(uid, "twice")
        assert future.result(DEADLINE) == "right"
        thread = Thread(link.f)
        wire.reply(wire.read()["uid"], None)
        assert thread.result() is None


def test_odd_notifications(caplog: pytest.LogCaptureFixture) -> None:
    """One that is not as it should be is logged; the next is handled."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        heard = threading.Event()
        link.notification_handler = lambda *args: heard.set() if args == ("ok",) else None
        strange: list[Any] = [5, None, [], [1, 2], [[], []], "ab", [[], {}, 3]]
        for result in strange:
            wire.send(uid="notification", service="S", result=result)
        wire.send(uid="notification", service="S", result=[["ok"], {}])
        happens(heard)
        assert client.is_connected()
    assert "not as it should be" in caplog.text


def test_reply_in_pieces() -> None:
    """How a reply is cut into packets does not matter, whoever reads."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        for _ in range(5):
            thread = Thread(link.f)
            uid = wire.read()["uid"]
            reply = f'{{"result": "{"x" * 100}", "uid": "{uid}"}}\r\n'.encode()
            for index in range(0, len(reply), 7):
                wire.write(reply[index : index + 7])
            assert thread.result() == "x" * 100


def test_refusal_after_the_identity() -> None:
    """What the Manager says before it closes the connection is in the error."""
    with client_of_fake() as (client, wire):
        wire.send(error=True, message="ValueError: too many Clients", requester="Manager[x:1]", result=None, uid="")
        thread = Thread(client.link, "S")
        wire.read()
        wire.close()
        with pytest.raises((ConnectionLostError, RemoteError), match="too many Clients"):
            thread.result()


def test_refusal_before_the_first_call() -> None:
    """A Client that was refused says so when it is used."""
    with client_of_fake() as (client, wire):
        wire.send(error=True, message="ValueError: go away", requester="Manager[x:1]", result=None, uid="")
        ended = threading.Event()
        client.shutdown_handler = ended.set  # type: ignore[method-assign]
        wire.close()
        happens(ended)
        with pytest.raises(ConnectionLostError, match="go away"):
            client.link("S")


def test_admin_of_1_0() -> None:
    """A Manager of 1.0 asks in the midst of a session, and answers without uid; other calls are not mixed up."""
    with client_of_fake(username="alice", password="secret") as (client, wire):
        link = fake_link(client, wire)
        before = link.f(asynchronous=True)
        uid = wire.read()["uid"]
        request = Thread(client.admin_request, "users_table.usernames", 1, x=2)
        found = wire.read()
        assert (found["service"], found["attribute"]) == ("Manager", "users_table.usernames")
        assert (found["args"], found["kwargs"]) == ([1], {"x": 2})
        wire.ask("username", "Manager[x:1]")
        assert wire.read()["result"] == "alice"
        wire.ask("password", "alice")
        assert wire.read()["result"] == "secret"
        wire.reply("", ["alice"])
        assert request.result() == ["alice"]
        wire.reply(uid, 5)
        assert before.result(DEADLINE) == 5


def test_errors_of_1_0_without_uid() -> None:
    """An error without uid is that of the call that it speaks of."""
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        futures = [link.f(asynchronous=True) for _ in range(2)]
        uids = [wire.read()["uid"] for _ in range(2)]
        wire.send(error=True, message="KeyError: \"the 'S' Service is not connected to Manager[x:1]\"", uid="")
        with pytest.raises(RemoteError, match="is not connected"):
            futures[0].result(DEADLINE)
        wire.reply(uids[1], 2)
        assert futures[1].result(DEADLINE) == 2
        request = Thread(client.admin_request, "nope")
        wire.read()
        wire.send(error=True, message="AttributeError: nope", uid="", result=None)
        with pytest.raises(RemoteError, match="AttributeError: nope"):
            request.result()


def test_reply_longer_than_read_limit() -> None:
    """It ends the connection, and the error says what to do."""
    with client_of_fake(read_limit=1000) as (client, wire):
        link = fake_link(client, wire)
        thread = Thread(link.f)
        wire.reply(wire.read()["uid"], "x" * 2000)
        with pytest.raises(ConnectionLostError, match="read_limit"):
            thread.result()


# Ctrl+C


INTERRUPTED = """
import signal, sys
from contextlib import suppress
from msl_network import ConnectionLostError, connect

class StopHere(BaseException):
    pass

def handler(number, frame):
    raise StopHere

keywords = dict(host="127.0.0.1", port=int(sys.argv[1]), disable_tls=True)
client = connect(**keywords)
link = client.link("Echo")
interrupted = 0
signal.signal(signal.SIGALRM, handler)
for number in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + 0.00001 * (number % 60))
        for each in range(1000):
            link.echo(each)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except StopHere:
        interrupted += 1
    except ConnectionLostError:
        signal.setitimer(signal.ITIMER_REAL, 0)
    # the connection may have been closed, when half a request was out
    with suppress(ConnectionLostError):
        assert link.echo(number, timeout=5) == [number]
        assert link.echo(number, asynchronous=True).result(5) == [number]
    if not client.is_connected():
        client = connect(**keywords)
        link = client.link("Echo")
assert interrupted > 100, interrupted
print("done")
"""


def test_interrupted_calls(lab: Laboratory, echo: Echo) -> None:
    """Calls that are interrupted at any moment leave the connection usable, or closed; nobody waits for ever."""
    with Script(INTERRUPTED, lab.port, flags=()) as script:
        # Python itself says on the standard error when it was interrupted in a finalizer
        assert script.end()[:2] == (0, "done\n")


def test_ctrl_c_during_a_call(lab: Laboratory, echo: Echo) -> None:
    """It ends the call, with or without timeout, and the connection is usable: the late replies are dropped."""
    text = """
import sys, threading
from msl_network import connect
main = threading.get_ident()
def watch():
    while sys._current_frames()[main].f_code.co_name not in {"receive", "wait", "_is_readable"}:
        threading.Event().wait(0.001)
    print("waiting", flush=True)
client = connect(host="127.0.0.1", port=int(sys.argv[1]), disable_tls=True)
link = client.link("Echo")
for timeout in (None, 30):
    try:
        threading.Thread(target=watch).start()
        link.hold(timeout=timeout)
    except KeyboardInterrupt:
        print("interrupted", link.echo(1), client.is_connected(), flush=True)
sys.stdin.readline()
client.disconnect()
"""
    with Script(text, lab.port) as script:
        for _ in range(2):
            assert script.line() == "waiting"
            happens(echo.is_held)
            echo.is_held.clear()
            script.interrupt()
            assert script.line() == "interrupted [1] True"
        echo.go.set()
        assert script.end() == (0, "", "")


# A Manager that stands still


def test_manager_that_does_not_read() -> None:
    """Timeouts hold while a request is being sent, asynchronous calls return, and the request arrives whole later."""
    large = "x" * 30_000_000
    with client_of_fake() as (client, wire):
        link = fake_link(client, wire)
        for argument in (large, "small"):
            with pytest.raises(CallTimeoutError):
                link.f(argument, timeout=0.05)
        future = link.f("asynchronous", asynchronous=True)
        assert [wire.read()["args"] for _ in range(2)] == [[large], ["small"]]
        wire.reply(wire.read()["uid"], "at last")
        assert future.result(DEADLINE) == "at last"
