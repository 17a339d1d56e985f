"""Create a bulk job that releases from quarantine every message its search finds.

Remote operation: POST /accounts/{account_id}/email-security/investigate/bulk with action RELEASE.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action
from actions.contract.process import main
from actions.contract.streams import record
from actions.shapes.example_job import example_created
from actions.shapes.job_request import CreateJobParams, call_of, preview_of, verdict
from connectors.email_security import EmailSecurity
from remediation.jobs.request import RequestedJob, request_job


class Params(CreateJobParams):
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC to be released."
    )


def release_job(p: Params, api: EmailSecurity) -> RequestedJob:
    return request_job(api, call_of(p, "RELEASE"), record)


ACTION = Action(
    id="release-job",
    title="Create a bulk job that releases messages from quarantine",
    params=Params,
    result=RequestedJob,
    effect="write",
    permissions=[WRITE],
    function=release_job,
    preview=lambda p: preview_of(p, "RELEASE"),
    verdict=verdict,
    example_params={
        "search_params": {
            "sender": "statements@partner-bank.example",
            "delivery_status": "quarantined",
            "start": "2026-11-19T00:00:00Z",
        },
        "comment": "false positive, case 43",
        "idempotency_key": "case-43",
    },
    example_result=example_created(
        warnings=[
            "detections_only is not given, and the API's default is true: mail with a clean verdict is not touched"
        ],
        action_type="RELEASE",
        action_params={"type": "RELEASE"},
        search_params={"sender": "statements@partner-bank.example"},
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
