"""The chart of a job's progress, and its table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from remediation.reports.facts import job_of
from remediation.reports.progress import HEIGHT, WIDTH, Progress, progress_of
from remediation.reports.tally import Tally
from tests.remediation.reports.sample_job import job, row


def rows_at(*times: str | None, status: str = "COMPLETED") -> list[dict[str, Any]]:
    """Return rows that were processed at these times of 2026-11-20; the job was created at 15:40:00."""
    return [
        row(number, status, processed_at=None if time is None else f"2026-11-20T{time}Z")
        for number, time in enumerate(times)
    ]


def progress(rows: list[dict[str, Any]], **fields: Any) -> Progress:
    found = progress_of(job_of({"job": job(rows, **fields)}), Tally(rows))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rows", "fields", "sentence"),
    [
        (
            rows_at("15:40:10", "15:41:00", "15:43:00"),
            {},
            "Half of the messages were processed within 1 min 00 s of the job's creation, and all 3 within 3 min 00 s.",
        ),
        (
            [*rows_at("15:40:10", "15:41:00"), row(9, "PENDING")],
            {"status": "PROCESSING", "completed_at": None},
            "2 of 3 messages were processed within 1 min 00 s of the job's creation, half of those within 10.0 s.",
        ),
        (rows_at("15:40:10"), {}, "The one message was processed 10.0 s after the job was created."),
        (
            rows_at("15:40:10", "15:41:10"),
            {"created_at": None},
            "Processing all 2 messages took 1 min 00 s from the first to the last.",
        ),
        (rows_at("15:40:10"), {"created_at": None}, "The one message was processed."),
        (
            rows_at("15:40:10", "15:41:00", None),
            {},
            "2 of 3 messages were processed within 1 min 00 s of the job's creation, half of those within 10.0 s.",
        ),
    ],
)
def test_one_sentence_sums_up_the_progress(rows: list[dict[str, Any]], fields: dict[str, Any], sentence: str) -> None:
    assert progress(rows, **fields).sentence == sentence


def test_the_table_has_a_line_for_each_tick_and_one_for_the_end() -> None:
    rows = [
        *rows_at(*["15:40:10", "15:41:00"] * 5),
        *rows_at("15:41:30", status="FAILED"),
        *rows_at("15:40:01", status="SKIPPED"),
    ]
    found = progress(rows)
    assert [tick.label for tick in found.ticks] == ["0", "1 min", "2 min", "3 min"]
    assert [(moment.after, *moment.processed, moment.remaining) for moment in found.moments] == [
        ("1 min 00 s", 10, 0, 1, 1),
        ("2 min 00 s", 10, 1, 1, 0),
        ("3 min 00 s", 10, 1, 1, 0),
        ("3 min 12 s", 10, 1, 1, 0),
    ]
    assert found.moments[0].at == "2026-11-20 15:41:00 UTC"
    assert [area.name for area in found.areas] == ["Skipped or cancelled", "Failed", "Moved"]
    assert found.columns == ["Moved", "Failed", "Skipped, cancelled", "Remaining"]


@pytest.mark.parametrize(("number", "drawn"), [(1, False), (9, False), (10, True)])
def test_a_few_messages_have_a_sentence_and_no_chart(number: int, drawn: bool) -> None:
    found = progress(rows_at(*(f"15:40:{second + 10}" for second in range(number))))
    assert bool(found.areas) is drawn
    assert found.columns == ["Moved", "Remaining"]


@pytest.mark.parametrize(("done", "failed", "skipped"), [(9_999, 1, 0), (2_000, 3, 1), (1, 12, 3)])
def test_an_area_with_messages_is_at_least_two_pixels_high(done: int, failed: int, skipped: int) -> None:
    rows = [
        *rows_at(*["15:41:00"] * done),
        *rows_at(*["15:41:00"] * failed, status="FAILED"),
        *rows_at(*["15:41:00"] * skipped, status="SKIPPED"),
    ]
    tops = [HEIGHT - float(re.findall(r"V([\d.]+)", area.path)[-2]) for area in progress(rows).areas]
    assert max(tops) == pytest.approx(HEIGHT, abs=0.01)
    for higher, lower in zip(tops, [*tops[1:], 0.0], strict=True):
        assert (higher - lower) * 150 / HEIGHT > 1.98


def test_areas_rise_in_steps_inside_the_chart() -> None:
    found = progress([*rows_at(*(f"15:4{minute}:{second:02d}" for minute in range(3) for second in range(0, 60, 7)))])
    for area in found.areas:
        assert re.fullmatch(rf"M0 {HEIGHT}(H[\d.]+V[\d.]+)*H{WIDTH}V{HEIGHT}Z", area.path)
        assert all(0 <= float(number) <= WIDTH for number in re.findall(r"H([\d.]+)", area.path))
        heights = [float(number) for number in re.findall(r"V([\d.]+)", area.path)][:-1]
        assert heights == sorted(heights, reverse=True)
        assert heights[-1] == 0


@pytest.mark.parametrize(
    ("ended", "labels"),
    [
        ("2026-11-20T15:40:00.900Z", ["0"]),
        ("2026-11-20T15:40:04Z", ["0", "1 s", "2 s", "3 s"]),
        ("2026-11-20T15:42:30Z", ["0", "30 s", "1 min", "90 s", "2 min"]),
        ("2026-11-20T17:45:00Z", ["0", "30 min", "1 h", "1 h 30", "2 h"]),
        ("2026-11-23T15:00:00Z", ["0", "1 d", "2 d"]),
        ("2027-11-20T15:40:00Z", ["0", "77 d", "154 d", "231 d", "308 d"]),
    ],
)
def test_ticks_of_the_axis_are_round_numbers(ended: str, labels: list[str]) -> None:
    assert [tick.label for tick in progress(rows_at("15:40:00.5"), completed_at=ended).ticks] == labels


def test_without_a_time_span_there_is_no_chart() -> None:
    found = progress(rows_at("15:40:00", "15:40:00"), completed_at=None)
    assert (found.areas, found.ticks) == ([], [])
    assert [moment.processed.done for moment in found.moments] == [2]


def test_a_row_older_than_the_job_shifts_the_start_and_gives_a_note() -> None:
    found = progress(rows_at("15:39:00", "15:41:00"))
    assert found.moments[-1].after == "4 min 12 s"
    assert "Times count from the first message" in found.notes[0]


@pytest.mark.parametrize(
    ("times", "fields", "expected"),
    [
        # Of 12 discovered and processed messages, 2 have a time. The others count neither as remaining nor as done.
        (["15:41:00", "15:42:00", *[None] * 10], {}, (12, 10, 0)),
        # The job counts 30 messages; there are 12 rows.
        (["15:41:00"] * 12, {"total_messages_discovered": 30, "messages_successful": 30}, (30, 18, 0)),
        (["15:41:00"] * 12, {"total_messages_discovered": 30, "messages_pending": 18, "status": "FAILED"}, (30, 0, 18)),
        (
            ["15:41:00", "15:41:30", None],
            {"status": "PROCESSING", "completed_at": None, "total_messages_discovered": 9, "messages_pending": 6},
            (9, 1, 6),
        ),
    ],
)
def test_progress_counts_all_discovered_messages_and_those_without_a_time(
    times: list[str | None], fields: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    found = progress(rows_at(*times), **fields)
    assert (found.total, found.untimed, found.moments[-1].remaining) == expected
    timed = sum(time is not None for time in times)
    assert f"{timed} of {found.total} messages were processed" in found.sentence
    noun = "message has" if expected[1] == 1 else "messages have"
    without = f"{expected[1]} {noun} no processing time in the rows."
    assert (without in found.notes) is bool(expected[1])


def test_without_times_there_is_no_progress() -> None:
    rows = rows_at(None, None)
    assert progress_of(job_of({"job": job(rows)}), Tally(rows)) is None
    assert progress_of(job_of({"job": job(rows)}), None) is None
