"""Bulk action jobs and their rows, and their JSON in the API."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sandbox.clock import Instant, iso
from sandbox.contract.values import JobStatus, MessageStatus
from sandbox.delivery import MESSAGE_NOT_FOUND, Operation
from sandbox.end_of_life import DECEMBER, NOVEMBER, until
from sandbox.message import Message
from sandbox.message_details import message_details
from sandbox.search import Criteria
from sandbox.tenant import Tenant

RowOrder = Literal["discovery", "recent"]

ENDED: Final[frozenset[JobStatus]] = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """The request for a job.

    `search_params` are those that the API returns, without the deprecated `action_log`. `ignored_params` are unknown
    search parameters.
    """

    action: Operation
    destination: str | None
    expected_disposition: str | None
    comment: str | None
    criteria: Criteria
    search_params: dict[str, Any]
    action_log: bool = False
    ignored_params: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class JobMessage:
    """A row of a job: one message in one recipient's mailbox."""

    row_id: str
    message: Message
    recipient: str
    created_at: Instant
    status: MessageStatus = "PENDING"
    status_message: str | None = None
    retry_count: int = 0
    retry_after: Instant | None = None
    processed_at: Instant | None = None
    changed_at: Instant = 0
    in_flight: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A bulk action job.

    Its rows change their status only through `mark`, which keeps the counters correct at every instant:
    discovered = pending + successful + failed + skipped + cancelled.
    """

    job_id: str
    order: JobOrder
    requested_by: str
    created_at: Instant
    status: JobStatus = "PENDING"
    status_message: str | None = None
    started_at: Instant | None = None
    completed_at: Instant | None = None
    deleted: bool = False
    doomed_after: int | None = None
    rows: list[JobMessage] = field(default_factory=list)
    seen: set[tuple[int, str]] = field(default_factory=set)
    found: deque[tuple[Message, str]] = field(default_factory=deque)
    ready: deque[JobMessage] = field(default_factory=deque)
    idle_lanes: int = 0
    counts: Counter[MessageStatus] = field(default_factory=Counter)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def pending(self) -> int:
        """Return the number of unfinished rows. The API has no counter for rows in progress: they count as pending."""
        return self.counts["PENDING"] + self.counts["PROCESSING"]

    def add(self, row: JobMessage) -> None:
        self.rows.append(row)
        self.counts[row.status] += 1

    def mark(self, row: JobMessage, status: MessageStatus, at: Instant, reason: str | None = None) -> None:
        self.counts[row.status] -= 1
        self.counts[status] += 1
        row.status = status
        row.status_message = reason
        row.changed_at = at
        if status not in ("PENDING", "PROCESSING"):
            row.retry_after = None
            row.processed_at = at

    def end(self, status: JobStatus, at: Instant, reason: str | None = None) -> None:
        """End the job. Unfinished rows become CANCELLED, including those in progress."""
        self.status = status
        self.status_message = reason
        self.completed_at = at
        self.found.clear()
        self.ready.clear()
        for row in self.rows:
            if row.status in ("PENDING", "PROCESSING"):
                self.mark(row, "CANCELLED", at, "The job ended before this message was processed")

    def list_rows(self, status: MessageStatus | None, order: RowOrder) -> list[JobMessage]:
        """Return the rows in the order of discovery, or last changed first, so that rows move while the job runs."""
        rows = self.rows if status is None else [row for row in self.rows if row.status == status]
        if order == "recent":
            return sorted(rows, key=lambda row: (-row.changed_at, row.row_id))
        return rows


def job_view(job: Job, now: Instant) -> dict[str, Any]:
    """Return the BulkJob of the API's schema."""
    return {
        "job_id": job.job_id,
        "action_type": job.order.action,
        "action_params": _action_params(job.order, now),
        "search_params": {
            **job.order.search_params,
            **until(NOVEMBER, now, {"action_log": job.order.action_log}),
        },
        "status": job.status,
        "status_message": job.status_message,
        "comment": job.order.comment,
        "created_at": iso(job.created_at),
        "started_at": _iso_or_none(job.started_at),
        "completed_at": _iso_or_none(job.completed_at),
        "total_messages_discovered": len(job.rows),
        "messages_pending": job.pending,
        "messages_successful": job.counts["COMPLETED"],
        "messages_failed": job.counts["FAILED"],
        "messages_skipped": job.counts["SKIPPED"],
        "messages_cancelled": job.counts["CANCELLED"],
    }


def job_message_view(tenant: Tenant, job: Job, row: JobMessage, now: Instant) -> dict[str, Any]:
    """Return the BulkJobMessage of the API's schema, without the nested message if the provider no longer has it."""
    view: dict[str, Any] = {
        "message_id": row.row_id,
        "postfix_id": tenant.postfix_id_of(row.message),
        "alert_id": tenant.alert_id_of(row.message),
        "email_message_id": tenant.message_id_of(row.message),
        "action_type": job.order.action,
        "action_params": {**_action_params(job.order, now), "client_recipient": row.recipient},
        "status": row.status,
        "status_message": row.status_message,
        "retry_count": row.retry_count,
        "retry_after": _iso_or_none(row.retry_after),
        "created_at": iso(row.created_at),
        "processed_at": _iso_or_none(row.processed_at),
    }
    if row.status_message != MESSAGE_NOT_FOUND:
        view["message"] = message_details(tenant, row.message, now)
    return view


def _action_params(order: JobOrder, now: Instant) -> dict[str, Any]:
    if order.action == "RELEASE":
        return {"type": "RELEASE"}
    params: dict[str, Any] = {"type": "MOVE", "destination": order.destination}
    if order.expected_disposition is not None:
        params |= until(DECEMBER, now, {"expected_disposition": order.expected_disposition})
    return params


def _iso_or_none(instant: Instant | None) -> str | None:
    return None if instant is None else iso(instant)
