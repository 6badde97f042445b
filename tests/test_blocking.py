from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import os
import pickle
import pydoc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import (
    Client,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    Link,
    LinkedClient,
    RefusedError,
    RemoteError,
    Service,
    connect,
    filter_client_connect_kwargs,
)

from .laboratory import (
    DEADLINE,
    HERE,
    MOMENT,
    Laboratory,
    Running,
    Script,
    Thread,
    Wire,
    fake_manager,
    happens,
    no_thread_left,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Each test ends the threads that it starts."""
    with no_thread_left():
        yield
        gc.collect()


class Maths(Service):
    """Adds."""

    unit = "m"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._go = threading.Event()
        self._is_held = threading.Event()

    def add(self, x: float, y: float = 2) -> float:
        """Add two numbers.

        The second may be left out.
        """
        return x + y

    def fail(self, text: str) -> None:
        raise LookupError(text)

    def hold(self) -> None:
        self._is_held.set()
        happens(self._go)

    def tell(self, *args: Any, **kwargs: Any) -> None:
        self.emit_notification(*args, **kwargs)

    def shutdown_service(self) -> str:
        return "bye"


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory() as laboratory:
        yield laboratory


@pytest.fixture
def maths(lab: Laboratory) -> Iterator[Running]:
    running = lab.start(Maths())
    yield running
    running.service._go.set()  # type: ignore[attr-defined]


# The Client


def test_client(lab: Laboratory) -> None:
    """It knows its name, its addresses and itself; after disconnecting, too."""
    client = lab.client("Me")
    assert client.name == "Me"
    assert client.address_manager == f"{HERE}:{lab.port}"
    assert str(client).startswith("Me[")
    assert str(client).endswith(f":{client.port}]")
    assert repr(client) == f"<Me manager={HERE}:{lab.port} port={client.port}>"
    assert client.identity()["type"] == "client"
    assert client.identity()["name"] == "Me"
    assert client.is_connected()
    assert client.loop_thread_id in {thread.ident for thread in threading.enumerate()}
    lab.who.clients("Me")
    for _ in range(3):
        client.disconnect()
        client.disconnect(timeout=1)
    lab.who.clients()
    assert not client.is_connected()
    assert client.loop_thread_id is None
    assert repr(client) == "<Me disconnected>"
    assert client.port > 0
    with pytest.raises(ConnectionLostError, match="this Client has disconnected"):
        client.identities()


def test_identity_is_a_copy(lab: Laboratory) -> None:
    """Changing what identity returns changes nobody."""
    client = lab.client("Me")
    client.identity()["name"] = "You"
    assert client.identity()["name"] == "Me"


def test_client_in_a_with_statement(lab: Laboratory) -> None:
    """It disconnects at the end, also after an error."""
    with pytest.raises(ZeroDivisionError), connect(**lab.keywords) as client:
        raise ZeroDivisionError
    assert not client.is_connected()


def test_shutdown_handler(lab: Laboratory) -> None:
    """It is called once, however the connection ends; one that fails does no harm."""
    calls: list[str] = []
    ended = threading.Event()

    def handler() -> None:
        calls.append("x")
        ended.set()
        raise ZeroDivisionError

    one, two = lab.client(), lab.client()
    one.shutdown_handler = handler  # type: ignore[method-assign]
    one.disconnect()
    one.disconnect()
    assert calls == ["x"]
    ended.clear()
    two.shutdown_handler = handler  # type: ignore[method-assign]
    lab.stop()
    happens(ended)
    two.disconnect()
    assert calls == ["x", "x"]


def test_shutdown_handler_that_disconnects(lab: Laboratory) -> None:
    """It may call disconnect, whoever ended the connection."""
    for end in ("disconnect", "stop"):
        client = lab.client()
        ended = threading.Event()

        def handler(client: Client = client, ended: threading.Event = ended) -> None:
            client.disconnect()
            ended.set()

        client.shutdown_handler = handler  # type: ignore[method-assign]
        client.disconnect() if end == "disconnect" else lab.stop()
        happens(ended)


def test_identities(lab: Laboratory, maths: Running) -> None:
    """Who is connected, as a dictionary or as a text for people."""
    client = lab.client("Me")
    found = client.identities()
    assert isinstance(found, dict)
    assert found["port"] == lab.port
    assert found["services"]["Maths"]["attributes"]["unit"] == "m"
    assert "docs" not in found["services"]["Maths"]
    assert list(found["clients"]) == [str(client)]
    text = client.identities(as_string=True, indent=3)
    assert isinstance(text, str)
    lines = text.splitlines()
    assert lines[0] == f"Manager[{found['hostname']}:{lab.port}]"
    assert "Clients [1]:" in lines
    assert "Services [1]:" in lines
    assert f"   Maths[{found['services']['Maths']['address']}]" in lines
    assert any(line.startswith("         add(x: ") for line in lines)
    assert "         unit() -> m" in lines


def test_spawn(lab: Laboratory, maths: Running) -> None:
    """A spawned Client is another connection to the same Manager."""
    client = lab.client("A")
    with client.spawn("B") as other, client.spawn() as third:
        assert (other.name, third.name) == ("B", "Client")
        assert other.port != client.port
        assert other.link("Maths").add(1) == 3
        client.disconnect()
        assert other.is_connected()


def test_add_tasks(lab: Laboratory) -> None:
    """A Client has no event loop, and says so."""
    with pytest.raises(RuntimeError, match="no event loop"):
        lab.client().add_tasks(1)


def test_filter_of_keywords() -> None:
    """What connect does not take is left out."""
    assert filter_client_connect_kwargs(name="x", color=1, auth_password="p") == {"name": "x", "password_manager": "p"}


# The administrator


def test_admin_request(lab: Laboratory) -> None:
    """An administrator gets results, others an error; an asynchronous one is refused."""
    boss = lab.client("Boss")
    assert boss.admin_request("port") == lab.port
    assert boss.admin_request("connections_table.connections", timeout=DEADLINE) is not None
    with pytest.raises(RemoteError, match="AttributeError"):
        boss.admin_request("users_table.nope")
    with pytest.raises(ValueError, match="asynchronous"):
        boss.admin_request("port", asynchronous=True)
    with pytest.raises(RemoteError, match="must be an administrator"):
        lab.client(username="x", password="y").admin_request("port")


def test_shutdown_manager(lab: Laboratory, maths: Running) -> None:
    """It returns None, when the Manager has closed the connection; who waits for something else is told."""
    boss = lab.client("Boss")
    pending = boss.link("Maths").hold(asynchronous=True)
    happens(maths.service._is_held)  # type: ignore[attr-defined]
    maths.service._go.set()  # type: ignore[attr-defined]
    assert boss.admin_request("shutdown_manager") is None
    boss.disconnect()
    assert not boss.is_connected()
    assert pending.exception(DEADLINE) is None or isinstance(pending.exception(), ConnectionLostError)
    maths.result()


# The Link


def test_link(lab: Laboratory, maths: Running) -> None:
    """It knows its Service; its attributes are those of the Service."""
    client = lab.client()
    link = client.link("Maths")
    address = link.service_address
    assert address.endswith(f":{maths.service.port}")
    assert repr(link) == f"<Link with Maths[{address}] at Manager[{HERE}:{lab.port}]>"
    assert (link.service_name, link.service_max_clients) == ("Maths", -1)
    assert link.service_os
    assert link.add(1) == 3
    assert link.add(1, y=1) == 2
    assert link.unit() == "m"
    with pytest.raises(RemoteError, match="LookupError: x") as caught:
        link.fail("x")
    assert caught.value.what == "Maths.fail"
    with pytest.raises(RemoteError, match="'nope'"):
        link.nope()


def test_no_such_service(lab: Laboratory) -> None:
    """It is an error that names it."""
    with pytest.raises(RemoteError, match="Nope"):
        lab.client().link("Nope")


def test_help(lab: Laboratory, maths: Running) -> None:
    """What one can ask a Python function one can ask a remote method: names, signature, help."""
    link = lab.client().link("Maths")
    assert {"add", "fail", "unit", "unlink", "service_name"} <= set(dir(link))
    assert str(inspect.signature(link.add)) == "(x: float, y: float = 2) -> float"
    assert link.add.__name__ == "add"
    text = pydoc.plain(pydoc.render_doc(link.add))
    assert "add(x: float, y: float = 2) -> float" in text
    assert "The second may be left out." in text
    assert "unit" in pydoc.plain(pydoc.render_doc(link.unit))
    assert pydoc.plain(pydoc.render_doc(link.nope))
    assert pydoc.plain(pydoc.render_doc(link))


def test_protocols_that_are_not_remote(lab: Laboratory, maths: Running) -> None:
    """Copying, notebooks and the like ask an object for special names; those are no requests."""
    link = lab.client().link("Maths")
    for name in ("__deepcopy__", "__array__", "_repr_html_", "_ipython_display_", "__wrapped__", "__len__"):
        assert not hasattr(link, name)
    assert not callable(link.service_attributes)
    assert copy.copy(link).service_name == "Maths"
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(link)


def test_private_name(lab: Laboratory, maths: Running) -> None:
    """A name with an underscore reaches the Service, which refuses it."""
    with pytest.raises(RemoteError, match="PermissionError"):
        lab.client().link("Maths")._go()


def test_unlink(lab: Laboratory, maths: Running) -> None:
    """A broken link says so; breaking it again does nothing; others stay."""
    client = lab.client()
    link = client.link("Maths")
    add = link.add
    link.unlink()
    link.unlink()
    link.disconnect()
    assert repr(link) == f"<Un-Linked from Maths[{link.service_address}]>"
    for call in (lambda: link.add(1), lambda: add(1), link.acquire_lock, link.release_lock, link.shutdown_service):
        with pytest.raises(AttributeError, match="the link with 'Maths' is broken"):
            call()
    with client.link("Maths") as again:
        assert again.add(1) == 3
    assert "Un-Linked" in repr(again)
    with pytest.raises(TypeError, match="what link"):
        client.unlink("Maths")  # type: ignore[arg-type]


def test_link_in_a_with_statement_whose_connection_ends(lab: Laboratory, maths: Running) -> None:
    """It is no error that there is nobody any more to unlink from."""
    client = lab.client()
    with client.link("Maths"):
        client.disconnect()


def test_shutdown_service(lab: Laboratory, maths: Running) -> None:
    """It returns what the method returns, and breaks the link."""
    link = lab.client().link("Maths")
    assert link.shutdown_service() == "bye"
    maths.result()
    assert "Un-Linked" in repr(link)


def test_locks(lab: Laboratory, maths: Running) -> None:
    """A lock keeps others from linking, until it is released."""
    client, other = lab.client("A"), lab.client("B")
    link = client.link("Maths")
    assert link.acquire_lock() == [str(client)]
    with pytest.raises(RemoteError, match="locked"):
        other.link("Maths")
    assert link.release_lock() == []
    second = other.link("Maths")
    assert link.acquire_lock(shared=True) == second.acquire_lock(shared=True) == sorted([str(client), str(other)])
    assert link.release_lock(timeout=DEADLINE) == [str(other)]


def test_notifications(lab: Laboratory, maths: Running) -> None:
    """A function that is assigned, or a method of a Link that overrides, hears what the Service says."""
    client = lab.client()
    link = client.link("Maths")
    heard: list[Any] = []
    done = threading.Event()

    def handler(*args: Any, **kwargs: Any) -> None:
        heard.append((args, kwargs))
        if args == ("last",):
            done.set()
        raise ZeroDivisionError

    link.tell("nobody listens")
    link.notification_handler = handler  # type: ignore[method-assign]
    link.tell(1, key=[2])
    link.tell("last")
    happens(done)
    assert heard == [((1,), {"key": [2]}), (("last",), {})]


# The end of a Client


def test_forgotten_client(lab: Laboratory, maths: Running) -> None:
    """A Client that nobody has any more disconnects, and its threads end; also with links and handlers."""
    for with_link in (False, True):
        before = set(threading.enumerate())
        client = connect(name="Forgotten", **lab.keywords)
        if with_link:
            link = client.link("Maths")
            heard = threading.Event()
            link.notification_handler = heard.set  # type: ignore[method-assign]
            link.tell()
            happens(heard)
            assert link.add(1) == 3
            del link
        lab.who.clients("Forgotten")
        threads = {each for each in set(threading.enumerate()) - before if "Forgotten" in each.name}
        assert threads
        reference = weakref.ref(client)
        del client
        gc.collect()
        assert reference() is None
        lab.who.clients()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def test_link_keeps_its_client(lab: Laboratory, maths: Running) -> None:
    """As long as somebody has the link the connection is there."""
    link = connect(**lab.keywords).link("Maths")
    gc.collect()
    assert link.add(1) == 3
    method = link.add
    del link
    gc.collect()
    assert method(2) == 4
    del method
    gc.collect()
    lab.who.clients()


def test_inside_a_running_event_loop(lab: Laboratory, maths: Running) -> None:
    """In a notebook, for instance; futures can be awaited."""

    async def main() -> None:
        with connect(**lab.keywords) as client:
            link = client.link("Maths")
            assert link.add(1) == 3
            futures = [asyncio.wrap_future(link.add(number, asynchronous=True)) for number in range(20)]
            assert await asyncio.gather(*futures) == [number + 2 for number in range(20)]
            with pytest.raises(RemoteError, match="LookupError"):
                await asyncio.wrap_future(link.fail("x", asynchronous=True))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(link.hold(asynchronous=True)), 0.01)
            assert await asyncio.to_thread(link.add, 5) == 7
            maths.service._go.set()  # type: ignore[attr-defined]

    asyncio.run(main())


EXITS = {
    "open": "",
    "pending": "future = link.hold(asynchronous=True)",
    "handler": "link.notification_handler = print; link.tell('heard')",
    "thread": "threading.Thread(target=held, daemon=True).start()",
    "cancelled": "link.hold(asynchronous=True).cancel()",
    "callback": "link.hold(asynchronous=True).add_done_callback(lambda f: client.disconnect())",
    "cycle": "link.me = link; client.me = client; del link, client",
    "linked": "linked = LinkedClient('Maths', **keywords); linked.add(1)",
    "shutdown handler": "client.shutdown_handler = lambda: None",
    "disconnected": "client.disconnect()",
    "loop": "import asyncio\nasync def main():\n    await asyncio.wrap_future(link.add(1, asynchronous=True))\n"
    "    asyncio.wrap_future(link.hold(asynchronous=True))\nasyncio.run(main())",
}


@pytest.mark.parametrize("name", EXITS)
def test_end_of_the_program(lab: Laboratory, maths: Running, name: str) -> None:
    """A program that leaves its Client as it is ends without a word and with status 0."""
    text = (
        "import sys, threading\nfrom msl_network import connect, LinkedClient\n"
        "keywords = dict(host='127.0.0.1', port=int(sys.argv[1]), disable_tls=True)\n"
        "client = connect(name='Ends', **keywords)\nlink = client.link('Maths')\nassert link.add(1) == 3\n"
        "def held():\n    try:\n        link.hold()\n    except OSError:\n        pass\n"
    )
    with Script(text + EXITS[name], lab.port) as script:
        status, output, errors = script.end()
    assert (status, errors) == (0, "")
    assert output in {"", "heard\n"}
    maths.service._go.set()  # type: ignore[attr-defined]
    lab.who.clients()


# The LinkedClient


def test_linked_client(lab: Laboratory, maths: Running) -> None:
    """It is a Client and a link in one, and knows what both know, after the end, too."""
    linked = lab.linked("Maths", name="L")
    assert linked.add(1) == 3
    assert linked.add(1, asynchronous=True).result(DEADLINE) == 3
    assert isinstance(linked.client, Client)
    assert isinstance(linked.link, Link)
    assert {"add", "unit", "spawn"} <= set(dir(linked))
    assert str(inspect.signature(linked.add)) == "(x: float, y: float = 2) -> float"
    assert "The second may be left out." in pydoc.plain(pydoc.render_doc(linked.add))
    assert linked.identity()["name"] == "L"
    assert "Maths" in linked.identities(as_string=True)
    assert linked.acquire_lock() == [str(linked.client)]
    assert linked.release_lock() == []
    address = linked.service_address
    assert repr(linked) == f"<Link[name=L] with Maths[{address}] at Manager[{HERE}:{lab.port}]>"
    linked.unlink()
    linked.unlink()
    assert linked.is_connected()
    assert repr(linked) == f"<Un-Linked[name=L] from Maths[{address}]>"
    with pytest.raises(AttributeError, match="broken"):
        linked.add(1)
    linked.disconnect()
    linked.disconnect()
    assert not linked.is_connected()
    assert [linked.client, linked.link] == [None] * 2
    assert (linked.name, linked.service_name, linked.service_max_clients) == ("L", "Maths", -1)
    assert linked.service_attributes["unit"] == "m"
    assert (linked.address_manager, linked.port > 0) == (f"{HERE}:{lab.port}", True)
    with pytest.raises(ConnectionLostError):
        linked.identities()


class Own(LinkedClient):
    """A subclass with names of its own."""

    def __init__(self, service: str, **kwargs: Any) -> None:
        self._client = "before"
        self._link = self._name = self._keywords = 1
        super().__init__(service, **kwargs)
        self._client = "mine"
        self._link = self._identity = self._connection = self._method = None  # type: ignore[assignment]
        self.errors = 0
        self.disconnects = 0
        self.heard: list[Any] = []
        self.news = threading.Event()

    def service_error_handler(self) -> None:
        self.errors += 1

    def notification_handler(self, *args: Any, **kwargs: Any) -> None:
        self.heard.append(self.add(*args))
        self.news.set()

    def disconnect(self, timeout: float | None = None) -> None:
        self.disconnects += 1
        super().disconnect(timeout)

    def add(self, x: float) -> Any:
        """Do something else than the Service."""
        assert self.link is not None
        return self.link.add(x, 100)


def test_subclass_of_linked_client(lab: Laboratory, maths: Running) -> None:
    """It has attributes of its own, hears errors and notifications, and its disconnect is the one that is called."""
    with Own("Maths", **lab.keywords) as own:
        assert own.name == "Own"
        assert [own._client, own._link] == ["mine", None]
        assert own.add(1) == 101
        with pytest.raises(RemoteError, match="LookupError"):
            own.fail("x")
        assert own.errors == 1
        own.tell(5)
        happens(own.news)
        assert own.heard == [105]
        with own.spawn() as spawned:
            assert type(spawned) is LinkedClient
            assert spawned.name == "LinkedClient"
            assert spawned.add(1) == 3
    assert own.disconnects == 1
    assert not own.is_connected()


def test_assigned_handler(lab: Laboratory, maths: Running) -> None:
    """A notification handler may be assigned to a LinkedClient as well, also one of a subclass that has its own."""
    heard = threading.Event()
    for linked in (lab.linked("Maths"), lab.linked("Maths", Own)):
        heard.clear()
        linked.notification_handler = lambda *args: heard.set()  # type: ignore[method-assign]
        linked.tell(1)
        happens(heard)


def test_forgotten_linked_client(lab: Laboratory, maths: Running) -> None:
    """A LinkedClient that nobody has any more disconnects, also with a handler of its own."""
    linked = Own("Maths", **lab.keywords)
    linked.tell(1)
    happens(linked.news)
    lab.who.clients("Own")
    del linked
    gc.collect()
    lab.who.clients()


def test_service_that_starts_later(lab: Laboratory) -> None:
    """A LinkedClient waits for its Service."""
    linking = Thread(lab.linked, "Maths")
    lab.who.clients("LinkedClient")
    lab.start(Maths())
    assert linking.result().add(1) == 3


def test_service_that_never_starts(lab: Laboratory) -> None:
    """After the timeout it gives up, and disconnects."""
    with pytest.raises(TimeoutError, match="there is no 'Nope' Service"):
        LinkedClient("Nope", **{**lab.keywords, "timeout": 0.3})
    lab.who.clients()


def test_service_that_is_full(lab: Laboratory) -> None:
    """A Service that takes no further Client is an error at once, and the connection is closed."""
    lab.start(Maths(max_clients=1))
    lab.client("A").link("Maths")
    with pytest.raises(RemoteError, match="maximum number of Clients"):
        LinkedClient("Maths", **lab.keywords)
    lab.who.clients("A")


def test_manager_that_does_not_answer_the_link() -> None:
    """The timeout of a LinkedClient holds for the reply of the Manager, too."""

    def script(wire: Wire) -> None:
        wire.let_in()
        assert wire.read()["attribute"] == "link"
        assert wire.read()["attribute"] == "unlink"  # or it would be linked, if the Manager is only slow
        assert wire.read()["attribute"] == "__disconnect__"

    with fake_manager(script) as port:
        linking = Thread(LinkedClient, "S", host=HERE, port=port, disable_tls=True, timeout=MOMENT)
        with pytest.raises(TimeoutError):
            linking.result()


# Connecting


def test_nobody_listens() -> None:
    """It is said where."""
    with Laboratory() as lab:
        keywords = lab.keywords
    with pytest.raises(ConnectError, match="nothing listens"):
        connect(**keywords)
    with pytest.raises(ConnectError, match="nothing listens"):
        LinkedClient("Maths", **keywords)


def test_refused_client() -> None:
    """What the Manager said is the error; it is a ValueError, too."""

    def script(wire: Wire) -> None:
        wire.ask("password", "Manager[x:1]")
        assert wire.read()["result"] == "wrong"
        wire.send(error=True, message="ValueError: Wrong Manager password", requester="Manager[x:1]", uid="")
        wire.eof()

    with fake_manager(script) as port, pytest.raises(RefusedError, match="Wrong Manager password") as caught:
        connect(host=HERE, port=port, disable_tls=True, password_manager="wrong")
    assert isinstance(caught.value, ValueError)


def test_silent_manager() -> None:
    """Connecting ends after the timeout."""
    with fake_manager(Wire.eof) as port, pytest.raises(ConnectTimeoutError):
        connect(host=HERE, port=port, disable_tls=True, timeout=MOMENT)


def test_tls(home: Any) -> None:
    """Over TLS, trusting on first use, all works the same."""
    with Laboratory(tls={"enabled": True}) as lab:
        secure: dict[str, Any] = {"disable_tls": False, "auto_save": True, "host": "localhost"}
        lab.start(Maths(), **secure)
        client = lab.client(**secure)
        link = client.link("Maths")
        assert link.add(1) == 3
        text = "x" * 2**20
        with pytest.raises(RemoteError, match="x" * 100):
            link.fail(text)
        futures = [link.add(number, asynchronous=True) for number in range(300)]
        assert [future.result(DEADLINE) for future in futures] == [number + 2 for number in range(300)]
        with pytest.raises(ConnectError, match="disable_tls"):
            connect(host="localhost", port=lab.port, disable_tls=True, timeout=MOMENT)
        assert (home / "certs").is_dir()


# What a user may do by mistake


@pytest.mark.parametrize("name", ["Manager", "", "a\nb", "x" * 300])
def test_a_name_that_the_manager_refuses(lab: Laboratory, name: str) -> None:
    """Who is refused hears it when connecting, and not in the first call."""
    with pytest.raises(RefusedError, match=r"^\w+Error: "):
        lab.client(name)


def test_nothing_is_assigned_to_a_service(lab: Laboratory, maths: Running) -> None:
    """An assignment to what is the Service's would never reach it, so it is refused."""
    link: Any = lab.client().link("Maths")
    with pytest.raises(AttributeError, match="'add' is an attribute of the 'Maths' Service and cannot be assigned"):
        link.add = 5
    assert link.add(1) == 3


@pytest.mark.parametrize(("timeout", "kind"), [("5", TypeError), (float("nan"), ValueError)])
def test_a_timeout_that_is_none(lab: Laboratory, maths: Running, timeout: Any, kind: type[Exception]) -> None:
    """A timeout is a number; nothing is sent before that is certain."""
    link: Any = lab.client().link("Maths")
    with pytest.raises(kind, match="timeout must be a number of seconds or None"):
        link.add(1, timeout=timeout)


def test_the_end_of_the_manager_is_not_the_fault_of_a_service(lab: Laboratory, maths: Running) -> None:
    """Calls that wait when the Manager stops end as with any lost connection."""
    client = lab.client()
    future = client.link("Maths").hold(asynchronous=True)
    lab.stop()
    with pytest.raises(ConnectionLostError):
        future.result(DEADLINE)
    maths.service._go.set()  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of Python 3.12: it has threads
def test_fork(lab: Laboratory, maths: Running) -> None:
    """A process that is forked leaves the connection alone, and is told to connect anew."""
    client = lab.client()
    link: Any = client.link("Maths")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            link.add(1)
        except ConnectionLostError as error:
            os.write(writer, str(error).encode())
        finally:
            client.disconnect()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert "belongs to the process that this one was forked from" in said.read()
    os.waitpid(child, 0)
    assert link.add(1) == 3


def test_a_person_who_types_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Manager that does not wait until a person has typed is connected to again, with what was typed."""
    asked = []

    def typed(text: str) -> str:
        asked.append(text)
        return "alice"

    monkeypatch.setattr("builtins.input", typed)
    answers = []

    def script(wire: Wire) -> None:
        wire.ask("username", "Manager[fake:1]")
        answers.append(wire.read()["result"])
        if len(answers) == 1:
            message = "TimeoutError: the handshake was not complete within 10 s"
            wire.send(error=True, message=message, requester="Manager[fake:1]", result=None, traceback=[], uid="")
        else:
            wire.let_in()
            assert wire.read()["attribute"] == "__disconnect__"

    with (
        fake_manager(script, connections=2) as port,
        connect(host=HERE, port=port, disable_tls=True, timeout=DEADLINE) as client,
    ):
        assert client.is_connected()
    assert answers == ["alice", "alice"]
    assert len(asked) == 1
