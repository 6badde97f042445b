"""The example Services: as those of 1.0, started from the command line."""

from __future__ import annotations

import inspect
import queue
import re
import subprocess
import sys
import time

import pytest
from msl.examples import network as theirs

from msl_network import examples
from msl_network.examples.__main__ import main

from .laboratory import DEADLINE, Laboratory

OLD = {"Echo": theirs.Echo, "BasicMath": theirs.BasicMath, "MyArray": theirs.MyArray, "Heartbeat": theirs.Heartbeat}


def test_same_names() -> None:
    """There are the Services of 1.0 under the same names."""
    assert set(examples.__all__) == set(OLD)


@pytest.mark.parametrize("name", examples.__all__)
def test_same_attributes(name: str) -> None:
    """A Service has the attributes of that of 1.0, and its methods the same parameters."""
    own = vars(getattr(examples, name))
    for attribute, value in vars(OLD[name]).items():
        if attribute.startswith("_"):
            continue
        assert attribute in own
        if callable(getattr(OLD[name], attribute)):
            expected = list(inspect.signature(getattr(OLD[name], attribute)).parameters)
            assert list(inspect.signature(getattr(getattr(examples, name), attribute)).parameters) == expected
        elif not isinstance(value, property):
            assert own[attribute] == value


@pytest.mark.parametrize(
    ("method", "args", "seconds", "result"),
    [
        ("add", (1, 2), 1, 3),
        ("subtract", (1, 2), 2, -1),
        ("multiply", (1, 2), 3, 2),
        ("divide", (1, 2), 4, 0.5),
        ("ensure_positive", (1,), 5, True),
        ("power", (2, 4), 6, 16),
    ],
)
def test_basic_math(
    monkeypatch: pytest.MonkeyPatch, method: str, args: tuple[int, ...], seconds: int, result: object
) -> None:
    """Each method calculates, and takes as long as in 1.0."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert getattr(examples.BasicMath(), method)(*args) == result
    assert slept == [seconds]


def test_not_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative value is an error."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(ValueError, match="The value is < 0"):
        examples.BasicMath().ensure_positive(-1)


def test_my_array() -> None:
    """Arrays are as those of 1.0, also for the numbers that LabVIEW sends."""
    assert examples.MyArray.linspace(0, 1, 5) == theirs.MyArray.linspace(0, 1, 5) == [0, 0.25, 0.5, 0.75, 1]
    assert examples.MyArray.linspace(2, 3, 1) == [2]  # in 1.0 a division by zero
    assert len(examples.MyArray.linspace(0, 1)) == 100
    assert examples.MyArray.linspace(0, 1, 3.0) == [0, 0.5, 1]  # type: ignore[arg-type]
    assert examples.MyArray.scalar_multiply(2, [1, 2.5]) == [2, 5.0]


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_heart_rate(rate: float) -> None:
    """A heart rate is positive."""
    with pytest.raises(ValueError, match="must be positive"):
        examples.Heartbeat().set_heart_rate(rate)


def test_heartbeat() -> None:
    """A heart beats, can be reset, and dies."""
    service = examples.Heartbeat()
    service.set_heart_rate(1000)
    service.add_tasks(service.emit())
    with Laboratory() as laboratory:
        running = laboratory.start(service)
        link = laboratory.client().link("Heartbeat")
        beats: queue.Queue[int] = queue.Queue()
        link.notification_handler = beats.put  # type: ignore[method-assign]
        first = beats.get(timeout=DEADLINE)
        assert [beats.get(timeout=DEADLINE) for _ in range(3)] == [first + 1, first + 2, first + 3]
        link.reset()
        while beats.get(timeout=DEADLINE) != 0:
            pass
        link.kill()
    running.result()


def test_program() -> None:
    """`python -m msl_network.examples` says in one line what is wrong, and has an exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "msl_network.examples", "Echo", "--port", "1", "--disable-tls"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert re.match(r"localhost:1: .*\n\Z", done.stderr)


def test_unknown_service(capsys: pytest.CaptureFixture[str]) -> None:
    """An example that is not there is named together with those that are."""
    with pytest.raises(SystemExit) as info:
        main(["Ecco"])
    assert info.value.code == 2
    assert "'BasicMath', 'Echo', 'Heartbeat', 'MyArray'" in capsys.readouterr().err
