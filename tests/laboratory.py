"""A laboratory in one process: a Manager, Services and Clients, each in threads; and a Manager that does as it is told.

Whatever is waited for has a deadline, and whatever was started has ended when a ``with`` block is left.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from msl_network import Client, LinkedClient, Manager, Service, connect, hookimpl

from .wire_peer import config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Self

    from msl_network import Identity, Peer

DEADLINE = 10.0
"""Seconds after which something that was waited for is taken to never happen."""

MOMENT = 0.2
"""Seconds that are given to something that must not happen."""

HERE = "127.0.0.1"


@contextmanager
def no_thread_left(seconds: float = DEADLINE) -> Iterator[None]:
    """What is started inside has ended by itself when this ends."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(seconds)
        assert not thread.is_alive(), f"{thread.name} goes on"


def happens(event: threading.Event) -> None:
    """Wait for an event."""
    assert event.wait(DEADLINE), "it did not happen"


def for_ever(function: Callable[..., object], *args: Any) -> None:
    """Do something again and again, until it fails."""
    while True:
        function(*args)


class Thread(threading.Thread):
    """A thread whose outcome is asked for with `result`."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._function: Callable[[], Any] = partial(function, *args, **kwargs)
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error

    def result(self) -> Any:
        """Wait for the end; return what the function did, or raise it."""
        self.join(DEADLINE)
        assert not self.is_alive(), "the thread goes on"
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._result


class Who:
    """Knows who is connected and linked; a plugin of the Manager."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._joined: dict[Peer, Identity] = {}
        self._links = 0

    @hookimpl
    def peer_joined(self, peer: Peer, identity: Identity) -> None:
        with self._news:
            self._joined[peer] = identity
            self._news.notify_all()

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        with self._news:
            self._joined.pop(peer, None)
            self._news.notify_all()

    @hookimpl
    async def authenticate_administrator(self, peer: Peer) -> bool | None:
        return True if self._joined[peer].name == "Boss" else None

    def names(self, kind: str) -> list[str]:
        return sorted(identity.name for identity in self._joined.values() if identity.type == kind)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that depends on who is connected."""
        with self._news:
            assert self._news.wait_for(condition, DEADLINE), [self._joined, condition]

    def services(self, *names: str) -> None:
        """Wait until these Services, and no others, are connected."""
        self.until(lambda: self.names("service") == sorted(names))

    def clients(self, *names: str) -> None:
        """Wait until these Clients, and no others, are connected."""
        self.until(lambda: self.names("client") == sorted(names))


class Laboratory:
    """A Manager in a thread, with whom Services and Clients are connected.

    A Client of the name Boss is an administrator.

    Args:
        plugins: More plugins of the Manager.
        manager: Its settings.
    """

    def __init__(self, *plugins: object, **manager: Any) -> None:
        self.who = Who()
        settings = config(**{"without": ["login", "hostname"], **manager})  # who is an administrator, `who` decides
        self._manager = Manager(settings, plugins=[self.who, *plugins])
        self._ready = threading.Event()
        self._token: anyio.lowlevel.EventLoopToken | None = None
        self._thread: Thread | None = None
        self._services: list[Running] = []
        self._clients: list[Client | LinkedClient] = []

    def __enter__(self) -> Self:
        self._thread = Thread(anyio.run, self._run)
        if not self._ready.wait(DEADLINE) or self._token is None:
            self._thread.result()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for client in self._clients:
            client.disconnect()
        self.stop()
        for service in self._services:
            service.thread.join(DEADLINE)
            assert not service.thread.is_alive(), service.service

    async def _run(self) -> None:
        try:
            async with self._manager:
                self._token = anyio.lowlevel.current_token()
                self._ready.set()
                await self._manager.wait_stopped()
        finally:
            self._ready.set()

    def stop(self) -> None:
        """End the Manager, and with it all connections."""
        assert self._thread is not None
        assert self._token is not None
        loop: Any = self._token.native_token  # of asyncio
        with suppress(RuntimeError):  # it has ended already, as after shutdown_manager
            loop.call_soon_threadsafe(self._manager.stop)  # nobody waits for an answer of a loop that ends
        self._thread.result()

    @property
    def port(self) -> int:
        return self._manager.port

    @property
    def keywords(self) -> dict[str, Any]:
        """How to connect."""
        return {"host": HERE, "port": self.port, "disable_tls": True, "timeout": DEADLINE}

    def client(self, name: str = "C", **keywords: Any) -> Client:
        """Connect a Client; it is disconnected at the end."""
        client = connect(name=name, **{**self.keywords, **keywords})
        self._clients.append(client)
        return client

    def linked(self, service: str, kind: type[LinkedClient] = LinkedClient, **keywords: Any) -> LinkedClient:
        """Connect a LinkedClient; it is disconnected at the end."""
        client = kind(service, **{**self.keywords, **keywords})
        self._clients.append(client)
        return client

    def start(self, service: Service, **keywords: Any) -> Running:
        """Run a Service in a thread, and wait until it is connected."""
        running = Running(service, **{**self.keywords, **keywords})
        self._services.append(running)
        name = keywords.get("name", service.name)
        self.who.until(lambda: name in self.who.names("service"))
        return running


class Running:
    """A Service in a thread.

    Args:
        service: The Service.
        keywords: For its `start`.
    """

    def __init__(self, service: Service, **keywords: Any) -> None:
        self.service = service
        self.thread = Thread(service.start, **keywords)

    def result(self) -> None:
        """Wait for the end of `start`; raise what it raised."""
        self.thread.result()


class Wire:
    """A Manager's end of a connection; it says what a test has it say."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        self.sock = sock
        self._stream = sock.makefile("rb")

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, **message: Any) -> None:
        self.write(json.dumps(message).encode() + b"\r\n")

    def ask(self, attribute: str, *args: str) -> None:
        """Ask what a Manager asks."""
        self.send(args=args, attribute=attribute, error=False, kwargs={}, requester="Manager[fake:1]", uid="")

    def let_in(self) -> None:
        """Accept a Client, which makes sure of that."""
        self.ask("identity")
        assert self.read()["result"]["type"] == "client"
        self.confirm()

    def confirm(self) -> None:
        """Answer the first request of a Client: whether it was let in."""
        request = self.read()
        assert (request["service"], request["attribute"], request["args"]) == ("Manager", "unlink", [""])
        self.reply(request["uid"], True)

    def request(self, attribute: str, *args: Any, uid: Any = "1", **kwargs: Any) -> None:
        """Ask a Service for something."""
        self.send(
            args=args, attribute=attribute, error=False, kwargs=kwargs, requester="C[fake:2]", service="S", uid=uid
        )

    def reply(self, uid: Any, result: Any) -> None:
        self.send(error=False, requester="C[fake:2]", result=result, uid=uid)

    def line(self) -> bytes:
        return self._stream.readline()

    def read(self) -> Any:
        line = self.line()
        assert line.endswith(b"\r\n"), line
        return json.loads(line)

    def eof(self) -> None:
        """Wait for the end of the connection."""
        with suppress(ConnectionError):
            assert self._stream.read() == b""

    def reset(self) -> None:
        """End the connection with a bang."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.sock.close()


@contextmanager
def fake_manager(script: Callable[[Wire], object], connections: int = 1) -> Iterator[int]:
    """A Manager in a thread that does as the script says; gives its port. What the script raises is raised here."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(DEADLINE)

        def serve() -> None:
            for _ in range(connections):
                wire = Wire(listener.accept()[0])
                try:
                    script(wire)
                finally:
                    wire.close()

        thread = Thread(serve)
        yield listener.getsockname()[1]
        thread.result()


