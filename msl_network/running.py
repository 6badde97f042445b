"""Runs a Manager as a program of its own: logging, signals, memory, and the blocking loop.

Rule of this file: what a program does and a library must not: it writes log files, catches signals, tunes malloc. It
must not know how the Manager works.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from . import paths, systemd
from .ending import Ending
from .errors import ConnectError, StartError
from .hang_up import HangUp
from .log_writer import FLUSH, LogWriter, end, file_sink, text_sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .config import Config
    from .hooks import Hooks
    from .manager import Manager

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = [
    "check_tls",
    "event_loop",
    "first_of",
    "hold_standard_descriptors",
    "keep_memory",
    "log_only_what_is_shown",
    "printable",
    "raise_descriptor_limit",
    "run",
    "set_up_logging",
]

logger = logging.getLogger("msl_network")

FORMAT: Final = "%(asctime)s [%(levelname)-5s] %(name)s - %(message)s"

_LINE: Final = "_msl_network_line"
"""Where a record keeps its line: two handlers write the same, and making it is what a record costs."""

WANTED_DESCRIPTORS: Final = 1100
"""1000 peers, and what the Manager itself has open."""

MAC_DESCRIPTORS: Final = 10_240
"""OPEN_MAX of macOS, the largest limit that it accepts."""

M_TRIM_THRESHOLD: Final = -1  # of <malloc.h>
M_MMAP_THRESHOLD: Final = -3
MEBI: Final = 2**20


def run(manager: Manager, companion: Callable[[], Awaitable[None]] | None = None, *, is_program: bool = False) -> None:
    """Run a Manager until it is stopped: by an administrator, SIGINT or SIGTERM. On SIGHUP it reloads its settings.

    Args:
        manager: The Manager, not started yet.
        companion: What to run beside it as soon as it accepts connections; when that ends, so does the Manager.
        is_program: Whether the process is there for the Manager alone. Then it may have as many connections as the
            system allows, and ends in a limited time, by force if something hangs.

    Raises:
        StartError: If it cannot start.
        ConnectError: If the companion cannot connect to it.
    """
    # a mistake in the settings is one line of whoever called, and no log file
    backend, options = event_loop(manager.config.event_loop)
    check_tls(manager.config, manager.hooks)
    level = logger.level
    handlers = set_up_logging(manager.config)
    unused = paths.unused_home()
    if unused is not None:
        logger.warning(
            "the files of a Manager are in %s, too; used are those in %s, see MSL_NETWORK_HOME", unused, paths.home()
        )
    keep_memory()
    if is_program:
        raise_descriptor_limit()
        log_only_what_is_shown()
    try:
        with (
            Ending(manager, is_program=is_program, last_act=lambda: end(handlers, FLUSH)) as ending,
            HangUp(manager, is_program=is_program) as hang_up,
        ):
            anyio.run(_serve, manager, companion, ending, hang_up, backend=backend, backend_options=options)
    except (StartError, ConnectError, BaseExceptionGroup) as problem:
        error = first_of(problem) if isinstance(problem, BaseExceptionGroup) else problem
        if isinstance(error, (StartError, ConnectError)):
            # the terminal is told by whoever called; without this the file would not know why it ends
            handlers[0].handle(logger.makeRecord(logger.name, logging.ERROR, "", 0, str(error), (), None))
        else:
            logger.critical("stopped by an error that nobody expected", exc_info=problem)
        raise error from None
    finally:
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
        end(handlers, FLUSH)
        logger.setLevel(level)


def set_up_logging(config: Config) -> list[LogWriter]:
    """Send log lines to a file and to the terminal. Whoever logs waits for neither.

    Args:
        config: Says the level and, perhaps, the file.

    Returns:
        The handlers that were added: that of the file, and that of the terminal if there is one.

    Raises:
        StartError: If the file cannot be written.
    """
    path = Path(config.log_file) if config.log_file else None
    if path is None:
        path = paths.new_log_file(datetime.now())  # noqa: DTZ005 - the name is for people of this place
        paths.make_private_folder(path.parent)
    try:
        sinks = [file_sink(path)]
    except OSError as error:
        raise StartError(f"cannot write the log file {str(path)!r}: {error.strerror}") from None
    if sys.stderr is not None:  # it may have been closed by whoever started us
        sinks.append(text_sink(sys.stderr))
    formatter = _OneLine()
    handlers = [LogWriter(sink, formatter) for sink in sinks]
    for handler in handlers:
        handler.others = [other for other in handlers if other is not handler]
        logging.getLogger().addHandler(handler)
    logger.setLevel(config.log_level_number())
    logger.info("logging to %s", path)
    return handlers


def event_loop(name: str) -> tuple[str, dict[str, Any]]:
    """Return what `anyio.run` takes to run on an event loop.

    Args:
        name: ``asyncio``, ``uvloop``, ``trio``, or ``auto`` for uvloop where it is installed, else asyncio.

    Returns:
        The backend, and its options.

    Raises:
        StartError: If it is not installed.
    """
    is_installed = name == "asyncio" or find_spec("uvloop" if name == "auto" else name) is not None
    if not is_installed and name != "auto":
        raise StartError(
            f"event_loop = {name!r}: {name} is not installed; run pip install 'msl-network-manager[{name}]', "
            "or let it be 'auto'"
        )
    if name == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": is_installed and name != "asyncio"}


def check_tls(config: Config, hooks: Hooks) -> None:
    """Find out whether a Manager could use TLS as the settings want it, without making a file.

    Args:
        config: The settings.
        hooks: The plugins, which may have files of their own.

    Raises:
        StartError: If it could not.
    """
    from .tls import rehearsal_context  # noqa: PLC0415 - only who uses TLS pays for it

    tls = config.tls
    if tls.enabled:
        context = rehearsal_context(
            cert_file=Path(tls.cert_file) if tls.cert_file else None,
            key_file=Path(tls.key_file) if tls.key_file else None,
            key_file_password=tls.key_file_password.value if tls.key_file_password else None,
            host=config.host,
        )
        hooks.configure_tls(context)


def hold_standard_descriptors() -> None:
    """Have stdin, stdout and stderr lead nowhere if whoever started us has closed them.

    Else the next file or connection gets the number of one of them, and in it what anybody prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # as those are that it stands for
    os.close(descriptor)


