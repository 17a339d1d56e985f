"""When to look at a running job again: seldom while it can't have ended yet, often when it may.

Pure functions over the looks taken; no clock, no network. docs/explanation/how-polling-works.md tells how well they do.

The API tells no end, only a status and counters. So the pause is the time that what is left takes at the fastest that
the job was seen to go, and the lag that is accepted on top of it. Where the counters tell nothing it grows with the
time watched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from connectors.objects.job import BEFORE_PROCESSING
from remediation.jobs.progress import Look

# Where nothing foretells the end: as long again as was watched, later a share of that.
DOUBLING_SECONDS = 45.0
SHARE_OF_TIME_WATCHED = 0.4

# How late an end may be seen: a share of the time watched, and well under half a minute.
ACCEPTED_LAG_SHARE = 0.01
LONGEST_ACCEPTED_LAG_SECONDS = 20.0

# A standstill shortly before the end could cost any number of looks: after a long one the end may be seen later, by
# this share of it; where so many looks were taken since processing began, by this share of all the time watched.
SHARE_OF_STANDSTILL = 0.1
CAREFUL_LOOKS = 40

# What was seen need not have been the fastest, and is believed for this many times as long as it was watched.
FASTER_THAN_SEEN = 1.75
BELIEVED_FOR = 2.0

# A stretch tells how fast a job goes if it did this share of what is left, or of what is done if that is less; a
# shorter one is a burst that won't last.
TELLING_SHARE = 1 / 3


def next_look_seconds(
    looks: Sequence[Look], watched_seconds: float, shortest: float, longest: float, looks_at_processing: int = 0
) -> float:
    """Seconds until the next look, never under `shortest` nor over `longest`.

    looks: those remembered, the latest last. watched_seconds: from the first look of all to the latest.
    looks_at_processing: looks taken since processing began, the forgotten ones included.
    """
    wanted = seconds_unforetold(watched_seconds)
    processing = [look for look in looks if look.status not in BEFORE_PROCESSING]
    if processing:
        now = processing[-1]
        believed = BELIEVED_FOR * (now.at - processing[0].at)
        lag = accepted_lag_seconds(processing, watched_seconds, looks_at_processing)
        wanted = min(wanted, min(earliest_end_seconds(processing), believed) + max(shortest, lag))
    return max(shortest, min(longest, wanted))


def seconds_unforetold(watched_seconds: float) -> float:
    at_first = min(watched_seconds, DOUBLING_SECONDS)
    return at_first + SHARE_OF_TIME_WATCHED * (watched_seconds - at_first)


def accepted_lag_seconds(processing: Sequence[Look], watched_seconds: float, looks_at_processing: int) -> float:
    if looks_at_processing > CAREFUL_LOOKS:
        return SHARE_OF_STANDSTILL * watched_seconds
    now = processing[-1]
    still_since = next(look.at for look in processing if look.processed >= now.processed)
    return max(
        min(ACCEPTED_LAG_SHARE * watched_seconds, LONGEST_ACCEPTED_LAG_SECONDS),
        SHARE_OF_STANDSTILL * (now.at - still_since),
    )


def earliest_end_seconds(processing: Sequence[Look]) -> float:
    """Seconds until what is left may be through; infinite while nothing was seen to move."""
    began, now = processing[0], processing[-1]
    left, done = max(now.discovered - now.processed, 0), now.processed - began.processed
    if done <= 0:
        return math.inf
    telling = TELLING_SHARE * min(left, done)
    fastest = _per_second(began, now)
    for number, after in enumerate(processing):
        for before in reversed(processing[:number]):
            if after.processed > before.processed and after.processed - before.processed >= telling:
                fastest = max(fastest, _per_second(before, after))
                break
    return left / (FASTER_THAN_SEEN * fastest)


def _per_second(before: Look, after: Look) -> float:
    return (after.processed - before.processed) / max(after.at - before.at, 0.001)
