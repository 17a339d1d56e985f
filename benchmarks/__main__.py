"""Run every benchmark, and print a table of the figures and their goals.

`python -m benchmarks [--quick]`. --quick uses small counts to check that everything runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from benchmarks import (
    alerts_in,
    create_once,
    export,
    http_service,
    playbook_steps,
    preview,
    process_start,
    reconcile,
    run_store,
    sandbox_search,
    temporal_runs,
    tick_states,
    waiting,
    warm_call,
)
from benchmarks.summary import Line, say, summary

T = TypeVar("T")

LONGEST_SECONDS = 3 * 3600


class Scale(NamedTuple):
    """The sizes of the benchmarks."""

    starts: int = process_start.RUNS
    calls: int = warm_call.CALLS
    blocks: int = warm_call.BLOCKS
    previews: Sequence[int] = preview.SIZES
    runs: int = export.RUNS
    searched: int = sandbox_search.MESSAGES
    pages: int = sandbox_search.PAGES
    rows: int = export.COUNT
    latencies: Sequence[int] = export.LATENCIES
    memory: Sequence[int] = (10_000, 100_000, 1_000_000)
    reconciled: int = 1_000_000
    pushed_alerts: int = 100_000
    old_jobs: Sequence[int] = create_once.JOBS
    orders: Sequence[str] = create_once.ORDERS
    milliseconds: float = create_once.MILLISECONDS
    stored_runs: int = run_store.RUNS
    state_writes: int = run_store.WRITES
    temporal_pairs: int = temporal_runs.RUNS
    service_samples: int = http_service.SAMPLES
    service_seconds: float = http_service.SECONDS
    waits: int = waiting.JOBS
    playbook_rounds: int = playbook_steps.ROUNDS


QUICK = Scale(
    starts=1,
    calls=5,
    blocks=1,
    previews=(10,),
    runs=1,
    searched=3000,
    pages=2,
    rows=100,
    latencies=(0,),
    memory=(100,),
    reconciled=100,
    pushed_alerts=100,
    old_jobs=(0,),
    orders=create_once.ORDERS[:1],
    milliseconds=0,
    stored_runs=5,
    state_writes=5,
    temporal_pairs=1,
    service_samples=5,
    service_seconds=1,
    waits=10,
    playbook_rounds=2,
)


def measure(scale: Scale) -> Iterator[Line]:
    """Run the benchmarks one after the other, print their reports, and yield the lines of the table."""
    groups = export.measure(list(export.PROGRAMS), scale.rows, scale.latencies, scale.runs)
    yield from export.lines([part("Exports", group, export.report) for group in groups])
    memory = (group for count in scale.memory for group in export.measure([], count, [0], 1))
    yield export.memory_line([part("Memory", group, export.report) for group in memory])
    yield reconcile.line(*part("Reconciliation", list(reconcile.measure([scale.reconciled], 1)), reconcile.report))
    [pushed] = part("Alerts in", list(alerts_in.measure([scale.pushed_alerts], scale.runs)), alerts_in.report)
    yield alerts_in.line(pushed)
    yield preview.line(part("Previews", list(preview.measure(scale.previews, scale.runs)), preview.report))
    search = sandbox_search.measure(scale.searched, scale.pages)
    yield sandbox_search.line(part("The sandbox's message search", search, sandbox_search.report))
    calls = list(warm_call.measure(scale.calls, scale.blocks))
    yield warm_call.line(part("A connector that is kept", calls, warm_call.report))
    yield process_start.line(part("Process start", process_start.measure(scale.starts), process_start.report))
    creates = list(create_once.measure(scale.old_jobs, scale.milliseconds, scale.orders))
    yield create_once.line(part("Create once", creates, create_once.report))
    stores = list(run_store.measure(scale.stored_runs, scale.state_writes))
    yield run_store.line(part("The run store", stores, run_store.report))
    steps = playbook_steps.measure(rounds=scale.playbook_rounds)
    yield playbook_steps.line(part("Playbook steps", steps, playbook_steps.report))
    yield tick_states.line(part("States of advance-run", list(tick_states.measure()), tick_states.report))
    pairs = temporal_runs.measure(scale.temporal_pairs)
    yield temporal_runs.line(part("Runs on Temporal", pairs, temporal_runs.report))
    served = http_service.measure(scale.service_samples, scale.service_seconds)
    yield http_service.line(part("The HTTP service", served, http_service.report))


def part(title: str, figures: T, report: Callable[[T], str]) -> T:
    """Print the figures, and return them."""
    say(f"### {title}\n\n{report(figures)}\n")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small counts, to check that everything runs")
    quick = parser.parse_args().quick
    scale = QUICK if quick else Scale()
    signal.alarm(LONGEST_SECONDS)
    began = time.monotonic()
    lines = list(measure(scale))
    part("Waiting for a job", waiting.tables(scale.waits), waiting.report)
    title = "Quick run (small counts: the goals do not apply)" if quick else "Goals"
    say(f"### {title}, in {time.monotonic() - began:,.0f} s\n\n{summary(lines, scale.latencies)}")


if __name__ == "__main__":
    main()
