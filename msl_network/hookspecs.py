"""Everything that a plugin may implement. This is the page that a plugin's author reads.

A plugin is an object; mark each method that implements a hook with ``@hookimpl``, also one that overrides a
marked one. Give it the parameters that the hook has here, or fewer, by the same names and without defaults.
It is ``async`` if the hook is. What does not fit is refused before the Manager starts, by plugin and hook.

    ask      the first answer that is not None wins
    check    every plugin must agree; one that raises refuses, and the rest are not asked
    collect  what all plugins return is put together
    tell     everybody hears; a failure is logged and stops nobody

Plugins are called in the order in which the configuration names them: authenticators first. ``tryfirst`` and
``trylast`` change nothing, and there are no wrappers. A plugin that raises something unexpected in *ask* or
*check* refuses the peer, is logged by name, and harms nobody else. No hook is called per message: what works
on messages, or observes them, is handed over once, as an object.

What a ``peer`` tells: ``network_name``, ``address``, ``ip_address``, ``port``, ``hostname`` and ``domain`` (found by
``await peer.resolve_hostname()``), ``is_local`` (on the Manager's computer), ``username``, ``is_admin``, ``roles``,
``certificate`` (verified; None unless a plugin has peers asked for one, see `configure_tls`).

A plugin that keeps everybody but administrators from resetting an instrument, and notes who links with what::

    logger = logging.getLogger("msl_network.house_rules")     # below "msl_network", so that log_level holds for it

    class HouseRules:
        @hookimpl
        def authorize(self, peer, service, attribute):
            if attribute.startswith("reset") and not peer.is_admin:
                raise AuthorizationError(f"{attribute} is for administrators")

        @hookimpl
        def linked(self, peer, service):
            logger.info("%s links with %s", peer, service)

Rule of this file: signatures and their contracts, nothing that runs. It must not know any plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from .codec import Codec
    from .commands import Command
    from .config import Config
    from .handshake import Handshake
    from .manager import Manager
    from .messages import Identity
    from .observer import Observer
    from .peer import Peer
    from .store import Store

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "msl_network"

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function below as a hook."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method of a plugin that the Manager is to call. It has the name of the hook.

It has the parameters that it needs, by the names that they have below. Plugins are called in the order of the settings,
also where ``tryfirst`` or ``trylast`` say otherwise.
"""


@hookspec
async def authenticate(peer: Peer, handshake: Handshake) -> None:
    """Check who a peer is, before anything else is asked of it (*check*).

    Only the plugins that ``auth`` names are asked, in that order, and then plugin objects that were handed to
    the Manager by a program; all must agree.

    Args:
        peer: The connection; its address is known, its name is not. Set ``peer.username`` and
            ``peer.is_admin`` when you know them, and add to ``peer.roles`` (a frozenset of texts).
        handshake: Ask the peer with ``await handshake.ask(attribute, *args)``.

    Raises:
        AuthenticationError: To refuse the peer; the text is sent to it, logged and recorded, so leave out what was
            answered. Of any other exception the log has the class and the place, for the text may tell a secret. The
            connection is closed.

    You need not slow down who guesses: after failures from its address the answers come late, be they right or wrong,
    by at most half of ``handshake_timeout``. So give `ask` that time. Every refusal after an answer counts as a
    failure, whatever you raise; only ``BusyError``, from ``msl_network.errors``, says that nobody looked at the answer.
    """


@hookspec
async def authenticate_administrator(peer: Peer, handshake: Handshake) -> bool | None:
    """Find out whether a connected Client may send administrator requests (*ask*).

    Called when a Client that is not an administrator yet sends such a request. If no plugin answers, it may
    not.

    Args:
        peer: The connected Client.
        handshake: Ask the peer; its other requests go on meanwhile.

    Returns:
        True if the peer is an administrator, False if it is not, None if the plugin does not know.

    Raises:
        AuthenticationError: If the answers were wrong.

    Who guesses is slowed down as in `authenticate`; a False counts as a failure, too.
    """


@hookspec
async def check_identity(peer: Peer, identity: Identity) -> Identity | None:
    """Check who a peer says it is, after it is authenticated (*check*).

    Args:
        peer: The connection.
        identity: What it answered, or what the plugin before made of it.

    Returns:
        A corrected identity, or None to leave it as it is.

    Raises:
        RequestError: To refuse the peer, e.g. ``IdentityError``. The connection is closed.
    """


