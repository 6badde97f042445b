"""What turns lines into messages and back, as an encoding plugin offers it.

Rule of this file: the interface only. The Manager's core decides what a message means; a codec decides what it
looks like. It must not know who is connected, or any socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .long_line import LongLine
    from .messages import Answer, Failure, Notification, Prompt, Reply, Request, Result

__all__ = ["Codec"]


class Codec(Protocol):
    """Turns one line into one message and back.

    All methods run on the event loop for each message: they must be quick and must not block. Decoding raises
    :class:`~msl_network.errors.MessageError` (with the uid, if it is known) for a line that is not a message.
    """

    @property
    def name(self) -> str:
        """The name of the encoding. Lines are forwarded unchanged between peers whose encodings have one name."""

    def long_line(self) -> LongLine | None:
        """Take a line that is too long to be read at once; None if this codec reads any line at once.

        What the line then is to the Manager is its short form: that is what is decoded, and what a message that is
        made of it lacks is put back.
        """

    def decode_request(self, line: bytes) -> Request | Answer:
        """Read what a connected Client sent."""

    def decode_requests(self, lines: list[bytes]) -> list[Request] | None:
        """Read many lines at once, if that is quicker than one by one.

        Args:
            lines: At most 64; none of them is a `LongLine`.

        Returns:
            What `decode_request` returns for each; None if it may raise for one of them, or is as quick.
        """

    def decode_replies(self, lines: list[bytes]) -> list[Reply] | None:
        """Read many lines at once, as `decode_requests` does; each by `decode_reply`, and none of them an error."""

    def decode_reply(self, line: bytes) -> Reply | Request:
        """Read what a connected Service sent: a reply, a notification, or its good-bye (a request)."""

    def decode_notification(self, line: bytes) -> Notification:
        """Read a line that `decode_reply` found to be a notification."""

    def decode_answer(self, line: bytes) -> Answer | None:
        """Read the answer to a prompt; None if the line is a message of another kind."""

    def decode_values(self, request: Request) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a request that the Manager answers itself."""

    def encode_request(self, request: Request, requester: str) -> bytes:
        """Write a request to a Service, complete, with the network name of the Client that asks."""

    def encode_requests(self, requests: list[Request], requester: str) -> bytes | None:
        """Write many requests to a Service in one piece, if that is quicker than one by one.

        Returns:
            What `encode_request` returns for each, one after the other; None if it may raise for one of them, or is as
            quick.
        """

    def encode_lost(self, line: bytes, lost: int) -> bytes:
        """Write a notification anew that was read from a line, and how many before it were dropped."""

    def encode(self, message: Prompt | Result | Failure) -> bytes:
        """Write a message of the Manager's own."""