def raise_descriptor_limit() -> None:
    """Allow as many open files, and so connections, as the system lets this process have, and say how many."""
    try:
        import resource  # noqa: PLC0415 - not on Windows, which has no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its limit infinite, and then does not accept that
    for wanted in () if soft == hard else (hard, max(soft, MAC_DESCRIPTORS)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < WANTED_DESCRIPTORS:
        logger.warning(
            "this process may have %d open files, which are too few for 1000 peers; raise the limit (ulimit -Hn, "
            "LimitNOFILE= of systemd) to %d",
            soft,
            WANTED_DESCRIPTORS,
        )
    else:
        logger.info("this process may have %s open files", soft if soft != resource.RLIM_INFINITY else "any number of")


def log_only_what_is_shown() -> None:
    """Leave out of log records what no line of `FORMAT` shows: source lines, threads, processes and tasks.

    It takes a third of the time of a record. The logging HOWTO of Python names these switches under "Optimization".
    """
    logging._srcfile = None  # noqa: SLF001 - documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False


def keep_memory() -> bool:
    """Have the memory of large messages used again, where the C library is glibc.

    It would map each block of more than 128 KiB anew and give it back at once, which costs a page fault per 4 KiB: two
    thirds of the time of a 1 MB message. Up to 64 MiB of freed memory stay with the process instead.

    Returns:
        Whether that was done; not if the environment has settings for malloc of its own.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 32 * MEBI)) and bool(mallopt(M_TRIM_THRESHOLD, 64 * MEBI))


def printable(text: str) -> str:
    """Return a text as one line in which no character does anything to a terminal.

    Args:
        text: The text; each character that is not printable is escaped, as Python writes it in a string.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what went wrong first; task groups wrap it.

    Args:
        group: What a task group raised.
    """
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _OneLine(logging.Formatter):
    """Keeps what a peer sent from writing lines of its own into the log, or commands to the terminal."""

    def __init__(self) -> None:
        super().__init__(FORMAT)
        self._second = 0
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        line: str | None = record.__dict__.get(_LINE)
        if line is None:
            if record.exc_info or record.stack_info or record.exc_text:
                fields = {**record.__dict__, "msg": printable(record.getMessage()), "args": None, "exc_text": None}
                line = super().format(logging.makeLogRecord(fields))
            else:  # the same in a third of the time
                message = printable(record.getMessage())
                line = f"{self.formatTime(record)} [{record.levelname:5}] {record.name} - {message}"
            record.__dict__[_LINE] = line
        return line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - as below
        second = int(record.created)
        if second != self._second:
            self._time = time.strftime(self.default_time_format, self.converter(second))
            self._second = second
        return f"{self._time},{int(record.msecs):03d}"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that logging calls
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - as above
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    """Mark each line as the continuation of a record: a peer's text in a traceback may look like one."""
    return "\n".join(f"    | {printable(line)}" for line in text.split("\n"))


async def _serve(
    manager: Manager, companion: Callable[[], Awaitable[None]] | None, ending: Ending, hang_up: HangUp
) -> None:
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(ending.watch)
        async with manager, anyio.create_task_group() as beside:
            task_group.start_soon(hang_up.watch)
            beside.start_soon(systemd.report, manager)
            if companion is not None:
                beside.start_soon(_stop_after, companion, manager)
            await manager.wait_stopped()
            # it is not cancelled: the end of the Manager ends its connections, and so the companion
        task_group.cancel_scope.cancel()


async def _stop_after(companion: Callable[[], Awaitable[None]], manager: Manager) -> None:
    try:
        await companion()
    finally:
        manager.stop()
