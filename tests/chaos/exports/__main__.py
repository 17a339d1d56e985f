"""Many bad days of exports, and what came of them."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chaos.exports.play import in_words, run_day
from tests.chaos.exports.tally import Tally, batch

MOST_FAILURES_TOLD = 40
AT_ONCE = 25


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.exports", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what all days are drawn from")
    parser.add_argument("--days", type=int, default=2000, help="how many")
    parser.add_argument("--day", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell the whole story of --day")
    asked = parser.parse_args(arguments)
    if asked.day is not None:
        outcome = run_day(asked.seed, asked.day)
        sys.stdout.write(in_words(outcome, story=asked.verbose) + "\n")
        return bool(outcome.wrong)
    began, tally = time.monotonic(), Tally()
    for part in _parts(asked.seed, asked.days, asked.jobs):
        tally.add(part)
    sys.stdout.write(tally.report(time.monotonic() - began) + "\n")
    for failure in tally.failures[:MOST_FAILURES_TOLD]:
        sys.stdout.write(f"\n{failure}\n")
    return bool(tally.failures)


def _parts(seed: int, days: int, processes: int) -> Iterator[Tally]:
    batches = [(seed, first, min(first + AT_ONCE, days)) for first in range(0, days, AT_ONCE)]
    # Spawned, not forked: sandboxes run in threads.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(batch, batches)


if __name__ == "__main__":
    sys.exit(main())
