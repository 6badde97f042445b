from __future__ import annotations

import argparse
import io
import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msl_network import cli
from msl_network.cli import Context, main
from msl_network.config import Config
from msl_network.errors import ConfigError, StartError
from msl_network.hooks import Hooks
from msl_network.hookspecs import hookimpl
from msl_network.plugins import load
from msl_network.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHERE = "('python -X dev -m msl_network' shows where it comes from)"

COMMANDS: dict[str, list[str]] = {
    "start": [],
    "reload": [],
    "config": ["check", "show"],
    "plugins": [],
    "plugin": ["new"],
    "keygen": [],
    "certgen": [],
    "certdump": [],
    "delete": [],
    "user": [],
    "hostname": [],
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test starts in its own folder; what it imports from there is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("lab"):
            del sys.modules[name]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The settings of each Manager that would have run; none does."""
    configs: list[Config] = []
    monkeypatch.setattr(cli, "run", lambda manager, is_program: configs.append(manager.config))
    return configs


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a file into the folder where the person is, and returns its name."""

    def write(text: str, name: str = "lab.toml") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command line; it returns exit status, output, and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def mistake(run: Any) -> Callable[..., str]:
    """Return a function that runs what is a mistake: one line, no traceback, no output, and a status of 1 or 2."""

    def mistake(*words: str, status: int = 1) -> str:
        found, out, err = run(*words)
        lines = err.splitlines()
        ours = [line for line in lines if line.startswith("msl-network: error: ")]
        assert len(ours) == 1, err
        assert lines[-1] == ours[0]
        assert all(re.match(r"[\d-]+ [\d:,]+ \[", line) for line in lines[:-1]), err  # the log of a start
        assert out == ""
        assert found == status
        return str(ours[0].removeprefix("msl-network: error: "))

    return mistake


def start(started: list[Config], *words: str) -> Config:
    """Return the settings that `start` with these words runs with."""
    assert main(["start", *words]) == 0
    return started[-1]


# start


def test_start_without_flags_has_the_defaults(started: list[Config]) -> None:
    """Without a flag the settings are the defaults."""
    assert start(started) == Config()


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["-p", "2000"], "port", 2000),
        (["--port", "2000"], "port", 2000),
        (["--port=0"], "port", 0),
        (["-H", "lab"], "host", "lab"),
        (["--host", "lab"], "host", "lab"),
        (["--auth-hostname"], "auth", ("hostname",)),
        (["--auth-login"], "auth", ("login",)),
        (["-P", "abc"], "auth", ("password",)),
        (["--auth-login", "--auth-hostname", "-P", "abc"], "auth", ("hostname", "password", "login")),
        (["-d", "x.sqlite3"], "database", "x.sqlite3"),
        (["--database", "x.sqlite3"], "database", "x.sqlite3"),
        (["-G", "DEBUG"], "log_level", "DEBUG"),
        (["--log-level", "warning"], "log_level", "warning"),
        (["--log-level", "15"], "log_level", "15"),
        (["--event-loop", "trio"], "event_loop", "trio"),
        (["--event-loop=uvloop"], "event_loop", "uvloop"),
        (["--allow-anonymous"], "allow_anonymous", True),
        (["--without", "login"], "without", ("login",)),
        (["--without", "login", "--without", "hostname", "--without", "login"], "without", ("login", "hostname")),
    ],
)
def test_start_flags_become_settings(words: list[str], field: str, value: object, started: list[Config]) -> None:
    """Each flag, in its long and its short form, is one setting."""
    assert getattr(start(started, *words), field) == value


def test_start_flags_of_tls(started: list[Config], tmp_path: Path) -> None:
    """The flags of certificates and keys, long and short; a path starts from where the person is."""
    for cert, key, password in (("-c", "-k", "-D"), ("--cert-file", "--key-file", "--key-file-password")):
        tls = start(started, cert, "a.crt", key, "a.key", password, "two", "words").tls
        assert tls.enabled
        assert (tls.cert_file, tls.key_file) == (str(tmp_path / "a.crt"), str(tmp_path / "a.key"))
        assert tls.key_file_password == Secret("two words")
    assert not start(started, "--disable-tls").tls.enabled


