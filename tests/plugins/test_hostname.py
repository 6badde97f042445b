# ruff: noqa: ASYNC221 - the processes and files of a test are small; fakes speak by name

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from msl_network_plugins.hostname import Hostname
from msl_network_plugins.sqlite import Sqlite

from msl_network.errors import ArgumentError, AuthenticationError, StartError, StoreError
from msl_network.testing import FakeManager, FakePeer, check_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from msl_network.store import Store

pytestmark = pytest.mark.anyio

ALIASES = {socket.gethostname().lower(), "localhost", "127.0.0.1", "::1"}


LOCAL = FakePeer(ip_address="127.0.0.1")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Sqlite(str(tmp_path / "lab.db")).open_store(None) as store:
        yield store


async def start(store: Any, *hostnames: str) -> Hostname:
    plugin = Hostname(list(hostnames))
    await plugin.started(FakeManager(store))
    return plugin


async def is_trusted(plugin: Hostname, peer: FakePeer) -> bool:
    try:
        await plugin.authenticate(peer)
    except AuthenticationError:
        return False
    return True


async def ask(plugin: Hostname, name: str, *args: Any) -> Any:
    commands = {command.name: command for command in plugin.commands()}
    command = commands[f"hostnames_table.{name}"]
    assert command.administrator
    return await command.bind(FakePeer(), list(args), {})()


# Authentication


@pytest.mark.parametrize("name", ["pc7", "PC7", "pc7.lab.example", "Pc7.Lab.Example", "192.0.2.7"])
@pytest.mark.parametrize("where", ["configuration", "store"])
async def test_trusted(store: Store, name: str, where: str) -> None:
    """A computer is trusted by its short or full name or its address, in any case, from either list."""
    if where == "store":
        await store.hostnames.insert(name)
    plugin = await start(store, *([name] if where == "configuration" else []))
    assert await is_trusted(plugin, FakePeer())
    assert not await is_trusted(plugin, FakePeer(hostname="pc8", ip_address="192.0.2.8"))


async def test_not_trusted(store: Store) -> None:
    """Who is in no list hears its name, as 1.0 says it."""
    plugin = await start(store)
    with pytest.raises(AuthenticationError) as caught:
        await plugin.authenticate(FakePeer())
    assert caught.value.wire_text() == "ValueError: 'pc7' is not a trusted hostname"


async def test_before_the_start() -> None:
    """Nobody is trusted before the list was read, and the list cannot be changed."""
    plugin = Hostname(["pc7"])
    assert not await is_trusted(plugin, FakePeer())
    with pytest.raises(StoreError, match="not started"):
        await ask(plugin, "hostnames")


async def test_this_computer_is_trusted_at_first(store: Store) -> None:
    """An empty list gets the names of this computer, and its peers are let in."""
    plugin = await start(store)
    assert set(await store.hostnames.list()) == ALIASES
    assert await is_trusted(plugin, LOCAL)


async def test_this_computer_by_any_of_its_names(store: Store) -> None:
    """A local peer is let in while one of this computer's names is trusted, and not when all are removed."""
    plugin = await start(store, "pc7")
    for name in sorted(ALIASES):
        assert await is_trusted(plugin, LOCAL)
        await ask(plugin, "delete", name)
    assert not await is_trusted(plugin, LOCAL)
    assert await is_trusted(plugin, FakePeer())


async def test_removed_names_stay_removed(store: Store) -> None:
    """A list that has any name is not filled at the next start."""
    await store.hostnames.insert("pc7")
    plugin = await start(store)
    assert await store.hostnames.list() == ["pc7"]
    assert not await is_trusted(plugin, LOCAL)


async def test_remote_peer_with_the_name_of_this_computer(store: Store) -> None:
    """A remote peer is not taken for a local one; but a name that DNS gives it counts."""
    plugin = await start(store)
    await ask(plugin, "delete", socket.gethostname())
    name = socket.gethostname()
    assert not await is_trusted(plugin, FakePeer(hostname=name))


