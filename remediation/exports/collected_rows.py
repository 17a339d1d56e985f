"""The rows of one export, and whether they are what the job's own counters promise."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connectors.objects.job import BulkJob
from connectors.objects.message import MessageStatus
from connectors.paging.pages import LARGEST_PAGE
from connectors.paging.raw_rows import RawRows, rows_of_lines
from connectors.paging.row_ids import RowIds
from core.errors import InlineTooLarge, UnusableAnswer
from core.quantity import counted
from remediation.exports.row_file import RowFile

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms

# Statuses that the job's own counters count; PENDING also counts rows that are being processed right now.
COUNTED_STATUSES = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")


@dataclass
class Collected:
    """The rows so far: each once, in a file or in memory. status: the only one that was asked for, or None for all."""

    status: MessageStatus | None
    file: RowFile | None = None
    inline_limit_bytes: int = 0
    inline: list[dict[str, Any]] = field(default_factory=list)
    inline_bytes: int = 0
    seen: RowIds = field(default_factory=RowIds)
    duplicates: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    pseudonyms: Pseudonyms | None = None

    @property
    def pseudonym_key(self) -> str | None:
        """Which key the names were replaced with; None where they were not."""
        return None if self.pseudonyms is None else self.pseudonyms.key_check

    def document_of(self, job: BulkJob) -> dict[str, Any]:
        """The job as it may stand beside these rows."""
        return job.document() if self.pseudonyms is None else self.pseudonyms.job(job.document())

    def take(self, rows: RawRows) -> None:
        """Keep a page's rows, but for those that are here already or of a status that was not asked for."""
        if self.pseudonyms is not None:
            # Before anything else sees them: what is counted and what is shown is what is written.
            rows = self.pseudonyms.rows(rows)
        new = self._new(rows)
        if self.file is not None:
            self.file.append(new.texts, form=new.form)
            return
        for text in new.texts:
            row, size = self._inline_row(bytes(text))
            self.inline_bytes += size
            if self.inline_bytes > self.inline_limit_bytes:
                raise InlineTooLarge(f"the rows are larger than inline_limit_bytes ({self.inline_limit_bytes})")
            self.inline.append(row)

    def _inline_row(self, text: bytes) -> tuple[dict[str, Any], int]:
        """A row for the result, and its size there."""
        try:
            row = json.loads(text)
            return row, len(json.dumps(row, allow_nan=False)) + 2
        except (ValueError, RecursionError):
            raise UnusableAnswer(
                f"row {len(self.inline) + 1:,} of the job can't be part of a result: it holds a number that is too "
                "large for one, or is nested too deeply",
                help="Nothing was changed. Export to a file as ndjson, which takes rows as they are.",
            ) from None

    def _new(self, rows: RawRows) -> RawRows:
        if self.status is not None:
            rows = rows.chosen([status == self.status for status in rows.statuses])
        new = rows.chosen(self.seen.new(rows.ids))
        self.duplicates += len(rows) - len(new)
        self.by_status.update(new.statuses)
        return new

    def clear(self) -> None:
        """Begin again: what was read is of a job that has changed since."""
        self.inline, self.inline_bytes, self.duplicates = [], 0, 0
        self.seen, self.by_status = RowIds(), Counter()
        if self.file is not None:
            self.file.clear()

    def remember(self, lines: Iterator[bytes]) -> None:
        """Count rows that an earlier call has put into the file."""
        while page := list(itertools.islice(lines, LARGEST_PAGE)):
            self._new(rows_of_lines(page))

    def agrees_with(self, job: BulkJob) -> bool:
        """Whether the rows are what the counters say: in number, and status by status where the job counts it."""
        if expected_rows(self.status, job) != len(self.seen):
            return False
        if self.status is not None:
            return True
        rows = {status: self.by_status[status] for status in COUNTED_STATUSES}
        rows["PENDING"] = len(self.seen) - sum(rows.values())
        return all(rows[status] == count for status, count in job.counters().items())

    def disagreement(self, job: BulkJob, *, settled: bool) -> str:
        """Why these rows are no complete export. settled: whether the job had ended before any of them was read."""
        expected, rows = expected_rows(self.status, job), len(self.seen)
        if not settled:
            return (
                f"messages were under way while these rows were read (the job is {job.status} now): export again later"
            )
        if expected is None:
            return f"the job has no counter for {self.status}: whether these are all can't be told"
        if rows != expected:
            return f"the job's counters promise {counted(expected, 'row')}, the listing gave {rows:,}, pass after pass"
        return "the rows' statuses and the job's counters do not agree"


def expected_rows(status: MessageStatus | None, job: BulkJob) -> int | None:
    """How many rows the job's counters promise."""
    if status is None:
        return job.total_messages_discovered
    if status in COUNTED_STATUSES:
        return job.counters().get(status)
    return 0 if job.has_ended and job.messages_pending == 0 else None
