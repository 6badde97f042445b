"""Keeps users, trusted host names, connection records and collections in one SQLite file, as 1.0 does.

Rule of this file: SQLite is touched in one thread only, for which nobody has to wait, and every failure of it is a
:class:`~msl_network.errors.StoreError` of one line. Records are the exception: they wait in memory until they
can be written, and no trouble with them reaches the Manager.

It must not know what a key or a salt means, who is trusted, or any other plugin.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sqlite3
import stat
from collections import deque
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from pathlib import Path
from time import localtime, strftime
from time import time as clock
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import anyio
from anyio import to_thread

from msl_network import paths
from msl_network.commands import Command
from msl_network.errors import ArgumentError, StartError, StoreError
from msl_network.hookspecs import hookimpl
from msl_network.settings import File  # noqa: TC001 - the settings are read from it
from msl_network.store import Record, User
from msl_network.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from msl_network.messages import Identity
    from msl_network.peer import Peer

__all__ = ["Sqlite"]

T = TypeVar("T")

_Row: TypeAlias = tuple[str, str, str, int, str]  # time, address, domain, port, message
_Note: TypeAlias = tuple[str | float, str, str, int, str]  # the same before it is written: time.time()

logger = logging.getLogger("msl_network.sqlite")

IN_MEMORY: Final = ":memory:"  # as in 1.0: nothing is kept after the Manager stops

BUSY: Final = 2.0  # seconds to wait for another program's lock: a command line writes for milliseconds
TRY: Final = 0.005  # seconds that one attempt may hold up the thread: others may want to read meanwhile
AGAIN: Final = 0.03  # seconds between attempts
RETRY: Final = 1.0  # seconds between attempts to write records while there is trouble
GATHER: Final = 0.05  # seconds in which records become one transaction
FINISH: Final = 2.0  # seconds to go on trying at the end, if nobody says when the end is
CLOSE: Final = 0.2  # of these, what closing may take: it writes the journal back

MAX_QUEUED: Final = 10_000  # records in memory, a few MB: minutes of trouble in the busiest laboratory
MAX_TEXT: Final = 1000  # characters of a record's text: a peer decides on part of it
PAGE: Final = 10_000  # records that are read at a time, some ten ms

TABLES: Final = {
    "connections": """CREATE TABLE IF NOT EXISTS connections (
        pid INTEGER PRIMARY KEY AUTOINCREMENT,
        datetime DATETIME NOT NULL,
        ip_address TEXT NOT NULL,
        domain TEXT NOT NULL,
        port INTEGER NOT NULL,
        message TEXT NOT NULL)""",
    "auth_hostnames": "CREATE TABLE IF NOT EXISTS auth_hostnames (hostname TEXT NOT NULL, UNIQUE(hostname))",
    "auth_users": """CREATE TABLE IF NOT EXISTS auth_users (
        pid INTEGER PRIMARY KEY AUTOINCREMENT,
        username TEXT NOT NULL,
        key BLOB NOT NULL,
        salt BLOB NOT NULL,
        is_admin BOOLEAN NOT NULL,
        UNIQUE(username))""",
    "collections": """CREATE TABLE IF NOT EXISTS collections (
        collection TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY(collection, key))""",
}
"""The first three are exactly those of 1.0, which goes on working with the file."""

COLUMNS: Final = {
    "connections": ("pid", "datetime", "ip_address", "domain", "port", "message"),
    "auth_hostnames": ("hostname",),
    "auth_users": ("pid", "username", "key", "salt", "is_admin"),
    "collections": ("collection", "key", "value"),
}

DAMAGED: Final = ("malformed", "not a database", "disk I/O error", "readonly")
"""After which a connection is of no use any more, although the file may be well again soon."""

FIRST: Final = ""  # earlier than every time that is written as text
LAST: Final = "~"  # later

OLD_TIME_COLUMN: Final = "timestamp"  # its name before 1.0, which uses such a table as it is

ADVICE: Final = (
    ("not a database", "it is a file of another kind; choose another path"),
    ("malformed", "it is damaged; restore a backup or choose another path"),
    ("locked", "another program holds it; close that program or try again"),
    ("readonly", "make it writable or choose another path"),
    (
        "unable to open",
        "see that this user may read and write the file and its folder, or choose another path",
    ),
    ("full", "make room on the disk"),
)
"""What a person can do about what SQLite says."""


@dataclass(eq=False)
class Sqlite:
    """The store in one file.

    Args:
        path: The file, from the folder of the TOML file; if empty, ``manager.sqlite3`` in the Manager's folder.
            ``:memory:`` keeps nothing.
    """

    path: File = ""

    def __post_init__(self) -> None:
        self._store: _Store | None = None

    @hookimpl
    def open_store(self, location: str | None) -> AbstractAsyncContextManager[_Store]:
        """Open the file, and make it if it is missing."""
        return self._open(location)

    @hookimpl
    def peer_connecting(self, peer: Peer) -> None:
        """Record that somebody connected."""
        self._record(peer, "new connection request")

    @hookimpl
    def peer_refused(self, peer: Peer, reason: str) -> None:
        """Record why somebody was not let in."""
        self._record(peer, reason)
        # 1.0 ends the story so only when it was the Manager that closed
        if not reason.startswith("connection closed"):
            self._record(peer, "disconnected")

    @hookimpl
    def peer_joined(self, peer: Peer, identity: Identity) -> None:
        """Record that a Client or a Service is connected."""
        self._record(peer, f"connected as a {identity.type}")

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        """Record that a Client or a Service left."""
        self._record(peer, "disconnected")

    @hookimpl
    def commands(self) -> list[Command]:
        """Let administrators read the records."""
        return [Command(name="connections_table.connections", function=self._connections)]

    @asynccontextmanager
    async def _open(self, location: str | None) -> AsyncIterator[_Store]:
        database = _Database(await to_thread.run_sync(self._locate, location))
        await database.run(_touch)
        store = _Store(database)
        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.records.write)
                self._store = store
                try:
                    yield store
                # a task group would wrap it, and who opened the store expects what was raised there
                except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
                    failure = error
                finally:
                    self._store = None
                    tasks.cancel_scope.cancel()
        finally:
            # the Manager says when the end is by the deadline of the scope in which it leaves the store
            until = anyio.current_time() + FINISH
            if (deadline := anyio.current_effective_deadline()) > -math.inf:
                until = min(until, deadline)
            with anyio.CancelScope(shield=True, deadline=until):
                await store.records.finish(until - CLOSE)
                await database.close()
        if failure is not None:
            raise failure

    def _locate(self, location: str | None) -> Path | None:
        chosen = location or self.path
        if Path(chosen).name == IN_MEMORY:
            return None
        path = Path(chosen) if chosen else paths.database()
        with contextlib.suppress(RuntimeError):  # "~nobody": then it is the name of a file
            path = path.expanduser()
        try:
            return Path(os.path.realpath(path))  # the folder may change later, and links count at the start
        except ValueError as error:
            raise StoreError(f"the database {str(path)!r}: {error}; choose another path") from error

    def _record(self, peer: Peer, message: str) -> None:
        if self._store is None:
            return
        self._store.records.note(clock(), peer.ip_address, peer.domain, peer.port, message)

    async def _connections(
        self,
        peer: Peer,  # noqa: ARG002 - a command is always given the peer
        start: str | None = None,
        end: str | None = None,
    ) -> list[list[Any]]:
        first, last = _parse_time("start", start, time.min), _parse_time("end", end, time.max)
        if self._store is None:
            raise StoreError("the database is not open, this Manager keeps its records elsewhere")
        records = await self._store.records.list(start=first, end=last)
        return await to_thread.run_sync(_as_rows, records)  # there may be millions


class _Store:
    """What `open_store` gives."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self.location = database.shown
        self.users = _Users(database)
        self.hostnames = _Hostnames(database)
        self.records = _Records(database)

    def collection(self, name: str) -> _Collection:
        return _Collection(self._database, name)


