from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from msl_network import workers
from msl_network.channel import Channel
from msl_network.workers import MOST_LINES, Worker, Workers

from .laboratory import DEADLINE, HERE, MOMENT, Thread, Wire, happens, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """The threads of each test end with its connection."""
    with no_thread_left():
        yield


class Bench:
    """Workers with the other end of their connection."""

    def __init__(
        self, ours: socket.socket, theirs: socket.socket, run: Callable[[bytes, Worker], bytes | None]
    ) -> None:
        self.wire = Wire(theirs)
        self.run = run
        self.channel = Channel(ours)
        self.reasons: list[str] = []
        self.has_ended = threading.Event()
        self.workers: Workers

    def on_end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.has_ended.set()

    def send(self, *words: str) -> None:
        """Send requests, all in one packet."""
        self.wire.write("".join(f"{word}\n" for word in words).encode())

    def replies(self, count: int) -> list[str]:
        """Wait for replies."""
        return [self.wire.line().decode().rstrip("\n") for _ in range(count)]


@contextmanager
def working(run: Callable[[bytes, Worker], bytes | None], limit: int = 32) -> Iterator[Bench]:
    """Workers at a connection, which ends with the block."""
    with socket.create_server((HERE, 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), DEADLINE)
        theirs = listener.accept()[0]
    bench = Bench(ours, theirs, run)
    bench.workers = Workers(bench.channel, run, limit=limit, name="Test")
    bench.workers.start(bench.on_end)
    try:
        yield bench
    finally:
        bench.wire.close()
        happens(bench.has_ended)
        assert len(bench.reasons) == 1


def echo(line: bytes, worker: Worker) -> bytes:
    return line + b"\n"


class Meeting:
    """Requests that begin with "meet" end when the given number of them have begun."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)

    def __call__(self, line: bytes, worker: Worker) -> bytes:
        if line.startswith(b"meet"):
            self._barrier.wait(DEADLINE)
        return line + b"\n"


class Holding:
    """Requests that begin with "hold" take until `go` is set; it is known who runs and how many did at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.is_held = threading.Event()
        self.most = 0
        self.order: list[str] = []
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, line: bytes, worker: Worker) -> bytes:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            self.order.append(line.decode())
        if line.startswith(b"hold"):
            self.is_held.set()
            happens(self.go)
        with self._lock:
            self._running -= 1
        return line + b"\n"


# Who runs what


def test_quick_requests_stay_in_one_thread() -> None:
    """The thread that reads a quick request runs it, and reads on."""
    numbers: list[int] = []

    def run(line: bytes, worker: Worker) -> bytes:
        numbers.append(threading.get_ident())
        return line + b"\n"

    with working(run) as bench:
        for number in range(50):
            bench.send(str(number))
            assert bench.replies(1) == [str(number)]
    # a busy computer may make the one or the other request look slow
    assert Counter(numbers).most_common(1)[0][1] > 25


def test_no_thread_is_started_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand quick requests are run by the first thread alone."""
    monkeypatch.setattr(workers, "TICK", DEADLINE)  # nothing looks slow
    names: set[str] = set()

    def run(line: bytes, worker: Worker) -> bytes:
        names.add(threading.current_thread().name)
        return line + b"\n"

    with working(run) as bench:
        bench.send(*map(str, range(1000)))
        assert bench.replies(1000) == [str(number) for number in range(1000)]
        assert names == {"Test 1"}


@pytest.mark.parametrize("count", [2, 5, 32])
def test_requests_that_need_each_other(count: int) -> None:
    """They run side by side, though nobody knows that the first takes long; all in one packet, or one by one."""
    with working(Meeting(count)) as bench:
        words = [f"meet {number}" for number in range(count)]
        bench.send(*words)
        assert sorted(bench.replies(count)) == sorted(words)
        for word in words:
            bench.send(word)
        assert sorted(bench.replies(count)) == sorted(words)


def test_request_that_steps_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is known to take long gives the reading away at once; nobody needs to watch."""
    monkeypatch.setattr(workers, "TICK", DEADLINE)
    meeting = Meeting(3)

    def run(line: bytes, worker: Worker) -> bytes:
        worker.step_aside()
        worker.step_aside()  # does nothing more
        return meeting(line, worker)

    with working(run) as bench:
        words = ["meet 1", "meet 2", "meet 3"]
        for _ in range(20):
            bench.send(*words)
            assert sorted(bench.replies(3)) == words


