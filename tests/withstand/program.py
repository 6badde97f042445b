"""A Manager in a process of its own, what is seen of it from outside, and peers that wait in the thread that calls."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, Any

import anyio
from msl_network_plugins.sqlite import Sqlite

from msl_network import User
from tests.interop.lab import RUNNING, Process
from tests.laboratory import DEADLINE, HERE, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MEBI = 2**20


class Program(Process):
    """A Manager in a process of its own; it accepts connections.

    Args:
        home: The folder that it keeps its files in.
        host: The address to listen on.
        port: The port; a free one by default.
        auth: How peers authenticate.
        tls: Whether connections are encrypted.
        limits: The section of that name.
        plugins: The sections of plugins.
        within: The command that runs it, if that is not to be run as it is.
        manager: More of the section of that name.
    """

    def __init__(
        self,
        home: Path,
        *,
        host: str = HERE,
        port: int = 0,
        auth: tuple[str, ...] = (),
        tls: bool = False,
        limits: dict[str, Any] | None = None,
        plugins: dict[str, dict[str, Any]] | None = None,
        within: Sequence[str] = (),
        **manager: Any,
    ) -> None:
        home.mkdir(exist_ok=True, parents=True)
        sections: dict[str, dict[str, Any]] = {
            "manager": {"host": host, "port": port, "auth": auth, **manager},
            "manager.tls": {"enabled": tls},
            "manager.limits": limits or {},
            **{f"plugins.{name}": section for name, section in (plugins or {}).items()},
        }
        # a text, a number, a truth and a list are the same in JSON and in TOML
        lines = [
            line
            for name, section in sections.items()
            for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items()))
        ]
        file = home / "withstand.toml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [*within, sys.executable, "-m", "msl_network", "start", "--config", str(file)]
        super().__init__("the Manager", command, home=home, merge=True)
        try:
            said = rf"{RUNNING} \S+:(\d+) \(TLS"
            found = re.search(said, self.read(said))
            assert found is not None
        except BaseException:
            self.close()
            raise
        self.port = int(found[1])

    @property
    def pid(self) -> int:
        return self._popen.pid

    def memory(self, peak: bool = False) -> int:
        """How much memory it has, or has had at most, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def context(self) -> ssl.SSLContext:
        """How to verify its certificate."""
        return ssl.create_default_context(cafile=str(self.home / "certs" / "localhost.crt"))

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


class Caller(Wire):
    """A peer that waits in the thread that calls."""

    def join(self, name: str = "C", **identity: Any) -> None:
        """Shake hands, as a Client if nothing else is said, and wait until the Manager has let it in."""
        assert self.read()["attribute"] == "identity"
        self.send(result={"type": "client", "name": name, **identity})
        if "attributes" not in identity:
            self.manager("identity")

    def call(self, service: str, attribute: str, *args: Any, uid: Any = "1", **kwargs: Any) -> None:
        """Send a request to a Service."""
        self.send(args=args, attribute=attribute, error=False, kwargs=kwargs, service=service, uid=uid)

    def manager(self, attribute: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request to the Manager and return its result, or its error's text."""
        self.call("Manager", attribute, *args, uid="m", **kwargs)
        reply = self.read()
        assert reply["uid"] == "m", reply
        return reply["message"] if reply["error"] else reply["result"]

    def ended(self) -> None:
        """Wait for the end of the connection, whatever comes before it."""
        with suppress(ConnectionError):
            while self.line():
                pass


@contextmanager
def connected(port: int, context: ssl.SSLContext | None = None) -> Iterator[Caller]:
    """Open a connection."""
    sock = socket.create_connection((HERE, port), DEADLINE)
    with closing(sock if context is None else context.wrap_socket(sock, server_hostname="localhost")) as stream:
        with closing(Caller(stream)) as peer:
            yield peer


@contextmanager
def client(port: int, name: str = "C", context: ssl.SSLContext | None = None) -> Iterator[Caller]:
    """Connect as a Client; the Manager has let it in."""
    with connected(port, context) as peer:
        peer.join(name)
        yield peer


@contextmanager
def service(port: int, name: str = "Echo", context: ssl.SSLContext | None = None, **identity: Any) -> Iterator[Caller]:
    """Connect as a Service; the Manager has let it in."""
    with connected(port, context) as peer:
        peer.join(name, type="service", attributes={"echo": "(x)"}, **identity)
        with client(port, "Watch", context) as watch:
            while name not in watch.manager("identity")["services"]:  # it is asked again as soon as it has answered
                if select([peer.sock], [], [], 0)[0]:
                    raise AssertionError(f"the Manager did not let {name} in, but said {peer.line()!r}")
        yield peer


def add_users(home: Path, *, admins: tuple[str, ...] = (), **passwords: str) -> None:
    """Put users into the database of a Manager that is not started yet.

    Args:
        home: The folder of the Manager.
        admins: Which of them are administrators.
        passwords: Their passwords, with keys as 1.0 derives them.
    """
    home.mkdir(mode=0o700, exist_ok=True, parents=True)

    async def add() -> None:
        async with Sqlite(str(home / "manager.sqlite3")).open_store(None) as store:
            for name, password in passwords.items():
                salt = os.urandom(16)
                key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000)
                await store.users.insert(User(name=name, key=key, salt=salt, is_admin=name in admins))

    anyio.run(add)
