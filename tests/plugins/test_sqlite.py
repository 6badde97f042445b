# ruff: noqa: ASYNC240 - the files of a test are small

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from msl_network_plugins import sqlite
from msl_network_plugins.sqlite import Sqlite

from msl_network.errors import ArgumentError, StoreError
from msl_network.messages import Identity
from msl_network.store import Record, User
from msl_network.testing import FakePeer, check_plugin

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

NOON = datetime(2024, 2, 29, 12, 0, 0)  # noqa: DTZ001 - records have local time


def make_record(message: str = "hello", time: datetime = NOON) -> Record:
    return Record(time=time, ip_address="192.0.2.7", domain="pc7.lab.example", port=50123, message=message)


def make_user(name: str = "ada", **changes: Any) -> User:
    return User(**{"name": name, "key": b"k\0\xff", "salt": b"s\0\xfe", "is_admin": True, **changes})


def msl(*words: str, home: Path) -> str:
    """Run the command line of MSL-Network 1.0."""
    command = [sys.executable, "-W", "ignore", "-m", "msl.network.cli", *words]
    environment = {**os.environ, "MSL_NETWORK_HOME": str(home)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.sqlite3"


# Opening


async def test_new_file_is_private(tmp_path: Path) -> None:
    """33. A new database, what SQLite writes beside it, and its new folders are for their owner only."""
    path = tmp_path / "a" / "b" / "lab.db"
    async with Sqlite(str(path)).open_store(None) as store:
        await store.hostnames.insert("pc1")
        assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert mode(path) == 0o600
    assert mode(path.parent) == mode(path.parent.parent) == 0o700


async def test_file_is_private_from_the_first_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """33. When SQLite sees a new file for the first time, nobody else can read it."""
    seen = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def look(database: Path, **options: Any) -> sqlite3.Connection:
        seen.append(mode(database))
        return connect(database, **options)

    monkeypatch.setattr(sqlite3, "connect", look)
    async with Sqlite().open_store(str(path)):
        assert seen == [0o600]


async def test_default_place(home: Path) -> None:
    """Without a path the database is in the Manager's folder; one given on the command line wins."""
    async with Sqlite().open_store(None) as store:
        assert store.location == str(home / "manager.sqlite3")
    async with Sqlite(str(home / "b")).open_store(str(home / "c")) as store:
        assert store.location == str(home / "c")


async def test_home_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may begin with the home folder's short name; that of nobody is a name like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    async with Sqlite("~/lab.db").open_store(None), Sqlite("~nobody-at-all").open_store(None):
        assert (tmp_path / "lab.db").is_file()
        assert (tmp_path / "~nobody-at-all").is_file()


async def test_memory() -> None:
    """The path :memory: makes no file, as in 1.0."""
    async with Sqlite(":memory:").open_store(None) as store:
        assert store.location == ":memory:"
        assert await store.hostnames.insert("pc1")
        assert await store.hostnames.list() == ["pc1"]
    assert not Path(":memory:").exists()


@pytest.mark.parametrize("name", ["a b?mode=ro#x%20.db", "Übung 数.db", "file:x.db", "quo'te\"s.db", "new\nline.db"])
async def test_odd_names(tmp_path: Path, name: str) -> None:
    """Whatever the name of the file is, exactly that file is made, and it is shown on one line."""
    async with Sqlite(str(tmp_path / name)).open_store(None) as store:
        await store.hostnames.insert("pc1")
        assert "\n" not in store.location
    assert [file.name for file in tmp_path.iterdir()] == [name]


async def test_symbolic_link(tmp_path: Path) -> None:
    """A link to a file that does not exist yet leads to a private file, too."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    async with Sqlite(str(tmp_path / "link")).open_store(None):
        assert mode(tmp_path / "file") == 0o600


async def test_journal(path: Path) -> None:
    """22. The database is in WAL mode, so that a reader does not wait for a writer."""
    async with Sqlite(str(path)).open_store(None):
        assert query(path, "PRAGMA journal_mode") == [("wal",)]


async def test_schema_is_that_of_1_0(path: Path, tmp_path: Path) -> None:
    """Tables, columns, types and constraints are those that 1.0 makes."""
    from msl.network.database import ConnectionsTable, HostnamesTable, UsersTable

    theirs = tmp_path / "theirs.sqlite3"
    for table in ConnectionsTable, HostnamesTable, UsersTable:
        table(database=str(theirs)).close()
    async with Sqlite(str(path)).open_store(None):
        for name in "connections", "auth_hostnames", "auth_users":
            for pragma in "table_info", "index_list":
                sql = f"PRAGMA {pragma}({name})"
                assert query(path, sql) == query(theirs, sql)
                assert query(path, sql) or (name, pragma) == ("connections", "index_list")


async def test_database_of_1_0(tmp_path: Path) -> None:
    """A database of 1.0 is opened as it is, and 1.0 reads what was written."""
    msl("user", "add", "ada", "-p", "secret", "-a", home=tmp_path)
    msl("hostname", "add", "pc1", home=tmp_path)
    path = tmp_path / "manager.sqlite3"
    async with Sqlite(str(path)).open_store(None) as store:
        (ada,) = await store.users.list()
        assert (ada.name, ada.is_admin, ada.number, len(ada.key), len(ada.salt)) == ("ada", True, 1, 32, 16)
        assert {"pc1", "localhost"} <= set(await store.hostnames.list())
        await store.users.insert(make_user("bob", is_admin=False))
        store.records.add(make_record())
    listed = msl("user", "list", home=tmp_path)
    assert "ada      True" in listed
    assert "bob      False" in listed
    assert query(path, "SELECT * FROM connections") == [
        (1, "2024-02-29T12:00:00", "192.0.2.7", "pc7.lab.example", 50123, "hello")
    ]


async def test_connections_table_before_1_0(path: Path) -> None:
    """The column that was called timestamp before 1.0 is used as 1.0 uses it."""
    columns = "ip_address TEXT NOT NULL, domain TEXT NOT NULL, port INTEGER NOT NULL, message TEXT NOT NULL"
    old = "pid INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TIMESTAMP NOT NULL"
    query(path, f"CREATE TABLE connections ({old}, {columns})")
    query(path, "INSERT INTO connections VALUES (NULL, '2019-05-06 07:08:09.5', '::1', 'localhost', 1, 'old')")
    async with Sqlite(str(path)).open_store(None) as store:
        store.records.add(make_record("new"))
        found = await store.records.list(start=datetime(2019, 5, 6, 7, 8, 9))  # noqa: DTZ001 - as above
    assert [(r.message, r.time.isoformat()) for r in found] == [
        ("old", "2019-05-06T07:08:09"),
        ("new", "2024-02-29T12:00:00"),
    ]


async def check_refused(path: Path | str, *texts: str) -> None:
    with pytest.raises(StoreError) as caught:
        async with Sqlite(str(path)).open_store(None):
            pytest.fail("it was opened")
    for text in (*texts, ";"):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_not_a_database(path: Path) -> None:
    """27. A file of another kind is refused at once, by name, and is not changed."""
    path.write_text("-----BEGIN CERTIFICATE-----\n" * 100)
    before = path.read_bytes()
    await check_refused(path, str(path), "not a database", "choose another path")
    assert path.read_bytes() == before


async def test_folder(tmp_path: Path) -> None:
    """A folder is no database."""
    await check_refused(tmp_path, str(tmp_path), "is a folder")


async def test_no_regular_file(tmp_path: Path) -> None:
    """A pipe is refused; nobody waits for what comes out of it."""
    os.mkfifo(tmp_path / "pipe")
    await check_refused(tmp_path / "pipe", "pipe", "not a regular file")


async def test_no_path(tmp_path: Path) -> None:
    """A path that leads through a file, or cannot be a path, is refused with one line."""
    (tmp_path / "file").touch()
    await check_refused(tmp_path / "file" / "lab.db", "cannot make the folder")
    await check_refused(tmp_path / "n\0ul", "null")
    await check_refused(tmp_path / ("x" * 300), "File name too long")


async def test_table_of_another_program(path: Path) -> None:
    """A database with a table of the same name but other columns is refused, and is not changed."""
    query(path, "CREATE TABLE connections (id INTEGER, url TEXT)")
    before = path.read_bytes()
    await check_refused(path, str(path), "another program", "id, url", "pid, datetime")
    assert path.read_bytes() == before


async def test_locked_when_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program holds is refused when the time to wait is over."""
    monkeypatch.setattr(sqlite, "BUSY", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await check_refused(path, str(path), "locked", "another program holds it")


async def test_locked_when_a_table_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that lacks a table is not used without it only because another program holds it now."""
    async with Sqlite(str(path)).open_store(None):
        query(path, "DROP TABLE collections")
    monkeypatch.setattr(sqlite, "BUSY", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await check_refused(path, str(path), "locked")


async def test_read_only(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """21. A 1.0 database that cannot be written is still read; a change and a lost record are told."""
    monkeypatch.setattr(sqlite, "FINISH", 0.05)
    async with Sqlite(str(path)).open_store(None) as store:
        await store.users.insert(make_user())
    query(path, "DROP TABLE collections")  # 1.0 has none
    query(path, "PRAGMA journal_mode=DELETE")
    content = bytearray(path.read_bytes())
    content[18] = 3  # a write version that no SQLite knows yet: it may read the file, and must not write it
    path.write_bytes(content)
    async with Sqlite(str(path)).open_store(None) as store:
        assert [user.name for user in await store.users.list()] == ["ada"]
        with pytest.raises(StoreError, match=r"readonly.*; make it writable"):
            await store.users.delete("ada")
        store.records.add(make_record())
        assert [r.message for r in await store.records.list()] == ["hello"]
    told = errors(caplog)
    assert len(told) == 3
    assert "can be read but not written" in told[0]
    assert "connection records cannot be written" in told[1]
    assert "1 connection records are lost" in told[2]


async def test_read_only_for_a_while(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. A database that can be written again is written again, by itself."""
    monkeypatch.setattr(sqlite, "RETRY", 0.001)
    async with Sqlite(str(path)).open_store(None):
        pass
    query(path, "PRAGMA journal_mode=DELETE")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:18] + b"\3" + content[19:])  # as above
    async with Sqlite(str(path)).open_store(None) as store:
        store.records.add(make_record())
        await told(caplog, 1)
        path.write_bytes(content)
        await told(caplog, 2)
        assert [(r.number, r.message) for r in await store.records.list()] == [(1, "hello")]
    assert [line.split(":")[0] for line in errors(caplog)] == [
        "connection records cannot be written, trying again",
        "connection records are written again, 0 were dropped",
    ]


