"""Keeps a log of who called what on which Service, when, how it ended and how long it took: a file of JSON lines.

    [manager]
    plugins = ["audit"]

    {"time":"2026-11-26T04:17:15.012+00:00","event":"call","peer":"Client[pc7:50123]","user":"alice","service":"DMM",
     "attribute":"read","outcome":"result","seconds":0.00123}                                   (one line of it)

Rule of this file: what is said to the Manager itself may be a password, so of that no argument and no text of a command
is kept, whatever the settings are. The event loop makes a line and puts it into a bounded queue, and a thread writes.
What finds no room is counted, and the number stands in the file where the lines are missing.

It must not know what a request means, or any other plugin.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec
from anyio import to_thread

from msl_network import AuthorizationError, File, Size, StartError, hookimpl, paths
from msl_network.errors import AuthenticationError, ServiceLostError
from msl_network.log_writer import LogFile, LogWriter, Sink
from msl_network.messages import MANAGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_network import Identity, Observer, Peer, Request, RequestError

__all__ = ["Audit"]

logger = logging.getLogger("msl_network.audit")

MEBI: Final = 2**20
MAX_ARGUMENTS: Final = 1024
"""How much of the arguments of a call is kept, in bytes: 65 536 calls of a Client may be open at a time."""

MAX_TEXT: Final = 1024
"""How much of the text of an error is kept, in characters."""


@dataclass(eq=False)
class Audit:
    """Writes a line for each request, and for each peer that comes, links, locks and goes.

    Args:
        path: The file; if empty, ``audit.jsonl`` in the Manager's folder.
        max_size: How large the file becomes before the next one begins, in bytes.
        backups: How many files before it are kept, ``audit.jsonl.1`` is the latest.
        arguments: Whether to keep the arguments of calls, and the texts of errors, which may repeat them.
    """

    path: File = ""
    max_size: Size = 64 * MEBI
    backups: int = 10
    arguments: bool = False

    def __post_init__(self) -> None:
        if self.backups < 0:
            raise ValueError(f"backups: found {self.backups}, allowed is 0 or more")
        self._writer: LogWriter | None = None
        self._calls: dict[Peer, dict[tuple[str, object], list[_Call]]] = {}

    @hookimpl
    async def started(self) -> None:
        """Open the file.

        Raises:
            StartError: If that is not possible.
        """
        path = Path(self.path) if self.path else paths.home() / "audit.jsonl"
        self._writer = await to_thread.run_sync(_open, path, self.max_size, self.backups)

    @hookimpl
    async def reload(self, settings: Audit) -> Callable[[], None]:
        """Keep arguments from now on, or no longer; another file needs a restart."""

        def change() -> None:
            self.arguments = settings.arguments

        return change

    @hookimpl
    async def stopping(self) -> None:
        """Write what is in the queue."""
        if self._writer is not None:
            await to_thread.run_sync(self._writer.close, abandon_on_cancel=True)

    @hookimpl
    def make_observer(self) -> Observer:
        """Observe requests."""
        return self

    # Requests

    def requested(self, peer: Peer, request: Request, is_complete: bool) -> None:
        """Remember when a request began."""
        call = _Call(request.service, request.attribute)
        if self.arguments and request.service != MANAGER:
            call.facts["args"] = _arguments(request.args, is_complete)
            call.facts["kwargs"] = _arguments(request.kwargs, is_complete)
        self._calls.setdefault(peer, {}).setdefault((request.service, request.uid), []).append(call)

    def answered(self, peer: Peer, service: str, uid: object, is_error: bool, line: bytes) -> None:
        """Write that a request was answered."""
        call = self._end(peer, service, uid)
        if call is not None and is_error:
            self._write_call(peer, call, "error", **_split(_message(line), is_whole=self.arguments))
        elif call is not None:
            self._write_call(peer, call, "result")

    def failed(self, peer: Peer, service: str, uid: object, error: RequestError) -> None:
        """Write that a request came to nothing."""
        call = self._end(peer, service, uid)
        if call is None:
            return
        if isinstance(error, ServiceLostError):
            outcome = "lost"
        elif service == MANAGER and not isinstance(error, (AuthorizationError, AuthenticationError)):
            outcome = "error"  # of a command
        else:
            outcome = "refused"
        # a command may repeat its arguments in what it raises; what a rule refuses is told in words of its own
        told = error.wire_text() if outcome != "error" else f"{error.wire_name}: "
        self._write_call(peer, call, outcome, **_split(told, is_whole=True))

    def _end(self, peer: Peer, service: str, uid: object) -> _Call | None:
        calls = self._calls.get(peer, {})
        found = calls.get((service, uid))
        if not found:
            return None
        call = found.pop(0)
        if not found:
            del calls[service, uid]
        return call

    def _write_call(self, peer: Peer, call: _Call, outcome: str, **facts: object) -> None:
        seconds = round(monotonic() - call.began, 6)
        self._write("call", peer, call.time, **call.facts, outcome=outcome, seconds=seconds, **facts)

    # Peers

    @hookimpl
    def peer_refused(self, peer: Peer, reason: str) -> None:
        """Write that somebody was not let in."""
        self._write("refused", peer, reason=reason[:MAX_TEXT])

    @hookimpl
    def peer_joined(self, peer: Peer, identity: Identity) -> None:
        """Write that a peer came."""
        self._write("joined", peer, type=identity.type, roles=sorted(peer.roles), administrator=peer.is_admin)

    @hookimpl
    def peer_left(self, peer: Peer) -> None:
        """Write that a peer left, and that nobody waits for its calls any more."""
        for calls in self._calls.pop(peer, {}).values():
            for call in calls:
                self._write_call(peer, call, "abandoned")
        self._write("left", peer)

    @hookimpl
    def linked(self, peer: Peer, service: str) -> None:
        """Write that a Client linked with a Service."""
        self._write("linked", peer, service=service)

    @hookimpl
    def unlinked(self, peer: Peer, service: str) -> None:
        """Write that a link ended."""
        self._write("unlinked", peer, service=service)

    @hookimpl
    def locked(self, peer: Peer, service: str, shared: bool) -> None:
        """Write that a Client locked a Service."""
        self._write("locked", peer, service=service, shared=shared)

    @hookimpl
    def unlocked(self, peer: Peer, service: str) -> None:
        """Write that a lock ended."""
        self._write("unlocked", peer, service=service)

    def _write(self, event: str, peer: Peer, time: datetime | None = None, **facts: object) -> None:
        if self._writer is None:
            return
        entry = {
            "time": _shown(time or _now()),
            "event": event,
            "peer": peer.network_name,
            "user": peer.username,
            **facts,
        }
        self._writer.emit(logging.LogRecord(logger.name, logging.INFO, "", 0, entry, None, None))


class _Call:
    """A request that has not ended."""

    __slots__ = ("began", "facts", "time")

    def __init__(self, service: str, attribute: str) -> None:
        self.time = _now()
        self.began = monotonic()
        self.facts: dict[str, object] = {"service": service, "attribute": attribute}


class _Failure(msgspec.Struct):
    """What is read of an error that a Service sent."""

    message: str = ""


class _Line(logging.Formatter):
    """Makes a line of JSON of an entry, and of what the writer itself has to say."""

    def format(self, record: logging.LogRecord) -> str:
        entry: object = record.msg
        if not isinstance(entry, dict):
            entry = {"time": _shown(_now()), "event": "trouble", "text": record.getMessage()}
        return msgspec.json.encode(entry).decode()


class _Files(LogFile):
    """A file that becomes another one when it is large enough.

    Args:
        path: The file.
        max_size: How large, in bytes.
        backups: How many are kept beside it.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path, max_size: int, backups: int) -> None:
        super().__init__(path)
        self._max_size = max_size
        self._backups = backups

    def begin(self, size: int) -> None:
        """Begin another file if this one is full, or not there any more."""
        super().begin(size)
        if self.size and self.size + size > self._max_size:
            self._rotate()

    def _rotate(self) -> None:
        self.close()
        for number in range(self._backups, 0, -1):
            older = self._backup(number - 1)
            if older.exists():
                older.replace(self._backup(number))
        if not self._backups:
            self.path.unlink()
        self.reopen()

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