@pytest.mark.parametrize("flag", ["-P", "--auth-password"])
def test_start_password_of_several_words(flag: str, started: list[Config], file: Any) -> None:
    """A password may have several words, or be the first line of a file."""
    assert start(started, flag, "abc", "123", "-p", "5").sections["password"]["password"] == "abc 123"
    name = file("secret\nrest\n", "password.txt")
    assert start(started, flag, name).sections["password"]["password"] == "secret"


@pytest.mark.parametrize("flag", ["-l", "--log-file"])
def test_start_log_file_is_where_the_person_is(flag: str, started: list[Config], file: Any, tmp_path: Path) -> None:
    """A log file that is typed starts from the working folder, although the TOML file is somewhere else."""
    name = file("", "lab/lab.toml")
    config = start(started, flag, "my.log", "--config", name)
    assert config.log_file == str(tmp_path / "my.log")


def test_start_flags_win_over_the_file(started: list[Config], file: Any) -> None:
    """A flag replaces the setting of the file, also with what is the default; the rest of the file stays."""
    name = file("""
        [manager]
        port = 2000
        host = "lab"
        auth = ["hostname"]
        log_level = "ERROR"
        without = ["login"]
        [manager.tls]
        key_file = "/keys/lab.key"
    """)
    flags = ["-p", "1875", "-G", "INFO", "--auth-login", "--without", "hostname", "-c", "/certs/a.crt"]
    config = start(started, "--config", name, *flags)
    assert (config.port, config.host, config.auth, config.log_level) == (1875, "lab", ("login",), "INFO")
    assert config.without == ("hostname",)
    assert (config.tls.cert_file, config.tls.key_file) == ("/certs/a.crt", "/keys/lab.key")
    config = start(started, "--config", name)
    assert (config.port, config.auth, config.log_level, config.without) == (2000, ("hostname",), "ERROR", ("login",))


@pytest.mark.parametrize("words", [["--config", "lab.toml", "start"], ["start", "--config", "lab.toml"]])
def test_config_before_or_after_the_command(words: list[str], started: list[Config], file: Any) -> None:
    """The file may be named before or after the command, with a space or an equals sign."""
    file("[manager]\nport = 2000")
    assert main([*words, "-H", "lab"]) == 0
    assert main(["=".join(words[:2]), "start"] if words[0] == "--config" else ["start", "=".join(words[1:])]) == 0
    assert [config.port for config in started] == [2000, 2000]
    assert started[0].host == "lab"


def test_config_after_a_nested_command(run: Any, file: Any) -> None:
    """Also a command of a command, and that of a plugin, takes the file wherever it stands."""
    file("[manager]\nport = 2000")
    assert "port = 2000" in run("config", "show", "--config", "lab.toml")[1]
    assert "port = 2000" in run("--config", "lab.toml", "config", "show")[1]
    assert run("user", "--config", "lab.toml", "list")[0] == 0


