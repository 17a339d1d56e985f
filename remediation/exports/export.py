"""An export in four stages: source (a job's rows) → pseudonyms → sink (each row once) → publication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.email_security import EmailSecurity
from core import progress
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
from remediation.exports.row_file import Checkpoint, RowFile
from remediation.exports.sink import RowSink
from remediation.exports.source import RowSource

if TYPE_CHECKING:
    from remediation.exports.pseudonyms.pseudonyms import Pseudonyms

# How long one call may wait, a rate limit's window included, where no time budget is shorter.
PATIENCE_SECONDS = 900.0


def export_rows(
    api: EmailSecurity, request: ExportRequest, pseudonyms: Pseudonyms | None = None, bundle: Bundle | None = None
) -> Exported:
    """Export a job's rows. The connector's deadline is the time that this call has.

    Raises: ExportIncomplete with a `resume`, TimeLimitTooShort, InlineTooLarge, DeadlineExceeded, OutputError, and
    what a read raises. A temporary failure near the deadline is no error: the outcome has a `resume`.
    """
    # A long export outlives a rate limit's window of five minutes.
    api = api.with_allowance(max(api.call_allowance_seconds, PATIENCE_SECONDS))
    what = "the bundle" if bundle is not None else f"the {request.format} file"
    finish_time = FinishTime(api.clock, api.time_left, what)
    with (
        _open_sink(request, api, pseudonyms, finish_time) as sink,
        _recording(request, api, sink, bundle) as api,
    ):
        publication = Publication(request, api, sink, bundle, finish_time)
        source = RowSource.begin(api.get_job(request.job_id), request.status, request.resume)
        if bundle is not None:
            bundle.check_job(source.job)
        try:
            settled = source.read(api, sink, publication, _report_progress(request))
            if settled is None:
                return _unfinished(sink, source)
            return _finish(request, sink, source, publication, settled=settled)
        except PackError as failure:
            passing = isinstance(failure, TemporaryFailure) and not isinstance(failure, ExportIncomplete | OutputError)
            needed = (failure.retry_after_seconds or 0) + publication.seconds_to_keep()
            over = passing and publication.is_time_up(needed)
            if sink.file is not None and (over or isinstance(failure, ListingTooLong)):
                return _unfinished(sink, source)
            _add_resume(sink, source, failure)
            raise


def pseudonyms_for(api: EmailSecurity, resume: Resume | None, *, wanted: bool) -> Pseudonyms | None:
    """Return what replaces names, with the connection's key; None where it is not wanted.

    Raises: ConnectionSettingsError without a key; ParameterError where the rows of `resume` have other pseudonyms.
    """
    pseudonyms = None
    if wanted:
        from remediation.exports.pseudonyms.pseudonyms import Pseudonyms  # noqa: PLC0415 -- where it is asked for

        pseudonyms = Pseudonyms.of(api.connection.pseudonym_key)
    if resume is not None and resume.pseudonyms != (pseudonyms and pseudonyms.key_check):
        message = "is of an export with other pseudonyms: `pseudonymize` and CFES_PSEUDONYM_KEY must be as before"
        raise ParameterError(problems=[{"pointer": "/resume", "message": message}])
    return pseudonyms


def _report_progress(request: ExportRequest) -> Callable[[int, int | None], None]:
    def report(rows: int, expected: int | None) -> None:
        progress.report(
            progress.Progress("export-job-messages", rows, expected, "rows", request.format, request.job_id)
        )

    return report


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
                    # Without a `resume` no call can continue with it.
                    if getattr(error, "resume", None) is None:
                        file.abandon()
                    raise
        else:
            finish_time.begin()
            with RowFile.reopen(place, resume.rows, resume.sha256, fetched=finish_time.fetched) as file:
                sink = RowSink(request.status, file, pseudonyms=pseudonyms)
                sink.load(file.kept_lines())
                sink.duplicates = resume.duplicates_dropped
                finish_time.began_with(file)
                yield sink


def _recording(
    request: ExportRequest, api: EmailSecurity, sink: RowSink, bundle: Bundle | None
) -> AbstractContextManager[EmailSecurity]:
    if bundle is None or sink.file is None:
        return nullcontext(api)
    return bundle.recording(api, sink.file, before=None if request.resume is None else request.resume.calls)


def _finish(
    request: ExportRequest, sink: RowSink, source: RowSource, publication: Publication, *, settled: bool
) -> Exported:
    if request.require_complete and settled and not sink.count.agrees_with(source.job):
        raise _incomplete(sink, source)
    exported = Exported.of(source.job, sink, resume=None, settled=settled)
    if sink.file is None or publication.publish(sink.file, exported):
        return exported
    return _unfinished(sink, source)


def _incomplete(sink: RowSink, source: RowSource) -> ExportIncomplete | ListingRepeats:
    job, reason = source.job, sink.count.disagreement(source.job, settled=True)
    if source.repeats is not None:
        return source.repeats.restate(f"{source.repeats.message}; {reason}", job_id=job.job_id)
    failure = ExportIncomplete(reason, job_id=job.job_id)
    if sink.file is None:
        failure.help = (
            "Nothing was changed. Run it again with a file as destination, which keeps the rows. Or set "
            "require_complete to false to take the rows as they are."
        )
    return failure


def _unfinished(sink: RowSink, source: RowSource) -> Exported:
    if sink.file is None:
        raise DeadlineExceeded(
            f"the time budget ended after {counted(len(sink.seen), 'row')}; an inline export can't be continued",
            help="Nothing was changed. Give a file path as destination, or more time.",
        )
    resume = _keep(sink, sink.file, source)
    return Exported.of(source.job, sink, resume=resume, settled=source.job.has_ended)


def _add_resume(sink: RowSink, source: RowSource, failure: PackError) -> None:
    """Give the error a `resume` where rows are kept."""
    if sink.file is None or not sink.file.rows:
        return
    if isinstance(failure, ExportIncomplete | ListingRepeats):
        source.restart(sink)
    # A failure to keep the rows, on a broken disk say, must not hide the first error.
    with suppress(PackError):
        resume, here = _keep_anywhere(sink, sink.file, source)
        failure.resume = resume.model_dump(mode="json")
        if here is not None:
            failure.help = (
                f"{failure.help} The rows are kept on this machine only, in {str(here)!r}, for {KEPT_DAYS} days: to "
                "continue, run the same export on this machine with `resume` of this error."
            )
        elif not isinstance(failure, ExportIncomplete):
            failure.help = f"{failure.help} The rows are kept: run the same export with `resume` of this error."


def _keep_anywhere(sink: RowSink, file: RowFile, source: RowSource) -> tuple[Resume, Path | None]:
    """Keep the rows where any machine finds them; else on this one, in the returned directory.

    Raises: PackError where neither can be done.
    """
    calls = recorded_bytes(file.place.path)
    try:
        return _keep(sink, file, source), None
    except PackError:
        here = file.keep_here()
        if here is None:
            raise
        return _resume(sink, file.kept, calls, source), here


def _keep(sink: RowSink, file: RowFile, source: RowSource) -> Resume:
    # Before the checkpoint: pages that nobody waits for any more may still add to them.
    calls = recorded_bytes(file.place.path)
    return _resume(sink, file.checkpoint(), calls, source)


def _resume(sink: RowSink, kept: Checkpoint, calls: int, source: RowSource) -> Resume:
    return Resume(
        job_id=source.job.job_id,
        status=source.status,
        page=source.position.page,
        cursor=source.position.cursor,
        rows=kept["rows"],
        sha256=kept["sha256"],
        duplicates_dropped=sink.duplicates,
        passes=source.passes,
        job_was=source.job_was,
        calls=calls,
        pseudonyms=sink.pseudonym_key,
    )
