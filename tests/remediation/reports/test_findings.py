"""What a report concludes from a job's numbers."""

from __future__ import annotations

from typing import Any

import pytest

from core.instants import parse_lenient
from remediation.reports.facts import job_of, outcome_of
from remediation.reports.findings import left_open, sentence, verdict, way_back
from remediation.reports.integrity import (
    Check,
    CheckState,
    checks,
    completeness,
    disagreement,
    equation,
    rows_against_counters,
    summary,
)
from remediation.reports.ranking import Ranking, Share
from remediation.reports.tally import Tally
from remediation.reports.time_words import duration, point_in_time
from remediation.reports.wording import Wording
from tests.remediation.reports.sample_job import job, row


def told(status: str = "COMPLETED", action: str = "MOVE", **numbers: int) -> dict[str, Any]:
    """Facts with a job of so many messages of each status."""
    rows = [row(0, name.upper()) for name, number in numbers.items() for _ in range(number)]
    return {"job": job(rows, status=status, action_type=action)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (told(completed=420), "All 420 messages found were moved to Junk Email."),
        (told(completed=1), "The one message found was moved to Junk Email."),
        (told(completed=3, action="RELEASE"), "All 3 messages found were released."),
        (told(), "The search found no message, so nothing was moved."),
        (told(completed=8, failed=1), "8 of 9 messages found were moved to Junk Email; 1 failed."),
        (told(failed=1), "The job failed: the one message found was not moved to Junk Email; it failed."),
        (told(skipped=1), "The one message found was not moved to Junk Email; it was skipped."),
        (told("DISCOVERING"), "The job is still running: it has found no message so far."),
        (
            told(completed=1, failed=2, skipped=3, cancelled=1),
            "1 of 7 messages found was moved to Junk Email; 2 failed, 3 were skipped and 1 was cancelled.",
        ),
        (told("FAILED", failed=2), "The job failed: none of 2 messages found were moved to Junk Email; 2 failed."),
        (told("FAILED"), "The job failed before it found a message, so nothing was moved."),
        (
            told("CANCELLED", completed=5, cancelled=4),
            "The job was cancelled: 5 of 9 messages found were moved to Junk Email; 4 were cancelled.",
        ),
        (
            told("PROCESSING", completed=1, pending=1),
            "The job is still running: 1 of 2 messages found so far was moved to Junk Email.",
        ),
        ({}, "What became of the messages is not known."),
        ({"outcome": "failed"}, "The job failed; how many messages it reached is not known."),
    ],
)
def test_what_happened_is_one_sentence(given: dict[str, Any], expected: str) -> None:
    found = job_of(given)
    assert sentence(outcome_of(given, found), found) == expected


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        (told(completed=3), []),
        (told(), ["Nothing was found"]),
        ({}, ["The job is not known"]),
        (
            told(completed=1, failed=1, skipped=2, cancelled=1),
            ["1 message failed", "1 message was cancelled", "2 messages were skipped"],
        ),
        (told("PROCESSING", completed=1, pending=2), ["2 messages were still pending"]),
        (told("DISCOVERING"), ["The job has not ended"]),
        (told("FAILED", pending=2), ["The job failed"]),
        (told("FAILED"), ["The job failed before it found a message"]),
        (told("CANCELLED"), ["The job was cancelled before it found a message"]),
        ({"job": {"job_id": "7f6d1c0e-2f7b-4c55-9f0e-3f0f9f2f1a11"}}, ["The job's status is not known"]),
        (told("PAUSED", completed=3), ["The job's status is not known"]),
        (told("SKIPPED"), ["The job was skipped"]),
        ({"job": {"status": "COMPLETED"}}, ["How many messages the job dealt with is not known"]),
        (told("COMPLETED", completed=2) | {"outcome": "failed"}, []),
    ],
)
def test_all_that_was_not_done_is_named(given: dict[str, Any], titles: list[str]) -> None:
    found = job_of(given)
    assert [point.title for point in left_open(given, outcome_of(given, found), found)] == titles


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("succeeded", "Succeeded"),
        ("partial", "Partly succeeded"),
        ("running", "Still running"),
        ("new", "new"),
        (None, None),
    ],
)
def test_the_outcome_has_a_word(outcome: str | None, words: str | None) -> None:
    assert verdict(outcome, job_of(told(completed=1)))[0] == words


def test_the_counters_must_add_up() -> None:
    given = told(completed=5, failed=1)
    assert equation(job_of(given)).state == "ok"
    given["job"]["messages_failed"] = 2
    assert equation(job_of(given)).state == "failed"
    assert equation(job_of({})).state == "unknown"


def test_counters_that_an_older_service_does_not_report_are_named() -> None:
    given = told(completed=5)
    del given["job"]["messages_skipped"], given["job"]["messages_cancelled"]
    found = equation(job_of(given))
    assert found.state == "ok"
    assert "does not report skipped or cancelled messages" in found.text


