"""What `msl-network` says when it cannot start, and with which status it ends. Each case is a real process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from .laboratory import DEADLINE

HERE = ("-H", "127.0.0.1", "-p", "0")
PLAIN = (*HERE, "--disable-tls")

CASES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no users": ((*PLAIN, "--auth-login"), 1, r"plugin 'login': there are no users yet in .*; add one with: "),
    "bad level": ((*PLAIN, "-G", "LOUD"), 1, r"log_level: found 'LOUD', allowed is one of "),
    "port above all": (("-p", "65536"), 1, r"port: found 65536, allowed is 0 \(any free port\) to 65535"),
    "port below all": (("-p", "-1"), 1, r"port: found -1, allowed is "),
    "port is text": (("-p", "abc"), 2, r"argument -p/--port: invalid int value: 'abc'; see "),
    "port in use": (("-H", "127.0.0.1", "-p", "TAKEN", "--disable-tls"), 1, r"cannot listen on .* is in use, "),
    "host of another": (("-H", "192.0.2.1", "-p", "0", "--disable-tls"), 1, r".*does not have that address"),
    "host that is none": (("-H", "no.such.invalid", "--disable-tls"), 1, r"cannot listen on no.such.invalid, "),
    "host is nothing": (("-H", ""), 1, r"host: found '', allowed is a name or an address"),
    "database is text": ((*PLAIN, "-d", "text"), 1, r"the database .*text: file is not a database; "),
    "database is a folder": ((*PLAIN, "-d", "."), 1, r"the database .* is a folder; "),
    "database is a device": ((*PLAIN, "-d", os.devnull), 1, r"the database .* is not a regular file; "),
    "database cannot be made": ((*PLAIN, "-d", "/proc/x.sqlite3"), 1, r"the database /proc/x.sqlite3: "),
    "database is nothing": ((*PLAIN, "-d", ""), 1, r"--database: found nothing, "),
    "key is text": ((*HERE, "-c", "a.crt", "-k", "text"), 1, r".*text: there is no private key in PEM form"),
    "key of another": ((*HERE, "-c", "a.crt", "-k", "b.key"), 1, r".*b.key does not belong to this certificate"),
    "key is encrypted": ((*HERE, "-c", "a.crt", "-k", "a.key"), 1, r".*a.key: the private key is encrypted; "),
    "wrong password": ((*HERE, "-c", "a.crt", "-k", "a.key", "-D", "x"), 1, r".*the password .* does not open "),
    "no key": ((*HERE, "-c", "a.crt", "-k", "no.key"), 1, r".*no.key: there is no such file; "),
    "no certificate": ((*HERE, "-c", "no.crt", "-k", "b.key"), 1, r".*no.crt: there is no such file; "),
    "certificate is text": ((*HERE, "-c", "text", "-k", "b.key"), 1, r".*text: there is no certificate in PEM form"),
    "key is nothing": ((*HERE, "-k", ""), 1, r"--key-file: found nothing, "),
    "unknown plugin": ((*PLAIN, "--config", "plugin.toml"), 1, r"plugin.toml .* there is no plugin 'nope', "),
    "bad TOML": (("--config", "bad.toml"), 1, r"bad.toml: is not valid TOML: "),
    "unknown setting": (("--config", "key.toml"), 1, r"key.toml \[manager\] prt: unknown key, did you mean 'port'"),
    "no TOML": (("--config", "no.toml"), 1, r"no.toml: cannot read the file: "),
    "log in no folder": ((*PLAIN, "-l", "no/x.log"), 1, r"cannot write the log file .*: No such file"),
    "log is a folder": ((*PLAIN, "-l", "."), 1, r"cannot write the log file .*: Is a directory"),
    "log is nothing": ((*PLAIN, "-l", ""), 1, r"--log-file: found nothing, "),
    "empty password": ((*PLAIN, "-P", ""), 1, r"\[plugins.password\] password: it is empty; "),
}


TRIED = {
    *("no users", "port in use", "host of another", "host that is none"),
    *("database is text", "database is a folder", "database is a device", "database cannot be made"),
}
"""The mistakes that are found only when the Manager starts, when there is a log; the others are found before."""


def test_mistakes(tmp_path: Path) -> None:
    """27. Each mistake is a status that is not 0 and one line that says what is wrong; no traceback, no output."""
    (tmp_path / "text").write_text("this is neither a database nor a key\n" * 50)
    (tmp_path / "bad.toml").write_text("[manager\n")
    (tmp_path / "key.toml").write_text("[manager]\nprt = 5\n")
    (tmp_path / "plugin.toml").write_text('[manager]\nplugins = ["nope"]\n')
    msl_network = [sys.executable, "-m", "msl_network"]
    for words in ("keygen --out a.key -p secret", "certgen a.crt -k a.key -p secret", "keygen --out b.key"):
        subprocess.run([*msl_network, *words.split()], cwd=tmp_path, check=True, capture_output=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        found = {}
        names = list(CASES)
        for start in range(0, len(names), 4):  # a few at a time
            processes = {}
            for name in names[start : start + 4]:
                flags = [port if word == "TAKEN" else word for word in CASES[name][0]]
                processes[name] = subprocess.Popen(
                    [*msl_network, "start", *flags],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            for name, process in processes.items():
                found[name] = (*process.communicate(timeout=60), process.returncode)
    for name, (_, status, said) in CASES.items():
        output, errors, code = found[name]
        lines = [line for line in errors.splitlines() if "[INFO ]" not in line]
        assert (name, output, code) == (name, "", status), errors
        assert (name, "[INFO ]" in errors) == (name, name in TRIED), errors
        assert len(lines) == 1, errors
        assert re.match(f"msl-network: error: {said}", lines[0]), lines


def start(folder: Path, shell: str = "", **environment: str | None) -> subprocess.Popen[str]:
    """Start a Manager by way of a shell."""
    flags = "-H 127.0.0.1 -p 0 --disable-tls -l x.log -d x.sqlite3"
    merged = {**os.environ, **environment}
    return subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} -m msl_network start {flags} {shell}"],
        cwd=folder,
        env={name: value for name, value in merged.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_it_runs(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() or "Network Manager running" not in path.read_text():
        assert process.poll() is None, process.communicate()
        os.sched_yield()


def test_standard_streams_that_are_closed(tmp_path: Path) -> None:
    """A Manager without stdin, stdout and stderr runs, and none of its files or connections gets their numbers."""
    with start(tmp_path, "<&- >&- 2>&-") as process:
        wait_until_it_runs(tmp_path / "x.log", process)
        for descriptor in range(3):
            assert Path(f"/proc/{process.pid}/fd/{descriptor}").readlink() == Path(os.devnull)
        process.terminate()
        assert process.wait(DEADLINE) == 0


def test_stderr_that_is_full_or_gone(tmp_path: Path) -> None:
    """A terminal that takes nothing, because it is full or has gone, is one line in the file, and no reason to end."""
    for number, shell in enumerate(("2>/dev/full", "2> >(true)")):
        folder = tmp_path / str(number)
        folder.mkdir()
        with start(folder, shell) as process:
            wait_until_it_runs(folder / "x.log", process)
            process.terminate()
            process.communicate(timeout=DEADLINE)
            assert process.returncode == 0
        text = (folder / "x.log").read_text()
        assert text.count("the log cannot be written to the terminal, trying again: ") == 1
        assert text.endswith("Network Manager stopped\n")


def test_stderr_that_is_a_socket(tmp_path: Path) -> None:
    """A socket, as a service manager gives it, is a terminal like others; when it closes, nothing else ends."""
    ours, theirs = socket.socketpair()
    with closing(ours), theirs:
        command = [sys.executable, "-m", "msl_network", "start", "-H", "127.0.0.1", "-p", "0", "--disable-tls"]
        with subprocess.Popen([*command, "-l", "x.log"], cwd=tmp_path, stderr=theirs.fileno()) as process:
            theirs.close()
            with ours.makefile() as stream:
                assert any("Network Manager running" in line for line in stream)
            ours.close()
            process.terminate()
            assert process.wait(DEADLINE) == 0


def test_home_that_is_not_needed(tmp_path: Path) -> None:
    """Without TLS, with log and database elsewhere, the Manager needs no home, which may be read-only: none is made."""
    home = tmp_path / "home"
    with start(tmp_path, MSL_NETWORK_HOME=str(home)) as process:
        wait_until_it_runs(tmp_path / "x.log", process)
        process.terminate()
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0
    assert not home.exists()


def test_user_without_a_home(tmp_path: Path) -> None:
    """A user that the system does not know, without HOME, is told in one line what to do."""
    program = (
        "import pwd, sys\n"
        "def unknown(number): raise KeyError(number)\n"
        "pwd.getpwuid = unknown\n"
        "from msl_network.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"HOME", "MSL_NETWORK_HOME"}}
    result = subprocess.run(
        [sys.executable, "-c", program, "start", *PLAIN],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = "msl-network: error: this user has no home folder; say where files shall live with MSL_NETWORK_HOME\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", said)
