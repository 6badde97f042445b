"""A Manager for laboratory networks: authenticates Clients and Services, links them, routes their messages."""

from .codec import Codec
from .commands import Command
from .config import Config, Limits, TLSSettings
from .errors import (
    ArgumentError,
    AuthenticationError,
    AuthorizationError,
    ConfigError,
    IdentityError,
    MessageError,
    NetworkError,
    PluginError,
    RequestError,
    StartError,
    StoreError,
)
from .handshake import Handshake
from .hookspecs import hookimpl
from .manager import Manager, filter_run_forever_kwargs, run_forever
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
    check_uid,
)
from .peer import Peer
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
    "AuthenticationError",
    "AuthorizationError",
    "Codec",
    "Collection",
    "Command",
    "Config",
    "ConfigError",
    "Duration",
    "Failure",
    "File",
    "Handshake",
    "Hostnames",
    "Identity",
    "IdentityError",
    "Limits",
    "Manager",
    "MendedReply",
    "MessageError",
    "NetworkError",
    "Notification",
    "Peer",
    "PluginError",
    "Prompt",
    "Record",
    "Records",
    "Reply",
    "Request",
    "RequestError",
    "Result",
    "Secret",
    "Size",
    "StartError",
    "Store",
    "StoreError",
    "TLSSettings",
    "User",
    "Users",
    "check_uid",
    "filter_run_forever_kwargs",
    "hookimpl",
    "parse_request",
    "run_forever",
]
