from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from msl_network import (
    AuthenticationError,
    ConnectionLostError,
    RefusedError,
    Secret,
    Service,
    StartError,
    hookimpl,
    hookspecs,
)
from msl_network.examples import Echo
from msl_network.peer import PeerLost
from msl_network.testing import LEAVES, SILENT, FakeHandshake, FakeManager, FakePeer, laboratory, open_store

from .laboratory import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Badge:
    """Asks for a number, as no Client of 1.0 can answer."""

    @hookimpl
    async def authenticate(self, peer: Any, handshake: Any) -> None:
        if not Secret("1234").matches(await handshake.ask("badge_number", "main door")):
            raise AuthenticationError("Unknown badge")
        peer.username = "ada"


# Doubles


async def test_answers_in_order() -> None:
    """A handshake gives its answers one after the other, and keeps what was asked."""
    handshake = FakeHandshake("alice", None)
    assert await handshake.ask("username", "Manager[lab:1875]") == "alice"
    assert await handshake.ask("password", "alice") is None
    assert handshake.asked == [("username", "Manager[lab:1875]"), ("password", "alice")]
    assert handshake.answers == []
    assert handshake.waiting_for == ""
    with pytest.raises(AssertionError, match="the plugin asked for 'token', and the test has no answer to that"):
        await handshake.ask("token")


async def test_answers_by_attribute() -> None:
    """What has an answer by its name gets that, again and again; the others are answered in order."""
    handshake = FakeHandshake(1, 2, password="geheim", network_name="Manager[x:1]")
    answers = [await handshake.ask(name) for name in ("a", "password", "b", "password")]
    assert answers == [1, "geheim", 2, "geheim"]
    assert handshake.network_name == "Manager[x:1]"


async def _wait_for(answer: Awaitable[object]) -> None:
    await answer


async def test_no_answer() -> None:
    """A peer may leave, say nothing, or whatever a test wants to raise may be raised."""
    with pytest.raises(PeerLost):
        await FakeHandshake(LEAVES).ask("password")
    with pytest.raises(LookupError):
        await FakeHandshake(LookupError("mine")).ask("password")
    handshake = FakeHandshake(SILENT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_wait_for, handshake.ask("password"))
        with anyio.fail_after(DEADLINE):
            await handshake.is_asking.wait()
        assert handshake.waiting_for == "password"
        tasks.cancel_scope.cancel()


def test_what_is_asked_is_noted_before_it_is_awaited() -> None:
    """As of the real one: by that the Manager finds a plugin that forgot to await."""
    handshake = FakeHandshake("x")
    handshake.ask("password").close()  # type: ignore[attr-defined]
    assert handshake.waiting_for == "password"


async def test_a_peer() -> None:
    """It is a stranger whose name is known when it was asked for, or of this computer, or connected."""
    peer = FakePeer()
    assert (peer.hostname, peer.domain, peer.is_local) == ("192.0.2.7", "192.0.2.7", False)
    assert await peer.resolve_hostname() == "pc7"
    assert (peer.hostname, peer.domain, peer.address) == ("pc7", "pc7.lab.example", "pc7:50000")
    assert str(peer) == "<Unknown>[pc7:50000]"
    local = FakePeer(ip_address="127.0.0.1", hostname="pc7")
    assert (local.hostname, local.domain, local.is_local) == ("localhost", "localhost", True)
    joined = FakePeer(name="Client", username="ada", is_admin=True, domain="pc7.example")
    assert (str(joined), joined.domain) == ("Client[pc7:50000]", "pc7.example")
    assert (joined.username, joined.is_admin, joined.is_closing) == ("ada", True, False)


async def test_a_peer_has_what_is_promised() -> None:
    """All that hookspecs says that a peer tells."""
    promised = re.search(r"What a ``peer`` tells: (.*?)\n\n", inspect.getdoc(hookspecs) or "", re.DOTALL)
    assert promised is not None
    names = [name for name in re.findall(r"``(\w+)``", promised[1]) if name != "peer"]
    assert len(names) > 6
    for name in names:
        assert hasattr(FakePeer(), name), name


async def test_a_manager() -> None:
    """It has a store, a name and a port, and knows who authenticates."""
    plugin = Badge()
    async with open_store() as store:
        manager = FakeManager(store, authenticators=[plugin])
        assert await manager.store.hostnames.list() == []
        assert (manager.network_name, manager.port) == ("Manager[lab:1875]", 1875)
        assert manager.is_authenticator(plugin)
        assert not manager.is_authenticator(Badge())
        manager.revoke_authorizations()
        assert manager.revocations == 1


