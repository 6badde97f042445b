"""How somebody on the same computer has a Manager that runs as a program reload its settings: SIGHUP.

    msl-network reload   finds run/*.json   --SIGHUP-->   the Manager reloads, and writes into its file how that went
                         reads the file    <-- polls --

Such a file says who runs, and is locked as long as that process lives: one that can be locked is left over.

Rule of this file: it says that a reload worked only if one that began after it was asked for has. A signal is sent only
to a process that holds the lock, never to whoever has its number by now. It must not know what a reload does.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from anyio import to_thread

from . import paths
from .errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from .manager import Manager

__all__ = ["HangUp", "ask_to_reload"]

logger = logging.getLogger("msl_network")

PATIENCE: Final = 30.0
"""How long it is waited for a Manager to have reloaded, in seconds: a name server or a disk may be slow."""

POLL: Final = 0.02
"""How often its file is looked at meanwhile, in seconds."""

READS: Final = 50
"""How often it is read until it is what a Manager wrote."""

_NOT_FOUND: Final = "'msl-network reload' will not find this Manager, send SIGHUP to its process instead: %s"

NO_SIGNAL: Final = (
    "on Windows there is no signal that means to reload; send the administrator request instead: "
    'connect(...).admin_request("reload")'
)


class HangUp:
    """Has a Manager reload its settings on SIGHUP while the ``with`` block lasts; where there is such a signal.

    If it comes because the terminal is closed that the program was started in, the Manager stops, as ever; unless the
    signal was ignored before, as nohup has it.

    Args:
        manager: The Manager.
        is_program: Whether the process is there for the Manager alone. Then the signal is ignored when the Manager has
            stopped, so that it does not change how the process ends.
    """

    def __init__(self, manager: Manager, *, is_program: bool) -> None:
        self._manager = manager
        self._is_program = is_program
        self._before: Any = None
        self._has_terminal = False
        # the only kind of queue that a signal may interrupt and use
        self._signals: SimpleQueue[bool] = SimpleQueue()
        self._asked = anyio.Event()

    def __enter__(self) -> Self:
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGHUP, self._note)
            self._has_terminal = self._before is not signal.SIG_IGN and _has_terminal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._signals.put(False)
        if sys.platform != "win32" and self._before is not None:
            is_ending = self._is_program and self._manager.is_stopping
            signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ending else self._before)

    async def watch(self) -> None:
        """Have the Manager, which serves, reload whenever the signal comes."""
        if self._before is None:
            return
        loop = anyio.lowlevel.current_token()
        with _entry(_facts(self._manager)) as entry:
            threading.Thread(target=self._wait, args=[loop], name="hang up", daemon=True).start()
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                if self._has_terminal and not _has_terminal() and not entry.is_asked:
                    logger.info("stopping, because the terminal is closed")
                    self._manager.stop()
                    return
                await to_thread.run_sync(entry.begin)
                await to_thread.run_sync(entry.end, await self._reload())

    async def _reload(self) -> dict[str, Any]:
        logger.info("reloading the settings, because of SIGHUP")
        try:
            return {"stays": await self._manager.reload(), "error": ""}
        except StartError as error:  # it is in the log already
            return {"error": str(error)}
        except Exception as error:  # a mistake in this package; it must not end the Manager
            logger.exception("reloading the settings failed")
            return {"error": f"{type(error).__name__}: {error}"}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as Python calls it
        self._signals.put(True)

    def _wait(self, loop: anyio.lowlevel.EventLoopToken) -> None:
        from anyio import from_thread  # noqa: PLC0415 - only in time for the first signal, not for the start

        with suppress(anyio.RunFinishedError):
            while self._signals.get():
                from_thread.run_sync(self._ask, token=loop)

    def _ask(self) -> None:
        self._asked.set()


def ask_to_reload(source: str = "") -> tuple[str, list[str]]:
    """Have the Manager of this user reload its settings, and wait until it has.

    Args:
        source: Its TOML file, to tell it from others; not needed if there is one only.

    Returns:
        The name of the Manager, and the settings that differ but need a restart.

    Raises:
        StartError: If no such Manager runs, or more than one, or it did not reload; the text says why.
    """
    if sys.platform == "win32":
        raise StartError(NO_SIGNAL)
    running = [entry for entry in map(_read, sorted(paths.running().glob("*.json"))) if entry is not None]
    wanted = str(Path(source).resolve()) if source else ""
    found = [entry for entry in running if not wanted or entry["source"] == wanted]
    if not found:
        others = f"; there are: {_listed(running)}" if running else ""
        which = f"with the settings {source!r} " if source else ""
        raise StartError(f"no Manager {which}runs here as a program of this user ({paths.running()}){others}")
    if len(found) > 1:
        raise StartError(
            f"several Managers run: {_listed(found)}; say which with --config, or send SIGHUP to its process"
        )
    entry = found[0]
    try:
        _mark(entry["path"]).touch(mode=0o600)
        os.kill(entry["pid"], signal.SIGHUP)
    except OSError as error:
        raise StartError(f"{entry['name']}, process {entry['pid']}: cannot send SIGHUP: {error.strerror}") from None
    return entry["name"], _outcome(entry)


def _outcome(asked: dict[str, Any]) -> list[str]:
    """Wait for a reload that began after the file of a Manager was read."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        entry = _read(asked["path"])
        if entry is None:
            raise StartError(f"{asked['name']} has ended meanwhile; its log says why")
        if entry["ended"] > asked["begun"]:
            if entry["error"]:
                raise StartError(f"{entry['name']} keeps its settings: {entry['error']}")
            return list(entry["stays"])
        time.sleep(POLL)
    raise StartError(f"{asked['name']} has not reloaded within {PATIENCE:g} s; its log may say why")