def test_slow_requests_again_and_again() -> None:
    """After a pause, in which the watch sleeps, a slow request is found out as before."""
    with working(Meeting(2)) as bench:
        for _ in range(5):
            for _ in range(1000):  # until the watch sleeps
                if bench.workers._watch_sleeps:
                    break
                threading.Event().wait(0.01)
            bench.send("meet 1", "meet 2")
            assert sorted(bench.replies(2)) == ["meet 1", "meet 2"]


def test_limit() -> None:
    """No more requests run at once than allowed; the others run when there is room."""
    holding = Holding()
    with working(holding, limit=3) as bench:
        words = [f"hold {number}" for number in range(10)]
        bench.send(*words)
        happens(holding.is_held)
        bench.send("quick")
        holding.go.set()
        assert sorted(bench.replies(11)) == sorted([*words, "quick"])
    assert holding.most <= 3


def test_limit_is_reached() -> None:
    """As many requests run at once as are allowed."""
    with working(Meeting(3), limit=3) as bench:
        for _ in range(20):
            bench.send("a", "meet 1", "b", "meet 2", "c", "meet 3", "d")
            assert sorted(bench.replies(7)) == ["a", "b", "c", "d", "meet 1", "meet 2", "meet 3"]


@pytest.mark.parametrize("stepping", [False, True])
def test_one_at_a_time(stepping: bool) -> None:
    """With a limit of one never two run at once, and they run, and are answered, in the order in which they came."""
    holding = Holding()

    def run(line: bytes, worker: Worker) -> bytes:
        if stepping:
            worker.step_aside()
        return holding(line, worker)

    words = [f"hold {number}" if number % 50 == 0 else str(number) for number in range(500)]
    with working(run, limit=1) as bench:
        bench.send(*words[:200])
        happens(holding.is_held)
        bench.send(*words[200:])
        holding.go.set()
        assert bench.replies(500) == words
    assert holding.most == 1
    assert holding.order == words


def test_one_at_a_time_with_pauses() -> None:
    """The order is kept also when some requests take long enough to be noticed, and more come meanwhile."""
    pause = threading.Event()
    order: list[bytes] = []
    alone = threading.Lock()

    def run(line: bytes, worker: Worker) -> bytes:
        assert alone.acquire(blocking=False)
        order.append(line)
        if int(line) % 7 == 0:
            pause.wait(0.006)  # never set
        alone.release()
        return line + b"\n"

    with working(run, limit=1) as bench:
        for number in range(0, 200, 5):
            bench.send(*map(str, range(number, number + 5)))
        assert bench.replies(200) == [str(number) for number in range(200)]
    assert order == [b"%d" % number for number in range(200)]


# Replies


def test_replies_of_a_batch() -> None:
    """Each of many requests in one packet is answered once, in order."""
    with working(echo) as bench:
        bench.send(*map(str, range(5000)))
        assert sorted(bench.replies(5000), key=int) == [str(number) for number in range(5000)]
        bench.send("end")
        assert bench.replies(1) == ["end"]


def test_slow_request_does_not_hold_back_replies() -> None:
    """The replies of the quick requests before a slow one in the same packet are sent while it runs."""
    holding = Holding()
    with working(holding) as bench:
        bench.send("1", "2", "3", "hold", "4", "5")
        assert sorted(bench.replies(5)) == ["1", "2", "3", "4", "5"]
        holding.go.set()
        assert bench.replies(1) == ["hold"]


def test_slow_request_with_a_limit_of_one_does_not_hold_back_replies() -> None:
    """Also if nothing can run beside it, the replies before it are sent."""
    holding = Holding()
    with working(holding, limit=1) as bench:
        bench.send("1", "2", "3", "hold", "4")
        assert bench.replies(3) == ["1", "2", "3"]
        holding.go.set()
        assert bench.replies(2) == ["hold", "4"]


def test_request_that_has_no_reply() -> None:
    """A request may have no reply, or a later one; the others have theirs."""

    def run(line: bytes, worker: Worker) -> bytes | None:
        return None if int(line) % 2 else line + b"\n"

    with working(run) as bench:
        bench.send(*map(str, range(100)))
        assert bench.replies(50) == [str(number) for number in range(0, 100, 2)]


