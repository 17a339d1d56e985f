"""Move messages by ID, without a job: by their investigate IDs, or by the rows of an export.

Remote operation: POST /accounts/{account_id}/email-security/investigate/move, at most 1,000 IDs a call.
A message is moved for every recipient who has it. A lost answer is looked up before anything is sent again.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action
from actions.contract.process import main
from actions.shapes.example_change import INVESTIGATE_ID, example_change
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
from connectors.objects.job import Destination
from remediation.guardrails.change import Change
from remediation.messages.change import make_change, prepare_change


class Params(NamedParams):
    destination: Destination = Field(
        description="The folder to move to. This pack can't undo a move to the two RecoverableItems folders."
    )
    allow_irreversible: bool = Field(False, description="Allow RecoverableItemsDeletions and RecoverableItemsPurges.")
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC, or not known, to go to Inbox."
    )


def move_messages(p: Params, api: EmailSecurity) -> ChangeResult:
    call = call_of(p, Change("MOVE", p.destination), selection_of(p))
    return result_of(api, make_change(api, prepare_change(api, call), ACTION.id), ChangeResult)


ACTION = Action(
    id="move-messages",
    title="Move messages by ID",
    params=Params,
    result=ChangeResult,
    effect="irreversible",
    permissions=[WRITE],
    function=move_messages,
    preview=lambda p: dry_run_of("move-messages", p),
    verdict=verdict,
    example_params={"ids": [INVESTIGATE_ID], "destination": "JunkEmail", "requested_by": "ana@corp.example"},
    example_result=example_change(),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
