"""A connection to a Manager as a stream of bytes, on asyncio or trio: TLS or not, and let in.

Rule of this file: what fails is explained, and leaves no socket open, also when it is cancelled. It must not know what
is said once the Manager has let us in.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
from anyio import CancelScope, to_thread
from anyio.streams.tls import TLSStream

from . import trust
from .connecting import Host
from .errors import ConnectError
from .sockets import tune
from .wire import LineBuffer

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from .connecting import ConnectOptions
    from .introduction import Introduction

__all__ = ["BROKEN", "CHUNK", "open_stream", "reason"]

CHUNK: Final = 65536  # bytes that are read at a time

BROKEN: Final = (
    *(OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError),
    anyio.BusyResourceError,  # of TLS, if its reader has to write in the same moment as the writer
)
"""What a stream raises when the connection has ended."""


async def open_stream(options: ConnectOptions, introduction: Introduction) -> anyio.abc.ByteStream:
    """Connect to a Manager and be let in.

    Args:
        options: Which Manager, and how.
        introduction: The answers to its questions.

    Returns:
        The connection. The Manager has been sent the identity, and says nothing to that unless it refuses it.

    Raises:
        ConnectError: If that is not possible; its text says why and what to do.
    """
    context: ssl.SSLContext | None = None
    cert_file: Path | None = None
    if not options.disable_tls:
        context, cert_file = await to_thread.run_sync(trust.trusted_context, options, abandon_on_cancel=True)
    while True:
        try:
            return await _open(options, introduction, context, cert_file)
        except ConnectError as error:
            if not introduction.was_too_slow(error):
                raise


async def _open(
    options: ConnectOptions, introduction: Introduction, context: ssl.SSLContext | None, cert_file: Path | None
) -> anyio.abc.ByteStream:
    is_connected = False
    async with contextlib.AsyncExitStack() as opened:
        try:
            with anyio.fail_after(options.timeout) as limit:
                stream = await _connect(options)
                opened.push_async_callback(_close, stream)
                if context is not None:
                    stream = await TLSStream.wrap(
                        stream, hostname=options.host, ssl_context=context, standard_compatible=False
                    )
                is_connected = True
                await _introduce(stream, introduction, options, limit)
        except (*BROKEN, ValueError, OverflowError) as error:
            if isinstance(error, ConnectError):
                raise
            if not is_connected:
                raise trust.explain(error, options, cert_file) from None
            if not isinstance(error, BROKEN):
                raise
            if isinstance(error, TimeoutError):
                raise trust.silent_manager(options, options.timeout or 0.0) from None
            raise trust.closed_early(options, error) from None
        opened.pop_all()
    return stream


async def _connect(options: ConnectOptions) -> anyio.abc.ByteStream:
    if isinstance(options.host, Host):
        return options.host.open_stream()
    stream = await anyio.connect_tcp(options.host, options.port)
    tune(stream.extra(anyio.abc.SocketAttribute.raw_socket))
    return stream


async def _introduce(
    stream: anyio.abc.ByteStream, introduction: Introduction, options: ConnectOptions, limit: CancelScope
) -> None:
    lines = LineBuffer(sys.maxsize if options.read_limit is None else options.read_limit)
    while not introduction.is_complete:
        for line in lines.feed(await stream.receive(CHUNK)):
            before, limit.deadline = (
                limit.deadline,
                math.inf,
            )  # a person who is asked takes as long as it takes; the Manager has its own limit
            await stream.send(await to_thread.run_sync(introduction.answer_line, line, abandon_on_cancel=True))
            if introduction.has_asked and options.timeout is not None:
                before = anyio.current_time() + options.timeout
            limit.deadline = before
        if lines.overflow:
            raise ConnectError(
                f"{options.address}: the first message is longer than the read_limit of {lines.limit} bytes"
            )


async def _close(stream: anyio.abc.ByteStream) -> None:
    with CancelScope(shield=True):
        await stream.aclose()


def reason(error: BaseException) -> str:
    """Return why a connection ended, for people.

    Args:
        error: One of `BROKEN`.
    """
    cause = error.__cause__ or error
    return f"the connection broke: {getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__}"
