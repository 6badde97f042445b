from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks.count import __main__ as command
from benchmarks.count import watch
from benchmarks.count.driver import SCENARIOS, DriverError, Peers
from benchmarks.count.figures import compare, differences, key, load, store, table, versions
from benchmarks.count.profiling import (
    Function,
    Overhead,
    Overheads,
    c_functions,
    functions,
    measure_overheads,
    median,
    python_functions,
)
from benchmarks.count.readers import ReadError, read_callgrind, read_strace

MARGINS = {"sequential": 0.03, "connect": 0.1}

CALLGRIND = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

ob=(1) /usr/lib/libpython3.11.so.1.0
fl=(1) /src/ceval.c
fn=(1) _PyEval_EvalFrameDefault
10 100
+2 20
cfi=(2) /src/obmalloc.c
cfn=(2) _PyObject_Malloc
calls=3 50
* 60

fn=(2)
50 45
cob=(2) /lib/libc.so.6
cfn=(3) malloc@@GLIBC_2.2.5
calls=1 0
+1 15

ob=(2)
fn=(3)
0 15

fn=(4) sum'2
7 5
cfn=(1)
calls=2 10
-3 9

totals: 185
"""

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.001200           1      2000           sendto
 40.00    0.000800           0      1000         7 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.002000           0      3000         7 total
"""

NOTHING = Overheads(Overhead(0.0, 0.0), Overhead(0.0, 0.0))
POLL = ("~", 0, "<method 'poll' of 'select.epoll' objects>")
LOOP = ("/lib/python3/asyncio/base_events.py", 1, "_run_once")
WORK = ("/here/msl_network/router.py", 2, "from_client")
LENGTH = ("~", 0, "<built-in method builtins.len>")
STATS = {  # calls without recursion, calls, own seconds, seconds with callees, callers
    LOOP: (2, 2, 0.001, 1.006, {}),
    POLL: (2, 2, 1.0, 1.0, {LOOP: (2, 2, 1.0, 1.0)}),
    WORK: (2, 2, 0.004, 0.005, {LOOP: (2, 2, 0.004, 0.005)}),
    LENGTH: (6, 6, 0.001, 0.001, {WORK: (6, 6, 0.001, 0.001)}),
}


def test_what_costs_more_than_the_margin_is_more() -> None:
    """A figure is more or less only if it is so by more than the margin of its scenario."""
    stored = {"sequential": {"instructions": 1000.0}, "connect": {"instructions": 1000.0}}

    def verdicts(figure: float) -> list[str]:
        now = {scenario: {"instructions": figure} for scenario in stored}
        return [row.verdict for row in compare(now, stored, MARGINS)]

    assert verdicts(1029.0) == ["same", "same"]
    assert verdicts(1031.0) == ["more", "same"]
    assert verdicts(1101.0) == ["more", "more"]
    assert verdicts(969.0) == ["less", "same"]


def test_more_than_nothing_is_more() -> None:
    """A figure that was 0 may not grow at all."""
    [row] = compare({"connect": {"system calls": 0.1}}, {"connect": {"system calls": 0.0}}, MARGINS)

    assert row.verdict == "more"
    assert "MORE" in table([row])


def test_what_was_never_stored_is_new() -> None:
    """A figure that nothing is stored for is told, and is neither more nor less."""
    rows = compare({"connect": {"instructions": 5.0, "system calls": 2.0}}, {"connect": {"instructions": 5.0}}, MARGINS)

    assert [row.verdict for row in rows] == ["same", "new"]


def test_store_keeps_the_rest(tmp_path: Path) -> None:
    """Storing some figures leaves those of other scenarios, other Pythons, and what was not counted this time."""
    path = tmp_path / "figures.json"
    store(path, "3.11 here", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0}}, {"python": "3.11.1"})
    store(path, "3.12 here", {"a": {"x": 4.0}}, {"python": "3.12.1"})
    store(path, "3.11 here", {"a": {"x": 5.0}}, {"python": "3.11.2"})

    assert load(path, "3.11 here") == ({"a": {"x": 5.0, "y": 2.0}, "b": {"x": 3.0}}, {"python": "3.11.2"})
    assert load(path, "3.12 here") == ({"a": {"x": 4.0}}, {"python": "3.12.1"})
    assert load(path, "3.13 here") == ({}, {})


def test_other_versions_are_told() -> None:
    """It is said which versions are others than when the figures were stored, and what they were."""
    assert differences({"python": "3.11.1", "anyio": "4.12"}, {"python": "3.11.2", "anyio": "4.12"}) == [
        "python 3.11.2 in place of 3.11.1"
    ]
    assert differences(versions(), versions()) == []


def test_the_stored_figures_are_of_all_scenarios() -> None:
    """The file that comes with the project has figures of every scenario for each Python that it knows."""
    for figures in json.loads(command.STORED.read_text(encoding="utf-8")).values():
        assert {*figures} == {*SCENARIOS, "taken with"}


def test_callgrind_is_read() -> None:
    """Instructions belong to the function that executes them, calls to the one that is called."""
    found = read_callgrind(CALLGRIND.splitlines())

    assert found.instructions == 185
    assert found.own == {"_PyEval_EvalFrameDefault": 120, "_PyObject_Malloc": 45, "malloc": 15, "sum": 5}
    assert found.calls == {"_PyObject_Malloc": 3, "malloc": 1, "_PyEval_EvalFrameDefault": 2}
    assert found.allocations == 4


def test_a_python_without_symbols_counts_no_allocations() -> None:
    """Where the functions of CPython have no names, nobody takes what is left for all allocations."""
    found = read_callgrind(CALLGRIND.replace("_PyObject_Malloc", "0x00000000000d3a10").splitlines())

    assert found.allocations is None


