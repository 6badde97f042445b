"""Memory and fairness: who does not read, or sends without end, is the only one who notices."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from msl_network import Manager
from tests.laboratory import Script, Thread
from tests.wire_peer import DEADLINE, WirePeer, client, config, service, until

from . import program as blocking
from .program import MEBI, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .program import Caller

pytestmark = pytest.mark.anyio

BIG = "x" * MEBI


# 15: nobody waits for another


async def test_client_that_stalls_and_goes_on(manager: Manager) -> None:
    """15. While a Client reads nothing of what it asked for, others are served; later it gets all of it, in order."""
    async with service(manager) as echo, client(manager, "Fast") as fast, client(manager, "Slow") as slow:
        for number in range(20):
            await slow.call("Echo", "echo", uid=str(number))
            request = await echo.read()
            await echo.send(result=BIG, requester=request["requester"], uid=request["uid"], error=False)
        for number in range(50):
            await fast.call("Echo", "echo", uid=number)
            request = await echo.read()
            await echo.send(result=number, requester=request["requester"], uid=number, error=False)
            assert (await fast.read())["result"] == number
        for number in range(20):
            reply = await slow.read()
            assert (reply["uid"], len(reply["result"])) == (str(number), MEBI)


async def test_service_that_stalls_and_goes_on(manager: Manager) -> None:
    """15. While a Service reads nothing, its callers can call others; later it gets all that was accepted, in order."""
    async with service(manager) as echo, service(manager, "Slow") as slow, client(manager) as user:
        for number in range(20):
            await user.call("Slow", "echo", BIG, uid=str(number))
            await user.call("Echo", "echo", uid=number)
            request = await echo.read()
            await echo.send(result=number, requester=request["requester"], uid=number, error=False)
            assert (await user.read())["result"] == number
        for number in range(20):
            request = await slow.read()
            assert (request["uid"], request["args"]) == (str(number), [BIG])
        await slow.send(result=1, requester=request["requester"], uid="19", error=False)
        assert (await user.read())["uid"] == "19"


# 16, 18: what waits is bounded


IMPATIENT = {"outbox_timeout": "500 ms", "shutdown_timeout": "100 ms"}


async def ask_for_much(user: WirePeer, echo: WirePeer, count: int) -> None:
    """Ask for so many MiB; they are sent, whether they are read or not."""
    for number in range(count):
        await user.call("Echo", "echo", uid=str(number))
        request = await echo.read()
        await echo.send(result=BIG, requester=request["requester"], uid=request["uid"], error=False)


async def test_client_that_takes_nothing(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """16. A Client that takes nothing of what waits for it is disconnected in time; one that reads slowly is not."""
    # the system takes megabytes at a time, and then nothing until a third of that is read: for a tenth of that here
    limits = IMPATIENT | {"outbox_timeout": "1500 ms"}
    async with Manager(config(transport, limits=limits)) as manager, service(manager) as echo:
        async with client(manager, "Steady") as steady, client(manager, "Deaf") as deaf:
            await ask_for_much(deaf, echo, 20)
            await ask_for_much(steady, echo, 50)
            rest = 30  # when the other one is gone, this one is looked at for as long again
            with anyio.fail_after(DEADLINE):
                while rest:
                    await steady.stream.receive(300_000)
                    await anyio.sleep(0.02)
                    rest -= len(manager.clients) == 1
            assert [shown["name"] for shown in manager.clients.values()] == ["Steady"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert told[0].startswith("Deaf[")
    assert "does not read" in told[0]


async def test_service_that_takes_nothing(transport: str) -> None:
    """16. A Service that takes nothing for too long is busy at once for who asks; when it reads on, all is well."""
    got: list[Any] = []

    async def read() -> None:
        while True:
            got.append(await stuck.read())

    async def ask(text: str) -> list[Any]:
        """Return what is answered at once."""
        await user.call("Stuck", "x", text, uid=text)
        await user.call("Manager", "unlink", "Nobody", uid="end")
        replies = [await user.read()]
        while replies[-1]["uid"] != "end":
            replies.append(await user.read())
        return replies[:-1]

    async with (
        Manager(config(transport, limits=IMPATIENT)) as manager,
        service(manager, "Stuck") as stuck,
        client(manager) as user,
        anyio.create_task_group() as task_group,
    ):
        for number in range(20):
            await user.call("Stuck", "x", BIG, uid=number)
        with anyio.fail_after(DEADLINE):
            while not (refused := await ask("early")):
                pass
        (refusal,) = refused
        assert refusal["uid"] == "early"
        assert refusal["message"].startswith("BlockingIOError: the 'Stuck' service does not keep up")
        task_group.start_soon(read)
        await until(lambda: len(got) >= 20)
        assert [request["uid"] for request in got[:20]] == list(range(20))
        with anyio.fail_after(DEADLINE):
            while await ask("late"):
                pass
        await until(lambda: got[-1]["uid"] == "late")
        task_group.cancel_scope.cancel()


async def test_notifications_that_are_lost(transport: str) -> None:
    """16. Who does not keep up loses notifications, and is told how many with the next one; others are unchanged."""
    line = (
        b'{"error": false,  "result": [[%d, "' + b"x" * 100_000 + b'"], {}], "service":"Echo","uid":"notification"}\r\n'
    )
    got: list[int] = []
    lost: list[int] = []
    all_read = anyio.Event()

    async def read() -> None:
        while True:
            heard = await slow.line()
            message = json.loads(heard)
            if message["uid"] == "end":
                all_read.set()
                continue
            number = message["result"][0][0]
            if "lost" in message:
                lost.append(message.pop("lost"))
                assert message == json.loads(line % number)
            else:
                assert heard == line % number
            got.append(number)

    async with (
        Manager(config(transport, limits={"outbox": "1 MB"})) as manager,
        service(manager) as beat,
        client(manager, "Fast") as fast,
        client(manager, "Slow") as slow,
        anyio.create_task_group() as task_group,
    ):
        await fast.manager("link", "Echo")
        await slow.manager("link", "Echo")
        number = 0

        async def notify() -> None:
            nonlocal number
            await beat.write(line % number)
            assert await fast.line() == line % number
            number += 1

        for _ in range(200):
            await notify()
        assert not got
        task_group.start_soon(read)
        with anyio.fail_after(DEADLINE):
            while not lost:
                await notify()
            await slow.call("Manager", "unlink", "Nobody", uid="end")
            await all_read.wait()
        await notify()  # nothing waits for it now, so it comes, and says if some did not
        await until(lambda: got[-1] == number - 1)
        assert got == sorted(got)
        assert len(got) + sum(lost) == number
        task_group.cancel_scope.cancel()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A Manager that tests share which measure it one after the other."""
    home = tmp_path_factory.mktemp("shared")
    limits = {"outbox": "8 MiB", "max_message": "16 MiB", "pending": 1_000_000, "shutdown_timeout": "200 ms"}
    with ExitStack() as stack:
        program = Program(home, limits=limits)
        stack.callback(program.close)
        with blocking.service(program.port), blocking.client(program.port):
            pass  # what is imported and kept at the first time is there
        yield program


