from __future__ import annotations

import builtins
import contextlib
import getpass
import json
import os
import select
import shlex
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from msl.network import ssh as theirs
from paramiko.common import MSG_CHANNEL_SUCCESS

from msl_network import LinkedClient, ssh

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the other computer has a POSIX shell")

USER = "pi"
PASSWORD = 'it\'s a "secret"'
DEADLINE = 20.0
"""Seconds after which something that was waited for is taken to never happen."""

RUNNING = "Network Manager running on here:1875"
NASTY: dict[str, Any] = {
    "quotes": 'it\'s "quoted" and `run` \\ $(run) $HOME ${HOME} %PATH% !!',
    "spaces": "  two  \t spaces \n and lines ",
    "unicode": "Zoë, 5 µm, 温度, \N{GRINNING FACE}",
    "control": "\x01\x1f\x7f",
    "empty": "",
    "option": "--kwargs",
    "key with ' and \" and é": [1, -2.5, 1e300, True, None, {"a": []}],
    "name": "the words of Python's own are keywords, too",
}


@dataclass
class Command:
    """A command that the server ran, and a pipe that ends when it and all that it started have ended."""

    popen: subprocess.Popen[bytes]
    lifeline: int

    def has_ended(self, timeout: float = 0) -> bool:
        return bool(select.select([self.lifeline], [], [], timeout)[0])

    def kill(self) -> None:
        if not self.has_ended():
            os.killpg(self.popen.pid, signal.SIGKILL)


class Connection(paramiko.Transport):  # type: ignore[misc] # paramiko has no type hints
    """A connection that notes when a client was told that its command is accepted: until then no channel may close."""

    def __init__(self, sock: Any) -> None:
        self.accepted = threading.Semaphore(0)
        super().__init__(sock)

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)
        if data.asbytes()[0] == MSG_CHANNEL_SUCCESS:
            self.accepted.release()


class Session(paramiko.ServerInterface):  # type: ignore[misc] # paramiko has no type hints
    """What one connection may do: log in, and run commands."""

    def __init__(self, computer: Computer) -> None:
        self.computer = computer

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == (USER, PASSWORD)
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = (username, key) == (USER, self.computer.key_of_user)
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self.computer.run, args=(channel, os.fsdecode(command))).start()
        return True


class Computer(socketserver.ThreadingTCPServer):
    """The other computer: a real SSH server, whose commands are run for real.

    Args:
        home: The folder in which commands are run.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.path = os.environ.get("PATH", os.defpath)
        self.key = paramiko.ECDSAKey.generate()
        self.key_of_user = paramiko.ECDSAKey.generate()
        self.commands: list[Command] = []
        self.texts: list[str] = []
        self.transports: list[Connection] = []
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serves one connection, in a thread of its own."""
        transport = Connection(request)
        self.transports.append(transport)
        transport.add_server_key(self.key)
        with contextlib.suppress(EOFError, paramiko.SSHException):  # the client does not like our key
            transport.start_server(server=Session(self))
        transport.join()

    def run(self, channel: paramiko.Channel, text: str) -> None:
        """Runs one command, and sends back what it writes."""
        lifeline, end = os.pipe()
        popen = subprocess.Popen(
            ["/bin/sh", "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "MSL_NETWORK_HOME": str(self.home / "network"),
                "LC_ALL": "C",
                "PATH": self.path,
            },
            pass_fds=[end],
            start_new_session=True,
        )
        os.close(end)
        self.texts.append(text)
        self.commands.append(Command(popen, lifeline))
        assert popen.stdin
        assert popen.stdout
        assert popen.stderr
        with popen, popen.stdin:  # which stays open: a command may wait for it
            errors = threading.Thread(target=_forward, args=(popen.stderr, channel.sendall_stderr))
            errors.start()
            _forward(popen.stdout, channel.sendall)
            errors.join()
            status = popen.wait()
        assert channel.get_transport().accepted.acquire(timeout=DEADLINE)
        with contextlib.suppress(OSError, EOFError):  # the client has gone
            channel.send_exit_status(status if status >= 0 else 128 - status)
            channel.close()

    def connect(self, **keywords: Any) -> paramiko.SSHClient:
        return ssh.connect("127.0.0.1", username=USER, password=PASSWORD, port=self.port, **keywords)

    def start_manager(self, script: Path | str, **keywords: Any) -> None:
        defaults: dict[str, Any] = {"ssh_password": PASSWORD, "timeout": DEADLINE}
        port = {"port": self.port}
        ssh.start_manager(f"{USER}@127.0.0.1", str(script), paramiko_kwargs=port, **(defaults | keywords))

    def kill(self) -> None:
        """Ends what still runs."""
        for command in self.commands:
            command.kill()

    def close(self) -> None:
        """Ends the server, and fails if the test left a connection, a process or a thread."""
        self.shutdown()
        for transport in self.transports:
            transport.join(DEADLINE)
        open_connections = [transport for transport in self.transports if transport.is_alive()]
        running = [command.popen.args for command in self.commands if not command.has_ended(DEADLINE)]
        for transport in open_connections:
            transport.close()
        self.kill()
        self.server_close()
        for command in self.commands:
            os.close(command.lifeline)
        assert open_connections == []
        assert running == []


