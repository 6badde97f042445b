from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from msl_network_plugins.json_lines import JsonLines
from msl_network_plugins.sqlite import Sqlite

from msl_network.config import Config
from msl_network.errors import AuthenticationError, ConfigError, PluginError, StartError
from msl_network.hookspecs import hookimpl
from msl_network.manager import Manager
from msl_network.plugins import Found, find, installed, load
from msl_network.testing import laboratory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BADGE = """
from dataclasses import dataclass
from msl_network import AuthenticationError, hookimpl

@dataclass(eq=False)
class Badge:
    code: str

    @hookimpl
    async def authenticate(self, peer, handshake):
        if await handshake.ask("password", "badge reader") != self.code:
            raise AuthenticationError("Unknown badge")
"""
"""The authenticator that the design promises a stranger to be enough."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test puts on the path and imports is gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes a file into a folder on the path."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def distribution(write: Any) -> Callable[..., None]:
    """Return a function that makes an installed distribution with entry points."""

    def install(name: str, **points: str) -> None:
        info = f"{name}-1.0.dist-info"
        write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{point} = {target}" for point, target in points.items())
        write(f"{info}/entry_points.txt", f"[msl_network]\n{lines}\n")

    return install


def settings(manager: dict[str, Any] | None = None, source: str = "", **plugins: dict[str, Any]) -> Config:
    return Config.from_dict({"manager": manager or {}, "plugins": plugins}, source=source)


def refused(config: Config) -> str:
    """Return why the plugins of some settings cannot be loaded: one line."""
    with pytest.raises(StartError) as caught:
        load(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def badge(*, use: str = "mylab.auth:Badge", **section: Any) -> Config:
    return settings({"auth": ["badge"]}, badge={"use": use, **({"code": "1234"} | section)})


# Finding


def test_bundled_plugins_are_entry_points() -> None:
    """The core finds the plugins that come with it as it finds any stranger's."""
    offers = installed()
    for name in ("hostname", "identity", "json_lines", "login", "password", "sqlite"):
        (offer,) = offers[name]
        assert offer.target.startswith(f"msl_network_plugins.{name}:")
        assert offer.distribution.startswith("msl-network-manager ")


def test_default_plugins_are_enabled() -> None:
    """Without settings the defaults are enabled, and nobody authenticates."""
    hooks = load(Config())
    assert [name for name, _ in hooks.plugins] == ["identity", "hostname", "login", "sqlite", "json_lines"]
    assert hooks.authenticators == ()


def test_default_plugin_can_be_left_out() -> None:
    """`without` names defaults that are not enabled."""
    hooks = load(settings({"without": ["login", "hostname"]}))
    assert [name for name, _ in hooks.plugins] == ["identity", "sqlite", "json_lines"]


def test_installed_plugin_is_found(distribution: Any, write: Any) -> None:
    """A distribution offers a plugin with an entry point; the extras that it may name do not disturb."""
    distribution("lab-badge", badge="labbadge:Badge [ldap]")
    write("labbadge.py", BADGE)
    config = settings({"auth": ["badge"]}, badge={"code": "1234"})
    assert find(config, "badge") == Found(name="badge", target="labbadge:Badge", distribution="lab-badge 1.0")
    hooks = load(config)
    assert hooks.authenticators == ("badge",)
    assert dict(hooks.plugins)["badge"].code == "1234"  # type: ignore[attr-defined]


def test_two_distributions_with_one_name_are_refused(distribution: Any, write: Any) -> None:
    """Which of two plugins of one name is meant is not left to luck; `use` decides."""
    distribution("lab-badge", badge="labbadge:Badge")
    distribution("other-badge", badge="otherbadge:Badge")
    write("labbadge.py", BADGE)
    text = refused(settings({"auth": ["badge"]}, badge={"code": "1"}))
    found = re.fullmatch(
        r"plugin 'badge': is offered by (\S+ 1\.0) and (\S+ 1\.0); "
        r"uninstall one, or choose with 'use' in \[plugins\.badge\]",
        text,
    )
    assert found
    assert {found[1], found[2]} == {"lab-badge 1.0", "other-badge 1.0"}
    assert load(badge(use="labbadge:Badge")).authenticators == ("badge",)


def test_entry_point_without_class_is_refused(distribution: Any) -> None:
    """An entry point that names a module alone is a mistake of its package, which is named."""
    distribution("lab-badge", badge="labbadge")
    assert refused(settings({"auth": ["badge"]})) == (
        "plugin 'badge': lab-badge 1.0 says that it is 'labbadge'; allowed is 'module:Class'"
    )


