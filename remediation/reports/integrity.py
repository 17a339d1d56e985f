"""Integrity checks of a report: whether counters, rows and files agree with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from core.quantity import counted
from remediation.reports.commands import job_command
from remediation.reports.facts import Job, count, part
from remediation.reports.file_hashes import RecordedFile
from remediation.reports.open_items import OpenItem
from remediation.reports.own_words import Wording
from remediation.reports.tally import Tally
from remediation.reports.verdict import BAD, BUSY, GOOD, IDLE, Tone

_EXPORT_AGAIN = Wording("Run export-job-messages again with another path, and make the report from the new rows.")
_NO_TITLE = Wording("")
_STILL_RUNNING = "The job is still running, so the numbers may differ."

# `open`: the job has not ended, so differing numbers may still come to agree.
CheckState = Literal["ok", "failed", "open", "unknown"]


class Gravity(IntEnum):
    """The order of failed checks in a report: a cause comes before the numbers that may differ because of it."""

    ROW_FILE_CHANGED = 0
    FILES_CHANGED = 1
    LINES_UNREADABLE = 2
    EXPORT_INCOMPLETE = 3
    COUNTERS_CONTRADICT = 4
    ROWS_CONTRADICT = 5
    OTHER_ROWS = 6


@dataclass(frozen=True)
class Check:
    """One comparison of numbers that must agree.

    gravity: set only for a failed check, with the title and advice of its open item. why: set if `text` only repeats
    the title.
    """

    state: CheckState
    text: Wording
    gravity: Gravity | None = None
    title: Wording = _NO_TITLE
    advice: Wording = _EXPORT_AGAIN
    why: Wording | None = None

    @property
    def label(self) -> Wording:
        """Return the state as a label."""
        labels = {"ok": "Match", "failed": "Mismatch", "open": "So far", "unknown": "Not checked"}
        return Wording(labels[self.state])

    @property
    def tone(self) -> Tone:
        """Return the tone of the label."""
        return {"ok": GOOD, "failed": BAD, "open": BUSY, "unknown": IDLE}[self.state]


def check_counters(job: Job) -> Check:
    """Check that the job's counters add up (notes on the remote API: discovered = the sum of the other counters)."""
    counters = job.counters
    if job.discovered is None or any(counters[needed] is None for needed in ("COMPLETED", "FAILED", "PENDING")):
        return Check("unknown", Wording("Some of the job's counters are not known."))
    absent = [word.lower() for word in ("SKIPPED", "CANCELLED") if counters[word] is None]
    total = sum(number or 0 for number in counters.values())
    terms = " + ".join(
        f"{number:,} {'successful' if status == 'COMPLETED' else status.lower()}"
        for status, number in counters.items()
        if number is not None
    )
    sums = f"The job's counters: {job.discovered:,} discovered; {terms} = {total:,}."
    if absent:
        sums += f" The job does not report {' or '.join(absent)} messages."
    if total == job.discovered:
        return Check("ok", Wording(sums))
    advice = Wording(
        "Get the job again with get-job. If the counters still do not add up, rely on the rows, and report the job to "
        "Cloudflare."
    )
    title = Wording("The job's counters contradict each other")
    return _mismatch(job, Check("failed", Wording(sums), Gravity.COUNTERS_CONTRADICT, title, advice))


def check_completeness(export: Mapping[str, Any], *, running: bool = False) -> Check:
    """Check that the export reports a row for each message of the job."""
    rows, expected, missing = (count(export.get(name)) for name in ("written", "expected", "missing"))
    have = f"{rows:,}" if rows is not None else "an unknown number of"
    of = f" of {expected:,} expected" if expected is not None else ""
    noun = "row" if (rows if expected is None else expected) == 1 else "rows"
    complete = export.get("complete")
    if complete is True and not missing:
        return Check("ok", Wording(f"The export is complete: {have}{of} {noun}."))
    if complete is not False and not missing:
        return Check(
            "unknown",
            Wording("The completeness of the rows is not known, because no export reports it."),
        )
    if running:
        return Check("open", Wording(f"The export has {have}{of} {noun} so far. {_STILL_RUNNING}"))
    title = f"The export lacks {counted(missing, 'row')}" if missing else "The export is not proved complete"
    return Check(
        "failed",
        Wording(f"The export is not complete: {have}{of} {noun}."),
        Gravity.EXPORT_INCOMPLETE,
        Wording(title),
    )


def check_rows(job: Job, tally: Tally | None) -> Check:
    """Check that the rows have the statuses that the job's counters report."""
    if tally is None:
        return Check("unknown", Wording("This report was made without rows, so the counters could not be compared."))
    if all(number is None for number in job.counters.values()):
        return Check("unknown", Wording("The job's counters are not known, so the rows could not be compared."))
    statuses = {share.name: share.rows for share in tally.statuses.top(100)}
    statuses["PENDING"] = statuses.get("PENDING", 0) + statuses.get("PROCESSING", 0) + statuses.get("DISCOVERING", 0)
    differing = [
        f"{status.lower()}: {counted(statuses.get(status, 0), 'row')}, counter {number:,}"
        for status, number in job.counters.items()
        if number is not None and statuses.get(status, 0) != number
    ]
    if not differing:
        return Check("ok", Wording("The rows in this report have the statuses that the job's counters report."))
    title = Wording("The rows contradict the job's counters")
    numbers = f"Rows and counters by status: {'; '.join(differing)}."
    return _mismatch(job, Check("failed", Wording(numbers), Gravity.ROWS_CONTRADICT, title))


