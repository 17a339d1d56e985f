"""Reads the Retry-After header (RFC 9110, section 10.2.3): a number of seconds, or an HTTP date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# If every response asked for a retry at once, all attempts would be used up immediately.
SHORTEST_SECONDS = 1.0

# A platform may set a timer by this header, so it needs an upper limit.
LONGEST_SECONDS = 86_400.0

MOST_VALUES = 8

# A comma after the name of a day belongs to its date.
_BETWEEN = re.compile(r",(?!\s*[0-9]{1,2}[ -][A-Za-z])")


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait, from SHORTEST_SECONDS to LONGEST_SECONDS, or None without a valid header.

    A date is compared with the Date header of the response (else with `now`), so that a difference of the clocks does
    not matter. Fractions of a second are accepted, although the RFC does not allow them. If a proxy has added a second
    value, the longest counts.
    """
    sent_at = _http_date(headers.get("date", "")) or now
    values = _BETWEEN.split(headers.get("retry-after", ""), maxsplit=MOST_VALUES)
    found = [seconds for value in values if (seconds := _seconds(value.strip(), sent_at)) is not None]
    return min(max(*found, SHORTEST_SECONDS), LONGEST_SECONDS) if found else None


def _seconds(value: str, sent_at: datetime) -> float | None:
    # The pattern is unambiguous. With two ways to match each zero, a header of zeros would take minutes.
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value, re.ASCII):
        return min(float(value), LONGEST_SECONDS)
    at = _http_date(value)
    return None if at is None else (at - sent_at).total_seconds()


def _http_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return None
