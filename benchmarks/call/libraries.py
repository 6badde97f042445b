"""The libraries that are compared, each as a Service and as a client.

Rule of this file: a library is used as its documentation tells its users to, and imported only by the process
that needs it. It must not know what is measured with it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from benchmarks.call.measure import IN_FLIGHT, Caller
from benchmarks.call.measure_async import AsyncCaller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

__all__ = ["ASYNC_CLIENTS", "CLIENTS", "SERVICES"]

HOST: Final = "127.0.0.1"


class Answers:
    """What each Service offers."""

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def length(self, value: Any) -> int:
        """Return how long the value is."""
        return len(value)


def options(port: int, tls: bool) -> dict[str, Any]:
    """Return how to reach a Manager of MSL-Network."""
    return {"host": HOST, "port": port, "disable_tls": not tls, "auto_save": tls}


# The Services. Each function serves until its process ends.


def serve_msl(module: str, port: int, tls: bool) -> None:
    """MSL-Network, 1.0 or ours."""
    library = importlib.import_module(module)
    service = type("Echo", (Answers, library.Service), {})
    service().start(**options(port, tls))


def serve_rpyc(port: int, _tls: bool) -> None:
    """RPyC with a thread per client."""
    rpyc = importlib.import_module("rpyc")
    server = importlib.import_module("rpyc.utils.server")
    exposed = {"exposed_echo": Answers.echo, "exposed_length": Answers.length}
    server.ThreadedServer(type("Echo", (rpyc.Service,), exposed), hostname=HOST, port=port).start()


def serve_pyro5(port: int, _tls: bool) -> None:
    """Pyro5 with its default server and serializer."""
    api = importlib.import_module("Pyro5.api")
    daemon = api.Daemon(host=HOST, port=port)
    daemon.register(api.expose(Answers), "Echo")
    daemon.requestLoop()


def serve_nats(port: int, _tls: bool) -> None:
    """NATS: a subscription for each method, and JSON, which NATS leaves to its users."""
    nats = importlib.import_module("nats")
    answers = Answers()

    async def serve() -> None:
        client = await nats.connect(f"nats://{HOST}:{port}")
        for name in ("echo", "length"):
            method = getattr(answers, name)

            async def answer(message: Any, method: Callable[[Any], Any] = method) -> None:
                await message.respond(json.dumps(method(json.loads(message.data))).encode())

            await client.subscribe(name, cb=answer)
        await asyncio.Event().wait()

    asyncio.run(serve())


SERVICES: Final[Mapping[str, Callable[[int, bool], None]]] = {
    "ours": lambda port, tls: serve_msl("msl_network", port, tls),
    "1.0": lambda port, tls: serve_msl("msl.network", port, tls),
    "rpyc": serve_rpyc,
    "pyro5": serve_pyro5,
    "nats": serve_nats,
}


# The clients


def looked_up(service: Any, name: str) -> Callable[[Any], Any]:
    """Return a method as users call it: its name is looked up each time."""

    def call(value: Any) -> Any:
        return getattr(service, name)(value)

    return call


def call_msl(module: str, port: int, tls: bool) -> Caller:
    """MSL-Network, 1.0 or ours."""
    connect = importlib.import_module(module).connect
    keywords = options(port, tls)
    client = connect(**keywords)
    service = client.link("Echo")

    def session() -> None:
        another = connect(**keywords)
        another.link("Echo")
        another.disconnect()

    return Caller(
        echo=looked_up(service, "echo"),
        length=looked_up(service, "length"),
        start=lambda text: service.echo(text, asynchronous=True),
        wait=lambda future: future.result(),
        session=session,
    )


def call_rpyc(port: int, _tls: bool) -> Caller:
    """RPyC at its best: each method is looked up once, because doing so at each call takes three times as long."""
    rpyc = importlib.import_module("rpyc")
    client = rpyc.connect(HOST, port)
    echo, length = client.root.echo, client.root.length

    def session() -> None:
        another = rpyc.connect(HOST, port)
        _ = another.root.echo
        another.close()

    return Caller(
        echo=echo,
        length=length,
        start=rpyc.async_(echo),
        wait=lambda result: result.value,
        session=session,
        by_value=tuple,  # a list would stay here, and be asked for its length from afar
    )


def call_pyro5(port: int, _tls: bool) -> Caller:
    """Pyro5. Asynchronous calls are batches; a proxy belongs to its thread, so that each connects on its own."""
    api = importlib.import_module("Pyro5.api")

    def connect() -> Any:
        proxy = api.Proxy(f"PYRO:Echo@{HOST}:{port}")
        proxy._pyroBind()  # noqa: SLF001 - public, and called so to leave the other names to the Service
        return proxy

    proxy = connect()

    def start(text: str) -> Any:
        batch = api.BatchProxy(proxy)
        for _ in range(IN_FLIGHT):
            batch.echo(text)
        return batch()

    return Caller(
        echo=looked_up(proxy, "echo"),
        length=looked_up(proxy, "length"),
        start=start,
        wait=lambda results: list(results)[-1],
        session=lambda: connect()._pyroRelease(),  # noqa: SLF001 - as above
        batch=IN_FLIGHT,
        echo_of_thread=lambda: connect().echo,
    )


CLIENTS: Final[Mapping[str, Callable[[int, bool], Caller]]] = {
    "ours": lambda port, tls: call_msl("msl_network", port, tls),
    "1.0": lambda port, tls: call_msl("msl.network", port, tls),
    "rpyc": call_rpyc,
    "pyro5": call_pyro5,
}


@asynccontextmanager
async def open_async(port: int, tls: bool) -> AsyncIterator[AsyncCaller]:
    """Our async client, connected."""
    connect = importlib.import_module("msl_network").AsyncClient
    keywords = options(port, tls)

    async def session() -> None:
        async with connect(**keywords) as another:
            await another.link("Echo")

    async with connect(**keywords) as client:
        service = await client.link("Echo")
        yield AsyncCaller(
            echo=looked_up(service, "echo"),
            length=looked_up(service, "length"),
            session=session,
        )


@asynccontextmanager
async def open_nats(port: int, _tls: bool) -> AsyncIterator[AsyncCaller]:
    """The client of NATS, connected."""
    nats = importlib.import_module("nats")
    address = f"nats://{HOST}:{port}"

    def request(name: str) -> Callable[[Any], Coroutine[Any, Any, Any]]:
        async def call(value: Any) -> Any:
            return json.loads((await client.request(name, json.dumps(value).encode(), timeout=10)).data)

        return call

    async def session() -> None:
        await (await nats.connect(address)).close()

    client = await nats.connect(address)
    try:
        yield AsyncCaller(echo=request("echo"), length=request("length"), session=session)
    finally:
        await client.close()


ASYNC_CLIENTS: Final[Mapping[str, Callable[[int, bool], AbstractAsyncContextManager[AsyncCaller]]]] = {
    "ours-async": open_async,
    "nats": open_nats,
}