def test_large_replies() -> None:
    """Replies that together are longer than what is sent at once arrive whole."""

    def run(line: bytes, worker: Worker) -> bytes:
        return line * int(line) + b"\n"

    with working(run) as bench:
        sending = Thread(bench.send, *["9999"] * 300)
        assert bench.replies(300) == ["9999" * 9999] * 300
        sending.result()


def test_empty_line() -> None:
    """A line that is empty is a request like any other, and keeps none behind it waiting."""
    with working(echo, limit=1) as bench:
        for _ in range(20):
            bench.send("", "a", "", "", "b")
            assert bench.replies(5) == ["", "a", "", "", "b"]


@pytest.mark.parametrize("limit", [1, 2, 5, 32])
def test_stress(limit: int) -> None:
    """Whatever requests take, quick or slow, each is answered once, and no more run at once than allowed."""
    rng = random.Random(limit)
    durations = [rng.choice([0, 0, 0, 0, 0, 0, 0.0001, 0.001, 0.003, 0.006]) for _ in range(400)]
    never = threading.Event()
    lock = threading.Lock()
    running = most = 0

    def run(line: bytes, worker: Worker) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if durations[int(line)]:
            if int(line) % 3 == 0:
                worker.step_aside()
            never.wait(durations[int(line)])
        with lock:
            running -= 1
        return line + b"\n"

    with working(run, limit) as bench:

        def send() -> None:
            number = 0
            while number < 400:
                count = rng.choice([1, 1, 2, 10, 40])
                bench.send(*map(str, range(number, min(400, number + count))))
                number += count
                never.wait(rng.choice([0.0001, 0.002]))

        sending = Thread(send)
        replies = bench.replies(400)
        sending.result()
        assert Counter(replies) == Counter(map(str, range(400)))
        bench.send("0")
        assert bench.replies(1) == ["0"]
    assert most <= limit


# Without a thread


