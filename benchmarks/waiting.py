"""Compares wait-for-job with polls at fixed intervals on simulated jobs: calls, and lag after the end.

The real action runs through its client; only the clock and the API are simulated, so the figures are the same on any
machine. `python -m benchmarks.waiting [--jobs N] [--seed N]`
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

from actions import wait_for_job
from benchmarks.simulated_jobs import KINDS, LONGEST_SECONDS, UNPREDICTABLE, Life, durations
from benchmarks.summary import say, table
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx

JOB_ID = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
FIXED_INTERVALS = (5, 30, 60)

JOBS = 600
# Not one of the seeds that were used to develop the schedule.
SEED = 21

# The round-trip time of a call.
QUICKEST_CALL_SECONDS, SLOWEST_CALL_SECONDS = 0.05, 0.25

# The goals.
MOST_CALLS = 40
MEDIAN_LAG_PERCENT = 2.0
LONGEST_LAG_SECONDS = 30.0

BANDS = {
    "5 to 30 s": (0, 30),
    "30 s to 5 min": (30, 300),
    "5 to 30 min": (300, 1800),
    "30 min to 4 h": (1800, LONGEST_SECONDS - 60),
    "4 h": (LONGEST_SECONDS - 60, math.inf),
}


class Wait(NamedTuple):
    """The figures of a wait. calls: all calls to the API. lag: seconds from the end of the job until it is known."""

    life: Life
    calls: int
    lag: float

    @property
    def band(self) -> str:
        return next(band for band, (least, under) in BANDS.items() if least <= self.life.seconds < under)


class SimulatedClock:
    """A clock of the pack that advances by sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class SimulatedService(httpx.BaseTransport):
    """Answers getBulkJob from the life of the latest job, and its messages with an empty page."""

    def __init__(self, clock: SimulatedClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self.calls = 0

    def create(self, life: Life) -> None:
        self._life, self._created_at, self.calls = life, self._clock.seconds, 0

    @property
    def age(self) -> float:
        """Return the seconds since the job was created."""
        return self._clock.seconds - self._created_at

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        takes = call_seconds(self._rng)
        self._clock.sleep(takes / 2)
        rows = request.url.path.endswith("/messages")
        result: Any = [] if rows else self._life.answer(JOB_ID, self.age)
        self._clock.sleep(takes / 2)
        return httpx.Response(200, json={"success": True, "errors": [], "messages": [], "result": result})


def call_seconds(rng: random.Random) -> float:
    return QUICKEST_CALL_SECONDS * math.pow(SLOWEST_CALL_SECONDS / QUICKEST_CALL_SECONDS, rng.random())


def waits(among: Iterable[Life], seed: int, **given: Any) -> list[Wait]:
    """Wait for each job with the action, with calls that resume when the result says so.

    given: parameters of wait-for-job.
    """
    rng = random.Random(seed)  # noqa: S311 -- a reproducible simulation
    clock = SimulatedClock()
    service = SimulatedService(clock, rng)
    connection = Connection.checked({"account_id": "0" * 32, "api_token": "simulated"})
    params = {"job_id": JOB_ID, "timeout_seconds": 86_400, **given}
    found = []
    with EmailSecurity(connection, clock=clock, rng=rng, http=service) as api:
        for life in among:
            service.create(life)
            result = wait_for_job.run(params, api)
            while not result["done"]:
                clock.sleep(result["next_poll_seconds"])
                result = wait_for_job.run({**params, "resume": result["resume"]}, api)
            found.append(Wait(life, service.calls, service.age - life.seconds))
    return found


def at_intervals(among: Iterable[Life], seed: int, seconds: float) -> list[Wait]:
    """Poll each job at a fixed interval in seconds, the first time at once."""
    rng = random.Random(seed)  # noqa: S311
    found = []
    for life in among:
        intervals = math.ceil(life.seconds / seconds)
        found.append(Wait(life, intervals + 1, intervals * seconds + call_seconds(rng) / 2 - life.seconds))
    return found


def lives(kinds: Iterable[Callable[[random.Random, float], Life]], jobs: int, seed: int) -> list[Life]:
    """Return `jobs` lives of each kind. The lives of a kind depend only on the seed, not on other kinds."""
    found = []
    for kind in kinds:
        rng = random.Random(f"{seed} {kind.__name__}")  # noqa: S311
        found += [kind(rng, seconds) for seconds in durations(rng, jobs)]
    return found


def by_kind(among: Iterable[Wait]) -> dict[str, list[Wait]]:
    found: dict[str, list[Wait]] = {}
    for wait in among:
        found.setdefault(wait.life.kind, []).append(wait)
    return found


def lag_percent(among: Iterable[Wait]) -> float:
    """Return the median lag in percent of the job's duration."""
    return median(100 * wait.lag / wait.life.seconds for wait in among)


def calls_for_longest(among: Iterable[Wait]) -> list[int]:
    return [wait.calls for wait in among if wait.band == "4 h"]


def late(among: Iterable[Wait]) -> int:
    return sum(wait.lag > LONGEST_LAG_SECONDS for wait in among)


def goals_table(among: Mapping[str, Sequence[Wait]]) -> str:
    """Return a row for each group of waits: the three goals, and how far they are missed."""
    head = f"4 h: calls, median | most | over {MOST_CALLS} | lag, median % | 99 of 100 within, s | longest, s"
    rows = []
    for name, these in among.items():
        calls = calls_for_longest(these)
        lags = sorted(wait.lag for wait in these)
        over = f"{sum(count > MOST_CALLS for count in calls)} of {len(calls)}"
        rows.append(
            f"| {name} | {median(calls):.0f} | {max(calls)} | {over} | {lag_percent(these):.2f} "
            f"| {lags[len(lags) * 99 // 100]:.0f} | {lags[-1]:.0f} | {late(these)} of {len(these)} |"
        )
    return table(f"jobs | {head} | over {LONGEST_LAG_SECONDS:.0f} s late", rows)


def durations_table(among: Mapping[str, Sequence[Wait]]) -> str:
    rows = []
    for band in BANDS:
        cells = []
        for these in among.values():
            inside = [wait for wait in these if wait.band == band]
            cells.append(f"{median(wait.calls for wait in inside):.0f}, {median(wait.lag for wait in inside):.1f} s")
        rows.append(f"| {band} | {' | '.join(cells)} |")
    return table(" | ".join(["calls and lag, medians", *among]), rows)


def tables(jobs: int = JOBS, seed: int = SEED) -> dict[str, str]:
    """Return the tables by title. jobs: the number of simulated jobs of each kind."""
    predictable = lives(KINDS.values(), jobs, seed)
    unpredictable = lives(UNPREDICTABLE.values(), jobs, seed)
    ours = waits(predictable, seed)
    fixed = {f"every {seconds} s": at_intervals(predictable, seed, seconds) for seconds in FIXED_INTERVALS}
    sliced = waits(predictable[::5], seed, timeout_seconds=300)
    return {
        "By kind": goals_table({**by_kind(ours), **fixed}),
        "By duration": durations_table({"wait-for-job": ours, **fixed}),
        "Unpredictable ends": goals_table(by_kind(waits(unpredictable, seed))),
        "In calls of 300 s, every fifth job": goals_table(by_kind(sliced)),
    }


def report(found: Mapping[str, str]) -> str:
    return "\n\n".join(f"#### {title}\n\n{text}" for title, text in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help="simulated jobs of each kind")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    say(report(tables(given.jobs, given.seed)))


if __name__ == "__main__":
    main()
