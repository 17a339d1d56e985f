"""restore-from-evidence moves a job's messages back to Inbox, and names those that it could not restore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import export_job_messages
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


def exported(api: EmailSecurity, path: Path, **params: Any) -> str:
    """Move the delivered mail with a job, and export it to this path, which is returned."""
    export_job_messages.run({"job_id": move(api), "destination": str(path), **params}, api)
    return str(path)


def bundle(api: EmailSecurity, folder: Path) -> str:
    """Move the delivered mail with a job, and return the path of the job's evidence bundle."""
    return exported(api, folder / "case-42.zip", evidence="bundle")


def restore(export: str, api: EmailSecurity, directory: Path, act: Act | None = None, **inputs: Any) -> Outcome:
    given = {"export": export, **inputs}
    outcome: Outcome = run("restore-from-evidence", given, api, directory, act)
    return outcome


def test_the_messages_of_a_bundle_are_moved_back_to_inbox(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    messages = deliver(sandbox, "a", "b")
    export = bundle(api, tmp_path)
    act = ActionRecorder(api)
    outcome = restore(export, api, tmp_path / "run", act)
    assert (outcome.status, outcome.outputs["restored"], outcome.outputs["not_restored"]) == ("completed", 2, [])
    assert folders(sandbox) == dict.fromkeys(messages, "Inbox")
    dry, real = act.params_of("restore-messages")
    assert (dry["dry_run"], real["dry_run"], real["plan_hash"]) == (True, False, outcome.outputs["plan_hash"])
    assert [(notice["event"], notice["facts"]["not_restored"]) for notice in act.params_of("notify")] == [("done", 0)]


def test_malicious_messages_are_restored_only_with_the_flag(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "a", disposition="MALICIOUS")
    export = bundle(api, tmp_path)
    outcome = restore(export, api, tmp_path / "one")
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "--set allow_malicious=true" in str(outcome.message)
    assert sent(sandbox) == []
    assert restore(export, api, tmp_path / "two", allow_malicious=True).outputs["restored"] == 1


def test_an_export_of_a_job_that_moved_nothing_needs_no_restore(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "a")
    let_fail(sandbox, "a")
    outcome = restore(bundle(api, tmp_path), api, tmp_path / "run")
    assert outcome.status == "completed", outcome.error
    assert "nothing to restore" in str(outcome.message)
    assert sent(sandbox) == []


def test_more_than_max_messages_are_not_restored(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    deliver(sandbox, "a", "b", "c")
    act = ActionRecorder(api)
    outcome = restore(bundle(api, tmp_path), api, tmp_path / "run", act, max_messages=2)
    assert (outcome.status, outcome.exit_code) == ("refused", 3)
    assert "The dry run has 3 messages, and max_messages is 2. Nothing was changed." in str(outcome.message)
    assert [notice["event"] for notice in act.params_of("notify")] == ["refused"]
    assert sent(sandbox) == []


def test_a_file_that_changes_after_the_dry_run_restores_nothing(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "a", "b")
    rows = tmp_path / "rows.ndjson"
    export = exported(api, rows)
    act = ActionRecorder(api)

    def shorten(action: str, params: dict[str, Any]) -> dict[str, Any]:
        result = act(action, params)
        if params.get("dry_run"):
            rows.write_text(rows.read_text().splitlines(keepends=True)[0])
        return result

    outcome = restore(export, api, tmp_path / "run", shorten)
    assert (outcome.status, outcome.exit_code) == ("failed", 3)
    assert outcome.error is not None
    assert outcome.error["type"] == "PlanDrifted"
    assert sent(sandbox) == []


def test_messages_that_could_not_be_restored_are_named(
    sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    first, second = deliver(sandbox, "a", "b")
    export = bundle(api, tmp_path)
    let_fail(sandbox, "b")
    act = ActionRecorder(api)
    outcome = restore(export, api, tmp_path / "run", act)
    assert (outcome.status, outcome.exit_code, outcome.outputs["restored"]) == ("incomplete", 8, 1)
    not_restored: Any = outcome.outputs["not_restored"]
    assert {row["id"] for row in not_restored} == {second}
    assert "1 message was not restored" in str(outcome.message)
    assert [notice["event"] for notice in act.params_of("notify")] == ["partial"]
    let_fail(sandbox)
    again = restore(export, api, tmp_path / "again")
    assert (again.status, again.outputs["restored"], again.outputs["already"]) == ("completed", 1, 1)
    assert folders(sandbox) == {first: "Inbox", second: "Inbox"}


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_is_looked_up_and_nothing_is_left(
    fault: Any, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    deliver(sandbox, "a", "b")
    export = bundle(api, tmp_path)
    sandbox.state.faults.add("moveMessages", fault)
    outcome = restore(export, api, tmp_path / "run")
    assert (outcome.status, outcome.outputs["failed"]) == ("completed", 0), outcome.error
    assert set(folders(sandbox).values()) == {"Inbox"}
    assert len(sent(sandbox)) == 1


@pytest.mark.parametrize("boundary", some_of(range(1, 7), 2, 3))
def test_a_restore_killed_at_any_action_moves_each_message_back_once(
    boundary: int, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
) -> None:
    messages = deliver(sandbox, "a", "b")
    inputs = {"export": bundle(api, tmp_path)}
    outcome = run_killed_once("restore-from-evidence", inputs, api, tmp_path / "run", boundary)
    assert outcome.status == "completed", outcome.error
    assert folders(sandbox) == dict.fromkeys(messages, "Inbox")
    assert [sorted(call) for call in sent(sandbox)] == [sorted(messages)]


def test_a_restore_waits_for_the_approvals_of_its_dry_run(
    sandbox: RunningSandbox, connect: Connect, tmp_path: Path, api: EmailSecurity
) -> None:
    messages = deliver(sandbox, "a")
    export = bundle(api, tmp_path)
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"policy: 1\n{APPROVED_BY_BOB}\n")
    guarded = connect(sandbox, policy_file=str(policy), requested_by="alice")
    act = ActionRecorder(guarded)
    waiting = restore(export, guarded, tmp_path / "run", act)
    assert waiting.waits_for is not None, waiting.error
    assert waiting.waits_for["signal"] == "allowed/approval"
    assert [notice["event"] for notice in act.params_of("notify")] == ["needs_approval"]
    assert sent(sandbox) == []
    about: Any = waiting.waits_for["about"]
    with driving.store_beside(tmp_path / "run", guarded.clock) as store:
        store.send_signal("run-1", "allowed/approval", sign_approval(guarded, about["plan"]), "bob")
    done = driving.resume(tmp_path / "run", run_action=act, clock=guarded.clock)
    assert done.status == "completed", done.error
    assert folders(sandbox) == dict.fromkeys(messages, "Inbox")


def test_a_damaged_bundle_is_refused(sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 damaged")
    outcome = restore(str(tmp_path / "x.zip"), api, tmp_path / "run")
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    assert sent(sandbox) == []
