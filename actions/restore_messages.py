"""Move back to Inbox what a job has moved: the COMPLETED rows of its export, and CANCELLED rows that were moved.

A row is CANCELLED too where its attempt was in flight when the job ended, and its message may have been moved. So such
a message is looked up, and restored where its own state shows the move. A dry run unless `dry_run` is false.

Remote operation: POST /accounts/{account_id}/email-security/investigate/move, at most 1,000 IDs a call.
It is no exact undo: the API does not say which folder a message came from, so every one goes to Inbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field

from actions.contract.action import WRITE, Action
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
from connectors.objects.folders import DELETIONS, PURGES, recovery_from
from connectors.objects.job import Destination
from core.errors import NotRestorable, ParameterError, Problem, printable
from core.quantity import counted
from remediation.guardrails.change import Change
from remediation.messages.change import make_change, prepare_change
from remediation.messages.in_flight import look_at_cancelled
from remediation.messages.selection import JobRow, Selection, exported_rows

MOVED_TO_UNKNOWN = "(not told)"
MOST_FOLDERS = 20


class Params(ChangeParams):
    export: ExportPath = Field(description="Path of an NDJSON file of export-job-messages, of a MOVE job.")
    dry_run: bool = Field(True, description="Show what would be moved back; change nothing. True unless set to false.")
    allow_malicious: bool = Field(
        False, description="Allow messages whose verdict is MALICIOUS or MALICIOUS-BEC, or not known, to go to Inbox."
    )


class Result(ChangeResult):
    # Last: these are named nowhere else.
    cut_order = (*ChangeResult.cut_order, "cancelled_unknown")

    rows: int = Field(description="Rows with status COMPLETED, one for each message and recipient.")
    rows_left_alone: int = Field(description="Rows with another status, without those of messages that are restored.")
    cancelled_moved: int = Field(
        description="Messages whose rows are CANCELLED and that were moved all the same: they are restored too."
    )
    cancelled_unknown: list[str] = Field(
        description="Investigate IDs of messages whose rows are CANCELLED and that may have been moved: not touched. "
        "The first 1,000; the warnings have the number."
    )
    by_destination: dict[str, int] = Field(description="The COMPLETED rows by the folder that the job moved them to.")
    original_folder: Literal["not known"] = Field(
        description="Where the messages came from: the API does not say, so all go to Inbox."
    )


def restore_messages(p: Params, api: EmailSecurity) -> Result:
    selection, by_destination, left_alone = Selection(from_file=True), Counter[str](), 0
    cancelled: list[JobRow] = []
    for number, row in enumerate(exported_rows(p.export), start=1):
        if row.status != "COMPLETED":
            left_alone += 1
            if row.status == "CANCELLED" and row.action_type == "MOVE" and row.message is not None:
                cancelled.append(row)
            continue
        _check_is_move(row, number)
        selection.take(row)
        by_destination[_folder(row, by_destination)] += 1
    if not by_destination and not left_alone:
        _refuse_empty()
    if by_destination[PURGES]:
        raise NotRestorable(
            f"{by_destination[PURGES]} of {counted(by_destination.total(), 'row was', 'rows were')} moved to {PURGES}"
        )
    in_flight = look_at_cancelled(api, [row for row in cancelled if not selection.has(row)])
    for row in in_flight.moved:
        if row.destination == PURGES:
            raise NotRestorable(f"row {row.row_id} is CANCELLED, and its message was moved to {PURGES} all the same")
        selection.take(row)
    call = call_of(p, Change("MOVE", "Inbox"), selection, allow_malicious=p.allow_malicious)
    outcome = make_change(api, prepare_change(api, call), ACTION.id, unresolved=len(in_flight.unknown))
    return result_of(
        api,
        outcome,
        Result,
        rows=by_destination.total(),
        rows_left_alone=left_alone - len(in_flight.moved),
        cancelled_moved=len({row.message.id for row in in_flight.moved if row.message is not None}),
        cancelled_unknown=in_flight.unknown[:UNACCOUNTED_NAMED],
        by_destination=dict(by_destination.most_common()),
        original_folder="not known",
        warnings=_warnings(selection, by_destination) + in_flight.warnings(),
    )


def _refuse_empty() -> None:
    message = "has no row: an NDJSON file of export-job-messages is needed"
    raise ParameterError(problems=[Problem(pointer="/export", message=message)])


def _check_is_move(row: JobRow, number: int) -> None:
    """Raises: ParameterError: what a job has released is in the mailbox already."""
    if row.action_type == "MOVE" and (row.destination is None or row.destination in get_args(Destination)):
        return
    if row.action_type == "MOVE":
        said = printable(
            f"row {number} ({row.row_id}): was moved to {row.destination!r}, which is no folder known here"
        )
        raise ParameterError(problems=[Problem(pointer="/export", message=said[:500])])
    said = "has no action_type" if row.action_type is None else f"is of a {row.action_type} job"
    message = f"row {number} ({row.row_id}) {said}: only what a MOVE job has moved can be moved back"
    raise ParameterError(problems=[Problem(pointer="/export", message=printable(message)[:500])])


def _folder(row: JobRow, known: Counter[str]) -> str:
    folder = MOVED_TO_UNKNOWN if row.destination is None else printable(row.destination)[:100]
    return folder if folder in known or len(known) < MOST_FOLDERS or folder == PURGES else MOVED_TO_UNKNOWN


def _warnings(selection: Selection, by_destination: Counter[str]) -> list[str]:
    warnings = []
    if selection.messages:
        warnings.append("the folder that each message came from is not known: every one is moved to Inbox")
    further = selection.reaching_further()
    if further:
        warnings.append(
            f"{counted(further, 'message has', 'messages have')} more recipients than the rows say: all of them are "
            "moved"
        )
    if by_destination[DELETIONS]:
        warnings.append(
            f"{counted(by_destination[DELETIONS], 'row was', 'rows were')} moved to {DELETIONS}: whether the API can "
            f"move such mail back is not documented. {recovery_from(DELETIONS)}"
        )
    if by_destination[MOVED_TO_UNKNOWN]:
        warnings.append(
            f"{counted(by_destination[MOVED_TO_UNKNOWN], 'row does', 'rows do')} not say where the message was moved to"
        )
    return warnings


def restore_verdict(result: Mapping[str, Any]) -> int:
    """Return 8 also where it is not known whether CANCELLED messages were moved."""
    left = result["cancelled_unknown"] or "cancelled_unknown" in result["truncated"]
    return 8 if left and not result["dry_run"] else verdict(result)


ACTION = Action(
    id="restore-messages",
    title="Move back to Inbox what a job has moved",
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
        warnings=["the folder that each message came from is not known: every one is moved to Inbox"],
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
