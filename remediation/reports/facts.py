"""What a report is told, read with tolerance: what is absent or of another type is None, never an error.

`facts` is one JSON object; every part may be absent:

    title           text
    generated_at    RFC 3339
    pack_version    text
    playbook        text: the playbook's ID, if one ran
    alert           {id, from, subject, received (RFC 3339)}
    request         {search_params {}, comment, requested_by, approved_by [], plan_digest, claimed [], plan_seal,
                    approvals {verified, approved_by [], why}, policy {sha256, read_at, why},
                    approval_check {state, why, needed, groups [], requesters [], approved_by []}}: what was asked
                    for, and by whom; `claimed` names the fields that are known from the job's comment alone (all of
                    them where it is absent)
    job             the API's `BulkJob`
    outcome         "succeeded", "partial", "failed" or "cancelled"; else it is taken from the job
    export          {written, complete, expected, missing, counts_by_status {status: count},
                    files [{path, format, bytes, sha256, rows}]}
    rows            path of an NDJSON file of rows, or the rows themselves (any iterable of JSON objects)
    warnings        [text, or any JSON value]
    timings         {name: seconds}: what took how long on this side
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.instants import parse_lenient
from remediation.reports.tally import RUNNING
from remediation.reports.wording import Wording

DESTINATIONS = {
    "Inbox": Wording("the Inbox"),
    "JunkEmail": Wording("Junk Email"),
    "DeletedItems": Wording("Deleted Items"),
    "RecoverableItemsDeletions": Wording("Recoverable Items (Deletions)"),
    "RecoverableItemsPurges": Wording("Recoverable Items (Purges)"),
}

IRREVERSIBLE = ("RecoverableItemsDeletions", "RecoverableItemsPurges")
KNOWN_STATUSES = (*RUNNING, "COMPLETED", "FAILED", "CANCELLED")


def part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the facts; empty if it isn't there."""
    value = facts.get(key)
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str | None:
    """Any JSON value as text; None for null and empty text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return repr(type(value).__name__)


def count(value: object) -> int | None:
    """A number of messages, rows or bytes; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def seconds(value: object) -> float | None:
    """A duration in seconds; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Job:
    """A bulk job as far as it is known: counters, times, state."""

    job_id: str | None
    action: str | None
    destination: str | None
    status: str | None
    status_message: str | None
    discovered: int | None
    counters: Mapping[str, int | None]
    created: datetime | None
    started: datetime | None
    completed: datetime | None

    @property
    def is_irreversible(self) -> bool:
        """Whether it moves to a folder from which mail does not simply come back."""
        return self.action != "RELEASE" and self.destination in IRREVERSIBLE

    @property
    def running(self) -> bool:
        """Whether the job had not ended when the facts were taken."""
        return self.status in RUNNING

    @property
    def total_seconds(self) -> float | None:
        """From created to completed."""
        return (self.completed - self.created).total_seconds() if self.created and self.completed else None

    @property
    def done_word(self) -> Wording:
        """What happened to a message that succeeded."""
        return Wording({"MOVE": "moved", "RELEASE": "released"}.get(self.action or "", "processed"))

    @property
    def done_phrase(self) -> Wording:
        """The same with the folder, e.g. `moved to Junk Email`."""
        if self.action != "MOVE":
            return self.done_word
        return Wording("moved to " + DESTINATIONS.get(self.destination or "", "the destination asked for"))


COUNTERS = {
    "COMPLETED": "messages_successful",
    "FAILED": "messages_failed",
    "SKIPPED": "messages_skipped",
    "CANCELLED": "messages_cancelled",
    "PENDING": "messages_pending",
}


def job_of(facts: Mapping[str, Any]) -> Job:
    """The job, with what it doesn't say taken from the request."""
    job, request = part(facts, "job"), part(facts, "request")
    return Job(
        job_id=text(job.get("job_id")),
        action=text(job.get("action_type")) or text(request.get("action")),
        destination=text(part(job, "action_params").get("destination")) or text(request.get("destination")),
        status=text(job.get("status")),
        status_message=text(job.get("status_message")),
        discovered=count(job.get("total_messages_discovered")),
        counters={status: count(job.get(field)) for status, field in COUNTERS.items()},
        created=parse_lenient(job.get("created_at")),
        started=parse_lenient(job.get("started_at")),
        completed=parse_lenient(job.get("completed_at")),
    )


# The search parameters that preview-job has a flag for.
SEARCH_FLAGS = (
    "alert_id", "delivery_status", "detections_only", "domain", "end", "exact_subject", "final_disposition",
    "message_action", "message_id", "metric", "query", "recipient", "sender", "smtp_helo_ip", "start", "subject",
    "submissions",
)  # fmt: skip


def search_of(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The search as the request has it, else as the job has it."""
    return part(part(facts, "request"), "search_params") or part(part(facts, "job"), "search_params")


def search_flags(facts: Mapping[str, Any]) -> dict[str, str | bool] | None:
    """The search as flags of preview-job; None where it is not known, or one of its parameters has no flag."""
    search = {name: value for name, value in search_of(facts).items() if value is not None}
    flags = {
        name: value
        for name, value in search.items()
        if name in SEARCH_FLAGS and isinstance(value, str | bool) and value != ""
    }
    return flags if len(flags) == len(search) else None


def outcome_of(facts: Mapping[str, Any], job: Job) -> str | None:
    """`succeeded`, `partial`, `failed`, `cancelled`, `running`, another text that was given, or None."""
    if job.running:
        # Whatever else was said of it: its end is still to come.
        return "running"
    given = text(facts.get("outcome"))
    if given:
        return given
    if job.status in {"FAILED", "CANCELLED"}:
        return job.status.lower()
    if job.status == "COMPLETED" and job.counters["FAILED"] is not None:
        if not job.counters["FAILED"]:
            return "succeeded"
        return "partial" if job.counters["COMPLETED"] else "failed"
    return None