@pytest.mark.parametrize(
    ("manager", "key"),
    [
        ({"auth": ["paswd"]}, " auth"),
        ({"plugins": ["paswd"]}, " plugins"),
        ({"store": "paswd"}, " store"),
        ({"encoding": "paswd"}, " encoding"),
    ],
)
def test_unknown_plugin_is_named(manager: dict[str, Any], key: str) -> None:
    """A name that nobody offers comes with the file, the key, the nearest name, and what to do."""
    text = refused(settings(manager, source="lab.toml"))
    assert text.startswith(f"lab.toml [manager]{key}: there is no plugin 'paswd', did you mean 'password'? known are: ")
    assert text.endswith('or say where it is with use = "module:Class" in [plugins.paswd]')


def test_default_plugin_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default plugin that is not installed is named, too; no key of the file is to blame."""
    monkeypatch.setattr("msl_network.plugins.installed", dict)
    assert refused(Config()).startswith("[manager]: there is no plugin 'identity', none are known; install")


def test_section_of_unknown_plugin_is_refused() -> None:
    """A section that belongs to no plugin is a misspelling."""
    assert refused(settings(source="lab.toml", logn={"x": 1})).startswith(
        "lab.toml [plugins.logn]: there is no plugin 'logn', did you mean 'login'? known are: "
    )


def test_section_of_plugin_that_is_not_enabled_may_stay() -> None:
    """The settings of a plugin may wait in the file until it is enabled, and it is not imported."""
    config = settings(password={"password": "x"}, badge={"use": "no.such:Thing"})
    assert "password" not in dict(load(config).plugins)


# use


def test_use_takes_a_class_from_a_module(write: Any) -> None:
    """A class in an importable module is a plugin without any packaging; its section is its fields."""
    write("mylab/auth.py", BADGE)
    hooks = load(badge())
    assert dict(hooks.plugins)["badge"].code == "1234"  # type: ignore[attr-defined]


def test_use_takes_a_nested_class(write: Any) -> None:
    """The class may stand in another one."""
    imports, _, rest = BADGE.partition("@dataclass")
    write("mylab/auth.py", f"{imports}\nclass Site:\n" + textwrap.indent(f"@dataclass{rest}", "    "))
    assert load(badge(use="mylab.auth:Site.Badge")).authenticators == ("badge",)


def test_use_looks_beside_the_toml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the TOML file is found wherever the Manager is started, after all that is installed."""
    lab = tmp_path / "lab"
    (lab / "mylab").mkdir(parents=True)
    (lab / "mylab" / "auth.py").write_text(BADGE, encoding="utf-8")
    (lab / "json.py").write_text("raise ImportError('not the real one')", encoding="utf-8")
    file = lab / "lab.toml"
    file.write_text(
        '[manager]\nauth = ["badge"]\n[plugins.badge]\nuse = "mylab.auth:Badge"\ncode = "1"\n', encoding="utf-8"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(Config.load("../lab/lab.toml")).authenticators == ("badge",)
    assert load(Config.load(file)).authenticators == ("badge",)
    assert sys.path.count(str(lab)) == 1
    assert sys.path[-1] == str(lab)


def test_folder_of_the_toml_file_is_not_needed_without_use(tmp_path: Path) -> None:
    """No folder gets on the path unless a section says `use`."""
    file = tmp_path / "lab.toml"
    file.write_text("", encoding="utf-8")
    load(Config.load(file))
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("use", ["", "mylab", "mylab:", ":Badge", "a:b:c", "my lab:Badge", ".auth:Badge", 5, ["x"]])
def test_malformed_use_is_refused(use: object) -> None:
    """Anything but module:Class is refused before anything is imported."""
    config = settings({"auth": ["badge"]}, source="lab.toml", badge={"use": use})
    assert refused(config) == f'lab.toml [plugins.badge] use: found {use!r}, allowed is "module:Class"'


def test_missing_module_is_named() -> None:
    """A module that does not exist is named."""
    assert refused(badge(use="mylab_nowhere.auth:Badge")) == (
        "plugin 'badge': cannot import 'mylab_nowhere.auth': ModuleNotFoundError: No module named 'mylab_nowhere'"
    )


def test_missing_module_beside_a_file(tmp_path: Path) -> None:
    """For settings from a file it is said that the module is not beside that, either."""
    file = tmp_path / "lab.toml"
    file.write_text('[manager]\nauth = ["badge"]\n[plugins.badge]\nuse = "mylab_nowhere:Badge"\n')
    assert refused(Config.load(file)).endswith(
        f"No module named 'mylab_nowhere'; it is neither installed nor in {tmp_path.resolve()}"
    )


def test_misspelt_plugin_with_use(write: Any) -> None:
    """A name that is near that of a section with `use` is taken for that."""
    write("mylab/auth.py", BADGE)
    config = settings({"auth": ["bagde"]}, badge={"use": "mylab.auth:Badge", "code": "1"})
    assert "there is no plugin 'bagde', did you mean 'badge'? known are: " in refused(config)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise OSError('no reader')", "OSError: no reader"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("None.code", "AttributeError: 'NoneType' object has no attribute 'code'"),
    ],
)
def test_module_that_fails_is_named(statement: str, said: str, write: Any) -> None:
    """Whatever a module does when it is imported, also to exit, is one line that names plugin and module."""
    write("mylab/auth.py", statement)
    assert refused(badge()) == f"plugin 'badge': cannot import 'mylab.auth': {said}"


