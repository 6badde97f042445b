"""Writes log records in a thread per target, so that nobody who logs waits for a disk, a terminal, or who reads a pipe.

    logger --> LogWriter(file)     --> queue --> thread --> write
           --> LogWriter(terminal) --> queue --> thread --> write

Rule of this file: a record costs its caller the formatting and nothing else, and no trouble with one target reaches the
caller or the other target. What finds no room is counted, and the number is said when it goes on. It must not know what
is logged, nor how a line looks.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import FileIO
    from pathlib import Path

__all__ = ["FLUSH", "LogFile", "LogWriter", "Sink", "end", "file_sink", "text_sink"]

MAX_WAITING: Final = 4 * 2**20
"""How many characters wait for one target, some 40 000 lines: peers decide how many there are."""

CHUNK: Final = 64 * 2**10
"""How many characters are taken from the queue at a time."""

RETRY: Final = 1.0
"""Seconds between attempts while a target fails: a full disk may be emptied."""

BUSY: Final = 0.05
"""Seconds until a target that takes nothing now, and says so, is asked again."""

GATHER: Final = 0.05
"""Seconds in which lines are gathered after a write: waking a thread costs as much as ten lines."""

FLUSH: Final = 0.5
"""Seconds that `flush` and `close` wait for a target at most."""


class Sink:
    """Where lines go. Only the thread of its `LogWriter` calls these.

    Args:
        name: What it is called in messages.
        write: Takes bytes and may wait; returns how many it took, None if it takes none now. Raises OSError if it
            fails, ValueError if it is closed.
        close: Called when nothing more is to be written.
        encoding: The encoding of the bytes; what it lacks is escaped.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[bytes], int | None],
        close: Callable[[], object],
        encoding: str = "utf-8",
    ) -> None:
        self.name = name
        self.write = write
        self.close = close
        self.encoding = encoding