@hookspec
def authorize(peer: Peer, service: str, attribute: str, action: str) -> None:
    """Check whether a Client may use a Service (*check*).

    A permission to call is kept for this peer, Service and attribute until ``manager.revoke_authorizations()``, so that
    it is asked for once; a refusal is not kept, and links and locks are asked about each time. It runs on the event
    loop, so decide from memory: load rules in `started`. Raise to refuse: whatever is returned refuses, too.

    A Client that may not link may still call: a call needs no link. So who keeps somebody away refuses both.

    Args:
        peer: The connected Client.
        service: The name of the Service; ``"Manager"`` for a request that the Manager answers.
        attribute: The name of the attribute; ``"link"`` and ``"acquire_lock"`` for the other two actions.
        action: ``"call"`` for a request, ``"link"`` for linking with the Service, ``"lock"`` for locking it. These two
            come as requests to the Manager first, about which it is asked as about each request.

    Raises:
        AuthorizationError: To refuse the request; the text is sent to the Client, which stays connected.
    """


@hookspec
def check_config(config: Config, plugins: Mapping[str, object]) -> None:
    """Check whether all settings together make sense for this plugin (*check*).

    What is wrong with its own section alone says its class, when it is made. Here it sees the rest: who is asked,
    whether there is TLS, which plugins there are. Called when all plugins are made, so for ``msl-network config check``
    and for commands of plugins, too; and for each `reload`, before anything changes: if your plugin implements that, on
    the object that is made of the new section. There need not be a Manager, and an event loop may wait: decide from
    what you are given, and leave to `started` what needs a store, a device or the network.

    Args:
        config: All settings, e.g. ``config.tls.enabled``.
        plugins: All plugins by name, in the order in which they are called; your plugin is among them.

    Raises:
        StartError: If a Manager must not run this way, e.g. ``ConfigError``; its text is one line for a person. Raise
            to refuse: whatever is returned refuses, too.
    """


@hookspec
def open_store(location: str | None) -> AbstractAsyncContextManager[Store] | None:
    """Open the store (*ask*).

    Only the plugin that ``store`` names is asked, once, when the Manager starts (or a command needs data).

    Args:
        location: Where to find it, if a person said so on the command line (``--database``), else None.

    Returns:
        A context manager that gives the store; leaving it writes everything that is still to be written. It is left in
        a scope whose deadline says how long that may take (``anyio.current_effective_deadline()``).

    Raises:
        StoreError: If it cannot be opened.
    """


@hookspec
def configure_tls(context: ssl.SSLContext) -> None:
    """Change the TLS settings, before the Manager listens (*tell*).

    Called when the Manager starts, in a worker thread, so that files may be read; not called if TLS is off. Again for
    each `reload`, with other TLS settings, for the connections to come; if your plugin implements that, on the object
    that is made of the new section. And with settings that nobody uses then: for ``msl-network config check``, and by
    ``msl-network start`` before anything else, so that a mistake is found before a log file is made.

    With ``context.verify_mode = ssl.CERT_OPTIONAL`` and ``context.load_verify_locations(...)`` a peer is asked for a
    certificate: one that does not pass ends its connection, one that does is ``peer.certificate``. With
    ``CERT_REQUIRED`` nobody could say to a peer without one what is missing.

    Args:
        context: The settings for all connections, with the Manager's own certificate and key.

    Raises:
        StartError: If they cannot be made; whatever is raised, the Manager does not start, or all stays as it is.
    """


@hookspec
def make_codec(name: str) -> Codec | None:
    """Make the object that turns lines into messages and back (*ask*).

    Called once per connection, before the handshake. One object may serve all connections if it keeps no
    state.

    Args:
        name: The ``encoding`` of the configuration.

    Returns:
        The codec, or None if the name is not yours.
    """


@hookspec
def make_observer() -> Observer | None:
    """Make the object that is told what becomes of each request (*collect*).

    Called once, when the Manager is made; `started` comes later, and before anybody asks for anything. If no plugin
    returns one, no message costs anything for it; if several do, all are told.

    Returns:
        The :class:`~msl_network.observer.Observer`, which may be the plugin itself; None if it does not want to know.
    """


