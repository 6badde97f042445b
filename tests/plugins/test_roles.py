from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msl_network_plugins.roles import ACTIONS, WITH_METHOD, Roles

from msl_network import AuthorizationError, Command, Config, ConfigError, Manager, Peer, hookimpl
from msl_network.plugins import load
from msl_network.settings import build
from tests.wire_peer import client, config, connected, service

if TYPE_CHECKING:
    from pathlib import Path

    from msl_network import Handshake


class FakePeer:
    """What the plugin reads of a peer."""

    def __init__(self, username: str = "alice", *roles: str, **facts: Any) -> None:
        self.username = username
        self.roles = frozenset(roles)
        self.is_admin = False
        self.hostname = "pc7"
        self.domain = "pc7.lab.example"
        self.ip_address = "192.0.2.7"
        self.network_name = "C[pc7:5000]"
        vars(self).update(facts)


def decide(rules: list[dict[str, Any]], action: str, service: str, method: str = "", **settings: Any) -> str:
    peer = settings.pop("peer", FakePeer())
    refusal: str = Roles(rules=rules, **settings).refusal(peer, action, service, method)
    return refusal


# Rules


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"users": ["bob", "al?ce"]},
        {"roles": ["op*"]},
        {"roles": ["administrator", "operator"]},
        {"hosts": ["PC7"]},
        {"hosts": ["*.Lab.example"]},
        {"hosts": ["192.0.2.*"]},
        {"services": ["DMM*"]},
        {"methods": ["read*"]},
        {"actions": ["call"]},
        {"users": ["alice"], "roles": ["operator"], "hosts": ["pc[67]"], "services": ["DMM 1"], "methods": ["read"]},
    ],
)
def test_a_rule_that_matches(rule: dict[str, Any]) -> None:
    """It decides, whichever way: all that it names has a pattern that matches."""
    peer = FakePeer("alice", "operator")
    assert not decide([{"effect": "allow", **rule}], "call", "DMM 1", "read", peer=peer)
    assert decide([{"effect": "deny", **rule}], "call", "DMM 1", "read", peer=peer, default="allow")


@pytest.mark.parametrize(
    "rule",
    [
        {"users": ["ALICE"]},
        {"users": ["alic"]},
        {"roles": ["administrator"]},
        {"hosts": ["pc"]},
        {"services": ["dmm*"]},
        {"methods": ["read_all", "rea"]},
        {"actions": ["link", "lock"]},
        {"users": ["alice"], "services": ["Scale"]},
    ],
)
def test_a_rule_that_does_not(rule: dict[str, Any]) -> None:
    """It leaves the decision to the others, and to the default."""
    peer = FakePeer("alice", "operator")
    assert decide([{"effect": "allow", **rule}], "call", "DMM 1", "read", peer=peer)
    assert not decide([{"effect": "deny", **rule}], "call", "DMM 1", "read", peer=peer, default="allow")


def test_the_default() -> None:
    """Without a rule nothing is allowed, or everything if the settings say so."""
    assert decide([], "call", "DMM", "read")
    assert not decide([], "call", "DMM", "read", default="allow")


def test_methods_are_about_calls() -> None:
    """A rule that names methods and no actions says nothing of links and locks."""
    for action in ACTIONS:
        refused = decide([{"effect": "deny", "methods": ["*"]}], action, "DMM", "", default="allow")
        assert bool(refused) is (action in WITH_METHOD)


