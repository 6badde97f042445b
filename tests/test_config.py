from __future__ import annotations

import dataclasses
import logging
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msl_network_plugins.audit import Audit
from msl_network_plugins.certificate import Certificate
from msl_network_plugins.hostname import Hostname
from msl_network_plugins.identity import IdentityRules
from msl_network_plugins.json_lines import JsonLines
from msl_network_plugins.login import Login
from msl_network_plugins.password import Password
from msl_network_plugins.roles import Roles
from msl_network_plugins.sqlite import Sqlite
from msl_network_plugins.token import Token

from msl_network.config import Config, Limits, TLSSettings, log_level_number, secret_words
from msl_network.errors import ConfigError
from msl_network.settings import Secret, build, settings
from msl_network.toml import dump

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
BUNDLED = {
    "password": Password,
    "hostname": Hostname,
    "login": Login,
    "identity": IdentityRules,
    "sqlite": Sqlite,
    "json_lines": JsonLines,
    "roles": Roles,
    "token": Token,
    "certificate": Certificate,
    "audit": Audit,
}
REQUIRED: dict[type[Any], dict[str, Any]] = {Password: {"password": Secret("x")}, Certificate: {"ca_file": "ca.pem"}}
"""Settings without a default."""


def problem(text: str, tmp_path: Path) -> str:
    """What is said about a file, without its name, which is always there."""
    file = tmp_path / "lab.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as info:
        Config.load(file)
    assert str(info.value).startswith(str(file))
    return str(info.value).removeprefix(str(file)).lstrip(": ")


@pytest.mark.parametrize(
    ("source", "given", "typed", "line"),
    [
        ("", None, None, "msl-network user list"),
        ("lab.toml", None, None, "msl-network --config lab.toml user list"),
        ("/my lab/a.toml", None, None, "msl-network --config '/my lab/a.toml' user list"),
        ("lab.toml", "a.db", None, "msl-network --config lab.toml user list --database a.db"),
        ("lab.toml", "a.db", "b;.db", "msl-network --config lab.toml user list --database 'b;.db'"),
        ("", None, "b.db", "msl-network user list --database b.db"),
    ],
)
def test_command_line(source: str, given: str | None, typed: str | None, line: str) -> None:
    """A command that a message names is about the same file and the same data, whatever is in their names."""
    assert Config(source=source, database=given).command_line("user list", typed) == line


