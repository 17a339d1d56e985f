"""The lifecycle of a job with a manual clock."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sandbox.server import RunningSandbox
from sandbox.settings import Pace

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]
Deliver = Callable[..., list[str]]

MOVE: dict[str, Any] = {
    "action": "MOVE",
    "destination": "JunkEmail",
    "search_params": {"sender": "sender@bad.test"},
    "comment": "case 42",
}
RELEASE: dict[str, Any] = {"action": "RELEASE", "search_params": {"sender": "sender@bad.test"}}
SLOW = Pace(start_delay=1, discover_rate=10, process_rate=10, retry_delay=4, max_retries=3)


def _create(client: httpx.Client, job: dict[str, Any]) -> str:
    answer = client.post("investigate/bulk", json=job)
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["result"]["job_id"]
    return job_id


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    result: dict[str, Any] = client.get(f"investigate/bulk/{job_id}").json()["result"]
    return result


def _rows(client: httpx.Client, job_id: str, **params: Any) -> list[dict[str, Any]]:
    params = {"per_page": 1000, **params}
    rows: list[dict[str, Any]] = client.get(f"investigate/bulk/{job_id}/messages", params=params).json()["result"]
    return rows


def test_a_job_goes_from_pending_through_discovery_and_processing_to_completed(
    run: Run, connect: Connect, deliver: Deliver
) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 20)
    job_id = _create(client, MOVE)
    seen: list[str] = []
    for _ in range(60):
        job = _job(client, job_id)
        if not seen or seen[-1] != job["status"]:
            seen.append(job["status"])
        sandbox.state.advance(0.25)
    assert seen == ["PENDING", "DISCOVERING", "PROCESSING", "COMPLETED"]
    job = _job(client, job_id)
    assert (job["total_messages_discovered"], job["messages_successful"]) == (20, 20)
    assert job["created_at"] < job["started_at"] < job["completed_at"]
    assert job["status_message"] is None


def test_rows_appear_during_discovery(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 20)
    job_id = _create(client, MOVE)
    sandbox.state.advance(2.05)
    job = _job(client, job_id)
    assert (job["status"], job["total_messages_discovered"], job["messages_pending"]) == ("DISCOVERING", 10, 10)
    assert len(_rows(client, job_id)) == 10


def test_the_state_of_a_job_does_not_depend_on_the_number_of_reads(
    run: Run, connect: Connect, deliver: Deliver
) -> None:
    watched, alone = run(pace=SLOW, transient_failures=0.5), run(pace=SLOW, transient_failures=0.5)
    ends = []
    for sandbox, step in ((watched, 0.05), (alone, 30.0)):
        client = connect(sandbox)
        deliver(sandbox, 20)
        job_id = _create(client, MOVE)
        for _ in range(round(30 / step)):
            sandbox.state.advance(step)
        ends.append((_job(client, job_id), _rows(client, job_id), sandbox.state.truth()["moved"]))
    assert ends[0] == ends[1]


def test_a_message_with_two_recipients_makes_two_rows(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 1, to=["dana@corp.example", "lee@corp.example"])
    job_id = _create(client, MOVE)
    sandbox.state.advance(60)
    rows = _rows(client, job_id)
    assert {row["action_params"]["client_recipient"] for row in rows} == {"dana@corp.example", "lee@corp.example"}
    assert len({row["message_id"] for row in rows}) == 2
    assert len({row["email_message_id"] for row in rows}) == 1


def test_a_move_changes_the_search_result(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 1)
    _create(client, MOVE)
    sandbox.state.advance(60)
    (message,) = client.get("investigate", params={"message_action": "MOVED", "delivery_status": "moved"}).json()[
        "result"
    ]
    assert message["delivery_status"] == ["moved"]
    assert message["post_delivery_operations"] == ["MOVE"]
    (entry,) = client.get(f"investigate/{message['id']}/action_log").json()["result"]
    assert entry["operation"] == "MOVE"
    assert (entry["properties"]["folder"], entry["properties"]["requested_by"]) == ("JunkEmail", "full")


def test_a_release_job_succeeds_only_for_quarantined_messages(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 2, delivery_status="quarantined")
    deliver(sandbox, 1)
    job_id = _create(client, RELEASE)
    sandbox.state.advance(60)
    job = _job(client, job_id)
    assert job["action_params"] == {"type": "RELEASE"}
    assert (job["messages_successful"], job["messages_failed"]) == (2, 1)
    assert job["status_message"] == "1 of 3 messages failed"
    (failed,) = _rows(client, job_id, status="FAILED")
    assert failed["status_message"] == "Message is not quarantined"
    released = client.get("investigate", params={"message_action": "QUARANTINE_RELEASED"}).json()["result"]
    assert [message["is_quarantined"] for message in released] == [False, False]
    assert len(sandbox.state.truth()["released"]) == 2


def test_a_move_job_fails_for_quarantined_messages(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 1, delivery_status="quarantined")
    job_id = _create(client, MOVE)
    sandbox.state.advance(60)
    assert [(row["status"], row["status_message"]) for row in _rows(client, job_id)] == [
        ("FAILED", "Message is held in quarantine")
    ]


def test_phish_submissions_are_skipped(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 2)
    deliver(sandbox, 1, submission=True)
    everything = _create(client, MOVE)
    submissions = _create(client, {**MOVE, "search_params": {"submissions": True}})
    sandbox.state.advance(60)
    counters = ("total_messages_discovered", "messages_successful", "messages_skipped")
    assert [_job(client, everything)[name] for name in counters] == [3, 2, 1]
    assert [_job(client, submissions)[name] for name in counters] == [1, 0, 1]
    assert _job(client, submissions)["status"] == "COMPLETED"


def test_clean_mail_is_moved_only_on_request(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 2)
    deliver(sandbox, 3, disposition="NONE")
    detected = _create(client, MOVE)
    everything = _create(client, {**MOVE, "search_params": {**MOVE["search_params"], "detections_only": False}})
    sandbox.state.advance(60)
    assert _job(client, detected)["total_messages_discovered"] == 2
    assert _job(client, everything)["total_messages_discovered"] == 5


def test_a_temporary_failure_is_retried_after_its_delay(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 1)
    sandbox.state.delivery.mailboxes["user0000@corp.example"] = "throttled"
    job_id = _create(client, MOVE)
    sandbox.state.advance(2)
    (row,) = _rows(client, job_id)
    assert (row["status"], row["retry_count"]) == ("PENDING", 1)
    assert row["status_message"] == "Throttled by the mail provider"
    assert row["retry_after"] > row["created_at"]
    sandbox.state.delivery.mailboxes["user0000@corp.example"] = "ok"
    sandbox.state.advance(4.5)
    (row,) = _rows(client, job_id)
    assert (row["status"], row["retry_count"], row["retry_after"]) == ("COMPLETED", 1, None)


def test_retries_are_limited(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 1)
    sandbox.state.delivery.mailboxes["user0000@corp.example"] = "throttled"
    job_id = _create(client, MOVE)
    sandbox.state.advance(120)
    (row,) = _rows(client, job_id)
    assert (row["status"], row["retry_count"]) == ("FAILED", 3)
    assert _job(client, job_id)["status"] == "COMPLETED"


def test_the_configured_share_of_rows_fails_for_various_reasons(
    run: Run, connect: Connect, alert: dict[str, Any]
) -> None:
    sandbox = run(alert=alert, campaign_size=500, permanent_failures=0.2, transient_failures=0.2)
    client = connect(sandbox)
    job_id = _create(client, {**MOVE, "search_params": {"sender": alert["From"], "detections_only": False}})
    sandbox.state.advance(300)
    rows = _rows(client, job_id)
    ends = Counter(row["status"] for row in rows)
    assert 75 < ends["FAILED"] < 135
    assert 70 < sum(row["retry_count"] > 0 for row in rows) < 130
    assert len({row["status_message"] for row in rows if row["status"] == "FAILED"}) >= 4
    assert {"message" in row for row in rows} == {True, False}


def test_a_copy_that_arrives_during_discovery_is_found(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 20)
    deliver(sandbox, 1, in_seconds=2, to=["late@corp.example"])
    deliver(sandbox, 1, in_seconds=60, to=["too.late@corp.example"])
    preview = client.get("investigate", params={"sender": "sender@bad.test", "per_page": 100}).json()["result"]
    job_id = _create(client, MOVE)
    sandbox.state.advance(120)
    found = {row["action_params"]["client_recipient"] for row in _rows(client, job_id)}
    assert len(preview) == 20
    assert len(found) == 21
    assert "late@corp.example" in found


def test_late_copies_of_a_campaign_arrive_one_by_one_after_the_start(
    run: Run, connect: Connect, alert: dict[str, Any]
) -> None:
    sandbox = run(alert=alert, campaign_size=10, late_copies=3, late_every=5, at=None)
    client = connect(sandbox)
    counts = []
    for _ in range(5):
        params = {"sender": alert["From"], "detections_only": "false"}
        counts.append(client.get("investigate", params=params).json()["result_info"]["count"])
        sandbox.state.advance(5)
    assert counts == [10, 11, 12, 13, 13]


def test_cancelling_keeps_the_job_and_leaves_pending_messages_in_place(
    run: Run, connect: Connect, deliver: Deliver
) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 20)
    job_id = _create(client, MOVE)
    sandbox.state.advance(4.2)
    answer = client.post(f"investigate/bulk/{job_id}/cancel")
    job = answer.json()["result"]
    assert (answer.status_code, job["status"], job["messages_pending"]) == (200, "CANCELLED", 0)
    assert job["messages_cancelled"] > 0
    assert job["messages_cancelled"] + job["messages_successful"] == 20
    sandbox.state.advance(600)
    assert _job(client, job_id) == job
    # One message in flight was still moved.
    assert len(sandbox.state.truth()["moved"]) == job["messages_successful"] + 1
    assert len(_rows(client, job_id, status="CANCELLED")) == job["messages_cancelled"]


@pytest.mark.parametrize("after", [0.0, 1.5])
def test_a_job_can_be_cancelled_before_and_during_discovery(
    run: Run, connect: Connect, deliver: Deliver, after: float
) -> None:
    sandbox = run(pace=SLOW)
    client = connect(sandbox)
    deliver(sandbox, 20)
    job_id = _create(client, MOVE)
    sandbox.state.advance(after)
    client.post(f"investigate/bulk/{job_id}/cancel")
    sandbox.state.advance(60)
    assert _job(client, job_id)["status"] == "CANCELLED"
    assert sandbox.state.truth()["moved"] == []


def test_an_ended_job_cannot_be_cancelled(run: Run, connect: Connect) -> None:
    sandbox = run()
    client = connect(sandbox)
    job_id = _create(client, MOVE)
    sandbox.state.advance(60)
    answer = client.post(f"investigate/bulk/{job_id}/cancel")
    assert answer.status_code == 409
    assert "COMPLETED" in answer.json()["errors"][0]["message"]


def test_only_an_ended_job_can_be_deleted(run: Run, connect: Connect) -> None:
    sandbox = run()
    client = connect(sandbox)
    job_id = _create(client, MOVE)
    assert client.delete(f"investigate/bulk/{job_id}").status_code == 409
    sandbox.state.advance(60)
    answer = client.delete(f"investigate/bulk/{job_id}")
    assert (answer.status_code, answer.json()["result"]) == (200, {"id": job_id})
    for gone in (
        client.get(f"investigate/bulk/{job_id}"),
        client.get(f"investigate/bulk/{job_id}/messages"),
        client.post(f"investigate/bulk/{job_id}/cancel"),
        client.delete(f"investigate/bulk/{job_id}"),
    ):
        assert gone.status_code == 404
    assert client.get("investigate/bulk").json()["result"] == []
    (job,) = sandbox.state.truth()["jobs"]
    assert job["deleted"]


def test_a_job_that_fails_cancels_the_messages_it_found(run: Run, connect: Connect, deliver: Deliver) -> None:
    sandbox = run()
    client = connect(sandbox)
    deliver(sandbox, 5)
    sandbox.state.faults.add("createBulkJob", "fail_job", rows=3)
    job_id = _create(client, MOVE)
    sandbox.state.advance(60)
    job = _job(client, job_id)
    assert (job["status"], job["messages_cancelled"], job["messages_pending"]) == ("FAILED", 3, 0)
    assert job["status_message"]
