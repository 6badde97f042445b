from __future__ import annotations

import errno
import fcntl
import gc
import io
import logging
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import log_writer
from msl_network.log_writer import LogFile, LogWriter, Sink, end, file_sink, text_sink

from .laboratory import DEADLINE, happens, no_thread_left

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATTER = logging.Formatter("%(levelname)s %(message)s")


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, None, None)


class Target:
    """Takes what is written, unless it is stuck, broken, or busy."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.text = b""
        self.error: Exception | None = None
        self.is_stuck = False
        self.sticks_at = "nothing"
        self.is_waited_for = threading.Event()
        self.limit: int | None = None
        self.is_closed = threading.Event()
        self.attempts = 0

    def write(self, data: bytes) -> int | None:
        with self.news:
            self.attempts += 1
            self.is_stuck = self.is_stuck or data.decode(errors="replace").startswith(self.sticks_at)
            self.news.notify_all()
            if self.is_stuck:
                self.is_waited_for.set()
                self.news.wait_for(lambda: not self.is_stuck, DEADLINE)
            if self.error is not None:
                raise self.error
            if self.limit == 0:
                return None
            data = data[: self.limit]
            self.text += data
            self.news.notify_all()
            return len(data)

    def set(self, **state: Any) -> None:
        with self.news:
            vars(self).update(state)
            self.news.notify_all()

    def until(self, *lines: str) -> None:
        """Wait until exactly these lines are written."""
        with self.news:
            assert self.news.wait_for(lambda: self.lines() == list(lines), DEADLINE), self.lines()

    def until_stuck(self) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.is_stuck, DEADLINE)

    def until_attempts(self, number: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.attempts >= number, DEADLINE)

    def lines(self) -> list[str]:
        return self.text.decode().splitlines()


@contextmanager
def writing(name: str = "a target", target: Target | None = None) -> Iterator[tuple[logging.Logger, Target]]:
    """A logger that writes to one target; when this ends, the thread has ended, and the target is closed."""
    target = target or Target()
    with no_thread_left():
        writer = LogWriter(Sink(name, target.write, target.is_closed.set), FORMATTER)
        logger = logging.Logger("test")  # noqa: LOG001 - one of its own, which is gone after the test
        logger.addHandler(writer)
        try:
            yield logger, target
        finally:
            target.set(is_stuck=False)
            writer.close()
    assert target.is_closed.is_set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is so soon."""
    monkeypatch.setattr(log_writer, "RETRY", 0.001)
    monkeypatch.setattr(log_writer, "BUSY", 0.001)


