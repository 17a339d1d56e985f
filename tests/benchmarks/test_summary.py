"""The table of `make bench` has a line with figures for each benchmark, and names missed goals."""

from __future__ import annotations

import re
import signal
import sys
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import (
    alerts_in,
    create_once,
    export,
    http_service,
    preview,
    process_start,
    reconcile,
    temporal_runs,
    tick_states,
    warm_call,
)
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
    "alerts in": 2,
    "preview of": 3,
    "sandbox search": 2,
    "warm call": 6,
    "process start": 3,
    "create once": 2,
    "run store": 4,
    "playbook steps": 3,
    "advance-run": 2,
    "Temporal run": 2,
    "HTTP service": 4,
}


RUN = Run(0, 2.0, 1.0, 50.0)

# Figures of the benchmarks that start processes or serve an API.
MADE_UP: list[tuple[ModuleType, object]] = [
    (export, [export.Group(export.Server("", 100, 900), "bench-0", {name: [RUN] for name in export.PROGRAMS}, 500.0)]),
    (reconcile, [reconcile.Measured(100, 3, 1.0, 50.0, None)]),
    (alerts_in, [alerts_in.Measured(100, 0.1, 0.2, 0.1, 37.0, 0.1, 53.0)]),
    (preview, [preview.Measured(10, 10, 1, 1.0, 50.0, 40.0)]),
    (warm_call, [warm_call.Measured(transport, 1.0, 2.0, 0.5, 0.5) for transport in ("http", "https")]),
    (process_start, {name: [process_start.Took(0.5, 0.4)] for name in process_start.PROGRAMS}),
    (create_once, [create_once.Measured(0, "newest first", 2, 0.1)]),
    (http_service, http_service.Measured(2.0, 3.9, 1.95, 30.0, {200: 900}, 300.0)),
    (tick_states, [tick_states.Measured("an alert", 9, 20_000, 30_000, 4, 80.0)]),
    (temporal_runs, temporal_runs.Measured(0.5, 0.4, 1.2, 60, 50, 9000, 8000)),
]


def print_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "alarm", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    benchmarks.main()


def check_table(output: str) -> None:
    [*_, table] = output.split("### ")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[4:]]
    assert len(lines) == len(NUMBERS)
    for (work, count), (title, *measured, goal, verdict) in zip(NUMBERS.items(), lines, strict=True):
        assert title.startswith(work)
        assert len(re.findall(r"\d[\d.,]*", " ".join(measured))) >= count, title
        assert goal.startswith("at ")
        assert verdict == "met" or verdict.startswith("missed: at ")


def test_each_benchmark_has_a_line_with_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, figures in MADE_UP:
        monkeypatch.setattr(module, "measure", lambda *_, figures=figures, **__: figures)
    print_table(monkeypatch)
    check_table(capsys.readouterr().out)


@pytest.mark.exhaustive
def test_each_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs: dict[tuple[str, str], Run] = {}
    run = export.run

    def run_each_module_once(program: export.Program, *rest: Any) -> Run:
        # tests/actions/test_export_memory.py runs the export with each program's parameters.
        kind = (program.module, program.row_format)
        return runs.get(kind) or runs.setdefault(kind, run(program, *rest))

    monkeypatch.setattr(export, "run", run_each_module_once)
    print_table(monkeypatch)
    check_table(capsys.readouterr().out)


def test_a_missed_goal_is_named() -> None:
    goals = (at_most(100, "MB", 99, 101), at_most(2, "s", 2), at_least(12, "times the SDK", 12, 11.9))
    [line] = summary([Line("export", "2.0 s", goals, sdk_times=[12, 11.9])], [0, 50]).splitlines()[2:]
    assert line == (
        "| export | 2.0 s |  | 12.00, 11.90 |  |  | at most 100 MB; at most 2 s; at least 12 times the SDK "
        "| missed: at most 100 MB; at least 12 times the SDK |"
    )
