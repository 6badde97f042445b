from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks.chaos import __main__ as chaos
from benchmarks.chaos.calls import NOBODY, Call, Script, Told, answer, failure, told
from benchmarks.chaos.check import AFTER, BEFORE, Claim, Evidence, Ledger, Sequence, link_reason, lock_reason, reason
from benchmarks.chaos.manager import State
from benchmarks.chaos.part import Orders, Part, in_threads
from benchmarks.chaos.quiet import MORE_BLOCKS, MORE_MEMORY, compare, is_quiet
from benchmarks.chaos.report import Report
from benchmarks.chaos.run import STRETCH, stretches
from benchmarks.chaos.tally import SHOWN, Tally
from benchmarks.chaos.wire import Access
from benchmarks.chaos.wire_client import WireClient

if TYPE_CHECKING:
    from benchmarks.chaos.books import Books

BOUND = 30.0
CALL = Call(client="C", number=1, service="Echo1", attribute="echo", payload="text")
RIGHT = ["boot", 3, 3, *answer("C", 1, "text", "echo")]
LEFT = "ConnectionAbortedError: the 'Echo1' service left before it answered"
LEAVING = "ConnectionAbortedError: the 'Echo1' service is leaving"
UNKNOWN = "KeyError: \"the 'Echo1' Service is not connected to Manager[here:1]\""
BUSY = "BlockingIOError: the 'Echo1' service does not keep up, 5 bytes wait for it; ask later"

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what a process has open")


class Seen:
    """What was told, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[dict[str, Any]] = []
        self.report = Report(self.told.append, lambda: self.now)

    @property
    def problems(self) -> list[str]:
        return [message["problem"] for message in self.told if "problem" in message]

    @property
    def claims(self) -> list[str]:
        return [message["claim"] for message in self.told if "claim" in message]

    @property
    def counts(self) -> dict[str, int]:
        self.report.flush()
        counts: dict[str, int] = {}
        for message in self.told:
            for what, number in message.get("counts", {}).items():
                counts[what] = counts.get(what, 0) + number
        return counts


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def ledger(seen: Seen) -> Ledger:
    ledger = Ledger("C", seen.report, BOUND)
    ledger.open(CALL)
    return ledger


# Calls


def test_good_call(seen: Seen, ledger: Ledger) -> None:
    """A call that has the right answer is no problem."""
    ledger.result(1, RIGHT)
    ledger.overdue()
    assert seen.problems == []
    assert seen.counts == {"calls": 1, "replies": 1}


def test_doubled_reply(seen: Seen, ledger: Ledger) -> None:
    """A second answer to a call is a problem, right or wrong, a result or an error."""
    ledger.result(1, RIGHT)
    ledger.result(1, RIGHT)
    ledger.error(1, LEFT)
    assert seen.problems == ["doubled", "doubled"]


@pytest.mark.parametrize(
    "result",
    [
        ["boot", 3, 3, *answer("D", 1, "text", "echo")],
        ["boot", 3, 3, *answer("C", 2, "text", "echo")],
        ["boot", 3, 3, *answer("C", 1, "other", "echo")],
        ["boot", 3, 3],
        "forged",
        None,
    ],
)
def test_foreign_reply(seen: Seen, ledger: Ledger, result: object) -> None:
    """The answer to another's call, to another call, or to none is a problem."""
    ledger.result(1, result)
    assert seen.problems == ["wrong"]


def test_lost_reply(seen: Seen, ledger: Ledger) -> None:
    """A call without an answer is a problem as soon as it has taken too long, once."""
    seen.now += BOUND
    ledger.overdue()
    assert seen.problems == []
    seen.now += 1
    ledger.overdue()
    ledger.overdue()
    assert seen.problems == ["lost"]
    ledger.result(1, RIGHT)
    assert seen.problems == ["lost"]


def test_call_given_up(seen: Seen, ledger: Ledger) -> None:
    """The late answer to a call that was given up may come, but only once."""
    ledger.give_up(1)
    ledger.result(1, RIGHT)
    assert seen.problems == []
    ledger.result(1, RIGHT)
    assert seen.problems == ["doubled"]