def test_the_defaults() -> None:
    """Without settings the Manager is that of 1.0: port 1875, TLS, everything on."""
    config = Config()
    assert (config.port, config.host, config.auth, config.tls.enabled) == (1875, None, (), True)
    assert config.enabled_plugins() == ("identity", "hostname", "login", "sqlite", "json_lines")
    assert config.folder is None
    assert Config.from_dict({}) == config


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of section is read, and paths start from the folder of the file."""
    file = tmp_path / "lab.toml"
    file.write_text(
        """
        [manager]
        auth = ["badge", "login"]
        plugins = ["mylab"]
        without = ["identity"]
        log_level = "debug"
        log_file = "~/lab.log"
        [manager.tls]
        cert_file = "certs/lab.crt"
        key_file_password = { file = "key.txt" }
        [manager.limits]
        max_message = "1 MiB"
        handshake_timeout = 5
        [plugins.badge]
        code = "1234"
        """
    )
    (tmp_path / "key.txt").write_text("geheim")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")
    config = Config.load(str(file))
    assert config.log_file == str(Path("/home/somebody/lab.log"))
    assert config.tls == TLSSettings(cert_file=str(tmp_path / "certs" / "lab.crt"), key_file_password=Secret("geheim"))
    assert config.limits == Limits(max_message=2**20, handshake_timeout=5.0)
    assert config.sections == {"badge": {"code": "1234"}}
    assert config.enabled_plugins() == ("badge", "login", "hostname", "sqlite", "json_lines", "mylab")
    assert config.log_level_number() == logging.DEBUG
    assert (config.source, config.folder) == (str(file), tmp_path)


def test_a_file_of_a_windows_editor(tmp_path: Path) -> None:
    """A byte order mark and its line ends do not disturb."""
    (tmp_path / "lab.toml").write_bytes(b"\xef\xbb\xbf[manager]\r\nport = 2000\r\n")
    assert Config.load(tmp_path / "lab.toml").port == 2000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[manger]", "[manger]: unknown section, did you mean 'manager'? known are: manager, manager.limits, "),
        ("[tls]", "[tls]: unknown section, "),
        ("port = 1", "[port]: unknown section, "),
        ("manager = 5", "[manager]: found 5, allowed is a section"),
        ("plugins = []", "[plugins]: found [], allowed is a section"),
        ("[plugins]\nbadge = 1", "[plugins.badge]: found 1, allowed is a section"),
        ("[manager]\ntls = true", "[manager.tls]: found True, allowed is a section"),
        ("[manager]\nprot = 1", "[manager] prot: unknown key, did you mean 'port'? known are: allow_anonymous, "),
        ("[manager]\nsource = 'x'", "[manager] source: unknown key, "),
        ("[manager]\nsections = {}", "[manager] sections: unknown key, "),
        ("[manager]\nmax_message = 1", "[manager] max_message: belongs to [manager.limits]"),
        ("[manager]\ncert_file = 'x'", "[manager] cert_file: belongs to [manager.tls]"),
        ("[manager.limits]\noutbx = 1", "[manager.limits] outbx: unknown key, did you mean 'outbox'? "),
        ("[manager]\nport = 'x'", "[manager] port: found 'x', allowed is a whole number"),
        ("[manager]\nport = 65536", "[manager] port: found 65536, allowed is 0 (any free port) to 65535"),
        ("[manager]\nport = -1", "[manager] port: found -1, allowed is 0 (any free port) to 65535"),
        ("[manager]\nauth = 'login'", "[manager] auth: found 'login', allowed is a list of texts"),
        ("[manager]\nauth = ['a', 'a']", "[manager] auth: a name stands twice in ['a', 'a']"),
        ("[manager]\nwithout = ['lgoin']", "[manager] without: 'lgoin' is not enabled by default, did you mean 'l"),
        ("[manager]\ntransport = 'udp'", "[manager] transport: found 'udp', allowed is one of 'auto', 'protocol'"),
        ("[manager]\nlog_level = 'LOUD'", "[manager] log_level: found 'LOUD', allowed is one of DEBUG, INFO, "),
        ("[manager]\nlog_level = -5", "[manager] log_level: found -5, allowed is one of DEBUG, INFO, "),
        ("[manager.limits]\npending = 0", "[manager.limits] pending: found 0, allowed is 1 or more"),
        ("[manager.limits]\nmax_handshakes = 0", "[manager.limits] max_handshakes: found 0, allowed is 1 or more"),
        ("[manager.limits]\nresolve_timeout = '1 MB'", "[manager.limits] resolve_timeout: found '1 MB', allowed is a "),
        ("[manager.limits]\noutbox = '1 m'", "[manager.limits] outbox: found '1 m', allowed is a size: "),
        ("[manager.tls]\nenabled = 1", "[manager.tls] enabled: found 1, allowed is true or false"),
        ("[manager.tls]\nkey_file_password = 1", "[manager.tls] key_file_password: found no text, allowed is "),
        (f"manager = 0x{'f' * 4000}", "manager: found an integer of 16000 bits, allowed are 63 and a sign"),
        (f"[manager]\nport = 0x{'f' * 4000}", "[manager] port: found an integer of 16000 bits, allowed are 63"),
        (f"[plugins.x]\ny = [{{ z = [{2**63}] }}]", "[plugins.x.y] z: found an integer of 64 bits, allowed are 63"),
        (
            f"plugins.{'x.' * 990}y = 0x{'f' * 4000}",
            "[x.x.x.x.x.x.x.x] y: found an integer of 16000 bits, allowed are 63",
        ),
        (f"[manager]\nport = {-(2**63)}", f"[manager] port: found {-(2**63)}, allowed is 0 (any free port) to 65535"),
        ("[manager\n", "is not valid TOML: Expected"),
        ("[manager]\nx = 1\nx = 2\n\n", "is not valid TOML: "),
        (f"x = {'9' * 5000}", "is not valid TOML: "),
        (f"x = {'[' * 5000}", "is not valid TOML: "),
    ],
)
def test_a_file_that_is_wrong(text: str, expected: str, tmp_path: Path) -> None:
    """Every mistake names file, section, key, what was found and what is allowed."""
    assert problem(text, tmp_path).startswith(expected)


def test_the_internal_fields_are_not_offered(tmp_path: Path) -> None:
    """`sections` and `source` are no settings, and no message says that they are known."""
    text = problem("[manager]\nzzz = 1", tmp_path)
    assert "sections" not in text
    assert "source" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no.toml", "cannot read the file: No such file or directory"),
        (".", "cannot read the file: Is a directory"),
        ("latin.toml", "is not text in UTF-8"),
        ("nul\0.toml", "is not valid TOML: "),
    ],
)
def test_a_file_that_cannot_be_read(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the reason."""
    monkeypatch.chdir(tmp_path)
    Path("latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError) as info:
        Config.load(name)
    shown = name if name.isprintable() else repr(name)
    assert str(info.value).startswith(f"{shown}: {text}")


def test_without_what_is_asked(tmp_path: Path) -> None:
    """A plugin cannot be asked and be done without."""
    text = problem('[manager]\nauth = ["login"]\nwithout = ["login"]', tmp_path)
    assert "[manager] without: 'login' is in auth, too" in text


def test_secrets_are_not_shown() -> None:
    """The settings of the plugins and the password of the key are not in the text of a Config."""
    config = Config.from_dict(
        {"manager": {"tls": {"key_file_password": "hidden"}}, "plugins": {"password": {"password": "hidden"}}}
    )
    assert "hidden" not in repr(config)


@pytest.mark.parametrize(
    ("level", "number"),
    [("INFO", 20), ("warning", 30), (10, 10), ("15", 15), (" 40 ", 40), (0, 0)],
)
def test_a_log_level(level: str | int, number: int) -> None:
    """It is a name in any case, or a number."""
    assert log_level_number(level) == number


@pytest.mark.parametrize("level", ["", "LOUD", "²", "-1", -1, True, "1.5", "9" * 5000])
def test_what_is_no_log_level(level: Any) -> None:
    """Anything else is refused with all names."""
    with pytest.raises(ValueError, match="allowed is one of DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"):
        log_level_number(level)


# The keywords of 1.0


def test_no_keyword_changes_nothing() -> None:
    """None, as 1.0's defaults are, leaves each setting as it is."""
    config = Config(port=5, auth=("badge",))
    assert config.with_keywords() == config
    assert config.with_keywords(auth_password=None, host=None, port=None, cert_file=None) == config


def test_the_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They win over the file; paths start from the working directory."""
    monkeypatch.chdir(tmp_path)
    config = Config(port=5, auth=("badge",), source="/lab/lab.toml").with_keywords(
        auth_login=True,
        auth_hostname=True,
        auth_password="my secret words",
        disable_tls=True,
        cert_file="a.crt",
        key_file=str(tmp_path / "a.key"),
        key_file_password="geheim",
        host="localhost",
        port=7,
        database=Path("lab.sqlite3"),
        log_file="lab.log",
        log_level="DEBUG",
    )
    assert config.auth == ("hostname", "password", "login")
    assert config.sections == {"password": {"password": "my secret words"}}
    assert config.tls == TLSSettings(
        enabled=False,
        cert_file=str(tmp_path / "a.crt"),
        key_file=str(tmp_path / "a.key"),
        key_file_password=Secret("geheim"),
    )
    assert (config.host, config.port, config.database) == ("localhost", 7, "lab.sqlite3")
    assert config.log_file == str(tmp_path / "lab.log")
    assert config.log_level_number() == logging.DEBUG


def test_an_empty_password_is_a_password() -> None:
    """It does not mean that nobody is asked; the plugin then refuses it."""
    config = Config().with_keywords(auth_password="")
    assert config.auth == ("password",)
    with pytest.raises(ConfigError, match="password: it is empty"):
        build(Password, config.sections["password"])


def test_a_password_keeps_the_rest_of_its_section() -> None:
    """A site's own password plugin stays the one that is used."""
    config = Config(sections={"password": {"use": "mylab:Password", "password": "old"}})
    section = config.with_keywords(auth_password="new").sections["password"]
    assert section == {"use": "mylab:Password", "password": "new"}


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"port": "x"}, "port: found 'x', allowed is a whole number"),
        ({"port": 10**5000}, "port: found an integer of 16610 bits, allowed are 63 and a sign"),
        ({"log_level": "9" * 5000}, "log_level: found '999999999999...9999999999999', allowed is one of"),
        ({"port": 70000}, "port: found 70000, allowed is 0 (any free port) to 65535"),
        ({"log_level": "LOUD"}, "log_level: found 'LOUD', allowed is one of"),
        ({"prot": 1}, "prot: unknown key, did you mean 'port'?"),
        ({"source": "x"}, "source: unknown key"),
        ({"without": ["x"]}, "without: 'x' is not enabled by default, known are: hostname, identity, login"),
    ],
)
def test_a_keyword_that_is_wrong(keywords: dict[str, Any], text: str) -> None:
    """It is refused as in a file, by its name."""
    with pytest.raises(ConfigError) as info:
        Config().with_keywords(**keywords)
    assert str(info.value).startswith(text)