def test_start_without_a_broken_plugin(started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """A default plugin that cannot be imported can be left out."""
    monkeypatch.setitem(sys.modules, "msl_network_plugins.login", None)
    assert main(["start"]) == 1
    assert "login" not in dict(load(start(started, "--without", "login")).plugins)


# config


def test_config_check_says_that_all_is_well(run: Any, file: Any) -> None:
    """A file without mistakes is told so, with the plugins that it enables, and those that it does not."""
    name = file('[manager]\nauth = ["password"]\n[plugins.password]\npassword = "x"\n')
    assert run("config", "check", name) == (
        0,
        f"{name}: all is well; enabled plugins: password, identity, hostname, login, sqlite, json_lines\n",
        "",
    )
    name = file('[plugins.password]\npassword = "x"\n')
    status, out, _ = run("config", "check", "--config", name)
    assert status == 0
    assert out.endswith("\nnote: settings for plugins that are not enabled: password\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[manager]\nprt = 5", "lab.toml [manager] prt: unknown key, did you mean 'port'?"),
        ("[manager", "lab.toml: is not valid TOML: "),
        ('[manager]\nauth = ["logn"]', "lab.toml [manager] auth: there is no plugin 'logn', did you mean 'login'?"),
        ('[manager]\nwithout = ["logn"]', "lab.toml [manager]"),
        ("[plugins.identity]\nx = 5", "lab.toml [plugins.identity] x: "),
        ('[manager]\n"a\\nb" = 5', "lab.toml [manager] 'a\\nb': unknown key"),
        (
            '[manager]\nauth = ["token"]\n[plugins.token]\notherwise = "logn"',
            "lab.toml [plugins.token] otherwise: 'logn' lets in nobody, did you mean 'login'? ",
        ),
        (
            '[manager]\nauth = ["certificate"]\n[manager.tls]\nenabled = false\n[plugins.certificate]\nca_file = "ca"',
            "lab.toml: the plugin 'certificate' needs TLS; enable it in [manager.tls], or take it out of auth",
        ),
    ],
)
def test_config_check_names_the_mistake(text: str, said: str, mistake: Any, file: Any) -> None:
    """A mistake is one line with file, section and key, the same that `start` says."""
    name = file(text)
    line = mistake("config", "check", name)
    assert line.startswith(said)
    assert mistake("start", "--config", name) == line
    assert mistake("user", "list", "--config", name) == line


EVERYTHING_WRONG = """
[manager]
prt = 5
auth = "login"
cert_file = "lab.crt"

[manager.tls]
enabled = "yes"

[manager.limits]
outbox = "1 MX"
pending = "many"

[mangaer]
"""


def test_config_check_names_each_mistake(run: Any, file: Any) -> None:
    """All mistakes of a file are named at once, a line for each; `start` does so, too."""
    for words in ("config", "check"), ("start", "--config"):
        status, out, err = run(*words, file(EVERYTHING_WRONG))
        assert (status, out) == (1, "")
        assert [line.partition(": error: ")[2].split(": ")[0] for line in err.splitlines()] == [
            "lab.toml [mangaer]",
            "lab.toml [manager.tls] enabled",
            "lab.toml [manager] cert_file",
            "lab.toml [manager.limits] outbox",
            "lab.toml [manager.limits] pending",
            "lab.toml [manager] prt",
            "lab.toml [manager] auth",
        ]


def test_config_check_names_not_more_mistakes_than_can_be_read(run: Any, file: Any) -> None:
    """A file that is none of ours is not shown in full."""
    text = "".join(f"key{number} = 1\n" for number in range(500))
    status, _, err = run("config", "check", file(f"[manager]\n{text}"))
    lines = err.splitlines()
    assert (status, len(lines), lines[-1]) == (1, 21, "msl-network: error: and 480 more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[manager.tls]\ncert_file = "none.crt"', "none.crt: the certificate cannot be read: "),
        ('[manager.tls]\nkey_file = "none.key"', "none.key: "),
        ('[manager]\nauth = ["certificate"]\n[plugins.certificate]\nca_file = "ca.crt"', "ca.crt: cannot be read: "),
    ],
)
def test_config_check_looks_into_the_files_of_tls(text: str, said: str, run: Any, mistake: Any, file: Any) -> None:
    """A file that would keep the Manager from starting is named; without TLS none is needed."""
    assert mistake("config", "check", file(text)).startswith(str(Path.cwd() / said))
    if "certificate" not in text:
        assert run("config", "check", file(f"{text}\nenabled = false"))[0] == 0


