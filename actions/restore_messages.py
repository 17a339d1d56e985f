"""Undo a move: move a job's messages back to Inbox. A dry run by default.

Restores the COMPLETED rows of the job's export. A message that was in flight when the job ended has
a CANCELLED row, and may have been moved. The action looks it up, and restores it if its own state shows the move.

Remote operation: POST /accounts/{account_id}/email-security/investigate/move, at most 1,000 IDs a call.
Not an exact undo: the API does not report which folder a message came from, so every message goes to Inbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from actions.contract.action import WRITE, Action
from actions.contract.file_parameters import READS_FILE
from actions.contract.process import main
from actions.shapes.example_change import INVESTIGATE_ID, example_change, example_found
from actions.shapes.message_change import (
    UNACCOUNTED_NAMED,
    ChangeParams,
    ChangeResult,
    ExportPath,
    call_of,
    dry_run_of,
    result_of,
    verdict,
)
from connectors.email_security import EmailSecurity
from remediation.guardrails.change import Change
from remediation.messages.change import make_change, prepare_change
from remediation.messages.restore import read_moved_messages


class Params(ChangeParams):
    export: ExportPath = Field(
        description="The evidence bundle (zip) or NDJSON file of export-job-messages, of a MOVE job: a path, or the "
        "URL of an object.",
        json_schema_extra=READS_FILE,
    )
    dry_run: bool = Field(True, description="Show the messages that would be moved back; change nothing.")
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC, or not known, to go to Inbox."
    )


class Result(ChangeResult):
    # Cut last: these IDs are named nowhere else.
    cut_order = (*ChangeResult.cut_order, "cancelled_unknown")

    rows: int = Field(description="Rows with status COMPLETED, one for each message and recipient.")
    rows_left_alone: int = Field(description="Rows with another status, without those of messages that are restored.")
    cancelled_moved: int = Field(
        description="Messages whose rows are CANCELLED and that were moved nevertheless: they are restored too."
    )
    cancelled_unknown: list[str] = Field(
        description="Investigate IDs of messages whose rows are CANCELLED and that may have been moved: not touched. "
        "The first 1,000; the warnings have the number."
    )
    by_destination: dict[str, int] = Field(description="The COMPLETED rows by the folder that the job moved them to.")
    original_folder: Literal["not known"] = Field(
        description="The folder that the messages came from. The API does not report it, so all go to Inbox."
    )


def restore_messages(p: Params, api: EmailSecurity) -> Result:
    moved = read_moved_messages(api, p.export)
    call = call_of(p, Change("MOVE", "Inbox"), moved.selection)
    unknown = moved.in_flight.unknown
    return result_of(
        api,
        make_change(api, prepare_change(api, call), ACTION.id, unresolved=len(unknown)),
        Result,
        rows=moved.by_destination.total(),
        rows_left_alone=moved.rows_left_alone,
        cancelled_moved=moved.cancelled_moved,
        cancelled_unknown=unknown[:UNACCOUNTED_NAMED],
        by_destination=dict(moved.by_destination.most_common()),
        original_folder="not known",
        warnings=moved.warnings(),
    )


def restore_verdict(result: Mapping[str, Any]) -> int:
    """Exit 8 if a message failed, is unknown or has no ID, 6 if messages are still to be sent. A dry run exits 0."""
    left = result["cancelled_unknown"] or "cancelled_unknown" in result["truncated"]
    return 8 if left and not result["dry_run"] else verdict(result)


ACTION = Action(
    id="restore-messages",
    title="Undo a move: return a job's messages to Inbox",
    params=Params,
    result=Result,
    effect="write",
    permissions=[WRITE],
    function=restore_messages,
    preview=lambda p: dry_run_of("restore-messages", p),
    verdict=restore_verdict,
    example_params={"export": "case-42.ndjson", "dry_run": True},
    example_result=example_change(
        dry_run=True,
        done=False,
        plan_hash="e86082633e720e02445c45215c67626fb0e17388ceb221275d49804e08842b30",
        destination="Inbox",
        messages=1,
        ids=[INVESTIGATE_ID],
        succeeded=0,
        not_sent=1,
        results=[],
        **example_found(),
        rows=1,
        rows_left_alone=11,
        cancelled_moved=0,
        cancelled_unknown=[],
        by_destination={"JunkEmail": 1},
        original_folder="not known",
        warnings=["the original folder of the messages is not known: every message is moved to Inbox"],
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
