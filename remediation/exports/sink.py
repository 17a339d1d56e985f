"""The sink of an export: each row once, in a file or in memory."""

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
from remediation.exports.row_file import RowFile
from remediation.jobs.row_count import RowCount

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms


@dataclass
class RowSink:
    """The rows so far. status: the only exported one; None for all. pseudonyms: replaces the names in each row."""

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
        """Return a check value of the pseudonyms' key; None without pseudonyms."""
        return None if self.pseudonyms is None else self.pseudonyms.key_check

    def document_of(self, job: BulkJob) -> dict[str, Any]:
        """Return the job as JSON, with its names replaced like those of the rows."""
        return job.document() if self.pseudonyms is None else self.pseudonyms.job(job.document())

    @property
    def count(self) -> RowCount:
        return RowCount(self.status, len(self.seen), self.by_status)

    def add(self, rows: RawRows) -> None:
        """Add a page's rows, except rows that the sink already has and rows of another status.

        Raises: InlineTooLarge, OutputError, UnusableAnswer.
        """
        if self.pseudonyms is not None:
            # First, so that the counted and the shown row is the written one.
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
        """Return a row for the result, and its size there."""
        try:
            row = json.loads(text)
            return row, len(json.dumps(row, allow_nan=False)) + 2
        except (ValueError, RecursionError):
            raise UnusableAnswer(
                f"row {len(self.inline) + 1:,} of the job can't be part of a result: it has a number that is too "
                "large, or is nested too deeply",
                help="Nothing was changed. Export to a file as ndjson, which keeps rows unchanged.",
            ) from None

    def _new(self, rows: RawRows) -> RawRows:
        if self.status is not None:
            rows = rows.select([status == self.status for status in rows.statuses])
        new = rows.select(self.seen.new(rows.ids))
        self.duplicates += len(rows) - len(new)
        self.by_status.update(new.statuses)
        return new

    def clear(self) -> None:
        """Drop every row: the job has changed since they were read."""
        self.inline, self.inline_bytes, self.duplicates = [], 0, 0
        self.seen, self.by_status = RowIds(), Counter()
        if self.file is not None:
            self.file.clear()

    def load(self, lines: Iterator[bytes]) -> None:
        """Count the rows of an earlier call."""
        while page := list(itertools.islice(lines, LARGEST_PAGE)):
            self._new(rows_of_lines(page))