class _Database:
    """One connection, used by one thread, and opened again when its file was replaced or is damaged.

    Args:
        path: The file; None for one in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        text = IN_MEMORY if path is None else str(path)
        self.shown = text if text.isprintable() else repr(text)
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._is_read_only = False
        self._is_ending = False
        # with a thread of anyio a disk that hangs would hold up the end of the program
        self._thread = Threads(1, "sqlite")

    async def run(self, function: Callable[[sqlite3.Connection], T], *, patience: float | None = None) -> T:
        """Call a function with the connection, in the thread; again while another program has locked the database.

        Args:
            function: What to call; where it fails it must leave the database as it was.
            patience: How long to wait for another program's lock, in seconds; `BUSY` if None.

        Raises:
            StoreError: If the database cannot be used.
        """
        # others may use the thread while this one waits: logins do not queue for a lock that they do not need
        until = anyio.current_time() + (BUSY if patience is None else patience)
        while True:
            try:
                return await self._thread.run(self._call, function)
            except _LockedError:
                if anyio.current_time() >= until:
                    raise
            await anyio.sleep(AGAIN)

    async def close(self) -> None:
        self._is_ending = True
        try:
            await self._thread.run(self._close)
        finally:
            self._thread.close()

    def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is not None and self._is_replaced():
                logger.warning("the database %s was moved or deleted; opening it again", self.shown)
                self._close()
            if self._connection is None:
                self._connection = self._open()
            return function(self._connection)
        except (sqlite3.Error, OSError, UnicodeError, OverflowError) as error:
            if isinstance(error, sqlite3.DatabaseError) and any(text in str(error) for text in DAMAGED):
                self._close()  # it would remember the damage when the file is well again
            raise self._error(error) from error
        finally:
            if self._is_ending:  # it took so long that nobody waits for the closing any more
                self._close()

    def _is_replaced(self) -> bool:
        # SQLite does not notice, and would write into a file that has no name any more
        if self._path is None or self._opened is None:
            return False
        try:
            return not os.path.samestat(self._path.stat(), self._opened)
        except OSError:
            return True

    def _open(self) -> sqlite3.Connection:
        if self._path is not None:
            self._opened = self._make_file(self._path)
        connection = sqlite3.connect(
            IN_MEMORY if self._path is None else self._path,
            timeout=TRY,
            isolation_level=None,  # transactions begin where the code says so
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_file(self, path: Path) -> os.stat_result:
        """Make the file if it is missing: SQLite would make it readable by everybody."""
        try:
            paths.make_private_folder(path.parent)
        except StartError as error:
            raise StoreError(f"the database {self.shown}: {error}") from error
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise StoreError(f"the database {self.shown} is {kind}; choose the path of a file")
        return found

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """See that it is a database that fits, and make the tables that it lacks."""
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        ours = [table for table in TABLES if table in names]
        for table in ours:
            found = _columns(connection, table)
            if found[: len(COLUMNS[table])] not in _accepted(table):
                raise StoreError(
                    f"the database {self.shown} belongs to another program: its table {table!r} has "
                    f"the columns {', '.join(found)}, not {', '.join(COLUMNS[table])}; choose another path"
                )
        _use_journal(connection)
        if len(ours) < len(TABLES):
            try:
                with _transaction(connection):
                    for statement in TABLES.values():
                        connection.execute(statement)
            except sqlite3.OperationalError as error:
                if not ours or "locked" in str(error):
                    raise
                if not self._is_read_only:
                    logger.warning("the database %s can be read but not written: %s", self.shown, error)
                self._is_read_only = True
                return
        self._is_read_only = False

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            # SQLite writes back what it can; the rest stays beside the file and is found at the next opening
            except sqlite3.Error as error:
                logger.warning("%s", self._error(error))

    def _error(self, error: Exception) -> StoreError:
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        advice = "see that this user may read and write the file and its folder, or choose another path"
        advice = next((advice for said, advice in ADVICE if said in text), advice)
        kind = _LockedError if isinstance(error, sqlite3.OperationalError) and "locked" in text else StoreError
        return kind(f"the database {self.shown}: {text}; {advice}")


class _LockedError(StoreError):
    """Raised when another program has locked the database; it may soon be free."""


class _Users:
    """The table ``auth_users``."""

    def __init__(self, database: _Database) -> None:
        self._database = database

    async def get(self, name: str) -> User | None:
        users = await self._database.run(lambda c: _select_users(c, "WHERE username = ?", name))
        return users[0] if users else None

    async def list(self) -> list[User]:
        return await self._database.run(lambda c: _select_users(c, "ORDER BY username"))

    async def insert(self, user: User) -> bool:
        sql = "INSERT OR IGNORE INTO auth_users (username, key, salt, is_admin) VALUES (?, ?, ?, ?)"
        return await self._database.run(_change(sql, user.name, user.key, user.salt, user.is_admin))

    async def update(self, user: User) -> bool:
        sql = "UPDATE auth_users SET key = ?, salt = ?, is_admin = ? WHERE username = ?"
        return await self._database.run(_change(sql, user.key, user.salt, user.is_admin, user.name))

    async def delete(self, name: str) -> bool:
        return await self._database.run(_change("DELETE FROM auth_users WHERE username = ?", name))


class _Hostnames:
    """The table ``auth_hostnames``."""

    def __init__(self, database: _Database) -> None:
        self._database = database

    async def list(self) -> list[str]:
        rows = await self._database.run(_fetch("SELECT hostname FROM auth_hostnames ORDER BY hostname"))
        return [hostname for (hostname,) in rows]

    async def insert(self, hostname: str) -> bool:
        sql = "INSERT OR IGNORE INTO auth_hostnames (hostname) VALUES (?)"
        return await self._database.run(_change(sql, hostname))

    async def delete(self, hostname: str) -> bool:
        return await self._database.run(_change("DELETE FROM auth_hostnames WHERE hostname = ?", hostname))


class _Records:
    """The table ``connections``, and the records that are not in it yet."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        self._queue: deque[_Note] = deque()
        self._dropped = 0
        self._trouble = ""
        self._wake = anyio.Event()
        self._is_woken = False
        self._flushing = anyio.Lock()

    def add(self, record: Record) -> None:
        self.note(_format_time(record.time), record.ip_address, record.domain, int(record.port), record.message)

    def note(self, *note: Unpack[_Note]) -> None:
        """Add what becomes a record in the thread that writes it: three for each connection, so it is to be quick."""
        if len(self._queue) >= MAX_QUEUED:
            self._dropped += 1  # the newest, so that there is one gap, and it ends when it is reported
            return
        self._queue.append(note)
        if not self._is_woken:
            self._is_woken = True
            self._wake.set()

    async def list(self, *, start: datetime | None = None, end: datetime | None = None) -> list[Record]:
        first = _format_time(start) if start else FIRST
        last = _format_time(end) if end else LAST
        if await self._flush():
            # not what came meanwhile: who was shown a record can rely on it
            return await _read_records(self._database, first, last)
        # under the lock, a record is either in the table or in the queue
        async with self._flushing:
            found = await _read_records(self._database, first, last)
            rows = _as_rows_to_write(list(self._queue))
            waiting = [_as_record(0, row) for row in rows if first <= row[0] <= last]
        return found + waiting

    async def write(self) -> None:
        """Write what is added, for ever. What comes in a short while is one batch."""
        while True:
            await self._wake.wait()
            await anyio.sleep(GATHER)
            self._wake, self._is_woken = anyio.Event(), False
            if not await self._flush():
                await anyio.sleep(RETRY)
                self._is_woken = True
                self._wake.set()

    async def finish(self, until: float) -> None:
        """Write what is still there, or say how much is lost.

        Args:
            until: When to give up, as `anyio.current_time` has it.
        """
        with anyio.CancelScope(deadline=until):
            while not await self._flush():  # noqa: ASYNC110 - it is SQLite that is waited for
                await anyio.sleep(AGAIN)
        lost = len(self._queue) + self._dropped
        if lost:
            logger.error("%d connection records are lost: they could not be written", lost)

    async def _flush(self) -> bool:
        async with self._flushing:
            try:
                if self._queue:
                    # no patience: they can wait in memory, and who reads the records does not want to
                    await self._database.run(partial(_insert_records, queue=self._queue), patience=0)
            except StoreError as error:
                if str(error) != self._trouble:
                    logger.error("connection records cannot be written, trying again: %s", error)  # noqa: TRY400 - the text says all
                self._trouble = str(error)
                return False
            if self._trouble or self._dropped:
                logger.warning("connection records are written again, %d were dropped", self._dropped)
            self._trouble = ""
            self._dropped = 0
            return True


