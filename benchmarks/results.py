"""The results of one or several runs: as JSON, and back.

Rule of this file: what is written can be read again. It must not know how anything is measured.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.comparison.growth import Point
from benchmarks.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Results", "ResultsError", "merged", "read", "write"]

FORMAT: Final = 1
"""The version of what is written."""


class ResultsError(Exception):
    """Raised when a file has no results."""


@dataclass(kw_only=True)
class Results:
    """What there is to tell.

    Args:
        machine: What it was measured on.
        options: What was asked for.
        versions: What each system is made of, in words.
        remarks: What else is to be known.
        samples: What was measured on the wire.
        points: What was measured of growth.
        calls: What was measured of calls, from end to end.
        labels: The systems of the calls: name and label.
        runs: How many runs these are.
    """

    machine: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    calls: list[Sample] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    runs: int = 1


def write(results: Results, path: Path) -> None:
    """Write results as JSON."""
    path.write_text(json.dumps({"format": FORMAT, **asdict(results)}, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """Read results that were written.

    Raises:
        ResultsError: If the file cannot be read, or has no results.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ResultsError(f"{path} was written by another version")
        found["samples"], found["calls"] = ([Sample(**item) for item in found[name]] for name in ("samples", "calls"))
        found["points"] = [Point(**item) for item in found["points"]]
        return Results(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ResultsError(f"{path} has no results of python -m benchmarks: {error}") from None


def merged(several: Sequence[Results]) -> Results:
    """Return the results of several runs as one; a table of them has the median of each run.

    Args:
        several: The results of each, one at least. The machine and the options are those of the first.
    """
    whole = Results(machine=several[0].machine, options=several[0].options, runs=0)
    for results in several:
        whole.samples += [replace(sample, run=sample.run + whole.runs) for sample in results.samples]
        whole.points += [replace(point, run=point.run + whole.runs) for point in results.points]
        whole.calls += [replace(sample, run=sample.run + whole.runs) for sample in results.calls]
        whole.versions.update(results.versions)
        whole.labels.update(results.labels)
        whole.remarks.extend(remark for remark in results.remarks if remark not in whole.remarks)
        whole.runs += results.runs
    return whole
