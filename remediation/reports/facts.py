"""The facts of a report, read with tolerance: a part that is absent or of another type is None, never an error.

`facts` is one JSON object; every part is optional:

    title           text
    generated_at    RFC 3339
    pack_version    text
    playbook        text: the playbook's ID, if one ran
    alert           {id, from, subject, received (RFC 3339)}
    request         {search_params {}, comment, requested_by, approved_by [], plan_digest, claimed [], plan_seal,
                    approvals {verified, approved_by [], why}, policy {sha256, read_at, why},
                    approval_check {state, why, needed, groups [], requesters [], approved_by []}}: the request and
                    its requester; `claimed` names the fields that only the job's comment supports (all of them
                    where `claimed` is absent)
    job             the API's `BulkJob`
    outcome         "succeeded", "partial", "failed" or "cancelled"; derived from the job if absent
    export          {written, complete, expected, missing, counts_by_status {status: count},
                    files [{path, format, bytes, sha256, rows}]}
    rows            path or URL of an NDJSON file of rows, or any iterable of rows (JSON objects)
    warnings        [text, or any JSON value]
    timings         {name: seconds}: durations measured by this pack
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.objects.job import COUNTERS, HAS_ENDED, IRREVERSIBLE_DESTINATIONS
from core.instants import parse_lenient
from remediation.reports.own_words import Wording

# The statuses of jobs and rows that have not ended.
RUNNING = tuple(status for status, ended in HAS_ENDED.items() if not ended)

DESTINATIONS = {
    "Inbox": Wording("the Inbox"),
    "JunkEmail": Wording("Junk Email"),
    "DeletedItems": Wording("Deleted Items"),
    "RecoverableItemsDeletions": Wording("Recoverable Items (Deletions)"),
    "RecoverableItemsPurges": Wording("Recoverable Items (Purges)"),
}


def part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object inside the facts; empty if it is absent."""
    value = facts.get(key)
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str | None:
    """Return any JSON value as text; None for null and empty text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return repr(type(value).__name__)


def count(value: object) -> int | None:
    """Return a number of messages, rows or bytes; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def seconds(value: object) -> float | None:
    """Return a duration in seconds; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Job:
    """A bulk job with its counters, times and status; None if a value is unknown."""

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
        """Return whether the job moves mail to a folder from which restore-messages does not bring it back."""
        return self.action != "RELEASE" and self.destination in IRREVERSIBLE_DESTINATIONS

    @property
    def running(self) -> bool:
        """Return whether the job had not ended when the facts were collected."""
        return self.status in RUNNING

    @property
    def so_far(self) -> Wording:
        """Return the words that follow a number which may still change."""
        return Wording(" so far" if self.running else "")

    @property
    def total_seconds(self) -> float | None:
        """Return the seconds from created to completed."""
        return (self.completed - self.created).total_seconds() if self.created and self.completed else None

    @property
    def done_word(self) -> Wording:
        """Return the participle for a message that succeeded, e.g. `moved`."""
        return Wording({"MOVE": "moved", "RELEASE": "released"}.get(self.action or "", "processed"))

    @property
    def done_phrase(self) -> Wording:
        """Return the participle with the folder, e.g. `moved to Junk Email`."""
        if self.action != "MOVE":
            return self.done_word
        return Wording("moved to " + DESTINATIONS.get(self.destination or "", "the requested folder"))


def job_of(facts: Mapping[str, Any]) -> Job:
    """Return the job. Action and destination fall back to those of the request."""
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
    """Return the search of the request, or else of the job."""
    return part(part(facts, "request"), "search_params") or part(part(facts, "job"), "search_params")


def search_flags(facts: Mapping[str, Any]) -> dict[str, str | bool] | None:
    """Return the search as flags of preview-job; None if it is not known, or one of its parameters has no flag."""
    search = {name: value for name, value in search_of(facts).items() if value is not None}
    flags = {
        name: value
        for name, value in search.items()
        if name in SEARCH_FLAGS and isinstance(value, str | bool) and value != ""
    }
    return flags if len(flags) == len(search) else None


def outcome_of(facts: Mapping[str, Any], job: Job) -> str | None:
    """Return `succeeded`, `partial`, `failed`, `cancelled`, `running`, another text from the facts, or None."""
    if job.running:
        # Takes precedence over an outcome in the facts: the job has not ended.
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


def duration(length: float) -> Wording:
    """Return seconds as words: `850 ms`, `12.5 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    if length < 0:
        return Wording("negative: the clocks differ")
    if length < 0.9995:
        return Wording(f"{length * 1000:.0f} ms")
    if length < 59.95:
        return Wording(f"{length:.1f} s")
    rounded = round(length)
    if rounded < 3600:
        return Wording(f"{rounded // 60} min {rounded % 60:02d} s")
    if rounded < 86400:
        return Wording(f"{rounded // 3600} h {rounded % 3600 // 60:02d} min")
    return Wording(f"{rounded // 86400:,} d {rounded % 86400 // 3600} h")


def point_in_time(value: object) -> Wording | str | None:
    """Return a time as `2026-11-20 15:32:35 UTC`. A value that is not a time stays foreign text."""
    found = value if isinstance(value, datetime) else parse_lenient(value)
    return Wording(found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")) if found else text(value)