@pytest.fixture(scope="module")
def shared_large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A Manager that tests share which send much."""
    with ExitStack() as stack:
        program = Program(tmp_path_factory.mktemp("large"))
        stack.callback(program.close)
        yield program


def read_on(peer: Caller, seen: list[bytes]) -> None:
    """Keep what a peer is sent, until the end."""
    with suppress(OSError, ValueError):
        while line := peer.line():
            seen.append(line)


def flood(peer: Caller, line: bytes, size: int) -> int:
    """Send a line again and again, until that is so much or the Manager has given the peer up; return how much."""
    chunk = line * (MEBI // len(line) + 1)
    sent = 0
    with suppress(OSError):
        while sent < size:
            peer.write(chunk)
            sent += len(chunk)
    return sent


def test_requests_to_a_service_that_does_not_read(shared: Program) -> None:
    """16. A Service that does not read makes its callers' requests busy, with their uid; memory stays in its limit."""
    before = shared.memory(peak=True)
    line = json.dumps({"service": "Stuck", "attribute": "x", "args": ["x" * 50_000], "uid": "u"}).encode() + b"\n"
    seen: list[bytes] = []
    with blocking.service(shared.port, "Stuck"), blocking.client(shared.port) as user:
        reading = Thread(read_on, user, seen)
        assert flood(user, line, 200_000_000) >= 200_000_000
        user.call("Manager", "identity", uid="end")
        while not seen or b'"uid": "end"' not in seen[-1]:
            reading.join(0.01)
        refusals = [json.loads(text) for text in seen[:-1]]
        user.sock.shutdown(socket.SHUT_WR)
        reading.result()
    assert len(refusals) > 3000
    assert {refusal["uid"] for refusal in refusals} == {"u"}
    assert all(refusal["message"].startswith("BlockingIOError: the 'Stuck' service") for refusal in refusals)
    assert shared.memory(peak=True) - before < 40 * MEBI


