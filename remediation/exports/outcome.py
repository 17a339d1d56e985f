"""The outcome of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connectors.objects.job import BulkJob
from remediation.exports.files.whole_file import FileRecord
from remediation.exports.resume import Resume
from remediation.exports.sink import RowSink


@dataclass
class Exported:
    """The outcome of a call. export-job-messages describes each field."""

    job_id: str
    done: bool
    written: int
    complete: bool
    expected: int | None
    missing: int | None
    duplicates_dropped: int
    counts_by_status: dict[str, int]
    snapshot: bool
    messages: list[dict[str, Any]] | None
    resume: Resume | None
    job: dict[str, Any]
    pseudonyms: str | None
    files: list[FileRecord] = field(default_factory=list)
    evidence_sha256: str | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, job: BulkJob, sink: RowSink, *, resume: Resume | None, settled: bool) -> Exported:
        """Return the outcome without its files. settled: whether the job had ended before the first row was read."""
        count = sink.count
        expected = count.expected(job)
        complete = resume is None and settled and count.agrees_with(job)
        warnings = []
        if resume is None and not complete:
            warnings.append(count.disagreement(job, settled=settled))
        if resume is None and job.has_ended and job.cancelled_note is not None and sink.status in (None, "CANCELLED"):
            warnings.append(job.cancelled_note)
        return cls(
            job_id=job.job_id,
            done=resume is None,
            written=count.rows,
            complete=complete,
            expected=expected,
            missing=None if expected is None else max(0, expected - count.rows),
            duplicates_dropped=sink.duplicates,
            counts_by_status=dict(sink.by_status.most_common()),
            snapshot=not settled,
            messages=sink.inline if sink.file is None else None,
            resume=resume,
            job=sink.document_of(job),
            pseudonyms=sink.pseudonym_key,
            warnings=warnings,
        )
