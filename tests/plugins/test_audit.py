from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msl_network_plugins import audit as module
from msl_network_plugins.audit import Audit

from msl_network import Config, ConfigError, Identity, Manager, Peer, Request, StartError, hookimpl, log_writer
from msl_network.errors import (
    AuthenticationError,
    AuthorizationError,
    BusyError,
    RequestError,
    ServiceLostError,
    UnknownAttributeError,
)
from msl_network.settings import build
from tests.laboratory import no_thread_left
from tests.wire_peer import client, config, service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.anyio


class FakePeer:
    """What the plugin reads of a peer."""

    def __init__(self, name: str = "C[pc7:5000]", username: str = "alice") -> None:
        self.network_name = name
        self.username = username
        self.roles = frozenset({"operator", "guest"})
        self.is_admin = False


def lines(path: Path) -> list[dict[str, Any]]:
    """The entries; that each has a time, and each call a duration, is looked at here."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for entry in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("time"))
        assert (entry.pop("seconds", -1) >= 0) is (entry["event"] == "call")
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def observed(path: Path, *steps: Callable[[Audit, Any], object], **settings: Any) -> list[dict[str, Any]]:
    """What is in the file after some steps; the peer is left out."""

    async def run() -> None:
        plugin = build(Audit, {"path": str(path), **settings})
        peer = FakePeer()
        await plugin.started()
        for step in steps:
            step(plugin, peer)
        await plugin.stopping()

    anyio.run(run)
    found = lines(path)
    assert {(entry.pop("peer"), entry.pop("user")) for entry in found} <= {("C[pc7:5000]", "alice")}
    return found


def ask(
    uid: object = "1", service: str = "DMM", attribute: str = "read", **payload: str
) -> Callable[[Audit, Any], None]:
    request = Request(service=service, attribute=attribute, uid=uid)
    for key, text in payload.items():
        setattr(request, key, module.msgspec.Raw(text.encode()))
    return lambda plugin, peer: plugin.requested(peer, request, True)


def answer(uid: object = "1", service: str = "DMM", line: bytes = b"{}") -> Callable[[Audit, Any], None]:
    return lambda plugin, peer: plugin.answered(peer, service, uid, line != b"{}", line)


def fail(error: RequestError, uid: object = "1", service: str = "DMM") -> Callable[[Audit, Any], None]:
    return lambda plugin, peer: plugin.failed(peer, service, uid, error)


CALL = {"event": "call", "service": "DMM", "attribute": "read"}
ADMIN = {"event": "call", "service": "Manager", "attribute": "users_table.insert"}
SECRET = {"args": '["alice", "hunter2"]', "kwargs": '{"password": "hunter2"}'}
ERROR = b'{"error": true, "message": "LookupError: no channel 7", "result": null, "traceback": [], "uid": "1"}\r\n'


# Calls


def test_a_result(path: Path) -> None:
    """Of a call it is kept who called what, and that it was answered; what was sent is not."""
    assert observed(path, ask(args="[1, 2]"), answer()) == [{**CALL, "outcome": "result"}]


@pytest.mark.parametrize("arguments", [False, True])
def test_an_error(path: Path, arguments: bool) -> None:
    """Of an error the class is kept; the text, which may repeat arguments, only if they are wanted."""
    (entry,) = observed(path, ask(), answer(line=ERROR), arguments=arguments)
    assert (entry["outcome"], entry["error"]) == ("error", "LookupError")
    assert entry.get("text") == ("no channel 7" if arguments else None)


async def test_reload(path: Path, tmp_path: Path) -> None:
    """Whether arguments are kept changes for the next calls; another file, and its size, need a restart."""

    def settings(**audit: object) -> Config:
        return Config.from_dict({"manager": {"plugins": ["audit"]}, "plugins": {"audit": audit}})

    async with Manager(settings(path=str(path)), listen=False) as manager:
        plugin = next(plugin for name, plugin in manager.hooks.plugins if name == "audit")
        assert isinstance(plugin, Audit)
        peer = FakePeer()
        for arguments in (True, False):
            assert await manager.reload(settings(path=str(path), arguments=arguments)) == []
            for step in (ask(args="[1]"), answer(line=ERROR)):
                step(plugin, peer)
        stays = await manager.reload(settings(path=str(tmp_path / "other"), max_size=5, backups=1, arguments=True))
        assert stays == ["[plugins.audit] path", "[plugins.audit] max_size", "[plugins.audit] backups"]
        for step in (ask(args="[2]"), answer()):
            step(plugin, peer)
    found = [(entry.get("args"), entry.get("text")) for entry in lines(path)]
    assert found == [([1], "no channel 7"), (None, None), ([2], None)]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\x93 another encoding", None),
        (b'{"message": 5}', None),
        (b'{"message": "something went wrong: hunter2"}', "something went wrong: hunter2"),
        (b'{"message": "' + b"x" * 5000 + b'"}', "x" * 1024),
    ],
)
def test_an_error_of_another_form(path: Path, line: bytes, text: str | None) -> None:
    """What says no class is an error all the same."""
    (entry,) = observed(path, ask(), answer(line=line), arguments=True)
    assert (entry["outcome"], entry["error"], entry.get("text")) == ("error", "", text)


@pytest.mark.parametrize(
    ("error", "service", "outcome", "told"),
    [
        (
            AuthorizationError("rule 2 denies it"),
            "DMM",
            "refused",
            {"error": "PermissionError", "text": "rule 2 denies it"},
        ),
        (BusyError("too many"), "DMM", "refused", {"error": "BlockingIOError", "text": "too many"}),
        (ServiceLostError("it left"), "DMM", "lost", {"error": "ConnectionAbortedError", "text": "it left"}),
        (AuthorizationError("rule 2"), "Manager", "refused", {"error": "PermissionError", "text": "rule 2"}),
        (AuthenticationError("no admin"), "Manager", "refused", {"error": "ValueError", "text": "no admin"}),
        (UnknownAttributeError("x hunter2"), "Manager", "error", {"error": "AttributeError"}),
        (RequestError("hunter2 is bad", wire_name="TypeError"), "Manager", "error", {"error": "TypeError"}),
    ],
)
def test_what_came_to_nothing(path: Path, error: RequestError, service: str, outcome: str, told: Any) -> None:
    """It is told apart whether somebody refused, the Service left, or a command of the Manager failed."""
    found = observed(path, ask(service=service), fail(error, service=service))
    assert found == [{**CALL, "service": service, "outcome": outcome, **told}]


def test_arguments(path: Path) -> None:
    """They are kept if that is asked for, up to a size."""
    steps = (ask(args='[1, {"a": null}]', kwargs='{"x": "y"}'), answer(), ask(args=f'["{"x" * 2000}"]'), answer())
    first, second = observed(path, *steps, arguments=True)
    assert (first["args"], first["kwargs"]) == ([1, {"a": None}], {"x": "y"})
    assert (second["args"], second["kwargs"]) == ("2004 bytes", {})


def test_arguments_that_are_odd(path: Path) -> None:
    """Those that are no plain JSON are kept as text, and those that are not all there not at all."""
    long = Request(service="DMM", attribute="read", uid="2")
    first, second = observed(
        path,
        ask(args="[NaN]", kwargs='{"x": "\\ud800"}'),
        answer(),
        lambda plugin, peer: plugin.requested(peer, long, False),
        answer("2"),
        arguments=True,
    )
    assert (first["args"], first["kwargs"]) == ("[NaN]", '{"x": "\\ud800"}')
    assert (second["args"], second["kwargs"]) == ("too long", "too long")


@pytest.mark.parametrize("arguments", [False, True])
def test_no_secret(path: Path, arguments: bool) -> None:
    """Arguments of requests to the Manager, and what its commands say to them, are never kept."""
    steps = [
        ask(service="Manager", attribute="users_table.insert", **SECRET),
        answer(service="Manager"),
        ask(service="Manager", attribute="users_table.insert", **SECRET),
        fail(RequestError("cannot use 'hunter2'"), service="Manager"),
    ]
    found = observed(path, *steps, arguments=arguments)
    assert found == [{**ADMIN, "outcome": "result"}, {**ADMIN, "outcome": "error", "error": "ValueError"}]
    assert "hunter2" not in path.read_text()


def test_calls_at_once(path: Path) -> None:
    """Each end is found its beginning by Service and uid; one uid may be used several times."""
    found = observed(
        path,
        ask("1", "DMM", "a"),
        ask("1", "Scale", "b"),
        ask("1", "DMM", "c"),
        ask(None, "DMM", "d"),
        answer("1", "Scale"),
        answer("1", "DMM"),
        answer(None, "DMM"),
        answer("1", "DMM"),
        answer("1", "DMM"),
        answer("other", "DMM"),
    )
    assert [entry["attribute"] for entry in found] == ["b", "a", "d", "c"]


def test_who_leaves(path: Path) -> None:
    """What a Client asked for and did not wait for is kept as that, and forgotten."""
    plugins: list[Audit] = []
    found = observed(
        path,
        ask("1"),
        ask("2", attribute="set"),
        lambda plugin, peer: plugin.peer_left(peer),
        answer("1"),
        lambda plugin, _: plugins.append(plugin),
    )
    assert [(entry["event"], entry.get("attribute"), entry.get("outcome")) for entry in found] == [
        ("call", "read", "abandoned"),
        ("call", "set", "abandoned"),
        ("left", None, None),
    ]
    assert not plugins[0]._calls


def test_peers(path: Path) -> None:
    """Coming, linking, locking and going are kept, too."""
    identity = Identity(type="client", name="C")
    found = observed(
        path,
        lambda plugin, peer: plugin.peer_refused(peer, "rejected: Unknown badge"),
        lambda plugin, peer: plugin.peer_joined(peer, identity),
        lambda plugin, peer: plugin.linked(peer, "DMM"),
        lambda plugin, peer: plugin.locked(peer, "DMM", True),
        lambda plugin, peer: plugin.unlocked(peer, "DMM"),
        lambda plugin, peer: plugin.unlinked(peer, "DMM"),
        lambda plugin, peer: plugin.peer_left(peer),
    )
    assert found == [
        {"event": "refused", "reason": "rejected: Unknown badge"},
        {"event": "joined", "type": "client", "roles": ["guest", "operator"], "administrator": False},
        {"event": "linked", "service": "DMM"},
        {"event": "locked", "service": "DMM", "shared": True},
        {"event": "unlocked", "service": "DMM"},
        {"event": "unlinked", "service": "DMM"},
        {"event": "left"},
    ]


# The file


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line is written at a time."""
    monkeypatch.setattr(log_writer, "CHUNK", 1)


