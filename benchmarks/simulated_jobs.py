"""Simulated lives of bulk jobs: status and counters as functions of time, from a seed.

The API documents no speeds. The assumptions are: PENDING, then DISCOVERING, then PROCESSING, as in the sandbox; 0.2 to
100 messages per second; bursts and gaps of up to ten minutes, like the rate limit windows of mail providers; pauses and
late discovery anywhere in the life of a job.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

SHORTEST_SECONDS = 5.0
LONGEST_SECONDS = 4 * 3600.0

SLOWEST_PER_SECOND, FASTEST_PER_SECOND = 0.2, 100.0
SHORTEST_GAP_SECONDS, LONGEST_GAP_SECONDS = 2.0, 600.0

# Points of seconds and messages, both increasing, with linear interpolation.
Course = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Life:
    """The life of a job. seconds: its end. discovered, processed: the course of its counters.

    ends_as: its last status.
    """

    kind: str
    seconds: float
    pending_until: float
    discovering_until: float
    discovered: Course
    processed: Course
    ends_as: str = "COMPLETED"

    def status(self, at: float) -> str:
        if at >= self.seconds:
            return self.ends_as
        if at < self.pending_until:
            return "PENDING"
        return "DISCOVERING" if at < self.discovering_until else "PROCESSING"

    def counters(self, at: float) -> tuple[int, int]:
        """Return the discovered and the processed messages. Before the end, at least one message is unprocessed."""
        at = min(at, self.seconds)
        discovered, processed = math.floor(_on(self.discovered, at)), math.floor(_on(self.processed, at) + 1e-6)
        if at < self.seconds:
            processed = min(processed, max(discovered - 1, 0))
        return discovered, min(processed, discovered)

    def answer(self, job_id: str, at: float) -> dict[str, Any]:
        """Return the job as the API would return it."""
        discovered, processed = self.counters(at)
        failed = processed // 50
        left = discovered - processed
        cancelled = left if self.status(at) == "CANCELLED" else 0
        return {
            "job_id": job_id,
            "action_type": "MOVE",
            "action_params": {"type": "MOVE", "destination": "JunkEmail"},
            "status": self.status(at),
            "total_messages_discovered": discovered,
            "messages_pending": left - cancelled,
            "messages_successful": processed - failed,
            "messages_failed": failed,
            "messages_skipped": 0,
            "messages_cancelled": cancelled,
        }


def steady(rng: random.Random, seconds: float) -> Life:
    """Return a job with early discovery and even processing: each twentieth within a fifth of the mean speed."""
    return _processed("steady", rng, seconds, _evenly)


def bursty(rng: random.Random, seconds: float) -> Life:
    """Return a job with processing in bursts for 5 to 40 percent of the time, with gaps of 2 s to 10 min."""
    return _processed("bursty", rng, seconds, _in_bursts)


def stalling(rng: random.Random, seconds: float) -> Life:
    """Return a job with one to three pauses anywhere in the processing, in total 10 to 60 percent of it."""
    return _processed("stalling", rng, seconds, _with_pauses)


def discovering_late(rng: random.Random, seconds: float) -> Life:
    """Return a job with 30 to 80 percent discovery, mostly late; half of the jobs find more while processing."""
    return _discovering("discovering late", rng, seconds, rng.uniform(0.3, 0.8))


KINDS: dict[str, Callable[[random.Random, float], Life]] = {
    "steady": steady,
    "bursty": bursty,
    "stalling": stalling,
    "discovering late": discovering_late,
}


def stopped(rng: random.Random, seconds: float) -> Life:
    """Return a steady job that is cancelled or fails long before its end."""
    whole = steady(rng, seconds / rng.uniform(0.2, 0.9))
    ends_as = rng.choice(("CANCELLED", "FAILED"))
    return replace(whole, kind="stopped from outside", seconds=seconds, ends_as=ends_as)


def finding_nothing(rng: random.Random, seconds: float) -> Life:
    """Return a job that finds no messages, so that no counter ever changes."""
    return Life("finding nothing", seconds, _pending(rng, seconds), seconds, ((0, 0),), ((0, 0),))


def discovering_to_the_last(rng: random.Random, seconds: float) -> Life:
    """Return a job with 85 to 97 percent discovery; the rest is over before a late poll can see it."""
    return _discovering("discovering to the last", rng, seconds, rng.uniform(0.85, 0.97))


# Jobs whose end can't be predicted from the API's responses.
UNPREDICTABLE: dict[str, Callable[[random.Random, float], Life]] = {
    "stopped from outside": stopped,
    "finding nothing": finding_nothing,
    "discovering to the last": discovering_to_the_last,
}


def durations(rng: random.Random, count: int) -> Iterator[float]:
    """Yield durations from 5 s to 4 h, log-uniform; every sixth is 4 h, minus at most a minute."""
    for number in range(count):
        if number % 6 == 5:
            yield LONGEST_SECONDS - 60 * rng.random()
        else:
            yield SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** rng.random()


def _processed(
    kind: str, rng: random.Random, seconds: float, work: Callable[[random.Random, float], list[tuple[float, float]]]
) -> Life:
    """Return a job with little discovery. work: returns the seconds and weights of consecutive pieces."""
    pending = _pending(rng, seconds)
    discovering = pending + (seconds - pending) * rng.uniform(0.02, 0.2)
    lasts = seconds - discovering
    pieces = work(rng, lasts)
    messages = _messages(rng, sum(duration for duration, weight in pieces if weight))
    found = ((pending, 0), (discovering, messages))
    return Life(kind, seconds, pending, discovering, found, _course(pieces, discovering, seconds, messages))


def _discovering(kind: str, rng: random.Random, seconds: float, share: float) -> Life:
    until = seconds * share
    pending = min(_pending(rng, seconds) if rng.random() < 0.5 else until * rng.uniform(0.05, 0.5), until * 0.9)
    lasts = seconds - until
    messages = _messages(rng, lasts)
    processed = _course(_evenly(rng, lasts), until, seconds, messages)
    late = rng.uniform(1, 6)
    first = messages if rng.random() < 0.5 else max(1.0, messages * rng.uniform(0.5, 0.9))
    found = [(pending + (until - pending) * step / 20, first * (step / 20) ** late) for step in range(21)]
    if first < messages:
        # Found at once, before the known messages are processed.
        more = until + lasts * rng.uniform(0.1, 0.9) * first / messages
        found += [(more, first), (more + 0.01, messages)]
    return Life(kind, seconds, pending, until, found, processed)


def _pending(rng: random.Random, seconds: float) -> float:
    return min(rng.uniform(0.5, 3), seconds / 10)


def _messages(rng: random.Random, working_seconds: float) -> int:
    per_second = SLOWEST_PER_SECOND * math.pow(FASTEST_PER_SECOND / SLOWEST_PER_SECOND, rng.random())
    return max(1, round(working_seconds * per_second))


def _evenly(rng: random.Random, lasts: float) -> list[tuple[float, float]]:
    return [(lasts / 20, rng.uniform(0.8, 1.2)) for _ in range(20)]


def _in_bursts(rng: random.Random, lasts: float) -> list[tuple[float, float]]:
    longest = min(LONGEST_GAP_SECONDS, lasts / 3)
    period = SHORTEST_GAP_SECONDS * (longest / SHORTEST_GAP_SECONDS) ** rng.random() if longest > 2 else longest
    busy = rng.uniform(0.05, 0.4)
    pieces = []
    for _ in range(max(2, round(lasts / period))):
        one = period * rng.uniform(0.7, 1.3)
        # A gap, then a burst, so that the job ends with a burst.
        pieces += [(one * (1 - busy), 0.0), (one * busy, rng.uniform(0.5, 1.5))]
    return pieces


def _with_pauses(rng: random.Random, lasts: float) -> list[tuple[float, float]]:
    count, still = rng.randint(1, 3), lasts * rng.uniform(0.1, 0.6)
    where = sorted(rng.random() for _ in range(count))
    weights = [rng.uniform(0.3, 1) for _ in where]
    pieces = []
    for begins, ends, pause in zip([0.0, *where], [*where, 1.0], [*weights, 0.0], strict=True):
        pieces += [((lasts - still) * (ends - begins), ends - begins), (still * pause / sum(weights), 0.0)]
    return pieces


def _course(pieces: list[tuple[float, float]], begins: float, ends: float, messages: int) -> Course:
    """Return the course of consecutive pieces, scaled to fill the time and to contain all messages."""
    seconds = list(accumulate((duration for duration, _ in pieces), initial=0.0))
    weights = list(accumulate((weight for _, weight in pieces), initial=0.0))
    return [
        (begins + (ends - begins) * second / seconds[-1], messages * weight / weights[-1])
        for second, weight in zip(seconds, weights, strict=True)
    ]


def _on(course: Course, at: float) -> float:
    after = bisect_right(course, at, key=lambda point: point[0])
    if after == 0:
        return 0.0
    if after == len(course):
        return course[-1][1]
    (from_at, from_count), (to_at, to_count) = course[after - 1], course[after]
    return from_count + (to_count - from_count) * (at - from_at) / (to_at - from_at)
