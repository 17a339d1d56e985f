"""The outcome of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connectors.objects.job import BulkJob
from remediation.exports.files.atomic_file import FileRecord
from remediation.exports.resume import Resume
from remediation.exports.sink import RowSink


@dataclass
class Exported:
    """The outcome of a call. settled: whether the job had ended before the first row was read."""

    job: BulkJob
    sink: RowSink
    resume: Resume | None
    settled: bool
    files: list[FileRecord] = field(default_factory=list)
    evidence_sha256: str | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.resume is None and not self._is_complete():
            self.warnings.append(self.sink.count.disagreement(self.job, settled=self.settled))
        note = self.job.cancelled_note
        if self.resume is None and self.job.has_ended and note is not None and self.sink.status in (None, "CANCELLED"):
            self.warnings.append(note)

    def _is_complete(self) -> bool:
        return self.resume is None and self.settled and self.sink.count.agrees_with(self.job)

    def values(self) -> dict[str, Any]:
        """Return the fields of the result of export-job-messages, which describes them."""
        count = self.sink.count
        expected = count.expected(self.job)
        return {
            "job_id": self.job.job_id,
            "done": self.resume is None,
            "written": count.rows,
            "complete": self._is_complete(),
            "expected": expected,
            "missing": None if expected is None else max(0, expected - count.rows),
            "duplicates_dropped": self.sink.duplicates,
            "counts_by_status": dict(self.sink.by_status.most_common()),
            "snapshot": not self.settled,
            "messages": self.sink.inline if self.sink.file is None else None,
            "resume": self.resume,
            "job": self.sink.document_of(self.job),
            "pseudonyms": self.sink.pseudonym_key,
            "files": self.files,
            "evidence_sha256": self.evidence_sha256,
            "warnings": self.warnings,
        }
