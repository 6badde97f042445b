from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # benchmarks are not installed

from benchmarks.processes import BenchmarkError, end, free_port
from benchmarks.wire import __main__ as wire
from benchmarks.wire import build, measure, noise, startup
from benchmarks.wire.measure import Target, figure, read
from benchmarks.wire.scenarios import GROUPS, SCENARIOS, expand

if TYPE_CHECKING:
    from collections.abc import Iterator

only_here = pytest.mark.skipif(
    sys.platform != "linux" or build.compiler() is None, reason="the generator needs Linux and a C compiler"
)
SHORT = ("--seconds", "0.1", "--warm-up", "0.02")


@pytest.fixture(scope="module")
def relay() -> Iterator[Target]:
    """The relay in C, running."""
    port = free_port()
    with subprocess.Popen([str(build.program("relay")), str(port)], text=True) as process:
        try:
            startup.connected(process, port).close()
            yield Target(port=port, process=process.pid)
        finally:
            end(process)


# What the generator says


def test_read() -> None:
    """The last line is the result; lines before it are for who waits for them."""
    assert read("latency", 'undisturbed\n{"rps": 5}\n', "") == {"rps": 5}


@pytest.mark.parametrize(
    ("stdout", "message"),
    [
        ('{"fail": "no reply"}\n', "latency: no reply"),
        ("", r"latency: the generator said '' 'Killed'"),
        ("half a li", r"latency: the generator said 'half a li' 'Killed'"),
    ],
)
def test_read_what_is_no_result(stdout: str, message: str) -> None:
    """What is no result is an error that says what there was."""
    with pytest.raises(BenchmarkError, match=message):
        read("latency", stdout, "Killed")


def test_figure() -> None:
    """A point leads into an object; what is not there is None."""
    result = {"rps": 5, "lat_us": {"p50": 1.5}}
    assert [figure(result, name) for name in ("rps", "lat_us.p50", "lat_us.p51", "MBps", "rps.p50")] == [
        *(5.0, 1.5),
        *(None, None, None),
    ]


def test_expand() -> None:
    """A group stands for its scenarios, and what is unknown is refused with what there is."""
    assert expand(["latency", "scale"]) == ["latency", *GROUPS["scale"]]
    assert expand(["all"]) == list(SCENARIOS)
    with pytest.raises(ValueError, match="no scenario 'latncy'; there are latency, pipelined"):
        expand(["latncy"])


# Noise


