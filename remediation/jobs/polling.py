"""When to poll a running job again: rarely while it can't have ended yet, often when it may have.

Pure functions over the polls of a job; no clock, no network. docs/explanation/how-polling-works.md has the figures.

The API does not announce the end of a job: it returns a status and counters. So the pause is the time that the
remaining messages take at the fastest rate seen, plus the accepted lag. Where the counters predict nothing, the pause
grows with the time watched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from connectors.objects.job import BEFORE_PROCESSING
from remediation.jobs.progress import Poll

# Where nothing predicts the end, the pause is as long as the time watched, later a share of it.
DOUBLING_SECONDS = 45.0
SHARE_OF_TIME_WATCHED = 0.4

# How late an end may be noticed: a share of the time watched, well under half a minute.
ACCEPTED_LAG_SHARE = 0.01
LONGEST_ACCEPTED_LAG_SECONDS = 20.0

# A stall shortly before the end could cost any number of polls. After a long stall the end may be noticed later, by
# this share of the stall; after CAREFUL_POLLS polls since processing began, by this share of all the time watched.
SHARE_OF_STALL = 0.1
CAREFUL_POLLS = 40

# The job may get faster than it was; and a rate is trusted for this many times as long as it was watched.
FASTER_THAN_SEEN = 1.75
TRUSTED_FOR = 2.0

# A stretch shows how fast a job is if it processed this share of the messages left, or of those done if they are fewer.
# A shorter stretch is a burst that will not last.
RELIABLE_SHARE = 1 / 3


def next_poll_seconds(
    polls: Sequence[Poll], watched_seconds: float, shortest: float, longest: float, polls_at_processing: int = 0
) -> float:
    """Return the seconds until the next poll, between `shortest` and `longest`.

    polls: the latest ones, the last at the end. watched_seconds: from the very first poll to the latest.
    polls_at_processing: all polls since processing began, also those no longer in `polls`.
    """
    wanted = seconds_without_prediction(watched_seconds)
    processing = [poll for poll in polls if poll.status not in BEFORE_PROCESSING]
    if processing:
        now = processing[-1]
        trusted = TRUSTED_FOR * (now.at - processing[0].at)
        lag = accepted_lag_seconds(processing, watched_seconds, polls_at_processing)
        wanted = min(wanted, min(earliest_end_seconds(processing), trusted) + max(shortest, lag))
    return max(shortest, min(longest, wanted))


def seconds_without_prediction(watched_seconds: float) -> float:
    at_first = min(watched_seconds, DOUBLING_SECONDS)
    return at_first + SHARE_OF_TIME_WATCHED * (watched_seconds - at_first)


def accepted_lag_seconds(processing: Sequence[Poll], watched_seconds: float, polls_at_processing: int) -> float:
    if polls_at_processing > CAREFUL_POLLS:
        return SHARE_OF_STALL * watched_seconds
    now = processing[-1]
    stalled_since = next(poll.at for poll in processing if poll.processed >= now.processed)
    return max(
        min(ACCEPTED_LAG_SHARE * watched_seconds, LONGEST_ACCEPTED_LAG_SECONDS),
        SHARE_OF_STALL * (now.at - stalled_since),
    )


def earliest_end_seconds(processing: Sequence[Poll]) -> float:
    """Return the seconds until the remaining messages may be processed; infinite while no counter changed."""
    began, now = processing[0], processing[-1]
    left, done = max(now.discovered - now.processed, 0), now.processed - began.processed
    if done <= 0:
        return math.inf
    enough = RELIABLE_SHARE * min(left, done)
    fastest = _per_second(began, now)
    for number, after in enumerate(processing):
        for before in reversed(processing[:number]):
            if after.processed > before.processed and after.processed - before.processed >= enough:
                fastest = max(fastest, _per_second(before, after))
                break
    return left / (FASTER_THAN_SEEN * fastest)


def _per_second(before: Poll, after: Poll) -> float:
    return (after.processed - before.processed) / max(after.at - before.at, 0.001)
