"""The Retry-After header (RFC 9110, section 10.2.3): a number of seconds, or an HTTP date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# "Come again at once", answered to every attempt, uses all attempts up within a moment.
SHORTEST_SECONDS = 1.0

# A timer that a platform sets by a header must end; nobody waits longer for an API.
LONGEST_SECONDS = 86_400.0

MOST_VALUES = 8

# The comma behind the name of a day is a part of its date.
_BETWEEN = re.compile(r",(?!\s*[0-9]{1,2}[ -][A-Za-z])")


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait, from SHORTEST_SECONDS to LONGEST_SECONDS; None without a header that can be read.

    A date is compared with the answer's own Date header, so that the clocks of both machines need not agree; with
    `now` where there is none. A fraction of a second, which the RFC does not allow, is understood. Where a proxy on the
    way has added a value of its own, the longest counts.
    """
    sent_at = _http_date(headers.get("date", "")) or now
    values = _BETWEEN.split(headers.get("retry-after", ""), maxsplit=MOST_VALUES)
    found = [seconds for value in values if (seconds := _seconds(value.strip(), sent_at)) is not None]
    return min(max(*found, SHORTEST_SECONDS), LONGEST_SECONDS) if found else None


def _seconds(value: str, sent_at: datetime) -> float | None:
    seconds = _delta(value)
    if seconds is not None:
        return seconds
    at = _http_date(value)
    return None if at is None else (at - sent_at).total_seconds()


def _delta(value: str) -> float | None:
    # One way to match only: with two for each zero, a header of zeros takes minutes.
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value, re.ASCII) is None:
        return None
    return min(float(value), LONGEST_SECONDS)


def _http_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return None