def test_the_quietest_measurement_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disturbed measurement is repeated; if all are disturbed, the one that was least is taken, and said to be so."""
    foreign = [0.5, 0.3, 0.4, 0.9, 0.01, 0.0]
    monkeypatch.setattr(measure, "wait_for_quiet", lambda *_: None)
    monkeypatch.setattr(measure, "measure_once", lambda *_: {"foreign": foreign.pop(0), "steal": 0.0})
    disturbed = measure.measure("latency", Target(port=1), tries=3)
    assert (disturbed["noise"], disturbed["noisy"]) == (0.3, True)
    quiet = measure.measure("latency", Target(port=1), tries=3)
    assert (quiet["noise"], quiet["noisy"]) == (0.01, False)
    assert foreign == [0.0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_busy() -> None:
    """A core is busy for some time, all together for longer; one that is not there is not."""
    assert 0 < noise.busy(min(os.sched_getaffinity(0))) <= noise.busy(None)
    assert noise.busy(10_000) == 0


# Runs


@only_here
def test_relay(relay: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """The generator measures the relay, without an error, in each scenario that the relay can do."""
    names = [
        "latency",
        "pipelined",
        "pipelined8",
        "bulk1",
        "floats1",
        "notify",
        "connect",
        "connect16",
        "idle",
        "scale",
    ]
    words = ["--port", str(relay.port), "--process", str(relay.process), "--json", "--idle", "50", *SHORT]
    assert wire.main([*words, *names]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["scenario"] for result in results] == expand(names)
    for result in results:
        assert [result[count] for count in ("errors", "bad", "closed")] == [0, 0, 0]
        shown = SCENARIOS[result["scenario"]].figures
        assert all(figure(result, name) is not None for name in shown)
        assert figure(result, shown[0]) or result["scenario"] == "idle"


@only_here
def test_services(relay: Target) -> None:
    """The Clients are spread over several Services."""
    result = measure.measure(
        "latency", relay, {"clients": 30, "services": 20, "seconds": 0.1, "warm_up": 0.02, "payload": 100}
    )
    assert (result["services"], result["errors"], result["bad"]) == (20, 0, 0)
    assert result["n"] > 100


@only_here
def test_connect_per_second(relay: Target) -> None:
    """So many connections begin in each second, not as many as there can be."""
    result = measure.measure("connect16", relay, {"seconds": 0.2, "per_second": 50})
    assert 10 <= result["n"] <= 12


@only_here
def test_beside(relay: Target) -> None:
    """Two Clients are measured until the word comes, and then until the next one; the end of the input is one, too."""
    command = measure.command("beside", relay, {"window": 8, "seconds": 0.1, "warm_up": 0.02})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "undisturbed\n"
        process.stdin.write("\n")
        process.stdin.close()
        result: dict[str, Any] = json.loads(process.stdout.readline())
    for side in ("sequential", "pipelined"):
        assert result[side].keys() >= {"before_rps", "during_rps", "ratio", "gap_before_ms", "gap_during_ms"}
        assert result[side]["before_us"]["n"] > 10


@only_here
def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what is wrong, and the status says so, too."""
    assert wire.main(["--port", str(free_port()), "latency"]) == 1
    assert "latency: connection lost in set-up (connect: Connection refused)" in capsys.readouterr().err


@only_here
def test_our_manager(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of our Manager is timed, and it has ended afterwards."""
    monkeypatch.setenv("MSL_NETWORK_HOME", str(tmp_path))
    port = str(free_port())
    manager = [sys.executable, "-m", "msl_network", "start", "--host", "127.0.0.1", "--port", port]
    assert wire.main(["--port", port, "--tls", "startup", "--", *manager]) == 0
    assert capsys.readouterr().out.startswith("startup      accept_ms=")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def test_startup_of_what_ends() -> None:
    """A command that ends is no Manager."""
    with pytest.raises(BenchmarkError, match="startup: the Manager ended with status 3"):
        startup.startup([sys.executable, "-c", "raise SystemExit(3)"], free_port())


@pytest.mark.parametrize(
    ("words", "message"), [(["latncy"], "no scenario 'latncy'"), (["startup"], "startup needs the command")]
)
def test_command_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be is said in one line."""
    with pytest.raises(SystemExit):
        wire.main(words)
    assert message in capsys.readouterr().err


# The programs


@only_here
def test_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is built once, and again when its source has changed."""
    source = tmp_path / "source"
    shutil.copytree(build.SOURCE, source)
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setattr(build, "user_cache_path", tmp_path.joinpath)
    first = build.program("relay")
    assert first.exists()
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert build.program("relay") == first
    (source / "relay.c").write_text("int main() { return 0 }\n")
    with pytest.raises(BenchmarkError, match=r"no C compiler to build the relay with \(on Debian: apt install"):
        build.program("relay")
    monkeypatch.undo()
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setattr(build, "user_cache_path", tmp_path.joinpath)
    with pytest.raises(BenchmarkError, match=r"the relay cannot be built with .*:\n.*\n?.*error"):
        build.program("relay")


@only_here
def test_without_openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the headers of OpenSSL the generator is built all the same, and says so when it is to use TLS."""
    monkeypatch.setitem(build.TRIALS, "generator", (["-lno-such-library"], ["-DNO_TLS"]))
    monkeypatch.setattr(build, "user_cache_path", tmp_path.joinpath)
    with pytest.raises(BenchmarkError, match="built without TLS: the headers of OpenSSL were missing"):
        measure.measure("latency", Target(port=1, tls=True))
