"""Playbooks, runs and files of an agent, and what a person approves."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.clock import SystemClock
from platforms import run_signals
from platforms.mcp.agent_session import AgentSession
from platforms.mcp.dispatch import run_tool
from platforms.mcp.results import ToolResult
from platforms.mcp.tools import tools_of
from platforms.playbook_session import open_store
from playbooks.engine.signals import Signal
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.platforms.mcp.conftest import Call
from tests.remediation.guardrails.test_approval import BOB, POLICY, approval_by

ENDED = ("completed", "refused", "incomplete", "failed", "cancelled")
PREVIEW = {"action": "MOVE", "destination": "RecoverableItemsPurges", "search_params": CAMPAIGN}


def run_at(call: Call, run_id: str, *statuses: str) -> dict[str, Any]:
    """Return the run once it has one of these statuses; by default once it has ended."""
    end = time.monotonic() + 30
    while True:
        run = call("show_run", run_id=run_id).document
        if run["status"] in (statuses or ENDED):
            return run
        assert time.monotonic() < end, run
        threading.Event().wait(0.05)


def approve(settings: dict[str, str], session: AgentSession, run_id: str) -> None:
    """Do what `cfes playbook signal RUN approval '"approved"'` does, and let the session notice it."""
    run_signals.send(open_store(settings), run_id, Signal("approval", "approved"), clock=SystemClock(), sent_by="ana")
    session.runs.queue.set_due(run_id, 0)


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


def test_a_playbook_runs_to_its_end(call: Call, alert: dict[str, Any], sandbox: RunningSandbox) -> None:
    listed = call("list_playbooks").document["playbooks"]
    assert "phish-campaign-purge" in [each["id"] for each in listed]
    assert listed[0]["inputs"] is None
    [shown] = call("list_playbooks", playbook="phish-campaign-purge").document["playbooks"]
    assert "alert" in shown["inputs"]["properties"]
    begun = call("run_playbook", playbook="phish-campaign-purge", inputs={"alert": alert}).document
    run = run_at(call, begun["run_id"])
    assert run["status"] == "completed", run
    assert "evidence.zip" in [file["name"] for file in run["files"]]
    # The same alert is the same run.
    again = call("run_playbook", playbook="phish-campaign-purge", inputs={"alert": alert}).document
    assert (again["run_id"], jobs(sandbox)) == (begun["run_id"], 1)
    assert begun["run_id"] in [each["run_id"] for each in call("list_runs").document["runs"]]


def test_a_job_that_cannot_be_undone_waits_for_a_person(
    call: Call, settings: dict[str, str], session: AgentSession, sandbox: RunningSandbox
) -> None:
    plan = call("preview_job", **PREVIEW, allow_irreversible=True).document
    asked = call("create_job", plan=plan["plan_hash"], idempotency_key="case-42").document
    assert asked["needs_approval"]
    run = run_at(call, asked["run_id"], "waiting")
    assert jobs(sandbox) == 0
    assert run["waits_for"][0]["about"]["change"]["plan_hash"] == plan["plan_hash"]
    approve(settings, session, asked["run_id"])
    run = run_at(call, asked["run_id"])
    assert (run["status"], jobs(sandbox)) == ("completed", 1), run
    assert run["outputs"]["result"]["plan_hash"] == plan["plan_hash"]


def test_a_deletion_waits_for_a_person(call: Call) -> None:
    asked = call("delete_job", job_id="48631c1e-bdc9-4bed-8327-39071c2fd0a8").document
    run = run_at(call, asked["run_id"], "waiting")
    assert run["waits_for"][0]["about"]["action"] == "delete-job"
    assert call("cancel_run", run_id=asked["run_id"]).document["run_id"] == asked["run_id"]
    assert run_at(call, asked["run_id"])["status"] == "cancelled"


def test_a_deletion_with_a_bundle_of_the_session_is_made_once_it_is_approved(
    call: Call, settings: dict[str, str], session: AgentSession
) -> None:
    plan = call("preview_job", **{**PREVIEW, "destination": "JunkEmail"}).document
    job = {"job_id": call("create_job", plan=plan["plan_hash"]).document["job_id"]}
    assert call("wait_for_job", **job, max_interval_seconds=1).document["done"]
    exported = call("export_job_messages", **job, evidence="bundle", destination="bundle.zip")
    assert exported.document["complete"], exported
    asked = call("delete_job", **job, evidence="bundle.zip").document
    run_at(call, asked["run_id"], "waiting")
    approve(settings, session, asked["run_id"])
    run = run_at(call, asked["run_id"])
    assert run["outputs"]["result"]["deleted"], run


@pytest.mark.parametrize("export", ["/etc/passwd", "../x.zip", "run://no-such-run/x.zip"])
def test_an_input_of_a_playbook_names_no_path(export: str, call: Call) -> None:
    refused = call("run_playbook", playbook="restore-from-evidence", inputs={"export": export}).document
    assert refused["error"]["type"] in ("ParameterError", "NotFound")


def test_an_override_waits_for_a_person(call: Call, sandbox: RunningSandbox) -> None:
    plan = call("preview_job", **{**PREVIEW, "destination": "JunkEmail"}).document
    asked = call("create_job", plan=plan["plan_hash"], allow_malicious=True).document
    assert asked["needs_approval"]
    assert jobs(sandbox) == 0


@pytest.mark.parametrize("inputs", [{"destination": "RecoverableItemsPurges"}, {"allow_own_senders": True}])
def test_a_playbook_that_may_do_harm_waits_for_a_person(
    inputs: dict[str, Any],
    call: Call,
    alert: dict[str, Any],
    settings: dict[str, str],
    session: AgentSession,
) -> None:
    begun = call("run_playbook", playbook="phish-campaign-purge", inputs={"alert": alert, **inputs}).document
    run = run_at(call, begun["run_id"], "waiting")
    assert run["waits_for"][0]["about"]["playbook"] == "phish-campaign-purge"
    approve(settings, session, begun["run_id"])
    assert run_at(call, begun["run_id"])["status"] == "completed"


def test_a_step_that_needs_a_person_is_refused_in_a_run_that_asked_nobody(
    call: Call, session: AgentSession, alert: dict[str, Any], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inputs are checked when the run begins, and each change again when it is made."""
    monkeypatch.setattr("platforms.mcp.agent_session.inputs_need_person", lambda _: False)
    inputs = {"alert": alert, "destination": "RecoverableItemsPurges"}
    begun = call("run_playbook", playbook="phish-campaign-purge", inputs=inputs).document
    run = run_at(call, begun["run_id"])
    assert run["error"]["type"] == "ApprovalRefused"
    assert jobs(sandbox) == 0