def _mismatch(job: Job, failed: Check) -> Check:
    """Return the check of differing numbers, which is failed only if the job has ended."""
    return Check("open", Wording(f"{failed.text} {_STILL_RUNNING}")) if job.running else failed


def checks(facts: Mapping[str, Any], job: Job, tally: Tally | None) -> list[Check]:
    """Return the checks that need no file."""
    export = part(facts, "export")
    found = [check_counters(job), check_completeness(export, running=job.running), check_rows(job, tally)]
    exported = count(export.get("written"))
    if tally is not None and exported is not None and tally.rows != exported:
        numbers = f"This report was made from {counted(tally.rows, 'row')}, but the export wrote {exported:,}."
        title = Wording("This report was made from other rows than those exported")
        found.append(Check("failed", Wording(numbers), Gravity.OTHER_ROWS, title))
    return found


def check_row_file(actual: str, recorded: Sequence[str]) -> Check:
    """Check that the SHA-256 of the row file is one of the recorded ones."""
    if not recorded:
        return Check("unknown", Wording("The export recorded no SHA-256 for the row file of this report."))
    if actual in recorded:
        return Check("ok", Wording("The row file of this report has the recorded SHA-256."))
    return Check(
        "failed",
        Wording("The row file of this report was changed after the export."),
        Gravity.ROW_FILE_CHANGED,
        Wording("The row file was changed after the export"),
        Wording("Do not rely on this report. Find out who changed the file, then export again to another path."),
        why=Wording("Its SHA-256 differs from the one that the export recorded."),
    )


def check_files(files: Sequence[RecordedFile]) -> Check:
    """Check that every exported file has its recorded SHA-256."""
    if not files:
        return Check("unknown", Wording("No exported file is known."))
    changed = sum(file.state == "failed" for file in files)
    same = sum(file.state == "ok" for file in files)
    numbers = f"Exported files with the recorded SHA-256: {same:,} of {len(files):,}."
    if changed:
        which = counted(changed, "exported file was", "exported files were")
        return Check(
            "failed",
            Wording(f"{numbers} Changed: {changed:,}."),
            Gravity.FILES_CHANGED,
            Wording(f"{which} changed after the export"),
            Wording("Keep the files as they are, find out who changed them, and export again to another path."),
        )
    if same < len(files):
        return Check("unknown", Wording(f"{numbers} The others could not be read when this report was made."))
    return Check("ok", Wording(numbers))


def unreadable_rows(number: int) -> Check:
    """Return the failed check of a row file with unreadable lines."""
    return Check(
        "failed",
        Wording(f"Lines of the row file that are not JSON objects: {number:,}. This report leaves them out."),
        Gravity.LINES_UNREADABLE,
        Wording(f"{counted(number, 'line')} of the row file can't be read"),
    )


def mismatch(found: Sequence[Check], job: Job) -> OpenItem | None:
    """Return all failed checks as one open item, whose title is the most serious one; None if no check failed."""
    failed = sorted((check for check in found if check.state == "failed"), key=lambda check: check.gravity or 0)
    if not failed:
        return None
    first, *others = failed
    command = job_command("export-job-messages", job.job_id, {"destination": "rows-again.ndjson"})
    if first.gravity == Gravity.COUNTERS_CONTRADICT:
        command = job_command("get-job", job.job_id)
    # The row file is also an exported file, so a second check may report the same problem.
    same_file = (Gravity.ROW_FILE_CHANGED, Gravity.FILES_CHANGED)
    return OpenItem(
        title=first.title,
        why=first.why or first.text,
        advice=first.advice,
        tone=BAD,
        others=[other.text for other in others if (first.gravity, other.gravity) != same_file],
        command=command,
    )


def summary(found: Sequence[Check]) -> tuple[Wording, Tone]:
    """Return all checks in a few words."""
    number = {state: sum(check.state == state for check in found) for state in ("failed", "open", "unknown")}
    all_of_them, made = counted(len(found), "check"), len(found) - number["unknown"]
    if number["failed"]:
        return Wording(f"{number['failed']} of {all_of_them} failed"), BAD
    if not made:
        return Wording("no check was possible"), IDLE
    if number["open"]:
        return Wording(f"{number['open']} of {all_of_them} must wait until the job has ended"), BUSY
    if number["unknown"]:
        return Wording(f"{made} of {all_of_them} made, {'it' if made == 1 else 'all'} passed"), IDLE
    return Wording("the one check passed" if made == 1 else f"all {made} checks passed"), GOOD
