"""Export a job's rows in four stages: source (the rows), pseudonyms, sink (each row once), publication."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from core.errors import (
    DeadlineExceeded,
    ExportIncomplete,
    ListingRepeats,
    ListingTooLong,
    OutputError,
    PackError,
    ParameterError,
    TemporaryFailure,
)
from core.quantity import counted
from remediation.exports.destinations.place import open_place
from remediation.exports.files.partial_file import recorded_bytes
from remediation.exports.files.spool import KEPT_DAYS
from remediation.exports.finish_time import FinishTime
from remediation.exports.outcome import Exported
from remediation.exports.publication import Bundle, Publication
from remediation.exports.request import ExportRequest
from remediation.exports.resume import Resume
from remediation.exports.row_file import RowFile
from remediation.exports.sink import RowSink
from remediation.exports.source import RowSource

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms

# How long one API call may take, including the wait for a rate limit of five minutes, without a shorter time budget.
PATIENCE_SECONDS = 900.0


def export_rows(
    api: EmailSecurity, request: ExportRequest, pseudonyms: Pseudonyms | None = None, bundle: Bundle | None = None
) -> Exported:
    """Export a job's rows within the connector's deadline.

    Raises: ExportIncomplete with a `resume`, TimeLimitTooShort, InlineTooLarge, DeadlineExceeded, OutputError, and
    what a read raises. After a temporary failure near the deadline, the outcome has a `resume` instead.
    """
    api = api.with_allowance(max(api.call_allowance_seconds, PATIENCE_SECONDS))
    what = "the bundle" if bundle is not None else f"the {request.format} file"
    finish_time = FinishTime(api.clock, api.time_left, what)
    with (
        _open_sink(request, api, pseudonyms, finish_time) as sink,
        bundle.recording(api, sink.file, before=None if request.resume is None else request.resume.calls)
        if bundle is not None and sink.file is not None
        else nullcontext(api) as api,
    ):
        publication = Publication(request, api, sink, bundle, finish_time)
        source = RowSource.begin(api.get_job(request.job_id), request.status, request.resume)
        if bundle is not None:
            bundle.check_job(source.job)
        try:
            settled = source.read(api, sink, publication)
            if settled is None:
                return _unfinished(sink, source)
            if request.require_complete and settled and not sink.count.agrees_with(source.job):
                raise _incomplete(sink, source)
            exported = Exported(source.job, sink, resume=None, settled=settled)
            if sink.file is None or publication.publish(sink.file, exported):
                return exported
            return _unfinished(sink, source)
        except PackError as failure:
            temporary = isinstance(failure, TemporaryFailure) and not isinstance(
                failure, ExportIncomplete | OutputError
            )
            needed = (failure.retry_after_seconds or 0) + publication.seconds_to_keep()
            no_time = temporary and publication.is_time_up(needed)
            if sink.file is not None and (no_time or isinstance(failure, ListingTooLong)):
                return _unfinished(sink, source)
            _add_resume(sink, source, failure)
            raise


def pseudonyms_for(api: EmailSecurity, resume: Resume | None, *, wanted: bool) -> Pseudonyms | None:
    """Return the pseudonyms with the connection's key, or None if they are not wanted.

    Raises: ConnectionSettingsError without a key; ParameterError if the rows of `resume` have other pseudonyms.
    """
    pseudonyms = None
    if wanted:
        from remediation.exports.pseudonyms.pseudonyms import Pseudonyms  # noqa: PLC0415 -- for few exports

        pseudonyms = Pseudonyms(api.connection.pseudonym_key)
    if resume is not None and resume.pseudonyms != (pseudonyms and pseudonyms.key_check):
        message = "is of an export with other pseudonyms: `pseudonymize` and CFES_PSEUDONYM_KEY must be as before"
        raise ParameterError.at("/resume", message)
    return pseudonyms


@contextmanager
def _open_sink(
    request: ExportRequest, api: EmailSecurity, pseudonyms: Pseudonyms | None, finish_time: FinishTime
) -> Iterator[RowSink]:
    resume = request.resume
    if request.is_inline:
        yield RowSink(request.status, inline_limit_bytes=request.inline_limit_bytes, pseudonyms=pseudonyms)
        return
    with open_place(
        request.destination,
        overwrite=request.overwrite,
        resumed=resume is not None,
        bundle=request.is_bundle,
        clock=api.clock,
        time_left=api.time_left,
    ) as place:
        if resume is None:
            with RowFile.create(place) as file:
                try:
                    yield RowSink(request.status, file, pseudonyms=pseudonyms)
                except BaseException as error:
                    # Without a `resume`, no later call can use the rows.
                    if getattr(error, "resume", None) is None:
                        file.abandon()
                    raise
        else:
            began = api.clock.monotonic()
            with RowFile.reopen(place, resume.rows, resume.sha256, fetched=finish_time.fetched) as file:
                sink = RowSink(request.status, file, pseudonyms=pseudonyms)
                sink.load(file.kept_lines())
                sink.duplicates = resume.duplicates_dropped
                finish_time.loaded(file, began)
                yield sink


def _incomplete(sink: RowSink, source: RowSource) -> ExportIncomplete | ListingRepeats:
    job, reason = source.job, sink.count.disagreement(source.job, settled=True)
    if source.repeats is not None:
        return source.repeats.restate(f"{source.repeats.message}; {reason}", job_id=job.job_id)
    failure = ExportIncomplete(reason, job_id=job.job_id)
    if sink.file is None:
        failure.help = (
            "Nothing was changed. Run it again with a file as destination, which keeps the rows. Or set "
            "require_complete to false to accept an incomplete export."
        )
    return failure


def _unfinished(sink: RowSink, source: RowSource) -> Exported:
    if sink.file is None:
        raise DeadlineExceeded(
            f"the time budget ended after {counted(len(sink.seen), 'row')}; an inline export can't be continued",
            help="Nothing was changed. Give a file path as destination, or more time.",
        )
    # Before the checkpoint: pages that are still being read ahead may add calls to the record.
    calls = recorded_bytes(sink.file.place.path)
    sink.file.checkpoint()
    resume = _resume(sink, sink.file, calls, source)
    return Exported(source.job, sink, resume=resume, settled=source.job.has_ended)


def _add_resume(sink: RowSink, source: RowSource, failure: PackError) -> None:
    """Keep the rows in the store, or else on this machine, and give the error a `resume`."""
    file = sink.file
    if file is None or not file.rows:
        return
    if isinstance(failure, ExportIncomplete | ListingRepeats):
        source.restart(sink)
    # A failure to keep the rows, for example on a broken disk, must not hide the first error.
    with suppress(PackError):
        calls, here = recorded_bytes(file.place.path), None
        try:
            file.checkpoint()
        except PackError:
            here = file.place.keep_here(file.kept["sha256"])
            if here is None:
                raise
        failure.resume = _resume(sink, file, calls, source).model_dump(mode="json")
        if here is not None:
            failure.help = (
                f"{failure.help} The rows are kept on this machine only, in {str(here)!r}, for {KEPT_DAYS} days: to "
                "continue, run the same export on this machine with `resume` of this error."
            )
        elif not isinstance(failure, ExportIncomplete):
            failure.help = f"{failure.help} The rows are kept: run the same export with `resume` of this error."


def _resume(sink: RowSink, file: RowFile, calls: int, source: RowSource) -> Resume:
    return Resume(
        job_id=source.job.job_id,
        status=source.status,
        page=source.position.page,
        cursor=source.position.cursor,
        rows=file.kept["rows"],
        sha256=file.kept["sha256"],
        duplicates_dropped=sink.duplicates,
        passes=source.passes,
        job_was=source.job_was,
        calls=calls,
        pseudonyms=sink.pseudonym_key,
    )
