"""A Manager in a process of its own: who may read its files, and what its log and its database tell.

Whatever is a secret here has "unsaid" in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from .interop.lab import Process
from .wire_peer import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

STRANGERS = """
from msl_network import Command, hookimpl

class Badge:
    @hookimpl
    async def authenticate(self, handshake):
        if int(await handshake.ask("password", "badge reader")) != 42:
            raise ValueError("another number")

class Clerk:
    @hookimpl
    def commands(self):
        return [Command(name="clerk.now", function=self.now), Command(name="clerk.later", function=self.later)]

    def now(self, peer, *words, **named):
        raise OSError(f"cannot do {words} {named}")

    async def later(self, peer, word):
        return {}[word].append(len(word))
"""
"""Plugins of somebody who did not think of what an exception says."""

SETTINGS = """
[manager]
host = "127.0.0.1"
port = 0
auth = ["password", "login", "badge"]
plugins = ["clerk"]
log_level = "DEBUG"
log_file = "manager.log"
tls.enabled = false
limits.prompt_timeout = "5 s"

[plugins]
password.password = { file = "password.txt" }
badge.use = "strangers:Badge"
clerk.use = "strangers:Clerk"
"""

COMMAND = [sys.executable, "-m", "msl_network"]

addresses = count(2)
"""The last number of an address of this computer, another one for each connection: nobody is slowed down."""


class Talker:
    """A connection, line by line."""

    def __init__(self, port: int) -> None:
        where = (f"127.0.0.{next(addresses)}", 0)
        self.sock = socket.create_connection(("127.0.0.1", port), DEADLINE, source_address=where)
        self._stream = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.sock.close()

    def read(self) -> Any:
        return json.loads(self._stream.readline())

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, **message: Any) -> Any:
        """Send a message, return what comes back."""
        self.write(json.dumps(message).encode() + b"\r\n")
        return self.read()

    def answer(self, *answers: object) -> Any:
        """Answer what is asked, one after the other; return what the Manager says then."""
        said = self.read()
        for answer in answers:
            assert not said["error"], said
            said = self.send(result=answer)
        return said

    def come_in(self, name: str) -> Self:
        """Get through the handshake as a Client."""
        said = self.answer("unsaid manager", name, f"unsaid {name}", "42")
        assert said["attribute"] == "identity"
        self.write(b"client\n")
        return self

    def ask(self, attribute: str, *args: object, **kwargs: object) -> Any:
        """Ask the Manager; return its reply, or its next question."""
        return self.send(service="Manager", attribute=attribute, args=args, kwargs=kwargs, uid="1")

    def eof(self) -> None:
        assert self._stream.read() == b""


def run(home: Path, *words: str) -> str:
    """Run a command to its end; return all that it wrote."""
    with closing(Process(words[0], [*COMMAND, *words], home=home, merge=True)) as process:
        assert process.wait() == 0, process.transcript
        return process.transcript


@contextmanager
def running(home: Path, *words: str, umask: str = "022") -> Iterator[tuple[Process, int]]:
    """Run a Manager; gives it and its port. It ends as it should."""
    command = ["sh", "-c", f'umask {umask}; exec "$@"', "sh", *COMMAND, "start", *words]
    with closing(Process("Manager", command, home=home, merge=True)) as process:
        found = re.search(r"running on .*:(\d+) ", process.read("Network Manager running on"))
        assert found is not None
        yield process, int(found[1])
        process.terminate()
        assert process.wait() == 0, process.transcript


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database with an administrator and a user."""
    folder = tmp_path_factory.mktemp("users")
    for name, options in ("ada", ["--admin"]), ("bob", []):
        assert "unsaid" not in run(folder, "user", "insert", name, "--password", "unsaid", name, *options)
    return folder / "manager.sqlite3"


@pytest.fixture
def folder(home: Path, users: Path) -> Path:
    """The files of a Manager that writes down all that it can."""
    home.mkdir()
    shutil.copy(users, home)
    (home / "strangers.py").write_text(STRANGERS)
    (home / "lab.toml").write_text(SETTINGS)
    (home / "password.txt").write_text("unsaid manager\n")
    return home


