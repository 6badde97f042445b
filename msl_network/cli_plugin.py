"""The command that begins a plugin: ``msl-network plugin new NAME``.

What it writes are the files of `new_plugin/`, with the names filled in: a package that installs, whose tests pass, and
that the Manager finds by its entry point.

Rule of this file: it writes into a folder that was not there before, all files or none. It must not know what stands in
the files, nor import anything slow: this parser is built whenever ``msl-network`` runs.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from .cli_help import HelpFormatter
from .errors import StartError
from .plugins import installed

if TYPE_CHECKING:
    import argparse

__all__ = ["HOOKS", "add_commands", "new"]

TEMPLATES: Final = Path(__file__).parent / "new_plugin"

HOOKS: Final = {
    "authenticate": "Lets in who knows a code.",
    "authorize": "Keeps some attributes of Services for administrators.",
    "check_config": "Refuses settings with which the Manager must not run.",
    "check_identity": "Accepts Services by the beginning of their names.",
    "commands": "Adds something that Clients may ask of the Manager.",
    "peer_joined": "Notes who comes and goes.",
}
"""What a plugin may begin with: the hook, and what the plugin then does."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

MAX_NAME: Final = 50
"""How long a name may be, in characters, so that folders and modules have reasonable ones."""

_SETTINGS: Final = {"authenticate": '\n\n[plugins.$module]\ncode = { env = "CODE" }      # or { file = "code.txt" }'}


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plugin`` to the command line.

    Args:
        subparsers: What ``add_subparsers`` returned.
    """
    plugin = subparsers.add_parser("plugin", help="begin a plugin of your own")
    actions = plugin.add_subparsers(title="actions", metavar="ACTION", required=True)
    begin = actions.add_parser(
        "new",
        help="write a small package with a plugin, ready to install",
        description="Write a small package with a plugin: pyproject.toml with the entry point, a module, tests, "
        "a README. It installs, and its tests pass; from there on it is yours.",
        epilog="examples:\n"
        "  msl-network plugin new badge-reader\n"
        "  msl-network plugin new house-rules --hook authorize --folder ~/plugins/rules",
        formatter_class=HelpFormatter,
    )
    begin.add_argument("name", metavar="NAME", help="the name, e.g. badge-reader; in the TOML file it is badge_reader")
    begin.add_argument("--folder", metavar="PATH", help="the folder to make (default: NAME, here)")
    begin.add_argument(
        "--hook",
        metavar="HOOK",
        choices=sorted(HOOKS),
        default="authenticate",
        help=f"what it implements first, one of {', '.join(sorted(HOOKS))} (default: authenticate)",
    )
    begin.set_defaults(run=_run)


def new(name: str, folder: Path, hook: str = "authenticate") -> list[Path]:
    """Write the package of a new plugin.

    Args:
        name: Its name: lower-case letters and digits, in words that ``-`` or ``_`` separates.
        folder: Where; it must not exist.
        hook: What the plugin implements, one of `HOOKS`.

    Returns:
        The files, relative to the folder.

    Raises:
        StartError: If that is not possible; the text says why.
    """
    module = _check_name(name)
    if folder.exists() or folder.is_symlink():
        raise StartError(f"{str(folder)!r} exists already; name another folder with --folder, or remove it")
    words = {
        "name": module.replace("_", "-"),
        "module": module,
        "class": "".join(part.capitalize() for part in module.split("_")),
        "summary": HOOKS[hook],
        "version": metadata.version("msl-network-manager"),
    }
    key = "auth" if hook == "authenticate" else "plugins"
    words["enable"] = Template(f'[manager]\n{key} = ["$module"]{_SETTINGS.get(hook, "")}').substitute(words)
    files = {
        Path("pyproject.toml"): "pyproject.toml.txt",
        Path("README.md"): "README.md.txt",
        Path(f"{module}.py"): f"{hook}.py.txt",
        Path("tests", f"test_{module}.py"): f"test_{hook}.py.txt",
    }
    try:
        texts = {file: (TEMPLATES / source).read_text(encoding="utf-8") for file, source in files.items()}
        folder.mkdir(parents=True)
        try:
            for file, text in texts.items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_text(Template(text).substitute(words), encoding="utf-8")
        except BaseException:  # all or nothing
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise StartError(f"cannot write {str(error.filename or folder)!r}: {error.strerror}") from None
    return list(files)


def _check_name(name: str) -> str:
    """Return the name of the module.

    Raises:
        StartError: If a plugin cannot have that name.
    """
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise StartError(
            f"{name!r} cannot be the name of a plugin; allowed are at most {MAX_NAME} lower-case letters and digits, "
            "beginning with a letter, with single '-' or '_' between words, e.g. 'badge-reader'"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in sys.stdlib_module_names:
        raise StartError(f"{name!r} is a word or a module of Python itself; choose another name, e.g. '{name}-plugin'")
    offers = installed().get(module)
    if offers:
        raise StartError(
            f"there is a plugin {module!r} already, {offers[0].distribution} offers it; choose another name"
        )
    return module


def _run(args: argparse.Namespace) -> int:
    folder = Path(args.name if args.folder is None else args.folder)
    if args.folder == "":  # e.g. a variable of a script that is not set
        raise StartError("--folder: found nothing, allowed is the name of a folder that does not exist yet")
    files = new(args.name, folder.expanduser(), args.hook)
    print(f"wrote into {folder}: {', '.join(map(str, files))}")
    print(f"try it:  cd {folder} && pip install -e '.[test]' && pytest")
    return 0