def test_lost_connection(seen: Seen, ledger: Ledger) -> None:
    """Calls end with their connection; that must have a reason, and coming back is timed."""
    ledger.disconnected(is_direct=True, why="EOF")
    seen.now += BOUND + 1
    ledger.overdue()
    assert (seen.problems, seen.claims) == ([], ["lost"])
    ledger.open(CALL)
    ledger.result(1, RIGHT)
    assert [message["seconds"] for message in seen.told if "took" in message] == [BOUND + 1]


def test_connection_through_proxy(seen: Seen, ledger: Ledger) -> None:
    """Who reaches the Manager through the proxy may lose the connection for no reason."""
    ledger.disconnected(is_direct=False, why="EOF")
    assert seen.claims == []


@pytest.mark.parametrize(("message", "kind"), [(LEFT, "left"), (LEAVING, "left"), (UNKNOWN, "unknown"), (BUSY, "busy")])
def test_errors_with_reason(seen: Seen, ledger: Ledger, message: str, kind: str) -> None:
    """An error that names a reason is no problem, if there was that reason."""
    ledger.error(1, message)
    assert (seen.problems, seen.claims) == ([], [kind])


@pytest.mark.parametrize(
    "message",
    [
        LEFT.replace("Echo1", "Echo2"),
        UNKNOWN.replace("Echo1", "Echo2"),
        "PermissionError: 'Echo1' service is locked",
        f"ValueError: {failure('C', 1)}",
        "",
    ],
)
def test_errors_without_reason(seen: Seen, ledger: Ledger, message: str) -> None:
    """An error that another Service is to blame for, or nobody, is a problem."""
    ledger.error(1, message)
    assert seen.problems == ["wrong"]


def test_error_as_asked_for(seen: Seen) -> None:
    """A call that asks for an error must get its own."""
    ledger = Ledger("C", seen.report, BOUND)
    for number in (2, 3, 4):
        ledger.open(replace(CALL, attribute="fail", number=number))
    ledger.error(2, f"ValueError: {failure('C', 2)}")
    assert seen.problems == []
    ledger.error(3, f"ValueError: {failure('C', 2)}")
    ledger.result(4, RIGHT)
    assert seen.problems == ["wrong", "wrong"]


def test_reasons() -> None:
    """What a Manager may say when a link or a lock cannot be had; anything else is a problem."""
    unknown = "KeyError: \"the 'S' service does not exist, cannot link with C[here:1]\""
    assert link_reason(unknown, "S") == "unknown"
    assert link_reason(unknown, "T") == ""
    assert lock_reason("PermissionError: 'S' service is locked", "S") == "locked"
    assert lock_reason("PermissionError: 'S' service is locked", "T") == ""
    assert lock_reason(unknown, "S") == "unknown"
    assert reason("TypeError: no", "S") == link_reason("TypeError: no", "S") == lock_reason("TypeError: no", "S") == ""


@pytest.mark.parametrize("attribute", ["echo", "echo_async", "blow"])
def test_script(attribute: str) -> None:
    """Each call that is made up has an answer that it accepts, and that no other call does."""
    script = Script("C", ["Echo1", "Echo2"], Random(1))
    calls = [call for _ in range(500) for call in script.batch()]
    assert [call.number for call in calls] == list(range(1, len(calls) + 1))
    chosen = [call for call in calls if call.attribute == attribute and call.service != NOBODY]
    assert len(chosen) > 5
    for call, other in pairwise(chosen):
        made = answer(call.client, call.number, call.payload, attribute)
        assert call.mistake(["boot", 1, 1, *made]) == ""
        assert other.mistake(["boot", 1, 1, *made]) != ""


# Notifications


def sequence(seen: Seen, *, is_ordered: bool) -> Sequence:
    return Sequence("C", "Echo1", seen.report, is_ordered=is_ordered)


@pytest.mark.parametrize("is_ordered", [True, False])
def test_notifications(seen: Seen, is_ordered: bool) -> None:
    """Each comes once, in order, from whatever was first; another connection of the Service begins anew."""
    found = sequence(seen, is_ordered=is_ordered)
    for boot, number in [("a", 7), ("a", 8), ("a", 9), ("b", 1), ("b", 2)]:
        found.take("Echo1", boot, number)
    found.told(Told("b", 3, 2))
    assert seen.problems == []
    assert found.is_complete


