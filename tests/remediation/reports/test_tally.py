"""Counts over a job's rows: exact up to a limit, and always in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.instants import parse_lenient
from remediation.reports import durations, ranking, tables, timeline
from remediation.reports.durations import EXACT_LIMIT, Durations
from remediation.reports.ranking import Ranking, Share
from remediation.reports.report import render
from remediation.reports.tally import Tally
from remediation.reports.timeline import SLOTS_LIMIT, Processed, Timeline, milliseconds
from tests.exhaustive import exhaustive_unless
from tests.remediation.reports.sample_job import job, row

START = datetime(2026, 11, 20, 15, 40, tzinfo=UTC)
CREATED = milliseconds(START)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_percentiles_are_exact_by_nearest_rank() -> None:
    durations = Durations()
    for number in random.Random(3).sample(range(1, 1001), 1000):
        durations.add(number / 1000)
    assert (durations.percentile(50), durations.percentile(95), durations.longest) == (0.5, 0.95, 1.0)
    assert durations.exact
    assert Durations().percentile(50) is None
    assert Durations().longest is None


def test_any_number_of_repeated_durations_stays_exact() -> None:
    durations = Durations()
    for number in range(3 * EXACT_LIMIT):
        durations.add(number % 100)
    assert durations.exact
    assert durations.percentile(95) == 94


@pytest.mark.parametrize("scale", exhaustive_unless({1.0}, [0.1, 1.0, 1e6]))
def test_beyond_the_limit_percentiles_are_accurate_to_a_twentieth_of_a_percent(scale: float) -> None:
    rng = random.Random(7)
    given = [scale * rng.lognormvariate(3, 1) for _ in range(2 * EXACT_LIMIT)]
    durations = Durations()
    for length in given:
        durations.add(length)
    assert not durations.exact
    given.sort()
    for percent in (1, 50, 95, 100):
        exact = given[-(-len(given) * percent // 100) - 1]
        # Accurate to half a step and half a microsecond.
        assert durations.percentile(percent) == pytest.approx(exact, rel=0.0005, abs=1e-6)
    assert durations.longest == pytest.approx(given[-1], abs=1e-6)
    assert len(durations._seen) < EXACT_LIMIT


def test_negative_durations_are_counted_separately() -> None:
    durations = Durations()
    for length in (-1, 0, 2):
        durations.add(length)
    assert (durations.count, durations.backwards, durations.percentile(50)) == (2, 1, 0)


def test_a_timeline_is_exact_to_the_millisecond() -> None:
    timeline = Timeline()
    for status, seconds in [("COMPLETED", 2), ("FAILED", 1), ("SKIPPED", 1.001), ("CANCELLED", 3), ("PENDING", 0)]:
        timeline.add(status, after(seconds))
    timeline.add("COMPLETED", None)
    moments = [CREATED + offset for offset in (0, 999, 1000, 1001, 2000, 9000)]
    assert list(timeline.at(moments)) == [
        Processed(0, 0, 0),
        Processed(0, 0, 0),
        Processed(0, 1, 0),
        Processed(0, 1, 1),
        Processed(1, 1, 1),
        Processed(1, 1, 2),
    ]
    assert (timeline.first, timeline.last) == (CREATED + 1000, CREATED + 3000)
    assert timeline.untimed == 1


def test_a_long_timeline_stays_small_and_counts_no_message_too_early() -> None:
    timeline = Timeline()
    number = 30_000
    for place in range(number):
        timeline.add("COMPLETED", after(place))
    assert len(timeline._slots) <= SLOTS_LIMIT
    half, end = timeline.at([CREATED + 15_000_000, CREATED + 1000 * (number - 1)])
    assert 15_001 - timeline.slot_ms / 1000 - 1 <= half.done <= 15_001
    assert end.done == number


def test_a_distant_time_does_not_reduce_the_precision_of_others() -> None:
    timeline = Timeline()
    timeline.add("COMPLETED", datetime(1970, 1, 1, tzinfo=UTC))
    for place in range(100):
        timeline.add("COMPLETED", after(place))
    assert timeline.slot_ms == 1


def test_durations_are_measured_for_each_message() -> None:
    scanned = {"scanned_at": "2026-11-20T15:30:00Z"}
    tally = Tally(
        [
            row(0, message=scanned),
            row(1, "FAILED", processed_at="2026-11-20T15:40:20Z", message=scanned),
            row(2, "SKIPPED", processed_at="2026-11-20T15:40:00Z", message=scanned),
            row(3, "COMPLETED", processed_at=None, message={"scanned_at": "2026-11-20T15:50:00Z"}),
            row(4, message={"scanned_at": "soon"}, created_at=7),
        ],
        START,
    )
    assert (tally.scanned_to_created.count, tally.scanned_to_created.backwards) == (3, 1)
    assert tally.scanned_to_created.percentile(50) == 600
    assert tally.created_to_processed.count == 2
    assert tally.created_to_processed.longest == 20
    assert (tally.scanned_to_done.count, tally.scanned_to_done.longest) == (1, 610)


def test_rows_are_ranked_with_their_outcomes() -> None:
    tally = Tally([row(0), row(1, "FAILED"), row(2, "SKIPPED"), row(3, action_params={"destination": "Elsewhere"})])
    assert [tuple(share) for share in tally.destinations.top(5)] == [
        ("JunkEmail", 3, False, 1, 1),
        ("Elsewhere", 1, False, 1, 0),
    ]
    assert [tuple(share) for share in tally.destinations.top(0)] == [(None, 4, True, 2, 1)]


def test_a_ranking_ends_with_all_others() -> None:
    ranking = Ranking()
    for name in ["b"] * 3 + ["a"] * 3 + ["c", "d", None, "", 7]:
        ranking.add(name)
    assert ranking.top(3)[:3] == [Share("a", 3), Share("b", 3), Share(None, 3)]
    assert ranking.top(2) == [Share("a", 3), Share("b", 3), Share(None, 5, others=True)]
    assert ranking.total == 11


def test_a_ranking_keeps_at_most_20000_values() -> None:
    ranking = Ranking()
    for number in range(25_000):
        ranking.add(f"d{number}.example")
    assert ranking.top(1)[-1] == Share(None, 24_999, others=True)
    assert len(ranking._counts) == 20_000


def test_failed_rows_come_first_and_each_status_has_at_most_fifty() -> None:
    tally = Tally([*(row(n, "SKIPPED") for n in range(100)), *(row(n, "FAILED") for n in range(100, 105))])
    groups = tally.not_succeeded_by_status()
    assert [(status, len(rows)) for status, rows in groups.items()] == [("FAILED", 5), ("SKIPPED", 50)]
    assert tally.not_succeeded_count == 105


def test_a_job_of_any_size_is_reported_in_flat_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "EXACT_LIMIT", 2000)
    monkeypatch.setattr(timeline, "SLOTS_LIMIT", 128)
    for module in (ranking, tables):
        monkeypatch.setattr(module, "DISTINCT_LIMIT", 2000)
    # Tracing starts when every exact count is beyond its limit, because it makes each row three times as slow.
    kept = []

    def rows() -> Iterator[dict[str, Any]]:
        rng = random.Random(1)
        for place in range(11_001):
            if place == 5000:
                tracemalloc.start()
            if place in {6000, 11_000}:
                kept.append(tracemalloc.get_traced_memory()[0])
            yield {
                "status": "COMPLETED" if place % 2 else "FAILED",
                "status_message": f"reason {place}",
                "action_params": {"client_recipient": f"u@d{place}.example", "destination": f"Folder {place}"},
                "created_at": "2026-11-20T15:40:00Z",
                "processed_at": after(1000 + place * 0.01 + rng.random()).isoformat(),
                "message": {"scanned_at": after(-rng.lognormvariate(8, 0.1)).isoformat(), "final_disposition": "SPAM"},
            }

    found = render({"job": job([]), "rows": rows()}, "html")
    tracemalloc.stop()
    # A list with one number of each row would take 40 KB more.
    assert kept[1] - kept[0] < 40_000
    assert "accurate to 0.05" in found
    assert "More than 2,000 different values" in found
    assert len(found) < 100_000


def test_malformed_times_are_ignored() -> None:
    bad: list[object] = ["", "x", 7, None, {}, "0001-01-01T00:00:00+14"]
    tally = Tally([row(0, processed_at=one, created_at=one) for one in bad])
    assert tally.timeline.first is None
    assert tally.timeline.untimed == 6
    assert parse_lenient("2026-11-20T15:40:00Z") == START