def test_the_words_of_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are joined; the path of a file means its first line; anything else means itself."""
    monkeypatch.chdir(tmp_path)
    Path("my secret.txt").write_text("  first wörd \nsecond\n", encoding="utf-8")
    assert secret_words(["my", "secret.txt"]) == "first wörd"
    for text in ("one", "two words", "", "x" * 5000, "nul\0", str(tmp_path)):
        assert secret_words([text]) == text


def test_a_password_file_without_a_password(tmp_path: Path) -> None:
    """An empty first line is no password, but a mistake."""
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match="empty: the password cannot be read from this file: the first line"):
        secret_words([str(tmp_path / "empty")])


# The example


def documented() -> dict[str, dict[str, Any]]:
    """The settings in the example by section, commented or not."""
    text = EXAMPLE.read_text(encoding="utf-8")
    uncommented = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    data = tomllib.loads(uncommented)
    manager = {key: value for key, value in data["manager"].items() if key not in {"tls", "limits"}}
    return {
        "manager": manager,
        "manager.tls": data["manager"]["tls"],
        "manager.limits": data["manager"]["limits"],
        **{f"plugins.{name}": section for name, section in data["plugins"].items()},
    }


def test_the_example_changes_nothing() -> None:
    """It can be used as it is, and has the defaults."""
    config = Config.load(EXAMPLE)
    assert dataclasses.replace(config, source="", sections={}) == dataclasses.replace(Config(), sections={})


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether a setting has a value without being set."""
    has_value = field.default is not dataclasses.MISSING and field.default is not None
    return has_value or field.default_factory is not dataclasses.MISSING