@pytest.mark.parametrize(
    ("notifications", "problem"),
    [
        ([("Echo1", "a", 1), ("Echo1", "a", 3)], "lost notification"),
        ([("Echo1", "a", 1), ("Echo1", "a", 1)], "doubled notification"),
        ([("Echo1", "a", 2), ("Echo1", "a", 1)], "doubled notification"),
        ([("Echo1", "a", 1), ("Echo1", "b", 1), ("Echo1", "a", 2)], "doubled notification"),
        ([("Echo2", "a", 1)], "forged notification"),
        ([("Echo1", "forged", "1")], "forged notification"),
    ],
)
def test_spoiled_notifications(seen: Seen, notifications: list[tuple[str, str, Any]], problem: str) -> None:
    """One that is missing, comes twice or late, or is another's is a problem."""
    found = sequence(seen, is_ordered=False)
    for notification in notifications:
        found.take(*notification)
    assert seen.problems == [problem]


def test_last_notification_is_missing(seen: Seen) -> None:
    """A reply tells what must have come before it: at once where the order is known, else in the end."""
    ordered, other = sequence(seen, is_ordered=True), sequence(seen, is_ordered=False)
    for found in (ordered, other):
        found.take("Echo1", "a", 1)
        found.told(Told("a", 2, 2))
    assert seen.problems == ["lost notification"]
    assert not other.is_complete
    other.take("Echo1", "a", 2)
    assert other.is_complete


@pytest.mark.parametrize("is_ordered", [True, False])
def test_notifications_that_were_on_their_way(seen: Seen, is_ordered: bool) -> None:
    """The first reply may tell of some that come later, or that came before the link; none must be missing after it."""
    found = sequence(seen, is_ordered=is_ordered)
    found.told(Told("a", 5, 4))
    found.take("Echo1", "a", 5)
    assert seen.problems == []
    other = sequence(seen, is_ordered=is_ordered)
    other.told(Told("a", 5, 4))
    other.take("Echo1", "a", 7)
    assert seen.problems == ["lost notification"]


# A client that sees each line


@pytest.fixture
def wire_client(seen: Seen) -> WireClient:
    options = {"services": ["Echo1"], "bench": "Bench", "bound": BOUND}
    access = Access(port=1)
    part = Part(
        report=seen.report, orders=Orders(), random=Random(1), direct=access, through_proxy=access, options=options
    )
    client = WireClient(part, "C", is_direct=True, is_guessable=True)
    client.network_name = "C[here:1]"
    client.books.script.number = 1
    client.books.ledger.open(CALL)
    return client


REPLY = {"error": False, "requester": "C[here:1]", "result": RIGHT, "uid": "1"}


def test_large_calls(wire_client: WireClient) -> None:
    """A client does not have so many large calls under way that it would lose notifications."""
    books = wire_client.books
    books.linked("Echo1")
    for _ in range(1000):
        for call in books.batch():
            books.ledger.open(call)
    assert sum(call.is_large for call, _ in books.ledger.waiting.values()) == 4


def test_told_of_lost_notifications(seen: Seen, wire_client: WireClient) -> None:
    """A good client loses no notification, and so is never told that it did."""
    wire_client.books.linked("Echo1")
    line = {"error": False, "result": [["a", 1], {}], "service": "Echo1", "uid": "notification"}
    wire_client.take(line)
    assert seen.problems == []
    wire_client.take({**line, "result": [["a", 2], {}], "lost": 1})
    assert seen.problems == ["lost notification"]


def test_line_that_is_waited_for(seen: Seen, wire_client: WireClient) -> None:
    """A reply to a call of its own is no problem, a second one is."""
    wire_client.take(REPLY)
    assert seen.problems == []
    wire_client.take(REPLY)
    assert seen.problems == ["doubled"]


@pytest.mark.parametrize(
    "line",
    [
        {**REPLY, "requester": "D[here:2]"},
        {**REPLY, "uid": "2"},
        {**REPLY, "uid": ""},
        {**REPLY, "uid": None},
        {"error": False, "result": [["a", 1], {}], "service": "Rogue", "uid": "notification"},
    ],
)
def test_line_that_nobody_waits_for(seen: Seen, wire_client: WireClient, line: dict[str, Any]) -> None:
    """A reply for another, a reply without a call, and a notification without a link are problems."""
    wire_client.take(line)
    assert seen.problems == ["foreign"]


