"""Measures the run store: listing runs, and writing a state, with 500 runs stored.

`python -m benchmarks.run_store [--runs N] [--writes N] [--directory PATH]`. --directory: where the store is created; on
a file system in memory, writes cost less than on a disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.summary import Line, at_most, say, table
from core.clock import SystemClock
from core.json_values import digest
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.records import NewRun, Progress

RUNS, WRITES = 500, 200
SIZES = (20_000, 200_000)
MOST_LISTING_MS = 10
LISTINGS = 50
PLAYBOOK = {"playbook": 1, "id": "phish-campaign-purge", "steps": ["x" * 9_000]}
RUNNING = Progress("running", "move")


class Measured(NamedTuple):
    """The figures of a store whose runs have states of `size` bytes. Lists of milliseconds, one for each repetition."""

    size: int
    runs: int
    creates: Sequence[float]
    writes: Sequence[float]
    listings: Sequence[float]
    listing_processor: float
    opened_listings: Sequence[float]
    megabytes: float


def state(size: int, number: int) -> str:
    return json.dumps(
        {"position": number, "results": [f"{number} recipient{n}@corp.example" for n in range(size // 32)]}
    )


def milliseconds(act: Callable[[int], object], times: int) -> list[float]:
    found = []
    for number in range(times):
        began = time.perf_counter()
        act(number)
        found.append((time.perf_counter() - began) * 1000)
    return found


def measure(
    runs: int = RUNS, writes: int = WRITES, sizes: Sequence[int] = SIZES, directory: str | None = None
) -> Iterator[Measured]:
    """Measure a new store for each size of a state."""
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=directory) as temporary:
            yield measure_one(Path(temporary) / "store" / "runs.db", size, runs, writes)


def measure_one(path: Path, size: int, runs: int, writes: int) -> Measured:
    key = SealKey(b"a key of 16 bytes or more", "in the benchmark")
    states = [state(size, number) for number in range(10)]

    def create(number: int) -> None:
        run_id = f"{PLAYBOOK['id']}-{number}"
        values = (PLAYBOOK, str(PLAYBOOK["id"]), digest(PLAYBOOK), f"/runs/{number}", states[number % 10], RUNNING)
        store.create(NewRun(run_id, f"alert-{number}", *values)).release()

    def list_all(_: int) -> None:
        if len(store.runs(limit=runs)) != runs:
            raise SystemExit("runs are missing: the figures are invalid")

    def open_and_list(_: int) -> None:
        with RunStore(path, key, SystemClock()) as another:
            another.runs(limit=runs)

    with RunStore(path, key, SystemClock()) as store:
        creates = milliseconds(create, runs)
        with store.hold(f"{PLAYBOOK['id']}-{runs // 2}") as held:
            in_flight = [{"step_id": "move", "since": "2026-11-20T16:02:35Z"}]
            written = milliseconds(lambda number: held.write(states[number % 10], RUNNING, in_flight), writes)
        began = time.process_time()
        listings = milliseconds(list_all, LISTINGS)
        processor = (time.process_time() - began) * 1000 / LISTINGS
    opened = milliseconds(open_and_list, LISTINGS)
    return Measured(size, runs, creates, written, listings, processor, opened, path.stat().st_size / 1e6)


def median_and_p95(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.1f}, {sorted(found)[int(len(found) * 0.95)]:.1f}"


def report(figures: Sequence[Measured]) -> str:
    rows = []
    for one in figures:
        times = (median_and_p95(each) for each in (one.writes, one.creates, one.listings))
        cells = (f"{one.size // 1000} KB", *times, f"{one.listing_processor:.1f}", median_and_p95(one.opened_listings))
        rows.append(f"| {' | '.join(cells)} | {one.megabytes:.0f} |")
    head = f"state | write | create | list {figures[0].runs} runs | processor time | open, list, close | file, MB"
    return table(head, rows)


def line(figures: Sequence[Measured]) -> Line:
    processor = [one.listing_processor for one in figures]
    shown = ", ".join(f"{each:.1f}" for each in processor)
    measured = f"{shown} ms of processor time to list; {median_and_p95(figures[0].writes)} ms to write (median, p95)"
    goals = (at_most(MOST_LISTING_MS, "ms of processor time to list", *processor),)
    return Line(f"run store, {figures[0].runs} runs", measured, goals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="stored runs")
    parser.add_argument("--writes", type=int, default=WRITES, help="measured writes")
    parser.add_argument("--directory", help="where the store is created")
    arguments = parser.parse_args()
    say(report(list(measure(arguments.runs, arguments.writes, directory=arguments.directory))))


if __name__ == "__main__":
    main()