@contextmanager
def client_of_fake(**keywords: Any) -> Iterator[tuple[Client, Wire]]:
    """A Client that has been let in by a Manager that is played by the test."""
    wires: list[Wire] = []
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(DEADLINE)

        def let_in() -> None:
            wire = Wire(listener.accept()[0])
            wires.append(wire)
            wire.let_in()

        thread = Thread(let_in)
        try:
            client = connect(host=HERE, port=listener.getsockname()[1], disable_tls=True, **keywords)
        finally:
            thread.result()
    (wire,) = wires
    try:
        yield client, wire
    finally:
        wire.close()
        client.disconnect()


@contextmanager
def service_of_fake(service: Service, **keywords: Any) -> Iterator[tuple[Running, Wire]]:
    """A Service that has been let in by a Manager that is played by the test."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(DEADLINE)
        running = Running(service, host=HERE, port=listener.getsockname()[1], disable_tls=True, **keywords)
        wire = Wire(listener.accept()[0])
    try:
        wire.ask("identity")
        assert wire.read()["result"]["type"] == "service"
        yield running, wire
    finally:
        wire.close()
        running.thread.join(DEADLINE)
    assert not running.thread.is_alive()


class Script:
    """A program in a process of its own.

    Args:
        text: The program.
        args: Its arguments.
    """

    def __init__(self, text: str, *args: object, flags: Sequence[str] = ("-W", "error")) -> None:
        root = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        # an interrupt may hit coverage while it holds its own lock, and then it waits for itself
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
        command = [sys.executable, *flags, "-c", text, *map(str, args)]
        self._popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._popen.kill()
        self._popen.communicate(timeout=DEADLINE)

    def line(self) -> str:
        """Wait for a line of its output."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, self._popen.communicate(timeout=DEADLINE)
        return line.rstrip("\n")

    def interrupt(self) -> None:
        """Press Ctrl+C."""
        self.send_signal(signal.SIGINT)

    def send_signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def is_running(self, seconds: float) -> bool:
        """Wait for the end for a while; return whether it did not come."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        self._popen.kill()

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the status, the rest of the output, and the errors."""
        try:
            output, errors = self._popen.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self._popen.send_signal(signal.SIGABRT)  # shows where all threads are
            output, errors = self._popen.communicate(timeout=DEADLINE)
        return self._popen.returncode, output, errors