def test_link_with_a_service_that_came_back(seen: Seen, wire_client: WireClient) -> None:
    """Only a connection that was there before the link and after it tells what the link must have got."""
    books = wire_client.books
    books.connected()

    def call(number: int, boot: str, count: int) -> None:
        seen.now += 1
        books.script.number = number
        books.ledger.open(replace(CALL, number=number))
        books.result(number, [boot, count, count, *answer("C", number, "text", "echo")])

    call(2, "a", 5)
    books.linked("Echo1")
    call(3, "b", 9)
    assert books.links == {}
    link = books.linked("Echo1")
    call(4, "b", 9)
    books.notified(link, "Echo1", ["b", 10])
    assert seen.problems == []
    call(5, "b", 11)
    assert seen.problems == ["lost notification"]


def test_settling(seen: Seen, wire_client: WireClient) -> None:
    """A client has got through when each Service has answered three times since it was told to."""
    books: Books = wire_client.books
    books.result(1, RIGHT)
    for _ in range(3):
        (call,) = books.to_settle()
        books.ledger.open(call)
        books.result(call.number, ["boot", 3, 3, *answer("C", call.number, call.payload, "echo")])
    assert not books.has_settled
    assert books.to_settle() == []
    assert {"done": "C"} in seen.told


# Evidence


@pytest.mark.parametrize("kind", ["lost", "refused", "left", "unknown"])
def test_evidence(kind: str) -> None:
    """Who says that somebody has gone must say so soon after that."""
    evidence = Evidence()
    evidence.down("S", 100.0)
    evidence.up("S", 101.0)
    claims = {at: Claim(kind, "S", "C", at) for at in (99.0, 101.0 + BEFORE / 2, 102.0 + BEFORE, 99.0 - AFTER)}
    for claim in claims.values():
        evidence.claim(claim)
    evidence.claim(other := Claim(kind, "T", "C", 101.0))
    assert evidence.judge(1000.0) == [claims[102.0 + BEFORE], claims[99.0 - AFTER], other]


def test_evidence_of_who_stays_away() -> None:
    """Who is not there for long is unknown all the time; a call that ends because he left must end at once."""
    evidence = Evidence()
    evidence.down("S", 100.0)
    for kind in ("unknown", "refused", "left", "lost"):
        evidence.claim(Claim(kind, "S", "C", 500.0))
    assert [claim.kind for claim in evidence.judge(1000.0)] == ["left", "lost"]


def test_evidence_of_who_is_held_up() -> None:
    """A Service is busy only if it was held up."""
    evidence = Evidence()
    evidence.down("S", 100.0)
    evidence.claim(claim := Claim("busy", "S", "C", 101.0))
    assert evidence.judge(1000.0) == [claim]
    evidence.stall("S", 100.0)
    evidence.claim(claim)
    assert evidence.judge(1000.0) == []


def test_evidence_of_who_may_be_slow() -> None:
    """Who reaches the Manager through the proxy may be busy at any time; a database is locked when it was."""
    evidence = Evidence()
    evidence.is_slow("S")
    evidence.claim(Claim("busy", "S", "C", 100.0))
    evidence.claim(claim := Claim("database", "database", "C", 100.0))
    assert evidence.judge(1000.0) == [claim]
    evidence.stall("database", 99.0)
    evidence.claim(claim)
    assert evidence.judge(1000.0) == []


def test_evidence_is_waited_for() -> None:
    """A claim is judged when its reason must be known, or at the end."""
    evidence = Evidence()
    evidence.claim(claim := Claim("left", "S", "C", 100.0))
    assert evidence.judge(101.0) == []
    assert evidence.judge(float("inf")) == [claim]
    assert claim.words == "C was told that S had left, which it had not"


# How the Manager is

FRESH = State(
    process=1,
    clients=0,
    services=0,
    tasks=4,
    threads=2,
    descriptors=11,
    objects={"Registry": 1},
    blocks=130_000,
    spare=1_000_000,
    memory=37_000_000,
)


