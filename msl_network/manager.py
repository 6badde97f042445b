"""The Manager: accepts connections, has them authenticated, routes between them, closes them.

    accept --> new_connection --> authenticate --> check_identity --> handler --> remove_peer
                    one task per connection, one `async with`, one place of clean-up

Rule of this file: the control plane. Each method is a few lines over the registry, the peer or a hook; what
happens per message is in `router`. It must not know any plugin, and sets up neither logging nor signals.
"""

from __future__ import annotations

import inspect
import logging
import platform
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import anyio.to_thread

from .commands import CommandTable, manager_commands
from .config import DEFAULT_PORT, Config, log_level_number, secret_words
from .desk import Desk
from .ending import PLUGINS, STORE
from .errors import (
    AuthenticationError,
    AuthorizationError,
    HandshakeTimeoutError,
    LineTooLongError,
    MessageError,
    RequestError,
    StartError,
)
from .handshake import Handshake
from .listening import bind
from .messages import Identity, Prompt
from .outbox import flush
from .peer import Peer, PeerLost
from .plugins import load
from .protocol import Event
from .registry import ClientMember, Registry
from .reloading import prepare
from .resolver import Resolver
from .router import Router
from .running import run
from .terminal import parse_identity
from .throttle import LONGEST, Throttle
from .transport import Accepted, Listener, is_exhausted, listen
from .waiting_room import WaitingRoom

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from .config import Limits
    from .hooks import Hooks
    from .outbox import Touched
    from .service import Service
    from .store import Store

__all__ = ["Manager", "filter_run_forever_kwargs", "run_forever", "run_services"]

logger = logging.getLogger("msl_network")

LOOK = 1.0
"""How often it is looked after those who do not read, in seconds."""

A_SECOND = 1024 * 1024 * 1024
"""How much may come in a second, in bytes, at the most that was seen."""

ACCEPT_PAUSE = 0.1
"""How long to wait, in seconds, when the system has no descriptor left for another connection."""

_ANONYMOUS = (
    "this Manager authenticates nobody, so it lets in only peers of its own computer; "
    "set 'auth' in [manager] of its configuration (or, to let everybody in, allow_anonymous = true "
    "or --allow-anonymous)"
)