def _listed(entries: list[dict[str, Any]]) -> str:
    return ", ".join(f"{entry['name']} ({entry['source'] or 'no file'}, process {entry['pid']})" for entry in entries)


def _facts(manager: Manager) -> dict[str, Any]:
    source = manager.config.source
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "name": manager.network_name,
        "source": str(Path(source).resolve()) if source else "",
    }


class _Entry:
    """The file of a Manager that runs; where none can be had, nothing is written.

    Args:
        descriptor: The file, if there is one.
        path: Its path.
        facts: Who runs.
    """

    def __init__(self, descriptor: int | None, path: Path | None, facts: dict[str, Any]) -> None:
        self._descriptor = descriptor
        self._path = path
        self._facts = {**facts, "begun": 0, "ended": 0, "error": "", "stays": []}

    @property
    def is_asked(self) -> bool:
        """Whether somebody said that a signal means to reload, whatever has become of the terminal."""
        return self._path is not None and _mark(self._path).exists()

    def begin(self) -> None:
        """Note that a reload begins."""
        if self._path is not None:
            with suppress(OSError):
                _mark(self._path).unlink()
        self._facts["begun"] += 1
        self.write()

    def end(self, outcome: dict[str, Any]) -> None:
        """Note how it ended."""
        self._facts |= {**outcome, "ended": self._facts["begun"]}
        self.write()

    def write(self) -> None:
        """Write it all, into the file that is locked."""
        if self._descriptor is None:
            return
        data = json.dumps(self._facts).encode()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, data, 0)
        except OSError as error:
            logger.warning("'msl-network reload' will not learn how it went: %s", error)


@contextmanager
def _entry(facts: dict[str, Any]) -> Iterator[_Entry]:
    """Keep the file of a Manager while this is open."""
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        folder = paths.running()
        if not folder.parent.is_dir():  # a Manager that needs no home is not given one for this
            raise StartError(f"there is no folder {folder.parent}")  # noqa: TRY301 - as if it could not be made
        paths.make_private_folder(folder)
        # under this name nobody takes it for one that is left over, and readable by its owner only
        descriptor, temporary = tempfile.mkstemp(prefix="manager-", suffix=".tmp", dir=folder)
    except (OSError, StartError) as error:
        logger.info(_NOT_FOUND, error)
        yield _Entry(None, None, facts)
        return
    path = Path(temporary).with_suffix(".json")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        entry = _Entry(descriptor, path, facts)
        entry.write()
        Path(temporary).replace(path)
    except OSError as error:  # a file system without locks
        logger.info(_NOT_FOUND, error)
        entry = _Entry(None, None, facts)
    try:
        yield entry
    finally:
        for left in (Path(temporary), path, _mark(path)):
            with suppress(OSError):
                left.unlink()
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    """Read the file of a Manager; None if it does not run any more, and then the file is removed."""
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        with path.open("rb") as stream:
            with suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                _mark(path).unlink(missing_ok=True)
                return None
            for _ in range(READS):
                stream.seek(0)
                with suppress(ValueError):  # it is being written
                    entry: dict[str, Any] = json.loads(stream.read())
                    return {**entry, "path": path} if entry["host"] == socket.gethostname() else None
                time.sleep(POLL)
    except OSError:  # it ended in this moment, or is another user's
        return None
    raise StartError(f"{path}: what a Manager wrote into this file cannot be read; send SIGHUP to its process yourself")


def _mark(path: Path) -> Path:
    """Return the file that tells the Manager that the signal is not that of a terminal which is closed."""
    return path.with_suffix(".reload")


def _has_terminal() -> bool:
    """Whether there is a terminal whose end ends this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
