"""The request for an export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectors.objects.message import MessageStatus
from core.errors import ParameterError, Problem
from core.installation import check_extra
from remediation.exports.destinations.object_url import is_url
from remediation.exports.resume import Resume
from remediation.exports.row_file import RowFormat

INLINE = "inline"


@dataclass(frozen=True)
class ExportRequest:
    """The rows to export, their format and their destination.

    status: the only status to export; None for all. csv_dialect: plain or excel. destination: a path, the URL of an
    object, or `inline` for the result itself. is_bundle: an evidence bundle instead of one file. require_complete:
    whether it is an error if the rows of an ended job differ from its counters. resume: where an earlier call stopped.
    """

    job_id: str
    status: MessageStatus | None = None
    format: RowFormat = "ndjson"
    csv_dialect: str = "plain"
    destination: str = INLINE
    overwrite: bool = False
    inline_limit_bytes: int = 200_000
    is_bundle: bool = False
    require_complete: bool = True
    resume: Resume | None = None

    @property
    def is_inline(self) -> bool:
        return self.destination == INLINE

    def check(self, more: Sequence[Problem] = ()) -> None:
        """Check the request. more: the caller's own problems. Raises: ParameterError with every problem."""
        problems = [*more, *self._problems()]
        if problems:
            raise ParameterError(problems=problems)
        if self.format == "parquet":
            check_extra("parquet", "pyarrow", "/format", "parquet")
        if self.resume is None:
            return
        if self.is_inline:
            raise ParameterError.at("/resume", "an inline export can't be resumed")
        if (self.resume.job_id, self.resume.status) != (self.job_id, self.status):
            raise ParameterError.at("/resume", "is of another job or another status")

    def _problems(self) -> Iterator[Problem]:
        if self.is_bundle and self.is_inline:
            yield {"pointer": "/destination", "message": "a bundle needs the path of a folder or a zip file"}
        elif self.is_bundle and is_url(self.destination) and not self.destination.lower().endswith(".zip"):
            yield {"pointer": "/destination", "message": "a bundle in a store needs a key that ends in .zip"}
        elif self.is_inline and self.format in ("csv", "parquet"):
            yield {"pointer": "/format", "message": f"rows in the result are JSON: {self.format} needs a destination"}
        if self.is_bundle and self.format != "ndjson":
            yield {"pointer": "/format", "message": "a bundle has the rows as NDJSON and CSV: leave format out"}
        if self.csv_dialect != "plain" and self.format != "csv":
            yield {"pointer": "/csv_dialect", "message": "is for `format: csv`"}
