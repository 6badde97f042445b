"""The command line: ``msl-network`` and ``python -m msl_network``.

    start, reload, config, plugins              here
    keygen, certgen, certdump, delete           `cli_files`
    plugin                                      `cli_plugin`
    user, hostname, ...                         their plugins (`cli_commands`)

Rule of this file: a mistake of the person is one line on stderr and an exit status that is not 0, never a
traceback. It must not know how anything is done, nor which plugins exist.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NoReturn

from . import cli_files, cli_plugin
from .cli_help import HelpFormatter
from .config import Config
from .errors import ConfigError, StartError
from .hooks import Hooks
from .manager import Manager, filter_run_forever_kwargs
from .plugins import find, installed, load
from .running import check_tls, event_loop, first_of, hold_standard_descriptors, printable, run
from .settings import nearest
from .toml import dump

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from .store import Store

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["Context", "main"]

PROGRAM: Final = "msl-network"

_MORE_COMMANDS: Final = "; plugins that a file enables add more (--config FILE)"

_UNREAD: Final = frozenset({"reload"})
"""The commands for which the file of --config is only a name: a Manager reads it, with an environment of its own."""

_HELP: Final = frozenset({"-h", "--help"})
_VERSION: Final = frozenset({"-V", "--version"})


class _Version(argparse.Action):
    """Finds the version only when it is asked for: that takes as long as to read all settings."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(metadata.version("msl-network-manager"))
        parser.exit()


class Context:
    """What a command of a plugin is given beside its arguments.

    Args:
        config: The settings.
        hooks: The enabled plugins.
    """

    def __init__(self, config: Config, hooks: Hooks) -> None:
        self.config = config
        self._hooks = hooks

    def open_store(self, location: str | None = None) -> AbstractAsyncContextManager[Store]:
        """Open the store that the settings name.

        Args:
            location: Where it is (``--database``); where the settings say if None.

        Raises:
            StoreError: If it cannot be opened.
        """
        return self._hooks.open_store(self.config.store, location or self.config.database)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after the program's name; those of this process if None.

    Returns:
        The exit status, which is 0 if all is well, 1 if something is wrong, 2 if the words are.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        hold_standard_descriptors()
        status = _run(words)
        if sys.stdout is not None:  # it may have been closed by whoever started us
            sys.stdout.flush()
    except BrokenPipeError:  # e.g. `msl-network plugins | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - whatever a stranger's plugin does
        return _report(first_of(error) if isinstance(error, BaseExceptionGroup) else error)
    return status


def _report(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):  # a task group wrapped it
        return 130
    lines = error.lines if isinstance(error, ConfigError) else [str(error)]
    if not isinstance(error, StartError):
        if sys.flags.dev_mode:  # python -X dev -m msl_network: for the author of a plugin
            raise error
        lines = [f"{type(error).__name__}: {error} ('python -X dev -m msl_network' shows where it comes from)"]
    for line in lines:
        _complain(line)
    return 1


def _complain(text: str) -> None:
    print(f"{PROGRAM}: error: {printable(text)}", file=sys.stderr)


def _run(words: list[str]) -> int:
    early = _Parser(add_help=False, allow_abbrev=False, prog=PROGRAM)
    early.add_argument("--config", metavar="FILE")
    given, rest = early.parse_known_args(words)
    if given.config == "":  # e.g. a variable of a script that is not set
        raise ConfigError("--config: found nothing, allowed is the name of a file")
    needs_help = not _HELP.isdisjoint(rest)
    own = _parser()
    # our own commands do without plugins, and so they work when one is broken
    is_own = _command(rest) in own.commands or not _VERSION.isdisjoint(rest[:1])
    try:
        config = _config_of(given.config, is_read=_command(rest) not in _UNREAD)
        hooks = Hooks([]) if is_own else load(config)
    except StartError:
        if not needs_help:
            raise
        config, hooks = Config(), Hooks([])
    hooks.cli_commands(own.subparsers)
    args = own.parse_args(rest)
    result = args.run(args, Context(config, hooks)) if _takes_context(args.run) else args.run(args)
    if inspect.iscoroutine(result):
        import anyio  # noqa: PLC0415 - start-up time

        result = anyio.run(_await, result)
    return int(result or 0)


def _config_of(file: str | None, *, is_read: bool) -> Config:
    if file is None:
        return Config()
    return Config.load(file) if is_read else Config(source=file)


