"""The programs of the folder `examples/`: each runs, and prints what docs/embedding.md says."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import Client, connect

from .laboratory import DEADLINE
from .pages import Terminals, blocks
from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
PAGE = ROOT / "docs" / "embedding.md"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
UNIT = FOLDER / "msl-network.service"
NOTEBOOK = FOLDER / "notebook.ipynb"
LONGEST = 110
"""Lines: two screens."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_explained(path: Path) -> None:
    """It begins with what it shows and how to run it, is two screens long at the most, and the page leads to it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    assert re.search(rf"examples/{re.escape(path.name)}|docs/embedding\.md", text)
    assert path.suffix == ".ipynb" or len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert f"](../examples/{path.name})" in PAGE.read_text(encoding="utf-8")


class OnOtherPorts(Terminals):
    """The page, with a free port in place of that of its web server."""

    web = 8000

    def adapt(self, text: str) -> str:
        return super().adapt(text.replace("8000", str(self.web)))


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page runs from top to bottom and prints what it says, with warnings as errors."""
    assert shutil.which("curl"), "the page uses curl"
    shutil.copytree(FOLDER, tmp_path / "lab" / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    OnOtherPorts.web = free_port()
    monkeypatch.setenv("PORT", str(OnOtherPorts.web))
    monkeypatch.setenv("MANAGER_PORT", "0")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with closing(OnOtherPorts(tmp_path / "lab", free_port())) as terminals:
        consoles = [block for block in blocks(PAGE) if block.language == "console"]
        ran = set()
        for block in consoles:
            terminals.run(block)
            ran |= set(re.findall(r"^\$ python examples/(\w+\.py)", block.text))
    assert ran == {path.name for path in FILES if path.suffix == ".py"}


# The web application


@contextmanager
def web_application(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A web server in a process of its own: where it is, and the port of its Manager."""
    port, manager = free_port(), free_port()
    environment = {**os.environ, "PORT": str(port), "MANAGER_PORT": str(manager), "PYTHONWARNINGS": "error"}
    log = tmp_path / "log.txt"
    with log.open("w") as stream:
        command = [sys.executable, str(FOLDER / "web_application.py")]
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 3 * DEADLINE
        while "Uvicorn running on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            os.sched_yield()
        yield f"http://127.0.0.1:{port}", manager
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert "Application shutdown complete." in log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def ask(url: str, data: bytes | None = None) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    request = urllib.request.Request(url, data, method="GET" if data is None else "PUT")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def come(port: int) -> Client:
    return connect(host="127.0.0.1", port=port, auto_save=True)


def test_web_application(tmp_path: Path) -> None:
    """The web and the Clients of the laboratory see the same Service; what is wrong is said by status and text."""
    with web_application(tmp_path) as (url, port):
        assert ask(f"{url}/services") == (200, ["Thermostat"])
        with come(port) as client:
            thermostat = client.link("Thermostat")
            assert thermostat.set_target(25.0) == 25.0
            assert ask(f"{url}/target") == (200, 25.0)
            assert ask(f"{url}/target", b"30.5") == (200, 30.5)
            assert thermostat.target() == 30.5
            assert ask(f"{url}/target", b"99") == (422, {"error": "99 is not between 5 and 35"})
            assert ask(f"{url}/target", b'"warm"')[0] == 422
            assert ask(f"{url}/target", b"warm") == (422, {"error": "Expecting value: line 1 column 1 (char 0)"})
            thermostat.disconnect()
    with closing(socket.create_server(("127.0.0.1", port))):
        pass  # the end of the application was the end of the Manager


def test_web_application_whose_service_takes_nobody(tmp_path: Path) -> None:
    """While somebody has locked the Service, the web says so, and goes on after that."""
    with web_application(tmp_path) as (url, port), come(port) as client:
        thermostat = client.link("Thermostat")
        thermostat.acquire_lock()
        status, answer = ask(f"{url}/target")
        assert status == 503
        assert "locked" in answer["error"]
        thermostat.release_lock()
        assert ask(f"{url}/target") == (200, 20.0)


# The notebook

EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
NotebookClient(notebook, timeout=60, record_timing=False).execute()
print(json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"]))
"""


def shown(outputs: list[dict[str, Any]]) -> list[str]:
    """What a person sees below a cell."""
    texts = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    return ["".join(text) for text in texts]


def test_notebook(tmp_path: Path) -> None:
    """Its cells run in the kernel of Jupyter, one after the other, and show what is stored in the file."""
    stored = [
        cell["outputs"] for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if "outputs" in cell
    ]
    folders = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        env={**os.environ, **{name: str(tmp_path / name) for name in folders}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [shown(outputs) for outputs in found] == [shown(outputs) for outputs in stored]
    assert sum(map(len, found)) > 3


# The unit


def unit() -> dict[str, list[str]]:
    """The keys of the unit, each with its values."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_unit(tmp_path: Path, home: Path) -> None:
    """What systemd would start is ready, says that it is alive, reloads when told to, and ends in time."""
    keys = unit()
    (tmp_path / "lab.toml").write_text('[manager]\nhost = "127.0.0.1"\nport = 0\n')
    (start, words), (reload, other_words) = [
        (program, [sys.executable, "-m", "msl_network", *words])
        for key in ("ExecStart", "ExecReload")
        for program, *words in [shlex.split(keys[key][0].replace("/etc/msl-network", str(tmp_path)))]
    ]
    assert start == reload
    assert Path(start).name == "msl-network"
    environment = dict(value.split("=", 1) for value in keys["Environment"])
    assert environment["MSL_NETWORK_HOME"] == f"/var/lib/{keys['StateDirectory'][0]}"
    environment["MSL_NETWORK_HOME"] = str(home)
    assert keys["Type"] == ["notify"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(3 * DEADLINE)
        environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        environment["WATCHDOG_USEC"] = f"{keys['WatchdogSec'][0]}000000"
        process = subprocess.Popen(
            words,
            env={"PATH": os.environ["PATH"], **environment},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert sock.recv(4096).startswith(b"READY=1\n")
            assert sock.recv(4096) == b"WATCHDOG=1"
            assert subprocess.run(other_words, env=environment, check=False, timeout=3 * DEADLINE).returncode == 0
            (tmp_path / "lab.toml").write_text("[manager")
            assert subprocess.run(other_words, env=environment, check=False, timeout=3 * DEADLINE).returncode == 1
            process.send_signal(signal.SIGTERM)
            assert sock.recv(4096).startswith(b"STOPPING=1\n")
            assert process.wait(int(keys["TimeoutStopSec"][0])) == 0
        finally:
            process.kill()
            process.wait()


def test_unit_as_systemd_reads_it(tmp_path: Path) -> None:
    """Systemd itself finds nothing wrong, where there is one; elsewhere each key is one of a known section."""
    text = UNIT.read_text(encoding="utf-8")
    assert re.findall(r"^\[(\w+)\]$", text, re.MULTILINE) == ["Unit", "Service", "Install"]
    assert not re.findall(r"^(?!#|\[\w+\]$|\w+=|$).+", text, re.MULTILINE)
    if shutil.which("systemd-analyze"):
        copy = tmp_path / UNIT.name
        # what this computer has
        for key, value in (("ExecStart", "/bin/true"), ("ExecReload", "/bin/true"), ("User", "root")):
            text = re.sub(rf"^{key}=.*", f"{key}={value}", text, flags=re.MULTILINE)
        copy.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
        )
        assert UNIT.name not in done.stderr