async def test_damaged_for_a_while(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. A database that is damaged while it is used is one line; when it is well again, all goes on."""
    monkeypatch.setattr(sqlite, "RETRY", 0.001)
    async with Sqlite(str(path)).open_store(None) as store:
        await store.users.insert(make_user())
    content = path.read_bytes()
    async with Sqlite(str(path)).open_store(None) as store:
        path.write_bytes(b"\xff" * len(content))
        with pytest.raises(StoreError, match=r"(malformed|not a database); .*choose another path"):
            await store.users.list()
        store.records.add(make_record())
        await told(caplog, 1)
        path.write_bytes(content)
        await told(caplog, 2)
        assert [user.name for user in await store.users.list()] == ["ada"]
    assert query(path, "SELECT message FROM connections") == [("hello",)]
    assert len(errors(caplog)) == 2


async def told(caplog: pytest.LogCaptureFixture, lines: int) -> None:
    """Wait until so many lines tell of trouble."""
    with anyio.fail_after(10):
        while len(errors(caplog)) < lines:
            await anyio.lowlevel.checkpoint()


# Users, host names, collections


async def test_users(path: Path) -> None:
    """Users are inserted, found, replaced, listed by name and deleted; each says whether it happened."""
    async with Sqlite(str(path)).open_store(None) as store:
        users = store.users
        assert await users.get("ada") is None
        assert await users.insert(make_user("eve", is_admin=False))
        assert await users.insert(make_user())
        assert not await users.insert(make_user(key=b"other"))
        assert await users.list() == [make_user(number=2), make_user("eve", number=1, is_admin=False)]
        assert await users.update(make_user("eve", key=b"new", salt=b"too"))
        assert await users.get("eve") == make_user("eve", number=1, key=b"new", salt=b"too")
        assert not await users.update(make_user("bob"))
        assert await users.delete("eve")
        assert not await users.delete("eve")
        assert [user.name for user in await users.list()] == ["ada"]


async def test_unencodable_name(path: Path) -> None:
    """A name that cannot be text in a database is a StoreError, and the store goes on working."""
    async with Sqlite(str(path)).open_store(None) as store:
        with pytest.raises(StoreError, match="surrogates"):
            await store.users.get("\ud800")
        assert await store.users.list() == []


async def test_hostnames(path: Path) -> None:
    """Host names are inserted once, listed in order, and deleted."""
    async with Sqlite(str(path)).open_store(None) as store:
        assert await store.hostnames.insert("pc2")
        assert await store.hostnames.insert("pc1")
        assert not await store.hostnames.insert("pc1")
        assert await store.hostnames.list() == ["pc1", "pc2"]
        assert await store.hostnames.delete("pc2")
        assert not await store.hostnames.delete("pc2")


async def test_collection(path: Path) -> None:
    """A collection keeps JSON values by key, apart from other collections, over a restart."""
    value = {"a": [1, 2.5, None, True, "\ud800"]}
    async with Sqlite(str(path)).open_store(None) as store:
        await store.collection("badges").set("z", 1)
        await store.collection("badges").set("b", "old")
        await store.collection("badges").set("b", value)
        await store.collection("rooms").set("b", "room")
    async with Sqlite(str(path)).open_store(None) as store:
        badges = store.collection("badges")
        assert await badges.get("b") == value
        assert list((await badges.items()).items()) == [("b", value), ("z", 1)]
        assert await badges.get("nothing") is None
        assert await badges.delete("b")
        assert not await badges.delete("b")
        assert await store.collection("rooms").get("b") == "room"


async def test_another_program_at_the_same_time(tmp_path: Path) -> None:
    """While the store is open, 1.0's command line changes users, and the change is seen."""
    async with Sqlite(str(tmp_path / "manager.sqlite3")).open_store(None) as store:
        await store.users.insert(make_user())
        await anyio.to_thread.run_sync(lambda: msl("user", "add", "bob", "-p", "x", home=tmp_path))
        assert [user.name for user in await store.users.list()] == ["ada", "bob"]


async def test_two_stores_write_at_once(path: Path) -> None:
    """Two programs that write at the same time wait for each other; nothing is lost."""
    async with Sqlite(str(path)).open_store(None) as one, Sqlite(str(path)).open_store(None) as two:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one.hostnames.insert, f"a{number}")
                tasks.start_soon(two.hostnames.insert, f"b{number}")
        assert len(await one.hostnames.list()) == 40