class _Collection:
    """The rows of one name in the table ``collections``."""

    def __init__(self, database: _Database, name: str) -> None:
        self._database = database
        self._name = name

    async def get(self, key: str) -> Any | None:
        sql = "SELECT value FROM collections WHERE collection = ? AND key = ?"
        rows = await self._database.run(_fetch(sql, self._name, key))
        return json.loads(rows[0][0]) if rows else None

    async def set(self, key: str, value: Any) -> None:
        sql = "INSERT OR REPLACE INTO collections (collection, key, value) VALUES (?, ?, ?)"
        await self._database.run(_change(sql, self._name, key, json.dumps(value)))

    async def delete(self, key: str) -> bool:
        sql = "DELETE FROM collections WHERE collection = ? AND key = ?"
        return await self._database.run(_change(sql, self._name, key))

    async def items(self) -> Mapping[str, Any]:
        sql = "SELECT key, value FROM collections WHERE collection = ? ORDER BY key"
        rows = await self._database.run(_fetch(sql, self._name))
        return {key: json.loads(value) for key, value in rows}


async def _read_records(database: _Database, first: str, last: str) -> list[Record]:
    """Read page by page: somebody may want to log in meanwhile."""
    newest = await database.run(_newest_record)
    found: list[Record] = []
    while True:
        after = found[-1].number if found else 0
        page = await database.run(partial(_select_records, after=after, newest=newest, first=first, last=last))
        found += page
        if len(page) < PAGE:
            return found


