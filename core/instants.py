"""Instants: moments as RFC 3339 text in UTC, which is what the remote API and the expressions speak."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", flags=re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# 2001-09-09 to 2286-11-20 in seconds: within it the four units can't be mistaken for one another.
_FIRST_SECOND, _LAST_SECOND = 10**9, 10**10
_UNITS = (1, 10**3, 10**6, 10**9)


def parse(value: object) -> datetime:
    """A moment from RFC 3339 text with a zone, or from an integer since 1970 in s, ms, µs or ns.

    Logpush writes its Timestamp fields as either (`timestamp_format`: rfc3339, unix, unixnano), and text columns carry
    the integer as digits. The unit of an integer is told by its size. What is finer than a microsecond is cut off.
    Raises ValueError with a message for people.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= 20:
            return _from_integer(int(text))
        return _from_text(text)
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_integer(value)
    raise ValueError(f"a {type(value).__name__} is no timestamp; it takes RFC 3339 text or an integer since 1970")


def _from_text(text: str) -> datetime:
    match = _RFC3339.fullmatch(text)
    if match is None:
        if _RFC3339.fullmatch(text + "Z"):
            raise ValueError("the timestamp has no time zone; add Z or an offset such as +01:00")
        raise ValueError("not an RFC 3339 timestamp such as 2026-11-20T15:32:35Z")
    day, time_of_day, fraction, zone = match.groups()
    micros = (fraction or "0").ljust(6, "0")[:6]
    try:
        moment = datetime.fromisoformat(f"{day}T{time_of_day}.{micros}{zone.upper().replace('Z', '+00:00')}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a moment that exists: {error}") from None


def _from_integer(number: int) -> datetime:
    for unit in _UNITS:
        if _FIRST_SECOND * unit <= number < _LAST_SECOND * unit:
            return _EPOCH + timedelta(microseconds=number * 10**6 // unit)
    raise ValueError(
        "an integer timestamp counts s, ms, µs or ns since 1970, and this is none of them after 2001-09-09"
    )


def written(moment: datetime) -> str:
    """RFC 3339 in UTC with Z; a fraction only where there is one. Raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    text = moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return text.rstrip("0").rstrip(".") + "Z"


def whole_second(value: object) -> str:
    """The instant without its fraction: one alert comes with nanoseconds or without. Raises ValueError."""
    return written(parse(value).replace(microsecond=0))


def shifted(value: object, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> str:
    """The instant that much later (or earlier, for negative numbers). Raises ValueError."""
    try:
        return written(parse(value) + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))
    except OverflowError:
        raise ValueError("shifted beyond the years 1 to 9999") from None


def epoch_seconds(value: object) -> float:
    """Seconds since 1970-01-01T00:00:00Z. Instants compare rightly as these numbers, not as text."""
    return (parse(value) - _EPOCH) / timedelta(seconds=1)