@contextmanager
def written_down(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Run a Manager; gives its port, and a list for what its log must have. No secret is in anything it wrote."""
    expected: list[str] = []
    with running(folder, "--config", "lab.toml") as (process, port):
        yield port, expected
    log = (folder / "manager.log").read_text(encoding="utf-8")
    for text in expected:
        assert text in log
    assert "unsaid" not in log
    assert "unsaid" not in process.transcript
    files = sorted(folder.glob("manager.sqlite3*"))
    assert files
    for file in files:
        assert b"unsaid" not in file.read_bytes()


def test_logins_leave_no_secret(folder: Path) -> None:
    """34. At level DEBUG neither log nor terminal nor database has a password, be it right, wrong or no text at all."""
    wrong = [["unsaid"], {"password": "unsaid"}, "unsaid " * 1000, "unsaid\0", "unsaid\x1b[2J\n", "unsaid \ud800", ""]
    with written_down(folder) as (port, log):
        with Talker(port) as peer:
            peer.come_in("ada")
            assert peer.ask("port")["result"] == port
        for answer in wrong:
            with Talker(port) as peer:
                assert peer.answer(answer)["message"] == "ValueError: Wrong Manager password"
                peer.eof()
            for answers in (answer,), ("ada", answer), ("unsaid nobody", answer):
                with Talker(port) as peer:
                    said = peer.answer("unsaid manager", *answers)
                    said = said if said["error"] else peer.send(result="unsaid guess")
                    assert said["message"] == "ValueError: Unregistered user or Wrong login password"
                    peer.eof()
        log += ["rejected: Wrong Manager password", "rejected: Unregistered user", "(user 'ada')"]


def test_what_is_no_answer_leaves_no_secret(folder: Path) -> None:
    """34. Nor is there anything of what is cut off, too long, no UTF-8 or said at another time than it is asked for."""
    with written_down(folder) as (port, log):
        with Talker(port) as peer:
            peer.read()
            peer.write(b'{"result": "unsaid')
        with Talker(port) as peer:
            peer.read()
            peer.write(b"unsaid\xff\n")
            assert "UTF-8" in peer.read()["message"]
        with Talker(port) as peer:
            peer.read()
            peer.write(b"unsaid" * 20_000)
            assert "may have 65536 bytes" in peer.read()["message"]
        with Talker(port) as peer:
            assert peer.answer("unsaid manager", "bob", "unsaid bob", "42", "unsaid bob")["error"]
        with Talker(port) as peer:
            peer.come_in("bob")
            assert peer.ask("port")["attribute"] == "username"
            assert "must be an administrator" in peer.read()["message"]  # the time for an answer is over
            peer.write(b'{"result": "unsaid late"}\n')
            for line in b"unsaid", b"unsaid late", b'{"unsaid": ', b'{"password": "unsaid"}', b"unsaid \xff":
                peer.write(line + b"\n")
                assert peer.read()["error"]
        log += ["no administrator: no answer", "that nobody asked for; dropped"]


def test_administrators_leave_no_secret(folder: Path) -> None:
    """34. Nor of an administrator's credentials, and of the arguments of his requests."""
    with written_down(folder) as (port, log):
        for name, word in ("ada", "unsaid guess"), ("bob", "unsaid bob"), ("ada", ["unsaid"]):
            with Talker(port) as peer:
                assert peer.come_in("bob").ask("port")["attribute"] == "username"
                assert peer.send(result=name)["attribute"] == "password"
                assert "must be an administrator" in peer.send(result=word)["message"]
        with Talker(port) as peer:
            assert peer.come_in("bob").ask("users_table.insert", "eve", "unsaid eve", False)["attribute"] == "username"
            assert peer.send(result="ada")["attribute"] == "password"
            assert peer.send(result="unsaid ada")["result"] is None
            assert peer.ask("users_table.update", "eve", password="unsaid new", is_admin=True)["result"] is None
            bad: list[tuple[list[Any], dict[str, Any]]] = [
                (["eve", "unsaid again", True], {}),
                (["joe", ["unsaid"], True], {}),
                (["joe", "unsaid", "unsaid"], {}),
                (["joe", "unsaid\0", True], {}),
                (["joe", "unsaid " * 1000, True], {}),
                (["joe:5", "unsaid", True], {}),
                (["unsaid"], {}),
                (["joe", "unsaid", True, "unsaid"], {}),
                (["joe", "unsaid", True], {"unsaid": "unsaid"}),
            ]
            for args, kwargs in bad:
                assert peer.ask("users_table.insert", *args, **kwargs)["error"]
            assert peer.ask("users_table.update", "eve", password={"unsaid": 1})["error"]
            assert peer.ask("users_table.update", "eve", "unsaid")["error"]
            assert peer.ask("users_table.unsaid", "unsaid")["error"]
            assert peer.ask("set_logging_level", "unsaid")["result"] is False
            assert peer.ask("set_logging_level", "DEBUG")["result"] is True
            peer.write(b"Manager users_table.update eve password='unsaid typed'\n")
            assert not peer.read()["error"]
            peer.write(b'{"service": "Manager", "attribute": "users_table.insert", "args": ["joe", "unsaid", tru\n')
            assert peer.read()["error"]
            assert "failed; the Manager's log" in peer.ask("clerk.now", "unsaid", word="unsaid")["message"]
            assert peer.ask("clerk.later", "unsaid")["message"].startswith("KeyError")
        log += [
            "sent the administrator request 'users_table.insert'",
            "is no administrator: it logged in as somebody who is none",
            "added the user 'eve'",
            "is an administrator from now on, as 'ada'",
            "the command 'clerk.now' failed",
            "OSError; its text is left out",
        ]


def test_failures_leave_no_secret(folder: Path) -> None:
    """34. Nor when the store fails in the middle, or a stranger's plugin at an answer: the log has class and place."""
    with written_down(folder) as (port, log), Talker(port) as admin:
        admin.come_in("ada")
        assert admin.ask("port")["result"] == port
        with Talker(port) as peer:
            said = peer.answer("unsaid manager", "ada", "unsaid ada", "unsaid badge")
            assert said["message"].endswith("the plugin 'badge' failed; the Manager's log has the details")
        with closing(sqlite3.connect(folder / "manager.sqlite3")) as database:
            database.execute("DROP TABLE auth_users")
        with Talker(port) as peer:
            said = peer.answer("unsaid manager", "ada", "unsaid ada")
            assert said["message"].endswith("the plugin 'login' failed; the Manager's log has the details")
        assert admin.ask("users_table.insert", "eve", "unsaid eve", False)["message"].startswith("OSError")
        log += [
            "plugin 'badge' failed in 'authenticate', it refuses",
            "ValueError; its text is left out",
            'if int(await handshake.ask("password", "badge reader")) != 42',
            "no such table: auth_users",
        ]


def test_secrets_of_the_settings(folder: Path) -> None:
    """34. Secrets of the settings are in no listing and in no error."""
    assert "unsaid" not in run(folder, "config", "show", "--config", "lab.toml")
    assert "unsaid" not in run(folder, "config", "check", "lab.toml")
    for mistake in "['unsaid']", "{ unsaid = 'unsaid' }", "{ file = 'password.txt', env = 'unsaid' }":
        (folder / "lab.toml").write_text(SETTINGS.replace('{ file = "password.txt" }', mistake))
        with closing(Process("check", [*COMMAND, "config", "check", "lab.toml"], home=folder, merge=True)) as process:
            assert process.wait() != 0
            assert "[plugins.password] password: " in process.transcript
            assert "unsaid" not in process.transcript


def test_peers_write_no_line_of_the_log(folder: Path) -> None:
    """34. Control characters in what a peer sends start no line of the log, and tell a terminal nothing."""
    evil = "x\r\n2026-01-01 00:00:00,000 [INFO ] msl_network - forged\x1b[2J\x07\x9b\u2028\u202e\0"
    identities: list[Any] = [
        {"type": "client", "name": evil},
        {"type": evil, "name": "C"},
        {"type": "service", "name": evil, "attributes": {}},
        {"type": "service", "name": "S", "attributes": {}, "max_clients": evil},
        {"type": "service", "name": "S", "attributes": {}, "max_clients": {evil: evil}},
        {evil: evil},
        evil,
    ]
    with written_down(folder) as (port, _):
        for identity in identities:
            with Talker(port) as peer:
                assert peer.answer("unsaid manager", "ada", "unsaid ada", "42", identity)["error"]
        with Talker(port) as service, Talker(port) as peer:
            service.answer("unsaid manager", "bob", "unsaid bob", "42")
            about = {"name": "S", "attributes": {evil: evil}, "language": evil, "os": evil}
            service.write(json.dumps({"result": {"type": "service", **about}}).encode() + b"\n")
            assert service.send(service="S", attribute=evil)["error"]
            assert peer.come_in("ada").ask("link", "S")["result"]["language"] == evil
            assert peer.ask(evil)["error"]
            assert peer.ask("link", evil)["error"]
            assert peer.ask("users_table.insert", evil, "unsaid", True)["error"]
            assert peer.ask("users_table.delete", evil)["error"]
            assert peer.ask("hostnames_table.insert", evil)["error"]
            assert peer.ask("set_logging_level", evil)["result"] is False
            assert peer.send(service=evil, attribute=evil, uid=evil, requester=evil)["uid"] == evil
            notification = {"service": evil, "result": [[], {}], "uid": "notification", "error": False}
            for message in notification, {"requester": evil, "result": evil, "uid": evil, "error": False}:
                service.write(json.dumps(message).encode() + b"\n")
            assert service.send()["error"]
    lines = (folder / "manager.log").read_bytes().decode().split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert line.isprintable()
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\w+ *\] msl_network|    \| ", line)
    assert not [line for line in lines if line.endswith("- forged")]
    assert any(r"\x1b[2J" in line for line in lines)


