"""The fast path for Logpush times agrees with the general parser."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.instants import parse_instant
from remediation.reconciliation.post_delivery_events import instant
from remediation.reconciliation.result import microseconds


@given(st.datetimes(min_value=datetime(1, 1, 1)), st.integers(0, 6))  # noqa: DTZ001 -- its zone is written behind it
@example(datetime(2026, 11, 20, 16, 3, 12, 480_000), 2)  # noqa: DTZ001
def test_the_fast_path_agrees_with_the_general_parser(moment: datetime, digits: int) -> None:
    fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    text = f"{moment.replace(microsecond=0).isoformat()}{fraction}Z"
    assert instant("CompletedAt", text) == microseconds(parse_instant(text))


@pytest.mark.parametrize(
    "text", ["2026-11-20T24:00:00Z", "2026-02-30T10:00:00Z", "2026-11-20T10:60:00Z", "0000-01-01T00:00:00Z"]
)
def test_an_impossible_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CompletedAt is not a valid time"):
        instant("CompletedAt", text)


def test_a_leap_second_is_read_as_the_second_before() -> None:
    assert instant("CompletedAt", "2016-12-31T23:59:60Z") == instant("CompletedAt", "2016-12-31T23:59:59Z")
