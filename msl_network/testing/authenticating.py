"""The checks of those who decide who is let in: `authenticate` and `authenticate_administrator`.

Rule of this file: a plugin is talked to as a peer would, never by its insides. It must not know how a peer proves who
it is; the author of the plugin says what lets one in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from msl_network.errors import RequestError
from msl_network.peer import PeerLost

from .doubles import LEAVES, SILENT, FakeHandshake
from .subject import Check, Failed, Skipped, Subject, logged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from msl_network.peer import Peer

__all__ = ["CHECKS"]

HOOK: Final = "authenticate"

MARK: Final = "wrong-Zp8sK2qW"
"""An answer that nobody gives by chance, and is found wherever it was written to."""

WRONG: Final[tuple[Any, ...]] = (
    MARK,
    "",
    "x" * 50_000,
    "\ud800",
    "Größe\0",
    None,
    True,
    False,
    0,
    1.5,
    [],
    {},
    [MARK],
    {"a": MARK},
)
"""Answers that let nobody in: each kind of JSON value, and texts that are not easy to work with."""

MOST_QUESTIONS: Final = 20
"""How often a plugin may ask before it is taken to never end."""


class _Same(FakeHandshake):
    """Gives the same answer to whatever is asked, from some question on.

    Args:
        answer: The answer.
        begin: The number of the first question that gets it.
        right: Gives the answers before that, and all others if only one question gets it.
        only: Whether it is the only one.
    """

    def __init__(
        self,
        answer: object,
        *,
        begin: int = 0,
        right: list[object] | None = None,
        only: bool = False,
    ) -> None:
        super().__init__()
        self._answer_of_all = answer
        self._begin = begin
        self._right = right or []
        self._only = only
        self.is_reached = anyio.Event()
        """Set when the first question that gets the answer is asked."""

    def ask(self, attribute: str, *args: object) -> Awaitable[Any]:
        """Answer."""
        number = len(self.asked)
        if number >= MOST_QUESTIONS:
            raise Failed(f"it goes on asking: {attribute!r} is question {number + 1}")
        is_same = number == self._begin if self._only else number >= self._begin
        is_same = is_same or number >= len(self._right)
        if is_same:
            self.is_reached.set()
        self.answers = [self._answer_of_all if is_same else self._right[number]]
        return super().ask(attribute, *args)


def _right(subject: Subject) -> FakeHandshake:
    """Return a handshake with the answers that let a peer in."""
    if subject.answers is None:
        raise Skipped
    if isinstance(subject.answers, (list, tuple)):
        return FakeHandshake(*subject.answers)
    return FakeHandshake(**dict(subject.answers))  # type: ignore[arg-type]  # it is a mapping then


async def _questions(subject: Subject, plugin: object) -> tuple[list[str], list[object], Peer]:
    """Return what the plugin asks for, the right answers as far as they are known, and whoever gave them."""
    if subject.answers is None:
        handshake: FakeHandshake = _Same(MARK)
    else:
        handshake = _right(subject)
    by_attribute, in_order = handshake.by_attribute, list(handshake.answers)
    peer = subject.peer()
    try:
        await subject.call(plugin, HOOK, peer=peer, handshake=handshake)
    except Exception as error:
        if subject.answers is not None:
            raise Skipped from error  # `lets_in` says what is wrong
        if not isinstance(error, RequestError):
            raise
    asked = [str(question[0]) for question in handshake.asked]
    if subject.answers is None:
        return asked, [], peer
    answers = [by_attribute[name] if name in by_attribute else in_order.pop(0) for name in asked]
    return asked, answers, peer


async def lets_in(subject: Subject) -> None:
    """Who gives the right answers is let in."""
    async with subject.started() as (plugin, _):
        handshake = _right(subject)
        try:
            answer = await subject.call(plugin, HOOK, peer=subject.peer(), handshake=handshake)
        except RequestError as error:
            raise Failed(f"it refuses the peer that gives the right answers: {error}") from None
        except Exception as error:
            raise Failed(f"it fails with the right answers: {type(error).__name__}: {error}") from error
        if answer is not None:
            raise Failed(f"it returned {answer!r} where it should return nothing; a Manager takes that for a refusal")
        if handshake.waiting_for:
            raise Failed(f"it did not wait for the answer to {handshake.waiting_for!r}")
        if handshake.answers:
            raise Failed(f"it did not ask for all that lets a peer in, {len(handshake.answers)} answers are left")


def _attempts(asked: list[str], answers: list[object], free: Any) -> Iterator[tuple[str, _Same]]:
    """Return handshakes with something wrong in them, and what that is."""
    for wrong in WRONG:
        shown = repr(wrong) if len(repr(wrong)) < 40 else f"{repr(wrong)[:20]}..."
        yield f"answers {shown} to everything", _Same(wrong)
        for number, name in enumerate(asked if answers else []):
            if name not in free and wrong != answers[number]:
                handshake = _Same(wrong, begin=number, right=answers, only=True)
                yield f"answers {shown} to {name!r}, and all else right,", handshake


async def refuses(subject: Subject) -> None:
    """Who gives a wrong answer is refused, whatever it is, and nothing else happens."""
    async with subject.started() as (plugin, _):
        asked, answers, _ = await _questions(subject, plugin)
        if not asked:
            raise Skipped
        for what, handshake in _attempts(asked, answers, subject.free):
            peer = subject.peer()
            try:
                await subject.call(plugin, HOOK, peer=peer, handshake=handshake)
            except RequestError:
                if peer.username or peer.is_admin:
                    raise Failed(f"a peer that {what} is refused, but it set its username or is_admin") from None
            except Failed:
                raise
            except Exception as error:
                raise Failed(f"a peer that {what} makes it fail: {type(error).__name__}: {error}") from error
            else:
                raise Failed(f"a peer that {what} is let in")


async def keeps_secrets(subject: Subject) -> None:
    """What a peer answers stands neither in the log nor in the text that it is refused with."""
    async with subject.started() as (plugin, _):
        asked, answers, _ = await _questions(subject, plugin)
        public = [name for name in asked if name != "username"]
        if not public:
            raise Skipped
        begin = asked.index(public[0])
        with logged() as lines:
            try:
                handshake = _Same(MARK, begin=begin, right=[*answers[:begin], *(["anybody"] * (begin - len(answers)))])
                await subject.call(plugin, HOOK, peer=subject.peer(), handshake=handshake)
            except Exception as error:  # noqa: BLE001 - what else is wrong with it, another check says
                if MARK in str(error):
                    raise Failed(f"the text of its {type(error).__name__} has the answer in it") from None
        for line in lines:
            if MARK in line:
                raise Failed(f"it logs the answer: {line.replace(MARK, '<the answer>')}")


async def lets_the_peer_leave(subject: Subject) -> None:
    """A peer that leaves in place of an answer is not let in."""
    async with subject.started() as (plugin, _):
        asked, answers, _ = await _questions(subject, plugin)
        if not asked:
            raise Skipped
        for number, name in enumerate(asked if answers else asked[:1]):
            handshake = _Same(LEAVES, begin=number, right=answers)
            try:
                await subject.call(plugin, HOOK, peer=subject.peer(), handshake=handshake)
            except (PeerLost, RequestError):
                continue
            except Exception as error:
                raise Failed(
                    f"a peer that leaves when it is asked for {name!r} makes it fail: {type(error).__name__}: {error}"
                ) from error
            raise Failed(f"a peer that leaves when it is asked for {name!r} is let in")


async def lets_time_pass(subject: Subject) -> None:
    """When a peer that says nothing runs out of time, the plugin ends, and lets nobody in."""
    async with subject.started() as (plugin, _):
        asked, answers, _ = await _questions(subject, plugin)
        if not asked:
            raise Skipped
        for number, name in enumerate(asked if answers else asked[:1]):
            handshake = _Same(SILENT, begin=number, right=answers)
            is_over = False
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_cancel_when_asked, handshake, scope)
                    try:
                        await subject.call(plugin, HOOK, peer=subject.peer(), handshake=handshake)
                        is_over = True
                    except RequestError:
                        continue
            if is_over:
                raise Failed(f"a peer that never answers {name!r} is let in when its time is over")


async def _cancel_when_asked(handshake: _Same, scope: anyio.CancelScope) -> None:
    await handshake.is_reached.wait()
    scope.cancel()


async def asks_two_at_once(subject: Subject) -> None:
    """While one peer thinks about its answer, another one is let in, and they are not mistaken for each other."""
    async with subject.started() as (plugin, _):
        asked, answers, first = await _questions(subject, plugin)
        if not asked or not answers:
            raise Skipped
        slow, quick = subject.peer(), subject.peer()
        held = _Held(answers)
        outcome: list[BaseException | None] = []

        async def ask_slowly() -> None:
            try:
                await subject.call(plugin, HOOK, peer=slow, handshake=held)
            except RequestError as error:
                outcome.append(error)
            else:
                outcome.append(None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_slowly)
            await held.is_asking.wait()
            with anyio.move_on_after(subject.patience / 2) as scope:
                try:
                    await subject.call(plugin, HOOK, peer=quick, handshake=_right(subject))
                except RequestError as error:
                    raise Failed(f"it refuses a peer because another one is asked meanwhile: {error}") from None
            if scope.cancelled_caught:
                raise Failed("it has a peer wait while another one is asked")
            if (quick.username, quick.is_admin) != (first.username, first.is_admin) or slow.username or slow.is_admin:
                raise Failed("the username of one peer, or its is_admin, was given to another one")
            held.go.set()
        if outcome != [None] and not isinstance(outcome[0], RequestError):
            raise Failed("it lets in a peer with a wrong answer, because another one gave the right one meanwhile")
        if outcome == [None]:
            raise Failed("it lets in a peer with a wrong answer, because another one gave the right one meanwhile")


class _Held(_Same):
    """Answers the last question wrongly, and the first one only when it is told to go on."""

    def __init__(self, answers: list[object]) -> None:
        super().__init__(MARK, begin=len(answers) - 1, right=answers, only=True)
        self.go = anyio.Event()

    async def _answer(self, attribute: str) -> Any:
        answers, self.answers = self.answers, []
        self.is_asking.set()
        await self.go.wait()
        self.answers = answers
        return await super()._answer(attribute)


async def refuses_administrators(subject: Subject) -> None:
    """Who gives wrong answers does not become an administrator."""
    async with subject.started() as (plugin, _):
        for wrong in WRONG:
            peer: Peer = subject.stranger()
            try:
                answer = await subject.call(plugin, "authenticate_administrator", peer=peer, handshake=_Same(wrong))
            except RequestError:
                continue
            except Failed:
                raise
            except Exception as error:
                raise Failed(f"the answer {wrong!r:.40} makes it fail: {type(error).__name__}: {error}") from error
            if answer is True or peer.is_admin:
                raise Failed(f"a peer that answers {wrong!r:.40} becomes an administrator")
            if answer is not None and answer is not False:
                raise Failed(f"it returned {answer!r}; allowed is True, False, or None if it does not know")


def _checks() -> list[Check]:
    table: list[tuple[Callable[[Subject], Awaitable[None]], str, str]] = [
        (lets_in, HOOK, "return nothing when the answers are right, and await each question"),
        (refuses, HOOK, "check the type of an answer before you use it, and raise AuthenticationError if it is wrong"),
        (keeps_secrets, HOOK, "say and log that something was wrong, not what was answered"),
        (lets_the_peer_leave, HOOK, "do not catch PeerLost, nor Exception around `ask`"),
        (lets_time_pass, HOOK, "do not catch cancellations around `ask`, and work that blocks belongs into a thread"),
        (
            asks_two_at_once,
            HOOK,
            "keep what belongs to one peer in local variables, not on the plugin, and hold no lock",
        ),
        (refuses_administrators, "authenticate_administrator", "return False, or raise AuthenticationError"),
    ]
    return [Check(function.__name__, (hook,), advice, function) for function, hook, advice in table]


CHECKS: Final = _checks()
"""All of them, in order."""
