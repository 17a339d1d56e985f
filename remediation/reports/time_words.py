"""Times and durations as a report says them."""

from __future__ import annotations

from datetime import UTC, datetime

from core.instants import parse_lenient
from remediation.reports.facts import text
from remediation.reports.wording import Wording


def duration(length: float) -> Wording:
    """Seconds in words: `850 ms`, `12.5 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    if length < 0:
        return Wording("less than nothing: the clocks differ")
    if length < 0.9995:
        return Wording(f"{length * 1000:.0f} ms")
    if length < 59.95:
        return Wording(f"{length:.1f} s")
    whole = round(length)
    if whole < 3600:
        return Wording(f"{whole // 60} min {whole % 60:02d} s")
    if whole < 86400:
        return Wording(f"{whole // 3600} h {whole % 3600 // 60:02d} min")
    return Wording(f"{whole // 86400:,} d {whole % 86400 // 3600} h")


def point_in_time(value: object) -> Wording | str | None:
    """A time as `2026-11-20 15:32:35 UTC`; what is no time stays foreign text."""
    found = value if isinstance(value, datetime) else parse_lenient(value)
    return Wording(found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")) if found else text(value)
