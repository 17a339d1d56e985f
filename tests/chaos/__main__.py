"""`make chaos`: many cases, the same schedules through the official SDK beside them, and what came of both."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chaos.cases import run_case
from tests.chaos.tally import Tally, batch, told

MOST_FAILURES_TOLD = 40
AT_ONCE = 25


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what all cases are drawn from")
    parser.add_argument("--cases", type=int, default=5000, help="how many")
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--no-sdk", action="store_true", help="leave the official SDK out")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell the whole story of --case")
    asked = parser.parse_args(arguments)
    if asked.case is not None:
        outcome = run_case(asked.seed, asked.case)
        sys.stdout.write(told(outcome, story=asked.verbose) + "\n")
        return 1 if outcome.findings.wrong else 0
    began, tally = time.monotonic(), Tally()
    for part in _parts(asked.seed, asked.cases, asked.jobs, sdk=not asked.no_sdk):
        tally.add(part)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{tally.cases} cases ")
    sys.stdout.write(tally.report(asked.seed, time.monotonic() - began) + "\n")
    for failure in tally.failures[:MOST_FAILURES_TOLD]:
        sys.stdout.write(f"\n{failure}\n")
    return 1 if tally.failures else 0


def _parts(seed: int, cases: int, processes: int, *, sdk: bool) -> Iterator[Tally]:
    batches = [(seed, first, min(first + AT_ONCE, cases), sdk) for first in range(0, cases, AT_ONCE)]
    # Spawned, not forked: sandboxes run in threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(batch, batches)


if __name__ == "__main__":
    sys.exit(main())
