"""Clients and Services of a laboratory, and the Manager that authenticates them, links them, routes their messages.

Rule of this file: public names and nothing else, each from where its concern lives. A name is imported when it is first
used: a Client needs no Manager, and a Manager starts in half the time without the Clients.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blocking import Client, Link, LinkedClient, connect, filter_client_connect_kwargs
    from .client import AsyncClient, AsyncLink
    from .codec import Codec
    from .commands import Command
    from .config import Config, Limits, TLSSettings
    from .errors import (
        ArgumentError,
        AuthenticationError,
        AuthorizationError,
        CallTimeoutError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        ConnectTimeoutError,
        IdentityError,
        MessageError,
        NetworkError,
        PluginError,
        RefusedError,
        RemoteError,
        RequestError,
        StartError,
        StoreError,
        UntrustedError,
    )
    from .handshake import Handshake
    from .hookspecs import hookimpl
    from .long_line import LongLine
    from .manager import Manager, filter_run_forever_kwargs, run_forever, run_services
    from .memory import MemoryHost
    from .messages import (
        DISCONNECT,
        EMPTY_ARGS,
        EMPTY_KWARGS,
        NOTIFICATION_UID,
        Answer,
        Failure,
        Identity,
        MendedReply,
        Notification,
        Prompt,
        Reply,
        Request,
        Result,
        check_names,
        check_uid,
    )
    from .observer import Observer
    from .peer import Peer
    from .service import Service, filter_service_start_kwargs
    from .settings import Duration, File, Secret, Size
    from .store import Collection, Hostnames, Record, Records, Store, User, Users
    from .terminal import parse_request

__all__ = [
    "DISCONNECT",
    "EMPTY_ARGS",
    "EMPTY_KWARGS",
    "NOTIFICATION_UID",
    "Answer",
    "ArgumentError",
    "AsyncClient",
    "AsyncLink",
    "AuthenticationError",
    "AuthorizationError",
    "CallTimeoutError",
    "Client",
    "Codec",
    "Collection",
    "Command",
    "Config",
    "ConfigError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "Duration",
    "Failure",
    "File",
    "Handshake",
    "Hostnames",
    "Identity",
    "IdentityError",
    "Limits",
    "Link",
    "LinkedClient",
    "LongLine",
    "Manager",
    "MemoryHost",
    "MendedReply",
    "MessageError",
    "NetworkError",
    "Notification",
    "Observer",
    "Peer",
    "PluginError",
    "Prompt",
    "Record",
    "Records",
    "RefusedError",
    "RemoteError",
    "Reply",
    "Request",
    "RequestError",
    "Result",
    "Secret",
    "Service",
    "Size",
    "StartError",
    "Store",
    "StoreError",
    "TLSSettings",
    "UntrustedError",
    "User",
    "Users",
    "check_names",
    "check_uid",
    "connect",
    "filter_client_connect_kwargs",
    "filter_run_forever_kwargs",
    "filter_service_start_kwargs",
    "hookimpl",
    "parse_request",
    "run_forever",
    "run_services",
]

_HOMES = {
    "Client": "blocking",
    "Link": "blocking",
    "LinkedClient": "blocking",
    "connect": "blocking",
    "filter_client_connect_kwargs": "blocking",
    "AsyncClient": "client",
    "AsyncLink": "client",
    "Codec": "codec",
    "Command": "commands",
    "Config": "config",
    "Limits": "config",
    "TLSSettings": "config",
    "ArgumentError": "errors",
    "AuthenticationError": "errors",
    "AuthorizationError": "errors",
    "CallTimeoutError": "errors",
    "ConfigError": "errors",
    "ConnectError": "errors",
    "ConnectTimeoutError": "errors",
    "ConnectionLostError": "errors",
    "IdentityError": "errors",
    "MessageError": "errors",
    "NetworkError": "errors",
    "PluginError": "errors",
    "RefusedError": "errors",
    "RemoteError": "errors",
    "RequestError": "errors",
    "StartError": "errors",
    "StoreError": "errors",
    "UntrustedError": "errors",
    "Handshake": "handshake",
    "hookimpl": "hookspecs",
    "LongLine": "long_line",
    "Manager": "manager",
    "filter_run_forever_kwargs": "manager",
    "run_forever": "manager",
    "run_services": "manager",
    "MemoryHost": "memory",
    "Answer": "messages",
    "DISCONNECT": "messages",
    "EMPTY_ARGS": "messages",
    "EMPTY_KWARGS": "messages",
    "Failure": "messages",
    "Identity": "messages",
    "MendedReply": "messages",
    "NOTIFICATION_UID": "messages",
    "Notification": "messages",
    "Prompt": "messages",
    "Reply": "messages",
    "Request": "messages",
    "Result": "messages",
    "check_names": "messages",
    "check_uid": "messages",
    "Observer": "observer",
    "Peer": "peer",
    "Service": "service",
    "filter_service_start_kwargs": "service",
    "Duration": "settings",
    "File": "settings",
    "Secret": "settings",
    "Size": "settings",
    "Collection": "store",
    "Hostnames": "store",
    "Record": "store",
    "Records": "store",
    "Store": "store",
    "User": "store",
    "Users": "store",
    "parse_request": "terminal",
}
"""In which module each name lives."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
