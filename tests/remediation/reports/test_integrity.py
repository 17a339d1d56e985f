"""The integrity checks of a report."""

from __future__ import annotations

from typing import Any

import pytest

from remediation.reports.facts import job_of
from remediation.reports.integrity import (
    Check,
    CheckState,
    check_completeness,
    check_counters,
    check_rows,
    checks,
    mismatch,
    summary,
)
from remediation.reports.open_items import open_items
from remediation.reports.own_words import Wording
from remediation.reports.tally import Tally
from tests.remediation.reports.sample_job import job, job_facts, row


def test_the_counters_must_add_up() -> None:
    given = job_facts(completed=5, failed=1)
    assert check_counters(job_of(given)).state == "ok"
    given["job"]["messages_failed"] = 2
    assert check_counters(job_of(given)).state == "failed"
    assert check_counters(job_of({})).state == "unknown"


def test_the_check_names_counters_that_the_api_does_not_report() -> None:
    given = job_facts(completed=5)
    del given["job"]["messages_skipped"], given["job"]["messages_cancelled"]
    found = check_counters(job_of(given))
    assert found.state == "ok"
    assert "does not report skipped or cancelled messages" in found.text


def test_rows_are_compared_with_the_counters() -> None:
    rows = [row(0), row(1), row(2, "FAILED"), row(3, "PROCESSING"), row(4, "PENDING")]
    given = {"job": job(rows, messages_pending=2, total_messages_discovered=5)}
    assert check_rows(job_of(given), Tally(rows)).state == "ok"
    found = check_rows(job_of(given), Tally(rows[1:]))
    assert found.state == "failed"
    assert "completed: 1 row, counter 2" in found.text
    assert check_rows(job_of(given), None).state == "unknown"
    assert check_rows(job_of({}), Tally(rows)).state == "unknown"


def test_a_mismatch_is_a_problem_only_after_the_job_has_ended() -> None:
    given = job_facts(completed=5)
    given["job"]["messages_failed"] = 2
    given["job"]["total_messages_discovered"] = 9
    rows = Tally([row(number) for number in range(4)])
    found = mismatch(checks(given, job_of(given), rows), job_of(given))
    assert found is not None
    assert found.title == "The job's counters contradict each other"
    assert len(found.others) == 1
    given["job"]["status"] = "PROCESSING"
    open_checks = checks(given, job_of(given), rows)
    assert mismatch(open_checks, job_of(given)) is None
    assert "Mismatch" not in [check.label for check in open_checks]


@pytest.mark.parametrize(
    ("export", "title"),
    [
        ({"missing": 1, "complete": False}, "The export lacks 1 row"),
        ({"missing": 2, "complete": None}, "The export lacks 2 rows"),
        ({"missing": 0, "complete": False}, "The export is not proved complete"),
    ],
)
def test_missing_rows_give_one_problem_that_lists_the_others(export: dict[str, Any], title: str) -> None:
    given = job_facts(completed=3) | {"export": export}
    found = mismatch(checks(given, job_of(given), Tally([row(0)])), job_of(given))
    assert found is not None
    assert found.title == title
    assert found.others == ["Rows and counters by status: completed: 1 row, counter 3."]
    assert [item.title for item in open_items(given, "succeeded", job_of(given))] == []


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["ok", "ok"], "all 2 checks passed"),
        (["ok", "failed", "unknown"], "1 of 3 checks failed"),
        (["failed", "failed"], "2 of 2 checks failed"),
        (["ok", "unknown"], "1 of 2 checks made, it passed"),
        (["ok", "ok", "unknown"], "2 of 3 checks made, all passed"),
        (["ok"], "the one check passed"),
        (["ok", "open"], "1 of 2 checks must wait until the job has ended"),
        (["unknown"], "no check was possible"),
    ],
)
def test_the_checks_are_summed_up(states: list[CheckState], words: str) -> None:
    assert summary([Check(state, Wording("")) for state in states])[0] == words


@pytest.mark.parametrize(("complete", "state"), [(True, "ok"), (False, "failed"), (None, "unknown")])
def test_completeness_is_taken_from_the_export(complete: bool | None, state: str) -> None:
    assert check_completeness({"rows": 3, "expected": 3, "complete": complete}).state == state