class Manager:
    """Links Clients with Services, on asyncio or trio.

    ``async with Manager(config) as manager:`` serves until the block is left; so does
    ``await task_group.start(manager.serve)`` until it is cancelled or `stop` is called.

    Args:
        config: The settings; the defaults if None.
        plugins: Plugin objects to add to those that the settings name.
        listen: Whether peers can connect over the network; if not, only those of the same process can, see
            :class:`~msl_network.MemoryHost`, and no socket is opened.

    Raises:
        ConfigError: If a setting is wrong.
        PluginError: If a plugin does not fit.
    """

    store: Store
    """Users, trusted host names and records; from the start of `serve` to its end."""

    def __init__(self, config: Config | None = None, *, plugins: Sequence[object] = (), listen: bool = True) -> None:
        self.config = config or Config()
        self.hooks = load(self.config, plugins)
        self.hostname = socket.gethostname()
        self._listens = listen
        self._port = self.config.port if listen else 0
        self.cert_file: Path | None = None
        """The certificate that peers are shown; from the start of `serve`, if there is TLS."""
        self._context: ssl.SSLContext | None = None
        self._registry: Registry[Peer] = Registry(max_calls=self.config.limits.pending)
        self._resolver = Resolver(self.config.limits.resolve_timeout)
        self.throttle = Throttle(_longest_delay(self.config.limits), anyio.current_time)
        """Slows down whoever guesses passwords."""
        self._commands = CommandTable()
        self._touched: list[Touched] = []
        self._authorize = self.hooks.authorizer
        observer = self.hooks.make_observer()
        self._desk = Desk(self, self._commands, observer)
        self._router = Router(self._registry, self._desk, self._authorize, self._touched, observer)
        self._commands.add(manager_commands(self), "the Manager")
        for plugin, commands in self.hooks.commands():
            self._commands.add(commands, plugin)
        self._room = WaitingRoom(self.config.limits.max_handshakes)
        self._peers: set[Peer] = set()
        self._busy: set[Peer] = set()
        self._connections: anyio.abc.TaskGroup | None = None
        self._stop = anyio.Event()
        self._is_closed = anyio.Event()
        self._is_empty = anyio.Event()
        self._has_joined: anyio.Event | None = None  # while somebody waits for a Service
        self._running: AsyncExitStack | None = None
        self._has_served = False
        self._reloading = anyio.Lock()

    def __repr__(self) -> str:
        return f"<{self.network_name}>"

    # Running

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            task_group = await stack.enter_async_context(anyio.create_task_group())
            try:
                await task_group.start(self.serve)
            except StartError as error:
                failure = error  # raised outside of the task group, which would wrap it
            else:
                self._running = stack.pop_all()
                return self
        raise failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self._running is not None:
            await self._running.__aexit__(None, None, None)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[Manager] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` is called.

        Args:
            task_status: Told when peers can connect.

        Raises:
            StartError: If that is not possible; the text says why in one line.
        """
        if self._has_served:
            raise StartError("a Manager serves once; make another one")
        self._has_served = True
        failure: StartError | None = None
        async with anyio.create_task_group() as tasks:
            try:
                with anyio.CancelScope() as ending:
                    await self._serve(tasks, task_status, ending)
            except StartError as error:  # raised outside of the task group, which would wrap it
                failure = error
        if failure is not None:
            raise failure

    async def _serve(
        self, tasks: anyio.abc.TaskGroup, task_status: anyio.abc.TaskStatus[Manager], ending: anyio.CancelScope
    ) -> None:
        """Serve from the opening of the store to its end; what hangs in a connection stays in `tasks`."""
        async with AsyncExitStack() as stack:
            stack.callback(self._resolver.close)
            sockets: list[socket.socket] = []
            if self._listens:
                # first of all: whoever connects waits for the rest, and a port in use is known before a file is touched
                sockets = await anyio.to_thread.run_sync(bind, self.config.host, self.config.port)
                for sock in sockets:
                    stack.callback(sock.close)
                self._port = sockets[0].getsockname()[1]
                self.cert_file, self._context = await anyio.to_thread.run_sync(self._tls, self.config, self.hooks)
            self.store = await stack.enter_async_context(self.hooks.open_store(self.config.store, self.config.database))
            listeners = await listen(sockets, self.config.transport)
            await self.hooks.started(self)
            connections = await tasks.start(self._hold_connections)
            try:
                async with anyio.create_task_group() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, connections)
                    accepting.start_soon(self._look_after)
                    tls = f"TLS {'ENABLED' if self._context else 'DISABLED'}" if self._listens else "in memory only"
                    logger.info("Network Manager running on %s:%d (%s)", self.hostname, self.port, tls)
                    self._say_who_may_come()
                    task_status.started(self)
                    await self._stop.wait()
                    accepting.cancel_scope.cancel()
            finally:
                await self._end(connections, ending)
                logger.info("Network Manager stopped")

    async def _hold_connections(self, *, task_status: anyio.abc.TaskStatus[anyio.abc.TaskGroup]) -> None:
        """Have a task group for connections until nobody can connect any more and all have ended."""
        try:
            async with anyio.create_task_group() as self._connections:
                task_status.started(self._connections)
                await self._is_closed.wait()
        finally:
            self._is_empty.set()

    async def _end(self, connections: anyio.abc.TaskGroup, ending: anyio.CancelScope) -> None:
        """Close the connections, and tell the plugins, in a limited time: it begins now, see `ending`."""
        now = anyio.current_time()
        peers_until = now + self.config.limits.shutdown_timeout
        plugins_until = peers_until + PLUGINS
        ending.deadline = plugins_until + STORE
        with anyio.CancelScope(shield=True):
            with anyio.CancelScope(deadline=peers_until):
                await self.shutdown_manager()
                self._is_closed.set()
                await self._is_empty.wait()
            connections.cancel_scope.cancel()
            for peer in list(self._peers):  # which do not take what was sent to them
                if peer.transport is not None:
                    peer.transport.abort()
            with anyio.CancelScope(deadline=peers_until + PLUGINS / 2):
                await self._is_empty.wait()
            with anyio.CancelScope(deadline=plugins_until):
                await self.hooks.stopping(self)

    async def reload(self, config: Config | None = None) -> list[str]:
        """Take changed settings without a restart: for new decisions and connections; connected peers stay.

        Args:
            config: The settings; None for those of now, read again from their file, with the keywords laid over them
                that were laid over the first ones.

        Returns:
            The settings that differ but need a restart, written as in the file (``[manager] port``). They stay.

        Raises:
            StartError: If something is wrong, and then nothing changes; the text says why in one line.
        """
        async with self._reloading:
            try:
                if self._connections is None or self.is_stopping:
                    raise StartError(f"{self.network_name} does not serve")  # noqa: TRY301 - as whatever else is wrong
                new = await prepare(self.config, config, self.hooks, self._tls)
                level, limits = self.config.log_level_number(), new.config.limits
                self.config, self.cert_file, self._context = new.config, new.cert_file, new.context
                self._registry.limit_calls(limits.pending)
                self._resolver.timeout = limits.resolve_timeout
                self.throttle.longest = _longest_delay(limits)
                self._room.places = limits.max_handshakes
                if self.config.log_level_number() != level:  # else what an administrator has set stays
                    self.set_logging_level(self.config.log_level)
                self.revoke_authorizations()
                stays = new.change(self.hooks)
            except StartError as error:
                logger.error("reloading the settings failed: %s", error)  # noqa: TRY400 - a mistake in them
                raise
        logger.info("the settings are reloaded, from %s", self.config.source or "no file")
        if stays:
            logger.warning("changed in the settings, but it needs a restart: %s", ", ".join(stays))
        return stays

    @property
    def is_stopping(self) -> bool:
        """Whether somebody called `stop`."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop accepting, close all connections, and end `serve`. It returns at once."""
        self._stop.set()

    async def wait_stopped(self) -> None:
        """Wait until somebody calls `stop`: this program, a signal, or an administrator."""
        await self._stop.wait()

    # What a user may know

    @property
    def port(self) -> int:
        """The port that the Manager listens on; known from the start of `serve` if it is 0 in the settings.

        It is 0 for a Manager that does not listen.
        """
        return self._port

    @property
    def network_name(self) -> str:
        """``Manager[HOST:PORT]``."""
        return f"Manager[{self.hostname}:{self.port}]"

    @property
    def clients(self) -> dict[str, dict[str, Any]]:
        """The connected Clients, by network name."""
        return {name: member.describe() for name, member in self._registry.clients.items()}

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The connected Services, by name."""
        return {name: member.describe() for name, member in self._registry.services.items()}

    def identity(self) -> dict[str, Any]:
        """Return what the Manager tells each Client about itself and who is connected."""
        return {
            "hostname": self.hostname,
            "port": self.port,
            "attributes": self._commands.describe(administrator=False),
            "language": f"Python {platform.python_version()}",
            "os": f"{platform.system()} {platform.release()} {platform.machine()}",
            "clients": self.clients,
            "services": self.services,
        }

    def set_logging_level(self, level: str | int) -> bool:
        """Set the level of the logger ``msl_network``.

        Args:
            level: A name such as ``"DEBUG"``, or a number.

        Returns:
            Whether that is a level.
        """
        try:
            logging.getLogger("msl_network").setLevel(log_level_number(level))
        except ValueError as error:
            logger.error("%s", error)  # noqa: TRY400 - a mistake of somebody's, its traceback says nothing
            return False
        return True

    def is_authenticator(self, plugin: object) -> bool:
        """Whether a plugin decides who is let in."""
        return any(plugin is other and name in self.hooks.authenticators for name, other in self.hooks.plugins)

    def revoke_authorizations(self) -> None:
        """Have `authorize` asked again for everything that it allowed so far."""
        for peer in self._peers:
            peer.authorized.clear()

    async def wait_for_service(self, name: str) -> None:
        """Wait until a Service of that name is connected.

        Args:
            name: The name of the Service.
        """
        while name not in self._registry.services:
            if self._has_joined is None:
                self._has_joined = anyio.Event()
            await self._has_joined.wait()

    # One connection

    def start_connection(self, accepted: Accepted) -> None:
        """Serve a connection that was not accepted by this Manager itself, in a task of its own, without TLS.

        Args:
            accepted: The connection.

        Raises:
            StartError: If the Manager does not serve.
        """
        if self._connections is None or self.is_stopping:
            raise StartError(f"{self.network_name} does not serve, nobody can connect with it")
        self._connections.start_soon(self.new_connection, accepted)

    async def new_connection(self, accepted: Accepted, context: ssl.SSLContext | None = None) -> None:
        """Serve one connection from its first byte to its last.

        Args:
            accepted: The connection.
            context: The TLS settings, or None for plain TCP.
        """
        try:
            peer = self._new_peer(accepted)
        except StartError as error:  # a codec that cannot be made; nobody is served without
            logger.error("%s: the connection of %s is closed: %s", self, accepted.remote[0], error)  # noqa: TRY400
            await accepted.discard()
            return
        except OSError as error:  # our own address is gone with the peer, as on macOS
            logger.debug("%s left already: %s", accepted.remote[0], error)
            await accepted.discard()
            return
        limits = self.config.limits
        logger.debug("new connection request from %s", peer.address)
        self.hooks.peer_connecting(peer)
        self._peers.add(peer)
        reason = ""
        try:
            self._room.enter(peer)
            with anyio.CancelScope() as peer.scope:
                deadline = anyio.current_time() + limits.handshake_timeout
                async with accepted.open(
                    peer,
                    context,
                    handshake=limits.handshake_timeout,
                    closing=limits.shutdown_timeout,
                    keepalive=limits.keepalive_timeout,
                ) as transport:
                    peer.attach(transport)
                    peer.certificate = transport.certificate
                    reason = await self._converse(peer, deadline)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            # also a Client of 1.0 that only fetches the certificate, or one without TLS
            reason = f"connection closed prematurely ({error})" if str(error) else "connection closed prematurely"
        except Exception:  # a mistake in this package; it must not end the other connections
            logger.exception("the connection of %s failed", peer.address)
            reason = "connection closed because of an internal error"
        finally:
            self._room.leave(peer)
            self._peers.discard(peer)
            peer.lost()
            reason = peer.shown_out or reason
            if reason and not peer.has_joined:
                logger.info("%s %s", peer.address, reason)
                self.hooks.peer_refused(peer, reason)

    async def check_identity(self, peer: Peer) -> Identity:
        """Ask a peer who it is, and have the plugins check the answer.

        Raises:
            RequestError: If the answer is not acceptable.
            PeerLost: If the peer leaves instead.
        """
        answer = await Handshake(peer, self.network_name).ask("identity")
        if isinstance(answer, str):
            typed = parse_identity(answer)
            answer = answer if typed is None else typed
        return await self.hooks.check_identity(peer, Identity.parse(answer))

    async def handler(self, peer: Peer, identity: Identity) -> None:
        """Let a peer in, have the router handle what it sends, and wait until it leaves.

        Args:
            peer: The connection.
            identity: Who it is.

        Raises:
            NameTakenError: If a Service of its name is connected.
        """
        self._room.leave(peer)
        if identity.type == "client":
            client = self._registry.join_client(peer, identity, peer.address)
            peer.member, peer.network_name = client, client.name
            receive, receive_all = self._router.from_client, self._router.all_from_client
            event = Event.ACCEPT_CLIENT
        else:
            peer.member = self._registry.join_service(peer, identity, peer.address)
            peer.network_name = f"{identity.name}[{peer.address}]"
            receive, receive_all = self._router.from_service, self._router.all_from_service
            event = Event.ACCEPT_SERVICE
        peer.connection.send(event)
        peer.has_joined = True
        user = f" (user {peer.username!r})" if peer.username else ""
        logger.info("%s is connected as a %s%s", peer.network_name, identity.type, user)
        self.hooks.peer_joined(peer, identity)
        if self._has_joined is not None:
            self._has_joined.set()
            self._has_joined = None
        peer.welcome(receive, self.config.limits.max_message, self._spawn, receive_all)
        await peer.closing()

    def remove_peer(self, peer: Peer) -> None:
        """Free everything that a peer holds; its open calls are answered with an error."""
        member, peer.member = peer.member, None
        if member is None:
            return
        if isinstance(member, ClientMember):
            unlocked = [(peer, service.name) for service in member.links if member in service.locks]
            gone = [(member, service.name) for service in self._registry.leave_client(member)]
        else:
            unlocked = [(client.peer, member.name) for client in member.locks]
            gone = [(client, member.name) for client in member.links]
            calls = self._registry.leave_service(member)
            if not self.is_stopping:  # else the Clients learn from the end of their connections whose end it is
                self._router.unanswered([(call.client, call.service.name, call.uid) for call in calls])
                flush(self._touched)
        for holder, service in unlocked:
            self.hooks.unlocked(holder, service)
        for client, service in gone:
            self.hooks.unlinked(client.peer, service)
        logger.info("%s disconnected", peer.network_name)
        self.hooks.peer_left(peer)

    def close_writer(self, peer: Peer) -> None:
        """Close a connection when everything is sent that was meant for it."""
        peer.close()

    async def write_request(self, peer: Peer, attribute: str, *args: object) -> None:
        """Send a request of the Manager to a peer; the answer is left to whoever asked.

        Args:
            peer: The connection.
            attribute: What is asked for.
            args: Arguments, JSON values.
        """
        prompt = Prompt(attribute=attribute, args=args, requester=self.network_name)
        peer.send(peer.codec.encode(prompt))

    async def shutdown_manager(self) -> None:
        """Stop, and close all connections. Their tasks end when everything is sent, or the time for it is over."""
        self.stop()
        for peer in list(self._peers):
            peer.close()

    # What a Client may ask for

    def link(self, peer: Peer, service: str) -> dict[str, Any]:
        """Link a Client with a Service; returns the identity of the Service."""
        client = self._client(peer)
        known = self._registry.services.get(_text("service", service))
        if self._authorize is not None:
            self._authorize(peer, service, "link", "link")
        is_new = known is None or client not in known.links
        member = self._registry.link(client, service)
        if is_new:
            self.hooks.linked(peer, member.name)
        identity = member.describe()
        return identity | {"docs": member.identity.docs} if member.identity.docs else identity

    def unlink(self, peer: Peer, service: str) -> bool:
        """Unlink a Client from a Service, which also releases its lock; true, also if the Service is gone."""
        client = self._client(peer)
        known = self._registry.services.get(_text("service", service))
        had_lock = known is not None and client in known.locks
        member = self._registry.unlink(client, service)
        if member is not None:
            if had_lock:
                self.hooks.unlocked(peer, service)
            self.hooks.unlinked(peer, service)
        return True

    def acquire_lock(self, peer: Peer, service: str, shared: bool = False) -> list[str]:
        """Lock a Service against new links; returns the network names of the linked Clients."""
        client = self._client(peer)
        if self._authorize is not None:
            self._authorize(peer, _text("service", service), "acquire_lock", "lock")
        member = self._registry.acquire_lock(client, _text("service", service), shared=bool(shared))
        self.hooks.locked(peer, service, shared=bool(shared))
        return sorted(client.name for client in member.links)

    def release_lock(self, peer: Peer, service: str) -> list[str]:
        """Release the lock of a Client; returns the network names of those that still hold one."""
        client = self._client(peer)
        known = self._registry.services.get(_text("service", service))
        had_lock = known is not None and client in known.locks
        member = self._registry.release_lock(client, service)
        if had_lock:
            self.hooks.unlocked(peer, service)
        return sorted(other.name for other in member.locks)

    # Private

    async def _accept(self, listener: Listener, connections: anyio.abc.TaskGroup) -> None:
        is_said = False
        try:
            while True:
                try:
                    accepted = await listener.accept()
                except OSError as error:
                    if is_exhausted(error):
                        if not is_said:
                            logger.warning("no connection can be accepted until another one ends: %s", error)
                        is_said = True
                        # whose connections end in this moment, or else somebody's in the next
                        await anyio.sleep(0 if self._room.make_room() else ACCEPT_PAUSE)
                    continue  # else the peer left in between
                is_said = False
                try:
                    await self._room.place()
                except BaseException:  # the Manager stops
                    with anyio.CancelScope(shield=True):
                        await accepted.discard()
                    raise
                connections.start_soon(self.new_connection, accepted, self._context)  # in its turn it takes its place
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()

    async def _look_after(self) -> None:
        """Look, again and again, who takes nothing of what is kept for it, and how much is kept for all."""
        held = 0
        while True:
            limits = self.config.limits
            # so that not much more than the limit comes between two looks
            pause = min(LOOK, limits.outbox_timeout / 2, limits.max_memory / A_SECOND)
            await anyio.sleep(pause / 10 if held * 2 > limits.max_memory else pause)
            now = monotonic()
            for peer in list(self._peers):
                peer.look(now)
            held = sum(peer.held for peer in self._peers)
            if held > limits.max_memory:
                self._keep_less(held)

    def _keep_less(self, held: int) -> None:
        """End the connections of those for whom most is kept, until it is less than may be kept for all."""
        limit = self.config.limits.max_memory
        for peer in sorted(self._peers, key=lambda peer: peer.held, reverse=True):
            if held <= limit or peer.transport is None:
                return
            logger.warning(
                "%d bytes are kept for all peers, the limit is %d (max_memory): %s, with %d of them, is disconnected",
                held,
                limit,
                peer.network_name,
                peer.held,
            )
            held -= peer.held
            peer.transport.abort()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._connections is not None:
            self._connections.start_soon(work)

    async def _converse(self, peer: Peer, deadline: float) -> str:
        """Talk with a peer until it leaves, or is to leave; returns why it was not let in, if it was not."""
        limits = self.config.limits
        identity: Identity | None = None
        try:
            with anyio.CancelScope(deadline=deadline):
                identity = await self._shake_hands(peer)
            if identity is None:
                raise HandshakeTimeoutError(limits.handshake_timeout)
            await self.handler(peer, identity)
        except PeerLost as lost:
            return str(lost)
        except RequestError as error:
            peer.refuse(error, self.network_name)
            flush(self._touched)
            if isinstance(error, LineTooLongError):
                await peer.hear_out(limits.shutdown_timeout)
            return f"rejected: {error}"
        finally:
            self.remove_peer(peer)
            await peer.finish(limits.shutdown_timeout)
        return ""

    def _new_peer(self, accepted: Accepted) -> Peer:
        ip_address, port = accepted.remote
        is_local = ip_address == "::1" or ip_address.startswith("127.") or ip_address == accepted.local[0]
        return Peer(
            ip_address=ip_address,
            port=port,
            is_local=is_local,
            hostname=self.hostname,
            codec=self.hooks.make_codec(self.config.encoding),
            touched=self._touched,
            busy=self._busy,
            handshake_limit=self.config.limits.max_handshake_message,
            outbox_limit=self.config.limits.outbox,
            outbox_timeout=self.config.limits.outbox_timeout,
            resolve=self._resolver.lookup,
        )

    async def _shake_hands(self, peer: Peer) -> Identity:
        if not self.hooks.authenticators and not self.config.allow_anonymous and not peer.is_local:
            raise AuthenticationError(_ANONYMOUS)
        handshake = Handshake(peer, self.network_name, self.throttle)
        try:
            await self.hooks.authenticate(peer, handshake)
        except PeerLost:
            raise PeerLost(f"connection closed before receiving the {handshake.waiting_for}") from None
        except RequestError as error:
            handshake.refused(error)
            raise
        try:
            identity = await self.check_identity(peer)
        except PeerLost:
            raise PeerLost("connection closed prematurely") from None
        await peer.resolve_hostname()
        return identity

    def _say_who_may_come(self) -> None:
        if self.hooks.authenticators:
            logger.info("letting in who passes: %s", ", ".join(self.hooks.authenticators))
        elif self.config.allow_anonymous:
            logger.warning("letting in everybody, without authentication (allow_anonymous)")
        else:
            logger.info("letting in peers of this computer only, because 'auth' is empty")
        idle = sorted(set(self.config.sections) - {name for name, _ in self.hooks.plugins})
        if idle:
            logger.warning("not enabled, although there are settings for it: %s", ", ".join(idle))

    def _client(self, peer: Peer) -> ClientMember[Peer]:
        if not isinstance(peer.member, ClientMember):
            raise AuthorizationError("only a connected Client may ask for that")
        return peer.member

    def _tls(self, config: Config, hooks: Hooks) -> tuple[Path | None, ssl.SSLContext | None]:
        """Return the certificate for peers, and the TLS settings; nothing if there is no TLS."""
        from .tls import ensure_certificate, server_context  # noqa: PLC0415 - only who uses TLS pays for it

        tls = config.tls
        if not (tls.enabled and self._listens):
            return None, None
        password = tls.key_file_password.value if tls.key_file_password else None
        cert_file, key_file = ensure_certificate(
            cert_file=Path(tls.cert_file) if tls.cert_file else None,
            key_file=Path(tls.key_file) if tls.key_file else None,
            key_file_password=password,
            host=config.host,
        )
        context = server_context(cert_file, key_file, password)
        hooks.configure_tls(context)
        return cert_file, context


def _longest_delay(limits: Limits) -> float:
    """Return how long answers of somebody who guesses are held back at most, in seconds."""
    return min(LONGEST, min(limits.handshake_timeout, limits.prompt_timeout) / 2)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise MessageError(f"{name!r} must be a JSON string, found {type(value).__name__}", wire_name="TypeError")
    return value


def run_forever(
    *,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    auth_hostname: bool = False,
    auth_login: bool = False,
    auth_password: str | None = None,
    database: str | None = None,
    disable_tls: bool = False,
    cert_file: str | None = None,
    key_file: str | None = None,
    key_file_password: str | None = None,
    log_level: str | int = "INFO",
    log_file: str | None = None,
    config: Config | None = None,
    plugins: Sequence[object] = (),
) -> None:
    """Run a Manager until it is stopped. This function blocks, writes a log file, and catches SIGINT and SIGTERM.

    Args:
        host: The name or address to listen on; all interfaces if None.
        port: The TCP port, 1 to 65535, or 0 for a free one.
        auth_hostname: Let in peers of trusted computers only.
        auth_login: Let in users with their password only.
        auth_password: Let in only who knows this password, or that in the first line of this file.
        database: The SQLite database with users, trusted host names and records.
        disable_tls: Do without TLS.
        cert_file: The certificate (PEM).
        key_file: Its private key (PEM).
        key_file_password: What the key is encrypted with, or a file whose first line is that.
        log_level: The logging level.
        log_file: Where to write the log; a new file in the log folder if None.
        config: Settings that the other arguments are laid over; one that has its default changes nothing.
        plugins: Plugin objects to add to those that the settings name.

    Raises:
        StartError: If the Manager cannot start; the text says why in one line.
    """
    run(_manager(**locals()))


def run_services(*services: Service, **kwargs: Any) -> None:
    """Run a Manager, and Services that are connected to it, until the last of the Services has ended.

    A Service ends when it is shut down, see :meth:`msl_network.Link.shutdown_service`. This function blocks, writes a
    log file, and catches SIGINT and SIGTERM.

    Args:
        services: The Services, not started yet.
        kwargs: What :func:`run_forever` takes, and what :meth:`msl_network.Service.start` takes; other keywords are
            ignored, with a warning. The Services know `auth_password` and the certificate of the Manager without being
            told; with `auth_login`, a person is asked for the `username` and `password` that are not given.

    Raises:
        TypeError: If something else is among them.
        StartError: If the Manager cannot start; the text says why in one line.
        ConnectError: If a Service cannot connect, for example because two have the same name.
    """
    # a Manager alone starts sooner without them
    from .companions import ask_for_login, serve_beside  # noqa: PLC0415
    from .service import Service, filter_service_start_kwargs  # noqa: PLC0415

    if not services:
        logger.warning(
            "run_services was given no Service, so there is nothing to run; run_forever runs a Manager alone"
        )
        return
    for service in services:
        if not isinstance(service, Service):
            raise TypeError(f"run_services takes Services, found {type(service).__name__}; make an object of the class")
    settings = filter_run_forever_kwargs(**kwargs)
    keywords = filter_service_start_kwargs(**kwargs)
    ignored = sorted(kwargs.keys() - settings.keys() - keywords.keys() - {"auth_password", "password_manager"})
    if ignored:
        logger.warning("run_services ignores keywords that nobody knows: %s", ", ".join(ignored))
    if settings.get("auth_login"):
        keywords |= ask_for_login(keywords)
    if settings.get("auth_password") is not None:
        keywords["password_manager"] = secret_words([settings["auth_password"]])  # it may be in a file
    manager = _manager(**settings)
    run(manager, lambda: serve_beside(manager, services, keywords))


def filter_run_forever_kwargs(**kwargs: Any) -> dict[str, Any]:
    """Return those keyword arguments that `run_forever` takes; the others are left out.

    Args:
        kwargs: Any; `password_manager`, as a Service calls it, becomes `auth_password` unless that is there, too.
    """
    known = inspect.signature(run_forever).parameters
    chosen = {name: value for name, value in kwargs.items() if name in known}
    if "password_manager" in kwargs:
        chosen.setdefault("auth_password", kwargs["password_manager"])
    return chosen


def _manager(*, config: Config | None = None, plugins: Sequence[object] = (), **keywords: Any) -> Manager:
    """Return the Manager that the keywords of `run_forever` describe; one that has its default changes nothing."""
    defaults = inspect.signature(run_forever).parameters
    for name in ("port", "log_level"):
        if keywords.get(name) == defaults[name].default:
            del keywords[name]
    return Manager((config or Config()).with_keywords(**keywords), plugins=plugins)
