"""The table of `make bench` has a line with figures for each benchmark, and names missed goals."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.summary import Line, at_least, at_most, summary

ROOT = Path(__file__).parents[2]

# The minimum number of figures in each line.
NUMBERS = {
    "NDJSON, 100": 6,
    "NDJSON, quotes in every row": 6,
    "CSV": 7,
    "JSON": 7,
    "Parquet": 7,
    "NDJSON, pseudonymised": 7,
    "memory at": 1,
    "reconcile": 2,
    "preview of": 3,
    "sandbox search": 2,
    "warm call": 6,
    "process start": 3,
    "create once": 2,
}


def test_each_benchmark_has_a_line_with_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    [*_, table] = done.stdout.split("### ")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[4:]]
    assert len(lines) == len(NUMBERS)
    for (work, count), (title, *measured, goal, verdict) in zip(NUMBERS.items(), lines, strict=True):
        assert title.startswith(work)
        assert len(re.findall(r"\d[\d.,]*", " ".join(measured))) >= count, title
        assert goal.startswith("at ")
        assert verdict == "met" or verdict.startswith("missed: at ")


def test_a_missed_goal_is_named() -> None:
    goals = (at_most(100, "MB", 99, 101), at_most(2, "s", 2), at_least(12, "times the SDK", 12, 11.9))
    [line] = summary([Line("export", "2.0 s", goals, sdk_times=[12, 11.9])], [0, 50]).splitlines()[2:]
    assert line == (
        "| export | 2.0 s |  | 12.00, 11.90 |  |  | at most 100 MB; at most 2 s; at least 12 times the SDK "
        "| missed: at most 100 MB; at least 12 times the SDK |"
    )