def modes(home: Path) -> dict[str, str]:
    """Return who may do what with each file and folder, by its path from the home."""
    return {str(path.relative_to(home)): oct(stat.S_IMODE(path.lstat().st_mode)) for path in home.rglob("*")}


def entry(home: Path) -> str:
    """Wait for the file by which ``msl-network reload`` finds the Manager; return its path from the home."""
    until = time.monotonic() + DEADLINE
    while not (found := list((home / "run").glob("*.json"))):
        assert time.monotonic() < until, "it has written no file"
    return str(found[0].relative_to(home))


def test_files_are_their_owners(home: Path) -> None:
    """33. Under umask 000, too, key, database and log are 0600, and all folders 0700; a certificate is public."""
    home.mkdir()
    private = {"keys/localhost.key", "manager.sqlite3", "manager.sqlite3-wal", "manager.sqlite3-shm"}
    with running(home, "--port", "0", umask="000") as (_, port), socket.create_connection(("127.0.0.1", port)):
        (log,) = (home / "logs").iterdir()
        expected = dict.fromkeys({*private, f"logs/{log.name}", entry(home)}, "0o600")
        expected |= dict.fromkeys(["keys", "certs", "logs", "run"], "0o700")
        assert modes(home) == {**expected, "certs/localhost.crt": "0o644"}


