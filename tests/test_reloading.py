# ruff: noqa: ASYNC240 - the files of a test are small

from __future__ import annotations

import logging
import ssl
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from msl_network import (
    Command,
    Config,
    ConfigError,
    Manager,
    Peer,
    PluginError,
    RequestError,
    Secret,
    StartError,
    StoreError,
    hookimpl,
)
from msl_network.certificates import generate_certificate, generate_key
from msl_network.hooks import Hooks
from msl_network.reloading import NEEDS_RESTART

from .wire_peer import client, connected, service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Root:
    """Everybody is an administrator, and whatever is asked for is counted."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @hookimpl
    async def authenticate(self, peer: Peer) -> None:
        peer.is_admin = True

    @hookimpl
    def authorize(self, service: str, attribute: str) -> None:
        if service != "Manager":
            self.asked.append(attribute)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lab.toml"


@pytest.fixture
def level() -> Iterator[logging.Logger]:
    """The logger of the package, whose level is its own again when the test ends."""
    logger = logging.getLogger("msl_network")
    before = logger.level
    yield logger
    logger.setLevel(before)


BASE = '[manager]\nhost = "127.0.0.1"\nport = 0\n{manager}\n[manager.tls]\nenabled = false\n{rest}'


def write(file: Path, manager: str = "", rest: str = "") -> None:
    file.write_text(BASE.format(manager=manager, rest=rest), encoding="utf-8")


async def test_what_takes_effect(file: Path, level: logging.Logger) -> None:
    """Limits, allow_anonymous and log level are those of the file from now on; who is connected stays."""
    write(file)
    async with Manager(Config.load(file), plugins=[Root()]) as manager, client(manager) as user:
        limits = 'max_message = "2 MiB"\nmax_handshakes = 3\npending = 5\n'
        limits += 'resolve_timeout = "3 s"\nhandshake_timeout = "4 s"\n'
        write(file, 'allow_anonymous = true\nlog_level = "ERROR"', f"[manager.limits]\n{limits}")
        assert await user.manager("reload") == []
        assert manager.config.allow_anonymous
        assert manager.config.limits.max_message == 2**21
        assert level.level == logging.ERROR
        assert (manager._registry.max_calls, manager._registry.max_calls_of_service) == (5, 80)
        assert (manager._room.places, manager._resolver.timeout, manager.throttle.longest) == (3, 3.0, 2.0)
        await user.silence()
        async with client(manager) as other:
            await other.send(service="Echo", attribute="x" * 2**21)
            assert "a message may have 2097152 bytes" in (await other.read())["message"]
            await other.eof()
        await user.silence()


async def test_a_manager_begins_with_its_limits(file: Path) -> None:
    """They are where a reload would bring them, from the first peer on."""
    limits = 'max_handshakes = 3\npending = 5\nresolve_timeout = "3 s"\nhandshake_timeout = "4 s"\n'
    write(file, rest=f"[manager.limits]\n{limits}")
    manager = Manager(Config.load(file))
    assert (manager._registry.max_calls, manager._registry.max_calls_of_service) == (5, 80)
    assert (manager._room.places, manager._resolver.timeout, manager.throttle.longest) == (3, 3.0, 2.0)


async def test_a_level_that_an_administrator_set_stays(file: Path, level: logging.Logger) -> None:
    """Unless the file has another one than before."""
    write(file, 'log_level = "INFO"')
    async with Manager(Config.load(file)) as manager:
        manager.set_logging_level("DEBUG")
        write(file, 'log_level = "INFO"', '[manager.limits]\nmax_message = "2 MiB"')
        await manager.reload()
        assert level.level == logging.DEBUG
        write(file, 'log_level = "ERROR"')
        await manager.reload()
        assert level.level == logging.ERROR


async def test_what_was_authorized_is_asked_again(file: Path) -> None:
    """A decision that was kept is made anew."""
    write(file)
    root = Root()
    async with Manager(Config.load(file), plugins=[root]) as manager, service(manager) as echo, client(manager) as user:
        for uid, count in (("1", 1), ("2", 1), ("3", 2)):
            if uid == "3":
                await user.manager("reload")
            await user.call("Echo", "echo", uid=uid)
            await echo.read()
            assert len(root.asked) == count


CHANGED = {
    "host": '"localhost"',
    "port": "7",
    "auth": '["hostname"]',
    "store": '"memory"',
    "encoding": '"other"',
    "plugins": '["memory", "other"]',
    "without": '["login"]',
    "transport": '"streams"',
    "event_loop": '"trio"',
    "log_file": '"x.log"',
}


async def test_what_needs_a_restart(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stays as it is, and is named: to who asked, and in the log; each time, until it is as before."""
    write(file)
    async with Manager(Config.load(file), plugins=[Root()]) as manager, client(manager) as user:
        before = manager.config
        keys = "".join(f"{key} = {value}\n" for key, value in CHANGED.items())
        use = "".join(f'[plugins.{name}]\nuse = "nowhere:At"\n' for name in ("memory", "other"))
        file.write_text(f"[manager]\n{keys}[manager.tls]\nenabled = true\n{use}", encoding="utf-8")
        expected = [*(f"[manager] {key}" for key in NEEDS_RESTART if key != "database"), "[manager.tls] enabled"]
        for _ in range(2):
            assert await user.manager("reload") == expected
        assert f"changed in the settings, but it needs a restart: {', '.join(expected)}" in caplog.messages
        assert [getattr(manager.config, key) for key in NEEDS_RESTART] == [
            getattr(before, key) for key in NEEDS_RESTART
        ]
        assert not manager.config.tls.enabled
        write(file)
        assert await user.manager("reload") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[manager", "is not valid TOML: "),
        ("[manager]\nportt = 1", "[manager] portt: unknown key, did you mean 'port'?"),
        ('[manager.limits]\npending = "x"', "[manager.limits] pending: found 'x', allowed is a whole number"),
        ('[manager]\nauth = ["pasword"]', "[manager] auth: there is no plugin 'pasword', did you mean 'password'?"),
        ("[plugins.badge]\nx = 1", "[plugins.badge]: there is no plugin 'badge', "),
        (
            "[plugins.identity]\nmax_name_length = 0",
            "[plugins.identity] max_name_length: found 0, allowed is 1 or more",
        ),
        ("[plugins.login]\nx = 1", "[plugins.login] x: unknown key, none are known"),
        (
            "[plugins.identity]\nmax_name_length = 0\n[plugins.login]\nx = 1",
            "[plugins.identity] max_name_length: found 0, allowed is 1 or more; {} [plugins.login] x: unknown key",
        ),
    ],
)
async def test_a_broken_file_changes_nothing(
    file: Path, text: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked is told what is wrong, in one line, and so is the log."""
    write(file)
    async with Manager(Config.load(file), plugins=[Root()]) as manager, client(manager) as user:
        before = manager.config
        good = '[plugins.hostname]\nhostnames = ["pc7"]\n' if "[manager" not in text else ""
        file.write_text(good + text, encoding="utf-8")
        answer = await user.manager("reload")
        where = f"{file}: " if problem.startswith("is not") else f"{file} "
        assert answer.startswith(f"ValueError: reloading the settings failed: {where}{problem.format(file)}")
        assert "\n" not in answer
        assert answer.removeprefix("ValueError: ") in caplog.messages
        assert manager.config is before
        assert all(getattr(plugin, "hostnames", []) == [] for _, plugin in manager.hooks.plugins)
        file.unlink()
        with pytest.raises(ConfigError, match="cannot read the file"):
            await manager.reload()


async def test_keywords_stay_laid_over_the_file(tmp_path: Path, file: Path) -> None:
    """What a command line said still holds after a reload, and a password file that it named is read again."""
    words = tmp_path / "words.txt"
    words.write_text("one\n", encoding="utf-8")
    write(file, 'auth = ["hostname"]')
    config = Config.load(file).with_keywords(auth_password=str(words), log_level="ERROR")
    assert config == config.reread() != Config.load(file)
    assert "words.txt" not in repr(config)
    async with Manager(config) as manager:
        words.write_text("two\n", encoding="utf-8")
        write(file, 'log_level = "DEBUG"', '[manager.limits]\nmax_message = "2 MiB"')
        assert await manager.reload() == []
        assert (manager.config.auth, manager.config.log_level) == (("password",), "ERROR")
        assert manager.config.limits.max_message == 2**21
        assert dict(manager.hooks.plugins)["password"].password == Secret("two")  # type: ignore[attr-defined]


async def test_what_was_a_file_is_one(tmp_path: Path, file: Path) -> None:
    """One that is gone does not make its name the password, nor does a file that is new make a text its name."""
    words, text = tmp_path / "words.txt", "a text"
    words.write_text("one\n", encoding="utf-8")
    write(file)
    async with Manager(Config.load(file).with_keywords(auth_password=str(words))) as manager:
        words.unlink()
        with pytest.raises(
            ConfigError, match=r"words\.txt: the password cannot be read from this file: .*No such file"
        ):
            await manager.reload()
        assert dict(manager.hooks.plugins)["password"].password == Secret("one")  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        config = Config.load(file).with_keywords(auth_password=text, cert_file="lab.crt")
        (tmp_path / text).write_text("two\n", encoding="utf-8")
        patch.chdir("/")
        assert config.reread() == config
        assert config.sections["password"]["password"] == text


async def test_settings_of_a_program(tmp_path: Path) -> None:
    """It may hand over others; without a file they are as they were, and files that they name are read again."""
    secret = tmp_path / "password.txt"
    secret.write_text("one", encoding="utf-8")
    data: dict[str, Any] = {
        "manager": {"host": "127.0.0.1", "port": 0, "auth": ["password"], "tls": {"enabled": False}},
        "plugins": {"password": {"password": {"file": str(secret)}}},
    }
    async with Manager(Config.from_dict(data)) as manager:
        plugin: Any = dict(manager.hooks.plugins)["password"]
        secret.write_text("two", encoding="utf-8")
        assert await manager.reload() == []
        assert plugin.password == Secret("two")
        data["plugins"]["password"]["password"] = "three"
        assert await manager.reload(Config.from_dict(data)) == []
        assert plugin.password == Secret("three")


async def test_it_must_serve() -> None:
    """Before and after there is nothing to change."""
    manager = Manager(Config.from_dict({"manager": {"tls": {"enabled": False}}}), listen=False)
    with pytest.raises(StartError, match=r"does not serve$"):
        await manager.reload()
    async with manager:
        await manager.reload()
    with pytest.raises(StartError, match=r"does not serve$"):
        await manager.reload()


async def test_two_at_once(file: Path) -> None:
    """One follows the other, so that the last word is the file's."""
    write(file)
    async with Manager(Config.load(file)) as manager, anyio.create_task_group() as task_group:
        write(file, "allow_anonymous = true")
        for _ in range(5):
            task_group.start_soon(manager.reload)
    assert manager.config.allow_anonymous


# Certificates


async def test_a_renewed_certificate(tmp_path: Path, file: Path) -> None:
    """Who connects from now on is shown it; who is connected stays. One that cannot be used changes nothing."""
    key, cert = tmp_path / "lab.key", tmp_path / "lab.crt"

    def renew() -> None:
        generate_key(key)
        generate_certificate(cert, key_file=key)

    def context() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        return context

    renew()
    file.write_text(
        '[manager]\nhost = "127.0.0.1"\nport = 0\n[manager.tls]\ncert_file = "lab.crt"\nkey_file = "lab.key"\n',
        encoding="utf-8",
    )
    async with Manager(Config.load(file)) as manager, connected(manager, context()) as first:
        assert (await first.read())["attribute"] == "identity"
        renew()
        with pytest.raises(ssl.SSLError):
            async with connected(manager, context()):
                pass
        assert await manager.reload() == []
        async with connected(manager, context()) as second:
            assert (await second.read())["attribute"] == "identity"
        await first.send(result={"type": "client", "name": "C"})
        await first.silence()
        used = context()
        cert.write_text("nonsense", encoding="utf-8")
        with pytest.raises(StartError, match=r"lab\.crt"):
            await manager.reload()
        async with connected(manager, used) as third:
            assert (await third.read())["attribute"] == "identity"


# Plugins


PLUGIN = """
from dataclasses import dataclass, field
from typing import Callable
from msl_network import ConfigError, StoreError, hookimpl

@dataclass(eq=False)
class Taker:
    text: str = "old"
    kept: int = 1
    fails: str = ""

    @hookimpl
    async def reload(self, settings) -> Callable[[], None]:
        if settings.fails == "agreeing":
            raise KeyError("x")
        if settings.fails == "politely":
            raise ConfigError("the moon is full")
        def change():
            if settings.fails == "changing":
                raise KeyError("y")
            self.text, self.fails = settings.text, settings.fails
        return 5 if settings.fails == "nonsense" else change

@dataclass(eq=False)
class Deaf:
    text: str = "old"

    @hookimpl
    def peer_left(self):
        pass

def made():
    return Deaf("of a function")
"""

SECTIONS = """
[plugins.deaf]
use = "labreload:{deaf}"
text = "{text}"
[plugins.taker]
use = "labreload:Taker"
text = "{text}"
kept = {kept}
fails = "{fails}"
[plugins.made]
use = "labreload:made"
"""


def write_plugins(file: Path, **values: Any) -> None:
    sections = SECTIONS.format(**{"text": "old", "kept": 1, "fails": "", "deaf": "Deaf", **values})
    write(file, 'plugins = ["deaf", "taker", "made"]', sections)


@pytest.fixture
def plugins(tmp_path: Path, file: Path) -> Iterator[None]:
    (tmp_path / "labreload.py").write_text(PLUGIN, encoding="utf-8")
    write_plugins(file)
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("labreload", None)


@pytest.mark.usefixtures("plugins")
async def test_plugins_take_their_settings(file: Path) -> None:
    """Those that they do not take need a restart: all of a plugin without the hook, and what a plugin leaves out."""
    async with Manager(Config.load(file)) as manager:
        found: dict[str, Any] = dict(manager.hooks.plugins)
        assert await manager.reload() == []
        write_plugins(file, text="new", kept=2)
        for _ in range(2):
            assert await manager.reload() == ["[plugins.deaf] text", "[plugins.taker] kept"]
        assert (found["taker"].text, found["taker"].kept, found["deaf"].text) == ("new", 1, "old")
        assert found["made"].text == "of a function"
        write_plugins(file, text="newer", deaf="Taker")
        for _ in range(2):
            assert await manager.reload() == ["[plugins.deaf] use"]
        assert found["taker"].text == "newer"


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("fails", "problem"),
    [
        ("agreeing", "plugin 'taker': failed in 'reload': KeyError: 'x'"),
        ("politely", "the moon is full"),
        ("nonsense", "plugin 'taker': reload: it returned int, allowed is a function or None"),
    ],
)
async def test_a_plugin_that_does_not_agree(file: Path, fails: str, problem: str) -> None:
    """All settings stay as they are, those of other plugins, too, and the certificate."""
    async with Manager(Config.load(file)) as manager:
        before = manager.config
        write_plugins(file, text="new", fails=fails)
        with pytest.raises(StartError) as info:
            await manager.reload()
        assert str(info.value) == problem
        assert manager.config is before
        assert dict(manager.hooks.plugins)["taker"].text == "old"  # type: ignore[attr-defined]