class _ToLog(logging.Handler):
    """Tells the Manager's log of trouble with the file."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.handle(record)


def _open(path: Path, max_size: int, backups: int) -> LogWriter:
    paths.make_private_folder(path.parent)
    try:
        files = _Files(path, max_size, backups)
    except OSError as error:
        raise StartError(f"the audit file {path} cannot be opened: {error.strerror}; correct path") from error
    writer = LogWriter(Sink(f"the audit file {str(path)!r}", files.write, files.close), _Line())
    writer.others = [_ToLog()]
    return writer


def _arguments(raw: msgspec.Raw, is_complete: bool) -> object:
    size = memoryview(raw).nbytes
    if not is_complete:
        return "too long"
    if size > MAX_ARGUMENTS:
        return f"{size} bytes"
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:  # NaN, or another encoding
        return bytes(raw).decode(errors="backslashreplace")


def _message(line: bytes) -> str:
    """Return the message of an error; nothing if it is in an encoding that is not JSON."""
    try:
        return msgspec.json.decode(line, type=_Failure).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _split(message: str, *, is_whole: bool) -> dict[str, str]:
    """Return the class of an error and, if wanted, its text."""
    name, colon, text = message.partition(": ")
    if not colon or not name.isidentifier():
        name, text = "", message
    return {"error": name} | ({"text": text[:MAX_TEXT]} if is_whole and text else {})


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