def test_config_check_knows_the_event_loops(mistake: Any, file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not installed is named, with what adds it."""
    monkeypatch.setattr("msl_network.running.find_spec", lambda name: None)
    line = mistake("config", "check", file('[manager]\nevent_loop = "trio"'))
    assert line.startswith("event_loop = 'trio': trio is not installed; run pip install ")


def test_config_check_makes_nothing(run: Any, file: Any, home: Path) -> None:
    """What `start` makes is not there afterwards, and no folder for it."""
    assert run("config", "check", file('[plugins.certificate]\nca_file = "ca.crt"'))[0] == 0
    assert not home.exists()


def test_config_check_needs_a_file(mistake: Any) -> None:
    """There is nothing to check in the defaults."""
    assert mistake("config", "check") == "which file? msl-network config check FILE"


def test_config_show_can_be_loaded(run: Any, file: Any, tmp_path: Path) -> None:
    """What is shown is a TOML file with the same settings; a secret is hidden."""
    name = file('[manager]\nport = 2000\nauth = ["password"]\n[plugins.password]\npassword = "my words"\n')
    status, out, err = run("config", "show", name)
    assert (status, err) == (0, "")
    assert "my words" not in out
    again = file(out, "again.toml")
    assert run("config", "check", again)[0] == 0
    shown = Config.load(tmp_path / again)
    assert (shown.port, shown.auth, shown.limits) == (2000, ("password",), Config().limits)


def test_config_show_without_file_shows_the_defaults(run: Any) -> None:
    """Without a file the defaults are shown."""
    assert "port = 1875\n" in run("config", "show")[1]


# plugins


def test_plugins_are_listed(run: Any, file: Any) -> None:
    """Each plugin is listed: whether it is enabled, whether it authenticates, from where, and its hooks."""
    file(LAB_BELL, "labbell.py")
    name = file('[manager]\nauth = ["hostname"]\nplugins = ["bell"]\n[plugins.bell]\nuse = "labbell:Bell"\n')
    status, out, err = run("plugins", "--config", name)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    words = [line.split() for line in lines]
    assert ["bell", "enabled", "labbell:Bell", "('use'", "in", "lab.toml)"] in words
    assert any(word[:3] == ["hostname", "enabled,", "authenticates"] for word in words)
    assert any(word[:3] == ["login", "enabled", "msl_network_plugins.login:Login"] for word in words)
    (password,) = (line for line in lines if line.startswith("password"))
    assert re.fullmatch(r"password +installed +msl_network_plugins\.password:Password +\(\S+ \S+\)", password)
    assert lines[next(i for i, w in enumerate(words) if w[0] == "bell") + 1].strip() == "hooks: cli_commands"


# Commands of plugins

LAB_BELL = """
import anyio
from msl_network import StartError, hookimpl

class Bell:
    @hookimpl
    def cli_commands(self, subparsers):
        parser = subparsers.add_parser("bell", help="ring")
        parser.add_argument("how", choices=["soft", "loud", "broken", "late", "stop", "grouped"])
        parser.set_defaults(run=ring)

async def fail():
    raise StartError("grouped: no bell")

async def ring(args, context):
    if args.how == "broken":
        raise RuntimeError("no\\nbell")
    if args.how == "late":
        raise StartError("too late")
    if args.how == "stop":
        raise KeyboardInterrupt
    if args.how == "grouped":
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(fail)
    print(args.how, context.config.port)
    return 3 if args.how == "loud" else None
"""


@pytest.fixture
def bell(file: Any, run: Any) -> Callable[[str], tuple[int, str, str]]:
    """Return a function that runs the command of a plugin that stands beside the TOML file."""
    file(LAB_BELL, "lab/labbell.py")
    name = file('[manager]\nport = 7\nplugins = ["bell"]\n[plugins.bell]\nuse = "labbell:Bell"\n', "lab/lab.toml")
    return lambda how: run("--config", name, "bell", how)


def test_plugin_adds_a_command(bell: Any) -> None:
    """A plugin's command is given its arguments and the settings; what it returns is the exit status."""
    assert bell("soft") == (0, "soft 7\n", "")
    assert bell("loud") == (3, "loud 7\n", "")


def test_plugin_command_that_fails_is_one_line(bell: Any) -> None:
    """An unexpected exception of a plugin's command is one line, too, and says how to see more."""
    assert bell("broken") == (
        1,
        "",
        rf"msl-network: error: RuntimeError: no\nbell {WHERE}" + "\n",
    )
    assert bell("late") == (1, "", "msl-network: error: too late\n")
    assert bell("grouped") == (1, "", "msl-network: error: grouped: no bell\n")
    status, _, err = bell("louder")
    assert status == 2
    assert err == (
        "msl-network: error: argument how: there is no 'louder', did you mean 'loud'? known are: broken, grouped, "
        "late, loud, soft, stop; see 'msl-network bell --help'\n"
    )


def test_interrupted_command_is_quiet(bell: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C ends a command without a word, with the status that shells expect."""

    def interrupted(*args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_plugins", interrupted)
    assert run("plugins") == (130, "", "")
    assert bell("stop") == (130, "", "")
    assert cli._report(KeyboardInterrupt()) == 130  # as it comes out of a task group on trio


def test_command_of_a_plugin_needs_its_file(mistake: Any) -> None:
    """Without the file that enables the plugin there is no such command."""
    line = mistake("bell", "soft", status=2)
    assert line.startswith("argument COMMAND: there is no 'bell', ")
    assert "; plugins that a file enables add more (--config FILE); see " in line


def test_plugin_cannot_take_a_command(run: Any, file: Any) -> None:
    """A plugin that adds a command that exists is told of in one line; the command stays what it was."""
    file(LAB_BELL.replace('"bell", help', '"plugins", help'), "labbell.py")
    file('[manager]\nplugins = ["bell"]\n[plugins.bell]\nuse = "labbell:Bell"\n')
    result = subprocess.run(
        [sys.executable, "-m", "msl_network", "--config", "lab.toml", "user", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == (
        "plugin 'bell': failed in 'cli_commands': ValueError: there is a command 'plugins' already\n"
    )
    assert "no users" in result.stdout


def test_commands_of_bundled_plugins_need_no_file(run: Any, home: Path) -> None:
    """Users and trusted host names are managed without a configuration file, in the default database."""
    assert run("user", "add", "ada", "--password", "lovelace 1815", "--admin")[0] == 0
    assert "ada" in run("user", "list")[1]
    assert run("hostname", "add", "pc7")[0] == 0
    assert "pc7" in run("hostname", "list")[1]
    assert (home / "manager.sqlite3").is_file()


def test_mistakes_with_users_are_one_line(mistake: Any, run: Any) -> None:
    """What is wrong with a user's name is one line, also in the middle of the store's own tasks."""
    run("user", "add", "ada", "--password", "x")
    assert "'ada' already exists" in mistake("user", "add", "ada", "--password", "x")
    assert "'bob'" in mistake("user", "remove", "bob")
    assert mistake("user", "lst", status=2).startswith("argument action: there is no 'lst', did you mean 'list'?")


@pytest.mark.anyio
async def test_context_opens_the_store_of_the_settings(tmp_path: Path) -> None:
    """A command's store is that which the person named, else that of the settings."""
    config = Config(database=str(tmp_path / "a.sqlite3"))
    context = Context(config, load(config))
    async with context.open_store() as store:
        assert "a.sqlite3" in store.location
    async with context.open_store(str(tmp_path / "b.sqlite3")) as store:
        assert "b.sqlite3" in store.location


# Help


@pytest.mark.parametrize(
    "words", [[], *([name] for name in COMMANDS), *([n, sub] for n, subs in COMMANDS.items() for sub in subs)]
)
def test_everything_has_help(words: list[str], run: Any) -> None:
    """Each command says what it does and how it is used."""
    for flag in ("-h", "--help"):
        status, out, err = run(*words, flag)
        assert (status, err) == (0, "")
        assert out.startswith(f"usage: {' '.join(['msl-network', *words])}")
        assert len(out.split("\n\n")[1]) > 10


def test_help_names_every_command(run: Any) -> None:
    """The help of the program lists all commands, those of plugins as well."""
    out = run("--help")[1]
    listed = re.findall(r"^    ([a-z]+)  ", out, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize(
    "words", [[], ["start"], ["reload"], ["plugins"], ["config", "check"], ["config", "show"], ["plugin", "new"]]
)
def test_help_has_examples_that_parse(words: list[str], run: Any) -> None:
    """Each example in the help is a command line that exists."""
    examples = re.findall(r"^  msl-network (.+)$", run(*words, "--help")[1], re.MULTILINE)
    assert examples
    for example in examples:
        if "COMMAND" not in example:
            # --config is taken out before the rest is parsed
            assert cli._parser().parse_args(example.replace("--config lab.toml", "").split()).run


def test_help_is_there_when_all_else_is_wrong(run: Any, file: Any) -> None:
    """Help is shown although the file is wrong, or a plugin is broken."""
    name = file("[manager]\nprt = 5")
    assert run("--config", name, "--help")[0] == 0
    assert run("start", "--config", "nowhere.toml", "--help")[0] == 0


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, run: Any) -> None:
    """The version is that of the distribution."""
    status, out, err = run(flag)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", out)


# Mistakes


def test_no_command(mistake: Any) -> None:
    """Without a command there is one line that says where the help is."""
    text = "the following arguments are required: COMMAND; see 'msl-network --help'"
    assert mistake(status=2) == text


def test_unknown_command_is_named(mistake: Any) -> None:
    """An unknown command comes with the nearest one and all that there are."""
    line = mistake("strat", status=2)
    assert line.startswith("argument COMMAND: there is no 'strat', did you mean 'start'? known are: certdump, ")
    assert line.endswith("; see 'msl-network --help'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "--bogus"], "unrecognized arguments: --bogus; see 'msl-network --help'"),
        (["start", "--port"], "argument -p/--port: expected one argument; see 'msl-network start --help'"),
        (["start", "-p", "abc"], "argument -p/--port: invalid int value: 'abc'; see 'msl-network start --help'"),
        (["start", "-P"], "argument -P/--auth-password: expected at least one argument; see"),
        (["--config"], "argument --config: expected one argument; see 'msl-network --help'"),
        (["config"], "the following arguments are required: ACTION; see 'msl-network config --help'"),
        (["config", "chek"], "argument ACTION: there is no 'chek', did you mean 'check'? known are: check, show"),
        (["keygen", "rsb"], "argument algorithm: there is no 'rsb', did you mean 'rsa'? known are: dsa, ecc, rsa"),
        (["start", "\x1b[2J\n"], r"unrecognized arguments: \x1b[2J\n; see"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], said: str, mistake: Any) -> None:
    """What argparse does not understand is one line without the usage, and status 2."""
    assert mistake(*words, status=2).startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "65536"], "port: found 65536, allowed is 0 (any free port) to 65535"),
        (["-p", "-1"], "port: found -1, allowed is 0 (any free port) to 65535"),
        (["-G", "LOUD"], "log_level: found 'LOUD', allowed is one of DEBUG, "),
        (["--config", "nowhere.toml"], "nowhere.toml: cannot read the file: No such file or directory"),
        (["--config", "."], ".: cannot read the file: Is a directory"),
        (["--config", ""], "--config: found nothing, allowed is the name of a file"),
        (["--without", "logn"], "without: 'logn' is not enabled by default, did you mean 'login'?"),
    ],
)
def test_wrong_values_are_one_line(words: list[str], said: str, mistake: Any) -> None:
    """27. A value that is not allowed is one line, and nothing is started or written."""
    assert mistake("start", *words).startswith(said)


