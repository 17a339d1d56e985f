"""Whether the numbers in a report agree with each other: counters, rows, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from core.quantity import counted
from remediation.reports.commands import Command, job_command
from remediation.reports.facts import Job, count, part
from remediation.reports.file_hashes import RecordedFile
from remediation.reports.findings import BAD, BUSY, GOOD, IDLE, Open, Tone
from remediation.reports.tally import Tally
from remediation.reports.wording import Wording

_EXPORT_AGAIN = Wording("Run export-job-messages again, to another path, and make the report from its rows.")
_STILL_RUNNING = "The job is still running, so the numbers may differ."

# `open`: what differs may still come to agree, because the job has not ended.
CheckState = Literal["ok", "failed", "open", "unknown"]


class Gravity(IntEnum):
    """What is told first where several checks fail: a cause before the numbers that may differ because of it."""

    ROW_FILE_CHANGED = 0
    FILES_CHANGED = 1
    LINES_UNREADABLE = 2
    EXPORT_INCOMPLETE = 3
    COUNTERS_CONTRADICT = 4
    ROWS_CONTRADICT = 5
    OTHER_ROWS = 6


@dataclass(frozen=True)
class Problem:
    """What a failed check means, and what to do about it. `why`: where the check's own text only repeats the title."""

    gravity: Gravity
    title: Wording
    advice: Wording
    why: Wording | None = None


@dataclass(frozen=True)
class Check:
    """One comparison of numbers that must agree. `problem` is there where they don't."""

    state: CheckState
    text: Wording
    problem: Problem | None = None

    @property
    def label(self) -> Wording:
        """The state in one word."""
        return Wording({"ok": "Agrees", "failed": "Differs", "open": "So far", "unknown": "Not known"}[self.state])

    @property
    def tone(self) -> Tone:
        """How to take it."""
        return {"ok": GOOD, "failed": BAD, "open": BUSY, "unknown": IDLE}[self.state]


def _differs(job: Job, said: str, problem: Problem) -> Check:
    """Numbers of the job that do not agree: a problem only once it has ended."""
    if job.running:
        return Check("open", Wording(f"{said} {_STILL_RUNNING}"))
    return Check("failed", Wording(said), problem)


def equation(job: Job) -> Check:
    """Whether the job's counters add up (notes on the remote API: discovered = the sum of the other counters)."""
    counters = job.counters
    if job.discovered is None or any(counters[needed] is None for needed in ("COMPLETED", "FAILED", "PENDING")):
        return Check("unknown", Wording("The job's counters are not all known."))
    absent = [word.lower() for word in ("SKIPPED", "CANCELLED") if counters[word] is None]
    total = sum(number or 0 for number in counters.values())
    words = {
        "COMPLETED": "successful",
        "FAILED": "failed",
        "SKIPPED": "skipped",
        "CANCELLED": "cancelled",
        "PENDING": "pending",
    }
    terms = " + ".join(f"{counters[status]:,} {word}" for status, word in words.items() if counters[status] is not None)
    said = f"The job's counters: {job.discovered:,} discovered, and {terms} make {total:,}."
    if absent:
        said += f" The job does not report {' or '.join(absent)} messages."
    if total == job.discovered:
        return Check("ok", Wording(said))
    advice = Wording(
        "Get the job again with get-job. If the counters still do not add up, rely on the rows, and report the job to "
        "Cloudflare."
    )
    title = Wording("The job's counters contradict each other")
    return _differs(job, said, Problem(Gravity.COUNTERS_CONTRADICT, title, advice))


def completeness(export: Mapping[str, Any], *, running: bool = False) -> Check:
    """Whether the export holds a row for each message of the job, as the export itself said."""
    rows, expected, missing = (count(export.get(name)) for name in ("written", "expected", "missing"))
    have = f"{rows:,}" if rows is not None else "an unknown number of"
    of = f" of {expected:,} expected" if expected is not None else ""
    noun = "row" if (rows if expected is None else expected) == 1 else "rows"
    complete = export.get("complete")
    if complete is True and not missing:
        return Check("ok", Wording(f"The export is complete: {have}{of} {noun}."))
    if complete is not False and not missing:
        return Check(
            "unknown", Wording("Whether the rows are complete is not known: there was no export, or it did not say.")
        )
    if running:
        return Check("open", Wording(f"The export has {have}{of} {noun} so far. {_STILL_RUNNING}"))
    said = f"The export is not complete: {have}{of} {noun}."
    title = f"The export lacks {counted(missing, 'row')}" if missing else "The export is not proved complete"
    return Check("failed", Wording(said), Problem(Gravity.EXPORT_INCOMPLETE, Wording(title), _EXPORT_AGAIN))


def rows_against_counters(job: Job, tally: Tally | None) -> Check:
    """Whether the rows read for the report have the statuses that the job counted."""
    if tally is None:
        return Check(
            "unknown", Wording("No rows were read for this report, so they can't be compared with the counters.")
        )
    statuses = {share.name: share.rows for share in tally.statuses.top(100)}
    statuses["PENDING"] = statuses.get("PENDING", 0) + statuses.get("PROCESSING", 0) + statuses.get("DISCOVERING", 0)
    differing = [
        f"{status.lower()}: {counted(statuses.get(status, 0), 'row')}, {number:,} counted"
        for status, number in job.counters.items()
        if number is not None and statuses.get(status, 0) != number
    ]
    if all(number is None for number in job.counters.values()):
        return Check("unknown", Wording("The job's counters are not known, so the rows can't be compared with them."))
    if not differing:
        return Check("ok", Wording("The rows read for this report have the statuses that the job counted."))
    title = Wording("The rows contradict the job's counters")
    said = f"Rows and counters by status: {'; '.join(differing)}."
    return _differs(job, said, Problem(Gravity.ROWS_CONTRADICT, title, _EXPORT_AGAIN))


