"""Trust: nobody speaks in the name of another, and nothing is passed on that could harm who reads it."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest

from tests.wire_peer import DEADLINE, WirePeer, client, connected, service, until

if TYPE_CHECKING:
    from msl_network import Manager

pytestmark = pytest.mark.anyio

HOSTNAME = socket.gethostname()


def reply_to(request: dict[str, Any], result: Any = "right", **changes: Any) -> dict[str, Any]:
    """Return the reply to a request."""
    return {
        "error": False,
        "requester": request["requester"],
        "result": result,
        "uid": request["uid"],
        **changes,
    }


# 8: replies


async def test_reply_of_who_was_not_asked(manager: Manager) -> None:
    """8. A reply counts only from the Service that was asked; from any other peer it is dropped, whatever it says."""
    async with service(manager) as echo, service(manager, "Evil") as evil, client(manager) as user:
        await user.call("Echo", "echo", uid="1")
        request = await echo.read()
        await user.call("Evil", "x", uid="2")
        asked = await evil.read()
        forged = [
            reply_to(request, "forged"),
            reply_to(request, "forged", service="Echo"),
            reply_to(request, None, error=True, message="ValueError: forged", traceback=[]),
            reply_to(request, "forged", uid=["1"]),
        ]
        async with client(manager, "Spy") as spy, connected(manager) as stranger:
            assert (await stranger.read())["attribute"] == "identity"
            for line in forged:
                await evil.send(**line)
                await spy.send(**line)
                await user.send(**line)
            await stranger.send(**forged[0])
            assert (await stranger.read())["error"] is True
            await stranger.eof()
            await spy.silence()
        await evil.send(**reply_to(asked))
        await echo.send(**reply_to(request))
        answers = {answer["uid"]: answer["result"] for answer in [await user.read(), await user.read()]}
        assert answers == {"1": "right", "2": "right"}
        await user.silence()


async def test_reply_that_nobody_waits_for(manager: Manager) -> None:
    """8. A reply counts once, for its request, and for who asked; any other of the Service is dropped."""
    async with service(manager) as echo, client(manager) as user, client(manager, "Other") as other:
        await user.call("Echo", "echo", uid="1")
        request = await echo.read()
        await other.call("Echo", "echo", uid="2")
        second = await echo.read()
        for line in (
            reply_to(request, "to another", requester=second["requester"]),
            reply_to(request, "to nobody", requester="Nobody[here:1]"),
            reply_to(request, "to the Manager", requester=manager.network_name),
            reply_to(request, "to a name", requester="C"),
            reply_to(request, "to nobody", requester=""),
            reply_to(request, "other uid", uid="x"),
            reply_to(request, "no uid", uid=""),
            reply_to(request, "no uid", uid=None),
            reply_to(request, "a number", uid=1),
            reply_to(second, "a number", uid=2.0),
            reply_to(request),
            reply_to(request, "twice"),
            reply_to(second),
            reply_to(second, "twice"),
        ):
            await echo.send(**line)
        assert (await user.read())["result"] == "right"
        assert (await other.read())["result"] == "right"
        await user.silence()
        await other.silence()


async def test_answers_in_any_order(manager: Manager) -> None:
    """8. Each of many replies, in any order, goes to who asked for it: also where all asked under one uid."""
    async with service(manager) as echo, client(manager, "A") as one, client(manager, "B") as two:
        users = {"A": one, "B": two}
        for number in range(100):
            for user in users.values():
                await user.call("Echo", "echo", number, uid=str(number))
        requests = [await echo.read() for _ in range(200)]
        for request in reversed(requests):
            await echo.send(**reply_to(request, [request["requester"][0], request["args"][0]]))
        for name, user in users.items():
            for number in reversed(range(100)):
                answer = await user.read()
                assert (answer["uid"], answer["result"]) == (str(number), [name, number])


# 9: notifications


async def test_notification_of_another(manager: Manager) -> None:
    """9. A notification counts only from the Service whose name it has; of any other peer it is dropped."""
    async with service(manager) as beat, service(manager, "Evil") as evil, client(manager) as user:
        await user.manager("link", "Echo")
        await user.manager("link", "Evil")
        forged = {"error": False, "result": [["forged"], {}], "service": "Echo", "uid": "notification"}
        names: list[Any] = ["", "echo", "Manager", None, ["Echo"], "Nobody"]
        async with client(manager, "Spy") as spy:
            for name in ["Echo", *names]:
                await evil.send(**{**forged, "service": name})
                await spy.send(**{**forged, "service": name})
                await user.send(**{**forged, "service": name})
            await spy.silence()
        for name in names:
            await beat.send(**{**forged, "service": name})
        await evil.send(**{**forged, "service": "Evil", "result": [["mine"], {}]})
        await beat.send(**{**forged, "result": [["right"], {"self": 1}]})
        await beat.send(**{**forged, "result": [["right"], {"x": 1}]})
        heard = [await user.read(), await user.read()]
        assert sorted(line["result"][0][0] for line in heard) == ["mine", "right"]
        await user.silence()


async def test_notification_of_the_wrong_shape(manager: Manager) -> None:
    """9. The result of a notification is [[...], {...}]: any other would end the Clients of 1.0 that hear it."""
    shapes: list[Any] = [1, "ab", [], [[1]], [1, {}], [[1], []], [[1], {}, 2], [{}, []], {"0": [], "1": {}}, None, True]
    async with service(manager) as beat, client(manager) as user:
        await user.manager("link", "Echo")
        for shape in shapes:
            await beat.send(result=shape, service="Echo", uid="notification", error=False)
            assert (await beat.read())["error"] is True
        for error in (True, 1, None, "x"):  # with an error a Client of 1.0 would look for a message
            await beat.send(result=[[error], {}], service="Echo", uid="notification", error=error, message=5)
            heard = await user.read()
            assert (heard["error"], heard["result"]) == (False, [[error], {}])
        await user.silence()


async def test_notification_of_a_wrong_shape_that_is_out_of_sight(manager: Manager) -> None:
    """9. Nor does a shape pass that is wrong amid a long line, which is not read at once; a right one does."""
    much = b"[" + b",".join([b"1.25"] * 200_000) + b"]"
    head, end = b'{"error":false,"service":"Echo","uid":"notification","result":[', b"]}\r\n"
    hidden = [
        much + b',[1],{"k":' + much + b"}",
        b'[],{"k":' + much + b',"self":1,"l":' + much + b"}",
        b'[],{"k":' + much + b',"\\u0073elf":1,"l":' + much + b"}",
        much + b',{"k":' + much + b"},5",
        b'[],{"k":' + much + b"},{}," + much,
    ]
    async with service(manager) as beat, client(manager) as user:
        await user.manager("link", "Echo")
        for shape in hidden:
            await beat.write(head + shape + end)
            assert (await beat.read())["error"] is True
        right = head + much + b',{"a":1,"k":' + much + b',"b":[2]}' + end
        await beat.write(right)
        assert await user.line() == right
        await user.silence()


async def test_names_that_are_out_of_sight(manager: Manager) -> None:
    """12. Names and uids that are too long are refused amid a long line, too, of which a part is not read at once."""
    async with service(manager) as echo, client(manager) as user:
        for key in ("service", "attribute", "uid"):
            request = {"service": "Echo", "attribute": "echo", "uid": "7", key: "x" * 1_000_000}
            await user.send(**request)
            refusal = await user.read()
            assert (refusal["error"], "the limit is" in refusal["message"]) == (True, True)
        await user.call("Echo", "echo", "y" * 1_000_000, uid="8")
        assert (await echo.read())["uid"] == "8"


async def test_traceback_that_is_out_of_sight(manager: Manager) -> None:
    """8. An error whose traceback would end a Client of 1.0, amid a long line, is not forwarded, but the call ends."""
    async with service(manager) as echo, client(manager) as user:
        await user.call("Echo", "echo", uid="7")
        traceback: list[Any] = ["a line of a traceback"] * 80_000
        traceback[40_000] = 5
        name = (await echo.read())["requester"]
        await echo.send(error=True, message="x", requester=name, result=None, traceback=traceback, uid="7")
        refusal = await user.read()
        assert (refusal["error"], refusal["uid"], refusal["traceback"]) == (True, "7", [])
        assert "an error may have 1048576 bytes" in refusal["message"]
        await user.silence()


async def test_notification_to_who_is_linked_now(manager: Manager) -> None:
    """9. A notification goes to the Clients that are linked at that moment, once to each, and byte for byte."""
    line = b'{"uid" :"notification", "error":false,"result":[[%d,1.50],{"e":1E3}],  "service":"Echo"}\r\n'
    async with service(manager) as beat, client(manager, "A") as one, client(manager, "B") as two:
        for _ in range(3):
            await one.manager("link", "Echo")
        await beat.write(line % 1)
        assert await one.line() == line % 1
        await two.manager("link", "Echo")
        await beat.write(line % 2)
        assert await one.line() == await two.line() == line % 2
        await one.manager("unlink", "Echo")
        await beat.write(line % 3)
        assert await two.line() == line % 3
        await one.silence()
        await two.silence()


# 10: calls without a link


async def test_calls_without_a_link(manager: Manager) -> None:
    """10. A Client that is not linked may call while it could link: not while there is a lock, or no place is left."""
    async with service(manager, max_clients=1) as echo, client(manager, "A") as holder, client(manager, "B") as user:
        await user.call("Echo", "echo", uid="free")
        assert (await echo.read())["uid"] == "free"
        await holder.manager("link", "Echo")
        await user.call("Echo", "echo", uid="full")
        refusal = await user.read()
        assert (refusal["uid"], refusal["error"]) == ("full", True)
        assert refusal["message"].startswith("PermissionError: The maximum number of Clients are already linked")
        for shared in (True, False):
            await holder.manager("acquire_lock", "Echo", shared=shared)
            await user.call("Echo", "echo", uid="locked")
            refusal = await user.read()
            assert (refusal["uid"], refusal["message"]) == ("locked", "PermissionError: 'Echo' service is locked")
        await holder.call("Echo", "echo", uid="mine")
        assert (await echo.read())["uid"] == "mine"
        await holder.manager("unlink", "Echo")
        await user.call("Echo", "echo", uid="free again")
        assert (await echo.read())["uid"] == "free again"


async def test_link_counts_once(manager: Manager) -> None:
    """10. A Client may link again, also while somebody holds a lock, and is linked once: it takes one place."""
    async with service(manager, max_clients=2), client(manager, "A") as one, client(manager, "B") as two:
        for _ in range(3):
            assert (await one.manager("link", "Echo"))["max_clients"] == 2
        assert (await two.manager("link", "Echo"))["max_clients"] == 2
        names = await one.manager("acquire_lock", "Echo", shared=True)
        assert len(names) == 2
        for user in (one, two):
            assert (await user.manager("link", "Echo"))["max_clients"] == 2
        async with client(manager, "C") as three:
            assert "locked" in await three.manager("link", "Echo")
            assert await one.manager("unlink", "Echo") is True
            assert "was not linked" in await one.manager("unlink", "Echo")
            assert (await three.manager("link", "Echo"))["max_clients"] == 2
            assert (await one.manager("link", "Echo")).startswith("PermissionError: The maximum number")


async def test_lock_is_bypassed_by_no_request(manager: Manager) -> None:
    """10. No form of a request reaches a locked Service from who is not linked: JSON, text, or a forged requester."""
    async with service(manager) as echo, client(manager, "A") as holder, client(manager, "B") as user:
        await holder.manager("link", "Echo")
        await holder.manager("acquire_lock", "Echo")
        (name,) = await holder.manager("acquire_lock", "Echo")
        for line in (
            b'{"service": "Echo", "attribute": "shutdown_service", "uid": "1"}',
            b'{"service": "Echo", "attribute": "x", "requester": "%s", "uid": "1"}' % name.encode(),
            b'{"service": "Nobody", "attribute": "x", "service": "Echo", "uid": "1"}',
            b'{"service": "Echo", "attribute": "x", "uid": "1", "args": [NaN]}',
            b"Echo echo 1",
            b"link Echo",
        ):
            refusal = await user.ask(line)
            assert refusal["message"] == "PermissionError: 'Echo' service is locked", line
        await holder.call("Echo", "echo", uid="mine")
        assert (await echo.read())["uid"] == "mine"


# 11: what a Service is sent


async def test_what_a_service_is_sent(manager: Manager) -> None:
    """11. A Service gets the keys that it knows, complete and of the right types, with the true requester."""
    async with service(manager) as echo, client(manager) as user:
        (name,) = manager.clients
        whole = {
            "args": [],
            "attribute": "echo",
            "error": False,
            "kwargs": {},
            "requester": name,
            "service": "Echo",
            "uid": "",
        }
        small = {"service": "Echo", "attribute": "echo"}
        for forged in (
            {},
            {"requester": "Manager[here:1]"},
            {"requester": 5},
            {"requester": None},
            {"error": True, "message": "ValueError: forged", "traceback": []},
            {"error": 1},
            {"error": None},
            {"message": 5, "traceback": "x", "more": {"result": 1}},
            {"__class__": "x", "\u0000": 1},
            {"ARGS": [1], "Service": "Nobody"},
        ):
            await user.send(**small, **forged)
            assert await echo.read() == whole, forged
        for uid in ("u", 5, 1.5, True, None, "\u00e9\u2028"):
            await user.send(**small, args=[{"result": 1}], kwargs={"service": "x", "uid": 1}, uid=uid)
            passed = {**whole, "args": [{"result": 1}], "kwargs": {"service": "x", "uid": 1}, "uid": uid}
            assert await echo.read() == passed
        # of a key that comes twice the last one counts, for the Manager as for a reader in Python
        await user.write(
            b'{"service":"Nobody","service":"Echo","attribute":1,"attribute":"echo","uid":"1","uid":"2"}\n'
        )
        assert await echo.read() == {**whole, "uid": "2"}


@pytest.mark.parametrize("key", ["attribute", "service", "args", "kwargs"])
async def test_wrong_types_are_not_forwarded(manager: Manager, key: str) -> None:
    """11. A request with a key of the wrong type is answered with an error that names it, and reaches no Service."""
    values: list[Any] = [None, 1, 1.5, True, "x", [], {}]
    right: dict[str, type] = {"attribute": str, "service": str, "args": list, "kwargs": dict}
    async with service(manager) as echo, client(manager) as user:
        for value in values:
            if not isinstance(value, right[key]):
                await user.send(**{"service": "Echo", "attribute": "echo", "uid": "u", key: value})
                refusal = await user.read()
                assert refusal["error"] is True
                assert refusal["message"].startswith("TypeError: "), value
                assert key in refusal["message"]
        await user.call("Echo", "echo", uid="sound")
        assert (await echo.read())["uid"] == "sound"


async def test_what_python_cannot_read_is_not_forwarded(manager: Manager) -> None:
    """11. What JSON allows but Python's reader does not, would end a Service of 1.0: it is refused."""
    payloads = [
        b"[" * 1500 + b"]" * 1500,
        b'[{"a":' * 900 + b"1" + b"}]" * 900,
        b"[" + b"7" * 5000 + b"]",
        b"[-" + b"7" * 5000 + b"]",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b'["\xc0\x80"]',
    ]
    async with service(manager) as echo, client(manager) as user:
        for payload in payloads:
            for request in (b'"args":%s', b'"kwargs":{"x":%s}'):
                await user.write(b'{"service":"Echo","attribute":"echo","uid":"u",' + request % payload + b"}\n")
                refusal = await user.read()
                assert refusal["error"] is True
        await user.call("Echo", "echo", uid="sound")
        assert (await echo.read())["uid"] == "sound"


