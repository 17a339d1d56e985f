"""`cfes playbook approve` and `cancel --job` for runs that create a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from actions import export_job_messages
from actions.contract.action import Action
from connectors.email_security import EmailSecurity
from platforms.cli.commands import approve as approve_command
from platforms.playbook_session import open_store
from sandbox.server import RunningSandbox
from tests.actions.named_messages import folders
from tests.clock import FakeClock
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.platforms.cli.conftest import Cfes, CommandResult
from tests.platforms.cli.test_playbook_commands import only_for
from tests.playbooks.shop_mail import deliver, move
from tests.remediation.guardrails.test_approval import BOB, CAROL, POLICY, private_pem

APPROVED_MOVE = f"""\
playbook: 1
id: approved-move
title: Move mail after two approvals
key: "{{{{ inputs.case }}}}"
inputs:
  case: {{type: string, primary: true}}
steps:
  - id: preview
    title: Count the messages
    action: preview-job
    with: {{action: MOVE, destination: JunkEmail, search_params: {{sender: {CAMPAIGN["sender"]}, \
start: "{CAMPAIGN["start"]}", detections_only: false}}}}
  - id: approval
    title: Wait for two approvals
    pause: approval
    accepts: {{type: string}}
    count: 2
    about: {{plan: "{{{{ steps.preview }}}}"}}
    within: 3600
    otherwise: "The plan was not approved in time."
  - id: create
    title: Create the job
    action: create-move-job
    with:
      plan: "{{{{ steps.preview }}}}"
      approvals: "{{{{ steps.approval.values }}}}"
      idempotency_key: "{{{{ inputs.case }}}}"
  - id: hold
    title: Wait for a person
    pause: done
    within: 3600
    otherwise: "Nobody said that it is done."
outputs: {{job_id: "{{{{ steps.create.job_id }}}}"}}
"""


@pytest.fixture
def clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    monkeypatch.setattr(approve_command, "SystemClock", lambda: clock)
    monkeypatch.setattr("platforms.cli.commands.playbook_runs.SystemClock", lambda: clock)
    return clock


@pytest.fixture
def waiting(connected: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The ID of a run that waits for approvals of bob and carol."""
    policy = tmp_path / "policy.yaml"
    document = {**POLICY.model_dump(mode="json", exclude_defaults=True), "approval_needed": [{"approvals": 2}]}
    policy.write_text(yaml.safe_dump(document))
    for name, value in {"POLICY": str(policy), "PLAN_KEY": PLAN_KEY, "REQUESTED_BY": "alice"}.items():
        monkeypatch.setenv(f"CFES_{name}", value)
    for name, key in {"bob": BOB, "carol": CAROL}.items():
        (tmp_path / name).write_bytes(private_pem(key))
        (tmp_path / name).chmod(0o600)
    (tmp_path / "approved-move.yaml").write_text(APPROVED_MOVE)
    ended = connected("playbook", "run", "approved-move.yaml", "--set", "case=case-1", "--yes")
    assert (ended.code, ended.document["status"]) == (6, "waiting"), ended
    return str(ended.document["run_id"])


@pytest.fixture
def approve(connected: Cfes, waiting: str) -> Callable[..., CommandResult]:
    """A function that approves the waiting run with a person's key."""

    def run(person: str, *arguments: str) -> CommandResult:
        return connected("playbook", "approve", waiting, "--key", person, "--yes", *arguments)

    return run


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