# What runs in the thread


def _touch(connection: sqlite3.Connection) -> None:
    """Do nothing: to be called at all, the database was opened and its tables were seen."""


def _use_journal(connection: sqlite3.Connection) -> None:
    """Have readers not wait for a writer, nor a writer for the disk."""
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute(f"PRAGMA busy_timeout={BUSY * 1000:.0f}")
        # not possible everywhere, e.g. in a folder that is read-only; all works without, only slower
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA busy_timeout={TRY * 1000:.0f}")
    # of what is committed, a power cut may take the last of, a crash of the process nothing
    connection.execute("PRAGMA synchronous=NORMAL")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _fetch(sql: str, *values: object) -> Callable[[sqlite3.Connection], list[Any]]:
    return lambda connection: connection.execute(sql, values).fetchall()


def _change(sql: str, *values: object) -> Callable[[sqlite3.Connection], bool]:
    """Return what runs one statement, and tells whether it changed something."""
    return lambda connection: connection.execute(sql, values).rowcount > 0


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def _accepted(table: str) -> tuple[tuple[str, ...], ...]:
    now = COLUMNS[table]
    if table != "connections":
        return (now,)
    return (now, (now[0], OLD_TIME_COLUMN, *now[2:]))


def _select_users(connection: sqlite3.Connection, condition: str, *values: str) -> list[User]:
    columns = "pid, username, CAST(key AS BLOB), CAST(salt AS BLOB), is_admin"
    rows = connection.execute(f"SELECT {columns} FROM auth_users {condition}", values)  # noqa: S608 - constants
    return [
        User(number=number, name=name, key=key, salt=salt, is_admin=bool(is_admin))
        for number, name, key, salt, is_admin in rows
    ]