# 12: what names may be


NAMES: list[Any] = [
    "",
    " ",
    "\t",
    "a\nb",
    "a\r\nb",
    "a\x00b",
    "a\x1b[2J",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",
    "\ud800",
    "a\udfffb",
    "n" * 257,
    "n" * 60_000,
    "Manager",
    "Manager[here:1]",
    "Manager[]",
    "self",
    5,
    1.5,
    True,
    None,
    [],
    ["A"],
    {"name": "A"},
]


@pytest.mark.parametrize("kind", ["client", "service"])
async def test_names_that_are_refused(manager: Manager, kind: str) -> None:
    """12. A name that is no text, empty, too long, a reserved one, or that controls a terminal lets nobody in."""
    async with client(manager, "n" * 256) as watch:
        for name in NAMES:
            async with connected(manager) as peer:
                await peer.read()
                await peer.send(result={"type": kind, "name": name, "attributes": {}})
                refusal = await peer.read()
                assert refusal["error"] is True, name
                assert refusal["message"].partition(":")[0] in {"TypeError", "NameError"}
                assert len(refusal["message"]) < 1000
                await peer.eof()
        identity = await watch.manager("identity")
        assert [shown["name"] for shown in identity["clients"].values()] == ["n" * 256]
        assert identity["services"] == {}