JUDGE = """
from dataclasses import dataclass
from msl_network import StartError, hookimpl

class Judge:
    @hookimpl
    def check_config(self, config, plugins):
        self.seen = config, plugins
        if self.text == "bad":
            raise StartError(f"{type(self).__name__} refuses, {config.port}")
        if config.limits.pending == 7:
            raise StartError("seven requests")

@dataclass(eq=False)
class Taker(Judge):
    text: str = ""

    @hookimpl
    async def reload(self, settings):
        def change():
            self.text = settings.text
        return change

@dataclass(eq=False)
class Deaf(Judge):
    text: str = ""
"""


async def test_settings_are_checked_before_anything_changes(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A plugin looks at what would hold: at its new settings if it takes them, else at those that it has."""

    def change(taker: str, deaf: str, pending: int = 5) -> None:
        sections = "".join(
            f'[plugins.{name.lower()}]\nuse = "labjudge:{name}"\ntext = "{text}"\n'
            for name, text in (("Taker", taker), ("Deaf", deaf))
        )
        write(file, 'plugins = ["taker", "deaf"]', f"[manager.limits]\npending = {pending}\n{sections}")

    (tmp_path / "labjudge.py").write_text(JUDGE, encoding="utf-8")
    change("good", "good")
    before = list(sys.path)
    try:
        async with Manager(Config.load(file)) as manager, client(manager) as user:
            taker, deaf = (dict(manager.hooks.plugins)[name] for name in ("taker", "deaf"))
            holds = manager.config
            for values, problem in ((("bad", "new"), "Taker refuses, 0"), (("new", "new", 7), "seven requests")):
                change(*values)
                with pytest.raises(StartError) as info:
                    await manager.reload()
                assert str(info.value) == problem
                assert f"reloading the settings failed: {problem}" in caplog.messages
                assert (manager.config, taker.text) == (holds, "good")  # type: ignore[attr-defined]
            await user.manager("identity")  # nobody was closed
            change("better", "bad")
            assert await manager.reload() == ["[plugins.deaf] text"]
            config, seen = deaf.seen  # type: ignore[attr-defined]
            assert config is manager.config
            assert seen["deaf"] is deaf
            assert seen["taker"].text == taker.text == "better"  # type: ignore[attr-defined]
            assert list(seen) == [name for name, _ in manager.hooks.plugins]
    finally:
        sys.path[:] = before
        sys.modules.pop("labjudge", None)


@pytest.mark.usefixtures("plugins")
async def test_a_plugin_that_fails_to_change(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and all other settings hold."""
    async with Manager(Config.load(file)) as manager:
        write_plugins(file, fails="changing", text="new")
        with pytest.raises(PluginError) as info:
            await manager.reload()
        problem = "plugin 'taker': failed to take its new settings (KeyError: 'y'); all others hold"
        assert str(info.value) == problem
        assert f"reloading the settings failed: {problem}" in caplog.messages
        assert manager.config.sections["taker"]["text"] == "new"


@dataclass(eq=False)
class Given:
    """A plugin that a program hands over."""

    text: str = "given"
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    async def reload(self, settings: object) -> Callable[[], None] | None:
        if self.error:
            raise self.error
        self.seen.append(settings)
        return None


async def test_a_plugin_of_a_program(file: Path) -> None:
    """It has no section, so it is given itself."""
    write(file)
    plugin = Given()
    async with Manager(Config.load(file), plugins=[plugin]) as manager:
        assert await manager.reload() == []
    assert plugin.seen == [plugin]


async def test_the_hook_asks_all() -> None:
    """In order; one that does not agree ends it, and who needs nothing returns None."""
    first, last = Given(), Given()
    assert await Hooks([("first", first), ("last", last)]).reload({"last": 5}) == []
    assert (first.seen, last.seen) == ([first], [5])
    with pytest.raises(StoreError, match="disk full"):
        await Hooks([("first", Given(error=StoreError("disk full"))), ("last", last)]).reload({})
    assert last.seen == [5]


async def test_the_command_is_for_administrators(file: Path) -> None:
    """It is one of the Manager's own."""
    write(file)
    commands: dict[str, Command] = {name: found for name, (found, _) in Manager()._commands._commands.items()}
    assert commands["reload"].administrator
    assert commands["reload"].signature() == "() -> list[str]"
    with pytest.raises(RequestError, match="does not serve"):
        await commands["reload"].bind(None, [], {})()
