"""A web application (Starlette) that contains a Manager, and answers HTTP requests by calling a Service.

    pip install 'msl-network-manager[examples]'
    python examples/web_application.py
    curl localhost:8000/target
    curl localhost:8000/target -X PUT -d 21.5

The Manager lives as long as the application (its lifespan). It listens, so that Services and Clients of other computers
can connect, too; what the application itself needs goes through memory. The paths are written down one by one: whoever
may use the web must not reach every method of every Service.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from msl_network import AsyncClient, Config, Manager, MemoryHost, NetworkError, RemoteError, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class Thermostat(Service):
    """An instrument; it might as well run on another computer."""

    def __init__(self) -> None:
        super().__init__()
        self._target = 20.0

    def target(self) -> float:
        """Return the target in degrees Celsius."""
        return self._target

    def set_target(self, celsius: float) -> float:
        """Set the target, 5 to 35 degrees Celsius; returns it."""
        if not 5 <= celsius <= 35:
            raise ValueError(f"{celsius} is not between 5 and 35")
        self._target = celsius
        return celsius


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Serve from the start of the application to its end."""
    config = Config.from_dict({"manager": {"port": int(os.environ.get("MANAGER_PORT", "1875"))}})
    async with Manager(config) as manager:
        here = MemoryHost(manager)
        async with here.serve(Thermostat()):
            yield {"manager": manager, "here": here}


async def call(request: Request, method: str, *args: object) -> JSONResponse:
    """Call the thermostat. A Client for each request costs little, and none is left with a link of yesterday."""
    async with AsyncClient(name="Web", host=request.state.here) as client:
        thermostat = await client.link("Thermostat", timeout=5)
        return JSONResponse(await getattr(thermostat, method)(*args, timeout=5))


async def services(request: Request) -> Response:
    """Say who is connected."""
    return JSONResponse(sorted(request.state.manager.services))


async def target(request: Request) -> Response:
    """Return the target, or set it."""
    if request.method == "PUT":
        return await call(request, "set_target", await request.json())
    return await call(request, "target")


async def failed(_: Request, error: Exception) -> Response:
    """Say what is wrong with a request (422), be it JSON or the value, or that no Service answers (503)."""
    text = error.remote_message if isinstance(error, RemoteError) else str(error)
    is_wrong = isinstance(error, ValueError) or getattr(error, "remote_class", "") in {"ValueError", "TypeError"}
    return JSONResponse({"error": text}, status_code=422 if is_wrong else 503)


app = Starlette(
    routes=[Route("/services", services), Route("/target", target, methods=["GET", "PUT"])],
    lifespan=lifespan,
    exception_handlers={NetworkError: failed, JSONDecodeError: failed},
)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
