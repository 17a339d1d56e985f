"""Release quarantined messages by ID, without a job: by their investigate IDs, or by the rows of an export.

Remote operation: POST /accounts/{account_id}/email-security/investigate/release, at most 1,000 IDs a call. (The
API documents no maximum; this is the limit of the pack.) A message is released for every recipient. Malicious messages
are refused.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action
from actions.contract.process import main
from actions.shapes.example_change import INVESTIGATE_ID, example_change, example_row
from actions.shapes.message_change import (
    ChangeResult,
    NamedParams,
    call_of,
    dry_run_of,
    result_of,
    selection_of,
    verdict,
)
from connectors.email_security import EmailSecurity
from remediation.guardrails.change import Change
from remediation.messages.change import make_change, prepare_change


class Params(NamedParams):
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC, or not known."
    )


def release_messages(p: Params, api: EmailSecurity) -> ChangeResult:
    call = call_of(p, Change("RELEASE"), selection_of(p))
    return result_of(api, make_change(api, prepare_change(api, call), ACTION.id), ChangeResult)


ACTION = Action(
    id="release-messages",
    title="Release quarantined messages by ID",
    params=Params,
    result=ChangeResult,
    effect="write",
    permissions=[WRITE],
    function=release_messages,
    preview=lambda p: dry_run_of("release-messages", p),
    verdict=verdict,
    example_params={"ids": [INVESTIGATE_ID], "requested_by": "ana@corp.example"},
    example_result=example_change(
        plan_hash="0590a951397cfbf52bc1fb04b05b7961c385a63348bf3f522435b307e7cd8262",
        action="RELEASE",
        destination=None,
        results=[
            example_row(message_id=INVESTIGATE_ID, status="delivered", destination=None, completed_at=None),
        ],
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
