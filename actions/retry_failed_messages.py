"""Retry the failed messages of an ended job, by their IDs and without another job.

Remote operations: GET .../bulk/{job_id} and its messages with status FAILED; then POST .../move or .../release.
A message that is not due yet (retry_after) is left out, or waited for within `wait_seconds`.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import WRITE, Action, JobId
from actions.contract.process import main
from actions.shapes.example_change import example_change
from actions.shapes.example_job import JOB_ID
from actions.shapes.message_change import ChangeParams, ChangeResult, call_of, dry_run_of, result_of, verdict
from connectors.email_security import EmailSecurity
from core.clock import whole_seconds
from core.instants import format_instant
from remediation.messages.change import make_change, prepare_change
from remediation.messages.retry import read_failed_messages


class Params(ChangeParams):
    job_id: JobId
    wait_seconds: float = Field(
        0, ge=0, le=86_400, description="How long to wait for messages that are not due yet (retry_after), in seconds."
    )
    allow_irreversible: bool = Field(
        False, description="Allow a job that moved to RecoverableItemsDeletions or RecoverableItemsPurges."
    )
    allow_malicious: bool = Field(
        False, description="Allow a release of messages whose verdict is MALICIOUS or MALICIOUS-BEC, or not known."
    )


class Result(ChangeResult):
    job_id: JobId
    failed_rows: int = Field(description="Rows of the job with status FAILED, one for each message and recipient.")
    not_yet: int = Field(description="Messages that are not due yet (retry_after): not sent.")
    earliest_retry_at: str | None = Field(description="When the first of them is due, RFC 3339; null if all are due.")
    next_poll_seconds: int | None = Field(description="When that is, in seconds from now; null if all are due.")


def retry_failed_messages(p: Params, api: EmailSecurity) -> Result:
    failed = read_failed_messages(api, p.job_id)
    if not p.dry_run:
        failed.wait(api, p.wait_seconds)
    # After the wait: approvals, protected people and the messages themselves may have changed meanwhile.
    prepared = prepare_change(api, call_of(p, failed.change, failed.selection))
    now = api.clock.now()
    not_due = failed.not_due(now, prepared.ledger.outcomes)
    earliest = min(not_due.values(), default=None)
    outcome = make_change(api, prepared, ACTION.id, hold_back=not_due.keys() | failed.unreadable)
    return result_of(
        api,
        outcome,
        Result,
        job_id=failed.job.job_id,
        failed_rows=len(failed.rows),
        not_yet=len(not_due),
        earliest_retry_at=None if earliest is None else format_instant(earliest),
        next_poll_seconds=None if earliest is None else whole_seconds((earliest - now).total_seconds()),
        warnings=failed.warnings(not_due),
    )


ACTION = Action(
    id="retry-failed-messages",
    title="Retry the failed messages of a job",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[WRITE],
    function=retry_failed_messages,
    preview=lambda p: dry_run_of("retry-failed-messages", p),
    verdict=verdict,
    example_params={"job_id": JOB_ID, "wait_seconds": 300, "requested_by": "ana@corp.example"},
    example_result=example_change(
        job_id=JOB_ID,
        failed_rows=1,
        not_yet=0,
        earliest_retry_at=None,
        next_poll_seconds=None,
        warnings=[
            "a message ID covers all recipients: those for whom it already succeeded are processed again",
        ],
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