def test_records_are_written_in_order() -> None:
    """What several threads log arrives whole, that of each thread in its order."""
    with writing() as (logger, target):

        def talk(name: str) -> None:
            for number in range(200):
                logger.info("%s %d", name, number)

        threads = [threading.Thread(target=talk, args=[name]) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(target.lines()) == 600
    for name in "abc":
        assert [line for line in target.lines() if line[5] == name] == [f"INFO {name} {n}" for n in range(200)]


def test_record_is_made_a_line_at_once() -> None:
    """What changes after it was logged does not change the record."""
    things = [1]
    with writing() as (logger, target):
        target.set(is_stuck=True)
        logger.info("first")
        happens(target.is_waited_for)
        logger.info("%s", things)
        things.append(2)
        target.set(is_stuck=False)
        target.until("INFO first", "INFO [1]")


def test_target_that_is_stuck_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs goes on; what finds no room is counted, and that is said once, in its place."""
    monkeypatch.setattr(log_writer, "MAX_WAITING", 30)
    with writing("the pipe") as (logger, target):
        target.set(is_stuck=True)
        logger.info("first")
        happens(target.is_waited_for)
        for number in range(100):
            logger.info("number %d", number)
        target.set(is_stuck=False)
        expected = [
            "INFO first",
            "INFO number 0",
            "INFO number 1",
            "INFO number 2",
            "WARNING 97 log records were left out: the pipe took no more",
        ]
        target.until(*expected)
        logger.info("last")
        target.until(*expected, "INFO last")


def test_left_out_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is logged as soon as there is room again stands after the line that says how many are missing."""
    monkeypatch.setattr(log_writer, "MAX_WAITING", 20)
    monkeypatch.setattr(log_writer, "CHUNK", 1)  # one line at a time
    with writing() as (logger, target):
        target.set(is_stuck=True)
        logger.info("first")
        happens(target.is_waited_for)
        logger.info("second, which is long")
        logger.info("no room")
        logger.info("no room")
        target.sticks_at = "INFO second"
        target.set(is_stuck=False)
        target.until_stuck()
        logger.info("room")
        target.set(is_stuck=False)
    assert target.lines() == [
        "INFO first",
        "INFO second, which is long",
        "WARNING 2 log records were left out: a target took no more",
        "INFO room",
    ]


def test_target_that_takes_a_part() -> None:
    """A target may take a few bytes at a time, or none for a while."""
    with writing() as (logger, target):
        target.set(limit=0)
        logger.info("äöü and more")
        target.until_attempts(3)
        target.set(limit=1)
        target.until("INFO äöü and more")


def two_targets() -> tuple[logging.Logger, list[LogWriter], Target, Target]:
    targets = Target(), Target()
    logger = logging.Logger("test")  # noqa: LOG001 - one of its own, which is gone after the test
    writers = [LogWriter(Sink(f"target {n}", t.write, t.is_closed.set), FORMATTER) for n, t in enumerate(targets)]
    for writer in writers:
        writer.others = [other for other in writers if other is not writer]
        logger.addHandler(writer)
    return logger, writers, *targets


def test_target_that_fails_is_told_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A disk that is full is one line in the other target; nothing is lost when there is room again; no traceback."""
    logger, writers, disk, terminal = two_targets()
    disk.set(error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    logger.info("one")
    disk.until_attempts(5)
    logger.info("two")
    disk.set(error=None, limit=3)
    disk.until("INFO one", "INFO two")
    failed = "WARNING the log cannot be written to target 0, trying again: No space left on device"
    terminal_lines = {"INFO one", "INFO two", failed, "WARNING the log goes on in target 0"}
    with terminal.news:
        assert terminal.news.wait_for(lambda: set(terminal.lines()) == terminal_lines, DEADLINE)
    assert len(terminal.lines()) == 4
    end(writers, DEADLINE)
    assert capfd.readouterr() == ("", "")


def test_both_targets_fail() -> None:
    """Two targets that fail tell each other, and do not wait for each other."""
    logger, writers, one, two = two_targets()
    for target in (one, two):
        target.set(error=BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
    logger.info("one")
    for target in (one, two):
        target.until_attempts(3)
    end(writers, DEADLINE)
    assert one.is_closed.is_set()
    assert two.is_closed.is_set()


def test_mistake_in_a_record(capfd: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be made a line is a line that says so, with the text as it stands in the source."""
    with writing() as (logger, target):
        logger.info("%d things", "no number")
        logger.info("next")
    assert target.lines() == [
        "WARNING a log record has a mistake, TypeError: %d format: a real number is required, not str: %d things",
        "INFO next",
    ]
    assert capfd.readouterr() == ("", "")


def test_object_that_logs_when_it_is_deleted() -> None:
    """A record may be made while another one is put into the queue, in the same thread."""

    class Last:
        def __del__(self) -> None:
            logger.info("deleted")

    class Lines(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line.startswith("INFO first"):
                last = Last()
                del last
                gc.collect()

        def popleft(self) -> str:
            return self.pop(0)

    with writing() as (logger, target):
        logger.handlers[0]._lines = Lines()  # type: ignore[attr-defined]
        logger.info("first")
        target.until("INFO first", "INFO deleted")


def test_end_writes_what_waits() -> None:
    """At the end all is written that was logged; later records are not."""
    with writing() as (logger, target):
        for number in range(1000):
            logger.info("%d", number)
        logger.handlers[0].close()
        logger.info("too late")
    assert target.lines() == [f"INFO {number}" for number in range(1000)]


def test_end_does_not_wait_for_what_is_stuck() -> None:
    """26. Stuck, failing and busy targets together hold up the end for the given time at most, and only once."""
    logger, writers, one, two = two_targets()
    one.set(is_stuck=True)
    two.set(is_stuck=True)
    logger.info("x")
    for target in (one, two):
        happens(target.is_waited_for)
    start = monotonic()
    end(writers, 0.2)
    assert 0.2 <= monotonic() - start < 5
    for target in (one, two):
        target.set(is_stuck=False)
    for writer in writers:
        assert writer.wait_ended(DEADLINE)
    busy = Target()
    with writing(target=busy) as (logger, _):
        busy.set(limit=0)
        logger.info("x")
        busy.until_attempts(2)
        end(logger.handlers, 0.05)  # type: ignore[arg-type]
        happens(busy.is_closed)


def test_flush_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush` returns when all is written, when the target fails, and when the time is over."""
    with writing() as (logger, target):
        logger.info("x")
        logger.handlers[0].flush()
        assert target.lines() == ["INFO x"]
        monkeypatch.setattr(log_writer, "FLUSH", 0.01)
        target.set(is_stuck=True)
        logger.info("y")
        logger.handlers[0].flush()
        assert target.lines() == ["INFO x"]
        monkeypatch.setattr(log_writer, "FLUSH", DEADLINE)
        target.set(error=OSError("broken"), is_stuck=False)
        start = monotonic()
        logger.handlers[0].flush()
        assert monotonic() - start < DEADLINE


def test_last_words_are_written_before_the_caller_goes_on() -> None:
    """A critical record is written when the call returns, whatever becomes of the process then."""
    with writing() as (logger, target):
        logger.info("x")
        logger.critical("last words")
        assert target.lines() == ["INFO x", "CRITICAL last words"]


# Real targets


def read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


def test_file_is_appended_to(tmp_path: Path) -> None:
    """A file goes on where it was; a new one is for its owner only."""
    path = tmp_path / "x.log"
    for number in range(2):
        writer = LogWriter(file_sink(path), FORMATTER)
        writer.handle(record(f"ä{number}"))
        writer.close()
    assert path.read_text(encoding="utf-8") == "INFO ä0\nINFO ä1\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush` waits until all is written."""
    monkeypatch.setattr(log_writer, "FLUSH", DEADLINE)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("replaced", [False, True])
def test_file_that_is_moved_again_and_again(tmp_path: Path, replaced: bool) -> None:
    """While lines are written without a pause, each is in one of the files, once, and in order; the new are private."""
    path, moved = tmp_path / "x.log", [tmp_path / f"x.log.{number}" for number in range(5)]
    is_over, has_written = threading.Event(), threading.Event()
    sink = file_sink(path)

    def write(data: bytes) -> int | None:
        taken = sink.write(data)
        has_written.set()
        return taken

    with no_thread_left():
        writer = LogWriter(Sink("the file", write, sink.close), FORMATTER)
        said = 0

        def talk() -> None:
            nonlocal said
            while not is_over.is_set():
                writer.handle(record(f"{said}"))
                said += 1
                if said % 100 == 0:  # else there is no room soon
                    writer.flush()

        talker = threading.Thread(target=talk)
        talker.start()
        for target in [*moved, None]:
            while not (path.exists() and path.stat().st_size):
                has_written.clear()
                happens(has_written)
            if target is not None:
                path.rename(target)
                if replaced:
                    path.touch(0o600)
        is_over.set()
        talker.join()
        writer.close()
    found = [line for file in [*moved, path] for line in file.read_text(encoding="utf-8").splitlines()]
    assert found == [f"INFO {number}" for number in range(said)]
    assert {file.stat().st_mode & 0o777 for file in [*moved, path]} == {0o600}


@pytest.mark.usefixtures("patient")
def test_file_that_is_removed(tmp_path: Path) -> None:
    """What follows is in a new one."""
    path = tmp_path / "x.log"
    writer = LogWriter(file_sink(path), FORMATTER)
    for text in ("one", "two"):
        writer.handle(record(text))
        writer.flush()
        assert path.read_text(encoding="utf-8") == f"INFO {text}\n"
        path.unlink()
    writer.close()
    assert not path.exists()  # nothing was to be written


@pytest.mark.usefixtures("patient")
def test_file_that_is_emptied(tmp_path: Path) -> None:
    """What follows is at its beginning: logrotate does so with ``copytruncate``."""
    path = tmp_path / "x.log"
    writer = LogWriter(file_sink(path), FORMATTER)
    for text in ("one", "two"):
        writer.handle(record(text))
        writer.flush()
        assert path.read_text(encoding="utf-8") == f"INFO {text}\n"
        os.truncate(path, 0)
    writer.close()


@pytest.mark.usefixtures("patient")
def test_file_whose_folder_is_gone(tmp_path: Path) -> None:
    """The other target is told, and what was logged meanwhile is in the file as soon as there is the folder again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path, other = folder / "x.log", Target()
    writer = LogWriter(file_sink(path), FORMATTER)
    terminal = LogWriter(Sink("the terminal", other.write, other.is_closed.set), FORMATTER)
    writer.others = [terminal]
    folder.rename(tmp_path / "moved")
    writer.handle(record("one"))
    name = f"the log file {str(path)!r}"
    failed = f"WARNING the log cannot be written to {name}, trying again: No such file or directory"
    other.until(failed)
    writer.handle(record("two"))
    folder.mkdir()
    other.until(failed, f"WARNING the log goes on in {name}")
    writer.flush()
    assert path.read_text(encoding="utf-8") == "INFO one\nINFO two\n"
    end([writer, terminal], DEADLINE)


def test_file_of_a_process_that_changes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was named from where the process was is the same one from anywhere."""
    monkeypatch.chdir(tmp_path)
    file = LogFile(Path("x.log"))
    monkeypatch.chdir("/")
    assert file.write(b"INFO one\n") == 9
    file.close()
    assert (tmp_path / "x.log").read_bytes() == b"INFO one\n"


def test_half_a_line_is_not_torn_apart(tmp_path: Path) -> None:
    """A file that took the beginning of a line gets the rest of it, wherever it is by then."""
    path, moved = tmp_path / "x.log", tmp_path / "moved"
    file = LogFile(path)
    assert file.write(b"INFO on") == 7
    path.rename(moved)
    assert file.write(b"e\n") == 2
    assert file.write(b"INFO two\n") == 9
    file.close()
    assert (moved.read_bytes(), path.read_bytes(), file.size) == (b"INFO one\n", b"INFO two\n", 9)


def test_pipe_that_nobody_reads() -> None:
    """A full pipe holds up its thread only; what was logged is there when somebody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writer, "w", encoding="ascii") as stream, no_thread_left():
        handler = LogWriter(text_sink(stream), FORMATTER)
        for number in range(1000):
            handler.handle(record(f"ä{number:04}"))
        handler.ask_to_end(monotonic() + DEADLINE)
        line = len(b"INFO \\xe40000\n")
        lines = read(reader, line * 1000).decode().splitlines()
    assert lines == [f"INFO \\xe4{number:04}" for number in range(1000)]
    os.close(reader)


def test_pipe_that_does_not_wait() -> None:
    """A pipe of a parent that made it non-blocking is waited for."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w", encoding="utf-8") as stream, no_thread_left():
        handler = LogWriter(text_sink(stream), FORMATTER)
        for number in range(1000):
            handler.handle(record(f"{number:04}"))
        handler.ask_to_end(monotonic() + DEADLINE)
        lines = read(reader, 10_000).decode().splitlines()
    assert lines == [f"INFO {number:04}" for number in range(1000)]
    os.close(reader)


def test_pipe_whose_reader_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    """A reader that leaves is told of in the other target; nobody sees a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    other = Target()
    with os.fdopen(writer, "w", encoding="utf-8") as stream, no_thread_left():
        handler = LogWriter(text_sink(stream), FORMATTER)
        file = LogWriter(Sink("the file", other.write, other.is_closed.set), FORMATTER)
        handler.others = [file]
        handler.handle(record("x"))
        other.until("WARNING the log cannot be written to the terminal, trying again: Broken pipe")
        end([handler, file], DEADLINE)
    assert capfd.readouterr() == ("", "")


def test_stream_without_a_descriptor() -> None:
    """A notebook's stream is written to, and stays open."""
    stream = io.StringIO()
    handler = LogWriter(text_sink(stream), FORMATTER)
    handler.handle(record("ä"))
    handler.close()
    assert stream.getvalue() == "INFO ä\n"


def test_stuck_terminal_does_not_keep_the_interpreter() -> None:
    """26. A process whose stderr nobody reads ends, with its own status, although a thread is stuck in writing."""
    program = (
        "import logging, sys\n"
        "from msl_network.log_writer import LogWriter, text_sink, end\n"
        "writer = LogWriter(text_sink(sys.stderr), logging.Formatter())\n"
        "for _ in range(10_000):\n"
        "    writer.handle(logging.LogRecord('x', 20, '', 0, 'x' * 100, None, None))\n"
        "end([writer], 0.1)\n"
        "print('ended', flush=True)\n"
        "sys.exit(7)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"ended\n"
        assert process.wait(DEADLINE) == 7