def test_rotation(small: None, path: Path) -> None:
    """A file that is large enough becomes another one; so many are kept, with whole lines; all are private."""
    observed(
        path,
        *[step for uid in range(40) for step in (ask(uid, attribute=f"a{uid}"), answer(uid))],
        max_size=1000,
        backups=3,
    )
    files = [path, *(path.with_name(f"audit.jsonl.{number}") for number in (1, 2, 3))]
    assert sorted(path.parent.glob("audit*")) == sorted(files)
    kept = [entry["attribute"] for file in reversed(files) for entry in lines(file)]
    assert kept == [f"a{uid}" for uid in range(40 - len(kept), 40)]
    assert all(500 < file.stat().st_size <= 1000 for file in files[1:])
    if os.name != "nt":
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_rotation_without_backups(small: None, path: Path) -> None:
    """With none, the file begins anew."""
    observed(path, *[step for uid in range(40) for step in (ask(uid), answer(uid))], max_size=1000, backups=0)
    assert [file.name for file in path.parent.glob("audit*")] == ["audit.jsonl"]
    assert path.stat().st_size <= 1000


def test_it_goes_on_in_the_same_file(path: Path) -> None:
    """After a restart lines are added, and the size counts what was there."""
    observed(path, ask(), answer())
    observed(path, ask(), answer())
    assert len(lines(path)) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows moves no file that is open")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_moved(small: None, path: Path, replaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another program moves the file, or puts another one in its place, what follows is in the new one."""
    monkeypatch.setattr(log_writer, "FLUSH", 20.0)
    moved = path.with_name("moved")

    def move(plugin: Audit, peer: Any) -> None:
        assert plugin._writer is not None
        plugin._writer.flush()
        path.rename(moved)
        if replaced:
            path.touch()

    observed(path, ask(), answer(), move, ask(attribute="write"), answer(), ask(attribute="close"), answer())
    assert [[entry["attribute"] for entry in lines(file)] for file in (moved, path)] == [["read"], ["write", "close"]]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that takes nothing until the event is set."""
    goes = threading.Event()
    write = module._Files.write

    def wait(files: Any, data: bytes) -> int:
        assert goes.wait(10)
        taken: int = write(files, data)
        return taken

    monkeypatch.setattr(module._Files, "write", wait)
    yield goes
    goes.set()


def test_what_finds_no_room(stuck: threading.Event, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk takes nothing, nobody waits; what is left out is counted where it is missing."""
    monkeypatch.setattr(log_writer, "MAX_WAITING", 2000)

    async def run() -> None:
        plugin = Audit(path=str(path))
        peer: Any = FakePeer()
        await plugin.started()
        for uid in range(100):
            plugin.linked(peer, f"S{uid}")
        stuck.set()
        await plugin.stopping()

    anyio.run(run)
    entries = lines(path)
    written = [entry["service"] for entry in entries if entry["event"] == "linked"]
    assert written == [f"S{uid}" for uid in range(len(written))]
    (trouble,) = [entry["text"] for entry in entries if entry["event"] == "trouble"]
    assert trouble == f"{100 - len(written)} log records were left out: the audit file {str(path)!r} took no more"


