"""Where files live, and how private ones are made.

Rule of this file: every place is a function, so that nothing is decided at import and the environment
counts at the time of the call. A folder or file made here is readable by its owner only, from the first
moment of its existence.

It must not know what is in the files, nor read a setting: a caller with a folder of its own passes ``root``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from msl_network.errors import StartError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "cert_file",
    "database",
    "home",
    "key_file",
    "logs",
    "make_private_folder",
    "new_log_file",
    "running",
    "unused_home",
    "write_private",
]

PRIVATE_FOLDER = 0o700  # others may not even list it: a log's name tells when the Manager ran


def home() -> Path:
    """Return the folder of all files of the Manager.

    Returns:
        ``$MSL_NETWORK_HOME`` if it is set and not empty, else ``~/.msl/network`` if that exists (MSL-Network
        1.0 made it, and its users, keys and certificates stay in use), else the data folder that the
        operating system has for an application. A Manager whose database is in that one stays there,
        whatever 1.0 makes later. Under ``sudo``, the folder of the user who typed it.

    Raises:
        StartError: If the user has no home.
    """
    chosen = os.environ.get("MSL_NETWORK_HOME", "")
    if chosen:
        return Path(chosen).expanduser()

    legacy, folder = _folders()
    return legacy if legacy.is_dir() and not database(folder).exists() else folder


def unused_home() -> Path | None:
    """Return the folder that :func:`home` does not choose, though the database of a Manager is there, too.

    Returns:
        The folder; None if there is none.

    Raises:
        StartError: If the user has no home.
    """
    if os.environ.get("MSL_NETWORK_HOME"):
        return None
    legacy, folder = _folders()
    return legacy if database(folder).exists() and database(legacy).exists() else None


def database(root: Path | None = None) -> Path:
    """Return the path of the database.

    Args:
        root: The folder to use in place of :func:`home`.
    """
    return _root(root) / "manager.sqlite3"


def key_file(root: Path | None = None) -> Path:
    """Return the path of the default private key.

    Args:
        root: The folder to use in place of :func:`home`.
    """
    return _root(root) / "keys" / "localhost.key"


def cert_file(root: Path | None = None) -> Path:
    """Return the path of the default certificate.

    Args:
        root: The folder to use in place of :func:`home`.
    """
    return _root(root) / "certs" / "localhost.crt"


def logs(root: Path | None = None) -> Path:
    """Return the folder of the log files.

    Args:
        root: The folder to use in place of :func:`home`.
    """
    return _root(root) / "logs"


def new_log_file(now: datetime, root: Path | None = None) -> Path:
    """Return the path of the log file of a Manager that starts now.

    Args:
        now: The time of the start, in local time. Its seconds are part of the name.
        root: The folder to use in place of :func:`home`.
    """
    return logs(root) / f"manager-{now:%Y-%m-%d-%H-%M-%S}.log"


def running(root: Path | None = None) -> Path:
    """Return the folder in which Managers that run as programs say so.

    Args:
        root: The folder to use in place of :func:`home`.
    """
    return _root(root) / "run"


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it, for its owner only. Folders that exist stay as they are.

    Args:
        path: The folder.

    Raises:
        StartError: If it cannot be made, or something that is not a folder is in the way.
    """
    missing = []
    folder = path.absolute()
    try:
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        # one by one, because mkdir(parents=True) gives its mode to the last folder only
        for folder in reversed(missing):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        path.mkdir(exist_ok=True)  # passes when it is a folder, and says when it is a file
    except OSError as error:
        raise StartError(f"cannot make the folder {path}: {_reason(error)}; choose another place") from error


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, all of it or nothing.

    A file that exists is replaced, whatever its mode was; a symbolic link stays, and its target is replaced.

    Args:
        path: The file. Its folder is made if it is missing (see :func:`make_private_folder`).
        data: All that the file shall contain.

    Raises:
        StartError: If it cannot be written. The file is then as it was before.
    """
    target = Path(os.path.realpath(path))
    make_private_folder(target.parent)
    try:
        if target.exists() and not target.is_file():
            raise StartError(f"cannot write {path}: it exists and is not a file; choose another name")
        # mkstemp opens with O_EXCL and 0600; a rename keeps both, and is seen by others as one step
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut may leave the new name on an empty file
        Path(temporary).replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise


def _root(root: Path | None) -> Path:
    return home() if root is None else root


def _folders() -> tuple[Path, Path]:
    """Return the folder of 1.0, and that of the operating system."""
    own = _user_folder()
    folder = user_data_path("msl-network", appauthor=False)
    # platformdirs knows nothing of sudo: it answers with a place in root's own folder
    with contextlib.suppress(ValueError):
        folder = own / folder.relative_to(Path("~").expanduser())
    return own / ".msl" / "network", folder


def _user_folder() -> Path:
    try:
        return Path("~" + os.environ.get("SUDO_USER", "")).expanduser()
    except RuntimeError:  # no such user: the variable is left over from somewhere else
        pass
    try:
        return Path("~").expanduser()
    except RuntimeError:  # a user without an entry and without a HOME, as in a container
        raise StartError("this user has no home folder; say where files shall live with MSL_NETWORK_HOME") from None


def _cannot_write(path: Path, error: OSError) -> StartError:
    return StartError(f"cannot write {path}: {_reason(error)}; choose another place or free this one")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