def test_roles_of_a_peer() -> None:
    """It has those that it came with, those of its user by pattern, and that of an administrator."""
    roles = Roles(users={"al*": ["operator", "guest"], "bob": ["boss"], "*": ["member"]})
    assert roles.roles_of(FakePeer("alice", "script")) == {"script", "operator", "guest", "member"}
    assert roles.roles_of(FakePeer("carol", is_admin=True)) == {"member", "administrator"}
    assert not Roles().roles_of(FakePeer("alice"))


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("link", "alice (guest) may not link with 'DMM': "),
        ("lock", "alice (guest) may not lock 'DMM': "),
        ("call", "alice (guest) may not call 'reset' of 'DMM': "),
        ("administer", "alice (guest) may not send the administrator request 'reset': "),
        ("serve", "alice (guest) may not offer the Service 'DMM': "),
    ],
)
def test_a_refusal_says_who_what_and_why(action: str, text: str) -> None:
    """It names the user, the roles, the deed, and the rule by its name or else its number."""
    peer = FakePeer("alice", "guest")
    rules: list[dict[str, Any]] = [{"effect": "allow"}, {"effect": "deny", "actions": [action]}]
    assert decide(rules, action, "DMM", "reset", peer=peer) == f"{text}rule 2 of [plugins.roles] denies it"
    rules[1]["name"] = "not today"
    assert decide(rules, action, "DMM", "reset", peer=peer).endswith(
        ": the rule 'not today' of [plugins.roles] denies it"
    )
    assert decide([], action, "DMM", "reset", peer=peer) == f"{text}no rule of [plugins.roles] allows it"


def test_a_peer_without_a_name() -> None:
    """It is called by its network name; patterns meet it with the empty name."""
    refusal = decide([{"effect": "allow", "users": ["?*"]}], "link", "DMM", peer=FakePeer(""))
    assert refusal == "C[pc7:5000] (without a role) may not link with 'DMM': no rule of [plugins.roles] allows it"
    assert not decide([{"effect": "allow", "users": ["*"]}], "link", "DMM", peer=FakePeer(""))


WORDS = st.sampled_from(["a", "b", "ab", "", "*", "a*", "?b", "[ab]", "[!a]*"])
PATTERNS = st.none() | st.lists(WORDS, min_size=1, max_size=3)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule = {key: draw(PATTERNS) for key in ("users", "roles", "hosts", "services", "methods")}
    actions = WITH_METHOD if rule["methods"] else ACTIONS
    rule["actions"] = draw(st.none() | st.lists(st.sampled_from(actions), min_size=1, max_size=3))
    given = {key: value for key, value in rule.items() if value is not None}
    return {"effect": draw(st.sampled_from(["allow", "deny"])), **given}


NAMES = st.sampled_from(["a", "b", "ab", "", "ba"])
PEERS = st.builds(
    lambda user, roles, host: FakePeer(user, *roles, hostname=host, domain=host),
    NAMES,
    st.sets(NAMES),
    NAMES,
)
QUESTIONS = st.tuples(st.sampled_from(ACTIONS), NAMES, NAMES)
DEFAULTS = st.sampled_from(["allow", "deny"])


@given(st.lists(rules(), max_size=6), st.data(), PEERS, QUESTIONS, DEFAULTS)
def test_order_does_not_matter(
    table: list[dict[str, Any]], data: st.DataObject, peer: FakePeer, question: tuple[str, str, str], default: Any
) -> None:
    """The same rules in another order decide the same."""
    shuffled = data.draw(st.permutations(table))
    assert bool(decide(table, *question, peer=peer, default=default)) is bool(
        decide(shuffled, *question, peer=peer, default=default)
    )


@given(st.lists(rules(), max_size=6), PEERS, QUESTIONS, DEFAULTS)
def test_deny_wins(table: list[dict[str, Any]], peer: FakePeer, question: tuple[str, str, str], default: Any) -> None:
    """What is refused by one rule alone is refused whatever the others are; else one that allows is enough."""
    denies = any(decide([rule], *question, peer=peer, default="allow") for rule in table if rule["effect"] == "deny")
    allows = any(
        not decide([rule], *question, peer=peer, default="deny") for rule in table if rule["effect"] == "allow"
    )
    expected = not denies and (allows or default == "allow")
    assert (not decide(table, *question, peer=peer, default=default)) is expected


@given(st.lists(rules(), max_size=4), rules(), PEERS, QUESTIONS, DEFAULTS)
def test_a_further_deny_allows_nothing(
    table: list[dict[str, Any]], rule: dict[str, Any], peer: FakePeer, question: tuple[str, str, str], default: Any
) -> None:
    """A rule more that denies never lets anybody do more; one that allows never takes anything away."""
    before = not decide(table, *question, peer=peer, default=default)
    denied = not decide([*table, {**rule, "effect": "deny"}], *question, peer=peer, default=default)
    allowed = not decide([*table, {**rule, "effect": "allow"}], *question, peer=peer, default=default)
    assert denied <= before <= allowed


