"""The verdict and the open items of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from remediation.reports.facts import job_of, outcome_of
from remediation.reports.open_items import how_to_undo, open_items
from remediation.reports.verdict import sentence, verdict
from tests.remediation.reports.sample_job import job, job_facts, row


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (job_facts(completed=420), "All 420 messages found were moved to Junk Email."),
        (job_facts(completed=1), "The one message found was moved to Junk Email."),
        (job_facts(completed=3, action="RELEASE"), "All 3 messages found were released."),
        (job_facts(), "The search found no messages, so nothing was moved."),
        (job_facts(completed=8, failed=1), "8 of 9 messages found were moved to Junk Email; 1 failed."),
        (job_facts(failed=1), "The job failed: the one message found was not moved to Junk Email; it failed."),
        (job_facts(skipped=1), "The one message found was not moved to Junk Email; it was skipped."),
        (job_facts("DISCOVERING"), "The job is still running: it has found no messages so far."),
        (
            job_facts(completed=1, failed=2, skipped=3, cancelled=1),
            "1 of 7 messages found was moved to Junk Email; 2 failed, 3 were skipped and 1 was cancelled.",
        ),
        (job_facts("FAILED", failed=2), "The job failed: none of 2 messages found were moved to Junk Email; 2 failed."),
        (job_facts("FAILED"), "The job failed before it found any messages, so nothing was moved."),
        (
            job_facts("CANCELLED", completed=5, cancelled=4),
            "The job was cancelled: 5 of 9 messages found were moved to Junk Email; 4 were cancelled.",
        ),
        (
            job_facts("PROCESSING", completed=1, pending=1),
            "The job is still running: 1 of 2 messages found so far was moved to Junk Email.",
        ),
        ({}, "The outcome of the messages is not known."),
        ({"outcome": "failed"}, "The job failed. The number of messages that it reached is not known."),
    ],
)
def test_one_sentence_sums_up_the_job(given: dict[str, Any], expected: str) -> None:
    found = job_of(given)
    assert sentence(outcome_of(given, found), found) == expected


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
def test_the_badge_shows_the_outcome(outcome: str | None, words: str | None) -> None:
    assert verdict(outcome, job_of(job_facts(completed=1)))[0] == words


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        (job_facts(completed=3), []),
        (job_facts(), ["Nothing was found"]),
        ({}, ["The job is not known"]),
        (
            job_facts(completed=1, failed=1, skipped=2, cancelled=1),
            ["1 message failed", "1 message was cancelled", "2 messages were skipped"],
        ),
        (job_facts("PROCESSING", completed=1, pending=2), ["2 messages were still pending"]),
        (job_facts("DISCOVERING"), ["The job has not ended"]),
        (job_facts("FAILED", pending=2), ["The job failed"]),
        (job_facts("FAILED"), ["The job failed before it found any messages"]),
        (job_facts("CANCELLED"), ["The job was cancelled before it found any messages"]),
        ({"job": {"job_id": "7f6d1c0e-2f7b-4c55-9f0e-3f0f9f2f1a11"}}, ["The job's status is not known"]),
        (job_facts("PAUSED", completed=3), ["The job's status is not known"]),
        (job_facts("SKIPPED"), ["The job was skipped"]),
        ({"job": {"status": "COMPLETED"}}, ["The number of processed messages is not known"]),
        (job_facts("COMPLETED", completed=2) | {"outcome": "failed"}, []),
    ],
)
def test_everything_left_undone_is_an_open_item(given: dict[str, Any], titles: list[str]) -> None:
    found = job_of(given)
    assert [item.title for item in open_items(given, outcome_of(given, found), found)] == titles


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (job_facts(completed=1), "restore-messages"),
        (job_facts(failed=1), None),
        (job_facts(completed=1, action="RELEASE"), None),
        ({"job": job([row(0)], action_params={"destination": "RecoverableItemsPurges"})}, "an administrator can"),
    ],
)
def test_the_report_names_how_to_undo_a_job(given: dict[str, Any], words: str | None) -> None:
    found = how_to_undo(job_of(given))
    assert found is None if words is None else words in (found or "")


@pytest.mark.parametrize(("destination", "named"), [("DeletedItems", "DeletedItems"), ("<b>x; rm", "FOLDER")])
def test_the_next_command_for_cancelled_messages_names_only_a_known_folder(destination: str, named: str) -> None:
    given = job_facts("CANCELLED", completed=5, cancelled=4)
    found = replace(job_of(given), destination=destination)
    [item] = [item for item in open_items(given, outcome_of(given, found), found) if item.status == "CANCELLED"]
    assert f"cfes move-messages --export cancelled.ndjson --destination {named} --dry-run. " in item.advice