def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is said in the Manager's log, when it begins and when it is over, and the lines are written then."""
    write, failures = module._Files.write, [OSError(28, "No space left on device")]
    monkeypatch.setattr(log_writer, "RETRY", 0.01)

    def full(files: Any, data: bytes) -> int:
        if failures:
            raise failures.pop()
        taken: int = write(files, data)
        return taken

    monkeypatch.setattr(module._Files, "write", full)

    async def run() -> None:
        plugin = Audit(path=str(path))
        await plugin.started()
        with caplog.at_level(logging.INFO, "msl_network"):
            peer: Any = FakePeer()
            plugin.linked(peer, "DMM")
            with anyio.fail_after(10):
                while len(caplog.messages) < 2:  # noqa: ASYNC110 - it happens in a thread
                    await anyio.sleep(0.001)
        await plugin.stopping()

    anyio.run(run)
    assert caplog.messages == [
        f"the log cannot be written to the audit file {str(path)!r}, trying again: No space left on device",
        f"the log goes on in the audit file {str(path)!r}",
    ]
    assert [entry["service"] for entry in lines(path)] == ["DMM"]


def test_a_file_that_cannot_be_opened(path: Path) -> None:
    """The Manager does not start without the log that it is to keep."""
    path.mkdir()
    with pytest.raises(StartError, match=r"^the audit file .*audit.jsonl cannot be opened: .*; correct path$"):
        observed(path)