def _command(words: list[str]) -> str:
    """Return the first word that is no option: no option before it takes a value."""
    return next((word for word in words if not word.startswith("-")), "")


async def _await(result: Any) -> Any:
    return await result


def _takes_context(function: Any) -> bool:
    return len(inspect.signature(function).parameters) > 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and the nearest spelling of a word that is not known."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        _complain(f"{message}; see '{self.prog} --help'")
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = action.choices
        if choices is not None and value not in choices:
            more = _MORE_COMMANDS if isinstance(action, _Commands) and self.prog == PROGRAM else ""
            raise argparse.ArgumentError(
                action, f"there is no {value!r}, {nearest(str(value), map(str, choices))}{more}"
            )


class _MainParser(_Parser):
    """The parser of the whole command line."""

    subparsers: argparse._SubParsersAction[argparse.ArgumentParser]

    @property
    def commands(self) -> list[str]:
        """The commands that were added."""
        return list(self.subparsers.choices)


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001 - it has no other name
    """Refuses a second command of one name, which older Pythons take in place of the first."""

    def add_parser(self, name: str, **kwargs: Any) -> Any:
        """Add a command."""
        if name in self.choices:
            raise ValueError(f"there is a command {name!r} already")
        return super().add_parser(name, **kwargs)


def _parser() -> _MainParser:
    parser = _MainParser(
        prog=PROGRAM,
        description="A Manager that links Clients with Services in a laboratory.",
        epilog="examples:\n"
        "  msl-network start --config lab.toml\n"
        "  msl-network config check lab.toml\n"
        "  msl-network COMMAND --help",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="show the version and end")
    # taken before the rest is parsed, because the plugins that it names may add commands
    parser.add_argument("--config", metavar="FILE", help="the TOML file with the settings; it may also come later")
    parser.subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, action=_Commands, parser_class=_Parser
    )
    _add_start(parser.subparsers)
    _add_reload(parser.subparsers)
    _add_config(parser.subparsers)
    plugins = parser.subparsers.add_parser(
        "plugins",
        help="list the plugins: installed, enabled, from where, which hooks",
        description="List the plugins: which are installed and which enabled, where each comes from, and "
        "which hooks it implements.",
        epilog="examples:\n  msl-network plugins\n  msl-network plugins --config lab.toml",
        formatter_class=HelpFormatter,
    )
    plugins.set_defaults(run=_plugins)
    cli_files.add_commands(parser.subparsers)
    cli_plugin.add_commands(parser.subparsers)
    return parser


