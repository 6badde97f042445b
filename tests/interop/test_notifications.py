"""Notifications of a Service of 1.0 to Clients of 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Client

LISTEN = """
import threading

seen, complete = [], threading.Event()

def handler(*args, **kwargs):
    seen.append([args, kwargs])
    if len(seen) == 300:
        complete.set()

camera = cxn.link('Camera')
camera.notification_handler = handler
"""
COMPLETE = "complete.wait(20)"
IN_ORDER = "seen == [[(i,), {'square': i * i}] for i in range(300)]"


def test_notifications_in_order(connect: Callable[..., Client]) -> None:
    """Each linked Client gets all notifications in their order, one that is not linked gets none."""
    one, two, stranger = connect("one"), connect("two"), connect("stranger")
    for client in (one, two, stranger):
        client.run(LISTEN)
    stranger.run("camera.unlink()")
    assert one.run("camera.emit(300)") == 300
    for client in (one, two):
        assert client.run(COMPLETE)
        assert client.run(IN_ORDER)
    assert stranger.run("cxn.identities() and seen") == []


def test_notifications_among_replies(connect: Callable[..., Client]) -> None:
    """Notifications keep their order while the same Client makes calls."""
    client = connect()
    client.run(LISTEN)
    assert client.run("""
emitting = camera.emit(300, asynchronous=True)
sums = [camera.add(i, 1, asynchronous=True) for i in range(100)]
[future.result(timeout=20) for future in sums] == list(range(1, 101)), emitting.result(timeout=20)
""") == [True, 300]
    assert client.run(COMPLETE)
    assert client.run(IN_ORDER)


def test_notifications_of_a_linked_client(connect: Callable[..., Client]) -> None:
    """A LinkedClient handles notifications as well."""
    client = connect()
    client.run(LISTEN)
    client.run("""
linked = LinkedClient('Camera', **kwargs)
linked.notification_handler = handler
camera.unlink()
linked.emit(300)
""")
    assert client.run(COMPLETE)
    assert client.run(f"linked.disconnect(); {IN_ORDER}")