async def test_names_of_any_language(manager: Manager) -> None:
    """12. A name may have letters of any language, spaces and brackets, and everybody can read it."""
    names = ["Zürich DMM", "東京", "Шкала №1", "a[b:1]", 'x\'s "y"', "😀", "managers", "selfish", "{}", "%s\\n"]
    async with client(manager, "Watch") as watch:
        for name in names:
            async with service(manager, name) as echo, client(manager, name):
                identity = await watch.manager("identity")
                assert set(identity["services"]) == {name}
                assert {shown["name"] for shown in identity["clients"].values()} == {"Watch", name}
                await watch.call(name, "echo")
                request = await echo.read()
                assert request["service"] == name
                await echo.send(**reply_to(request))
                assert (await watch.read())["result"] == "right"
            await until(lambda: not manager.services and len(manager.clients) == 1)


async def test_uid_of_notifications(manager: Manager) -> None:
    """12. A request cannot have the uid of notifications: the reply would be taken for one, by all that are linked."""
    async with service(manager) as echo, client(manager) as user:
        await user.manager("link", "Echo")
        for text in (b'"notification"', b'"n\\u006ftification"'):
            for target in (b"Echo", b"Manager", b"Nobody"):
                refusal = await user.ask(b'{"service":"%s","attribute":"identity","uid":%s}' % (target, text))
                assert refusal["error"] is True
                assert "reserved for notifications" in refusal["message"]
        await user.call("Echo", "echo", uid="Notification")
        assert (await echo.read())["uid"] == "Notification"


