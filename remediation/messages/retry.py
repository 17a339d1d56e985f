"""Find the messages for which a job failed, and when each of them may be tried again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob, Destination
from core.errors import JobStillRunning, UnexpectedAnswer
from core.instants import instant_or_none
from core.quantity import counted
from remediation.guardrails.change import Change
from remediation.jobs.rows import read_rows
from remediation.messages.selection import JobRow, Selection, read_row


@dataclass(frozen=True)
class FailedMessages:
    """The messages of a job's FAILED rows, and the change that the job made to the others.

    due_at: when each message may be tried again, by ID. unreadable: IDs of messages whose retry_after is not a time.
    """

    job: BulkJob
    rows: list[JobRow]
    change: Change
    selection: Selection
    due_at: dict[str, datetime]
    unreadable: set[str]

    def wait(self, api: EmailSecurity, seconds: float) -> None:
        """Wait, at most for so many seconds, until every message is due that becomes due within them."""
        now, left = api.clock.now(), api.time_left()
        if left is not None:
            # The messages that are sent afterwards need time too.
            seconds = min(seconds, max(0.0, left - 2 * api.write_timeout_seconds))
        due = [at for at in self.due_at.values() if now < at <= now + timedelta(seconds=seconds)]
        if due:
            api.clock.sleep((max(due) - now).total_seconds())

    def not_due(self, now: datetime, done: Collection[str]) -> dict[str, datetime]:
        """Return when each message is due that is not due yet. done: IDs of messages that need no retry."""
        return {one: at for one, at in self.due_at.items() if at > now and one not in done}

    def warnings(self, not_due: Mapping[str, datetime]) -> list[str]:
        """Return the warnings of a retry that left out the messages that are not due."""
        warnings = []
        if self.selection.messages:
            further = self.selection.messages_with_other_recipients()
            warnings.append(
                "a message ID covers all recipients: those for whom it already succeeded are processed again"
                + (f" ({counted(further, 'message')})" if further else "")
            )
        if len(self.rows) != self.job.messages_failed:
            warnings.append(
                f"the job counts {counted(self.job.messages_failed, 'failed row')}; the API returned {len(self.rows):,}"
            )
        if self.job.messages_cancelled:
            warnings.append(
                f"{counted(self.job.messages_cancelled, 'row of the job is', 'rows of the job are')} CANCELLED and not "
                "tried again here: some may have been moved or released, because they were in flight when the job ended"
            )
        if not_due:
            warnings.append(
                f"{counted(len(not_due), 'message is', 'messages are')} not due yet: the service asks to wait until "
                "their retry_after"
            )
        if self.unreadable:
            warnings.append(
                f"{counted(len(self.unreadable), 'message was', 'messages were')} not sent: their retry_after is not a "
                "valid time"
            )
        return warnings


def read_failed_messages(api: EmailSecurity, job_id: str) -> FailedMessages:
    """Read the FAILED rows of an ended job.

    Raises: JobStillRunning; UnexpectedAnswer where the job and its rows contradict each other; what a read raises.
    """
    job = api.get_job(job_id)
    if not job.has_ended:
        raise JobStillRunning(
            f"the job is {job.status}: it may still try these messages itself",
            help="Nothing was changed. Wait for the job with wait-for-job, then run it again.",
            job_id=job.job_id,
        )
    rows = _failed_rows(api, job)
    change, selection = _change_of(job, rows), Selection()
    for row in rows:
        selection.add(row)
    return FailedMessages(job, rows, change, selection, *_due_at(rows))


def _failed_rows(api: EmailSecurity, job: BulkJob) -> list[JobRow]:
    found: dict[str, JobRow] = {}
    for page in read_rows(api, job, lambda: len(found), status="FAILED"):
        for item in page.read():
            try:
                row = read_row(item)
            except ValueError as error:
                raise UnexpectedAnswer(f"a message of the job: field {error}") from None
            if row.status == "FAILED":
                found[row.row_id] = row
    return list(found.values())


def _change_of(job: BulkJob, rows: list[JobRow]) -> Change:
    """Return the change that the job makes. Raises: UnexpectedAnswer where it and its rows contradict each other."""
    params = job.action_params
    action = job.action_type or (params.type if params is not None else None)
    if {row.action_type for row in rows} - {action, None}:
        raise UnexpectedAnswer("a message of the job: field action_type: differs from the job's")
    if action == "RELEASE":
        return Change("RELEASE")
    if action != "MOVE":
        raise UnexpectedAnswer("the job: field action_type: must be MOVE or RELEASE")
    named = {row.destination for row in rows} | {None if params is None else params.destination}
    if len(named - {None}) > 1:
        raise UnexpectedAnswer("a message of the job: field action_params.destination: differs from the job's")
    destination: Destination | None = next((name for name in get_args(Destination) if name in named), None)
    if destination is None:
        raise UnexpectedAnswer("the job: field action_params.destination: not a known folder")
    return Change("MOVE", destination)


def _due_at(rows: list[JobRow]) -> tuple[dict[str, datetime], set[str]]:
    """Return when each message may be tried again, and the messages whose retry_after is not a valid time.

    A message is sent for all its recipients, so the latest of its rows decides.
    """
    due: dict[str, datetime] = {}
    unreadable: set[str] = set()
    for row in rows:
        if row.message is None or row.retry_after is None:
            continue
        at = instant_or_none(row.retry_after)
        if at is None:
            unreadable.add(row.message.id)
        else:
            due[row.message.id] = max(at, due.get(row.message.id, at))
    return due, unreadable