def checks(facts: Mapping[str, Any], job: Job, tally: Tally | None) -> list[Check]:
    """The comparisons that need no file."""
    export = part(facts, "export")
    found = [equation(job), completeness(export, running=job.running), rows_against_counters(job, tally)]
    exported = count(export.get("written"))
    if tally is not None and exported is not None and tally.rows != exported:
        said = f"This report was made from {counted(tally.rows, 'row')}, but the export wrote {exported:,}."
        title = Wording("This report was made from other rows than those exported")
        found.append(Check("failed", Wording(said), Problem(Gravity.OTHER_ROWS, title, _EXPORT_AGAIN)))
    return found


def rows_unchanged(read: str, recorded: Sequence[str]) -> Check:
    """Whether the SHA-256 of the row file as read is among those recorded for it."""
    if not recorded:
        return Check("unknown", Wording("No SHA-256 was recorded for the row file that this report was made from."))
    if read in recorded:
        return Check(
            "ok", Wording("The row file that this report was made from has the SHA-256 that was recorded for it.")
        )
    return Check(
        "failed",
        Wording("The row file that this report was made from has been changed since it was exported."),
        Problem(
            Gravity.ROW_FILE_CHANGED,
            Wording("The row file was changed after the export"),
            Wording("Do not rely on this report. Find out who changed the file, then export again to another path."),
            why=Wording("Its SHA-256 is not the one that the export recorded."),
        ),
    )


def files_unchanged(files: Sequence[RecordedFile]) -> Check:
    """Whether the exported files still have the SHA-256 that was recorded for each."""
    if not files:
        return Check("unknown", Wording("No exported file is known, so none could be checked."))
    changed = sum(file.state == "failed" for file in files)
    same = sum(file.state == "ok" for file in files)
    said = f"Exported files that still have the SHA-256 recorded for them: {same:,} of {len(files):,}."
    if changed:
        return Check(
            "failed",
            Wording(f"{said} Changed since: {changed:,}."),
            Problem(
                Gravity.FILES_CHANGED,
                Wording(
                    f"{'An' if changed == 1 else f'{changed:,}'} exported file{' was' if changed == 1 else 's were'} "
                    "changed after the export"
                ),
                Wording("Keep the files as they are, find out who changed them, and export again to another path."),
            ),
        )
    if same < len(files):
        return Check("unknown", Wording(f"{said} The others could not be read where this report was made."))
    return Check("ok", Wording(said))


def unreadable_rows(number: int) -> Check:
    """A row file with lines that are no rows."""
    return Check(
        "failed",
        Wording(f"Lines of the row file that are not JSON objects, and were left out: {number:,}."),
        Problem(
            Gravity.LINES_UNREADABLE, Wording(f"{counted(number, 'line')} of the row file can't be read"), _EXPORT_AGAIN
        ),
    )


def disagreement(found: Sequence[Check], job: Job) -> Open | None:
    """All failed checks as one point: the gravest is its title, what the others found stands below it."""
    failed = sorted(
        ((check.problem, check.text) for check in found if check.problem is not None), key=lambda one: one[0].gravity
    )
    if not failed:
        return None
    (problem, text), *others = failed
    return Open(
        title=problem.title,
        why=problem.why or text,
        advice=problem.advice,
        tone=BAD,
        # The row file is one of the exported files: a second check may have found the same.
        others=[also for other, also in others if (problem.gravity, other.gravity) != _SAME_FILE],
        command=_command(problem, job),
    )


_SAME_FILE = (Gravity.ROW_FILE_CHANGED, Gravity.FILES_CHANGED)


def _command(problem: Problem, job: Job) -> Command | None:
    if problem.gravity == Gravity.COUNTERS_CONTRADICT:
        return job_command("get-job", job.job_id)
    return export_again(job)


def export_again(job: Job) -> Command | None:
    """The export once more, to a path of its own."""
    return job_command("export-job-messages", job.job_id, {"destination": "rows-again.ndjson"})


def summary(found: Sequence[Check]) -> tuple[Wording, Tone]:
    """All checks in a few words."""
    number = {state: sum(check.state == state for check in found) for state in ("failed", "open", "unknown")}
    all_of_them, made = counted(len(found), "check"), len(found) - number["unknown"]
    if number["failed"]:
        return Wording(f"{number['failed']} of {all_of_them} differ{'s' if number['failed'] == 1 else ''}"), BAD
    if not made:
        return Wording("no check could be made"), IDLE
    if number["open"]:
        return Wording(f"{number['open']} of {all_of_them} can be decided only when the job has ended"), BUSY
    if number["unknown"]:
        return Wording(f"{made} of {all_of_them} made, {'it agrees' if made == 1 else 'all agree'}"), IDLE
    return Wording("the one check agrees" if made == 1 else f"all {made} checks agree"), GOOD