def _insert_records(connection: sqlite3.Connection, queue: deque[_Note]) -> None:
    """Write all records, and take them out of the queue, also if nobody waits for it any more."""
    # by index: records are added to it meanwhile, which no iteration survives
    rows = _as_rows_to_write([queue[index] for index in range(len(queue))])
    with _transaction(connection):
        # by position: the second column has had two names
        connection.executemany("INSERT INTO connections VALUES (NULL, ?, ?, ?, ?, ?)", rows)
    for _ in rows:
        queue.popleft()


def _newest_record(connection: sqlite3.Connection) -> int:
    number: int
    (number,) = connection.execute("SELECT COALESCE(MAX(pid), 0) FROM connections").fetchone()
    return number


def _select_records(connection: sqlite3.Connection, *, after: int, newest: int, first: str, last: str) -> list[Record]:
    column = _columns(connection, "connections")[1]
    # before 1.0 the time had a space in the middle and fractions of a second
    when = f"substr(replace({column}, ' ', 'T'), 1, 19)"
    rows = connection.execute(
        f"SELECT pid, {when}, ip_address, domain, port, message FROM connections "  # noqa: S608 - of constants
        f"WHERE pid > ? AND pid <= ? AND {when} BETWEEN ? AND ? ORDER BY pid LIMIT {PAGE}",
        (after, newest, first, last),
    )
    return [_as_record(number, row) for number, *row in rows]