# Records


async def test_story_of_connections(path: Path) -> None:
    """The hooks write the texts of 1.0, the time to the second, and what is known of the peer."""
    plugin, peer = Sqlite(str(path)), FakePeer(name="Client", port=50123)
    begin = datetime.now().replace(microsecond=0)  # noqa: DTZ005 - as above
    async with plugin.open_store(None):
        plugin.peer_connecting(peer)
        plugin.peer_joined(peer, Identity(type="service", name="Echo"))
        plugin.peer_left(peer)
        plugin.peer_refused(peer, "rejected: Wrong Manager password")
        plugin.peer_refused(peer, "connection closed prematurely")
    rows = query(path, "SELECT * FROM connections")
    assert [row[5] for row in rows] == [
        "new connection request",
        "connected as a service",
        "disconnected",
        "rejected: Wrong Manager password",
        "disconnected",
        "connection closed prematurely",
    ]
    assert {row[2:5] for row in rows} == {("192.0.2.7", "pc7.lab.example", 50123)}
    assert all(begin <= datetime.fromisoformat(row[1]) and len(row[1]) == 19 for row in rows)


def test_hooks_without_a_store(path: Path) -> None:
    """While no store is open, or another plugin's is, the hooks do nothing."""
    plugin = Sqlite(str(path))
    plugin.peer_connecting(FakePeer())
    plugin.peer_left(FakePeer())
    assert not path.exists()


