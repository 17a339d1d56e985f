"""create-job: the job of a plan, whether it moves or releases, with the limit for the wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions import create_job, create_move_job, preview_job, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import ParameterError, PlanRefused, TooManyMessages
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN

HELD = {"sender": "partner-bank.example", "delivery_status": "quarantined", "start": "2026-11-01T00:00:00Z"}


def plan_of(api: EmailSecurity, **changes: Any) -> dict[str, Any]:
    return preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail", **changes}, api)


def create(api: EmailSecurity, plan: dict[str, Any], **params: Any) -> dict[str, Any]:
    return create_job.run({"plan": plan, "wait_follows": True, **params}, api)


def test_a_plan_to_move_makes_a_job_that_moves(api: EmailSecurity) -> None:
    plan = plan_of(api, destination="DeletedItems")
    made = create(api, plan)
    assert (made["created"], made["plan"]) == (True, plan)
    assert made["job"]["action_params"] == {"type": "MOVE", "destination": "DeletedItems"}
    assert made["cancel_if_discovered_over"] == plan["cancel_if_discovered_over"]


def test_a_plan_to_release_makes_a_job_that_releases(api: EmailSecurity) -> None:
    plan = preview_job.run({"action": "RELEASE", "search_params": HELD, "allow_malicious": True}, api)
    made = create(api, plan, allow_malicious=True)
    assert (made["job"]["action_type"], made["plan"]) == ("RELEASE", plan)


def test_the_result_is_what_the_wait_takes(api: EmailSecurity) -> None:
    made = create(api, plan_of(api), idempotency_key="case-1", max_messages=50)
    assert made["cancel_if_discovered_over"] == min(50, made["plan"]["cancel_if_discovered_over"])
    names = ("job_id", "plan", "cancel_if_discovered_over")
    ended = wait_for_job.run({name: made[name] for name in names}, api)
    assert (ended["done"], ended["discovery_limit"]["limit"]) == (True, made["cancel_if_discovered_over"])


def test_create_move_job_and_create_job_make_one_job_for_one_key(api: EmailSecurity) -> None:
    plan = plan_of(api)
    first = create_move_job.run({"plan": plan, "idempotency_key": "case-1", "wait_follows": True}, api)
    again = create(api, plan, idempotency_key="case-1")
    assert (again["created"], again["job_id"], again["plan"]) == (False, first["job_id"], plan)


def test_the_plan_is_null_where_the_job_was_made_from_another(api: EmailSecurity) -> None:
    first = create(api, plan_of(api), idempotency_key="case-1")
    later = create(api, plan_of(api, limit=2000, sample=1), idempotency_key="case-1", max_messages=60)
    assert (later["created"], later["job_id"], later["plan"]) == (False, first["job_id"], None)
    assert later["cancel_if_discovered_over"] == 60
    assert "the job was not made from this plan" in " ".join(later["warnings"])


@pytest.mark.parametrize("plan", [None, {}, {"action": "PURGE"}, {"plan_hash": "0" * 64, "action": "MOVE"}, []])
def test_a_call_without_a_valid_plan_changes_nothing(plan: Any, sandbox: RunningSandbox, api: EmailSecurity) -> None:
    with pytest.raises(ParameterError, match=r"plan") as refused:
        create(api, plan)
    assert len(str(refused.value)) < 200, "a document that is no plan needs no list of a plan's fields"
    assert sandbox.state.truth()["jobs"] == []


def test_the_guardrails_are_those_of_the_other_creates(sandbox: RunningSandbox, api: EmailSecurity) -> None:
    with pytest.raises(TooManyMessages):
        create(api, plan_of(api), max_messages=3)
    changed = {**plan_of(api), "destination": "RecoverableItemsPurges"}
    with pytest.raises(PlanRefused):
        create(api, changed)
    assert sandbox.state.truth()["jobs"] == []


def test_a_policy_can_require_the_seal_of_the_plan(
    connect: Callable[..., EmailSecurity], sandbox: RunningSandbox, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("policy: 1\nplan_needed:\n  - actions: [MOVE]\n")
    api = connect(sandbox, policy_file=str(policy))
    plan = plan_of(api)
    with pytest.raises(PlanRefused):
        create(api, {**plan, "seal": None})
    assert create(api, plan)["created"]
