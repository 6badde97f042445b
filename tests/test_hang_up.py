"""A program that is sent SIGHUP, or asked with ``msl-network reload``. Each Manager is a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import RefusedError, connect, hang_up, paths
from msl_network.errors import StartError

from .laboratory import DEADLINE, HERE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP; see test_windows")

SETTINGS = """
[manager]
host = "127.0.0.1"
port = 0
auth = ["password"]
log_file = "lab.log"
{manager}
[manager.tls]
enabled = false
[plugins.password]
password = {{ file = "password.txt" }}
"""

COMMAND = [sys.executable, "-m", "msl_network"]


def entries() -> list[Path]:
    """The files of the Managers that run."""
    return list(paths.running().glob("*.json"))


class Lab:
    """A Manager in a process of its own."""

    def __init__(self, folder: Path, *words: str, **keywords: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / "lab.toml"
        self.write()
        self.password("one")
        command = [*COMMAND, "start", "--config", "lab.toml", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, **keywords)
        self.port = int(self.says(r"running on \S+:(\d+)")[1])
        until = time.monotonic() + DEADLINE
        while "--database" not in words and all(
            self.process.pid != json.loads(entry.read_bytes())["pid"] for entry in entries()
        ):
            assert time.monotonic() < until, "it has written no file"

    def write(self, manager: str = "") -> None:
        self.file.write_text(SETTINGS.format(manager=manager), encoding="utf-8")

    def password(self, text: str) -> None:
        (self.folder / "password.txt").write_text(text, encoding="utf-8")

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log."""
        assert self.process.stderr is not None
        seen = ""
        for line in self.process.stderr:
            seen += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended, and said: {seen}")

    def lets_in(self, password: str) -> bool:
        try:
            with connect(host=HERE, port=self.port, disable_tls=True, password_manager=password, timeout=DEADLINE):
                return True
        except RefusedError:
            return False

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def running(folder: Path, *words: str, **keywords: Any) -> Iterator[Lab]:
    with closing(Lab(folder, *words, **keywords)) as lab:
        yield lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running(tmp_path / "lab", start_new_session=True) as lab:
        yield lab


