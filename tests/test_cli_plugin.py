from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msl_network.cli import main
from msl_network.cli_plugin import HOOKS, TEMPLATES, new
from msl_network.errors import StartError

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the person is."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_it_installs_and_passes(hook: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plugin new` writes a package that pip installs, whose tests pass, and that the Manager finds and enables."""
    assert main(["plugin", "new", "lab-thing", "--hook", hook]) == 0
    assert capsys.readouterr().out == (
        "wrote into lab-thing: pyproject.toml, README.md, lab_thing.py, tests/test_lab_thing.py\n"
        "try it:  cd lab-thing && pip install -e '.[test]' && pytest\n"
    )
    folder, site = here / "lab-thing", tmp_path / "site"
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "install", *flags, "--target", str(site), str(folder)], here)
    path = os.pathsep.join([str(site), str(ROOT)])
    passed = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], folder, PYTHONPATH=path)
    assert re.search(r"= \d+ passed in ", passed)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    settings = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert settings is not None
    (here / "lab.toml").write_text(settings[1], encoding="utf-8")
    command = [sys.executable, "-m", "msl_network", "--config", "lab.toml", "plugins"]
    listed = run(command, here, PYTHONPATH=path, CODE="1234")
    kind = "enabled, authenticates" if hook == "authenticate" else "enabled"
    line = rf"^lab_thing +{kind} +lab_thing:LabThing +\(msl-network-lab-thing 0\.1\.0\)\n +hooks: .*\b{hook}\b"
    assert re.search(line, listed, re.MULTILINE), listed


OLD_CLIENT = """
import sys
from msl.network import connect

try:
    cxn = connect(host="127.0.0.1", port=int(sys.argv[1]), disable_tls=True, password=sys.argv[2], timeout=20)
    print("let in:", len(cxn.identities()["clients"]))
    cxn.disconnect()
except Exception as error:
    print("kept out:", str(error).splitlines()[-1])
"""


def test_from_the_template_to_a_client_of_1_0(here: Path, tmp_path: Path) -> None:
    """The wheel of a plugin that was just begun keeps the door for a Client of 1.0: it lets it in, or keeps it out."""
    new("badge-reader", here / "badge-reader")
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "wheel", *flags, "-w", "dist", "./badge-reader"], here)
    (wheel,) = (here / "dist").iterdir()
    site = tmp_path / "site"
    run([*pip, "install", *flags, "--target", str(site), str(wheel)], here)
    (here / "lab.toml").write_text(
        '[manager]\nhost = "127.0.0.1"\nport = 0\nauth = ["badge_reader"]\n'
        '[manager.tls]\nenabled = false\n[plugins.badge_reader]\ncode = "1234"\n',
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "msl_network", "start", "--config", "lab.toml"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as manager:
        assert manager.stderr is not None
        try:
            running = next(line for line in manager.stderr if "Network Manager running on" in line)
            port = running.rpartition(":")[2].split()[0]
            said = [run([sys.executable, "-W", "ignore", "-c", OLD_CLIENT, port, code], here) for code in ("1234", "4")]
            assert said == ["let in: 1\n", "kept out: ValueError: Unknown code\n"]
        finally:
            manager.terminate()
            manager.stderr.read()
        assert manager.wait(20) == 0


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_the_readme(hook: str, here: Path) -> None:
    """It has the settings as people write them, a line apart, and says how others get the plugin: as a wheel."""
    new("lab-thing", here / hook, hook)
    text = (here / hook / "README.md").read_text(encoding="utf-8")
    settings = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert settings is not None
    sections = re.findall(r"(.*\n)?\[[\w.]+\]\n", settings[1])
    assert sections == (["", "\n"] if hook == "authenticate" else [""])
    assert "    pip wheel --no-deps -w dist .\n" in text


def test_the_folder(here: Path) -> None:
    """Another folder may be named, also one below others that are made with it."""
    files = new("badge_reader", here / "a" / "b")
    assert [str(file) for file in files] == [
        *("pyproject.toml", "README.md", "badge_reader.py"),
        str(Path("tests", "test_badge_reader.py")),
    ]
    assert all((here / "a" / "b" / file).is_file() for file in files)
    assert main(["plugin", "new", "badge", "--folder", "c"]) == 0
    assert "class Badge:" in (here / "c" / "badge.py").read_text(encoding="utf-8")


def test_what_is_filled_in(here: Path) -> None:
    """No placeholder is left, whatever the hook, and the class has the name in its own spelling."""
    for hook in HOOKS:
        for file in new("my-lab-2", here / hook, hook):
            text = (here / hook / file).read_text(encoding="utf-8")
            assert "$" not in text
            assert file.suffix != ".py" or "MyLab2" in text


def test_each_template_is_used() -> None:
    """The folder of the templates has a module and a test for each hook, and nothing else."""
    names = {f"{hook}.py.txt" for hook in HOOKS} | {f"test_{hook}.py.txt" for hook in HOOKS}
    assert {file.name for file in TEMPLATES.iterdir()} == names | {"pyproject.toml.txt", "README.md.txt"}


@pytest.mark.parametrize(
    "name", ["", "Badge", "badge reader", "1badge", "-badge", "badge-", "a--b", "a_-b", "../x", "größe", "x" * 51]
)
def test_no_valid_name(name: str, here: Path) -> None:
    """What can be no name is refused in one line that says what can, and nothing is written."""
    with pytest.raises(StartError) as info:
        new(name, here / "x")
    assert str(info.value).startswith(f"{name!r} cannot be the name of a plugin; allowed are ")
    assert "\n" not in str(info.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("import", "'import' is a word or a module of Python itself; choose another name, e.g. 'import-plugin'"),
        ("match", "'match' is a word or a module of Python itself"),
        ("socket", "'socket' is a word or a module of Python itself"),
        ("login", "there is a plugin 'login' already, msl-network-manager "),
        ("json-lines", "there is a plugin 'json_lines' already, msl-network-manager "),
    ],
)
def test_a_name_that_is_taken(name: str, text: str, here: Path) -> None:
    """A name that means something else already is refused."""
    with pytest.raises(StartError) as info:
        new(name, here / "x")
    assert str(info.value).startswith(text)


def test_a_folder_that_exists(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written into a folder that was there, not even into an empty one."""
    (here / "badge").mkdir()
    assert main(["plugin", "new", "badge"]) == 1
    assert capsys.readouterr().err == (
        "msl-network: error: 'badge' exists already; name another folder with --folder, or remove it\n"
    )
    assert list((here / "badge").iterdir()) == []


def test_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty word, as of a variable that is not set, is not the folder where one is."""
    assert main(["plugin", "new", "badge", "--folder", ""]) == 1
    assert "--folder: found nothing, allowed is the name of a folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(here: Path) -> None:
    """The reason of the system is told, in one line."""
    (here / "file").write_text("", encoding="utf-8")
    with pytest.raises(StartError, match=r"^cannot write '.*': Not a directory$"):
        new("badge", here / "file" / "badge")


def test_all_or_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one file cannot be written, none is left."""
    write = Path.write_text

    def fail(path: Path, text: str, **keywords: Any) -> int:
        if path.name.startswith("test_"):
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **keywords)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(StartError, match=r"test_badge\.py': No space left on device$"):
        new("badge", here / "badge")
    assert list(here.iterdir()) == []