def test_quiet() -> None:
    """A Manager that is as it was is quiet."""
    assert is_quiet(FRESH, FRESH)
    assert compare(FRESH, FRESH, FRESH) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clients": 1}, "there are 1 Clients; 0 are allowed"),
        ({"services": 1}, "there are 1 Services; 0 are allowed"),
        ({"tasks": 5}, "there are 5 tasks; 4 are allowed"),
        ({"descriptors": 13}, "there are 13 descriptors; 12 are allowed"),
        ({"objects": {"Registry": 1, "Peer": 3}}, "there are 3 objects of Peer, there were 0"),
    ],
)
def test_not_quiet(changes: dict[str, Any], text: str) -> None:
    """Whatever stays is waited for, and then a problem."""
    state = replace(FRESH, **changes)
    assert not is_quiet(state, FRESH)
    (problem,) = compare(state, FRESH, None)
    assert problem.endswith(text)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"threads": 100}, "threads"),
        ({"blocks": FRESH.blocks + MORE_BLOCKS + 1}, "pieces of memory"),
        ({"memory": FRESH.memory + MORE_MEMORY + 1}, "bytes of memory"),
    ],
)
def test_more_memory(changes: dict[str, Any], word: str) -> None:
    """More memory than the first time it was quiet, or more threads than there may be, is a problem."""
    (problem,) = compare(replace(FRESH, **changes), FRESH, FRESH)
    assert word in problem


# The tally


def test_tally() -> None:
    """What is told is counted, timed, and listed; a message that nobody knows is a problem of its own."""
    now = [100.0]
    shown: list[str] = []
    tally = Tally(lambda: now[0], shown.append)
    for message in (
        {"counts": {"calls": 2, "fault: x": 1}},
        {"counts": {"calls": 3}},
        {"took": "to start", "seconds": 2.0},
        {"took": "to start", "seconds": 4.0},
        {"done": "C"},
        {"problem": "wrong", "text": "so it is", "at": 101.5},
        {"what": "ever"},
        {"claim": "left", "subject": "S", "client": "C", "at": 100.0},
        {"claim": "left", "subject": "T", "client": "C", "at": 100.0},
        {"event": "down", "subject": "S", "at": 100.0},
        {"event": "up", "subject": "S", "at": 100.5},
    ):
        tally.take(message)
    now[0] = 200.0
    tally.judge()
    assert tally.counts["calls"] == 5
    assert tally.done == {"C"}
    assert [kind for kind, _ in tally.problems] == ["wrong", "tool", "without reason"]
    assert shown[0] == "PROBLEM, wrong, at 1.5 s: so it is"
    assert "5 calls, 0 replies, 0 notifications, 1 faults, 3 problems" in tally.progress()
    assert re.search(r"^ +2  times to start: median 3.00 s, at most 4.00 s$", tally.summary(), re.MULTILINE)
    assert "1 PROBLEMS, wrong:\n  1.5 s: so it is" in tally.summary()


def test_many_problems() -> None:
    """Of many problems of a kind the first are shown, and all are counted."""
    shown: list[str] = []
    tally = Tally(lambda: 0.0, shown.append)
    for _ in range(10 * SHOWN):
        tally.problem("wrong", "once more")
    assert len(shown) == SHOWN
    assert tally.summary().count("once more") == SHOWN
    assert f"{10 * SHOWN} PROBLEMS, wrong:" in tally.summary()


@pytest.mark.parametrize("line", ["[ERROR] no", "[CRITICAL] no", "    | Traceback (most recent call last):"])
def test_log(line: str) -> None:
    """An error in the log of the Manager is a problem; a warning is counted."""
    tally = Tally(lambda: 0.0, list[str]().append)
    tally.read_log(["[INFO ] yes", "[WARNING] perhaps"])
    assert (tally.problems, tally.counts) == ([], {"warnings in the Manager's log": 1})
    tally.read_log([line])
    assert [kind for kind, _ in tally.problems] == ["log"]


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("[WARNING] msl_network - wire.3-1[here:1] does not keep up", 1),
        ("[WARNING] msl_network - Echo1[here:1] sent a reply that nobody waits for", 1),
        ("[WARNING] msl_network - Rogue1[here:1] sent a reply to 'wire.3-1[here:2]'", 0),
        ("[INFO ] msl_network - wire.3-1[here:1] disconnected", 0),
        ("[ERROR] msl_network - connection records cannot be written, trying again: the database is locked", 0),
    ],
)
def test_log_about_good_ones(line: str, number: int) -> None:
    """A warning about who has done nothing wrong is a problem, and a locked database is none."""
    tally = Tally(lambda: 0.0, list[str]().append)
    tally.read_log([line])
    assert len(tally.problems) == number


# The parts


def test_counts_are_told_once(seen: Seen) -> None:
    """What was counted is told when asked for, and not again."""
    seen.report.count("calls")
    seen.report.count("calls", 2)
    seen.report.flush()
    seen.report.flush()
    assert seen.told == [{"counts": {"calls": 3}}]


