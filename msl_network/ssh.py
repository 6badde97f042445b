"""Start a Manager, and Services, on another computer through SSH.

A script here calls :func:`start_manager`, which starts a console script there; that one hands over what
:func:`parse_console_script_kwargs` returns to :func:`msl_network.run_services`. Then the script here connects as to any
other Manager. The other computer needs an SSH server and a POSIX shell, but not paramiko.

Rule of this file: names, keywords and meaning are those of MSL-Network 1.0, and so is what stands on the command line,
``--kwargs`` and JSON, because the other computer may have 1.0. All that comes from the caller is quoted for the shell;
paramiko is optional and imported when it is needed. It must not know what the keywords mean, nor whether a Manager
or something else is started.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import logging
import math
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from .constants import NETWORK_MANAGER_RUNNING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    import paramiko

__all__ = ["connect", "exec_command", "parse_console_script_kwargs", "start_manager"]

logger = logging.getLogger("msl_network.ssh")

OPTION: Final = "--kwargs"
TRANSFER: Final = 32_768  # bytes that are taken from a channel at a time; a packet of SSH has at most as many
PAUSE: Final = 0.01  # seconds between two looks for output of a command; paramiko cannot wait for both streams
POLL: Final = 0.1  # seconds between two looks into the log, each of which is a process there
SIGNS_OF_FAILURE: Final = ("ERROR", "Error:")  # a line of a log, the end of a traceback
ENDED: Final = "the console script has ended with exit status"
INSTEAD_OF_PASSWORD: Final = ("pkey", "key_filename", "auth_strategy")  # with one of these, nobody is asked


def parse_console_script_kwargs() -> dict[str, Any]:
    """Return the keyword arguments that :func:`start_manager` put on the command line of this process.

    Returns:
        The keyword arguments; empty if there is no ``--kwargs``, for example because a person started the script.

    Raises:
        ValueError: If something else than a JSON object stands behind ``--kwargs``.
    """
    if OPTION not in sys.argv:
        return {}
    behind = sys.argv[sys.argv.index(OPTION) + 1 :]
    if not behind:
        raise ValueError(f"{OPTION} is the end of the command line; a JSON object must follow it, as one argument")
    # An error does not quote the text: it may hold a password, and it ends up in a log.
    try:
        kwargs = json.loads(behind[0])
    except ValueError as error:
        raise ValueError(
            f'what follows {OPTION} is not JSON: {error}. It must be an object, for example {{"port": 1876}}, '
            "quoted for the shell"
        ) from None
    if not isinstance(kwargs, dict):
        raise ValueError(  # noqa: TRY004 - the text is wrong, and so is one that is not JSON
            f'what follows {OPTION} must be a JSON object, for example {{"port": 1876}}, found a '
            f"{type(kwargs).__name__}"
        )
    return kwargs


def start_manager(
    host: str,
    console_script_path: str,
    *,
    ssh_username: str | None = None,
    ssh_password: str | None = None,
    timeout: float | None = 10,
    as_sudo: bool = False,
    missing_host_key_policy: paramiko.MissingHostKeyPolicy | None = None,
    paramiko_kwargs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """Start a console script on another computer, which starts a Manager there, and wait until that runs.

    The script goes on when the SSH connection is closed, which this function does. What it writes is in
    ``CONSOLE_SCRIPT_PATH.log`` there, a new file each time, which only its owner can read.

    If there is neither the message of a Manager nor an error in the log after `timeout`, this function logs a warning
    and returns, because the Manager may still come: the one who connects to it will see.

    Warning:
        All `kwargs` are on the command line of the script. Whoever is logged in on the other computer can see them in
        the list of its processes, passwords too, for as long as the script runs.

    Args:
        host: The host name or IP address of the other computer, or ``"user@host"``.
        console_script_path: Where the script is on the other computer; it must be executable. It is taken literally:
            a ``~`` or a variable is not replaced. A relative path is relative to the home of the user.
        ssh_username: Who logs in there; None: the user in `host`, or else the person at the terminal is asked.
        ssh_password: The password of that user; None: the person at the terminal is asked, unless a key is in
            `paramiko_kwargs`.
        timeout: The longest time to connect, and then to wait for the Manager, in seconds; None for no limit.
        as_sudo: Whether to run the script with ``sudo``. Nobody is there to type a password, so it must not need one.
        missing_host_key_policy: As in :func:`connect`.
        paramiko_kwargs: More keywords for :func:`connect`.
        kwargs: What the script finds with :func:`parse_console_script_kwargs`, usually keywords of
            :func:`msl_network.run_services`; they must be what JSON can carry.

    Raises:
        RuntimeError: If the script cannot be started, failed, or wrote an error before its Manager was running; the
            text has the log.
        TypeError: If JSON cannot carry `kwargs`; nothing was started.
        Exception: As :func:`connect`.
    """
    command = _background_command(console_script_path, json.dumps(kwargs), as_sudo=as_sudo)
    client = connect(
        host,
        username=ssh_username,
        password=ssh_password,
        timeout=timeout,
        missing_host_key_policy=missing_host_key_policy,
        **(paramiko_kwargs or {}),
    )
    with contextlib.closing(client):
        exec_command(client, command, timeout=timeout)
        log = _log_path(console_script_path)
        deadline = _deadline(timeout)
        while not _is_running(exec_command(client, f"cat < {shlex.quote(log)}"), f"{log} on {host}"):
            if time.monotonic() > deadline:
                logger.warning("no Manager is running on %s after %s seconds; see %s there", host, timeout, log)
                return
            time.sleep(POLL)


def connect(
    host: str,
    *,
    username: str | None = None,
    password: str | None = None,
    timeout: float | None = 10,
    missing_host_key_policy: paramiko.MissingHostKeyPolicy | None = None,
    **kwargs: Any,
) -> paramiko.SSHClient:
    """Connect to another computer through SSH.

    Host keys: one that differs from that in ``~/.ssh/known_hosts`` is refused, whatever the policy is. The policy
    decides about a host that is not in there. The default accepts it and forgets it again, as in MSL-Network 1.0: the
    first time and each other time, it could be anybody's computer that gets the password. To prevent that, log in with
    ``ssh`` once, which stores the key, and pass ``paramiko.RejectPolicy()``.

    Args:
        host: The host name or IP address of the other computer, or ``"user@host"``.
        username: The user name there, if it is not in `host`; None: the person at the terminal is asked.
        password: The password of that user; None: the person at the terminal is asked, unless `pkey`, `key_filename`
            or `auth_strategy` is in `kwargs`.
        timeout: The longest time to connect, in seconds; None for no limit.
        missing_host_key_policy: What to do if the key of the host is not known; None for ``paramiko.AutoAddPolicy()``.
        kwargs: More keywords for ``paramiko.SSHClient.connect``, for example `port`.

    Returns:
        The connection; close it after use, or the program may not end.

    Raises:
        ImportError: If paramiko is not installed.
        ValueError: If the user name or the password is empty.
        paramiko.AuthenticationException: If the other computer does not let the user in.
        paramiko.BadHostKeyException: If its key is not the one that is known.
        paramiko.SSHException: If anything else is wrong with SSH.
        OSError: If the other computer cannot be reached.
    """
    library = _import_paramiko()

    user, at, address = host.rpartition("@")  # the last one: the name of a user may have one, too
    if at:
        username = user
    elif username is None:
        username = input(f"User name on {host}: ")
    if not username:
        raise ValueError(f"a user name is needed to log in on {address}; pass it, or 'user@{address}' as the host")

    if not any(kwargs.get(name) for name in INSTEAD_OF_PASSWORD):
        if password is None:
            password = getpass.getpass(f"Password of {username} on {address}: ")
        if not password:
            raise ValueError(f"a password, or a key ('pkey' or 'key_filename'), is needed to log in on {address}")

    client: paramiko.SSHClient = library.SSHClient()
    try:
        client.load_system_host_keys()
        client.set_missing_host_key_policy(missing_host_key_policy or library.AutoAddPolicy())
        client.connect(address, username=username, password=password, timeout=timeout, **kwargs)
    except BaseException:
        client.close()
        raise
    return client


def exec_command(ssh_client: paramiko.SSHClient, command: str, *, timeout: float | None = 10) -> list[str]:
    """Run a command on another computer, and wait for its end.

    If that fails, the connection is closed, as in MSL-Network 1.0.

    Args:
        ssh_client: The connection, see :func:`connect`.
        command: The command, for the shell there; quote what is in it with :func:`shlex.quote`.
        timeout: The longest time that the command may take, in seconds; None for no limit.

    Returns:
        The lines that it wrote to its standard output, without their ends.

    Raises:
        RuntimeError: If it wrote something to its standard error, which the text has, or did not end in time.
    """
    with contextlib.ExitStack() as failure:
        failure.callback(ssh_client.close)
        try:
            _, stdout, _ = ssh_client.exec_command(command, timeout=timeout)
            with contextlib.closing(stdout.channel) as channel:
                output, errors = _read_both(channel, timeout)
        except TimeoutError:
            raise RuntimeError(
                f"the SSH command {_without_kwargs(command)} has not ended after {timeout} seconds"
            ) from None
        if errors:
            raise RuntimeError(f"the SSH command {_without_kwargs(command)} wrote an error:\n\n{errors}")
        failure.pop_all()
    return [line.rstrip("\r\n") for line in io.StringIO(output)]


def _import_paramiko() -> Any:
    """Return paramiko, which not everybody has installed."""
    try:
        import paramiko  # noqa: PLC0415 - optional, and large
    except ImportError as error:
        raise ImportError(
            f"SSH needs the package paramiko ({error}); install it with: pip install 'msl-network-manager[ssh]'",
            name="paramiko",
        ) from error
    return paramiko


def _log_path(script: str) -> str:
    return f"{script}.log"


def _background_command(script: str, kwargs: str, *, as_sudo: bool) -> str:
    """Return what a POSIX shell runs to start the script and to return at once.

    Before it returns, the log is a new, empty file: the message of an earlier Manager is not taken for that of
    this one. The umask counts for the log only, not for what the script makes.
    """
    log = shlex.quote(_log_path(script))
    run = f"{'sudo ' if as_sudo else ''}{shlex.quote(script)} {OPTION} {shlex.quote(kwargs)}"
    return (
        f"rm -f -- {log} 2>/dev/null; "
        f"(umask 077; : > {log}) || exit 1; "
        f'({run} || echo "{ENDED} $?") >> {log} 2>&1 < /dev/null &'
    )


def _is_running(log: list[str], where: str) -> bool:
    """Return whether a Manager wrote that it runs; raise RuntimeError if there is a sign of failure before that."""
    for line in log:
        if NETWORK_MANAGER_RUNNING_PREFIX in line:
            return True
        if line.startswith(ENDED) or any(sign in line for sign in SIGNS_OF_FAILURE):
            raise RuntimeError(f"the Manager could not be started. This is in {where}:\n\n" + "\n".join(log))
    return False


def _read_both(channel: paramiko.Channel, timeout: float | None) -> tuple[str, str]:
    """Return what a command wrote to its standard output and error; raise TimeoutError if it does not end in time.

    One after the other would not do: a command that fills one of them waits until somebody reads it.
    """
    output, errors = bytearray(), bytearray()
    deadline = _deadline(timeout)
    while True:
        ended = channel.eof_received or channel.closed  # asked before the rest is read: nothing comes after it
        came = False
        if channel.recv_ready():
            output += channel.recv(TRANSFER)
            came = True
        if channel.recv_stderr_ready():
            errors += channel.recv_stderr(TRANSFER)
            came = True
        if not came:
            if ended:
                return output.decode(errors="replace"), errors.decode(errors="replace")
            time.sleep(PAUSE)
        if time.monotonic() > deadline:
            raise TimeoutError


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _without_kwargs(command: str) -> str:
    """Return a command for an error message: keyword arguments may hold passwords."""
    before, option, _ = command.partition(f" {OPTION} ")
    return repr(f"{before}{option}..." if option else command)