def test_missing_class_is_named(write: Any) -> None:
    """A class that the module does not have is named with the nearest one."""
    write("mylab/auth.py", BADGE)
    text = refused(badge(use="mylab.auth:Bagde"))
    assert text.startswith("plugin 'badge': the module 'mylab.auth' has no class 'Bagde', did you mean 'Badge'? ")


def test_what_is_no_class_is_refused(write: Any) -> None:
    """Something else than a class is no plugin."""
    write("mylab/auth.py", "Badge = 5")
    assert refused(badge()) == "plugin 'badge': mylab.auth:Badge is no class"


# Building


def test_wrong_settings_name_the_section(write: Any) -> None:
    """The fields of the dataclass are the keys: an unknown, a missing and a wrong one is named."""
    write("mylab/auth.py", BADGE)
    assert refused(badge(cod="1")) == ("[plugins.badge] cod: unknown key, did you mean 'code'? known are: code")
    assert refused(badge(code=1)).startswith("[plugins.badge] code: found 1, ")
    config = settings({"auth": ["badge"]}, badge={"use": "mylab.auth:Badge"})
    assert refused(config) == "[plugins.badge] code: is missing and has no default"


def test_all_that_is_wrong(write: Any) -> None:
    """Everything that is wrong with any plugin is said at once, in the order of the settings."""
    write("mylab/auth.py", BADGE)
    config = settings(
        {"auth": ["badge"], "plugins": ["roels"]}, badge={"use": "mylab.auth:Badge", "code": 1}, identiy={}
    )
    with pytest.raises(ConfigError) as caught:
        load(config)
    found = [(mistake.section, mistake.key) for mistake in (caught.value, *caught.value.others)]
    assert found == [("plugins.identiy", ""), ("plugins.badge", "code"), ("manager", "plugins")]


def test_plain_class_takes_no_settings(write: Any) -> None:
    """A class that is no dataclass is a plugin, but a section with settings is refused."""
    write("mylab/auth.py", BADGE.replace("@dataclass(eq=False)", "").replace("code: str", "code = '1'"))
    assert refused(badge()).startswith(
        "[plugins.badge] code: takes no settings: mylab.auth:Badge is no dataclass; put @dataclass(eq=False) before"
    )
    hooks = load(settings({"auth": ["badge"]}, badge={"use": "mylab.auth:Badge"}))
    assert hooks.authenticators == ("badge",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def Badge():\n    raise OSError('no reader')", "OSError: no reader"),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Badge:\n    def __post_init__(self): {}['x']",
            "KeyError: 'x'",
        ),
    ],
)
def test_plugin_that_cannot_be_made_is_named(text: str, said: str, write: Any) -> None:
    """An exception of a plugin that is made is one line with its name."""
    write("mylab/auth.py", text)
    config = settings({"auth": ["badge"]}, badge={"use": "mylab.auth:Badge"})
    assert refused(config) == f"plugin 'badge': mylab.auth:Badge cannot be made: {said}"


def test_plugin_may_refuse_its_settings(write: Any) -> None:
    """A ValueError of a plugin that is made names its section."""
    write("mylab/auth.py", BADGE + "    def __post_init__(self): raise ValueError('code: too short')\n")
    text = refused(badge())
    assert text.startswith("[plugins.badge]")
    assert text.endswith("code: too short")


