from __future__ import annotations

import logging
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import notifier
from msl_network.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 30  # seconds, that no test takes unless it fails


class Handler:
    """Notes what it is called with, and in which thread; may be held up."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.threads: set[threading.Thread] = set()
        self.entered = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.threads.add(threading.current_thread())
        self.calls.append((args, kwargs))
        self.entered.set()
        assert self.may_go_on.wait(LONG)

    @property
    def thread(self) -> threading.Thread:
        (thread,) = self.threads
        return thread


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def held() -> Iterator[Handler]:
    """A handler that takes its time."""
    handler = Handler()
    handler.may_go_on.clear()
    yield handler
    handler.may_go_on.set()


@pytest.fixture
def bell(request: pytest.FixtureRequest) -> Iterator[Notifier]:
    bell = Notifier(request.node.name)
    yield bell
    bell.close()


def finish(bell: Notifier, handler: Handler) -> None:
    """Close it and wait until its thread has ended."""
    assert handler.entered.wait(LONG)
    bell.close()
    handler.thread.join(LONG)
    assert not handler.thread.is_alive()


def thread_of(bell: Notifier) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"{bell._name} notifications"]


def test_what_a_handler_is_given(bell: Notifier, handler: Handler) -> None:
    """A handler is called with the arguments of the notification."""
    bell.put(handler, [1, "a"], {"x": None})
    finish(bell, handler)
    assert handler.calls == [((1, "a"), {"x": None})]


def test_the_order(bell: Notifier, handler: Handler) -> None:
    """Notifications are handled in the order in which they came, also those of different handlers."""
    other = Handler()
    other.calls = handler.calls
    for number in range(500):
        bell.put(handler if number % 2 else other, [number], {})
    finish(bell, handler)
    assert [args for args, _ in handler.calls] == [(number,) for number in range(500)]


def test_the_thread(bell: Notifier, handler: Handler) -> None:
    """All handlers are called in one thread, which is neither that of the caller nor one that a program waits for."""
    assert thread_of(bell) == []
    for _ in range(10):
        bell.put(handler, [], {})
    assert handler.entered.wait(LONG)
    assert thread_of(bell) == [handler.thread]
    finish(bell, handler)
    assert handler.thread is not threading.current_thread()
    assert handler.thread.daemon
    assert thread_of(bell) == []
    assert len(handler.calls) == 10


def test_a_thread_that_had_nothing_to_do(bell: Notifier, handler: Handler) -> None:
    """The thread waits for the next notification, however often."""
    for number in range(20):
        handler.entered.clear()
        bell.put(handler, [number], {})
        assert handler.entered.wait(LONG)
    finish(bell, handler)
    assert [args for args, _ in handler.calls] == [(number,) for number in range(20)]


def test_a_slow_handler(bell: Notifier, held: Handler, handler: Handler) -> None:
    """While a handler takes its time, others are held back but nobody who notifies waits."""
    bell.put(held, [], {})
    assert held.entered.wait(LONG)
    for number in range(100):
        bell.put(handler, [number], {})
    assert handler.calls == []
    held.may_go_on.set()
    finish(bell, handler)
    assert len(handler.calls) == 100
    assert handler.thread is held.thread


def test_a_handler_that_raises(bell: Notifier, handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """What a handler raises is logged with its traceback; the next one is called all the same."""

    def fail(*args: Any) -> None:
        raise LookupError("no reading")

    bell.put(fail, [], {})
    bell.put(fail, [], {"unknown": 1})
    bell.put(handler, [], {})
    finish(bell, handler)
    assert len(handler.calls) == 1
    assert [(record.name, record.levelno) for record in caplog.records] == [("msl_network.client", logging.ERROR)] * 2
    assert "LookupError: no reading" in caplog.text
    assert "TypeError: " in caplog.text
    assert bell._name in caplog.text


def test_a_handler_that_exits(bell: Notifier, held: Handler, handler: Handler) -> None:
    """sys.exit() in a handler ends that handler only."""

    def leave() -> None:
        held()
        sys.exit()

    bell.put(leave, [], {})
    assert held.entered.wait(LONG)
    bell.put(handler, [], {})
    bell.close()
    held.may_go_on.set()
    held.thread.join(LONG)
    assert len(handler.calls) == 1


def test_a_handler_that_notifies(bell: Notifier, handler: Handler) -> None:
    """A handler may cause the next notification itself."""

    def again(number: int) -> None:
        bell.put(again if number else handler, [number - 1], {})

    bell.put(again, [5], {})
    finish(bell, handler)
    assert handler.calls == [((-1,), {})]


def test_too_many(
    bell: Notifier, held: Handler, handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes while too many wait is lost: it is counted, and said once; those that wait are still handled."""
    monkeypatch.setattr(notifier, "MOST_WAITING", 3)
    bell.put(held, [], {})
    assert held.entered.wait(LONG)
    for number in range(3):
        bell.put(handler, [number], {})
    assert bell.lost == 0
    assert caplog.records == []
    for number in range(3, 10):
        bell.put(handler, [number], {})
    assert bell.lost == 7
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "does not keep up" in record.getMessage()
    assert bell._name in record.getMessage()
    held.may_go_on.set()
    finish(bell, handler)
    assert [args for args, _ in handler.calls] == [(0,), (1,), (2,)]


