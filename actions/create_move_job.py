"""Create a bulk job that moves every message its search finds into one folder.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk with action MOVE.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action
from actions.contract.process import main
from actions.contract.streams import record
from actions.shapes.example_job import EXAMPLE_SEARCH, example_created
from actions.shapes.job_request import CreateJobParams, call_of, preview_of, verdict
from connectors.email_security import EmailSecurity
from connectors.objects.job import Destination
from remediation.jobs.request import RequestedJob, request_job


class Params(CreateJobParams):
    destination: Destination | None = Field(
        None,
        description="The folder to move to. This pack can't undo a move to the two RecoverableItems folders. "
        "Required without a plan.",
    )
    allow_irreversible: bool = Field(
        False, description="Allow RecoverableItemsDeletions and RecoverableItemsPurges without a plan."
    )
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC to be moved to Inbox."
    )


def create_move_job(p: Params, api: EmailSecurity) -> RequestedJob:
    return request_job(api, call_of(p, "MOVE", p.destination), record)


ACTION = Action(
    id="create-move-job",
    title="Create a bulk job that moves messages to a folder",
    params=Params,
    result=RequestedJob,
    effect="irreversible",
    permissions=[WRITE],
    function=create_move_job,
    preview=lambda p: preview_of(p, "MOVE", p.destination),
    verdict=verdict,
    example_params={
        "search_params": EXAMPLE_SEARCH,
        "destination": "JunkEmail",
        "comment": "case 42",
        "max_messages": 1000,
        "idempotency_key": "case-42",
    },
    example_result=example_created(comment="[cfes:1:0c1b7d2a9e4f5a6b7c8d9e0f:1a2b3c4d5e6f7a8b] case 42"),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
