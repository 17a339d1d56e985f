"""Tally: counts over a job's rows for a report, in one pass and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from core.instants import parse_lenient
from remediation.reports.durations import Durations
from remediation.reports.facts import RUNNING, part
from remediation.reports.ranking import Ranking
from remediation.reports.timeline import Timeline

NOT_SUCCEEDED_LIMIT = 50

_ORDER = ("FAILED", "CANCELLED", "SKIPPED", None, "DISCOVERING", "PROCESSING", "PENDING")


class Tally:
    """Counts over the rows of one job, which was created at `job_created`.

    scanned_to_created: from a message's scan to the job's creation, for every row with a scan time.
    created_to_processed: from a row's creation to its end, for COMPLETED and FAILED rows.
    scanned_to_done: from a message's scan to the end of its row, for COMPLETED rows: the time to remediate.
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
        self.pending_count = 0
        self._job_created = job_created
        # Samples by status; None for an unknown status.
        self._not_succeeded: dict[str | None, list[Mapping[str, Any]]] = {}
        for row in rows:
            self.add(row)

    def not_succeeded_by_status(self) -> dict[str | None, list[Mapping[str, Any]]]:
        """Return at most 50 rows of each status except COMPLETED: first failed, then other ended, then pending rows."""
        return dict(sorted(self._not_succeeded.items(), key=lambda item: _ORDER.index(item[0])))

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row. A missing field counts as absent."""
        self.rows += 1
        status = row.get("status")
        params, message = part(row, "action_params"), part(row, "message")
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
            self.pending_count += status in RUNNING
            sample = self._sample_of(status)
            if len(sample) < NOT_SUCCEEDED_LIMIT:
                sample.append(row)
        self._measure(row, status, parse_lenient(message.get("scanned_at")))

    def _sample_of(self, status: object) -> list[Mapping[str, Any]]:
        # Unknown statuses share one sample, because the API could send any number of them.
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


def _domain(address: object) -> str | None:
    if not isinstance(address, str) or "@" not in address:
        return None
    return address.rpartition("@")[2].strip(" >").lower()