def _as_record(number: int, row: _Row) -> Record:
    text, ip_address, domain, port, message = row
    moment = _read_time(text)
    return Record(number=number, time=moment, ip_address=ip_address, domain=domain, port=port, message=message)


def _as_rows_to_write(notes: list[_Note]) -> list[_Row]:
    """Return what can be written: one record that cannot would hold up all that follow."""
    rows = []
    of_second: dict[int, str] = {}
    for moment, ip_address, domain, port, message in notes:
        when = moment if isinstance(moment, str) else of_second.get(int(moment))
        if when is None:  # local: the table of 1.0 has no room for a zone
            when = of_second[int(moment)] = strftime("%Y-%m-%dT%H:%M:%S", localtime(moment))  # type: ignore[arg-type]
        rows.append((when, _writable(ip_address), _writable(domain), port, _writable(message)))
    return rows


def _writable(text: str) -> str:
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode()


def _as_rows(records: Sequence[Record]) -> list[list[Any]]:
    return [[r.number, _format_time(r.time), r.ip_address, r.domain, r.port, r.message] for r in records]


def _format_time(moment: datetime) -> str:
    return moment.isoformat(sep="T", timespec="seconds")


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime(1, 1, 1)  # noqa: DTZ001 - as all of them; a damaged time does not hide the record


def _parse_time(name: str, text: object, of_day: time) -> datetime | None:
    """Return the moment that an administrator wrote; of a date alone, the first or the last of that day."""
    if text is None:
        return None
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?", text, re.ASCII):
        with contextlib.suppress(ValueError):  # e.g. the 31st of April
            moment = datetime.fromisoformat(text)
            return moment if "T" in text else datetime.combine(moment, of_day)
    raise ArgumentError(f"{name} must be 'yyyy-mm-dd' or 'yyyy-mm-ddTHH:MM:SS', found {text!r}")
