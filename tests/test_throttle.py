"""How guessing is slowed down: the sums, and a Manager on the wire. No test waits for a delay but the last one."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msl_network import AuthenticationError, Handshake, Manager, Peer, hookimpl
from msl_network.errors import BusyError
from msl_network.throttle import FREE, KEEP, LONGEST, MAX_ORIGINS, Throttle, origin

from .wire_peer import WirePeer, client, config, connected, until

ATTACKER = "192.0.2.1"
NEIGHBOUR = "192.0.2.2"

ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
DELAYS = st.floats(0.01, 60)


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(longest: float = LONGEST) -> tuple[Throttle, Clock]:
    clock = Clock()
    return Throttle(longest, clock), clock


def fail(throttle: Throttle, times: int, ip_address: str = ATTACKER) -> None:
    for _ in range(times):
        throttle.fail(ip_address)


def test_delays() -> None:
    """30. Two failures cost nothing; from the third on the delay doubles, up to five seconds."""
    throttle, _ = make()
    delays = []
    for _ in range(9):
        delays.append(throttle.delay(ATTACKER))
        throttle.fail(ATTACKER)
    assert delays == [0, 0, 0, 1, 2, 4, 5, 5, 5]


def test_who_is_slowed_down_is_said_once() -> None:
    """The failure after which answers are held back is told from the others, for the log."""
    throttle, clock = make()
    assert [throttle.fail(ATTACKER) for _ in range(6)] == [False, False, True, False, False, False]
    clock.now += KEEP
    assert [throttle.fail(ATTACKER) for _ in range(4)] == [False, False, True, False]


def test_others_are_not_slowed_down() -> None:
    """30. What one address fails at costs no other anything."""
    throttle, _ = make()
    fail(throttle, 50)
    assert throttle.delay(NEIGHBOUR) == 0


def test_failures_fade() -> None:
    """30. Ten minutes after its last failure an address has a clean record; it is not locked out for good."""
    throttle, clock = make()
    fail(throttle, 50)
    clock.now += KEEP - 1
    assert throttle.delay(ATTACKER) == LONGEST
    throttle.fail(ATTACKER)
    clock.now += KEEP - 1
    assert throttle.delay(ATTACKER) == LONGEST
    clock.now += 1
    assert throttle.delay(ATTACKER) == 0
    throttle.fail(ATTACKER)
    assert throttle.delay(ATTACKER) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8::1", "2001:0DB8:0:0:1::"),
        ("fe80::1", "fe80::2%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_one_origin(one: str, other: str) -> None:
    """30. A /64 network of IPv6 counts as one address, and so do the two ways to write one of IPv4."""
    assert origin(one) == origin(other)
    throttle, _ = make()
    fail(throttle, FREE + 1, one)
    assert throttle.delay(other) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("::1", "127.0.0.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_two_origins(one: str, other: str) -> None:
    """Each address of IPv4, and each other /64 network of IPv6, counts for itself."""
    assert origin(one) != origin(other)


@given(ADDRESSES)
def test_an_origin_is_told_by_all_its_addresses(ip_address: str) -> None:
    """The first and the last address of an origin have that origin."""
    where = origin(ip_address)
    network = ipaddress.ip_network(where)
    assert origin(str(network[0])) == origin(str(network[-1])) == where


@given(DELAYS, st.integers(0, 2000))
def test_delays_grow_up_to_the_limit(longest: float, failures: int) -> None:
    """30. A further failure never shortens the delay, which never exceeds its limit, however many there are."""
    throttle, _ = make(longest)
    fail(throttle, failures)
    before = throttle.delay(ATTACKER)
    throttle.fail(ATTACKER)
    assert 0 <= before <= throttle.delay(ATTACKER) <= longest


@given(st.lists(st.tuples(ADDRESSES, st.floats(0, KEEP * 2)), max_size=60), ADDRESSES)
def test_against_a_simple_model(events: list[tuple[str, float]], asked: str) -> None:
    """Whatever order failures come in, the delay is what one finds by going through the list of them."""
    throttle, clock = make()
    count, last = 0, 0.0
    for ip_address, pause in events:
        throttle.fail(ip_address)
        if origin(ip_address) == origin(asked):
            count = count + 1 if clock.now - last < KEEP else 1
            last = clock.now
        clock.now += pause
    if clock.now - last >= KEEP:
        count = 0
    expected = min(2.0 ** (count - FREE - 1), LONGEST) if count > FREE else 0
    assert throttle.delay(asked) == expected


def test_memory_is_bounded() -> None:
    """30. However many addresses fail, only so many are remembered; who has not failed for longest is forgotten."""
    throttle, _ = make()
    fail(throttle, 10, NEIGHBOUR)
    fail(throttle, 10)
    for number in range(2 * MAX_ORIGINS):
        if number % (MAX_ORIGINS // 2) == 0:
            throttle.fail(ATTACKER)
        throttle.fail(f"2001:db8:{number:x}::1")
    assert len(throttle._failures) == MAX_ORIGINS
    size = sum(sys.getsizeof(where) + sys.getsizeof(entry) for where, entry in throttle._failures.items())
    assert size + sys.getsizeof(throttle._failures) < 2**20
    assert throttle.delay(ATTACKER) == LONGEST
    assert throttle.delay(NEIGHBOUR) == 0


# On the wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


class Held(Clock):
    """Keeps for how long answers were held back; the time of it passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.times: list[float] = []

        async def stay(_: Peer, seconds: float) -> None:
            self.times.append(seconds)
            self.now += seconds
            await anyio.lowlevel.checkpoint()

        monkeypatch.setattr(Peer, "stay", stay)

    def watch(self, manager: Manager) -> None:
        manager.throttle = Throttle(LONGEST, self)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