def test_plugin_that_fits_nowhere_is_refused(write: Any) -> None:
    """A plugin of the wrong shape is refused when it is loaded, by plugin and hook."""
    write("mylab/auth.py", BADGE.replace("async def authenticate", "def authenticate").replace("await ", ""))
    assert refused(badge()) == "plugin 'badge': authenticate: must be async ('async def')"


def test_authenticator_must_stand_in_auth(write: Any) -> None:
    """An authenticator among `plugins` would never be asked, and so it is refused, whatever its method's name."""
    write("mylab/auth.py", BADGE)
    write(
        "mylab/named.py",
        BADGE.replace("@hookimpl", "@hookimpl(specname='authenticate')", 1).replace("def authenticate", "def check"),
    )
    expected = "[manager] plugins: 'badge' decides who is let in, but only plugins in 'auth' are asked; put it there"
    for module in ("auth", "named"):
        section = {"use": f"mylab.{module}:Badge", "code": "1"}
        assert refused(settings({"plugins": ["badge"]}, badge=section)) == expected
        assert load(settings({"plugins": ["badge"], "auth": ["badge"]}, badge=section)).authenticators == ("badge",)


class Shelf:
    """A store that keeps nothing, wherever it is told to."""

    def __init__(self) -> None:
        self.locations: list[str | None] = []

    @hookimpl
    def open_store(self, location: str | None) -> Any:
        self.locations.append(location)
        return Sqlite().open_store(":memory:")


@pytest.mark.anyio
async def test_the_store_that_is_chosen() -> None:
    """It is opened in place of the default one, with the location that a person gave, and is the Manager's."""
    keep = settings({"store": "shelf"}, shelf={"use": f"{__name__}:Shelf"}).with_keywords(database="top")
    async with Manager(keep, listen=False) as manager:
        plugins = dict(manager.hooks.plugins)
        assert isinstance(plugins["shelf"], Shelf)
        assert plugins["shelf"].locations == ["top"]
        assert "sqlite" not in plugins
        await manager.store.collection("lab").set("key", 1)
        assert await manager.store.collection("lab").items() == {"key": 1}


class Loud:
    """Has an encoding, which is the usual one under another name, and counts how often it is wanted."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def make_codec(self, name: str) -> Any:
        self.count += name == "loud"
        return JsonLines().make_codec("json_lines") if name == "loud" else None


@pytest.mark.anyio
async def test_the_encoding_that_is_chosen() -> None:
    """Each connection has it in place of the default one."""
    async with laboratory(encoding="loud", settings={"loud": {"use": f"{__name__}:Loud"}}) as lab:
        plugins = dict(lab.manager.hooks.plugins)
        assert isinstance(plugins["loud"], Loud)
        assert "json_lines" not in plugins
        before = plugins["loud"].count
        async with lab.client("One"), lab.client("Two"):
            assert len(lab.manager.clients) == plugins["loud"].count - before == 2


def test_store_must_be_a_store() -> None:
    """A plugin that keeps no data cannot be the store, which is found out before the start."""
    assert refused(settings({"store": "identity"}, source="lab.toml")) == (
        "lab.toml [manager] store: 'identity' keeps no data: it implements no 'open_store'"
    )


def test_encoding_must_be_an_encoding() -> None:
    """A plugin that encodes nothing cannot be the encoding, which is found out before the first peer."""
    assert refused(settings({"encoding": "identity"})) == (
        "plugin 'identity': offers no message encoding (make_codec), so it cannot be the 'encoding' of [manager]"
    )


def test_only_enabled_plugins_are_imported() -> None:
    """A plugin that is not enabled is not imported, nor what it needs."""
    program = (
        "import sys; from msl_network import Config, Manager\n"
        "Manager(Config(without=('login', 'hostname')))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('msl_network_plugins.')))\n"
        "print(*{'cryptography', 'msl_network.tls', 'paramiko'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == (
        "msl_network_plugins.identity msl_network_plugins.json_lines msl_network_plugins.sqlite\n\n"
    )


# Objects


@dataclass(eq=False)
class Door:
    """Lets nobody in."""

    text: str = "closed"

    @hookimpl
    async def authenticate(self) -> None:
        raise AuthenticationError(self.text)


@dataclass(eq=False)
class Bell:
    """Hears who is there."""

    @hookimpl
    def peer_joined(self) -> None: ...


def test_objects_are_plugins() -> None:
    """A program hands over plugin objects; those that authenticate are asked, after those of `auth`."""
    one, two, bell = Door(), Door(), Bell()
    manager = Manager(settings({"auth": ["password"]}, password={"password": "x"}), plugins=[one, bell, two])
    assert manager.hooks.plugins[-3:] == (("Door-1", one), ("Bell-2", bell), ("Door-3", two))
    assert manager.hooks.authenticators == ("password", "Door-1", "Door-3")
    assert manager.is_authenticator(two)
    assert not manager.is_authenticator(bell)


def test_module_is_a_plugin(write: Any) -> None:
    """A module whose functions are hooks is a plugin object, too, by its own name."""
    write("labbell.py", "from msl_network import hookimpl\n@hookimpl\ndef peer_joined(peer): ...\n")
    import labbell  # type: ignore[import-not-found]

    assert load(Config(), [labbell]).plugins[-1] == ("labbell-1", labbell)


@pytest.mark.parametrize("plugin", [Door, "door", object()])
def test_object_that_is_no_plugin_is_refused(plugin: object) -> None:
    """A class, a name, or anything without a hook is refused."""
    with pytest.raises(PluginError):
        Manager(plugins=[plugin])


def test_one_object_twice_is_refused() -> None:
    """The same object cannot be two plugins."""
    door = Door()
    with pytest.raises(PluginError, match="'Door-2': is the same object as the plugin 'Door-1'"):
        Manager(plugins=[door, door])


def test_config_error_has_its_parts() -> None:
    """A program can tell from the exception where the mistake is."""
    with pytest.raises(ConfigError) as caught:
        load(settings({"auth": ["nobody"]}, source="lab.toml"))
    assert (caught.value.source, caught.value.section, caught.value.key) == ("lab.toml", "manager", "auth")


# A package of a stranger


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder in which pip installed the package of a stranger, from its sources."""
    source = tmp_path / "lab-badge"
    source.mkdir()
    (source / "labbadge.py").write_text(BADGE, encoding="utf-8")
    (source / "pyproject.toml").write_text(
        textwrap.dedent("""
            [build-system]
            requires = ["setuptools"]
            build-backend = "setuptools.build_meta"

            [project]
            name = "lab-badge"
            version = "2.0"

            [project.entry-points.msl_network]
            badge = "labbadge:Badge"

            [tool.setuptools]
            py-modules = ["labbadge"]
        """),
        encoding="utf-8",
    )
    target = tmp_path / "site"
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return target


