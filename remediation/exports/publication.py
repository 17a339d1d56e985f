"""The publication of an export: the rows as one file or as an evidence bundle, within the time that one call has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.call_record import CallRecord
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJob
from core import progress
from remediation.exports.files.atomic_file import FileRecord
from remediation.exports.finish_time import EndInterrupted, FinishTime
from remediation.exports.outcome import Exported
from remediation.exports.request import ExportRequest
from remediation.exports.row_file import RowFile, RowWriter
from remediation.exports.sink import RowSink


class Bundle(Protocol):
    """The writer of an evidence bundle (remediation.evidence.contents)."""

    def check_job(self, job: BulkJob) -> None: ...

    def recording(
        self, api: EmailSecurity, rows: RowFile, *, before: int | None
    ) -> AbstractContextManager[EmailSecurity]: ...

    def warnings(self, calls: CallRecord | None) -> Iterator[str]: ...

    def write(self, rows: RowFile, export: Mapping[str, Any], calls: CallRecord | None) -> tuple[FileRecord, str]: ...


@dataclass
class Publication:
    """Writes the rows to their destination, and stops the reading early enough for that."""

    request: ExportRequest
    api: EmailSecurity
    sink: RowSink
    bundle: Bundle | None
    finish_time: FinishTime

    def measure(self, job: BulkJob) -> None:
        """Measure how long the writing takes, once there are rows. Raises: TimeLimitTooShort."""
        if self.sink.file is None:
            return

        def write(rows: RowFile) -> object:
            return self._write(rows, Exported(job, self.sink, resume=None, settled=False), None)

        takes_time = self.bundle is not None or self.request.format != "ndjson"
        self.finish_time.measure(self.sink.file, self.sink.count.expected(job), write if takes_time else None)

    def seconds_to_keep(self) -> float:
        """Return how long it takes to keep the rows for the next call."""
        file = self.sink.file
        return 0.0 if file is None else self.finish_time.seconds_to_keep(file.size_bytes)

    def is_up_after_page(self, job: BulkJob, *, more: bool) -> bool:
        """Report a page, and return whether to stop before the next one. Raises: TimeLimitTooShort."""
        rows, expected = len(self.sink.seen), self.sink.count.expected(job)
        progress.report(
            progress.Progress("export-job-messages", rows, expected, "rows", self.request.format, job.job_id)
        )
        self.finish_time.page_read()
        if not more:
            return False
        if self.sink.file is None:
            return self.is_time_up(0)
        self.measure(job)
        return self.finish_time.is_up(self.sink.file)

    def is_time_up(self, needed: float) -> bool:
        """Return whether the caller's deadline is nearer than `needed` seconds."""
        left = self.api.time_left()
        return left is not None and left <= needed

    def publish(self, rows: RowFile, exported: Exported) -> bool:
        """Write the file or the bundle, and add it to the outcome. False if time is up; the rows are then kept.

        Raises: TimeLimitTooShort, and what a row file raises.
        """
        if not self.finish_time.fits(rows):
            return False
        if self.bundle is not None:
            exported.warnings.extend(self.bundle.warnings(self.api.call_record))
        try:
            with self.finish_time.watching(rows):
                record, exported.evidence_sha256 = self._write(rows, exported, self.api.call_record)
        except EndInterrupted:
            return False
        exported.files = [record]
        return True

    def _write(self, rows: RowFile, exported: Exported, calls: CallRecord | None) -> tuple[FileRecord, str | None]:
        if self.bundle is None:
            return rows.finish(self.request.format, self._row_writer(exported)), None
        return self.bundle.write(rows, exported.values(), calls)

    def _row_writer(self, exported: Exported) -> RowWriter | None:
        if self.request.csv_dialect == "plain":
            return None
        from remediation.exports.formats.csv_excel import write_excel_csv  # noqa: PLC0415 -- for one dialect

        return lambda lines, write: exported.warnings.extend(write_excel_csv(lines, write))