def _forward(stream: Any, send: Callable[[bytes], None]) -> None:
    """Sends all that comes; if nobody takes it, it is thrown away, as the command is to end nevertheless."""
    while data := stream.read1(65536):
        with contextlib.suppress(OSError, EOFError):
            send(data)


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Computer]:
    """The other computer; when it is closed, all threads have ended."""
    here = tmp_path / "user"
    (here / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    before = set(threading.enumerate())
    computer = Computer(tmp_path / "other")
    thread = threading.Thread(target=computer.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield computer
    finally:
        computer.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)
        assert not thread.is_alive(), thread


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no person to ask."""

    def fail(prompt: str) -> str:
        raise AssertionError(prompt)

    monkeypatch.setattr(builtins, "input", fail)
    monkeypatch.setattr(getpass, "getpass", fail)


def write(path: Path, *lines: str) -> Path:
    """Writes a console script for the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    return path


def write_python(path: Path, source: str) -> Path:
    """Writes a console script for this Python: its path may be too long, or have a space, for a first line."""
    write(path, f'exec {shlex.quote(sys.executable)} {shlex.quote(f"{path}.py")} "$@"')
    path.with_name(path.name + ".py").write_text(source)
    return path


def know(computer: Computer, key: paramiko.PKey, here: Path) -> None:
    """Has the person's known_hosts say that the other computer has a key."""
    known = here / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{computer.port} {key.get_name()} {key.get_base64()}\n")


# parse_console_script_kwargs


@pytest.mark.parametrize(
    ("arguments", "kwargs"),
    [
        ([], {}),
        (["--port", "1876"], {}),
        (["--kwargs", "{}"], {}),
        (["--kwargs", '{"port": 1876, "a": {"b": [1, null]}}'], {"port": 1876, "a": {"b": [1, None]}}),
        (["-v", "--kwargs", '{"name": "--kwargs"}', "--more"], {"name": "--kwargs"}),
        (["--kwargs", json.dumps(NASTY)], NASTY),
        (["--kwargs", json.dumps(NASTY, ensure_ascii=False)], NASTY),
    ],
)
def test_parsed(arguments: list[str], kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows --kwargs is a JSON object, and without it there are no keyword arguments; both as in 1.0."""
    monkeypatch.setattr(sys, "argv", ["mypackage", *arguments])
    assert ssh.parse_console_script_kwargs() == kwargs
    assert theirs.parse_console_script_kwargs() == kwargs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kwargs"], "a JSON object must follow it"),
        (["--kwargs", ""], "is not JSON"),
        (["--kwargs", "{'password': 'hush'}"], "is not JSON"),
        (["--kwargs", '["hush"]'], "must be a JSON object.*found a list"),
        (["--kwargs", '"hush"'], "must be a JSON object.*found a str"),
        (["--kwargs", "null"], "must be a JSON object.*found a NoneType"),
    ],
)
def test_not_parsed(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else is an error that says what is expected, and does not tell what may be a password."""
    monkeypatch.setattr(sys, "argv", ["mypackage", *arguments])
    with pytest.raises(ValueError, match=message) as caught:
        ssh.parse_console_script_kwargs()
    assert "hush" not in str(caught.value)


# paramiko is optional


def test_without_paramiko(monkeypatch: pytest.MonkeyPatch, nobody: None) -> None:
    """Without paramiko nobody is asked for a password, and the error says how to install it."""
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(ImportError, match=r"pip install 'msl-network-manager\[ssh\]'"):
        ssh.connect("raspberrypi")
    with pytest.raises(ImportError, match=r"pip install 'msl-network-manager\[ssh\]'"):
        ssh.start_manager("raspberrypi", "mypackage")


def test_without_paramiko_on_the_other_computer() -> None:
    """A console script needs no paramiko."""
    source = "import sys; sys.modules['paramiko'] = None; from msl_network import ssh; print(%s)"
    result = subprocess.run(
        [sys.executable, "-c", source % "ssh.parse_console_script_kwargs()", "--kwargs", '{"port": 1}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "{'port': 1}\n"


# connect


def test_connect(computer: Computer, nobody: None) -> None:
    """Who gives everything is connected and asked for nothing; the user in the host counts more, as in 1.0."""
    with computer.connect() as client:
        assert ssh.exec_command(client, "echo hello") == ["hello"]
    with ssh.connect(f"{USER}@127.0.0.1", username="x", password=PASSWORD, port=computer.port) as client:
        assert ssh.exec_command(client, "echo hello") == ["hello"]


def test_a_person_is_asked(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person is asked for the user name and the password that are missing."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return USER if prompt.startswith("User name") else PASSWORD

    monkeypatch.setattr(builtins, "input", answer)
    monkeypatch.setattr(getpass, "getpass", answer)
    ssh.connect("127.0.0.1", port=computer.port).close()
    assert asked == ["User name on 127.0.0.1: ", "Password of pi on 127.0.0.1: "]

    asked.clear()
    ssh.connect(f"{USER}@127.0.0.1", port=computer.port).close()
    assert asked == ["Password of pi on 127.0.0.1: "]


def test_a_person_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty user name or password is an error that says what is needed."""
    monkeypatch.setattr(builtins, "input", lambda prompt: "")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "")
    with pytest.raises(ValueError, match="a user name is needed"):
        ssh.connect("raspberrypi")
    with pytest.raises(ValueError, match="a user name is needed"):
        ssh.connect("@raspberrypi")
    with pytest.raises(ValueError, match="a password, or a key"):
        ssh.connect("pi@raspberrypi")


def test_key_in_place_of_a_password(computer: Computer, nobody: None) -> None:
    """Who has a key is not asked for a password."""
    ssh.connect(f"{USER}@127.0.0.1", port=computer.port, pkey=computer.key_of_user).close()


def test_wrong_password(computer: Computer) -> None:
    """A wrong password is paramiko's error, nothing is started, and the connection is closed."""
    with pytest.raises(paramiko.AuthenticationException):
        ssh.connect(f"{USER}@127.0.0.1", password="wrong", port=computer.port)
    with pytest.raises(paramiko.AuthenticationException):
        computer.start_manager("mypackage", ssh_password="wrong")
    assert computer.commands == []


def test_nobody_listens() -> None:
    """A computer without an SSH server is an OSError."""
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        ssh.connect(f"{USER}@127.0.0.1", password=PASSWORD, port=free_port())


def test_silent_server(nobody: None) -> None:
    """Who accepts connections and says nothing is given up after the time for connecting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises((paramiko.SSHException, TimeoutError)):
            ssh.connect(f"{USER}@127.0.0.1", password=PASSWORD, port=port, timeout=0.1)


def test_known_host(computer: Computer, tmp_path: Path) -> None:
    """A host whose key is in the person's known_hosts is accepted, whatever the policy says about others."""
    know(computer, computer.key, tmp_path / "user")
    computer.connect(missing_host_key_policy=paramiko.RejectPolicy()).close()


def test_changed_host(computer: Computer, tmp_path: Path) -> None:
    """A host whose key is not the one in the person's known_hosts is refused: it gets no password."""
    know(computer, computer.key_of_user, tmp_path / "user")
    with pytest.raises(paramiko.BadHostKeyException):
        computer.connect()
    with pytest.raises(paramiko.BadHostKeyException):
        computer.connect(missing_host_key_policy=paramiko.AutoAddPolicy())
    with pytest.raises(paramiko.BadHostKeyException):
        computer.start_manager("mypackage")


def test_unknown_host(computer: Computer, tmp_path: Path) -> None:
    """A host that is not in known_hosts is accepted and not stored, as in 1.0, unless the policy refuses it."""
    computer.connect().close()
    assert list((tmp_path / "user" / ".ssh").iterdir()) == []
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts"):
        computer.connect(missing_host_key_policy=paramiko.RejectPolicy())
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts"):
        computer.start_manager("mypackage", missing_host_key_policy=paramiko.RejectPolicy())


# exec_command


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("true", []),
        ("exit 3", []),
        ("printf 'one\\ntwo\\r\\n\\n  three'", ["one", "two", "", "  three"]),
        ("printf 'form\\ffeed\\303\\251'", ["form\ffeedé"]),
        ("printf 'not UTF-8: \\377'", ["not UTF-8: \N{REPLACEMENT CHARACTER}"]),
    ],
)
def test_exec_command(computer: Computer, command: str, lines: list[str]) -> None:
    """A command gives the lines that it writes; its exit status does not matter, as in 1.0."""
    with computer.connect() as client:
        assert ssh.exec_command(client, command) == lines


def test_much_output(computer: Computer) -> None:
    """Megabytes of output arrive, more than SSH takes before somebody reads."""
    with computer.connect() as client:
        lines = ssh.exec_command(client, "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo end", timeout=None)
    assert [len(line) for line in lines] == [5_000_000, 3]


def test_much_output_on_both(computer: Computer) -> None:
    """A command that fills its standard error before it writes anything else is not waited for forever."""
    with computer.connect() as client:
        with pytest.raises(RuntimeError, match="xxxx"):
            ssh.exec_command(client, "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo end", timeout=None)


def test_standard_error(computer: Computer) -> None:
    """What is written to the standard error is an error, after which the connection is closed, as in 1.0."""
    client = computer.connect()
    with pytest.raises(RuntimeError, match=r"(?s)'echo fine; echo bad >&2' wrote an error:.*bad"):
        ssh.exec_command(client, "echo fine; echo bad >&2")
    assert client.get_transport() is None


@pytest.mark.parametrize("command", ["cat", "yes"])
def test_timeout(computer: Computer, command: str) -> None:
    """A command that does not end in time, be it silent or not, is an error, and the connection is closed."""
    client = computer.connect()
    with pytest.raises(RuntimeError, match=f"'{command}' has not ended after 1 seconds"):
        ssh.exec_command(client, command, timeout=1)
    assert client.get_transport() is None
    computer.kill()


# start_manager


SCRIPT = """
from {package} import Service, run_services, ssh

class Cell(Service):

    def echo(self, text):
        return text

    def shutdown_service(self):
        return "off"

if __name__ == "__main__":
    run_services(Cell(), **ssh.parse_console_script_kwargs())
"""


@pytest.mark.parametrize("package", ["msl_network", "msl.network"])
def test_start_from_another_computer(computer: Computer, package: str) -> None:
    """A Manager with a Service starts on the other computer, be it ours or 1.0, is used, and is shut down."""
    script = write_python(computer.home / "mypackage", SCRIPT.format(package=package))
    keywords: dict[str, Any] = {"port": free_port(), "auth_password": PASSWORD, "disable_tls": True}
    computer.start_manager(script, **keywords)
    del keywords["auth_password"]
    client = LinkedClient("Cell", host="127.0.0.1", password_manager=PASSWORD, **keywords)
    try:
        assert client.echo("5 µm") == "5 µm"
        assert client.shutdown_service() == "off"
    finally:
        client.disconnect()
    assert all(command.has_ended(DEADLINE) for command in computer.commands)


def test_started_by_theirs(computer: Computer) -> None:
    """The start_manager of 1.0 starts a console script of ours, too."""
    script = write_python(computer.home / "mypackage", SCRIPT.format(package="msl_network"))
    (computer.home / "mypackage.log").touch()  # 1.0 may look for it before its shell has made it, and then fails
    keywords: dict[str, Any] = {"port": free_port(), "disable_tls": True}
    theirs.start_manager(
        f"{USER}@127.0.0.1",
        str(script),
        ssh_password=PASSWORD,
        timeout=DEADLINE,
        paramiko_kwargs={"port": computer.port},
        **keywords,
    )
    client = LinkedClient("Cell", host="127.0.0.1", **keywords)
    client.shutdown_service()
    client.disconnect()


@pytest.mark.parametrize(
    "name",
    ["mypackage", 'it\'s a "folder"/$(touch bad); é & $HOME `touch bad` \\/my\npackage', "~/*"],
)
@pytest.mark.parametrize("kwargs", [NASTY, {}], ids=["nasty", "none"])
def test_kwargs_arrive(computer: Computer, name: str, kwargs: dict[str, Any]) -> None:
    """Keyword arguments arrive unchanged, wherever the script is, and the shell sees nothing but text in either."""
    script = write_python(
        computer.home / name,
        "import json, sys; from msl_network import ssh\n"
        "json.dump(ssh.parse_console_script_kwargs(), open(__file__ + '.json', 'w'))\n"
        f"print({RUNNING!r}, flush=True)\n",
    )
    computer.start_manager(script, **kwargs)
    assert all(command.has_ended(DEADLINE) for command in computer.commands)
    assert json.loads(script.with_name(script.name + ".py.json").read_text()) == kwargs
    assert not (computer.home / "bad").exists()
    assert not (script.parent / "bad").exists()


@pytest.mark.parametrize("name", ["./mypackage", "mypackage", "-i"])
def test_relative_path(computer: Computer, name: str) -> None:
    """A path is relative to where the user arrives, a name is looked for in the PATH; the log is where they arrive."""
    write(computer.home / name, f"echo {RUNNING}")
    computer.path = f"{computer.home}:{computer.path}"
    computer.start_manager(name)
    assert (computer.home / f"{name}.log").read_text() == f"{RUNNING}\n"


def test_kwargs_that_json_cannot_carry(nobody: None) -> None:
    """Such keyword arguments are an error before anybody is asked or anything is started."""
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        ssh.start_manager("raspberrypi", "mypackage", names={"a", "b"})


def test_as_sudo(computer: Computer) -> None:
    """The script is run by sudo, which gets its path and the keyword arguments."""
    write(computer.home / "bin" / "sudo", f'printf "%s\\n" "$@" > args; echo {RUNNING}')
    computer.path = f"{computer.home / 'bin'}:{computer.path}"
    computer.start_manager(computer.home / "my package", as_sudo=True, name="it's")
    assert (computer.home / "args").read_text() == f"{computer.home}/my package\n--kwargs\n" + '{"name": "it\'s"}\n'


def test_log(computer: Computer) -> None:
    """The log is new each time and for its owner only; what the script makes has the permissions that it always has."""
    script = write(computer.home / "mypackage", "touch made; umask > umask", f"echo {RUNNING}")
    log = computer.home / "mypackage.log"
    log.write_text("ERROR in the log of the last time\n")
    log.chmod(0o666)
    computer.start_manager(script)
    assert log.read_text() == f"{RUNNING}\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    umask = subprocess.run(["sh", "-c", "umask"], capture_output=True, text=True, check=True).stdout
    assert (computer.home / "umask").read_text() == umask


def test_log_of_an_earlier_manager(computer: Computer) -> None:
    """That a Manager was running the last time does not count."""
    script = write(computer.home / "mypackage", "echo 'ValueError: no' >&2")
    (computer.home / "mypackage.log").write_text(f"{RUNNING}\n")
    with pytest.raises(RuntimeError, match="ValueError: no"):
        computer.start_manager(script)


def test_log_is_a_link(computer: Computer, tmp_path: Path) -> None:
    """A link that somebody put in the place of the log is not followed."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    (computer.home / "mypackage.log").symlink_to(precious)
    computer.start_manager(write(computer.home / "mypackage", f"echo {RUNNING}"))
    assert precious.read_text() == "data"


def test_error_in_the_script(computer: Computer) -> None:
    """An exception in the script is reported with the log, which has the traceback."""
    script = write_python(computer.home / "mypackage", "raise ValueError('the bath is empty')")
    with pytest.raises(RuntimeError, match=r"(?s)mypackage\.log on .*Traceback.*ValueError: the bath is empty"):
        computer.start_manager(script)


def test_manager_that_cannot_start(computer: Computer) -> None:
    """A Manager whose port is taken is reported with the log."""
    script = write_python(computer.home / "mypackage", SCRIPT.format(package="msl_network"))
    with socket.create_server(("", 0)) as server:
        with pytest.raises(RuntimeError, match=r"(?s)could not be started.*in use"):
            computer.start_manager(script, port=server.getsockname()[1])


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("exit 3", "ended with exit status 3"),
        ("kill -9 $$", "ended with exit status 137"),
        ("echo '2026-11-23 [ERROR] no bath'; exec cat /dev/zero > /dev/null", "no bath"),
    ],
)
def test_signs_of_failure(computer: Computer, line: str, report: str) -> None:
    """A script has failed if its exit status says so, even without a word, or if it logs an error and goes on."""
    with pytest.raises(RuntimeError, match=report):
        computer.start_manager(write(computer.home / "mypackage", line))
    computer.kill()


def test_error_after_the_manager_runs(computer: Computer) -> None:
    """What goes wrong when the Manager is running is no matter of starting it."""
    computer.start_manager(write(computer.home / "mypackage", f"echo {RUNNING}; echo ERROR; exit 1"))


def test_no_script(computer: Computer) -> None:
    """A script that is not there is reported at once, with what the shell says; so is a folder that is not there."""
    with pytest.raises(RuntimeError, match=r"(?s)not found.*exit status 127"):
        computer.start_manager(computer.home / "mypackage")
    with pytest.raises(RuntimeError, match=r"nowhere/mypackage\.log") as caught:
        computer.start_manager(computer.home / "nowhere" / "mypackage", password="hush")
    assert "hush" not in str(caught.value)


def test_manager_that_does_not_come(computer: Computer, caplog: pytest.LogCaptureFixture) -> None:
    """A script that says nothing in time is left alone, as in 1.0, and a warning names its log."""
    script = write(computer.home / "mypackage", "exec cat /dev/zero > /dev/null")
    computer.start_manager(script, timeout=2)
    assert f"no Manager is running on {USER}@127.0.0.1 after 2 seconds; see {script}.log there" in caplog.text
    assert not all(command.has_ended() for command in computer.commands)
    computer.kill()