def answer(port: int, code: str) -> list[dict[str, Any]]:
    """Connect, answer what is asked until the Manager says nothing more, and return what it said.

    The Manager says nothing to whom it let in, and so that one asks for the Manager's identity.
    """
    messages = []
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as sock, sock.makefile("rw") as stream:
        for line in stream:
            messages.append(json.loads(line))
            if messages[-1].get("error") or "result" in messages[-1]:
                break
            if messages[-1]["attribute"] == "password":
                replies: list[dict[str, Any]] = [{"result": code}]
            else:
                replies = [
                    {"result": {"type": "client", "name": "visitor"}},
                    {"service": "Manager", "attribute": "identity", "args": [], "kwargs": {}, "uid": "1"},
                ]
            for reply in replies:
                stream.write(json.dumps(reply) + "\r\n")
            stream.flush()
    return messages


def test_package_of_a_stranger(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authenticator in a package of its own is installed, named in the TOML file, and keeps the door."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    file = tmp_path / "lab.toml"
    file.write_text(
        '[manager]\nhost = "127.0.0.1"\nport = 0\nauth = ["badge"]\n'
        '[manager.tls]\nenabled = false\n[plugins.badge]\ncode = "1234"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "msl_network", "--config", str(file)]
    listed = subprocess.run([*command, "plugins"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^badge +enabled, authenticates +labbadge:Badge +\(lab-badge 2\.0\)$", listed, re.MULTILINE)
    with subprocess.Popen([*command, "start"], stderr=subprocess.PIPE, text=True) as manager:
        assert manager.stderr is not None
        try:
            running = next(line for line in manager.stderr if "Network Manager running on" in line)
            port = int(running.rpartition(":")[2].split()[0])
            asked, identity, result = answer(port, "1234")
            assert (asked["attribute"], asked["args"]) == ("password", ["badge reader"])
            assert identity["attribute"] == "identity"
            assert [name.partition("[")[0] for name in result["result"]["clients"]] == ["visitor"]
            asked, error = answer(port, "9999")
            assert error["message"] == "ValueError: Unknown badge"
        finally:
            manager.terminate()
            manager.stderr.read()
        assert manager.wait(20) == 0
