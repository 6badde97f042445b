"""How a peer introduces itself: its answers to the questions of a Manager.

    username --> of the user      password --> of the Manager or of the user      identity --> who the peer is

Rule of this file: a person is asked for what nobody has said, once. A secret goes into the answer and nowhere else. It
must not know how bytes travel.
"""

from __future__ import annotations

import getpass
import re
from typing import TYPE_CHECKING, Any, Final

from .errors import MessageError, RefusedError
from .payload import decode, encode_answer

if TYPE_CHECKING:
    from .connecting import ConnectOptions
    from .errors import ConnectError
    from .payload import Arrival

__all__ = ["Introduction"]

_IS_MANAGER: Final = re.compile(r"Manager\[\S+:\d+\]")
"""What a Manager names when it asks for its own password; else it names the user."""


class Introduction:
    """The answers of one peer.

    Args:
        identity: Who the peer is, as the protocol has it.
        options: Which user name and passwords were given.
    """

    def __init__(self, identity: dict[str, Any], options: ConnectOptions) -> None:
        self._identity = identity
        self._address = options.address
        self.username = options.username
        self.password = options.password
        self.password_manager = options.password_manager
        self.is_complete = False
        """Whether the identity was sent, which is the last question."""
        self.has_asked = False
        """Whether a person was asked, on this connection."""

    def answer_line(self, line: bytes) -> bytes:
        """Return the line that answers a line of the handshake.

        Args:
            line: The line of the Manager.

        Raises:
            RefusedError: If the Manager refuses the peer, or asks what nobody can answer.
        """
        try:
            arrival = decode(line)
        except MessageError as error:
            raise RefusedError(f"{self._address} does not speak like a Manager: {error}") from None
        if not arrival.attribute and not arrival.error:
            raise RefusedError(f"{self._address} does not speak like a Manager: its message is no question")
        if arrival.error:
            raise RefusedError(arrival.message or f"Manager[{self._address}] gave no reason")
        return self.answer(arrival)

    def was_too_slow(self, error: ConnectError) -> bool:
        """Return whether to connect again: the Manager did not wait until a person had typed what is known now.

        Args:
            error: Why the connection came to nothing.
        """
        has_asked, self.has_asked = self.has_asked, False
        return has_asked and (not isinstance(error, RefusedError) or str(error).startswith("TimeoutError:"))

    def needs_person(self, prompt: Arrival) -> bool:
        """Whether somebody must be asked before this question can be answered.

        Args:
            prompt: A question of the Manager.
        """
        if prompt.attribute == "username":
            return self.username is None
        if prompt.attribute == "password":
            return (self.password_manager if _is_of_manager(prompt) else self.password) is None
        return False

    def answer(self, prompt: Arrival) -> bytes:
        """Return the line that answers a question.

        Args:
            prompt: A question of the Manager.

        Raises:
            RefusedError: If nobody can answer it.
        """
        attribute = prompt.attribute
        if attribute == "identity":
            self.is_complete = True
            return encode_answer(self._identity)
        if attribute == "username":
            if self.username is None:
                self.username = self._ask(input, f"User name for {_subject(prompt)}: ", "username")
            return encode_answer(self.username)
        if attribute == "password":
            text = f"Password for {_subject(prompt)}: "
            if _is_of_manager(prompt):
                if self.password_manager is None:
                    self.password_manager = self._ask(getpass.getpass, text, "password_manager")
                return encode_answer(self.password_manager)
            if self.password is None:
                self.password = self._ask(getpass.getpass, text, "password")
            return encode_answer(self.password)
        raise RefusedError(
            f"Manager[{self._address}] asks for {attribute!r}; a peer can answer: username, password, identity"
        )

    def _ask(self, ask: Any, text: str, keyword: str) -> str:
        self.has_asked = True
        try:
            answer: str = ask(text)
        except (EOFError, OSError, RuntimeError, AttributeError) as error:  # the last two: there is no sys.stdin
            raise RefusedError(
                f"Manager[{self._address}] asks for a {keyword.partition('_')[0]}, and nobody can be asked here "
                f"({type(error).__name__}); give it as {keyword}="
            ) from None
        return answer


def _subject(prompt: Arrival) -> str:
    text = str(prompt.args[0]) if prompt.args else "the Manager"
    return "".join(c if c.isprintable() else "?" for c in text)  # a terminal obeys control characters


def _is_of_manager(prompt: Arrival) -> bool:
    return bool(prompt.args) and _IS_MANAGER.fullmatch(str(prompt.args[0])) is not None
