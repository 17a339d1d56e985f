"""What a report says of the rows, counted in one pass and in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from core.instants import parse_lenient
from remediation.reports.durations import Durations
from remediation.reports.ranking import Ranking
from remediation.reports.timeline import Timeline

NOT_SUCCEEDED_LIMIT = 50

# Of a job and of a row alike: its end is still to come.
RUNNING = ("PENDING", "DISCOVERING", "PROCESSING")


_ORDER = ("FAILED", "CANCELLED", "SKIPPED", None, "DISCOVERING", "PROCESSING", "PENDING")


def _place(status: str | None) -> int:
    return _ORDER.index(status)


class Tally:
    """Counts over the rows of one job, which was created at `job_created`.

    scanned_to_created: from a message's scan to the job's creation, for every row that tells.
    created_to_processed: from a row's creation to its end, for rows that were acted on: COMPLETED or FAILED.
    scanned_to_done: from a message's scan to the end of its row, for those that succeeded: the time to remediate.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), job_created: datetime | None = None) -> None:
        self.rows = 0
        self.statuses = Ranking()
        self.failure_reasons = Ranking()
        self.skip_reasons = Ranking()
        self.recipient_domains = Ranking()
        self.dispositions = Ranking()
        self.destinations = Ranking()
        self.scanned_to_created = Durations()
        self.created_to_processed = Durations()
        self.scanned_to_done = Durations()
        self.timeline = Timeline()
        self.not_succeeded_count = 0
        self.undecided_count = 0
        self._job_created = job_created
        # Samples by status; None for a status that is not one.
        self._not_succeeded: dict[str | None, list[Mapping[str, Any]]] = {}
        for row in rows:
            self.add(row)

    @property
    def not_succeeded(self) -> list[Mapping[str, Any]]:
        """At most 50 of the rows that did not succeed: failed ones, then others, then those not decided yet."""
        return [row for rows in self.not_succeeded_by_status().values() for row in rows][:NOT_SUCCEEDED_LIMIT]

    def not_succeeded_by_status(self) -> dict[str | None, list[Mapping[str, Any]]]:
        """At most 50 rows of each status but COMPLETED: failed ones, then others, then those not decided yet."""
        return dict(sorted(self._not_succeeded.items(), key=lambda item: _place(item[0])))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row. Whatever it lacks is counted as absent."""
        self.rows += 1
        status = row.get("status")
        params, message = _inner(row, "action_params"), _inner(row, "message")
        self.statuses.add(status, status)
        self.recipient_domains.add(_domain(params.get("client_recipient")), status)
        self.dispositions.add(message.get("final_disposition"), status)
        self.destinations.add(params.get("destination"), status)
        if status == "FAILED":
            self.failure_reasons.add(row.get("status_message"), status)
        elif status == "SKIPPED":
            self.skip_reasons.add(row.get("status_message"), status)
        if status != "COMPLETED":
            self.not_succeeded_count += 1
            self.undecided_count += status in RUNNING
            sample = self._sample_of(status)
            if len(sample) < NOT_SUCCEEDED_LIMIT:
                sample.append(row)
        self._measure(row, status, parse_lenient(message.get("scanned_at")))

    def _sample_of(self, status: object) -> list[Mapping[str, Any]]:
        # Statuses that nobody knows share one sample: the service could send any number of them.
        known = status if isinstance(status, str) and status in _ORDER else None
        return self._not_succeeded.setdefault(known, [])

    def _measure(self, row: Mapping[str, Any], status: object, scanned: datetime | None) -> None:
        processed = parse_lenient(row.get("processed_at"))
        self.timeline.add(status, processed)
        if scanned and self._job_created:
            self.scanned_to_created.add((self._job_created - scanned).total_seconds())
        if processed is None:
            return
        if status in ("COMPLETED", "FAILED") and (created := parse_lenient(row.get("created_at"))):
            self.created_to_processed.add((processed - created).total_seconds())
        if status == "COMPLETED" and scanned:
            self.scanned_to_done.add((processed - scanned).total_seconds())


def _inner(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _domain(address: object) -> str | None:
    if not isinstance(address, str) or "@" not in address:
        return None
    return address.rpartition("@")[2].strip(" >").lower()
