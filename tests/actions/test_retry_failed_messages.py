"""retry-failed-messages retries only the failed messages of a job, when they are due, to the folder of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actions import create_move_job, release_job, retry_failed_messages, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import JobStillRunning, NotFound, PlanNeeded, UnexpectedAnswer
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, campaign, folders, sent
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, Scripted, connected, job, ok

ROW_ID = "59f06be8-a933-4f8b-9c1a-94eb3b35a3c3"
NOW = "2026-11-20T16:02:35Z"

Start = Callable[..., RunningSandbox]


@pytest.fixture
def sandbox(start_sandbox: Start) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


def retry(api: EmailSecurity, job_id: str, **params: Any) -> dict[str, Any]:
    return retry_failed_messages.run({"job_id": job_id, **params}, api)


def run_failing_job(sandbox: RunningSandbox, api: EmailSecurity, count: int, **request: Any) -> tuple[str, set[str]]:
    """Run a job that fails for `count` mailboxes, which work afterwards. Return its ID and the failed messages."""
    alone = [message for message in campaign(api) if message.copies == 1][:count]
    addresses = {(message.client_recipients or [""])[0] for message in alone}
    for address in addresses:
        sandbox.state.delivery.mailboxes[address] = "gone"
    request = {"search_params": CAMPAIGN, "destination": "JunkEmail", **request}
    job_id = create_move_job.run(request, api)["job_id"]
    assert wait_for_job.run({"job_id": job_id}, api)["outcome"] == "partial"
    sandbox.state.delivery.mailboxes.clear()
    ids = {
        message.id
        for message in campaign(api)
        if addresses & set(message.client_recipients or ()) and not message.is_phish_submission
    }
    return job_id, ids


def test_failed_messages_are_moved_to_the_folder_of_the_job(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id, ids = run_failing_job(sandbox, api, 3, destination="DeletedItems")
    result = retry(api, job_id)
    assert (result["action"], result["destination"]) == ("MOVE", "DeletedItems")
    assert (result["succeeded"], result["failed"], result["not_yet"], result["done"]) == (len(ids), 0, 0, True)
    assert [set(batch) for batch in sent(sandbox)] == [ids]
    assert {folders(sandbox)[one] for one in ids} == {"DeletedItems"}
    assert any("covers all recipients" in warning for warning in result["warnings"])


def test_a_repeat_sends_nothing(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id, ids = run_failing_job(sandbox, api, 2)
    retry(api, job_id)
    result = retry(api, job_id)
    assert (result["already"], result["succeeded"]) == (len(ids), 0)
    assert len(sent(sandbox)) == 1


def test_a_dry_run_changes_nothing(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id, ids = run_failing_job(sandbox, api, 2)
    result = retry(api, job_id, dry_run=True)
    assert (result["messages"], result["not_sent"], result["done"]) == (len(ids), len(ids), False)
    assert sent(sandbox) == []


def test_a_job_without_failures_sends_nothing(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    result = retry(api, job_id)
    assert (result["messages"], result["done"], sent(sandbox)) == (0, True, [])


def test_a_retry_of_a_running_job_is_refused(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    with pytest.raises(JobStillRunning, match="may still try") as caught:
        retry(api, job_id)
    assert "wait-for-job" in caught.value.help
    assert sent(sandbox) == []


def test_an_unknown_job_is_not_found(api: EmailSecurity) -> None:
    with pytest.raises(NotFound):
        retry(api, "c2f4d8aa-0f55-4a6e-8a51-6b8a3d1b7e90")


def test_an_irreversible_retry_needs_allow_irreversible(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    job_id, _ = run_failing_job(sandbox, api, 1, destination="RecoverableItemsDeletions", allow_irreversible=True)
    with pytest.raises(PlanNeeded):
        retry(api, job_id)
    assert sent(sandbox) == []
    assert retry(api, job_id, allow_irreversible=True)["succeeded"] == 1


def test_a_release_job_is_released_again(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    # Messages that were never held fail in a release job, and fail again.
    request = {"search_params": CAMPAIGN, "allow_malicious": True}
    job_id = release_job.run(request, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    result = retry(api, job_id, allow_malicious=True)
    assert (result["action"], result["destination"], result["succeeded"]) == ("RELEASE", None, 0)
    assert result["failed"] == result["messages"] > 0


def scripted_row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "message_id": f"{number:08d}-a933-4f8b-9c1a-94eb3b35a3c3",
        "status": "FAILED",
        "action_type": "MOVE",
        "action_params": {"type": "MOVE", "destination": "JunkEmail", "client_recipient": f"{number}@corp.example"},
        "message": {"id": f"x-{number}", "client_recipients": [f"{number}@corp.example"]},
        **changes,
    }


def scripted(*rows: dict[str, Any], answers: list[dict[str, Any]] | None = None, **changes: Any) -> Scripted:
    counts = {"messages_failed": len(rows), "total_messages_discovered": len(rows), **changes}
    moved = [ok([{"success": True, "message_id": one["id"]} for one in answers])] if answers else []
    return Scripted(ok(job(status="COMPLETED", **counts)), ok(list(rows), result_info={"count": len(rows)}), *moved)


SOON, LATER = "2026-11-20T16:04:35Z", "2026-11-20T17:02:35Z"


def test_messages_that_are_not_due_are_left_out_and_counted() -> None:
    rows = [scripted_row(1), scripted_row(2, retry_after=SOON), scripted_row(3, retry_after=LATER)]
    script = scripted(*rows, answers=[{"id": "x-1"}])
    with connected(script) as api:
        result = retry(api, JOB_ID, skip_done=False)
    assert script.bodies() == [{"destination": "JunkEmail", "ids": ["x-1"]}]
    assert (result["succeeded"], result["not_yet"], result["not_sent"], result["done"]) == (1, 2, 2, False)
    assert (result["earliest_retry_at"], result["next_poll_seconds"]) == (SOON, 120)
    assert retry_failed_messages.ACTION.verdict is not None
    assert retry_failed_messages.ACTION.verdict(result) == 6


def test_a_retry_waits_for_messages_due_within_wait_seconds() -> None:
    rows = [scripted_row(1), scripted_row(2, retry_after=SOON), scripted_row(3, retry_after=LATER)]
    script = scripted(*rows, answers=[{"id": "x-1"}, {"id": "x-2"}])
    with connected(script) as api:
        result = retry(api, JOB_ID, skip_done=False, wait_seconds=300)
        assert api.clock.monotonic() == 120
    assert script.bodies()[0]["ids"] == ["x-1", "x-2"]
    assert (result["succeeded"], result["not_yet"], result["earliest_retry_at"]) == (2, 1, LATER)
    assert result["next_poll_seconds"] == 3480


def test_an_invalid_retry_after_is_not_sent_with_a_warning() -> None:
    rows = [
        scripted_row(1),
        scripted_row(2, retry_after="in a while"),
        scripted_row(3, retry_after="2026-13-01T00:00:00Z"),
    ]
    script = scripted(*rows, answers=[{"id": "x-1"}])
    with connected(script) as api:
        result = retry(api, JOB_ID, skip_done=False)
    assert script.bodies() == [{"destination": "JunkEmail", "ids": ["x-1"]}]
    assert (result["succeeded"], result["not_sent"], result["not_yet"], result["done"]) == (1, 2, 0, False)
    assert any(
        "2 messages were not sent: their retry_after is not a valid time" in warning for warning in result["warnings"]
    )


def test_a_message_moved_elsewhere_during_the_wait_is_not_moved_again() -> None:
    row = scripted_row(2, retry_after=SOON)
    identifier = "4Njp3P0STMz2c02Q-2026-11-20T10:00:00-12345678"
    row["message"] = {"id": identifier, "client_recipients": ["2@corp.example"]}
    log = [{"operation": "MOVE", "completed_at": SOON, "properties": {"folder": "JunkEmail"}, "success": True}]
    found = {"id": identifier, "client_recipients": ["2@corp.example"], "delivery_status": ["moved"]}
    counts = {"messages_failed": 1, "total_messages_discovered": 1}
    waited: list[float] = []

    def search(_: Any) -> Any:
        waited.append(api.clock.monotonic())
        return ok(found)

    script = Scripted(ok(job(status="COMPLETED", **counts)), ok([row], result_info={"count": 1}), search, ok(log))
    with connected(script) as api:
        result = retry(api, JOB_ID, wait_seconds=300)
    assert waited == [120]
    assert (result["already"], result["succeeded"], result["done"]) == (1, 0, True)
    assert script.bodies() == []


def test_a_message_is_due_when_all_its_rows_are_due() -> None:
    nested = {"id": "x-1", "client_recipients": ["1@corp.example", "2@corp.example", "3@corp.example"]}
    rows = [scripted_row(1, message=nested), scripted_row(2, message=nested, retry_after=SOON)]
    script = scripted(*rows)
    with connected(script) as api:
        result = retry(api, JOB_ID, skip_done=False)
    assert (result["messages"], result["failed_rows"], result["not_yet"]) == (1, 2, 1)
    assert script.bodies() == []
    assert any("(1 message)" in warning for warning in result["warnings"])


def test_the_plan_hash_covers_all_failed_messages() -> None:
    rows = [scripted_row(1), scripted_row(2, retry_after=SOON)]
    hashes = set()
    for wait in (0, 300):
        answers = [{"id": "x-1"}, {"id": "x-2"}][: 2 if wait else 1]
        with connected(scripted(*rows, answers=answers)) as api:
            hashes.add(retry(api, JOB_ID, skip_done=False, wait_seconds=wait)["plan_hash"])
    assert len(hashes) == 1


def test_rows_without_a_message_or_with_another_status_are_not_sent() -> None:
    script = scripted(
        scripted_row(1), scripted_row(2, message=None),
        scripted_row(3, status="COMPLETED"), scripted_row(4, message={}),
        answers=[{"id": "x-1"}], messages_failed=3,
    )  # fmt: skip
    with connected(script) as api:
        result = retry(api, JOB_ID, skip_done=False)
    assert (result["succeeded"], result["without_id"], result["failed_rows"]) == (1, 2, 3)
    assert script.bodies()[0]["ids"] == ["x-1"]


@pytest.mark.parametrize("changed", [
    {"action_params": {"destination": "DeletedItems"}}, {"action_type": "RELEASE"}, {"message": {"id": "../x"}},
    {"message": "x-2"}, {"action_params": [1]},
])  # fmt: skip
def test_rows_that_contradict_their_job_are_refused(changed: dict[str, Any]) -> None:
    script = scripted(scripted_row(1), scripted_row(2, **changed))
    with connected(script) as api, pytest.raises(UnexpectedAnswer):
        retry(api, JOB_ID)
    assert script.bodies() == []


def test_an_unknown_folder_of_a_job_is_refused() -> None:
    params = {"type": "MOVE", "destination": "Archive"}
    script = scripted(scripted_row(1, action_params=params), action_params=params)
    with connected(script) as api, pytest.raises(UnexpectedAnswer, match="not a known folder"):
        retry(api, JOB_ID)
