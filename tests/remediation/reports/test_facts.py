"""Durations and times as a report shows them."""

from __future__ import annotations

import pytest

from core.instants import parse_lenient
from remediation.reports.facts import duration, point_in_time


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0.85, "850 ms"),
        (12.46, "12.5 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 4 h"),
        (-1, "negative: the clocks differ"),
    ],
)
def test_a_duration_is_shown_in_words(length: float, words: str) -> None:
    assert duration(length) == words


def test_a_time_is_shown_in_utc_and_any_other_text_unchanged() -> None:
    assert point_in_time("2026-11-20T17:32:35+02:00") == "2026-11-20 15:32:35 UTC"
    assert point_in_time("2026-11-20T15:32:35") == "2026-11-20 15:32:35 UTC"
    assert point_in_time("yesterday") == "yesterday"
    assert point_in_time(None) is None
    assert parse_lenient("0001-01-01T00:00:00+14:00") is None
