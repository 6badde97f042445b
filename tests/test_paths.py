from __future__ import annotations

import os
import stat
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import pytest

from msl_network import paths
from msl_network.errors import StartError


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the process a user folder of its own, with no folder of ours in it."""
    monkeypatch.delenv("MSL_NETWORK_HOME", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_from_the_environment(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSL_NETWORK_HOME wins over a folder of 1.0, is read at each call, and may begin with ~."""
    (user / ".msl" / "network").mkdir(parents=True)
    monkeypatch.setenv("MSL_NETWORK_HOME", str(user / "one"))
    assert paths.home() == user / "one"
    monkeypatch.setenv("MSL_NETWORK_HOME", "~/two")
    assert paths.home() == user / "two"


def test_home_of_1_0(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a 1.0 installation is used if it exists; an empty variable counts as none."""
    (user / ".msl" / "network").mkdir(parents=True)
    monkeypatch.setenv("MSL_NETWORK_HOME", "")
    assert paths.home() == user / ".msl" / "network"


def test_home_by_default(user: Path) -> None:
    """Without both, the place is the operating system's for data of an application, and is not made."""
    home = paths.home()

    assert home.name == "msl-network"
    assert user in home.parents
    assert not home.exists()


def test_home_stays(user: Path) -> None:
    """A Manager stays at home when 1.0 comes, and whoever starts it is told of another one's database."""
    home = paths.home()
    home.mkdir(parents=True)
    paths.database(home).touch()
    legacy = user / ".msl" / "network"
    legacy.mkdir(parents=True)  # as a Client of 1.0 does
    assert paths.home() == home
    assert paths.unused_home() is None

    paths.database(legacy).touch()  # as a Manager of 1.0 does
    assert paths.home() == home
    assert paths.unused_home() == legacy


def test_home_of_a_client_moves(user: Path) -> None:
    """A folder without a Manager's database gives way to that of 1.0, which has more."""
    paths.home().mkdir(parents=True)
    legacy = user / ".msl" / "network"
    legacy.mkdir(parents=True)
    paths.database(legacy).touch()
    assert paths.home() == legacy
    assert paths.unused_home() is None


def test_no_unused_home_if_one_is_chosen(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has said where files live is told of no other place."""
    for folder in (paths.home(), user / ".msl" / "network"):
        folder.mkdir(parents=True)
        paths.database(folder).touch()
    monkeypatch.setenv("MSL_NETWORK_HOME", str(user / "one"))
    assert paths.unused_home() is None


def test_home_under_sudo(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under sudo the folder is that of the user who typed it, with and without a 1.0 installation."""
    caller = user / "caller"
    caller.mkdir()
    real = Path.expanduser

    def expanduser(self: Path) -> Path:
        return caller if self == Path("~caller") else real(self)

    monkeypatch.setattr(Path, "expanduser", expanduser)
    monkeypatch.setenv("SUDO_USER", "caller")
    assert paths.home().relative_to(caller).name == "msl-network"

    (caller / ".msl" / "network").mkdir(parents=True)
    assert paths.home() == caller / ".msl" / "network"


def test_home_under_sudo_of_nobody(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SUDO_USER that does not exist is not followed."""
    expected = paths.home()
    monkeypatch.setenv("SUDO_USER", "nobody-of-that-name")
    assert paths.home() == expected


def test_a_data_folder_outside_of_the_user_folder_stays(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder that the user put elsewhere is taken as it is."""
    elsewhere = user.parent / "elsewhere"
    monkeypatch.setattr(paths, "user_data_path", lambda name, appauthor: elsewhere / name)
    assert paths.home() == elsewhere / "msl-network"


def test_places_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each file has the place and name that 1.0 gives it, below home or a root of the caller."""
    now = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    expected = {
        "manager.sqlite3",
        "keys/localhost.key",
        "certs/localhost.crt",
        "logs",
        "logs/manager-2025-01-02-03-04-05.log",
    }
    for root in (None, tmp_path / "given"):
        home = root or tmp_path / "home"
        monkeypatch.setenv("MSL_NETWORK_HOME", str(tmp_path / "home"))
        places = (
            paths.database(root),
            paths.key_file(root),
            paths.cert_file(root),
            paths.logs(root),
            paths.new_log_file(now, root),
        )
        assert {place.relative_to(home).as_posix() for place in places} == expected


def test_private_folder(tmp_path: Path) -> None:
    """33. Every folder that is made is 0700; one that exists keeps its mode."""
    existing = tmp_path / "existing"
    existing.mkdir()
    existing.chmod(0o755)
    for _ in range(2):
        paths.make_private_folder(existing / "a" / "b")

        assert [mode(existing / "a"), mode(existing / "a" / "b")] == [0o700, 0o700]
        assert mode(existing) == 0o755


def test_private_folder_where_a_file_is(tmp_path: Path) -> None:
    """A file in the way is named, whether at the end of the path or before it."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StartError) as info:
            paths.make_private_folder(path)
        assert str(path) in str(info.value)
        assert "choose another place" in str(info.value)


def test_write_private(tmp_path: Path) -> None:
    """33. The file and its new folder are the owner's alone, nothing else is left in the folder."""
    path = tmp_path / "new" / "secret"
    paths.write_private(path, b"one")

    assert path.read_bytes() == b"one"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]


def test_write_private_replaces(tmp_path: Path) -> None:
    """A file that others could read is replaced by one that they cannot, who had it open sees the old one."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with path.open("rb") as spy:
        paths.write_private(path, b"new")
        assert spy.read() == b"old"
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_write_private_is_private_before_it_has_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """33. At the moment of the rename the temporary file is complete and 0600, under any umask."""
    seen = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append((mode(self), self.read_bytes(), self.parent))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    before = os.umask(0)
    try:
        paths.write_private(tmp_path / "secret", b"data")
    finally:
        os.umask(before)
    assert seen == [(0o600, b"data", tmp_path)]


def test_write_private_through_a_link(tmp_path: Path) -> None:
    """A symbolic link stays a link; the file it leads to is replaced."""
    target = tmp_path / "elsewhere" / "secret"
    link = tmp_path / "link"
    link.symlink_to(target)
    paths.write_private(link, b"data")

    assert link.is_symlink()
    assert target.read_bytes() == b"data"


def test_write_private_only_files(tmp_path: Path) -> None:
    """A folder (or a device) of that name is left alone."""
    with pytest.raises(StartError, match="exists and is not a file; choose another name"):
        paths.write_private(tmp_path, b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["mkstemp", "replace"])
def test_write_private_fails_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """When the disk does not take it, one line names the file, which is as before, with nothing beside it."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"mkstemp": (tempfile, "mkstemp"), "replace": (Path, "replace")}[where], full)
    with pytest.raises(StartError) as info:
        paths.write_private(path, b"new")

    assert str(info.value).startswith(f"cannot write {path}: No space left on device;")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_private_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt passes through and leaves no temporary file."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        paths.write_private(tmp_path / "secret", b"new")
    assert list(tmp_path.iterdir()) == []
