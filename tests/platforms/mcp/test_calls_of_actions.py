"""Calls of actions by an agent: plans, limits, files, and what it can't set."""

from __future__ import annotations

from typing import Any

import pytest

from actions.contract import catalog
from platforms.mcp.agent_session import AgentSession
from platforms.mcp.tools import HIDDEN, tools_of
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.platforms.mcp.conftest import Call

PREVIEW = {"action": "MOVE", "destination": "JunkEmail", "search_params": CAMPAIGN}

EVERY = tools_of("all")
CHANGES = [tool.name for tool in EVERY.values() if tool.action is not None and tool.action.approval == "required"]


def error_of(result: Any) -> dict[str, Any]:
    assert result.is_error, result.document
    error: dict[str, Any] = result.document["error"]
    return error


def jobs(sandbox: RunningSandbox) -> int:
    return len(sandbox.state.truth()["jobs"])


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_without_a_plan_is_refused_or_waits_for_a_person(
    name: str, call: Call, sandbox: RunningSandbox
) -> None:
    action = EVERY[name].action
    assert action is not None
    params = {
        key: value
        for key, value in action.example_params.items()
        if key not in (*HIDDEN, "plan", "plan_hash", "evidence", "export")
    }
    if "export" in action.params.model_fields:
        params |= {"export": "rows.ndjson"}
    result = call(name, **{**params, **({"dry_run": False} if "dry_run" in action.params.model_fields else {})})
    if result.is_error:
        assert error_of(result)["applied"] == "no"
        assert error_of(result)["type"] in ("PlanNeeded", "ParameterError")
    else:
        assert result.document["needs_approval"]
    assert jobs(sandbox) == 0


def test_a_search_without_a_plan_makes_no_job(call: Call, sandbox: RunningSandbox) -> None:
    refused = call("create_move_job", search_params=CAMPAIGN, destination="JunkEmail")
    assert error_of(refused)["type"] == "PlanNeeded"
    assert "preview_job" in error_of(refused)["help"]
    assert jobs(sandbox) == 0


def test_the_hash_of_a_plan_stands_for_it(call: Call, sandbox: RunningSandbox) -> None:
    plan = call("preview_job", **PREVIEW).document
    assert call("create_job", plan=plan["plan_hash"]).document["plan_hash"] == plan["plan_hash"]
    assert jobs(sandbox) == 1


def test_the_hash_of_an_unknown_plan_is_refused(call: Call, sandbox: RunningSandbox) -> None:
    refused = error_of(call("create_job", plan="0" * 64))
    assert refused["problems"][0]["pointer"] == "/plan"
    assert jobs(sandbox) == 0


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_an_agent_cannot_name_the_requester_or_approve(name: str, call: Call, sandbox: RunningSandbox) -> None:
    plan = call("preview_job", **PREVIEW).document
    refused = error_of(call("create_job", plan=plan, **{name: "eve@corp.example"}))
    assert refused["problems"][0]["pointer"] == f"/{name}"
    assert jobs(sandbox) == 0


def test_the_requester_is_that_of_the_settings(settings: dict[str, str], sandbox: RunningSandbox) -> None:
    session = AgentSession({**settings, "CFES_REQUESTED_BY": "ana@corp.example"})
    session.start()
    plan = session.call_action(catalog.find("preview-job"), PREVIEW).document
    assert plan["requested_by"] == "ana@corp.example"
    session.close()


@pytest.mark.parametrize("destination", ["/var/rows.ndjson", "../rows.ndjson", "s3://bucket/rows.ndjson", ".hidden"])
def test_a_file_is_a_name_in_the_workspace(destination: str, call: Call) -> None:
    refused = error_of(
        call("export_job_messages", job_id="48631c1e-bdc9-4bed-8327-39071c2fd0a8", destination=destination)
    )
    assert refused["problems"][0]["pointer"] == "/destination"


def test_a_result_is_small_unless_more_is_asked_for(call: Call) -> None:
    found = call("search_messages", search_params={"start": "2026-11-01T00:00:00Z"}, sample=1000)
    assert len(str(found.document)) < 45_000
    refused = error_of(call("search_messages", search_params=CAMPAIGN, max_result_bytes=100_000))
    assert refused["problems"] == [{"pointer": "/max_result_bytes", "message": "must be at most 40000"}]


@pytest.mark.parametrize(
    "arguments", [{}, {"job_id": 3}, {"job_id": "x" * 100_000}, {"job_id": "a", "zzz": 1}, {"job_id": None}]
)
def test_invalid_arguments_are_an_error_document(arguments: dict[str, Any], call: Call) -> None:
    refused = error_of(call("get_job", **arguments))
    assert refused["type"] == "ParameterError"
    assert refused["problems"]


def test_arguments_that_are_too_large_or_too_deep_are_refused(call: Call) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for argument in ("x" * (5 << 20), deep):
        assert error_of(call("read_alert", alert=argument))["type"] == "ParameterError"
