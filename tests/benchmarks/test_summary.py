"""The table of `make bench` has a line with figures for each benchmark, and names missed goals."""

from __future__ import annotations

import re
import signal
import sys
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import export
from benchmarks.processes import Run
from benchmarks.summary import Line, at_least, at_most, summary

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
    "run store": 4,
    "playbook steps": 3,
    "advance-run": 2,
    "Temporal run": 2,
}


def test_each_benchmark_has_a_line_with_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: dict[tuple[str, str], Run] = {}
    run = export.run

    def run_each_module_once(program: export.Program, *rest: Any) -> Run:
        # tests/actions/test_export_memory.py runs the export with each program's parameters.
        kind = (program.module, program.row_format)
        return runs.get(kind) or runs.setdefault(kind, run(program, *rest))

    monkeypatch.setattr(export, "run", run_each_module_once)
    monkeypatch.setattr(signal, "alarm", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    benchmarks.main()
    [*_, table] = capsys.readouterr().out.split("### ")
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
