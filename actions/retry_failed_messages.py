"""Try the messages again for which an ended job has failed: by their IDs, without another job.

Remote operations: GET .../bulk/{job_id} and its messages with status FAILED; then POST .../move or .../release.
A row's retry_after is honoured: what is not due yet is left out, or waited for within `wait_seconds`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

from pydantic import Field

from actions.contract.action import WRITE, Action, JobId
from actions.contract.process import main
from actions.shapes.example_change import example_change
from actions.shapes.example_job import JOB_ID
from actions.shapes.message_change import ChangeParams, ChangeResult, call_of, dry_run_of, result_of, verdict
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob, Destination
from core.clock import whole_seconds
from core.errors import JobStillRunning, UnexpectedAnswer
from core.instants import format_instant, parse_instant
from core.quantity import counted
from remediation.guardrails.change import Change
from remediation.messages.change import make_change, prepare_change
from remediation.messages.selection import JobRow, Selection, read_row

# A second pass finds rows that slipped between two pages of the first.
MOST_PASSES = 3


class Params(ChangeParams):
    job_id: JobId
    wait_seconds: float = Field(
        0, ge=0, le=86_400, description="How long to wait for messages whose retry_after lies ahead, in seconds."
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
    not_yet: int = Field(description="Messages whose retry_after lies ahead: not sent.")
    earliest_retry_at: str | None = Field(description="When the first of them is due, RFC 3339; null where none is.")
    next_poll_seconds: int | None = Field(description="In how many seconds that is; null where none is.")


def retry_failed_messages(p: Params, api: EmailSecurity) -> Result:
    job = api.get_job(p.job_id)
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: it may still try these messages itself",
            help="Nothing was changed. Wait for the job with wait-for-job, then run it again.",
            job_id=job.job_id,
        )
    rows = _failed_rows(api, job)
    change = _change_of(job, rows)
    selection = Selection()
    for row in rows:
        selection.take(row)
    due_at, unreadable = _due_at(rows)
    if not p.dry_run:
        _wait(p.wait_seconds, api, list(due_at.values()))
    # Asked after the wait: what was approved, protected or in place before it may be otherwise by now.
    call = call_of(p, change, selection, allow_irreversible=p.allow_irreversible, allow_malicious=p.allow_malicious)
    prepared = prepare_change(api, call)
    now = api.clock.now()
    later = {one: at for one, at in due_at.items() if at > now and one not in prepared.ledger.outcomes}
    earliest = min(later.values(), default=None)
    outcome = make_change(api, prepared, ACTION.id, hold_back=later.keys() | unreadable)
    return result_of(
        api,
        outcome,
        Result,
        job_id=job.job_id,
        failed_rows=len(rows),
        not_yet=len(later),
        earliest_retry_at=None if earliest is None else format_instant(earliest),
        next_poll_seconds=None if earliest is None else whole_seconds((earliest - now).total_seconds()),
        warnings=_warnings(job, rows, selection, later)
        + ([f"retry_after of {counted(len(unreadable), 'message')} can't be read: held back"] if unreadable else []),
    )


def _failed_rows(api: EmailSecurity, job: BulkJob) -> list[JobRow]:
    """Every FAILED row of the job, once."""
    found: dict[str, JobRow] = {}
    for _ in range(MOST_PASSES):
        for page, _ in api.job_message_pages(
            job.job_id,
            status="FAILED",
            enough=lambda: len(found) == job.messages_failed,
            most=lambda: job.total_messages_discovered if job.has_ended else None,
        ):
            for item in page.read():
                try:
                    row = read_row(item)
                except ValueError as error:
                    raise UnexpectedAnswer(f"a message of the job: field {error}") from None
                if row.status == "FAILED":
                    found[row.row_id] = row
        if len(found) >= job.messages_failed:
            break
    return list(found.values())


def _change_of(job: BulkJob, rows: list[JobRow]) -> Change:
    """What the job does to each message. Raises: UnexpectedAnswer where job and rows do not agree on one thing."""
    params = job.action_params
    action = job.action_type or (params.type if params is not None else None)
    if {row.action_type for row in rows} - {action, None}:
        raise UnexpectedAnswer("a message of the job: field action_type: is not the job's")
    if action == "RELEASE":
        return Change("RELEASE")
    if action != "MOVE":
        raise UnexpectedAnswer("the job: field action_type: is neither MOVE nor RELEASE")
    destinations = {row.destination for row in rows} | {params.destination if params is not None else None}
    named = destinations - {None}
    if len(named) > 1:
        raise UnexpectedAnswer("a message of the job: field action_params.destination: is not the job's")
    known: dict[str, Destination] = {name: name for name in get_args(Destination)}
    destination = known.get(next(iter(named)) or "") if named else None
    if destination is None:
        raise UnexpectedAnswer("the job: field action_params.destination: is no folder that is known")
    return Change("MOVE", destination)


def _due_at(rows: list[JobRow]) -> tuple[dict[str, datetime], set[str]]:
    """When each message may be tried again, and those of which it can't be read.

    A message is acted on as a whole, so the latest of its rows decides.
    """
    due: dict[str, datetime] = {}
    unreadable: set[str] = set()
    for row in rows:
        if row.message is None or row.retry_after is None:
            continue
        try:
            at = parse_instant(row.retry_after)
        except ValueError:
            unreadable.add(row.message.id)
            continue
        due[row.message.id] = max(at, due.get(row.message.id, at))
    return due, unreadable


def _wait(allowed_seconds: float, api: EmailSecurity, due: list[datetime]) -> None:
    """Wait until all are due that will be within the time allowed."""
    now, left = api.clock.now(), api.time_left()
    if left is not None:
        # What is sent afterwards needs its time too.
        allowed_seconds = min(allowed_seconds, max(0.0, left - 2 * api.write_timeout_seconds))
    until = [at for at in due if now < at <= now + timedelta(seconds=allowed_seconds)]
    if until:
        api.clock.sleep((max(until) - now).total_seconds())


def _warnings(job: BulkJob, rows: list[JobRow], selection: Selection, later: dict[str, datetime]) -> list[str]:
    warnings = []
    if selection.messages:
        further = selection.reaching_further()
        warnings.append(
            "an ID names a message for every recipient: where it had succeeded for some, it is done for them again"
            + (f" ({counted(further, 'message')})" if further else "")
        )
    if len(rows) != job.messages_failed:
        warnings.append(
            f"the job's counters promise {counted(job.messages_failed, 'failed row')}, the listing gave {len(rows):,}"
        )
    if job.messages_cancelled:
        warnings.append(
            f"{counted(job.messages_cancelled, 'row of the job is', 'rows of the job are')} CANCELLED and not tried "
            "again here: some may have been moved or released, because they were in flight when the job ended"
        )
    if later:
        warnings.append(
            f"{counted(len(later), 'message is', 'messages are')} not due yet: the service asks to be left alone until "
            "then"
        )
    return warnings


ACTION = Action(
    id="retry-failed-messages",
    title="Try a job's failed messages again",
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
            "an ID names a message for every recipient: where it had succeeded for some, it is done for them again"
        ],
    ),
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