class Reluctant:
    """Never starts."""

    @hookimpl
    async def started(self) -> None:
        raise StartError("not today")


def test_a_manager_that_does_not_start(path: Path) -> None:
    """It leaves no thread behind."""

    async def run() -> None:
        with pytest.raises(StartError, match="not today"):
            async with Manager(config(), plugins=[Audit(path=str(path)), Reluctant()]):
                raise AssertionError

    with no_thread_left():
        anyio.run(run)
    assert path.exists()


def test_settings() -> None:
    """A number of backups is not negative."""
    with pytest.raises(ConfigError, match="backups: found -1, allowed is 0 or more"):
        build(Audit, {"backups": -1})


# With a Manager


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


class Root:
    """Everybody is an administrator, of the name root."""

    @hookimpl
    async def authenticate(self, peer: Peer) -> None:
        peer.is_admin, peer.username = True, "root"


async def test_a_day_in_the_laboratory(transport: str, home: Path) -> None:
    """What peers do is in the file, in the Manager's folder by default, in the order in which it ended."""
    settings = config(transport, plugins=["audit"], plugin_settings={"audit": {"arguments": True}})
    async with Manager(settings, plugins=[Root()]) as manager:
        async with service(manager) as echo, client(manager) as user:
            await user.manager("link", "Echo")
            await user.call("Echo", "echo", "hi", uid="a")
            request = await echo.read()
            await echo.send(result="hi", requester=request["requester"], uid="a", error=False)
            await user.read()
            await user.manager("users_table.insert", "bob", "hunter2", False)
            await user.call("Echo", "echo", uid="b")
            await echo.read()
        port = manager.port
    assert port
    found = lines(home / "audit.jsonl")
    told = [
        tuple(entry.get(key, "") for key in ("event", "service", "attribute", "outcome"))
        for entry in found
        if entry.get("attribute") != "identity"
    ]
    assert told[:6] == [
        ("joined", "", "", ""),
        ("joined", "", "", ""),
        ("linked", "Echo", "", ""),
        ("call", "Manager", "link", "result"),
        ("call", "Echo", "echo", "result"),
        ("call", "Manager", "users_table.insert", "result"),
    ]
    # who leaves first, the Service or the Client, is left to chance
    assert ("call", "Echo", "echo", "lost") in told or ("call", "Echo", "echo", "abandoned") in told
    assert told.count(("left", "", "", "")) == 2
    assert {entry["user"] for entry in found} == {"root"}
    assert [entry["args"] for entry in found if "args" in entry] == [["hi"], []]
    assert "hunter2" not in (home / "audit.jsonl").read_text()


def test_it_is_installed() -> None:
    """`plugins = ["audit"]` enables it."""
    manager = Manager(Config.from_dict({"manager": {"plugins": ["audit"]}}))
    assert any(isinstance(plugin, Audit) for _, plugin in manager.hooks.plugins)