def test_an_agent_cannot_pass_approvals_to_a_playbook(call: Call, alert: dict[str, Any]) -> None:
    refused = call("run_playbook", playbook="phish-campaign-purge", inputs={"alert": alert, "approvals": ["x"]})
    assert refused.document["error"]["problems"][0]["pointer"] == "/inputs/approvals"


def test_an_unknown_playbook_or_file_is_named(call: Call) -> None:
    refused = call("run_playbook", playbook="/etc/passwd")
    assert refused.document["error"]["problems"][0]["pointer"] == "/playbook"
    assert call("read_file", name="../../etc/passwd").document["error"]["type"] == "NotFound"
    assert call("show_run", run_id="nothing-here").is_error


def test_a_long_file_is_read_in_parts(call: Call, session: AgentSession) -> None:
    text = "ä€🙂" * 5000
    (session.directory_of(None) / "long.txt").write_text(text)
    read, offset = "", 0
    while offset is not None:
        part = call("read_file", name="long.txt", offset=offset, max_bytes=1000).document
        read, offset = read + part["text"], part["next_offset"]
    assert read == text
    (session.directory_of(None) / "image.bin").write_bytes(b"\xff\xd8\xff")
    assert call("read_file", name="image.bin").document["error"]["type"] == "ParameterError"
    assert [file["name"] for file in call("list_files").document["files"]] == ["image.bin", "long.txt"]


def test_a_policy_s_approvals_are_signed_by_people(
    settings: dict[str, str], sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    document = {**POLICY.model_dump(mode="json", exclude_defaults=True), "approval_needed": [{"approvals": 1}]}
    policy.write_text(yaml.safe_dump(document))
    guarded = {"CFES_POLICY": str(policy), "CFES_PLAN_KEY": PLAN_KEY, "CFES_REQUESTED_BY": "alice"}
    for name, value in guarded.items():
        monkeypatch.setenv(name, value)
    session = AgentSession({**settings, **guarded})
    session.start()
    tools = tools_of("all")

    def call(name: str, /, **arguments: Any) -> ToolResult:
        return run_tool(session, tools[name], arguments)

    plan = call("preview_job", **{**PREVIEW, "destination": "JunkEmail"}).document
    asked = call("create_job", plan=plan["plan_hash"]).document
    assert "approve" in asked["how_a_person_approves"][1]
    run_at(call, asked["run_id"], "waiting")
    token = approval_by(
        "bob", BOB, plan_hash=plan["plan_hash"], account_id=sandbox.account_id, now=SystemClock().now()
    ).token
    run_signals.send(
        open_store({**settings, **guarded}),
        asked["run_id"],
        Signal("approval", token),
        clock=SystemClock(),
        sent_by="bob",
    )
    session.runs.queue.set_due(asked["run_id"], 0)
    run = run_at(call, asked["run_id"])
    assert (run["status"], jobs(sandbox)) == ("completed", 1), run
    assert session.close()