async def test_read_only_store(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """If the names of this computer cannot be kept they are trusted for this run, and a line is logged."""

    class ReadOnly:
        async def list(self) -> list[str]:
            return await store.hostnames.list()

        async def insert(self, hostname: str) -> bool:
            raise StoreError("read-only")

    @dataclass
    class ReadOnlyStore:
        hostnames: ReadOnly

    plugin = await start(ReadOnlyStore(ReadOnly()))
    assert await is_trusted(plugin, LOCAL)
    assert "cannot be added to the trusted host names: read-only" in caplog.text
    configured = await start(ReadOnlyStore(ReadOnly()), "pc7")
    assert not await is_trusted(configured, LOCAL)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_keeps_all_promises(backend: str) -> None:
    """Those that every plugin has to keep."""
    done = check_plugin(Hostname, settings={"hostnames": ["PC7"]}, answers=[], backend=backend)
    assert {"lets_in", "offers_commands", "adds_words"} <= set(done)


# Commands


async def test_commands_count_at_once(store: Store) -> None:
    """What an administrator adds is trusted from then on, and what is deleted is not, in any case."""
    plugin = await start(store)
    assert not await is_trusted(plugin, FakePeer())
    assert await ask(plugin, "insert", "PC7") is None
    assert await is_trusted(plugin, FakePeer())
    assert await ask(plugin, "insert", "pc7") is None
    assert set(await ask(plugin, "hostnames")) == {*ALIASES, "PC7"}
    assert await ask(plugin, "delete", "pc7") is None
    assert not await is_trusted(plugin, FakePeer())
    assert set(await ask(plugin, "hostnames")) == ALIASES


async def test_delete_all_spellings(store: Store) -> None:
    """Two spellings of one name, which 1.0 keeps, are deleted together: none of them stays trusted."""
    for name in "pc7", "PC7", "pc8":
        await store.hostnames.insert(name)
    plugin = await start(store)
    await ask(plugin, "delete", "Pc7")
    assert await ask(plugin, "hostnames") == ["pc8"]


async def test_delete_what_is_configured(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A name that the configuration trusts, too, stays trusted, and the log says why."""
    plugin = await start(store, "pc7")
    await ask(plugin, "insert", "PC7")
    await ask(plugin, "delete", "PC7")
    assert await is_trusted(plugin, FakePeer())
    assert "'PC7' is still trusted: it is in the configuration" in caplog.text
    with pytest.raises(ValueError, match=r"Cannot delete 'PC7'\. This hostname is not in the table."):
        await ask(plugin, "delete", "PC7")


@pytest.mark.parametrize("name", ["", " ", "pc 7", "pc7\n", "\ud800", "x" * 256])
async def test_insert_what_is_no_name(store: Store, name: str) -> None:
    """What can be the name of no computer is refused, and not kept."""
    plugin = await start(store)
    with pytest.raises(ValueError, match="cannot be a hostname"):
        await ask(plugin, "insert", name)
    assert set(await store.hostnames.list()) == ALIASES


@pytest.mark.parametrize("args", [["insert", 1], ["insert", ["pc7"]], ["delete", None], ["insert"], ["hostnames", 1]])
async def test_wrong_arguments(store: Store, args: list[Any]) -> None:
    """Arguments of a wrong type or number are an ArgumentError."""
    plugin = await start(store)
    with pytest.raises(ArgumentError):
        await ask(plugin, *args)


# The command line


class FakeContext:
    """Opens the store at the path of --database."""

    def open_store(self, location: str | None = None) -> AbstractAsyncContextManager[Store]:
        store: AbstractAsyncContextManager[Store] = Sqlite().open_store(location)
        return store


async def hostname(database: Path, *words: str) -> int:
    """Run `msl-network hostname ...` with this database."""
    parser = argparse.ArgumentParser()
    Hostname().cli_commands(parser.add_subparsers())
    args = parser.parse_args(["hostname", *words, "-d", str(database)])
    status = await args.run(args, FakeContext())
    assert isinstance(status, int)
    return status


async def test_cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command adds, lists and removes names with the words of 1.0."""
    database = tmp_path / "lab.db"
    assert await hostname(database, "add", "pc7", "PC8") == 0
    assert await hostname(database, "insert", "pc9") == 0
    assert await hostname(database, "remove", *sorted(ALIASES), "pc9") == 0
    assert await hostname(database, "delete", "pc8") == 0
    assert await hostname(database, "list") == 0
    removed = "".join(f"Removed {name}\n" for name in [*sorted(ALIASES), "pc9"])
    assert capsys.readouterr().out == (
        f"Added pc7\nAdded PC8\nInserted pc9\n{removed}Deleted pc8\n"
        f"Trusted devices in {database}\n\nHostnames:\n  pc7\n"
    )


async def test_cli_and_1_0_share_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What 1.0 added is listed, and 1.0 lists what was added here."""
    command = [sys.executable, "-W", "ignore", "-m", "msl.network.cli", "hostname"]
    environment = {**os.environ, "MSL_NETWORK_HOME": str(tmp_path)}
    subprocess.run([*command, "add", "pc1"], env=environment, check=True)
    await hostname(tmp_path / "manager.sqlite3", "add", "pc2")
    await hostname(tmp_path / "manager.sqlite3", "list")
    ours = capsys.readouterr().out.removeprefix("Added pc2\n")
    result = subprocess.run([*command, "list"], env=environment, check=True, capture_output=True, text=True)
    assert result.stdout == ours
    assert "  pc1\n  pc2\n" in ours


async def test_cli_shows_the_names_of_this_computer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new list has the names of this computer, so that they are seen and can be removed."""
    await hostname(tmp_path / "lab.db", "list")
    listed = capsys.readouterr().out.split("Hostnames:\n")[1]
    assert {line.strip() for line in listed.splitlines()} == ALIASES


async def test_cli_removes_the_last_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that this computer is trusted again by and by, which a list with another name prevents."""
    database = tmp_path / "lab.db"
    own = sorted(ALIASES)
    assert await hostname(database, "remove", *own[1:]) == 0
    assert "note: " not in capsys.readouterr().out
    assert await hostname(database, "remove", own[0], "nothing") == 1
    assert capsys.readouterr().out == (
        f"Removed {own[0]}\nnote: no name is left, so the next start, or command, adds those of this computer again: "
        f"{', '.join(own)}; to keep it out, add another name before you remove its own\n"
    )
    assert await hostname(database, "add", "pc7") == 0
    assert await hostname(database, "delete", *own) == 0
    assert "note: " not in capsys.readouterr().out
    assert await hostname(database, "list") == 0
    assert capsys.readouterr().out.endswith("Hostnames:\n  pc7\n")


async def test_an_administrator_removes_the_last_name(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what the next start does about it."""
    plugin = await start(store)
    warning = "no trusted host name is left; the next start adds those of this computer again"
    for name in await store.hostnames.list():
        assert warning not in caplog.messages
        await ask(plugin, "delete", name)
    assert warning in caplog.messages
    assert not await is_trusted(plugin, LOCAL)
    assert await is_trusted(await start(store), LOCAL)


async def test_cli_cannot_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is not there is a line and a status that is not 0; the others are removed all the same."""
    database = tmp_path / "lab.db"
    assert await hostname(database, "add", "pc1", "pc2") == 0
    assert await hostname(database, "remove", "pc1", "nothing", "pc2") == 1
    output = capsys.readouterr()
    assert "Removed pc1\nRemoved pc2\n" in output.out
    assert output.err == "Cannot remove 'nothing'. This hostname is not in the table.\n"
    assert await hostname(database, "add", "two words") == 1


@pytest.mark.parametrize("action", ["add", "remove"])
async def test_cli_without_names(tmp_path: Path, action: str) -> None:
    """No name is a mistake, and nothing is made."""
    with pytest.raises(StartError, match=r"No hostnames were (added|removed): name at least one"):
        await hostname(tmp_path / "lab.db", action)
    assert not (tmp_path / "lab.db").exists()


async def test_another_list(store: Store) -> None:
    """After a reload the names of the settings are trusted, and those that the store has by now."""
    plugin = await start(store, "old.lab")
    await store.hostnames.insert("Added.lab")
    change = await plugin.reload(Hostname(["New.lab"]))
    peers = [FakePeer(domain=name) for name in ("old.lab", "new.lab", "added.lab")]
    assert [await is_trusted(plugin, peer) for peer in peers] == [True, False, False]
    change()
    assert [await is_trusted(plugin, peer) for peer in peers] == [False, True, True]
    assert await is_trusted(plugin, LOCAL)


async def test_an_administrator_is_not_overruled(store: Store) -> None:
    """What is added while other plugins still think about their settings stays trusted."""
    plugin = await start(store)
    change = await plugin.reload(Hostname())
    await ask(plugin, "insert", "added.lab")
    change()
    assert await is_trusted(plugin, FakePeer(domain="added.lab"))


async def test_a_list_that_became_empty(store: Store) -> None:
    """This computer is not locked out, as at the start."""
    plugin = await start(store)
    for name in await store.hostnames.list():
        await store.hostnames.delete(name)
    (await plugin.reload(Hostname()))()
    assert await is_trusted(plugin, LOCAL)