@pytest.mark.parametrize("text", ["", "events: Ir\n", CALLGRIND.replace("events: Ir", "events: Ir Dr")])
def test_what_callgrind_did_not_finish_is_refused(text: str) -> None:
    """A file without the total, or with other events, is an error."""
    with pytest.raises(ReadError, match="how many instructions"):
        read_callgrind(text.splitlines())


def test_strace_is_read() -> None:
    """The table of strace is read with and without errors, and without its total."""
    assert read_strace(STRACE) == {"sendto": 2000, "recvfrom": 1000}


def test_strace_without_a_table_is_refused() -> None:
    """What is no table is an error, and not nothing."""
    with pytest.raises(ReadError, match="how many system calls"):
        read_strace("strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n")


def test_the_time_of_the_system_is_nobodys_work() -> None:
    """The time in which the Manager waits for a message counts neither for the loop nor for its callers."""
    found = {function.name: function for function in functions(STATS, 2, NOTHING)}

    assert found["asyncio/base_events.py:1 _run_once"].own == pytest.approx(500)
    assert found["asyncio/base_events.py:1 _run_once"].inclusive == pytest.approx(3000)
    assert found["method 'poll' of 'select.epoll' objects"].inclusive == 0
    assert found["method 'poll' of 'select.epoll' objects"].system == pytest.approx(500_000)
    assert found["msl_network/router.py:2 from_client"].inclusive == pytest.approx(2500)
    assert found["len"].calls == 3


def test_the_time_of_the_profiler_is_nobodys_work() -> None:
    """What the profiler adds to a call is taken from the function that is called, and from its caller."""
    found = {
        function.name: function
        for function in functions(STATS, 2, Overheads(Overhead(0.0001, 0.0002), Overhead(0.00005, 0.0003)))
    }

    assert found["len"].own == pytest.approx((1000 - 6 * 50) / 2)
    assert found["msl_network/router.py:2 from_client"].own == pytest.approx((4000 - 2 * 100 - 6 * 300) / 2)
    assert found["msl_network/router.py:2 from_client"].inclusive == pytest.approx(1000 + 350)
    assert found["asyncio/base_events.py:1 _run_once"].own == 0  # and never less


def test_what_the_profiler_adds_is_more_than_nothing() -> None:
    """A call takes longer with the profiler, unless somebody else had the processor while it was measured without."""

    def is_more(overheads: Overheads) -> bool:
        return all(each.inside + each.outside > 0 for each in (overheads.python, overheads.builtin))

    assert any(is_more(measure_overheads()) for _ in range(10))


def test_a_function_that_calls_itself_counts_once() -> None:
    """Recursion does not make a function cost more than everything."""
    stats = {WORK: (2, 6, 0.004, 0.004, {WORK: (4, 0, 0.002, 0.002), LOOP: (2, 2, 0.002, 0.004)})}
    [found] = functions(stats, 2, NOTHING)

    assert found.own == pytest.approx(2000)
    assert found.inclusive == found.own


def test_one_profile_of_several_may_be_spoilt() -> None:
    """Of several profiles the median counts, for each function."""
    profiles = [[Function("f", 1.0, own, 2 * own)] for own in (3.0, 90.0, 4.0)]

    assert median(profiles) == [Function("f", 1.0, 4.0, 8.0)]


def test_profiles_begin_with_what_costs_most() -> None:
    """The functions are sorted by what they cost themselves, or by all, and only the first are told."""
    found = functions(STATS, 2, NOTHING)
    c = c_functions(read_callgrind(CALLGRIND.splitlines()), 2, 1)

    assert python_functions(found, "own", 1).splitlines()[2].split() == [
        *("1.00", "2000.00", "66.7%", "83.3%"),
        *("msl_network/router.py:2", "from_client"),
    ]
    assert python_functions(found, "inclusive", 1).splitlines()[2].endswith("  asyncio/base_events.py:1 _run_once")
    assert python_functions(found, "own", 1).splitlines()[-1].split()[:2] == ["1.00", "500000.00"]
    assert c.splitlines()[-1].split() == ["1.00", "60", "64.9%", "_PyEval_EvalFrameDefault"]


def test_a_scenario_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong word on the command line is answered with the right ones."""
    with pytest.raises(SystemExit) as ended:
        command.main(["sequentiel"])

    assert ended.value.code == 2
    assert "there is no scenario 'sequentiel'; there are sequential, pipelined" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="the profiler is started by a signal")
def test_without_valgrind_and_strace_calls_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without tools it says what to install, counts the calls of Python, and finds what costs more than it did."""
    monkeypatch.setenv("PATH", str(tmp_path))
    stored = str(tmp_path / "figures.json")
    words = ["pipelined", "--figures", stored]

    assert command.main(words) == 0
    out, err = capsys.readouterr()
    assert "there is no valgrind, so instructions and allocations are not counted; install valgrind" in err
    assert "there is no strace" in err
    assert f"nothing is stored for Python {key()}" in out

    calls = float(next(text for text in out.splitlines() if "Python calls" in text).split()[-2])
    store(Path(stored), key(), {"pipelined": {"Python calls": calls / 2}}, versions())
    assert command.main(words) == 1
    assert "MORE" in capsys.readouterr().out


def test_a_manager_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    """The peers do not count what is not the answer to what they asked."""
    with watch.under_nothing(tmp_path, tls=False) as port, Peers(port, tls=False, clients=1) as peers:
        peers.clients[0].send(b"{}\r\n")
        with pytest.raises(DriverError, match=r"came in place of 1|answered with"):  # the error comes first
            peers.call("text")


def test_the_key_names_python_and_machine() -> None:
    """Figures are stored by what they depend on."""
    assert key() == f"{sys.version_info.major}.{sys.version_info.minor} {platform.machine()}"
