"""Create a bulk job that moves every message its search finds into one folder.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk with action MOVE.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from actions.contract.action import WRITE, Action
from actions.contract.process import main
from actions.shapes.example_job import JOB_ID, example_new_job
from actions.shapes.job_request import (
    PLAN_OR_SEARCH,
    CreateJobParams,
    JobRequestResult,
    announce_job,
    call_of,
    limits_of,
    preview_of,
    result_of,
    verdict,
)
from connectors.email_security import EmailSecurity
from connectors.objects.folders import recovery_from
from connectors.objects.job import Destination
from remediation.jobs.request import request_job


class Params(CreateJobParams):
    model_config = ConfigDict(json_schema_extra=PLAN_OR_SEARCH)

    destination: Destination | None = Field(
        None,
        description="The folder to move to. This pack can't undo a move to the two RecoverableItems folders. "
        "Required where no plan is given.",
    )
    allow_irreversible: bool = Field(
        False, description="Allow RecoverableItemsDeletions and RecoverableItemsPurges without a plan."
    )
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC to be moved to Inbox."
    )


class Result(JobRequestResult):
    pass


def create_move_job(p: Params, api: EmailSecurity) -> Result:
    limits = limits_of(p, allow_irreversible=p.allow_irreversible, allow_malicious=p.allow_malicious)
    requested = request_job(api, call_of(p, "MOVE", p.destination, limits), announce_job)
    made = result_of(requested, Result)
    destination = (made.job.get("action_params") or {}).get("destination")
    recovery = recovery_from(destination)
    if recovery is not None:
        made.warnings.append(recovery)
    if destination == "Inbox":
        made.warnings.append("messages moved to Inbox are delivered to their users")
    return made


ACTION = Action(
    id="create-move-job",
    title="Create a bulk job that moves messages to a folder",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[WRITE],
    function=create_move_job,
    preview=lambda p: preview_of(p, "MOVE", p.destination),
    verdict=verdict,
    example_params={
        "search_params": {
            "sender": "billing@invoice-portal.example",
            "start": "2026-11-13T15:32:35Z",
            "detections_only": False,
        },
        "destination": "JunkEmail",
        "comment": "case 42",
        "max_messages": 1000,
        "idempotency_key": "case-42",
    },
    example_result={
        "job_id": JOB_ID,
        "status": "PENDING",
        "created": True,
        "reused": None,
        "job": example_new_job(comment="[cfes:1:0c1b7d2a9e4f5a6b7c8d9e0f:1a2b3c4d5e6f7a8b] case 42"),
        "plan_hash": None,
        "requested_by": None,
        "approved_by": [],
        "duplicates": [],
        "tripwire": None,
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