def test_replies_to_a_client_that_does_not_read(shared: Program) -> None:
    """16. A Client that asks and never reads is disconnected when its limit is reached, and costs no more than that."""
    before = shared.memory(peak=True)
    line = json.dumps({"service": "Manager", "attribute": "identity", "uid": "u" * 900}).encode() + b"\n"
    with blocking.client(shared.port) as other:
        with blocking.client(shared.port, "Deaf") as deaf:
            assert flood(deaf, line, 200_000_000) < 200_000_000
        names = [shown["name"] for shown in other.manager("identity")["clients"].values()]
        assert names == ["C"]
    assert shared.memory(peak=True) - before < 40 * MEBI


def test_notifications_to_clients_that_do_not_read(shared: Program) -> None:
    """16. Clients that do not read lose notifications, but not their connection; each costs no more than its limit."""
    before = shared.memory(peak=True)
    line = json.dumps({"error": False, "result": [["x" * 50_000], {}], "service": "Echo", "uid": "notification"})
    with blocking.service(shared.port) as beat, ExitStack() as stack:
        deaf = [stack.enter_context(blocking.client(shared.port, f"Deaf{number}")) for number in range(3)]
        reader = stack.enter_context(blocking.client(shared.port))
        for user in [*deaf, reader]:
            user.manager("link", "Echo")
        for _ in range(100):
            beat.write(line.encode() + b"\r\n")
            assert reader.read()["uid"] == "notification"
        assert flood(beat, line.encode() + b"\r\n", 100_000_000) >= 100_000_000
        for user in [reader, *deaf]:  # all are connected still, and get what waits for them
            user.call("Manager", "unlink", "Nobody", uid="end")
            count = 0
            while user.read()["uid"] == "notification":
                count += 1
            assert 0 < count < 2000
            beat.send(error=False, result=[["now"], {}], service="Echo", uid="notification")
            while user.read()["result"][0] != ["now"]:
                pass
    assert shared.memory(peak=True) - before < 3 * 8 * MEBI + 40 * MEBI


@pytest.mark.parametrize("kind", ["client", "service"])
def test_line_without_an_end(shared: Program, kind: str) -> None:
    """18. A connected peer whose line does not end costs the limit of a line, and is given up at that."""
    before = shared.memory(peak=True)
    with getattr(blocking, kind)(shared.port) as peer:
        flood(peer, b"x" * 1000, 200_000_000)
    assert shared.memory(peak=True) - before < 2 * 16 * MEBI + 16 * MEBI
    with blocking.client(shared.port, "Watch") as watch:
        while watch.manager("identity")["services"]:
            pass  # its name is free a little later than its connection ends
    with getattr(blocking, kind)(shared.port):
        pass


def test_what_was_freed(shared: Program) -> None:
    """18. After all that, the Manager has as many descriptors as before, and nobody is connected."""
    with blocking.client(shared.port) as user:
        assert set(user.manager("identity")["services"]) == set()
        assert len(user.manager("identity")["clients"]) == 1
        count = shared.descriptors()
    with blocking.service(shared.port), blocking.client(shared.port):
        assert shared.descriptors() == count + 1


# 17: many requests


async def test_pending_of_a_service(transport: str) -> None:
    """17. A Service has a limit of open calls, too: one more is refused as busy, with its uid, and possible later."""
    settings = config(transport, limits={"pending": 2})
    answered = anyio.Event()
    async with Manager(settings) as manager, service(manager) as echo, anyio.create_task_group() as task_group:

        async def occupy() -> None:
            async with client(manager, "Patient") as user:
                for uid in range(2):
                    await user.call("Echo", "echo", uid=uid)
                await user.line()
                answered.set()
                await user.eof()

        for _ in range(16):
            task_group.start_soon(occupy)
        requests = [await echo.read() for _ in range(32)]
        async with client(manager, "Late") as late, service(manager, "Other") as other:
            await late.call("Echo", "echo", uid="busy")
            refusal = await late.read()
            assert refusal["uid"] == "busy"
            assert refusal["message"].startswith("BlockingIOError: the 'Echo' service has 32 unanswered requests")
            await late.call("Other", "echo", uid="other")
            assert (await other.read())["uid"] == "other"
            await echo.send(result=1, requester=requests[0]["requester"], uid=requests[0]["uid"], error=False)
            await answered.wait()
            await late.call("Echo", "echo", uid="later")
            assert (await echo.read())["uid"] == "later"
        task_group.cancel_scope.cancel()


def test_turns_of_many_messages(shared: Program) -> None:
    """17. While one Client sends messages without a pause, another one's calls are answered in between."""
    line = json.dumps({"service": "Nobody", "attribute": "x", "uid": "u"}).encode() + b"\n"
    seen: list[bytes] = []
    with blocking.client(shared.port, "Busy") as busy, blocking.client(shared.port) as user:
        reading, sending = Thread(read_on, busy, seen), Thread(busy.write, line * 50_000)
        count = 0
        while len(seen) < 50_000:
            assert user.manager("unlink", "Nobody") is True
            count += 1
        sending.result()
        busy.sock.shutdown(socket.SHUT_WR)
        reading.result()
    assert count > 20