LOCAL = ("start", "-H", "127.0.0.1", "-p", "0")


def test_database_that_is_none(mistake: Any, file: Any, tmp_path: Path) -> None:
    """27. A database that is a text file, a folder, or in no folder is one line that names it."""
    name = file("this is no database, but a text that is long enough to be seen as none" * 20, "x.sqlite3")
    assert "x.sqlite3" in mistake(*LOCAL, "--disable-tls", "-d", name)
    assert f"{tmp_path} is a folder" in mistake(*LOCAL, "--disable-tls", "-d", str(tmp_path))
    assert "x.sqlite3" in mistake(*LOCAL, "--disable-tls", "-d", f"{name}/y.sqlite3")
    assert "x.sqlite3" in mistake("user", "list", "-d", name)


def test_key_that_is_none(mistake: Any, file: Any, run: Any) -> None:
    """27. A key that is none, that is not there, or that belongs to another certificate is one line that names it."""
    assert run("certgen", "a.crt")[0] == 0
    assert run("keygen", "--out", "other.key")[0] == 0
    name = file("this is no key", "bad.key")
    assert "bad.key" in mistake(*LOCAL, "-c", "a.crt", "-k", name)
    assert "nowhere.key" in mistake(*LOCAL, "-c", "a.crt", "-k", "nowhere.key")
    assert "does not belong to this certificate" in mistake(*LOCAL, "-c", "a.crt", "-k", "other.key")
    assert "nowhere.crt" in mistake(*LOCAL, "-c", "nowhere.crt")


