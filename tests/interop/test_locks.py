"""Locks of Clients of 1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import PeerError, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Client

LINK = "scale = cxn.link('Scale')"
LOCKED = "PermissionError: 'Scale' service is locked"


def test_exclusive_lock(connect: Callable[..., Client]) -> None:
    """Nobody else may link while the only linked Client holds an exclusive lock."""
    owner, other = connect("owner"), connect("other")
    assert owner.run(f"{LINK}; scale.acquire_lock()") == [owner.network_name]
    assert owner.run("scale.acquire_lock()") == [owner.network_name]
    with pytest.raises(PeerError, match=LOCKED):
        other.run(LINK)
    assert owner.run("scale.add(1, 2)") == 3
    assert owner.run("scale.release_lock()") == []
    assert owner.run("scale.release_lock()") == []
    assert other.run(f"{LINK}; scale.add(1, 2)") == 3


def test_exclusive_lock_refused(connect: Callable[..., Client]) -> None:
    """An exclusive lock needs exactly one link; one that is refused is told who is linked."""
    one, two = connect("one"), connect("two")
    one.run(LINK)
    two.run(LINK)
    with pytest.raises(PeerError) as caught:
        one.run("scale.acquire_lock()")
    assert (
        f"PermissionError: {one.network_name} cannot acquire an exclusive lock, "
        "there are 2 links with the 'Scale' service\n"
        f"The linked Clients are:\n  {one.network_name}\n  {two.network_name}"
    ) in str(caught.value)
    two.run("scale.unlink()")
    assert one.run("scale.acquire_lock()") == [one.network_name]


def test_shared_lock(connect: Callable[..., Client]) -> None:
    """Linked Clients share a lock; nobody new may link until each of them has released it or gone away."""
    one, two, new = connect("one"), connect("two"), connect("new")
    names = [one.network_name, two.network_name]
    one.run(LINK)
    two.run(LINK)
    assert sorted(one.run("scale.acquire_lock(shared=True)")) == names
    assert sorted(two.run("scale.acquire_lock(shared=True)")) == names
    with pytest.raises(PeerError, match=LOCKED):
        new.run(LINK)
    assert one.run("cxn.link('Scale').add(1, 2)") == 3  # one that is linked may link again
    assert one.run("scale.release_lock()") == [two.network_name]
    with pytest.raises(PeerError, match=LOCKED):
        new.run(LINK)
    two.run("scale.unlink()")
    assert new.run(f"{LINK}; scale.add(1, 2)") == 3


@pytest.mark.inside
def test_lock_without_a_link(client: Client) -> None:
    """A Client that is not linked cannot lock."""
    with pytest.raises(PeerError, match=r"PermissionError: .* it is not linked with the 'Scale' service"):
        client.run("cxn._new_request('Manager', 'acquire_lock', 'Scale', shared=True)")


@pytest.mark.inside
def test_lock_of_an_unknown_service(client: Client) -> None:
    """A Service that does not exist cannot be locked."""
    with pytest.raises(PeerError, match=r"KeyError: .*'Nobody' service does not exist, .* acquire a lock"):
        client.run("cxn._new_request('Manager', 'acquire_lock', 'Nobody', shared=True)")


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
def test_lock_of_a_client_that_dies(connect: Callable[..., Client], shared: bool) -> None:
    """The lock of a Client that dies is released."""
    owner, other = connect("owner"), connect("other")
    owner.run(f"{LINK}; scale.acquire_lock(shared={shared})")
    with pytest.raises(PeerError, match=LOCKED):
        other.run(LINK)
    owner.kill()
    eventually(lambda: len(other.run("cxn.identities()['clients']")) == 1)
    assert other.run(f"{LINK}; scale.add(1, 2)") == 3