class Badge:
    """A stranger's authenticator; what it knows nothing of, the core does."""

    def __init__(self, code: str = "42") -> None:
        self.code = code

    @hookimpl
    async def authenticate(self, handshake: Handshake) -> None:
        answer = await handshake.ask("password", "badge reader")
        if answer == "busy":
            raise BusyError("too many badges")
        if answer == "crash":
            raise ZeroDivisionError
        if answer != self.code:
            raise AuthenticationError("Unknown badge")

    @hookimpl
    async def authenticate_administrator(self, handshake: Handshake) -> bool:
        answer = await handshake.ask("password", "badge reader")
        if answer == "crash":
            raise ZeroDivisionError
        if answer == "nobody":
            raise AuthenticationError("Unknown badge")
        return bool(answer == self.code)


class OnlyAdministrators:
    """The same, of whom only administrators need one."""

    code = "42"
    authenticate_administrator = Badge.authenticate_administrator


async def answer(manager: Manager, text: str) -> Any:
    """Connect, give one answer, and return what is said to that."""
    async with connected(manager) as peer:
        assert (await peer.read())["attribute"] == "password"
        reply = await peer.ask(text.encode())
        if reply["error"]:
            await peer.eof()
            return reply["message"]
        assert reply["attribute"] == "identity"
        await peer.write(b"client\n")
        await peer.silence()
        return "let in"


@pytest.mark.parametrize("who", ["ours", "a stranger's"])
async def test_guessing_is_slowed_down(transport: str, held: Held, who: str) -> None:
    """30. Whichever plugin authenticates, answers come later with each failure; right ones as late as wrong ones."""
    plugins = {"password": {"password": "42"}}
    ours = config(transport, auth=["password"], plugin_settings=plugins)
    manager = Manager(ours) if who == "ours" else Manager(config(transport), plugins=[Badge()])
    async with manager:
        held.watch(manager)
        for _ in range(7):
            assert await answer(manager, "wrong") != "let in"
        assert held.times == [1, 2, 4, 5]
        assert await answer(manager, "42") == "let in"
        assert held.times == [1, 2, 4, 5, 5]


async def test_who_has_an_account_cannot_guess_at_others(transport: str, held: Held) -> None:
    """30. A right answer does not wipe out the failures of the address; time does."""
    async with Manager(config(transport), plugins=[Badge()]) as manager:
        held.watch(manager)
        for _ in range(4):
            await answer(manager, "wrong")
            assert await answer(manager, "42") == "let in"
        assert held.times == [1, 1, 2]
        held.now += KEEP
        assert await answer(manager, "42") == "let in"
        assert held.times == [1, 1, 2]


async def test_what_is_no_guess(transport: str, held: Held) -> None:
    """30. Nobody is slowed down by a Manager that is busy, by leaving, or by what is found without an answer."""

    class Gate:
        @hookimpl
        async def authenticate(self) -> None:
            if not is_open:
                raise AuthenticationError("closed")

    is_open = False
    async with Manager(config(transport), plugins=[Gate(), Badge()]) as manager:
        held.watch(manager)
        for _ in range(5):
            async with connected(manager) as peer:
                assert (await peer.read())["message"] == "ValueError: closed"
        is_open = True
        for _ in range(5):
            assert await answer(manager, "busy") == "BlockingIOError: too many badges"
            async with connected(manager) as peer:
                await peer.read()
        assert await answer(manager, "42") == "let in"
        assert held.times == []


