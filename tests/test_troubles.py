"""What becomes of a Manager whose database has trouble, or that is killed. Each test runs a real process."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from .laboratory import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

REFUSED = "ValueError: refused, because the plugin 'login' failed; the Manager's log has the details"


class Talker:
    """A peer that logs in.

    Raises:
        PermissionError: If it is refused.
    """

    def __init__(self, port: int, name: str = "C", kind: str = "client") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._stream = self.sock.makefile("rw", newline="\n")
        try:
            for answer in ("ada", "lovelace"):
                self.read()
                self.send(result=answer)
            self.read()
            self.send(result={"type": kind, "name": name, "attributes": {}})
            if kind == "client":
                self.ask("identity")
        except BaseException:
            self.close()
            raise

    def read(self) -> Any:
        message = json.loads(self._stream.readline())
        if message["error"]:
            raise PermissionError(message["message"])
        return message

    def send(self, **message: Any) -> None:
        self._stream.write(json.dumps({"error": False, **message}) + "\r\n")
        self._stream.flush()

    def ask(self, attribute: str, *args: Any, service: str = "Manager") -> Any:
        self.send(service=service, attribute=attribute, args=args, kwargs={}, uid="1")
        return self.read()["result"]

    def serve(self) -> None:
        """Answer requests, until the end."""
        with suppress(OSError, ValueError):
            for line in self._stream:
                request = json.loads(line)
                self.send(result=request["args"], requester=request["requester"], uid=request["uid"])

    def close(self) -> None:
        self._stream.close()
        self.sock.close()


class Lab:
    """A Manager in a process of its own, with one user.

    Args:
        folder: Where its database and its log are.
        file_size: The largest file that it may write, in bytes, as if the disk were full.
    """

    def __init__(self, folder: Path, *, port: int = 0, file_size: int = resource.RLIM_INFINITY) -> None:
        self.database = folder / "x.sqlite3"
        self.log = folder / "x.log"
        if not self.database.exists():
            add = [sys.executable, "-m", "msl_network", "user", "add", "ada", "-p", "lovelace", "-a"]
            subprocess.run([*add, "-d", str(self.database)], check=True, capture_output=True)
        flags = ["-d", str(self.database), "-l", str(self.log), "-H", "127.0.0.1", "-p", str(port), "--disable-tls"]
        command = [sys.executable, "-m", "msl_network", "start", "--auth-login", "--without", "hostname", *flags]
        # what measures coverage writes files, too
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        self.port = int(self.logged(r"Network Manager running on \S+:(\d+)")[1])

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def logged(self, text: str) -> re.Match[str]:
        """Wait until something was logged."""

        def find() -> re.Match[str] | None:
            return next(filter(None, (re.search(text, line) for line in self.lines)), None)

        with self._news:
            found = self._news.wait_for(find, 2 * DEADLINE)
            assert found is not None, self.lines[-20:]
            return found

    def troubles(self) -> list[str]:
        """What was logged that is no routine, without the time."""
        return [line[24:] for line in self.lines if "[INFO ]" not in line]

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def connect_often(self, count: int) -> None:
        for _ in range(count):
            socket.create_connection(("127.0.0.1", self.port)).close()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(2 * DEADLINE) == 0
        self._thread.join()


@contextmanager
def calling(lab: Lab) -> Iterator[Talker]:
    """A Client that calls a Service all the time meanwhile; no call fails, or takes long."""
    stop = threading.Event()
    longest = [0.0]
    with closing(Talker(lab.port, "Echo", "service")) as service, closing(Talker(lab.port)) as user:
        threading.Thread(target=service.serve, daemon=True).start()
        user.ask("link", "Echo")
        with closing(Talker(lab.port, "Other")) as other:
            other.ask("link", "Echo")

            def call() -> None:
                while not stop.is_set():
                    start = time.monotonic()
                    assert other.ask("echo", 1, service="Echo") == [1]
                    longest[0] = max(longest[0], time.monotonic() - start)

            thread = threading.Thread(target=call)
            thread.start()
            try:
                yield user
            finally:
                stop.set()
                thread.join()
    assert 0 < longest[0] < 1


def test_locked_database(tmp_path: Path) -> None:
    """21. While another program has locked the database, calls go on, logins are refused, and records wait.

    The lock is of the kind that not even reading is possible: that of a database without a write-ahead log.
    """
    path = tmp_path / "x.sqlite3"
    with without_journal(path, tmp_path) as lab:
        with calling(lab) as user:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                for _ in range(2):
                    with pytest.raises(PermissionError, match=re.escape(REFUSED)):
                        Talker(lab.port)
                lab.logged("records cannot be written")
                with pytest.raises(PermissionError, match=r"OSError: .* locked"):
                    user.ask("users_table.usernames")
            lab.logged("written again, 0 were dropped")
            Talker(lab.port).close()
            assert user.ask("users_table.usernames") == ["ada"]
        lab.stop()
        locked = f"the database {path}: database is locked; another program holds it; close that program or try again"
        assert sorted(lab.troubles()) == [
            f"[ERROR] msl_network - plugin 'login' failed in 'authenticate', it refuses: {locked}",
            f"[ERROR] msl_network - users_table.usernames: {locked}",
            f"[ERROR] msl_network.sqlite - connection records cannot be written, trying again: {locked}",
            "[WARNING] msl_network.sqlite - connection records are written again, 0 were dropped",
        ]
        assert lab.query("SELECT COUNT(*) FROM connections WHERE message LIKE 'rejected: %'") == [(2,)]


@contextmanager
def without_journal(path: Path, folder: Path) -> Iterator[Lab]:
    """A Manager whose database has no write-ahead log, because another program reads it when the Manager starts."""
    with Lab(folder) as lab:
        lab.stop()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        assert reader.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM auth_users").fetchall()
        with Lab(folder) as lab:
            reader.execute("COMMIT")
            yield lab


def test_full_disk(tmp_path: Path) -> None:
    """21. On a full disk calls and logins go on, what cannot be written waits, and is written when there is room again.

    Neither the database nor the log can grow any more; the terminal is told of both, once.
    """
    with Lab(tmp_path, file_size=100_000) as lab, calling(lab):
        lab.connect_often(1000)
        lab.logged("records cannot be written")
        lab.logged("the log cannot be written to the log file '.*', trying again: File too large")
        Talker(lab.port).close()
        resource.prlimit(lab.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        lab.logged("records are written again, 0 were dropped")
        lab.logged("the log goes on in the log file")
        troubles = lab.troubles()
    assert len(troubles) == 4, troubles
    log = lab.log.read_text()
    assert (log.count("connection closed before"), log.count("is connected as a ")) == (1000, 4)
    assert lab.query("PRAGMA integrity_check") == [("ok",)]


def test_killed(tmp_path: Path) -> None:
    """28. SIGKILL in a burst of connections: no record that anybody was shown is lost, and the port is free at once."""
    with Lab(tmp_path) as lab:
        thread = threading.Thread(target=connect_until_killed, args=[lab])
        with closing(Talker(lab.port)) as boss, closing(Talker(lab.port, "Idle")):
            thread.start()
            shown: list[Any] = []
            while len(shown) < 100:
                shown = boss.ask("connections_table.connections")
            lab.process.send_signal(signal.SIGKILL)
            lab.process.wait()
            thread.join()
        with Lab(tmp_path, port=lab.port) as again, closing(Talker(again.port)):
            assert again.port == lab.port
            assert again.query("PRAGMA integrity_check") == [("ok",)]
            rows = again.query("SELECT * FROM connections ORDER BY pid")
            assert [list(row) for row in rows[: len(shown)]] == shown
            again.stop()


def connect_until_killed(lab: Lab) -> None:
    with suppress(OSError):
        while lab.process.poll() is None:
            with closing(socket.create_connection(("127.0.0.1", lab.port), timeout=DEADLINE)) as sock:
                sock.recv(1)  # one after the other: this is no flood