# 19: large bodies


# counted is what the thread of the event loop computes between two answers: others who need the computer add little
HEARTBEAT = """
import json, socket, sys

schedstat = open(f"/proc/{sys.argv[2]}/schedstat")
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
stream = sock.makefile("rwb")

def computed():
    schedstat.seek(0)
    return int(schedstat.read().split()[0]) / 1e9

def ask(text):
    stream.write(text + b"\\n")
    stream.flush()
    return stream.readline()

stream.readline()
ask(b"client Heartbeat\\nidentity")
print("ready")
longest, count = 0, 0
try:
    while True:
        start = computed()
        assert b"true" in ask(b"Manager unlink Nobody")
        longest, count = max(longest, computed() - start), count + 1
except KeyboardInterrupt:
    print(json.dumps([longest, count]))
"""

SIZE = 16 * MEBI


def repeated(value: bytes) -> bytes:
    """Return an array of the size that is asked for, with a value again and again."""
    return b"[" + b",".join([value] * (SIZE // (len(value) + 1))) + b"]"


BODIES = {
    "text": lambda: b'["' + b"x" * 4 * SIZE + b'"]',
    "characters": lambda: '["{}"]'.format("ä東😀" * (SIZE // 9)).encode(),
    "escapes": lambda: b'["' + rb"\u00e9\\\"\n\ud83d\ude00" * (SIZE // 24) + b'"]',
    "numbers": lambda: repeated(b"-1.2500e+03"),
    "nested": lambda: repeated(b'{"a": [[1, "]"], {"b": null}]}'),
    "not a number": lambda: repeated(b"1.50, NaN, -Infinity"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_large_bodies(shared_large: Program, kind: str) -> None:
    """19. A body of 15 to 60 MB goes through as it was written, in both directions, and holds up nobody meanwhile."""
    body = BODIES[kind]()
    with blocking.service(shared_large.port) as echo, blocking.client(shared_large.port) as user:
        with Script(HEARTBEAT, shared_large.port, shared_large.pid) as heart:
            assert heart.line() == "ready"
            head = b'{"args":'
            sending = Thread(user.write, head + body + b',"attribute":"e","service":"Echo","uid":"1"}\r\n')
            request = echo.line()
            sending.result()
            assert body in request
            name = json.loads(request.replace(body, b"[]"))["requester"].encode()
            reply = b'{"error":false,"requester":"' + name + b'","result":' + body + b',"uid":"1"}\r\n'
            sending = Thread(echo.write, reply)
            assert user.line() == reply
            sending.result()
            heart.interrupt()
            longest, count = json.loads(heart.line())
    assert count > 20
    assert longest < 1  # a tenth of it, as a rule; nested values that are read at once take more than one


async def test_payload_as_it_was_written(manager: Manager) -> None:
    """19. Arguments, results and notifications arrive byte for byte as they were written."""
    payloads = [
        b'[1.50,1e400,-0.0,12345678901234567890123456789,0.1000000000000000055511151231257827,1E5,"\\/\\u00e9\\ud83d\\ude00"]',
        '["äöü東京😀", "\u2028", {"b": 1, "a" :2, "b":3}]'.encode(),
        b'[ [ ] , { } , [[[["deep"]]]] ,\t"\\u0000" ]',
    ]
    async with service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        (name,) = manager.clients
        for payload in payloads:
            await user.write(b'{"service":"Echo","attribute":"e","uid":"1","args":' + payload + b"}\r\n")
            assert payload in await echo.line()
            head = b'{"error":false,"requester":"' + name.encode() + b'","uid":"1","result":'
            await echo.write(head + payload + b"}\r\n")
            assert await user.line() == head + payload + b"}\r\n"
            head = b'{"error":false,"service":"Echo","uid":"notification","result":[' + payload
            await echo.write(head + b",{}]}\r\n")
            assert await user.line() == head + b",{}]}\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def test_payload_in_pieces(manager: Manager) -> None:
    """19. However the network cuts a message, characters and escapes in two, it arrives whole."""
    text = 'ä東😀\\u00e9\\n\\\\"'.replace('"', '\\"')
    payload = f'["{text * 50}"]'.encode()
    line = b'{"service":"Echo","attribute":"e","uid":"1","args":' + payload + b"}\r\n"
    async with service(manager) as echo, client(manager) as user:
        for size in (1, 2, 3, 5, 7, 64, 1000):
            for piece in pieces(line, size):
                await user.write(piece)
            assert payload in await echo.line()
