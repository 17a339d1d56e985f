"""Create the bulk job of a plan: a move to the plan's folder, or a release from quarantine.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from actions.contract.action import WRITE, Action, Preview
from actions.contract.process import main
from actions.contract.streams import record
from actions.shapes.example_job import example_created
from actions.shapes.example_plan import EXAMPLE_PLAN
from actions.shapes.job_request import PlannedJobParams, planned_call, verdict
from connectors.email_security import EmailSecurity
from remediation.jobs.request import RequestedJob, request_job


class Params(PlannedJobParams):
    plan: dict[str, Any] = Field(
        description="The result of preview-job. Its search is counted again, and must not have drifted."
    )
    allow_malicious: bool = Field(
        False,
        description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC to be released, or moved to Inbox.",
    )


class Result(RequestedJob):
    plan: dict[str, Any] | None = Field(
        description="The plan, for wait-for-job and the evidence bundle; null if the job was not made from it."
    )


def create_job(p: Params, api: EmailSecurity) -> Result:
    made = request_job(api, planned_call(p, p.plan), record)
    return Result(**dict(made), plan=None if made.plan_hash is None else p.plan)


def _preview(p: Params) -> Preview:
    names = ("action", "destination", "search_params")
    return Preview(
        "preview-job", {**p.model_dump(mode="json", exclude_unset=True), **{n: p.plan.get(n) for n in names}}
    )


ACTION = Action(
    id="create-job",
    title="Create the bulk job of a plan",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[WRITE],
    function=create_job,
    preview=_preview,
    verdict=verdict,
    example_params={"plan": EXAMPLE_PLAN, "comment": "case 42", "idempotency_key": "case-42"},
    example_result={
        **example_created(comment="[cfes:1:0c1b7d2a9e4f5a6b7c8d9e0f:1a2b3c4d5e6f7a8b] case 42"),
        "plan_hash": EXAMPLE_PLAN["plan_hash"],
        "plan": EXAMPLE_PLAN,
        "cancel_if_discovered_over": EXAMPLE_PLAN["cancel_if_discovered_over"],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