# The laboratory


async def test_clients_and_services() -> None:
    """A Client and a Service meet in a laboratory."""
    async with laboratory() as lab, lab.service(Echo()), lab.client("C") as client:
        assert await (await client.link("Echo")).echo("hello") == [["hello"], {}]
        assert [name.partition("[")[0] for name in lab.manager.clients] == ["C"]


async def test_a_peer_that_writes_lines() -> None:
    """It answers what no Client could, is let in, and asks for something."""
    async with laboratory(Badge()) as lab, lab.peer() as peer:
        assert await peer.answer("badge_number", "1234") == ["main door"]
        await peer.join("Me")
        (name,) = (await peer.request("identity"))["clients"]
        assert name.startswith("Me[")
        assert (await peer.request("no_such")).startswith("AttributeError: the Manager has no attribute 'no_such'")
        with pytest.raises(AssertionError, match=r"expected a reply, found .*'username'"):
            await peer.request("port")


async def test_a_peer_that_is_refused() -> None:
    """It reads why, and that the connection has ended."""
    async with laboratory(Badge()) as lab:
        async with lab.peer(ip_address="192.0.2.7") as peer:
            await peer.answer("badge_number", "4321")
            assert await peer.refusal() == "ValueError: Unknown badge"
            with pytest.raises(ConnectionLostError):
                await peer.read()
        async with lab.peer() as peer:
            with pytest.raises(AssertionError, match="expected to be asked for 'username', found"):
                await peer.answer("username", "x")
        async with lab.peer() as peer:
            with pytest.raises(AssertionError, match="expected to be refused, found"):
                await peer.refusal()


async def test_settings() -> None:
    """The settings of the Manager, and those of plugins, are given as in the TOML file."""
    settings = {"password": {"password": "geheim"}}
    async with laboratory(auth=["password"], settings=settings) as lab:
        async with lab.client(password_manager="geheim"):
            assert len(lab.manager.clients) == 1
        with pytest.raises(RefusedError, match="Wrong Manager password"):
            async with lab.client(password_manager="falsch"):
                pass
        config = lab.manager.config
    async with laboratory(config=config) as lab:
        assert lab.manager.config is config
    with pytest.raises(StartError, match="there is no plugin 'pasword'"):
        async with laboratory(auth=["pasword"]):
            pass


async def test_nothing_is_written(home: Path) -> None:
    """No file is made, and no certificate."""
    async with laboratory() as lab:
        await lab.manager.store.hostnames.insert("pc7")
        assert lab.manager.store.location == ":memory:"
    assert not os.path.exists(home)  # noqa: ASYNC240, PTH110 - a folder of this test


async def test_a_service_that_is_not_let_in() -> None:
    """Its error comes out of the block."""
    with pytest.raises(RefusedError, match="Unknown badge"):
        async with laboratory(Refuses()) as lab, lab.service(Service()):
            pass


class Refuses:
    """Lets nobody in."""

    @hookimpl
    async def authenticate(self) -> None:
        raise AuthenticationError("Unknown badge")


# Fixtures


def test_the_fixtures(tmp_path: Path) -> None:
    """They are there for who asks pytest for them, and change nothing for others."""
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import os
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_lab(lab, network_home):
            async with lab() as laboratory, laboratory.client() as client:
                assert client.is_connected()
            assert os.environ["MSL_NETWORK_HOME"] == str(network_home)

        async def test_store(memory_store):
            async with memory_store() as store:
                assert await store.users.list() == []

        async def test_doubles(handshake, peer, local_peer):
            assert await handshake("x").ask("password") == "x"
            assert not peer.is_local
            assert local_peer.is_local

        def test_others():
            assert os.environ["MSL_NETWORK_HOME"] == "unchanged"
        """),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "msl_network.testing.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MSL_NETWORK_HOME": "unchanged"},
    )
    assert done.stdout.splitlines()[-1].startswith("7 passed"), done.stdout


def test_it_imports_no_pytest() -> None:
    """The kit, but for the fixtures, works without pytest, with what the package itself needs."""
    script = "import sys, msl_network.testing; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pytest", "_pytest", "trio", "hypothesis", "msl_network_plugins"} & set(eval(done.stdout))
