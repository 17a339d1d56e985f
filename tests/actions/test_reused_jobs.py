"""A create that reuses an ended job reports that it moved nothing, and the remaining messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, release_job, restore_messages, wait_for_job
from connectors.email_security import EmailSecurity
from remediation.jobs import remaining
from sandbox.clock import SECOND
from sandbox.message import MOVED, QUARANTINED, Copy, LogEntry, Sender
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, delivered, moved_by_job
from tests.conftest import CAMPAIGN
from tests.exhaustive import exhaustive_unless

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

Connect = Callable[..., EmailSecurity]

ATTACKER = Sender(str(CAMPAIGN["sender"]))
MOVE: dict[str, Any] = {"search_params": CAMPAIGN, "destination": "JunkEmail", "idempotency_key": "case-42"}
QUARANTINE_SEARCH = {
    "sender": "statements@partner-bank.example",
    "delivery_status": "quarantined",
    "detections_only": False,
}


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def run_to_end(api: EmailSecurity, run: Callable[..., dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    made = run(params, api)
    wait_for_job.run({"job_id": made["job_id"]}, api)
    return made


def rerun(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    """Run the create again and return the `reused` object of the result."""
    again = create_move_job.run({**MOVE, **changes}, api)
    assert again["created"] is False
    assert again["reused"]["created_at"] == again["job"]["created_at"]
    reused: dict[str, Any] = again["reused"]
    return reused


def test_a_new_job_is_not_a_reused_one(api: EmailSecurity) -> None:
    assert create_move_job.run(MOVE, api)["reused"] is None


def test_a_reused_job_without_remaining_messages(api: EmailSecurity) -> None:
    run_to_end(api, create_move_job.run, MOVE)
    reused = rerun(api)
    assert (reused["ended"], reused["remaining"], reused["not_counted"]) == (True, 0, None)
    assert reused["message"].startswith("This call moved nothing: job ")
    assert "No message of its search is still delivered" in reused["message"]
    assert create_move_job.ACTION.verdict is not None
    assert create_move_job.ACTION.verdict(create_move_job.run(MOVE, api)) == 0


def test_a_message_delivered_after_the_job_remains(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    run_to_end(api, create_move_job.run, MOVE)
    delivered(sandbox, "dana@corp.example", sender=ATTACKER)
    again = create_move_job.run(MOVE, api)
    assert (again["created"], again["reused"]["remaining"]) == (False, 1)
    assert "1 message of its search is still delivered." in again["reused"]["message"]
    assert "another idempotency_key" in again["reused"]["next"]
    assert create_move_job.ACTION.verdict is not None
    assert create_move_job.ACTION.verdict(again) == 8


def test_messages_outside_the_search_do_not_remain(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    run_to_end(api, create_move_job.run, MOVE)
    delivered(sandbox, "dana@corp.example", sender=Sender("someone@else.example"))
    assert rerun(api)["remaining"] == 0


def test_restored_messages_remain(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    rows = moved_by_job(api, tmp_path / "rows.ndjson", idempotency_key="case-42")
    moved_back = restore_messages.run(
        {"export": str(tmp_path / "rows.ndjson"), "dry_run": False, "allow_malicious": True}, api
    )
    assert moved_back["succeeded"] > 0
    reused = rerun(api)
    assert 0 < reused["remaining"] <= rows["written"]
    # Each message has its own log; the number of logs read is limited.
    assert reused["all_checked"] is (rows["written"] <= remaining.MOST_LOGS)
    assert "still delivered" in reused["message"]


COPIES = ("dana@corp.example", "lee@corp.example", "vera@corp.example")


@pytest.mark.parametrize(
    ("steps", "remaining", "all_checked"),
    exhaustive_unless(
        lambda case: len(case[0]) != 1 or case[1] == 2,
        [
            ([("Inbox", 3)], 3, True),
            # Some copies were not moved back or were moved away again; the log does not name the mailbox.
            ([("Inbox", 2)], 2, False),
            ([("Inbox", 1)], 1, False),
            ([("Inbox", 3), ("JunkEmail", 2)], 0, False),
            ([("Inbox", 3), ("JunkEmail", 3)], 0, True),
            ([("Inbox", 3), ("DeletedItems", 3), ("Inbox", 1)], 1, False),
            ([("DeletedItems", 2)], 0, True),
        ],
    ),
)
def test_a_message_restored_in_some_mailboxes_is_counted_by_its_log(
    sandbox: RunningSandbox, api: EmailSecurity, steps: list[tuple[str, int]], remaining: int, all_checked: bool
) -> None:
    subject = "several-mailboxes"
    one = delivered(sandbox, *COPIES, sender=ATTACKER, subject=subject)
    search = {**CAMPAIGN, "exact_subject": subject}
    run_to_end(api, create_move_job.run, {**MOVE, "search_params": search})
    assert rerun(api, search_params=search)["remaining"] == 0
    for number, (folder, times) in enumerate(steps):
        with sandbox.state.present() as now:
            message = sandbox.state.tenant.by_id(one)
            assert message is not None
            for recipient in COPIES[:times]:
                message.record(LogEntry(now + number * SECOND, "MOVE", recipient, folder, "somebody"), MOVED)
    reused = rerun(api, search_params=search)
    assert (reused["remaining"], reused["all_checked"]) == (remaining, all_checked)
    assert ("At least" in reused["message"]) is (remaining > 0 and not all_checked)
    assert ("not all were checked" in reused["message"]) is (remaining == 0 and not all_checked)


@pytest.mark.parametrize(
    ("new", "copies", "all_checked"), exhaustive_unless({(1, 3, False)}, [(1, 2, True), (1, 3, False), (2, 3, False)])
)
def test_a_message_delivered_again_in_some_mailboxes_remains(
    sandbox: RunningSandbox, api: EmailSecurity, new: int, copies: int, all_checked: bool
) -> None:
    one = delivered(sandbox, *COPIES[:copies], sender=ATTACKER, subject="again")
    search = {**CAMPAIGN, "exact_subject": "again"}
    run_to_end(api, create_move_job.run, {**MOVE, "search_params": search})
    with sandbox.state.present():
        message = sandbox.state.tenant.by_id(one)
        assert message is not None
        for recipient in COPIES[:new]:
            assert message.copies is not None
            message.copies[recipient] = Copy("delivered", "")
    reused = rerun(api, search_params=search)
    assert (reused["remaining"], reused["all_checked"]) == (1, all_checked)


def test_a_running_job_is_followed(sandbox: RunningSandbox, connect: Callable[..., EmailSecurity]) -> None:
    # The create does not wait, so the job still runs.
    api = connect(sandbox, listing_lag_seconds=0)
    create_move_job.run({**MOVE, "wait_follows": True}, api)
    calls = sandbox.state.truth()["calls"].get("searchMessages", 0)
    again = create_move_job.run({**MOVE, "wait_follows": True}, api)
    reused = again["reused"]
    assert (again["created"], reused["ended"], reused["remaining"]) == (False, False, None)
    assert "This call follows it." in reused["message"]
    assert "nothing" not in reused["message"]
    assert sandbox.state.truth()["calls"].get("searchMessages", 0) == calls
    assert create_move_job.ACTION.verdict is not None
    assert create_move_job.ACTION.verdict(again) == 0


@pytest.mark.parametrize("kind", ["html", "drop_before", "truncate"])
def test_a_failed_count_does_not_fail_the_call(kind: Any, sandbox: RunningSandbox, api: EmailSecurity) -> None:
    run_to_end(api, create_move_job.run, MOVE)
    sandbox.state.faults.add("searchMessages", kind, times=None)
    again = create_move_job.run(MOVE, api)
    assert (again["created"], again["reused"]["remaining"]) == (False, None)
    assert again["reused"]["not_counted"]
    assert create_move_job.ACTION.verdict is not None
    assert create_move_job.ACTION.verdict(again) == 8


def test_an_uncountable_search_is_reported_with_the_reason(api: EmailSecurity) -> None:
    search = {**CAMPAIGN, "submissions": True}
    run_to_end(api, create_move_job.run, {**MOVE, "search_params": search})
    assert "submissions" in rerun(api, search_params=search)["not_counted"]


def test_mail_held_after_a_release_remains(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    params = {"search_params": {**QUARANTINE_SEARCH, "start": "2026-10-25T00:00:00Z"}, "idempotency_key": "case-43"}
    run_to_end(api, release_job.run, params)
    assert release_job.run(params, api)["reused"]["remaining"] == 0
    delivered(sandbox, "dana@corp.example", "lee@corp.example", status=QUARANTINED)
    again = release_job.run(params, api)["reused"]
    assert again["remaining"] == 2
    assert "released nothing" in again["message"]
    assert "2 messages of its search are still in quarantine." in again["message"]


def test_messages_outside_inbox_remain_after_a_move_to_inbox(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    moved_by_job(api, tmp_path / "rows.ndjson", idempotency_key="one")
    back = {**MOVE, "destination": "Inbox", "allow_malicious": True}
    run_to_end(api, create_move_job.run, back)
    assert create_move_job.run(back, api)["reused"]["remaining"] == 0
    run_to_end(api, create_move_job.run, {**MOVE, "idempotency_key": "two"})
    assert create_move_job.run(back, api)["reused"]["remaining"] > 0


def test_the_count_of_remaining_messages_is_bounded(
    sandbox: RunningSandbox, api: EmailSecurity, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to_end(api, create_move_job.run, MOVE)
    for number in range(3):
        delivered(sandbox, f"late{number}@corp.example", sender=ATTACKER)
    monkeypatch.setattr(remaining, "MOST_READ", 2)
    reused = rerun(api)
    assert (reused["remaining"], reused["all_checked"]) == (2, False)
    assert "At least 2 messages" in reused["message"]