def reload(*words: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run ``msl-network reload``; return its exit status and what it printed."""
    done = subprocess.run(
        [*COMMAND, "reload", *words], capture_output=True, text=True, timeout=60, check=False, cwd=cwd
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_sighup(lab: Lab) -> None:
    """The password is another one from now on; who is connected stays, and the process ends as ever."""
    with connect(host=HERE, port=lab.port, disable_tls=True, password_manager="one", timeout=DEADLINE) as client:
        lab.password("two")
        lab.process.send_signal(signal.SIGHUP)
        lab.says("the settings are reloaded, from lab.toml")
        assert (lab.lets_in("one"), lab.lets_in("two")) == (False, True)
        assert client.identities()
    lab.process.send_signal(signal.SIGTERM)
    assert lab.process.wait(DEADLINE) == 0


def test_the_command(lab: Lab, home: Path) -> None:
    """It waits until it is done; the file with which it finds the Manager is its owner's only, and goes with it."""
    (entry,) = (home / "run").iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    lab.password("two")
    status, text = reload()
    assert (status, text) == (0, f"{json.loads(entry.read_text())['name']} has reloaded its settings\n")
    assert (lab.lets_in("one"), lab.lets_in("two")) == (False, True)
    lab.write('transport = "streams"')
    status, text = reload("--config", "lab.toml", cwd=lab.folder)
    assert (status, text.splitlines()[1:]) == (0, ["note: changed, but it needs a restart: [manager] transport"])
    lab.process.send_signal(signal.SIGTERM)
    assert lab.process.wait(DEADLINE) == 0
    assert list((home / "run").iterdir()) == []
    assert reload()[0] == 1


@pytest.mark.parametrize("text", ["[manager", "[manager]\nx = 1"])
def test_a_broken_file(lab: Lab, text: str) -> None:
    """Nothing changes; the reason is told to who asked and to the log."""
    lab.password("two")
    lab.file.write_text(text, encoding="utf-8")
    status, answer = reload("--config", str(lab.file))
    assert status == 1
    problem = lab.says(r"reloading the settings failed: (lab.toml.*)")[1]
    assert re.fullmatch(rf"msl-network: error: Manager\[.*\] keeps its settings: {re.escape(problem)}\n", answer)
    assert lab.lets_in("one")


def test_which_manager(tmp_path: Path) -> None:
    """With several, one must be named, and another one is not touched; who has none is told which there are."""
    with running(tmp_path / "a") as one, running(tmp_path / "b") as other:
        status, text = reload()
        assert (status, text.startswith("msl-network: error: several Managers run: ")) == (1, True)
        for lab in (one, other):
            assert f"({lab.file}, process {lab.process.pid})" in text
            lab.password("two")
        assert reload("--config", str(other.file))[0] == 0
        assert (one.lets_in("two"), other.lets_in("two")) == (False, True)
        status, text = reload("--config", "c.toml")
        assert status == 1
        assert text.startswith(
            "msl-network: error: no Manager with the settings 'c.toml' runs here as a program of this"
        )
        assert str(one.file) in text


def test_one_that_was_killed(lab: Lab, home: Path) -> None:
    """What it left behind is recognised and removed, and nobody else who has its number by now is sent a signal."""
    (entry,) = entries()
    lab.process.kill()
    lab.process.wait()
    facts = json.loads(entry.read_text())
    entry.write_text(json.dumps({**facts, "pid": os.getpid()}), encoding="utf-8")
    status, text = reload()
    assert (status, text) == (
        1,
        f"msl-network: error: no Manager runs here as a program of this user ({home / 'run'})\n",
    )
    assert entries() == []


def test_a_manager_of_another_computer(lab: Lab) -> None:
    """A home that several computers, or containers, share: a number means nothing to the others."""
    (entry,) = entries()
    facts = json.loads(entry.read_text())
    entry.write_text(json.dumps({**facts, "host": "elsewhere"}), encoding="utf-8")
    assert reload()[0] == 1
    assert lab.process.poll() is None
    assert entry.exists()


def test_one_that_hangs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that it did not answer."""
    lab.process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(hang_up, "PATIENCE", 0.1)
    with pytest.raises(StartError, match=r"has not reloaded within 0.1 s; its log may say why$"):
        hang_up.ask_to_reload()
    lab.process.send_signal(signal.SIGCONT)
    lab.says("the settings are reloaded")


def test_the_command_line_still_holds(tmp_path: Path) -> None:
    """What was said when it was started wins over the file, as it did then."""
    with running(tmp_path / "lab", "--auth-password", "spoken", start_new_session=True) as lab:
        lab.write("allow_anonymous = true")
        assert reload()[0] == 0
        assert (lab.lets_in("one"), lab.lets_in("spoken")) == (False, True)


WITH_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@contextmanager
def in_terminal(folder: Path, how: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a Manager in a terminal of its own; give the process, and the terminal, which the test closes."""
    folder.mkdir()
    (folder / "lab.toml").write_text(SETTINGS.format(manager=""), encoding="utf-8")
    (folder / "password.txt").write_text("one", encoding="utf-8")
    terminal, inner = os.openpty()
    command = [sys.executable, "-c", WITH_TERMINAL, how, *COMMAND[1:], "start", "--config", "lab.toml"]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, cwd=folder, start_new_session=True)
    os.close(inner)
    try:
        yield process, terminal
    finally:
        process.kill()
        process.wait()


def read_until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 65536)


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """The signal then means the end, as for any program in a terminal; before, it means to reload."""
    with in_terminal(tmp_path / "lab", "plain") as (process, terminal):
        read_until(terminal, b"letting in who passes")
        process.send_signal(signal.SIGHUP)
        read_until(terminal, b"the settings are reloaded")
        os.close(terminal)
        assert process.wait(DEADLINE) == 0
    assert "stopping, because the terminal is closed" in (tmp_path / "lab" / "lab.log").read_text(encoding="utf-8")


def test_a_terminal_that_is_closed_for_nohup(tmp_path: Path) -> None:
    """With nohup, which has the signal ignored, it goes on, and reloads when it is asked."""
    with in_terminal(tmp_path / "lab", "nohup") as (process, terminal):
        read_until(terminal, b"letting in who passes")
        os.close(terminal)
        assert reload()[0] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert "because the terminal is closed" not in (tmp_path / "lab" / "lab.log").read_text(encoding="utf-8")


def test_without_a_home(tmp_path: Path, home: Path) -> None:
    """A Manager that needs none is not given one: the signal works, and the log says that the command does not."""
    folder = tmp_path / "lab"
    with running(folder, "--database", "lab.db", start_new_session=True) as lab:
        lab.process.send_signal(signal.SIGHUP)
        lab.says("the settings are reloaded")
        lab.process.send_signal(signal.SIGTERM)  # its log is written when it has ended
        assert lab.process.wait(DEADLINE) == 0
    assert not home.exists()
    assert f"will not find this Manager, send SIGHUP to its process instead: there is no folder {home}" in (
        folder / "lab.log"
    ).read_text(encoding="utf-8")


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such signal, and the text says what to do instead."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StartError, match=r"send the administrator request instead: .*\(\"reload\"\)$"):
        hang_up.ask_to_reload()