def test_files_in_chosen_places_are_their_owners(home: Path) -> None:
    """33. So it is where a person chose the places."""
    home.mkdir()
    words = ["--database", "a/b/lab.db", "--log-file", "my.log", "--port", "0", "--disable-tls"]
    with running(home, *words, umask="000") as (_, port), socket.create_connection(("127.0.0.1", port)):
        private = ["a/b/lab.db", "a/b/lab.db-wal", "a/b/lab.db-shm", "my.log", entry(home)]
        assert modes(home) == {**dict.fromkeys(private, "0o600"), **dict.fromkeys(["a", "a/b", "run"], "0o700")}


def test_files_of_commands_are_their_owners(tmp_path: Path) -> None:
    """33. So it is for what commands make."""
    home = tmp_path / "deep" / "home"
    command = ["sh", "-c", 'umask 000; "$@" user insert ada -p unsaid && "$@" keygen && "$@" certgen', "sh", *COMMAND]
    environment = {**os.environ, "MSL_NETWORK_HOME": str(home)}
    said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert "unsaid" not in said.stdout + said.stderr
    assert modes(tmp_path) == {
        "deep": "0o700",
        "deep/home": "0o700",
        "deep/home/manager.sqlite3": "0o600",
        "deep/home/keys": "0o700",
        "deep/home/keys/localhost.key": "0o600",
        "deep/home/certs": "0o700",
        "deep/home/certs/localhost.crt": "0o644",
    }