def _add_start(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    start = subparsers.add_parser(
        "start",
        help="run the Manager",
        description="Run the Manager until Ctrl+C, SIGTERM, or an administrator stops it.",
        epilog="examples:\n"
        "  msl-network start\n"
        "  msl-network start --config lab.toml --port 2000\n"
        "  msl-network start --auth-password my secret words\n"
        "  msl-network start --auth-hostname --auth-login",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    start.add_argument("--config", metavar="FILE", help="the TOML file; flags win over it")
    start.add_argument("-H", "--host", help="the name or address to listen on (default: all interfaces)")
    start.add_argument("-p", "--port", type=int, help="the TCP port (default: 1875; 0: a free one)")
    start.add_argument("--auth-hostname", action="store_true", help="let in peers of trusted computers only")
    start.add_argument("--auth-login", action="store_true", help="let in users with their password only")
    start.add_argument(
        "-P",
        "--auth-password",
        nargs="+",
        metavar="WORD",
        help="let in only who knows these words, or those in the first line of this file; "
        "several --auth- options together: a peer must pass all of them",
    )
    start.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="let in peers of other computers without authentication",
    )
    start.add_argument(
        "--without",
        action="append",
        metavar="PLUGIN",
        help="do not enable this default plugin (may be repeated)",
    )
    start.add_argument("-c", "--cert-file", metavar="FILE", help="the TLS certificate (default: made on first start)")
    start.add_argument("-k", "--key-file", metavar="FILE", help="the private key of the certificate")
    start.add_argument(
        "-D",
        "--key-file-password",
        nargs="+",
        metavar="WORD",
        help="what the private key is encrypted with, or a file whose first line is that",
    )
    start.add_argument("-d", "--database", metavar="FILE", help="the database of users, host names and records")
    start.add_argument("--disable-tls", action="store_true", help="do without TLS: everybody on the way can read along")
    start.add_argument(
        "--event-loop", metavar="LOOP", help="asyncio, uvloop, trio (default: uvloop where installed, else asyncio)"
    )
    start.add_argument("-l", "--log-file", metavar="FILE", help="where to write the log (default: a new file)")
    start.add_argument("-G", "--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING, ERROR (default: INFO)")
    start.set_defaults(run=_start)


def _start(args: argparse.Namespace, context: Context) -> int:
    given = {name: value for name, value in vars(args).items() if value is not None}
    for name in ("cert_file", "key_file", "database", "log_file"):
        if given.get(name) == "":  # as for --config
            raise ConfigError(f"--{name.replace('_', '-')}: found nothing, allowed is the name of a file")
    for name in ("auth_password", "key_file_password"):
        if name in given:
            given[name] = " ".join(given[name])
    keywords = filter_run_forever_kwargs(**given)
    config = context.config.with_keywords(
        **keywords,
        allow_anonymous=given["allow_anonymous"] or None,
        event_loop=given.get("event_loop"),
        without=tuple(dict.fromkeys((*context.config.without, *given.get("without", ())))) or None,
    )
    run(Manager(config), is_program=True)
    return 0


def _add_reload(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser(
        "reload",
        help="have a Manager that runs read its settings again",
        description="Have the Manager that runs on this computer, as this user, read its settings again (SIGHUP), and "
        "wait until it has. Connected peers stay. If something is wrong, nothing changes, and the exit status is 1.",
        epilog="examples:\n  msl-network reload\n  msl-network reload --config lab.toml",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--config", metavar="FILE", help="the TOML file of the Manager, if several run")
    command.set_defaults(run=_reload)


def _reload(_: argparse.Namespace, context: Context) -> int:
    from .hang_up import ask_to_reload  # noqa: PLC0415 - start-up time

    name, stays = ask_to_reload(context.config.source)
    print(f"{name} has reloaded its settings")
    if stays:
        print(f"note: changed, but it needs a restart: {', '.join(stays)}")
    return 0


def _add_config(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = subparsers.add_parser("config", help="check a TOML file, or show the settings that follow from it")
    actions = config.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, function, text in (
        ("check", _config_check, "say what is wrong with a file, or that nothing is"),
        ("show", _config_show, "print all settings, those with their default as well; secrets are hidden"),
    ):
        action = actions.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"examples:\n  {PROGRAM} config {name} lab.toml",
            formatter_class=HelpFormatter,
        )
        action.add_argument("file", nargs="?", metavar="FILE", help="the TOML file (default: that of --config)")
        action.set_defaults(run=function)


def _config(args: argparse.Namespace, context: Context) -> tuple[Config, Hooks]:
    config = context.config if args.file is None else Config.load(args.file)
    return config, load(config)


def _config_check(args: argparse.Namespace, context: Context) -> int:
    if args.file is None and not context.config.source:
        raise ConfigError(f"which file? {PROGRAM} config check FILE")
    config, hooks = _config(args, context)
    event_loop(config.event_loop)
    check_tls(config, hooks)
    print(f"{config.source}: all is well; enabled plugins: {', '.join(name for name, _ in hooks.plugins)}")
    idle = sorted(set(config.sections) - {name for name, _ in hooks.plugins})
    if idle:
        print(f"note: settings for plugins that are not enabled: {', '.join(idle)}")
    return 0


def _config_show(args: argparse.Namespace, context: Context) -> int:
    config, hooks = _config(args, context)
    print(dump(config, hooks.plugins), end="")
    return 0


def _plugins(_: argparse.Namespace, context: Context) -> int:
    hooks = load(context.config)
    enabled = dict(hooks.plugins)
    offered = installed()
    for name in sorted({*offered, *enabled}):
        if name in enabled:
            found = find(context.config, name, offered)
            kind = "enabled, authenticates" if name in hooks.authenticators else "enabled"
            origin = found.distribution or f"'use' in {context.config.source or 'the settings'}"
            print(f"{name:<16} {kind:<24} {found.target}  ({origin})")
            print(f"{'':<16} hooks: {', '.join(hooks.implemented_by(enabled[name]))}")
        else:
            for found in offered[name]:
                print(f"{name:<16} {'installed':<24} {found.target}  ({found.distribution})")
    return 0