def test_encrypted_key_needs_its_password(mistake: Any, run: Any) -> None:
    """27. A missing or wrong password of a key is one line without the password."""
    assert run("keygen", "--out", "a.key", "--password", "my words")[0] == 0
    assert run("certgen", "a.crt", "--key-file", "a.key", "--key-file-password", "my words")[0] == 0
    assert "a.key" in mistake(*LOCAL, "-c", "a.crt", "-k", "a.key")
    line = mistake(*LOCAL, "-c", "a.crt", "-k", "a.key", "-D", "not", "mine")
    assert "a.key" in line
    assert "not mine" not in line


def test_port_in_use(mistake: Any) -> None:
    """27. A port that somebody has is one line that says so."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        line = mistake("start", "-H", "127.0.0.1", "-p", str(port), "--disable-tls")
    assert line == (
        f"cannot listen on 127.0.0.1, port {port}: port {port} is in use, perhaps by another Manager; "
        "stop it or choose another port"
    )


def test_login_without_users(mistake: Any) -> None:
    """27. A Manager that nobody could log in to does not start, and says how to add a user."""
    line = mistake(*LOCAL, "--disable-tls", "--auth-login")
    assert line.startswith("plugin 'login': there are no users yet in ")
    assert "; add one with: msl-network user insert NAME" in line


def test_what_a_message_has_one_type(mistake: Any, run: Any, file: Any, home: Path) -> None:
    """It is the command that helps, with the file and the database that were named."""
    start = ["start", "--config", file("[manager.tls]\nenabled = false", "my lab.toml"), "-d", "a b.db", "--auth-login"]
    command = mistake(*start, "-H", "127.0.0.1", "-p", "0").partition("; add one with: ")[2]
    words = shlex.split(command.replace("NAME", "ada").replace("...", "secret"))
    assert words[0] == "msl-network"
    assert run(*words[1:])[0] == 0
    assert "\nada " in run("user", "list", "-d", "a b.db")[1]


@pytest.mark.parametrize("flag", ["-l", "--log-file"])
def test_log_file_that_cannot_be_written(flag: str, mistake: Any) -> None:
    """A log file in a folder that does not exist is one line."""
    assert mistake(*LOCAL, flag, "no/such/my.log").endswith("my.log': No such file or directory")


def test_error_that_nobody_expected(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong is one line; only for a developer it is the exception itself."""

    def broken(config: Config) -> Hooks:
        raise ZeroDivisionError("bug\x1b")

    monkeypatch.setattr(cli, "load", broken)
    assert run("plugins") == (
        1,
        "",
        rf"msl-network: error: ZeroDivisionError: bug\x1b {WHERE}" + "\n",
    )
    command = [sys.executable, "-X", "dev", "-m", "msl_network", "--config", "lab.toml", "bell", "broken"]
    with open("lab.toml", "w") as toml, open("labbell.py", "w") as module:  # noqa: PTH123 - where the person is
        toml.write('[manager]\nplugins = ["bell"]\n[plugins.bell]\nuse = "labbell:Bell"\n')
        module.write(LAB_BELL)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "in ring\n" in result.stderr