@hookspec
def commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """Add what Clients may ask of the Manager (*collect*).

    Called once, when the Manager starts. A name that exists already is an error.

    Returns:
        The commands.
    """


@hookspec
def cli_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add a command to ``msl-network`` (*tell*).

    Set the default ``run`` of your parser to a function ``run(args, context) -> int`` (or ``async``); it
    returns the exit status. ``context`` is a :class:`~msl_network.cli.Context`: it opens the store and knows
    the configuration. A mistake of the person is a :class:`~msl_network.errors.StartError` with one line of
    text. ``--config`` belongs to ``msl-network`` itself and works with every command.

    Args:
        subparsers: Where to call ``add_parser("name", help=...)``.
    """


@hookspec
async def started(manager: Manager) -> None:
    """Prepare: the store is open and the address is known, but nobody is let in yet (*tell*).

    Args:
        manager: The Manager; keep what you need, e.g. ``manager.store``.

    Raises:
        StartError: If the Manager must not run this way; it stops with that text.
    """


@hookspec
async def reload(settings: Any) -> Callable[[], None] | None:
    """Take new settings without a restart (*check*).

    Called when the Manager is told to read its settings again, after all of them have been read and found good. Check
    and read here what there is to check and to read, and return a function that makes the change: it is called,
    together with those of the other plugins, when all agree. Peers stay; the core revokes what was authorized.

    Args:
        settings: A new object of your class, made of its section as it is now; no other hooks of it are called but
            `check_config` and `configure_tls`. The plugin itself if it has no section: it is no dataclass, or was
            handed to the Manager.

    Returns:
        What makes the change. It runs on the event loop, must not wait, and should not fail. Have it copy to yourself
        the settings that you take: those that differ afterwards, as those of a plugin without this hook, are named in a
        warning, because they need a restart. None if there is nothing to do.

    Raises:
        StartError: If you cannot work with them, e.g. ``ConfigError``; whatever is raised, no setting changes.
    """


@hookspec
async def stopping(manager: Manager) -> None:
    """Clean up: everybody has left and the store is still open (*tell*).

    If the Manager does not start because `started` of a plugin fails, those plugins are called whose own did not.
    All plugins together have about a second; then they are cancelled, and ``msl-network start`` ends a process that a
    plugin blocks.

    Args:
        manager: The Manager.
    """


@hookspec
def peer_connecting(peer: Peer) -> None:
    """Hear that somebody connected; nothing is known but the address (*tell*).

    Args:
        peer: The connection.
    """


@hookspec
def peer_refused(peer: Peer, reason: str) -> None:
    """Hear that a connection ended before it was accepted (*tell*).

    Args:
        peer: The connection.
        reason: Why, e.g. ``rejected: Wrong Manager password`` or ``connection closed prematurely``.
    """


@hookspec
def peer_joined(peer: Peer, identity: Identity) -> None:
    """Hear that a Client or a Service is connected (*tell*).

    Args:
        peer: The connection.
        identity: Who it is.
    """


@hookspec
def peer_left(peer: Peer) -> None:
    """Hear that a connected Client or Service left; its links and locks are gone (*tell*).

    Args:
        peer: The connection.
    """


@hookspec
def linked(peer: Peer, service: str) -> None:
    """Hear that a Client linked with a Service; not again if it does so twice (*tell*).

    Args:
        peer: The Client.
        service: The name of the Service.
    """


@hookspec
def unlinked(peer: Peer, service: str) -> None:
    """Hear that a link ended: asked for, or because one of the two left (*tell*).

    Args:
        peer: The Client.
        service: The name of the Service.
    """


@hookspec
def locked(peer: Peer, service: str, shared: bool) -> None:
    """Hear that a Client locked a Service (*tell*).

    Args:
        peer: The Client.
        service: The name of the Service.
        shared: Whether other linked Clients may go on using it and lock it, too.
    """


@hookspec
def unlocked(peer: Peer, service: str) -> None:
    """Hear that a Client's lock ended: released, or because the link ended (*tell*).

    Args:
        peer: The Client.
        service: The name of the Service.
    """