@pytest.mark.parametrize("wrong", ["wrong", "nobody", "crash"])
async def test_administrators_are_not_guessed_either(transport: str, held: Held, wrong: str) -> None:
    """30. A connected Client that fails to be an administrator is slowed down, however the plugin says so."""

    async def attempt(user: WirePeer, text: str) -> Any:
        await user.call("Manager", "port", uid="p")
        assert (await user.read())["attribute"] == "password"
        await user.send(result=text)
        return await user.read()

    async with Manager(config(transport, without=["login"]), plugins=[OnlyAdministrators()]) as manager:
        held.watch(manager)
        async with client(manager) as user:
            for _ in range(5):
                assert "must be an administrator" in (await attempt(user, wrong))["message"]
            assert held.times == [1, 2]
        async with client(manager) as user:
            assert (await attempt(user, "42"))["result"] == manager.port
            assert held.times == [1, 2, 4]


async def test_a_plugin_that_fails_refuses(transport: str, held: Held) -> None:
    """30. An authenticator that fails at a wrong answer is no way around: that counts as a refusal."""
    async with Manager(config(transport), plugins=[Badge()]) as manager:
        held.watch(manager)
        for _ in range(4):
            assert "failed; the Manager's log" in await answer(manager, "crash")
        assert held.times == [1]


async def test_each_manager_remembers_for_itself(transport: str, held: Held) -> None:
    """30. Two Managers of one program know nothing of each other's failures."""
    async with Manager(config(transport), plugins=[Badge()]) as one, Manager(config(transport)) as other:
        held.watch(one)
        for _ in range(5):
            await answer(one, "wrong")
        assert one.throttle.delay("127.0.0.1") > 0
        assert other.throttle.delay("127.0.0.1") == 0


@pytest.mark.parametrize(
    ("limits", "longest"),
    [
        ({}, 5),
        ({"handshake_timeout": "1 min"}, 5),
        ({"handshake_timeout": "4 s"}, 2),
        ({"prompt_timeout": "3 s"}, 1.5),
    ],
)
def test_the_longest_delay(limits: dict[str, str], longest: float) -> None:
    """30. It is never more than half of what a peer, or a person who is asked, has to answer."""
    manager = Manager(config(limits=limits))
    manager.throttle.clock = lambda: 0.0
    fail(manager.throttle, 50)
    assert manager.throttle.delay(ATTACKER) == longest


@pytest.mark.parametrize("is_connected", [False, True])
async def test_who_leaves_is_not_waited_for(transport: str, is_connected: bool) -> None:
    """30. Who leaves while held back is gone at once, and its answer is not looked at."""
    settings = config(transport, without=["login"], limits={"handshake_timeout": "1 h", "prompt_timeout": "1 h"})
    badge = OnlyAdministrators() if is_connected else Badge()
    async with Manager(settings, plugins=[badge]) as manager:
        manager.throttle = Throttle(3600, anyio.current_time)
        fail(manager.throttle, 50, "127.0.0.1")
        for _ in range(3):
            async with client(manager) if is_connected else connected(manager) as peer:
                if is_connected:
                    await peer.call("Manager", "port")
                assert (await peer.read())["attribute"] == "password"
                await peer.write(b'{"result": "wrong"}\n')
                if is_connected:
                    await peer.silence()
        await until(lambda: not manager._peers)
        assert manager.throttle._failures["127.0.0.1"][0] == 50


async def test_nobody_is_locked_out(transport: str) -> None:
    """30. Who knows the password is let in while its address is slowed down, and while others go on guessing."""
    settings = config(transport, limits={"handshake_timeout": "2 s"})
    async with Manager(settings, plugins=[Badge()]) as manager:
        fail(manager.throttle, 50, "127.0.0.1")
        said: list[str] = []

        async def guess(text: str) -> None:
            said.append(await answer(manager, text))

        async with anyio.create_task_group() as guessing:
            for _ in range(20):
                guessing.start_soon(guess, "wrong")
            guessing.start_soon(guess, "42")
        assert sorted(said) == ["ValueError: Unknown badge"] * 20 + ["let in"]