def test_room_again(bell: Notifier, held: Handler, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once those that waited were handled there is room for others."""
    monkeypatch.setattr(notifier, "MOST_WAITING", 1)
    bell.put(held, [], {})
    assert held.entered.wait(LONG)
    bell.put(handler, ["kept"], {})
    bell.put(handler, ["lost"], {})
    held.may_go_on.set()
    assert handler.entered.wait(LONG)
    bell.put(handler, ["kept, too"], {})
    finish(bell, handler)
    assert [args for args, _ in handler.calls] == [("kept",), ("kept, too",)]
    assert bell.lost == 1


def test_closing_lets_finish(bell: Notifier, held: Handler, handler: Handler) -> None:
    """Closing waits for nobody; those that wait are handled, what comes later is not, and then the thread ends."""
    bell.put(held, [], {})
    assert held.entered.wait(LONG)
    bell.put(handler, ["before"], {})
    bell.close()
    bell.close()
    bell.put(handler, ["after"], {})
    assert held.thread.is_alive()
    held.may_go_on.set()
    held.thread.join(LONG)
    assert not held.thread.is_alive()
    assert [args for args, _ in handler.calls] == [("before",)]
    assert bell.lost == 0


def test_closing_what_never_began(bell: Notifier, handler: Handler) -> None:
    """Where there was no notification there is no thread, and after closing there never is."""
    bell.close()
    bell.put(handler, [], {})
    assert thread_of(bell) == []
    assert handler.calls == []


def test_closing_while_idle(bell: Notifier, handler: Handler) -> None:
    """A thread that waits for a notification is woken to end."""
    bell.put(handler, [], {})
    assert handler.entered.wait(LONG)
    finish(bell, handler)


def test_closing_from_a_handler(bell: Notifier, handler: Handler) -> None:
    """A handler may close it, for instance by disconnecting."""

    def close() -> None:
        handler()
        bell.close()
        bell.put(handler, ["after"], {})

    bell.put(close, [], {})
    assert handler.entered.wait(LONG)
    handler.thread.join(LONG)
    assert not handler.thread.is_alive()
    assert len(handler.calls) == 1


def test_nothing_is_kept(bell: Notifier) -> None:
    """Handlers and arguments do not live until the next notification."""
    is_gone = threading.Event()

    class Value:
        """Something large."""

    value = Value()
    weakref.finalize(value, is_gone.set)
    bell.put(lambda _: None, [value], {})
    del value
    assert is_gone.wait(LONG)


def test_many_who_notify(bell: Notifier, handler: Handler) -> None:
    """Whichever threads notify, nothing is lost, handled twice, or out of the order of its thread."""

    def notify(who: int) -> None:
        for number in range(200):
            bell.put(handler, [who, number], {})

    threads = [threading.Thread(target=notify, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    finish(bell, handler)
    assert len(handler.calls) == 800
    for who in range(4):
        assert [args[1] for args, _ in handler.calls if args[0] == who] == list(range(200))
