"""retry-failures moves the failed messages of a job again, and names those that still fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.email_security import EmailSecurity
from playbooks.drivers.outcome import Outcome
from sandbox.server import RunningSandbox
from tests.actions.named_messages import folders, sent
from tests.playbooks import driving
from tests.playbooks.killing import run_killed_once
from tests.playbooks.shop_mail import SMALL, deliver, let_fail, move
from tests.playbooks.test_shipped_playbooks import APPROVED_BY_BOB, Act, ActionRecorder, run, sign_approval
from tests.slow import some_of

Connect = Callable[..., EmailSecurity]


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMALL)


def fail(sandbox: RunningSandbox, api: EmailSecurity, **request: Any) -> tuple[str, list[str]]:
    """Run a job that moves one message and fails for two. Return its ID, and the IDs of those two."""
    deliver(sandbox, "a")
    failing = deliver(sandbox, "b", "c")
    let_fail(sandbox, "b", "c")
    job_id = move(api, **request)
    let_fail(sandbox)
    return job_id, failing


def retry(job_id: str, api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Outcome:
    outcome: Outcome = run("retry-failures", {"job_id": job_id, **inputs}, api, directory, act)
    return outcome


def test_the_failed_messages_are_moved(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id, failing = fail(sandbox, api)
    act = ActionRecorder(api)
    outcome = retry(job_id, api, tmp_path / "run", act)
    assert (outcome.status, outcome.outputs["done"], outcome.outputs["failed"]) == ("completed", 2, 0), outcome.error
    assert {folders(sandbox)[one] for one in failing} == {"JunkEmail"}
    assert [sorted(call) for call in sent(sandbox)] == [sorted(failing)]
    assert [(notice["event"], notice["facts"]["done"]) for notice in act.params_of("notify")] == [("done", 2)]


def test_a_job_without_failed_messages_needs_no_retry(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "a")
    outcome = retry(move(api), api, tmp_path / "run")
    assert outcome.status == "completed"
    assert "nothing to retry" in str(outcome.message)
    assert sent(sandbox) == []


def test_more_than_max_messages_are_not_retried(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id, _ = fail(sandbox, api)
    outcome = retry(job_id, api, tmp_path / "run", max_messages=1)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "The dry run has 2 messages, and max_messages is 1. Nothing was changed." in str(outcome.message)
    assert sent(sandbox) == []


def test_a_move_that_cannot_be_undone_is_retried_only_with_the_flag(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id, failing = fail(sandbox, api, destination="RecoverableItemsPurges", allow_irreversible=True)
    refused = retry(job_id, api, tmp_path / "one")
    assert (refused.status, refused.exit_code) == ("refused", 3)
    assert "--set allow_irreversible=true" in str(refused.message)
    assert sent(sandbox) == []
    allowed = retry(job_id, api, tmp_path / "two", allow_irreversible=True)
    assert (allowed.status, allowed.outputs["done"]) == ("completed", len(failing)), allowed.error


def test_messages_that_still_fail_are_named(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id, failing = fail(sandbox, api)
    let_fail(sandbox, "c")
    act = ActionRecorder(api)
    outcome = retry(job_id, api, tmp_path / "run", act)
    assert (outcome.status, outcome.exit_code) == ("incomplete", 8)
    assert (outcome.outputs["done"], outcome.outputs["failed"]) == (1, 1)
    still_failing: Any = outcome.outputs["still_failing"]
    assert {row["id"] for row in still_failing} == {failing[1]}
    assert "1 of 2 messages still not done" in str(outcome.message)
    assert [notice["event"] for notice in act.params_of("notify")] == ["partial"]


def test_messages_that_are_not_due_are_waited_for(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    job_id, failing = fail(sandbox, api)
    due = "2026-11-20T16:20:00Z"
    rewrite = {"set": {"retry_after": due}, "times": None}
    sandbox.state.faults.add("listBulkJobMessages", "rewrite", **rewrite)
    outcome = retry(job_id, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["done"]) == ("completed", len(failing)), outcome.error
    assert api.clock.now().isoformat() >= "2026-11-20T16:20:00"


def test_messages_that_are_due_too_late_are_reported_without_a_wait(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id, _ = fail(sandbox, api)
    sandbox.state.faults.add("listBulkJobMessages", "rewrite", set={"retry_after": "2026-11-21T16:20:00Z"}, times=None)
    outcome = retry(job_id, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["not_due"]) == ("incomplete", 2)
    assert outcome.outputs["next_due"] == "2026-11-21T16:20:00Z"
    assert sent(sandbox) == []


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_is_looked_up_and_nothing_is_left(
    fault: Any, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id, failing = fail(sandbox, api)
    sandbox.state.faults.add("moveMessages", fault)
    outcome = retry(job_id, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["failed"]) == ("completed", 0), outcome.error
    assert [sorted(call) for call in sent(sandbox)] == [sorted(failing)]


@pytest.mark.parametrize("boundary", some_of(range(1, 7), 2, 3))
def test_a_retry_killed_at_any_action_moves_each_message_once(
    boundary: int, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    job_id, failing = fail(sandbox, api)
    outcome = run_killed_once("retry-failures", {"job_id": job_id}, api, tmp_path / "run", boundary)
    assert (outcome.status, outcome.outputs["done"]) == ("completed", 2), outcome.error
    assert [sorted(call) for call in sent(sandbox)] == [sorted(failing)]


def test_a_retry_waits_for_the_approvals_of_its_dry_run(
    sandbox: RunningSandbox, connect: Connect, tmp_path: Path, api: EmailSecurity
) -> None:
    job_id, failing = fail(sandbox, api)
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"policy: 1\n{APPROVED_BY_BOB}\n")
    guarded = connect(sandbox, policy_file=str(policy), requested_by="alice")
    act = ActionRecorder(guarded)
    waiting = retry(job_id, guarded, tmp_path / "run", act)
    assert waiting.waits_for is not None, waiting.error
    about: Any = waiting.waits_for["about"]
    assert [notice["event"] for notice in act.params_of("notify")] == ["needs_approval"]
    assert sent(sandbox) == []
    with driving.store_beside(tmp_path / "run", guarded.clock) as store:
        store.send_signal("run-1", "allowed/approval", sign_approval(guarded, about["plan"]), "bob")
    done = driving.resume(tmp_path / "run", run_action=act, clock=guarded.clock)
    assert (done.status, done.outputs["done"]) == ("completed", len(failing)), done.error