class TestApprove:
    def test_two_approvers_let_the_run_create_its_job(
        self, connected: Cfes, approve: Callable[..., CommandResult], waiting: str, sandbox: RunningSandbox
    ) -> None:
        assert approve("bob").document["signal"] == "approval"
        ended = connected("playbook", "resume", waiting, "--yes")
        assert (ended.code, ended.document["waits_for"]["received"], jobs(sandbox)) == (6, 1, 0)
        assert "1 of 2 are missing" in ended.document["error"]["message"]
        assert approve("carol").code == 0
        ended = connected("playbook", "resume", waiting, "--yes")
        assert (ended.document["status"], ended.document["waits_for"]["signal"], jobs(sandbox)) == (
            "waiting",
            "done",
            1,
        )
        assert ended.document["error"]["applied"] == "yes"

    @pytest.mark.usefixtures("waiting")
    def test_two_approvers_let_a_restore_change_the_messages_of_its_dry_run(
        self, connected: Cfes, sandbox: RunningSandbox, api: EmailSecurity, tmp_path: Path
    ) -> None:
        messages = deliver(sandbox, "a", "b")
        export_job_messages.run({"job_id": move(api), "destination": str(tmp_path / "rows.ndjson")}, api)
        ended = connected("playbook", "run", "restore-from-evidence", "--set", "export=rows.ndjson", "--yes")
        assert (ended.code, ended.document["waits_for"]["signal"]) == (6, "allowed/approval"), ended
        for person in ("bob", "carol"):
            approved = connected("playbook", "approve", ended.document["run_id"], "--key", person, "--yes")
            assert approved.document["signal"] == "allowed/approval", approved
        done = connected("playbook", "resume", ended.document["run_id"], "--yes")
        assert (done.document["status"], done.document["outputs"]["restored"]) == ("completed", 2), done
        assert {folders(sandbox)[one] for one in messages} == {"Inbox"}

    @pytest.mark.parametrize("between", ["taken by the run", "not yet taken"])
    def test_an_approver_cannot_approve_twice(
        self,
        connected: Cfes,
        approve: Callable[..., CommandResult],
        waiting: str,
        sandbox: RunningSandbox,
        between: str,
    ) -> None:
        assert approve("bob").code == 0
        if between == "taken by the run":
            connected("playbook", "resume", waiting, "--yes")
        ended = approve("bob")
        assert (ended.code, ended.error["type"], ended.error["applied"]) == (3, "ApprovalRefused", "no")
        assert ended.error["message"] == "bob has already approved this plan"
        with open_store() as store:
            assert len(store.signals(waiting)) == 1
        assert jobs(sandbox) == 0

    def test_a_rejection_ends_the_run(
        self, connected: Cfes, approve: Callable[..., CommandResult], waiting: str, sandbox: RunningSandbox
    ) -> None:
        assert approve("bob").code == 0
        ended = approve("carol", "--reject", "the sender is a customer")
        assert (ended.code, ended.document["status"]) == (0, "cancelled")
        shown = connected("playbook", "show", waiting).document
        assert (shown["status"], shown["exit_code"]) == ("cancelled", 3)
        assert "carol rejected the plan: the sender is a customer" in shown["error"]["message"]
        assert connected("playbook", "resume", waiting, "--yes").code == 3
        assert jobs(sandbox) == 0

    def test_a_forged_approval_is_not_sent(self, connected: Cfes, waiting: str) -> None:
        ended = connected("playbook", "signal", waiting, "approval", '"bob approves"')
        assert (ended.code, ended.error["type"]) == (3, "ApprovalRefused")
        assert ended.error["help"] == "Nothing was sent."

    def test_a_run_that_waits_for_no_approval_is_refused_before_anything_is_signed(
        self, connected: Cfes, approve: Callable[..., CommandResult], waiting: str
    ) -> None:
        for person in ("bob", "carol"):
            approve(person)
        connected("playbook", "resume", waiting, "--yes")
        ended = approve("bob")
        assert (ended.code, ended.error["type"]) == (2, "ParameterError")
        assert ended.error["message"] == f"the run {waiting} does not wait for an approval"
        assert ended.error["help"].startswith("Nothing was signed.")

    def test_a_waiting_run_shows_the_command_for_an_approver(self, connected: Cfes, waiting: str) -> None:
        shown = connected("playbook", "show", waiting, terminal=True)
        assert f"cfes playbook approve {waiting} --key KEY" in " ".join(shown.out.split() + shown.err.split())


class TestCancelWithAJob:
    @pytest.fixture
    def with_job(self, connected: Cfes, approve: Callable[..., CommandResult], waiting: str) -> str:
        """The ID of the job of the run, which then waits."""
        for person in ("bob", "carol"):
            approve(person)
        connected("playbook", "resume", waiting, "--yes")
        (job,) = connected("list-jobs").document["jobs"]
        return str(job["job_id"])

    @pytest.mark.parametrize("given", [(), pytest.param(("--no-job",), marks=pytest.mark.exhaustive)])
    def test_the_job_goes_on_and_its_cancel_command_is_shown(
        self, connected: Cfes, waiting: str, with_job: str, given: tuple[str, ...]
    ) -> None:
        ended = connected("playbook", "cancel", waiting, *given)
        assert ended.document == {
            "run_id": waiting,
            "status": "cancelled",
            "applied": "yes",
            "job_id": with_job,
            "job_cancelled": False,
        }
        assert f"cfes cancel-job --job-id {with_job}" in ended.err

    def test_the_job_is_cancelled_with_the_run(
        self, connected: Cfes, waiting: str, with_job: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cancelled: list[str] = []

        def cancel(params: dict[str, str]) -> dict[str, str]:
            cancelled.append(params["job_id"])
            return {}

        monkeypatch.setattr(Action, "run", only_for("cancel-job", cancel))
        ended = connected("playbook", "cancel", waiting, "--job")
        assert (ended.code, ended.document["status"], ended.document["job_cancelled"]) == (0, "cancelled", True)
        assert cancelled == [with_job]

    @pytest.mark.usefixtures("with_job")
    def test_a_job_that_had_ended_is_reported_with_the_cancelled_run(self, connected: Cfes, waiting: str) -> None:
        ended = connected("playbook", "cancel", waiting, "--job")
        assert (ended.code, ended.error["type"]) == (5, "Conflict")
        assert f"the run {waiting} was cancelled, but its job was not: the job had ended" in ended.error["message"]
        assert connected("playbook", "show", waiting).document["status"] == "cancelled"