@pytest.mark.parametrize(
    ("section", "factory"),
    [("manager", Config), ("manager.tls", TLSSettings), ("manager.limits", Limits)]
    + [(f"plugins.{name}", factory) for name, factory in BUNDLED.items()],
)
def test_the_example_is_complete(section: str, factory: type[Any]) -> None:
    """Each setting is in it, by default if it has one, else as a comment; and nothing else."""
    shown = documented()[section]
    assert set(shown) == set(settings(factory)) - {"tls", "limits"}
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    active: Any = data
    for part in section.split("."):
        active = active.get(part, {})
    if section.startswith("plugins.") and section.removeprefix("plugins.") not in Config().enabled_plugins():
        # without its plugin a section would only be complained about, so that all of it is a comment
        assert not active
        active = {name: shown[name] for name, field in settings(factory).items() if has_default(field)}
    for name, field in settings(factory).items():
        if name in {"tls", "limits"}:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is None or default is dataclasses.MISSING:
            assert name not in active
        else:
            assert name in active
            assert getattr(build(factory, {**REQUIRED.get(factory, {}), name: active[name]}), name) == default
    commented = {key: value for key, value in shown.items() if key not in active and not isinstance(value, dict)}
    build(factory, commented) if factory is not Password else None


def test_the_example_explains_each_setting() -> None:
    """Each line with a setting has a comment."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert all("  # " in line for line in lines if re.match(r"(# )?\w+ = ", line))


def test_the_example_has_every_bundled_plugin() -> None:
    """No section is missing, and none is there for a plugin that does not exist."""
    plugins = {name.removeprefix("plugins.") for name in documented() if name.startswith("plugins.")}
    files = {path.stem for path in (EXAMPLE.parent / "plugins").glob("*.py")} - {"__init__"}
    assert plugins == set(BUNDLED) == files


# Any settings

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.times(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=5,
)
LIKELY = st.sampled_from(
    [
        0,
        1,
        65536,
        2**63,
        10**5000,
        -1,
        True,
        1.5,
        math.inf,
        "",
        "1 MiB",
        "5 s",
        "\0",
        "~nobody",
        "a\nb",
        "login",
        "DEBUG",
    ]
) | st.lists(st.sampled_from(["login", "hostname", "a", ""]), max_size=2)


def section(factory: type[Any], *more: str) -> st.SearchStrategy[dict[str, Any]]:
    """Sections that have the right keys most of the time, and anything as values."""
    keys = st.sampled_from([*settings(factory), *more]) | st.text(max_size=5)
    return st.dictionaries(keys, LIKELY | ANYTHING, max_size=5)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "manager": st.builds(
            lambda own, nested: own | nested,
            section(Config, "tls", "limits"),
            st.fixed_dictionaries({}, optional={"tls": section(TLSSettings), "limits": section(Limits)}),
        ),
        "plugins": st.dictionaries(st.text(max_size=5), ANYTHING | section(Sqlite), max_size=2),
        "other": ANYTHING,
    },
)


@given(SETTINGS)
@example({"manager": {"\n": 0}})
def test_any_settings(data: dict[str, Any]) -> None:
    """They are settings that can be shown and read again, or one line says what is wrong."""
    try:
        config = Config.from_dict(data, source="lab.toml")
    except ConfigError as error:
        text = str(error)
        assert text.startswith("lab.toml")
        assert "\n" not in text
        return
    assert all(each in repr(config) for each in ("Config(", "TLSSettings(", "Limits("))
    assert config.log_level_number() >= 0
    assert config.enabled_plugins()
    again = Config.from_dict(tomllib.loads(dump(config, [])), source="lab.toml")
    hidden: Any = {"sections": {}, "tls": TLSSettings()}
    assert dataclasses.replace(again, **hidden) == dataclasses.replace(config, **hidden)


@given(st.dictionaries(st.sampled_from([*settings(Config), "zzz"]), LIKELY | ANYTHING, max_size=3))
@example({"tls": {}})
@example({"host": {"": 2**63}})
@example({"limits": {"pending": 1}})
def test_any_keywords(keywords: dict[str, Any]) -> None:
    """The keywords of 1.0 are settings, too, or one line says what is wrong with one."""
    try:
        config = Config().with_keywords(**keywords)
    except ConfigError as error:
        name, text = (error.section or error.key).partition(".")[0], str(error)
        assert name in keywords
        assert "\n" not in text
        return
    assert config.log_level_number() >= 0
