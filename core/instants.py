"""Instants: RFC 3339 text with a zone, in UTC, as the API and the playbooks use it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# RFC 3339, section 5.6. The zone is required: a time without one means different instants in different places.
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", flags=re.ASCII)
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", flags=re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# 2001-09-09 to 2286-11-20 in seconds. Within this range the size of a number identifies its unit.
_FIRST_SECOND, _LAST_SECOND = 10**9, 10**10
_UNITS = (1, 10**3, 10**6, 10**9)


def parse_instant(value: object) -> datetime:
    """Return an RFC 3339 date-time, or a datetime with a zone, in UTC. Digits beyond microseconds are dropped.

    Raises: ValueError with a text that completes "the value …".
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("has no time zone")
        return value.astimezone(UTC)
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, str) and _WITHOUT_ZONE.fullmatch(value):
            raise ValueError("must have a time of day and a time zone, like 2026-11-20T15:32:35Z")
        raise ValueError("must be an RFC 3339 date-time, like 2026-11-20T15:32:35Z")
    day, time_of_day, fraction, zone = match.groups()
    micros = (fraction or "0").ljust(6, "0")[:6]
    try:
        moment = datetime.fromisoformat(f"{day}T{time_of_day}.{micros}{zone.upper().replace('Z', '+00:00')}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a date that exists") from None


def instant_or_none(value: object) -> datetime | None:
    """Return the instant as parse_instant does; None if it is not valid."""
    try:
        return parse_instant(value)
    except ValueError:
        return None


def parse_timestamp(value: object) -> datetime:
    """Return an RFC 3339 date-time, or an integer since 1970 in s, ms, µs or ns, in UTC.

    Logpush writes Timestamp fields in either form (`timestamp_format`: rfc3339, unix, unixnano); text columns hold
    the integer as digits. The size of an integer determines its unit. Raises: ValueError, as parse_instant.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= 20:
            return _from_integer(int(text))
        return parse_instant(text)
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_integer(value)
    raise ValueError(f"must be RFC 3339 text or an integer since 1970, not {type(value).__name__}")


def parse_lenient(value: object) -> datetime | None:
    """Return an ISO 8601 text as an instant in UTC, or None for any other value. A missing zone means UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_instant(moment: datetime) -> str:
    """Return RFC 3339 in UTC as the API writes it: 2026-11-20T15:32:35Z, or with all six digits of microseconds."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_shortest(moment: datetime) -> str:
    """Return RFC 3339 in UTC without trailing zeros in the fraction. Raises: ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("has no time zone")
    text = moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return text.rstrip("0").rstrip(".") + "Z"


def format_sortable(moment: datetime) -> str:
    """Return RFC 3339 in UTC with six digits of the fraction: such texts sort as their instants do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def whole_second(value: object) -> str:
    """Return a timestamp without its fraction, because copies of one alert differ in it. Raises: ValueError."""
    return format_shortest(parse_timestamp(value).replace(microsecond=0))


def shift(value: object, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> str:
    """Return the timestamp moved later, or earlier for negative numbers. Raises: ValueError."""
    try:
        moved = parse_timestamp(value) + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError("is shifted beyond the years 1 to 9999") from None
    return format_shortest(moved)


def epoch_seconds(value: object) -> float:
    """Return a timestamp as seconds since 1970-01-01T00:00:00Z. Unlike texts, numbers compare correctly."""
    return (parse_timestamp(value) - _EPOCH) / timedelta(seconds=1)


def _from_integer(number: int) -> datetime:
    for unit in _UNITS:
        if _FIRST_SECOND * unit <= number < _LAST_SECOND * unit:
            return _EPOCH + timedelta(microseconds=number * 10**6 // unit)
    raise ValueError("must count s, ms, µs or ns since 1970, and be after 2001-09-09")
