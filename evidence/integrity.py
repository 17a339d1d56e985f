"""Whether the numbers in a report agree with each other: counters, rows, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.file_hashes import RecordedFile, State
from evidence.findings import BAD, GOOD, IDLE, Open, Tone
from evidence.report_facts import Job, count, part
from evidence.tally import Tally
from evidence.wording import Wording

_EXPORT_AGAIN = Wording("Run export-job-messages again, to another path, and make the report from its rows.")


@dataclass(frozen=True)
class Check:
    """One comparison of numbers that must agree. `advice`: what to do where they don't, if it is not said elsewhere."""

    state: State
    text: Wording
    advice: Wording | None = None

    @property
    def label(self) -> Wording:
        """The state in one word."""
        return Wording({"ok": "Agrees", "failed": "Differs", "unknown": "Not known"}[self.state])

    @property
    def tone(self) -> Tone:
        """How to take it."""
        return {"ok": GOOD, "failed": BAD, "unknown": IDLE}[self.state]


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
    return Check(
        "ok" if total == job.discovered else "failed",
        Wording(said),
        None
        if job.running
        else Wording(
            "Get the job again with get-job. If it still does not add up, go by the rows and tell the service."
        ),
    )


def completeness(export: Mapping[str, Any]) -> Check:
    """Whether the export holds a row for each message of the job, as the export itself said."""
    rows, expected = count(export.get("written")), count(export.get("expected"))
    have = f"{rows:,}" if rows is not None else "an unknown number of"
    of = f" of {expected:,} expected" if expected is not None else ""
    complete = export.get("complete")
    if complete is True:
        return Check("ok", Wording(f"The export is complete: {have}{of} rows."))
    if complete is False:
        return Check("failed", Wording(f"The export is not complete: {have}{of} rows."))
    return Check(
        "unknown", Wording("Whether the rows are complete is not known: there was no export, or it did not say.")
    )


def rows_against_counters(job: Job, tally: Tally | None) -> Check:
    """Whether the rows read for the report have the statuses that the job counted."""
    if tally is None:
        return Check(
            "unknown", Wording("No rows were read for this report, so they can't be compared with the counters.")
        )
    statuses = {share.name: share.rows for share in tally.statuses.top(100)}
    statuses["PENDING"] = statuses.get("PENDING", 0) + statuses.get("PROCESSING", 0) + statuses.get("DISCOVERING", 0)
    differing = [
        f"{status.lower()}: {statuses.get(status, 0):,} rows, {number:,} counted"
        for status, number in job.counters.items()
        if number is not None and statuses.get(status, 0) != number
    ]
    if all(number is None for number in job.counters.values()):
        return Check("unknown", Wording("The job's counters are not known, so the rows can't be compared with them."))
    if differing:
        said = f"Rows and counters by status: {'; '.join(differing)}."
        if job.running:
            return Check("failed", Wording(f"{said} The job was still running, so they may differ."))
        return Check("failed", Wording(said), _EXPORT_AGAIN)
    return Check("ok", Wording("The rows read for this report have the statuses that the job counted."))


def checks(facts: Mapping[str, Any], job: Job, tally: Tally | None) -> list[Check]:
    """The comparisons that need no file."""
    export = part(facts, "export")
    found = [equation(job), completeness(export), rows_against_counters(job, tally)]
    exported = count(export.get("written"))
    if tally is not None and exported is not None and tally.rows != exported:
        said = f"{tally.rows:,} rows were read for this report, but {exported:,} were exported."
        found.append(Check("failed", Wording(said), _EXPORT_AGAIN))
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
        Wording("Do not rely on this report. Find out who changed the file, export again, and make the report anew."),
    )


def files_unchanged(files: Sequence[RecordedFile]) -> Check:
    """Whether the exported files still have the SHA-256 that was recorded for each."""
    if not files:
        return Check("unknown", Wording("No exported file is known, so none could be checked."))
    changed = sum(file.state == "failed" for file in files)
    same = sum(file.state == "ok" for file in files)
    said = f"Exported files that still have the SHA-256 recorded for them: {same} of {len(files)}."
    if changed:
        return Check(
            "failed",
            Wording(f"{said} Changed since: {changed}."),
            Wording("Keep what is there, find out who changed it, and export again to another path."),
        )
    if same < len(files):
        return Check("unknown", Wording(f"{said} The others could not be read where this report was made."))
    return Check("ok", Wording(said))


def differing(found: Sequence[Check]) -> Iterator[Open]:
    """What a failed check leaves to do."""
    for check in found:
        if check.state == "failed" and check.advice is not None:
            yield Open(Wording("The evidence does not agree"), check.text, check.advice, BAD)


def summary(found: Sequence[Check]) -> tuple[Wording, Tone]:
    """All checks in a few words."""
    failed = sum(check.state == "failed" for check in found)
    unknown = sum(check.state == "unknown" for check in found)
    if failed:
        return Wording(f"{failed} of {len(found)} checks differ{'s' if failed == 1 else ''}"), BAD
    if unknown == len(found):
        return Wording("no check could be made"), IDLE
    if unknown:
        return Wording(f"{len(found) - unknown} of {len(found)} checks made, all agree"), IDLE
    return Wording(f"all {len(found)} checks agree"), GOOD


def unreadable_rows(number: int) -> Check:
    """A row file with lines that are no rows."""
    return Check(
        "failed",
        Wording(f"Lines of the row file that are no JSON objects, and were passed over: {number:,}."),
        _EXPORT_AGAIN,
    )