def test_occupied_places_count() -> None:
    """What goes on without a thread has a place; who waits runs when it is released."""
    holding = Holding()
    with working(holding, limit=2) as bench:
        bench.workers.occupy()
        bench.workers.occupy()
        bench.send("1", "2")
        threading.Event().wait(MOMENT)
        assert holding.order == []
        bench.workers.release()
        assert bench.replies(2) == ["1", "2"]
        bench.workers.release()
        bench.send("3")
        assert bench.replies(1) == ["3"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_occupied_by_one_who_waited(limit: int) -> None:
    """A request that waited for its turn and then goes on without a thread leaves no place to those behind it."""
    hold = threading.Event()
    lock = threading.Lock()
    going_on = most = 0
    began = threading.Event()

    def run(line: bytes, worker: Worker) -> bytes | None:
        nonlocal going_on, most
        word = line.decode()
        with lock:
            going_on += 1
            most = max(most, going_on)
        if word == "async":
            began.set()
            bench.workers.occupy()
            return None
        if word == "hold":
            worker.step_aside()
            happens(hold)
        with lock:
            going_on -= 1
        return line + b"\n"

    def release() -> None:
        nonlocal going_on
        with lock:
            going_on -= 1
        bench.workers.release()

    with working(run, limit=limit) as bench:
        bench.send(*["hold"] * limit, *["async"] * limit, "last")
        hold.set()
        assert bench.replies(limit) == ["hold"] * limit
        happens(began)
        never = threading.Event()
        never.wait(MOMENT)
        assert most == limit
        for _ in range(limit):
            release()
        assert bench.replies(1) == ["last"]
        bench.send("again")
        assert bench.replies(1) == ["again"]
    assert most == limit


# The end


def test_end_is_noticed_while_all_are_busy() -> None:
    """The connection's end is told though as many requests run as may, and others wait; those never run."""
    holding = Holding()
    with working(holding, limit=2) as bench:
        bench.send("hold 1", "hold 2", "3", "4")
        happens(holding.is_held)
        bench.wire.close()
        happens(bench.has_ended)
        assert bench.reasons == ["the Manager closed the connection"] or "broke" in bench.reasons[0]
        holding.go.set()
    assert not {"3", "4"} & set(holding.order)


def test_end_is_noticed_while_far_too_much_waits() -> None:
    """Requests that wait in thousands end with the connection, once a running one has ended."""
    holding = Holding()
    with working(holding, limit=1) as bench:
        bench.send("hold", *["x"] * MOST_LINES * 3)
        happens(holding.is_held)
        bench.wire.reset()
        holding.go.set()
        happens(bench.has_ended)


def test_threads_end_with_the_connection() -> None:
    """Those that read, run, wait and watch: no thread of the Workers is left."""
    before = threading.active_count()
    with no_thread_left(), working(Meeting(8)) as bench:
        bench.send(*["meet"] * 8)
        bench.replies(8)
        assert threading.active_count() >= before + 9


def test_watch_ends_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the connection ends when the watch is about to sleep."""
    monkeypatch.setattr(workers, "IDLE", 1)
    monkeypatch.setattr(workers, "TICK", DEADLINE)
    with no_thread_left(3), working(echo):
        pass


def test_close_on_this_side() -> None:
    """Closing the channel ends the Workers, with the reason."""
    with working(echo) as bench:
        bench.send("1")
        assert bench.replies(1) == ["1"]
        bench.channel.close()
        happens(bench.has_ended)
        assert bench.reasons == ["the connection was closed on this side"]


def test_reply_after_the_end() -> None:
    """The reply of a request that ends after the connection is dropped, without a word."""
    holding = Holding()
    with working(holding) as bench:
        bench.send("hold")
        happens(holding.is_held)
        bench.wire.reset()
        happens(bench.has_ended)
        holding.go.set()


def test_back_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    """While much waits no more is read, so that the Manager notices; once there is room, all of it is run in order."""
    holding = Holding()
    pieces: list[int] = []
    receive = Channel.receive

    def counting(self: Channel, timeout: float | None = None) -> list[bytes]:
        lines = receive(self, timeout)
        pieces.append(len(lines))
        return lines

    monkeypatch.setattr(Channel, "receive", counting)
    words = ["hold", *(f"{number} {'x' * 500}" for number in range(40_000))]
    with working(holding, limit=1) as bench:

        def send() -> None:
            for start in range(0, len(words), 100):
                bench.send(*words[start : start + 100])

        sending = Thread(send)
        happens(holding.is_held)
        sending.join(MOMENT * 2)
        assert sending.is_alive(), "20 MB were read, though nothing was done"
        assert sum(pieces) < 10_000
        holding.go.set()
        assert bench.replies(len(words)) == words
        sending.result()
    assert holding.order == words


def test_back_pressure_by_size() -> None:
    """A few large requests wait at the Manager, too."""
    holding = Holding()
    word = "x" * 2**20
    with working(holding, limit=1) as bench:
        sending = Thread(bench.send, "hold", *[word] * 60)
        happens(holding.is_held)
        sending.join(MOMENT * 2)
        assert sending.is_alive(), "60 MiB were read, though nothing was done"
        holding.go.set()
        assert bench.replies(61) == ["hold", *[word] * 60]
        sending.result()


def test_failure_of_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a thread fails though it must not, the Workers end with the reason; nobody waits in vain."""
    failures: list[str] = []
    before = set(threading.enumerate())
    monkeypatch.setattr(threading, "excepthook", lambda args: failures.append(args.exc_type.__name__))

    def run(line: bytes, worker: Worker) -> bytes:
        raise ZeroDivisionError("bug")

    with working(run) as bench:
        bench.send("1")
        happens(bench.has_ended)
        assert bench.reasons == ["a thread of the Service has failed: ZeroDivisionError: bug"]
        bench.wire.eof()
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)
    assert failures == ["ZeroDivisionError"]


def test_end_while_the_queue_is_full() -> None:
    """The end is noticed although nothing is read, and commands that nobody waits for any more are not run."""
    holding = Holding()
    with working(holding, limit=1) as bench:
        bench.send("hold", *["dead"] * (2 * workers.MOST_LINES))
        happens(holding.is_held)
        bench.wire.close()
        happens(bench.has_ended)
        holding.go.set()
    assert holding.order == ["hold"]


def test_no_thread_left_in_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests run one after the other while no thread can be started, and side by side again afterwards."""
    meeting = Meeting(3)

    def run(line: bytes, worker: Worker) -> bytes:
        worker.step_aside()
        return meeting(line, worker)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with working(run) as bench:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            bench.send(*"123")
            assert bench.replies(3) == ["1", "2", "3"]
        bench.send("meet 1", "meet 2", "meet 3")
        assert sorted(bench.replies(3)) == ["meet 1", "meet 2", "meet 3"]