async def test_hooks_after_the_store_is_closed(path: Path) -> None:
    """What is heard after the store was left is not recorded, and harms nobody."""
    plugin = Sqlite(str(path))
    async with plugin.open_store(None):
        plugin.peer_connecting(FakePeer())
    plugin.peer_left(FakePeer())
    assert query(path, "SELECT message FROM connections") == [("new connection request",)]


async def test_records_between_times(path: Path) -> None:
    """39. The list has the records from start to end, both included, oldest first."""
    async with Sqlite(str(path)).open_store(None) as store:
        for hour in 9, 10, 11, 12:
            store.records.add(make_record(str(hour), NOON.replace(hour=hour)))
        ten, eleven = NOON.replace(hour=10), NOON.replace(hour=11)
        assert [r.message for r in await store.records.list()] == ["9", "10", "11", "12"]
        assert [r.message for r in await store.records.list(start=ten)] == ["10", "11", "12"]
        assert [r.message for r in await store.records.list(end=ten)] == ["9", "10"]
        (first, last) = await store.records.list(start=ten, end=eleven)
        assert (first.number, first.time, last.message) == (2, ten, "11")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
async def test_records_are_read_in_pages(path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records there are, each is in the list once, and others may use the database in between."""
    monkeypatch.setattr(sqlite, "PAGE", 2)
    async with Sqlite(str(path)).open_store(None) as store:
        for number in range(count):
            store.records.add(make_record(str(number)))
        assert [r.message for r in await store.records.list()] == [str(number) for number in range(count)]
        assert await store.records.list(end=datetime(2000, 1, 1)) == []  # noqa: DTZ001 - as above


async def test_records_are_written_in_the_background(path: Path) -> None:
    """A record is in the file soon, although nobody asks for it."""
    async with Sqlite(str(path)).open_store(None) as store:
        store.records.add(make_record())
        with anyio.fail_after(10):
            while not await anyio.to_thread.run_sync(query, path, "SELECT * FROM connections"):
                await anyio.lowlevel.checkpoint()


async def test_records_are_written_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """22. Many records at once are one transaction, and keep their order."""
    sizes = []
    insert = sqlite._insert_records

    def count(connection: sqlite3.Connection, queue: deque[Any]) -> None:
        sizes.append(len(queue))
        insert(connection, queue)

    monkeypatch.setattr(sqlite, "_insert_records", count)
    async with Sqlite(str(path)).open_store(None) as store:
        for number in range(2500):
            store.records.add(make_record(str(number)))
    assert sizes == [2500]
    assert [row[0] for row in query(path, "SELECT message FROM connections")] == [str(n) for n in range(2500)]


async def test_records_that_keep_coming_are_written_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """22. What comes while records are written is the next batch; a list has what came before it."""
    sizes = []
    insert = sqlite._insert_records

    async with Sqlite(str(path)).open_store(None) as store:

        def insert_and_add(connection: sqlite3.Connection, queue: deque[Any]) -> None:
            sizes.append(len(queue))
            insert(connection, queue)
            store.records.add(make_record("meanwhile"))

        monkeypatch.setattr(sqlite, "GATHER", 1000)
        monkeypatch.setattr(sqlite, "_insert_records", insert_and_add)
        for _ in range(3):
            store.records.add(make_record("before"))
        assert [r.message for r in await store.records.list()] == ["before"] * 3
        assert sizes == [3]
        assert [r.message for r in await store.records.list()] == ["before"] * 3 + ["meanwhile"]


async def test_writer_that_is_given_up_writes_nothing_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked for the records and was cancelled while they were written leaves each of them in the table once."""
    gate, entered = threading.Event(), threading.Event()
    insert = sqlite._insert_records

    def insert_late(connection: sqlite3.Connection, queue: deque[Any]) -> Any:
        entered.set()
        assert gate.wait(10)
        return insert(connection, queue)

    async with Sqlite(str(path)).open_store(None) as store, anyio.create_task_group() as tasks:
        monkeypatch.setattr(sqlite, "GATHER", 1000)
        monkeypatch.setattr(sqlite, "_insert_records", insert_late)
        store.records.add(make_record("one"))
        tasks.start_soon(store.records.list)
        assert await anyio.to_thread.run_sync(entered.wait, 10)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            store.records.add(make_record("two"))
            gate.set()
            assert [r.message for r in await store.records.list()] == ["one", "two"]


async def test_sqlite_is_never_used_on_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20. Each call into SQLite comes from a worker thread, and never two at a time."""
    loop = threading.get_ident()
    busy = threading.Lock()
    threads = set()

    class Watched(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            assert busy.acquire(blocking=False)
            threads.add(threading.get_ident())
            try:
                return super().execute(*args)
            finally:
                busy.release()

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
    async with Sqlite(str(path)).open_store(None) as store, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(store.hostnames.insert, f"pc{number}")
            tasks.start_soon(store.users.list)
            store.records.add(make_record())
    assert threads
    assert loop not in threads


async def test_text_that_cannot_be_stored(path: Path) -> None:
    """A record with half a character is written with an escape; one of a huge text is cut."""
    async with Sqlite(str(path)).open_store(None) as store:
        store.records.add(make_record("a\ud800b"))
        store.records.add(make_record("x" * 10_000))
        assert [r.message for r in await store.records.list()] == ["a\\ud800b", "x" * 1000]


async def test_damaged_time(path: Path) -> None:
    """A record whose time is damaged is listed all the same."""
    async with Sqlite(str(path)).open_store(None) as store:
        query(path, "INSERT INTO connections VALUES (NULL, 'yesterday', 'a', 'b', 1, 'odd')")
        (record,) = await store.records.list()
        assert (record.message, record.time.year) == ("odd", 1)


async def test_locked_for_a_while(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. While another program holds the database, records wait; one line is logged, and one when it is over."""
    monkeypatch.setattr(sqlite, "RETRY", 0.001)
    monkeypatch.setattr(sqlite, "TRY", 0)
    async with Sqlite(str(path)).open_store(None) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            store.records.add(make_record("one"))
            assert [(r.number, r.message) for r in await store.records.list()] == [(0, "one")]
            store.records.add(make_record("two"))
            assert [r.message for r in await store.records.list(start=NOON)] == ["one", "two"]
            assert await store.records.list(end=datetime(2000, 1, 1)) == []  # noqa: DTZ001 - as above
            assert len(errors(caplog)) == 1
            assert "locked" in errors(caplog)[0]
            other.execute("ROLLBACK")
        with anyio.fail_after(10):  # the background task tries again by itself
            while not await anyio.to_thread.run_sync(query, path, "SELECT * FROM connections"):
                await anyio.lowlevel.checkpoint()
        assert [(r.number, r.message) for r in await store.records.list()] == [(1, "one"), (2, "two")]
    assert len(errors(caplog)) == 2
    assert "written again, 0 were dropped" in errors(caplog)[1]


async def test_who_reads_does_not_wait_for_who_writes(path: Path) -> None:
    """21. While another program has locked the database, who needs no lock is not behind those that wait for it."""
    done: list[str] = []
    async with Sqlite(str(path)).open_store(None) as store:
        await store.users.insert(make_user())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")

            async def change(name: str) -> None:
                with pytest.raises(StoreError, match="locked"):
                    await store.users.insert(make_user(name))
                done.append("refused")

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(change, f"user {number}")
                await anyio.wait_all_tasks_blocked()
                for _ in range(5):
                    assert await store.users.get("ada")
                    done.append("read")
    assert done == ["read"] * 5 + ["refused"] * 20


async def test_lock_that_ends_in_time(path: Path) -> None:
    """A change waits for the lock of a program that needs a moment, and is made."""
    async with Sqlite(str(path)).open_store(None) as store, anyio.create_task_group() as tasks:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            tasks.start_soon(store.hostnames.insert, "pc1")
            await anyio.wait_all_tasks_blocked()
            assert await store.hostnames.list() == []
            other.execute("ROLLBACK")
            with anyio.fail_after(10):
                while await store.hostnames.list() != ["pc1"]:
                    await anyio.lowlevel.checkpoint()


async def test_disk_that_does_not_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """26. When SQLite hangs, who waits for it can be cancelled, and the store is left when its time is over."""
    gate, entered = threading.Event(), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        entered.set()
        gate.wait(10)

    try:
        with anyio.CancelScope() as ending:
            async with Sqlite(str(path)).open_store(None) as store:
                with anyio.move_on_after(0.01) as scope:
                    await store._database.run(hang)
                assert scope.cancelled_caught
                assert entered.is_set()
                store.records.add(make_record())
                ending.deadline = anyio.current_time() + 0.3
        assert not gate.is_set()
    finally:
        gate.set()
    assert errors(caplog) == ["1 connection records are lost: they could not be written"]


async def test_time_to_finish(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """26. The deadline of the scope in which the store is left is when it gives up writing, and says what is lost."""
    async with Sqlite(str(path)).open_store(None) as reader:  # keeps the journal, so the end has nothing else to do
        with closing(sqlite3.connect(path, isolation_level=None)) as other, anyio.CancelScope() as ending:
            async with Sqlite(str(path)).open_store(None) as store:
                other.execute("BEGIN EXCLUSIVE")
                store.records.add(make_record())
                start = anyio.current_time()
                ending.deadline = start + 0.4
            assert anyio.current_time() - start < sqlite.FINISH
        assert await reader.records.list() == []
    assert errors(caplog)[-1] == "1 connection records are lost: they could not be written"


async def test_too_many_records(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """21. Over the limit, records are dropped, and their number is told when records are written again."""
    monkeypatch.setattr(sqlite, "MAX_QUEUED", 3)
    async with Sqlite(str(path)).open_store(None) as store:
        for number in range(8):
            store.records.add(make_record(str(number)))
        assert [r.message for r in await store.records.list()] == ["0", "1", "2"]
        assert errors(caplog) == ["connection records are written again, 5 were dropped"]
        store.records.add(make_record("later"))
        assert len(await store.records.list()) == 4
    assert len(errors(caplog)) == 1


async def test_full_disk(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """21. When the disk is full, records are lost at the end, counted in one line; nobody else notices."""
    monkeypatch.setattr(sqlite, "FINISH", 0.05)
    async with Sqlite(str(path)).open_store(None) as store:
        await store._database.run(lambda connection: connection.execute("PRAGMA max_page_count=1").fetchall())
        for _ in range(200):
            store.records.add(make_record("x" * 900))
        assert len(await store.records.list()) == 200
        with pytest.raises(StoreError, match="full; make room on the disk"):
            await store.collection("big").set("a", "x" * 50_000)
        assert await store.users.list() == []
    assert len(errors(caplog)) == 2
    assert errors(caplog)[1] == "200 connection records are lost: they could not be written"


async def test_deleted_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """21. A database that is deleted is made anew, and the store goes on with it."""
    async with Sqlite(str(path)).open_store(None) as store:
        store.records.add(make_record("before"))
        await store.users.insert(make_user())
        assert len(await store.records.list()) == 1
        path.unlink()
        store.records.add(make_record("after"))
        assert [r.message for r in await store.records.list()] == ["after"]
        assert await store.users.list() == []
        assert mode(path) == 0o600
    assert query(path, "SELECT message FROM connections") == [("after",)]
    assert errors(caplog) == [f"the database {path} was moved or deleted; opening it again"]


async def test_deleted_file_that_comes_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While something else is in the place of the database there is one line; then all goes on."""
    backup = path.with_suffix(".backup")
    async with Sqlite(str(path)).open_store(None) as store:
        await store.users.insert(make_user())
        path.rename(backup)
        path.mkdir()
        store.records.add(make_record("meanwhile"))
        with pytest.raises(StoreError, match="is a folder"):
            await store.records.list()
        with pytest.raises(StoreError, match="is a folder"):
            await store.users.get("ada")
        path.rmdir()
        backup.rename(path)
        assert [r.message for r in await store.records.list()] == ["meanwhile"]
        assert await store.users.get("ada") == make_user(number=1)
    assert [line.split(":")[0] for line in errors(caplog)] == [
        f"the database {path} was moved or deleted; opening it again",
        "connection records cannot be written, trying again",
        "connection records are written again, 0 were dropped",
    ]


async def test_records_are_written_when_the_manager_is_cancelled(path: Path) -> None:
    """A store that is left by cancellation writes what it has."""
    with anyio.CancelScope() as scope:
        async with Sqlite(str(path)).open_store(None) as store:
            store.records.add(make_record())
            scope.cancel()
            await anyio.sleep_forever()
    assert query(path, "SELECT message FROM connections") == [("hello",)]


@pytest.mark.parametrize("error", [StoreError("mine"), KeyError("mine"), KeyboardInterrupt()])
async def test_errors_pass_unchanged(path: Path, error: BaseException) -> None:
    """What is raised where the store is used comes out as it is, and what was recorded is written."""
    with pytest.raises(type(error)) as caught:  # noqa: PT012 - it is the block that raises
        async with Sqlite(str(path)).open_store(None) as store:
            store.records.add(make_record())
            raise error
    assert caught.value is error
    assert query(path, "SELECT message FROM connections") == [("hello",)]


async def test_close_that_fails(path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot be closed well is a line in the log."""

    class Stubborn(sqlite3.Connection):
        def close(self) -> None:
            super().close()
            raise sqlite3.OperationalError("disk I/O error")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Stubborn, **k))
    async with Sqlite(str(path)).open_store(None):
        pass
    assert len(errors(caplog)) == 1
    assert "disk I/O error; see that this user may read and write" in errors(caplog)[0]


# The command


async def ask(plugin: Sqlite, *args: Any, **kwargs: Any) -> Any:
    (command,) = plugin.commands()
    assert (command.name, command.administrator) == ("connections_table.connections", True)
    return await command.bind(FakePeer(), list(args), kwargs)()


async def test_command(path: Path) -> None:
    """39. An administrator gets the rows of 1.0; a date alone is that whole day."""
    plugin = Sqlite(str(path))
    async with plugin.open_store(None) as store:
        for day in 27, 28, 29:
            store.records.add(make_record(str(day), NOON.replace(day=day)))
        row = [2, "2024-02-28T12:00:00", "192.0.2.7", "pc7.lab.example", 50123, "28"]
        assert len(await ask(plugin)) == 3
        assert await ask(plugin, start="2024-02-28", end="2024-02-28") == [row]
        assert await ask(plugin, "2024-02-28T12:00:00", "2024-02-28T12:00:00") == [row]
        assert await ask(plugin, start="2024-02-29T12:00:01", end=None) == []


@pytest.mark.parametrize("text", ["", "yesterday", "2024-02-30", "2024-02-28 12:00:00", "2024-2-3", 5, ["2024-02-28"]])
async def test_command_with_bad_times(path: Path, text: object) -> None:
    """39. Anything but the two forms is refused, and the forms are named."""
    plugin = Sqlite(str(path))
    async with plugin.open_store(None):
        with pytest.raises(ArgumentError, match="start must be 'yyyy-mm-dd' or 'yyyy-mm-ddTHH:MM:SS', found"):
            await ask(plugin, start=text)
        with pytest.raises(ArgumentError, match="end must be"):
            await ask(plugin, end=text)


async def test_command_without_a_store() -> None:
    """If another plugin is the store, the command says so."""
    with pytest.raises(StoreError, match="keeps its records elsewhere"):
        await ask(Sqlite())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_keeps_all_promises(backend: str) -> None:
    """Those that every plugin has to keep."""
    assert {"keeps_data", "hears", "offers_commands"} <= set(check_plugin(Sqlite, backend=backend))
