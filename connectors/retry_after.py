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


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait, from SHORTEST_SECONDS to LONGEST_SECONDS; None without a header that can be read.

    A date is compared with the answer's own Date header, so that the clocks of both machines need not agree; with
    `now` where there is none. A fraction of a second, which the RFC does not allow, is understood.
    """
    value = headers.get("retry-after", "").strip()
    seconds = _delta(value)
    if seconds is None:
        at = _http_date(value)
        if at is None:
            return None
        seconds = (at - (_http_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


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