class LogFile:
    """A file that lines are appended to; when somebody has moved or removed it, the next line begins a new one.

    If it is missing, it is made for its owner only. It is used in one thread.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # it stays the same file when the process changes its folder
        self.size = 0
        """How large it is, in bytes."""
        self._is_whole = True  # whether it ends with a whole line
        self._file: FileIO | None = None
        self.reopen()

    def reopen(self) -> None:
        """Open the file that is there now, or make one."""
        self.close()
        # 0600 from the first moment: addresses and names are nobody else's business
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self.size = os.fstat(descriptor).st_size

    def close(self) -> None:
        """Close it; another write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, data: bytes) -> int | None:
        """Write bytes.

        Args:
            data: Lines, or what is left of them.

        Returns:
            How many bytes the file took; None if it takes none now.

        Raises:
            OSError: If it fails.
        """
        if self._is_whole:
            self.begin(len(data))
        if self._file is None:
            self.reopen()
        taken = self._file.write(data) if self._file is not None else None
        if taken:
            self.size += taken
            self._is_whole = data[:taken].endswith(b"\n")
        return taken

    def begin(self, size: int) -> None:  # noqa: ARG002 - for who overrides it
        """Do what is to be done before a line begins: open another file if this one is not there any more.

        Args:
            size: How many bytes are to be written.
        """
        if self._file is None or self._is_elsewhere():
            self.reopen()

    def _is_elsewhere(self) -> bool:
        """Whether somebody has moved or removed the file, as logrotate does: nobody would find what is written then."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        except OSError:  # it may not be looked at any more, but it can be written
            return False
        return self._file is not None and not os.path.samestat(there, os.fstat(self._file.fileno()))


def file_sink(path: Path) -> Sink:
    """Open a file to append to, see `LogFile`.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """
    file = LogFile(path)
    return Sink(f"the log file {str(path)!r}", file.write, file.close)


def text_sink(stream: TextIO) -> Sink:
    """Open what a text stream leads to: a terminal, a pipe, a cell of a notebook.

    Args:
        stream: The stream; it is not closed.
    """
    try:
        # Past the stream: a thread that is stuck in it would hold its lock, and the end of Python waits for that.
        raw = os.fdopen(os.dup(stream.fileno()), "wb", buffering=0)
    except (OSError, ValueError, AttributeError):  # it has no descriptor
        return Sink("the terminal", lambda data: _write_text(stream, data), lambda: None)
    return Sink("the terminal", raw.write, raw.close, stream.encoding or "utf-8")


class LogWriter(logging.Handler):
    """Hands records to a thread that writes them.

    Args:
        sink: Where they go.
        formatter: Makes a line of each.
    """

    def __init__(self, sink: Sink, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.others: Sequence[logging.Handler] = ()
        """Who is told when this one fails."""
        self._sink = sink
        self._lines: deque[str] = deque()
        self._size = 0
        self._left_out = 0
        self._is_failing = False
        self._is_writing = False
        self._is_waiting = False  # for lines, so that the first one is to wake it
        self._is_hurried = False
        self._ends_at: float | None = None
        # re-entrant, because what is deleted while it is held may log, too
        lock = threading.RLock()
        self._news = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._thread = threading.Thread(target=self._work, name=f"log to {sink.name}", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record into the queue, if there is room."""
        line = self._line(record)
        with self._news:
            if self._size >= MAX_WAITING or self._ends_at is not None:
                self._left_out += 1
                return
            self._say_left_out()
            self._put(line)
        if record.levelno >= logging.CRITICAL:  # perhaps the last words of the program
            self.flush()

    def flush(self) -> None:
        """Wait until all is written that was logged so far: for a limited time, and not while the target fails."""
        with self._idle:
            self._is_hurried = True
            self._news.notify()
            self._idle.wait_for(lambda: self._is_failing or not (self._lines or self._is_writing), FLUSH)

    def close(self) -> None:
        """Write what is in the queue, and no more. It takes a limited time."""
        end([self], FLUSH)
        super().close()

    def ask_to_end(self, moment: float) -> None:
        """Take no more records, and end the thread as soon as all is written.

        Args:
            moment: When the thread shall give up, as `time.monotonic` has it.
        """
        with self._news:
            if self._ends_at is None:
                self._ends_at = moment
            self._news.notify()

    def wait_ended(self, seconds: float) -> bool:
        """Wait until the thread has ended.

        Args:
            seconds: How long to wait.

        Returns:
            Whether it has; if not, its target does not take what is left.
        """
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + os.linesep
        except Exception as error:  # noqa: BLE001 - a mistake in what was logged ends nobody
            mistake = _warning(f"a log record has a mistake, {type(error).__name__}: {error}: {record.msg}")
            return self.format(mistake) + os.linesep

    def _put(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._is_waiting:
            self._is_waiting = False
            self._news.notify()

    def _say_left_out(self) -> None:
        """Say how many records found no room, where they are missing."""
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._put(self._line(_warning(f"{left_out} log records were left out: {self._sink.name} took no more")))

    # What runs in the thread

    def _work(self) -> None:
        try:
            while data := self._take():
                while data and not self._is_over():
                    data = data[self._write(data) :]
        finally:
            self._sink.close()

    def _take(self) -> bytes:
        """Wait for lines; return none when it is time to end."""
        with self._news:
            has_written, self._is_writing = self._is_writing, False
            if not self._lines:
                self._say_left_out()
            if has_written and not self._lines:
                self._idle.notify_all()
                self._news.wait_for(lambda: self._is_hurried or self._ends_at is not None, GATHER)
            while not self._lines:
                self._idle.notify_all()
                if self._ends_at is not None:
                    return b""
                self._is_waiting = True
                self._news.wait()
            self._is_waiting = self._is_hurried = False
            self._is_writing = True
            chunk: list[str] = []
            size = 0
            while self._lines and size < CHUNK:
                chunk.append(self._lines.popleft())
                size += len(chunk[-1])
            self._size -= size
        return "".join(chunk).encode(self._sink.encoding, "backslashreplace")

    def _write(self, data: bytes) -> int:
        """Write what the target takes; return how many bytes it took."""
        try:
            taken = self._sink.write(data)
        except (OSError, ValueError) as error:
            self._fail(error)
            return 0
        if taken is None:
            sleep(BUSY)
            return 0
        if self._is_failing:
            self._is_failing = False
            self._tell_others(f"the log goes on in {self._sink.name}")
        return taken

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self._tell_others(f"the log cannot be written to {self._sink.name}, trying again: {reason}")
        with self._idle:
            self._is_failing = True
            self._idle.notify_all()
            self._news.wait_for(lambda: self._ends_at is not None, RETRY)

    def _is_over(self) -> bool:
        """Whether to give up: at the end, a target that fails is tried no more."""
        return self._ends_at is not None and (self._is_failing or monotonic() > self._ends_at)

    def _tell_others(self, text: str) -> None:
        for other in self.others:
            other.handle(_warning(text))


def end(writers: Sequence[LogWriter], seconds: float) -> None:
    """Have writers write what they have, and no more.

    Args:
        writers: The writers; they end side by side.
        seconds: How long that may take; who is stuck then stays so, which keeps no process from ending.
    """
    moment = monotonic() + seconds
    for writer in writers:
        writer.ask_to_end(moment)
    for writer in writers:
        writer.wait_ended(moment - monotonic())


def _warning(text: str) -> logging.LogRecord:
    return logging.LogRecord("msl_network", logging.WARNING, "", 0, text, None, None)


def _write_text(stream: TextIO, data: bytes) -> int:
    stream.write(data.decode().replace(os.linesep, "\n"))
    stream.flush()
    return len(data)
