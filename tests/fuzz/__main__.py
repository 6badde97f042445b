"""The command line: runs targets, says how often and how far, and what was found."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final

from . import harness

GRACE: Final = 60
"""How long a run may take beyond its time, in seconds, before it counts as one that never ends."""

MEMORY: Final = 1024
"""How much memory a run may use, in MiB."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one target."""

    name: str
    status: int
    text: str
    found: tuple[Path, ...]

    def number(self, pattern: str) -> str:
        """Return the last number that the text gives for something."""
        numbers = re.findall(rf"{pattern}:\s*(\d+)", self.text)
        return str(numbers[-1]) if numbers else "-"


def dictionary(folder: Path) -> Path:
    """Write the words for libFuzzer; return the file."""
    words = ["".join(f"\\x{byte:02x}" for byte in word) for word in harness.TOKENS]
    path = folder / "words"
    path.write_text("".join(f'"{word}"\n' for word in words))
    return path


def run(name: str, seconds: float, folder: Path, words: Path | None) -> Outcome:
    """Run one target in a process of its own: guided if there are words for libFuzzer."""
    grown, findings = folder / "corpus" / name, folder / "findings" / name
    for each in (grown, findings):
        each.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    if words is not None:
        command = [
            *("guided", name, f"-max_total_time={max(1, round(seconds))}", f"-timeout={harness.SECONDS}"),
            *(
                f"-rss_limit_mb={MEMORY}",
                f"-max_len={harness.LONGEST}",
                f"-dict={words}",
                f"-artifact_prefix={findings}/",
            ),
            *("-print_final_stats=1", str(grown), str(harness.HERE / "corpus" / name)),
        ]
    else:
        command = ["unguided", name, str(seconds), str(findings)]
    package, *rest = f"{__package__}.{command[0]}", *command[1:]
    try:
        done = subprocess.run(
            [sys.executable, "-m", package, *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + GRACE,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        status, output = 1, late.output or b""
    else:
        status, output = done.returncode, done.stdout
    text = output.decode(errors="replace")
    (folder / f"{name}.log").write_text(text, encoding="utf-8")
    return Outcome(name=name, status=status, text=text, found=tuple(sorted(set(findings.iterdir()) - before)))


def report(outcome: Outcome) -> None:
    """Print one line, and what to do if something was found."""
    tried, coverage = outcome.number("number_of_executed_units"), outcome.number("cov")
    verdict = "nothing" if not outcome.status else "FOUND" if outcome.found else f"FAILED, status {outcome.status}"
    print(f"{outcome.name:10} {tried:>10} {coverage:>10}   {verdict}", flush=True)
    if outcome.status:
        print("\n".join(outcome.text.splitlines()[-60:]))
        for path in outcome.found:
            print(f"reproduce with: python -m tests.fuzz {outcome.name} --input {path}")
            print(f"which is {path.read_bytes()!r}")


def main() -> int:
    """Run what the command line asks for; return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Look for inputs that do harm.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(harness.NAMES)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="how many targets run at a time (default: 1)")
    parser.add_argument(
        "--folder", type=Path, default=Path(".fuzz"), help="for what is found, and learned (default: .fuzz)"
    )
    parser.add_argument("--unguided", action="store_true", help="use hypothesis although there is atheris")
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="only try this input with the target, without either"
    )
    options = parser.parse_args()
    names = options.targets or harness.NAMES
    if unknown := set(names) - set(harness.NAMES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are: {', '.join(harness.NAMES)}")
    if options.input is not None:
        for name in names:
            harness.attempt(harness.target(name), options.input.read_bytes())
        return 0
    is_guided = util.find_spec("atheris") is not None and not options.unguided
    if is_guided:
        print(f"inputs by atheris {metadata.version('atheris')}, guided by coverage")
    elif options.unguided:
        print("inputs by hypothesis, not guided by coverage")
    else:
        print("inputs by hypothesis, NOT guided by coverage: atheris is not installed (pip install -e '.[fuzz]')")
    print(f"{'target':10} {'tried':>10} {'coverage':>10}   found")
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = dictionary(folder) if is_guided else None
    seconds = options.seconds * options.jobs / len(names)
    failed = False
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda name: run(name, seconds, folder, words), names):
            report(outcome)
            failed = failed or outcome.status != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