def test_failure_of_a_thread(seen: Seen) -> None:
    """A part of the tool that fails does not let a run look clean, and the others go on."""
    part = Part(
        report=seen.report,
        orders=Orders(),
        random=Random(1),
        direct=Access(port=1),
        through_proxy=Access(port=2),
        options={},
    )
    other = threading.Event()

    def fail() -> None:
        raise RuntimeError("of ours")

    in_threads(part, {"one": fail, "other": other.set})
    assert seen.problems == ["tool"]
    assert other.is_set()


@pytest.mark.parametrize("seconds", [2.0, 10.0, 60.0, 900.0])
def test_stretches(seconds: float) -> None:
    """All time is used, none of it too long without quiet; first and last, the Manager is not ended."""
    parts = stretches(seconds)
    assert sum(length for length, _ in parts) == pytest.approx(seconds)
    assert max(length for length, _ in parts) <= 1.5 * STRETCH
    assert parts[0][1] is False
    assert any(is_at_risk for _, is_at_risk in parts) is (seconds > 5)


@pytest.mark.parametrize("result", [None, 1, [], ["boot", 1, 1], ["boot", "1", 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
def test_told(result: object) -> None:
    """What is no answer of a good Service tells nothing."""
    assert told(result) is None
    assert told(RIGHT) == Told("boot", 3, 3)


# Runs


COMMAND = [sys.executable, chaos.__file__, "--seed", "1", "--rogues", "3", "--clients", "4", "--services", "2"]


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.run([*COMMAND, *words], env=env, capture_output=True, text=True, check=False)


@only_linux
def test_run(tmp_path: Path) -> None:
    """A short run with a Manager that is as it should be finds nothing, and leaves neither files nor processes."""
    path = tmp_path / "chaos.json"
    result = run(tmp_path, "--seconds", "6", "--old", "1", "--json", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    data = json.loads(path.read_text())
    assert data["problems"] == []
    assert data["options"]["seed"] == 1
    assert data["counts"]["replies"] > 50
    assert data["counts"]["notifications"] > 50
    assert sum(number for what, number in data["counts"].items() if what.startswith("fault: ")) > 10
    assert list(tmp_path.iterdir()) == [path]
    assert processes_of(tmp_path) == []


@only_linux
@pytest.mark.parametrize(
    ("saboteur", "problem"),
    [
        ("Doubling", "doubled"),
    ],
)
def test_run_with_broken_manager(tmp_path: Path, saboteur: str, problem: str) -> None:
    """A Manager that doubles every other reply is found out."""
    plugin = f"{Path(__file__).with_name('saboteurs.py')}:{saboteur}"
    path = tmp_path / "chaos.json"
    result = run(tmp_path, "--seconds", "4", "--bound", "5", "--plugin", plugin, "--json", str(path))
    assert result.returncode == 1, result.stdout + result.stderr
    assert problem in {kind for kind, _ in json.loads(path.read_text())["problems"]}
    assert re.search(r"^\d+ problems in \d+ s; seed 1, logs in ", result.stdout, re.MULTILINE)
    (folder,) = tmp_path.glob("chaos-*")
    assert (folder / "manager.log").exists()
    assert processes_of(tmp_path) == []


@only_linux
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_end_of_run(tmp_path: Path, number: int, status: int) -> None:
    """A run that is told to end takes its processes with it, even if it has no time to."""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*COMMAND, "--seconds", "60"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r" +\d+ s: \d+ calls", line):
                others = [os.pidfd_open(other) for other in processes_of(tmp_path)]
                process.send_signal(number)
    assert process.returncode == status
    assert len(others) > 5
    for other in others:
        assert select.select([other], [], [], 60) == ([other], [], [])
        os.close(other)


@only_linux
def test_manager_that_does_not_start(tmp_path: Path) -> None:
    """A Manager that does not start is a problem that is told, with the rest of what is known."""
    plugin = tmp_path / "late.py"
    plugin.write_text(
        "from msl_network import StartError, hookimpl\n\n\n"
        "class Late:\n"
        "    @hookimpl\n"
        "    async def started(self, manager):\n"
        "        raise StartError('too late')\n"
    )
    result = run(tmp_path, "--seconds", "4", "--plugin", f"{plugin}:Late")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "the Manager ended with status 1 instead of starting" in result.stdout
    assert result.stderr == ""


def processes_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder, or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    return found