# 13: identities


async def test_identities_that_are_refused(manager: Manager) -> None:
    """13. An identity whose fields have other types than they should, or that is too large, lets nobody in."""
    fields: dict[str, list[Any]] = {
        "max_clients": [True, False, "5", 1.5, [], {}, [1], float("nan"), float("inf")],
        "attributes": [[], "x", 5, True, None, [["a", "b"]]],
        "language": [5, [], {}, True],
        "os": [5, [], {}, True],
        "type": [5, None, [], "", "robot", "clients", True],
    }
    sound = {"type": "service", "name": "DMM", "attributes": {}}
    for field, values in fields.items():
        for value in values:
            async with connected(manager) as peer:
                await peer.read()
                await peer.send(result={**sound, field: value})
                refusal = await peer.read()
                assert refusal["error"] is True
                assert refusal["message"].startswith("TypeError: "), (field, value)
                await peer.eof()
    async with connected(manager) as peer:
        await peer.read()
        await peer.send(result={**sound, "type": "robot"})
        said = (await peer.read())["message"]
        assert said == 'TypeError: Unknown connection type \'robot\'. Must be "client" or "service"'
    for missing in sound:
        async with connected(manager) as peer:
            await peer.read()
            await peer.send(result={key: value for key, value in sound.items() if key != missing})
            assert (await peer.read())["message"].startswith(f"KeyError: \"the identity has no '{missing}'")
            await peer.eof()
    async with connected(manager) as peer:
        await peer.read()
        await peer.send(result={**sound, "attributes": {"a": "x" * 70_000}})
        assert "65536 bytes" in (await peer.read())["message"]
        await peer.eof()
    assert not manager.services