def test_rows_are_held_against_the_counters() -> None:
    rows = [row(0), row(1), row(2, "FAILED"), row(3, "PROCESSING"), row(4, "PENDING")]
    given = {"job": job(rows, messages_pending=2, total_messages_discovered=5)}
    assert rows_against_counters(job_of(given), Tally(rows)).state == "ok"
    found = rows_against_counters(job_of(given), Tally(rows[1:]))
    assert found.state == "failed"
    assert "completed: 1 row, 2 counted" in found.text
    assert rows_against_counters(job_of(given), None).state == "unknown"
    assert rows_against_counters(job_of({}), Tally(rows)).state == "unknown"


def test_evidence_that_differs_is_something_to_do_unless_the_job_runs() -> None:
    given = told(completed=5)
    given["job"]["messages_failed"] = 2
    given["job"]["total_messages_discovered"] = 9
    rows = Tally([row(number) for number in range(4)])
    found = disagreement(checks(given, job_of(given), rows), job_of(given))
    assert found is not None
    assert found.title == "The job's counters contradict each other"
    assert len(found.others) == 1
    given["job"]["status"] = "PROCESSING"
    open_checks = checks(given, job_of(given), rows)
    assert disagreement(open_checks, job_of(given)) is None
    assert "Differs" not in [check.label for check in open_checks]


@pytest.mark.parametrize(
    ("export", "title"),
    [
        ({"missing": 1, "complete": False}, "The export lacks 1 row"),
        ({"missing": 2, "complete": None}, "The export lacks 2 rows"),
        ({"missing": 0, "complete": False}, "The export is not proved complete"),
    ],
)
def test_an_export_that_lacks_rows_is_told_once_with_all_that_follows(export: dict[str, Any], title: str) -> None:
    given = told(completed=3) | {"export": export}
    found = disagreement(checks(given, job_of(given), Tally([row(0)])), job_of(given))
    assert found is not None
    assert found.title == title
    assert found.others == ["Rows and counters by status: completed: 1 row, 3 counted."]
    assert [point.title for point in left_open(given, "succeeded", job_of(given))] == []


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["ok", "ok"], "all 2 checks agree"),
        (["ok", "failed", "unknown"], "1 of 3 checks differs"),
        (["failed", "failed"], "2 of 2 checks differ"),
        (["ok", "unknown"], "1 of 2 checks made, it agrees"),
        (["ok", "ok", "unknown"], "2 of 3 checks made, all agree"),
        (["ok"], "the one check agrees"),
        (["ok", "open"], "1 of 2 checks can be decided only when the job has ended"),
        (["unknown"], "no check could be made"),
    ],
)
def test_the_checks_are_summed_up(states: list[CheckState], words: str) -> None:
    assert summary([Check(state, Wording("")) for state in states])[0] == words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (told(completed=1), "restore-messages"),
        (told(failed=1), None),
        (told(completed=1, action="RELEASE"), None),
        ({"job": job([row(0)], action_params={"destination": "RecoverableItemsPurges"})}, "an administrator can"),
    ],
)
def test_the_way_back_is_named_where_there_is_one(given: dict[str, Any], words: str | None) -> None:
    found = way_back(job_of(given))
    assert found is None if words is None else words in (found or "")


@pytest.mark.parametrize(("complete", "state"), [(True, "ok"), (False, "failed"), (None, "unknown")])
def test_completeness_is_what_the_export_said(complete: bool | None, state: str) -> None:
    assert completeness({"rows": 3, "expected": 3, "complete": complete}).state == state


def test_a_ranking_ends_with_all_others() -> None:
    ranking = Ranking()
    for name in ["b"] * 3 + ["a"] * 3 + ["c", "d", None, "", 7]:
        ranking.add(name)
    assert ranking.top(3)[:3] == [Share("a", 3), Share("b", 3), Share(None, 3)]
    assert ranking.top(2) == [Share("a", 3), Share("b", 3), Share(None, 5, others=True)]
    assert ranking.total == 11


def test_a_ranking_stays_small_however_many_values_an_attacker_makes_up() -> None:
    ranking = Ranking()
    for number in range(25_000):
        ranking.add(f"d{number}.example")
    assert ranking.top(1)[-1] == Share(None, 24_999, others=True)
    assert len(ranking._counts) == 20_000


def test_failed_rows_come_first_among_fifty() -> None:
    tally = Tally([*(row(n, "SKIPPED") for n in range(100)), *(row(n, "FAILED") for n in range(100, 105))])
    assert [item["status"] for item in tally.not_succeeded] == ["FAILED"] * 5 + ["SKIPPED"] * 45
    assert tally.not_succeeded_count == 105


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0.85, "850 ms"),
        (12.46, "12.5 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 4 h"),
        (-1, "less than nothing: the clocks differ"),
    ],
)
def test_a_duration_is_said_in_words(length: float, words: str) -> None:
    assert duration(length) == words


def test_a_time_is_shown_in_utc_and_what_is_none_as_it_is() -> None:
    assert point_in_time("2026-11-20T17:32:35+02:00") == "2026-11-20 15:32:35 UTC"
    assert point_in_time("2026-11-20T15:32:35") == "2026-11-20 15:32:35 UTC"
    assert point_in_time("yesterday") == "yesterday"
    assert point_in_time(None) is None
    assert parse_lenient("0001-01-01T00:00:00+14:00") is None