# The process


def test_reader_that_leaves(home: Path) -> None:
    """`msl-network plugins | head -1` ends without a traceback."""
    command = f"{sys.executable} -m msl_network plugins | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert result.stdout in {"0\n", "1\n"}  # 0 if all was written before the reader left


def test_reader_that_has_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An output that is closed ends the command with status 1."""

    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            return spare.fileno()

    with (tmp_path / "spare").open("w") as spare:
        monkeypatch.setattr(sys, "stdout", Closed())
        assert main(["config", "show"]) == 1


def test_words_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments the words of the process count."""
    monkeypatch.setattr(sys, "argv", ["msl-network", "config", "show"])
    assert main() == 0
    assert "[manager]" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """Cryptography, databases and event loops are imported when they are needed, not for the help."""
    program = (
        "import sys\nfrom msl_network.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'cryptography', 'trio', 'msl_network.tls', 'anyio._backends._asyncio', 'http', 'unittest'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for words in (["--help"], ["start", "--help"], ["config", "show"]):
        result = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert result.stderr == "\n", words


def test_own_commands_import_no_plugin() -> None:
    """The commands of the core run without any plugin, and so they work when one is broken."""
    program = (
        "import sys\nfrom msl_network.cli import main\n"
        "assert main(['keygen', '--out', 'a.key']) == 0\n"
        "assert not [name for name in sys.modules if name.startswith('msl_network_plugins.')]"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_python_m_is_the_same_program() -> None:
    """`python -m msl_network` is `msl-network`, also in what it calls itself."""
    command = [sys.executable, "-m", "msl_network", "strat"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("msl-network: error: argument COMMAND: there is no 'strat'")
    assert result.stdout == ""


# What else the parser promises


def test_command_that_exists_is_not_replaced() -> None:
    """A second command of one name is refused, also on a Python whose argparse would take it."""
    parser = cli._parser()
    with pytest.raises(ValueError, match="there is a command 'start' already"):
        parser.subparsers.add_parser("start")


def test_values_without_choices_are_not_checked() -> None:
    """Only options with a list of choices have one."""
    parser = cli._Parser()
    parser.add_argument("--any")
    parser.add_argument("--number", type=int, choices=[1, 2])
    assert parser.parse_args(["--any", "x", "--number", "2"]) == argparse.Namespace(any="x", number=2)


def test_mistakes_of_plugins_may_be_raised(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A StartError of a hook or command is said as it is."""

    class Says:
        @hookimpl
        def cli_commands(self, subparsers: Any) -> None:
            def fail(args: argparse.Namespace, context: Context) -> int:
                raise (StartError if args.plain else ConfigError)("no bell")

            parser = subparsers.add_parser("ring")
            parser.add_argument("--plain", action="store_true")
            parser.set_defaults(run=fail)

    monkeypatch.setattr(cli, "load", lambda config: Hooks([("says", Says())]))
    for words in (["ring"], ["ring", "--plain"]):
        assert run(*words) == (1, "", "msl-network: error: no bell\n")