async def test_identities_that_are_accepted(manager: Manager) -> None:
    """13. Optional fields may be missing or null, numbers whole ones of LabVIEW, the type in any case."""
    accepted: dict[str, list[tuple[Any, Any]]] = {
        "max_clients": [(None, -1), (5.0, 5), (0, 0), (-3, -3), (2**40, 2**40)],
        "language": [(None, "unknown"), ("", ""), ("LabVIEW", "LabVIEW")],
        "os": [(None, "unknown"), ("Windows", "Windows")],
    }
    sound = {"type": "SerVice", "name": "DMM", "attributes": {"a": ["any", {"value": None}]}, "more": {"x": 1}}
    for field, values in accepted.items():
        for value, shown in values:
            async with connected(manager) as peer:
                await peer.read()
                await peer.send(result={**sound, field: value})
                await until(lambda: manager.services)
                assert manager.services["DMM"][field] == shown
                assert manager.services["DMM"]["attributes"] == {"a": ["any", {"value": None}]}
            await until(lambda: not manager.services)


# 14: who is who


async def from_port(manager: Manager, port: int) -> WirePeer:
    """Connect as a Client from a certain port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    with anyio.fail_after(DEADLINE):
        while True:
            try:
                sock.connect(("127.0.0.1", manager.port))
            except BlockingIOError:
                await anyio.wait_writable(sock)
            break
    peer = WirePeer(await anyio.abc.SocketStream.from_socket(sock))
    await peer.read()
    await peer.send(result={"type": "client", "name": "C"})
    await peer.silence()
    return peer


async def test_successor_on_the_same_port(manager: Manager) -> None:
    """14. A Client that comes from the address of another, under its name, is another: it inherits nothing."""
    async with service(manager) as echo:
        first = await from_port(manager, 0)
        (name,) = manager.clients
        port = int(name.rpartition(":")[2].rstrip("]"))
        await first.manager("link", "Echo")
        await first.manager("acquire_lock", "Echo")
        await first.call("Echo", "echo", uid="1")
        late = await echo.read()
        await first.stream.aclose()
        await until(lambda: not manager.clients)
        second = await from_port(manager, port)
        assert set(manager.clients) == {name}
        assert "it is not linked" in await second.manager("acquire_lock", "Echo")
        await echo.send(**reply_to(late, "late"))
        await echo.send(result=[["late"], {}], service="Echo", uid="notification", error=False)
        await second.silence()
        await second.call("Echo", "echo", uid="1")
        await echo.send(**reply_to(await echo.read()))
        assert (await second.read())["result"] == "right"
        await second.stream.aclose()


async def test_equal_names(manager: Manager) -> None:
    """14. Clients may share a name, also with a Service: each gets what is its own, and leaves as itself."""
    async with service(manager, "X") as echo, client(manager, "X") as one, client(manager, "X") as two:
        assert len(manager.clients) == 2
        for user in (one, two):
            await user.call("X", "echo", uid="1")
        requests = [await echo.read(), await echo.read()]
        await one.stream.aclose()
        await until(lambda: len(manager.clients) == 1)
        for request in requests:
            await echo.send(**reply_to(request))
        assert (await two.read())["result"] == "right"
        await two.silence()
        assert json.dumps(list(manager.clients)) == json.dumps([requests[1]["requester"]])
