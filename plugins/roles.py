"""Authorization: rules that say who may link with, lock, call and offer which Service, and administer the Manager.

    [manager]
    plugins = ["roles"]

    [plugins.roles]
    default = "deny"                        # what holds where no rule does

    [plugins.roles.users]                   # roles by user name; authenticators may know more
    alice = ["operator"]

    [[plugins.roles.rules]]
    effect = "allow"
    roles = ["operator"]
    services = ["DMM*"]

    [[plugins.roles.rules]]
    name = "nobody resets"
    effect = "deny"
    methods = ["reset*"]

Rule of this file: one deny wins over every allow, so that the order of the rules means nothing; and what is refused
says which rule did it. It must not know how a peer was authenticated, nor keep a decision: the core does.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from msl_network import AuthorizationError, ConfigError, hookimpl
from msl_network.settings import build, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msl_network import Identity, Manager, Peer

__all__ = ["Roles", "Rule"]

ADMINISTRATOR: Final = "administrator"
"""The role that each administrator has."""

ACTIONS: Final = ("link", "lock", "call", "administer", "serve")
"""What can be allowed. To administer is to send the Manager an administrator's request, to serve to offer a Service."""

WITH_METHOD: Final = ("call", "administer")
"""The actions that are about a method."""

ALWAYS: Final = frozenset({"identity", "link", "unlink", "acquire_lock", "release_lock"})
"""Requests to the Manager that need no rule: each Client sends some, and links and locks are asked about apart."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. What it does not name, it does not mind; what it names must match, each by one of its patterns.

    Args:
        effect: Whether it allows or denies.
        name: What it is called when it refuses; its number if empty.
        actions: What it is about; all actions, or those with a method if it has `methods`.
        users: Patterns of user names. Who has no name has the empty one.
        roles: Patterns of roles; the peer has one that matches.
        hosts: Patterns of host names and addresses, in any case.
        services: Patterns of the names of Services; ``Manager`` for requests to it.
        methods: Patterns of the names of methods, or of administrators' requests.
    """

    effect: Literal["allow", "deny"]
    name: str = ""
    actions: list[str] | None = None
    users: list[str] | None = None
    roles: list[str] | None = None
    hosts: list[str] | None = None
    services: list[str] | None = None
    methods: list[str] | None = None

    def __post_init__(self) -> None:
        for key in ("actions", "users", "roles", "hosts", "services", "methods"):
            if getattr(self, key) == []:
                raise ValueError(f"{key}: found an empty list, which nobody could match; leave it out for all")
        possible = WITH_METHOD if self.methods else ACTIONS
        for action in self.actions or ():
            if action not in possible:
                why = " beside 'methods'" if action in ACTIONS else ""
                raise ValueError(f"actions: {action!r} is not possible{why}, {nearest(action, possible)}")


