"""The fuzz targets over their corpora, and what looks for more of them: see tests/fuzz/__init__.py."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from importlib import util
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .fuzz import harness

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = [(name, path) for name in harness.NAMES for path in harness.corpus(name)]

ENGINES = [["--unguided"], *([[]] if util.find_spec("atheris") else [])]

ODD = '''
def check(data: bytes) -> None:
    """Something is wrong with what has an x in it."""
    assert b"x" not in data, data
'''


TEXT = st.text(st.characters(exclude_categories=[]), max_size=5)
ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    math.nan,
    1e400,
    2**64,
    "",
    "\ud800",
    "notification",
    [],
    {},
    [[], {}],
]
VALUES = st.sampled_from([*ODD_VALUES, "S", "A[h:1]", "7", [[1], {"self": 1}], ["line"]]) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=4,
)
KEYS = ["args", "attribute", "error", "kwargs", "message", "requester", "result", "service", "traceback", "uid"]
MESSAGES = st.dictionaries(st.sampled_from(KEYS) | TEXT, VALUES)

UIDS = st.sampled_from(["1", "2", 1, None])
NAMES = st.sampled_from(["S", "T"])
LINES: st.SearchStrategy[Any] = (
    st.fixed_dictionaries({"service": NAMES, "attribute": st.just("x"), "uid": UIDS})
    | st.fixed_dictionaries(
        {
            "service": st.just("Manager"),
            "attribute": st.sampled_from(["link", "link", "unlink", "acquire_lock", "release_lock", "identity"]),
            "args": st.tuples(NAMES) | st.just([]),
            "kwargs": st.sampled_from([{}, {"shared": True}]),
            "uid": UIDS,
        }
    )
    | st.fixed_dictionaries(
        {
            "requester": st.sampled_from(["A[h:1]", "B[h:2]"]),
            "uid": UIDS,
            "result": VALUES,
            "error": st.booleans(),
        },
        optional={"message": VALUES, "traceback": VALUES},
    )
    | st.fixed_dictionaries(
        {
            "service": NAMES,
            "uid": st.just("notification"),
            "result": st.just([[1], {}]) | VALUES,
            "error": st.just(False),
        }
    )
    | st.just({"attribute": "__disconnect__"})
    | MESSAGES
)
"""What peers say to each other, and now and then something else."""


def spell(value: object, is_ascii: bool) -> bytes:
    return json.dumps(value, ensure_ascii=is_ascii).encode(errors="surrogatepass")


@pytest.mark.parametrize(("name", "path"), KNOWN, ids=[f"{name}-{path.name}" for name, path in KNOWN])
def test_the_corpus(name: str, path: Path) -> None:
    """Nothing that was ever found, nor what new inputs are made of, does harm."""
    harness.attempt(harness.target(name), path.read_bytes())


@pytest.mark.parametrize("name", harness.NAMES)
def test_a_corpus(name: str) -> None:
    """Each target starts from something, in files that are small enough to read."""
    assert harness.target(name).__doc__
    sizes = [path.stat().st_size for path in harness.corpus(name)]
    assert 10 <= len(sizes) <= 100
    assert max(sizes) <= harness.LONGEST


REQUEST = b'{"service":"S","attribute":"x","args":['
REPLY = b'{"error":false,"requester":"A","uid":"7","result":'
SETTING = b"[plugins.x]\ny = "


@pytest.mark.no_cover  # which takes ten times as long; others run the same lines
@pytest.mark.parametrize(
    ("name", "opening"),
    [
        *((name, b"") for name in harness.NAMES),
        ("request", REQUEST),
        ("long", REQUEST),
        ("reply", REPLY),
        ("config", SETTING),
    ],
)
def test_what_is_long(name: str, opening: bytes) -> None:
    """No word of the protocols, repeated as often as a stranger may, takes longer than its length explains."""
    check = harness.target(name)
    for token in harness.TOKENS:
        for closing in (b"", b"]" * 500 + b"}\n"):
            room = 32 * 1024 - len(opening + closing)
            harness.attempt(check, opening + (token * room)[:room] + closing)


@pytest.mark.parametrize("name", ["answer", "reply", "request"])
@given(value=MESSAGES | VALUES, is_ascii=st.booleans())
def test_any_message(name: str, value: object, is_ascii: bool) -> None:
    """Any JSON keeps the promises of the targets, whatever its keys hold."""
    harness.attempt(harness.target(name), spell(value, is_ascii))


@given(
    st.lists(
        st.tuples(st.sampled_from("abSTaabbSSTT"), st.lists(LINES, min_size=1, max_size=4), st.booleans())
        | st.sampled_from(["A", "B", "s", "t", "?a", "?b", "<a", "<b", "<S", ">a", ">b", ">S", "."]),
        max_size=30,
    )
)
@settings(max_examples=200)
def test_any_conversation(steps: list[Any]) -> None:
    """Whatever is said in any order, nobody hears what is not for it, and every call ends."""
    spelled = [
        step.encode()
        if isinstance(step, str)
        else step[0].encode() + b"".join(spell(line, step[2]) + b"\r\n" for line in step[1])
        for step in steps
    ]
    harness.attempt(harness.target("peer"), b"\xff".join(spelled))


def test_an_input_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding, too."""
    monkeypatch.setattr(harness, "SECONDS", 0)
    with pytest.raises(harness.TooSlowError, match="4 bytes took"):
        harness.attempt(lambda data: sum(range(100_000)), b"slow")


@pytest.mark.parametrize("engine", ENGINES, ids=" ".join)
def test_a_finding(engine: list[str], tmp_path: Path) -> None:
    """It ends the search with status 1, and is kept where it can be tried again; a target without one ends with 0."""
    shutil.copytree(harness.HERE, tmp_path / "tests" / "fuzz", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "fuzz" / "targets" / "odd.py").write_text(ODD)
    (tmp_path / "tests" / "fuzz" / "corpus" / "odd").mkdir()

    def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.fuzz", *options]
        return subprocess.run(
            command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    well = fuzz("wire", "--seconds", "1", *engine)
    assert (well.returncode, well.stderr) == (0, "")
    assert well.stdout.splitlines()[-1].split()[0] == "wire"
    assert int(well.stdout.splitlines()[-1].split()[1]) >= len(harness.corpus("wire"))
    assert well.stdout.endswith("nothing\n")
    ill = fuzz("odd", "wire", "--seconds", "6", *engine)
    assert (ill.returncode, ill.stderr) == (1, "")
    (found,) = (tmp_path / ".fuzz" / "findings" / "odd").iterdir()
    assert f"python -m tests.fuzz odd --input {found}\n" in ill.stdout
    assert f"which is {found.read_bytes()!r}\n" in ill.stdout
    again = fuzz("odd", "--input", str(found))
    assert again.returncode == 1
    assert "AssertionError" in again.stderr
    assert fuzz("wire", "--input", str(found)).returncode == 0


def test_a_target_that_does_not_exist() -> None:
    """It is refused with the names of those that do."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "wier"],
        cwd=harness.HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no target wier; there are: answer, config, " in done.stderr