# Settings


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"default": "maybe"}, "default: found 'maybe', allowed is one of 'allow', 'deny'"),
        ({"rules": [{}]}, "rules: number 1: effect: is missing and has no default"),
        ({"rules": [{"effect": "permit"}]}, "rules: number 1: effect: found 'permit', "),
        (
            {"rules": [{"effect": "allow"}, {"effect": "deny", "method": ["reset"]}]},
            "rules: number 2: method: unknown key, did you mean 'methods'? known are: ",
        ),
        (
            {"rules": [{"effect": "deny", "actions": ["cal"]}]},
            "rules: number 1: actions: 'cal' is not possible, did you mean 'call'? known are: ",
        ),
        (
            {"rules": [{"effect": "deny", "actions": ["link"], "methods": ["x"]}]},
            "rules: number 1: actions: 'link' is not possible beside 'methods', known are: administer, call",
        ),
        ({"rules": [{"effect": "allow", "users": []}]}, "rules: number 1: users: found an empty list, which nobody"),
        ({"rules": [{"effect": "allow", "users": "bob"}]}, "rules: number 1: users: found 'bob', allowed is a list"),
        ({"users": {"alice": "operator"}}, "users: alice: found 'operator', allowed is a list of texts"),
    ],
)
def test_a_mistake_in_the_settings(section: dict[str, Any], text: str) -> None:
    """It is one line that says where, what was found, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        build(Roles, section, source="lab.toml", section="plugins.roles")
    assert str(caught.value).startswith(f"lab.toml [plugins.roles] {text}")


def test_it_is_installed() -> None:
    """`plugins = ["roles"]` enables it."""
    hooks = load(Config.from_dict({"manager": {"plugins": ["roles"]}}))
    assert any(isinstance(plugin, Roles) for _, plugin in hooks.plugins)


# With a Manager


class Names:
    """Takes the name that a peer says for its user name, and knows some roles."""

    @hookimpl
    async def authenticate(self, peer: Peer, handshake: Handshake) -> None:
        peer.username = await handshake.ask("username")
        peer.is_admin = peer.username == "root"
        if peer.username == "ann":
            peer.roles |= {"operator"}

    @hookimpl
    def commands(self) -> list[Command]:
        return [
            Command(name="weather", function=lambda _peer: "fine", administrator=False),
            Command(name="secret", function=lambda _peer: "42"),
        ]


def refused(reply: Any) -> str:
    assert reply["error"], reply
    text: str = reply["message"]
    return text


@pytest.fixture
def anyio_backend(backend: object) -> object:
    return backend


@pytest.mark.anyio
class TestManager:
    """What peers see."""

    RULES: tuple[dict[str, Any], ...] = (
        {"effect": "allow", "users": ["dmm"], "actions": ["serve"]},
        {"effect": "allow", "roles": ["operator", "administrator"]},
        {"effect": "allow", "users": ["bob"], "actions": ["link"]},
        {"effect": "allow", "users": ["bob"], "methods": ["echo"]},
        {"effect": "deny", "methods": ["reset"], "name": "nobody resets"},
    )

    async def come(self, peer: Any, username: str, kind: str = "client") -> None:
        assert (await peer.read())["attribute"] == "username"
        await peer.send(result=username)
        assert (await peer.read())["attribute"] == "identity"
        await peer.send(result={"type": kind, "name": "Echo" if kind == "service" else "C", "attributes": {}})

    async def test_who_may_what(self, transport: str) -> None:
        """Links, locks, calls, administration and Services follow the rules; what is refused says which rule."""
        settings = config(transport, plugins=["roles"], plugin_settings={"roles": {"rules": list(self.RULES)}})
        async with (
            Manager(settings, plugins=[Names()]) as manager,
            connected(manager) as echo,
            connected(manager) as ann,
            connected(manager) as bob,
            connected(manager) as eve,
            connected(manager) as impostor,
            connected(manager) as root,
        ):
            await self.come(echo, "dmm", "service")
            await self.come(ann, "ann")
            await self.come(bob, "bob")
            await self.come(root, "root")
            for name in ("link", "acquire_lock"):
                assert "error" not in str(await ann.manager(name, "Echo"))
            await ann.manager("release_lock", "Echo")
            assert "attributes" in await bob.manager("link", "Echo")
            assert await bob.manager("acquire_lock", "Echo") == (
                "PermissionError: bob (without a role) may not lock 'Echo': no rule of [plugins.roles] allows it"
            )
            await bob.call("Echo", "echo", uid="b")
            assert (await echo.read())["attribute"] == "echo"
            await bob.call("Echo", "read", uid="b2")
            assert refused(await bob.read()) == (
                "PermissionError: bob (without a role) may not call 'read' of 'Echo': "
                "no rule of [plugins.roles] allows it"
            )
            await ann.call("Echo", "reset", uid="a")
            assert refused(await ann.read()) == (
                "PermissionError: ann (operator) may not call 'reset' of 'Echo': "
                "the rule 'nobody resets' of [plugins.roles] denies it"
            )
            # what the Manager answers itself
            assert await ann.manager("weather") == "fine"
            assert (await bob.manager("weather")).startswith("PermissionError: bob (without a role) may not call")
            assert await root.manager("secret") == "42"
            assert (await bob.manager("secret")).startswith(
                "PermissionError: bob (without a role) may not send the administrator request 'secret'"
            )
            assert (await bob.manager("identity"))["hostname"] == manager.hostname
            assert await bob.manager("unlink", "Echo") is True
            # who has no rule at all
            await self.come(eve, "eve")
            assert (await eve.manager("link", "Echo")).startswith("PermissionError: eve (without a role) may not link")
            await self.come(impostor, "eve", "service")
            assert refused(await impostor.read()) == (
                "PermissionError: eve (without a role) may not offer the Service 'Echo': "
                "no rule of [plugins.roles] allows it"
            )
            await impostor.eof()

    async def test_reload(self, tmp_path: Path) -> None:
        """Rules of a changed file hold from now on, also for what was decided; a mistake in one changes nothing."""
        file = tmp_path / "lab.toml"

        def write(*rules: dict[str, Any]) -> None:
            text = "".join(
                "[[plugins.roles.rules]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rule.items())
                for rule in rules
            )
            file.write_text(
                '[manager]\nhost = "127.0.0.1"\nport = 0\nplugins = ["roles"]\n[manager.tls]\nenabled = false\n' + text,
                encoding="utf-8",
            )

        write({"effect": "allow"})
        async with (
            Manager(Config.load(file), plugins=[Root()]) as manager,
            service(manager) as echo,
            client(manager) as user,
        ):
            await user.call("Echo", "echo", uid="1")
            await echo.read()
            write({"effect": "allow"}, {"effect": "deny", "methods": ["echo"]})
            assert await user.manager("reload") == []
            await user.call("Echo", "echo", uid="2")
            assert "rule 2 of [plugins.roles] denies it" in refused(await user.read())
            write({"effect": "perhaps"})
            answer = await user.manager("reload")
            assert answer.startswith(
                f"ValueError: reloading the settings failed: {file} [plugins.roles] rules: number 1: "
            )
            await user.call("Echo", "echo", uid="3")
            assert "rule 2 of [plugins.roles] denies it" in refused(await user.read())
            write({"effect": "allow"})
            assert await user.manager("reload") == []
            await user.call("Echo", "echo", uid="4")
            assert (await echo.read())["uid"] == "4"


class Root:
    """Everybody is an administrator."""

    @hookimpl
    async def authenticate(self, peer: Peer) -> None:
        peer.is_admin = True


def test_the_hook_raises() -> None:
    """What the rules refuse is an `AuthorizationError`."""
    with pytest.raises(AuthorizationError, match="may not call 'read' of 'DMM'"):
        Roles().authorize(FakePeer(), "DMM", "read", "call")