@dataclass(eq=False)
class Roles:
    """Decides by rules.

    Args:
        default: What holds where no rule matches: ``"allow"`` or ``"deny"``.
        users: The roles of users: pattern of the user name to names of roles.
        rules: The rules; the fields of each are those of `Rule`.
    """

    default: Literal["allow", "deny"] = "deny"
    users: dict[str, list[str]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._public: frozenset[str] = frozenset()
        self._prepare()

    def _prepare(self) -> None:
        """Make of the settings what decides."""
        self._tests = [_Test(_rule(number, values), number) for number, values in enumerate(self.rules, 1)]
        self._members = [(_matcher([pattern]), frozenset(roles)) for pattern, roles in self.users.items()]

    @hookimpl
    async def started(self, manager: Manager) -> None:
        """Find out what everybody may ask of the Manager."""
        self._public = frozenset(manager.identity()["attributes"])

    @hookimpl
    def authorize(self, peer: Peer, service: str, attribute: str, action: str) -> None:
        """Refuse what the rules do not allow."""
        if service == "Manager" and action == "call":
            if attribute in ALWAYS:
                return
            if attribute not in self._public:
                action = "administer"
        self._check(peer, action, service, attribute if action in WITH_METHOD else "")

    @hookimpl
    async def check_identity(self, peer: Peer, identity: Identity) -> None:
        """Refuse a Service that the rules do not allow this peer to offer."""
        if identity.type == "service":
            await peer.resolve_hostname()
            self._check(peer, "serve", identity.name, "")

    @hookimpl
    async def reload(self, settings: Roles) -> Callable[[], None]:
        """Decide by the new rules from now on."""

        def change() -> None:
            self.default, self.users, self.rules = settings.default, settings.users, settings.rules
            self._prepare()

        return change

    def roles_of(self, peer: Peer) -> frozenset[str]:
        """Return the roles of a peer: those that its authentication told, and those of its user.

        Args:
            peer: The connection.
        """
        roles = set(peer.roles)
        if peer.is_admin:
            roles.add(ADMINISTRATOR)
        for matches, more in self._members:
            if matches((peer.username,)):
                roles |= more
        return frozenset(roles)

    def refusal(self, peer: Peer, action: str, service: str, method: str = "") -> str:
        """Return why a peer may not do something; nothing if it may.

        Args:
            peer: The connection.
            action: One of `ACTIONS`.
            service: The name of the Service.
            method: The name of the method, for the actions that are about one.
        """
        roles = self.roles_of(peer)
        question = _Question(
            action=action,
            user=peer.username,
            roles=roles,
            hosts=frozenset(name.casefold() for name in (peer.hostname, peer.domain, peer.ip_address)),
            service=service,
            method=method,
        )
        matching = [test for test in self._tests if test.matches(question)]
        denying = next((test for test in matching if test.effect == "deny"), None)
        if denying is not None:
            why = f"{denying.label} of [plugins.roles] denies it"
        elif matching or self.default == "allow":
            return ""
        else:
            why = "no rule of [plugins.roles] allows it"
        who = f"{peer.username or peer.network_name} ({', '.join(sorted(roles)) or 'without a role'})"
        return f"{who} may not {_deed(action, service, method)}: {why}"

    def _check(self, peer: Peer, action: str, service: str, method: str) -> None:
        reason = self.refusal(peer, action, service, method)
        if reason:
            raise AuthorizationError(reason)


class _Question(NamedTuple):
    """Who wants to do what."""

    action: str
    user: str
    roles: frozenset[str]
    hosts: frozenset[str]
    service: str
    method: str


class _Test:
    """A rule, ready to be applied.

    Args:
        rule: The rule.
        number: Its number in the file, from 1 on.
    """

    def __init__(self, rule: Rule, number: int) -> None:
        self.effect = rule.effect
        self.label = f"the rule {rule.name!r}" if rule.name else f"rule {number}"
        self._actions = frozenset(rule.actions or (WITH_METHOD if rule.methods else ACTIONS))
        self._users = _matcher(rule.users)
        self._roles = _matcher(rule.roles)
        self._hosts = _matcher(None if rule.hosts is None else [host.casefold() for host in rule.hosts])
        self._services = _matcher(rule.services)
        self._methods = _matcher(rule.methods)

    def matches(self, question: _Question) -> bool:
        """Whether the rule is about this."""
        return (
            question.action in self._actions
            and self._users((question.user,))
            and self._roles(question.roles)
            and self._hosts(question.hosts)
            and self._services((question.service,))
            and self._methods((question.method,))
        )


def _matcher(patterns: list[str] | None) -> Callable[[Iterable[str]], bool]:
    """Return what says whether one of several texts matches one of the patterns; without patterns, it does."""
    if patterns is None:
        return lambda _texts: True
    matches = re.compile("|".join(map(fnmatch.translate, patterns))).match
    return lambda texts: any(matches(text) for text in texts)


def _rule(number: int, values: dict[str, Any]) -> Rule:
    try:
        return build(Rule, values)
    except ConfigError as error:
        where = f" {error.key}:" if error.key else ""
        raise ValueError(f"rules: number {number}:{where} {error.problem}") from None


def _deed(action: str, service: str, method: str) -> str:
    return {
        "link": f"link with {service!r}",
        "lock": f"lock {service!r}",
        "call": f"call {method!r} of {service!r}",
        "administer": f"send the administrator request {method!r}",
        "serve": f"offer the Service {service!r}",
    }[action]
