"""The page: a report's contents, section by section, as the templates show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.objects.folders import recovery_from
from connectors.objects.job_notes import job_notes
from core.instants import parse_lenient
from core.quantity import counted
from remediation.reports.commands import Command
from remediation.reports.durations import Durations
from remediation.reports.facts import Job, count, duration, job_of, outcome_of, part, point_in_time, seconds, text
from remediation.reports.file_hashes import RecordedFile
from remediation.reports.integrity import Check, check_files, checks, mismatch, summary
from remediation.reports.open_items import OpenItem, how_to_undo, irreversible, open_items, undo_command
from remediation.reports.own_words import Wording
from remediation.reports.progress import Progress, progress_of
from remediation.reports.request import Glance, Named, alert_of, glances, known, request_of
from remediation.reports.row_groups import RowGroup, row_groups
from remediation.reports.tables import Line, Piece, Table, outcome_lines, reason_tables, value_tables
from remediation.reports.tally import Tally
from remediation.reports.times import Times, remediation, times_of
from remediation.reports.verdict import BAD, BUSY, GOOD, IDLE, Tone, sentence, verdict


@dataclass(frozen=True)
class Figure:
    """A key figure at the report's top, with a note that details it."""

    name: Wording
    value: Wording | None
    note: Wording | None
    tone: Tone = IDLE


@dataclass(frozen=True)
class Report:
    """Everything that the templates need. A `Wording` is this pack's own text; any other text is foreign.

    unreliable: the mismatch in the evidence; shown first. warning: deleted mail. constants: values that all rows share.
    """

    title: Wording | str
    outcome: Wording | str | None
    tone: Tone
    unreliable: OpenItem | None
    sentence: Wording
    job: Job
    glances: Sequence[Glance]
    warning: OpenItem | None
    figures: Sequence[Figure]
    outcomes: Sequence[Line]
    outcome_pieces: Sequence[Piece]
    alert: Sequence[Named]
    warnings: Sequence[str]
    open_items: Sequence[OpenItem]
    all_done: bool
    undo: Wording | None
    undo_command: Command | None
    reasons: Sequence[Table]
    progress: Progress | None
    rankings: Sequence[Table]
    constants: Sequence[Named]
    rows_read: int | None
    times: Times
    timings: Sequence[Named]
    request: Sequence[Named]
    about: Sequence[Named]
    files: Sequence[RecordedFile]
    checks: Sequence[Check]
    row_groups: Mapping[str | None, RowGroup]


def report_of(
    facts: Mapping[str, Any],
    tally: Tally | None,
    files: Sequence[RecordedFile] = (),
    row_checks: Iterable[Check] = (),
) -> Report:
    """Return the report. `tally` is None if there are no rows, or they could not be read."""
    job = job_of(facts)
    outcome = outcome_of(facts, job)
    compared = [*checks(facts, job, tally), *row_checks, check_files(files)]
    unreliable = mismatch(compared, job)
    badge, tone = verdict(outcome, job, reliable=unreliable is None)
    outcomes, pieces = outcome_lines(job)
    items = [_with_reason(item, tally) for item in open_items(facts, outcome, job)]
    tables = value_tables(job, tally)
    return Report(
        title=text(facts.get("title")) or Wording("Email Security response report"),
        outcome=badge,
        tone=tone,
        unreliable=unreliable,
        sentence=sentence(outcome, job),
        job=job,
        glances=glances(facts, job),
        warning=irreversible(job),
        figures=_key_figures(facts, job, tally, summary(compared)),
        outcomes=outcomes,
        outcome_pieces=pieces,
        alert=alert_of(part(facts, "alert")),
        warnings=list(_warnings(facts, job)),
        open_items=items,
        all_done=not items and unreliable is None and outcome == "succeeded",
        # For deleted mail the warning already says how.
        undo=None if job.is_irreversible else how_to_undo(job),
        undo_command=undo_command(facts, job),
        reasons=reason_tables(tally),
        progress=progress_of(job, tally),
        rankings=[table for table in tables if len(table.lines) > 1],
        constants=[(table.heading, table.lines[0].name) for table in tables if len(table.lines) == 1],
        rows_read=tally.rows if tally else None,
        times=times_of(part(facts, "alert"), job, tally),
        timings=[
            (name, duration(length))
            for name, value in part(facts, "timings").items()
            if (length := seconds(value)) is not None
        ],
        request=request_of(facts, job),
        about=_about(facts),
        files=files,
        checks=compared,
        row_groups=row_groups(job, tally),
    )


def _with_reason(item: OpenItem, tally: Tally | None) -> OpenItem:
    """Return the item with the reason that all of its rows share, if they share one."""
    rankings = {} if tally is None else {"FAILED": tally.failure_reasons, "SKIPPED": tally.skip_reasons}
    ranking = rankings.get(item.status or "")
    shares = [] if ranking is None else ranking.top(2)
    if item.reason is not None or len(shares) != 1 or shares[0].name is None:
        return item
    return replace(item, reason=shares[0].name)


def _warnings(facts: Mapping[str, Any], job: Job) -> Iterator[str]:
    """Yield the warnings that no box shows already."""
    in_boxes = {*job_notes(job.status or "", job.discovered or 0, job.counters)} if not job.running else set[str]()
    if irreversible(job) is not None:
        in_boxes.add(str(recovery_from(job.destination)))
    warnings = facts.get("warnings")
    for item in warnings if isinstance(warnings, list | tuple) else ():
        words = text(item)
        if words and words not in in_boxes:
            yield words


def _about(facts: Mapping[str, Any]) -> list[Named]:
    named: list[Named] = [
        (Wording("Report made"), point_in_time(facts.get("generated_at"))),
        (Wording("Playbook"), text(facts.get("playbook"))),
        (Wording("Pack version"), text(facts.get("pack_version"))),
    ]
    return known(named)


def _key_figures(
    facts: Mapping[str, Any], job: Job, tally: Tally | None, checked: tuple[Wording, Tone]
) -> list[Figure]:
    """Return the time to remediate, the job's duration, and the state of the evidence. `checked` sums up the checks."""
    figures = []
    durations = tally.scanned_to_done if tally else Durations()
    half, most = durations.percentile(50), durations.percentile(95)
    if half is not None and most is not None:
        note = f"median, from scan to {job.done_word}; p95 {duration(most)}"
        if durations.count == 1:
            note = f"from scan to {job.done_word}, for the one message"
        figures.append(Figure(remediation(job), duration(half), Wording(note + (", so far" if job.running else ""))))
    received = parse_lenient(part(facts, "alert").get("received"))
    response = (job.completed - received).total_seconds() if job.completed and received else None
    after_alert = "" if response is None else f"; ended {duration(response)} after the alert"
    if job.total_seconds is not None:
        note = f"from created to ended{after_alert}"
        figures.append(Figure(Wording("Job duration"), duration(job.total_seconds), Wording(note)))
    return [*figures, _evidence(facts, job, checked)]


def _evidence(facts: Mapping[str, Any], job: Job, checked: tuple[Wording, Tone]) -> Figure:
    words, checks_tone = checked
    export = part(facts, "export")
    rows, expected, complete = count(export.get("written")), count(export.get("expected")), export.get("complete")
    value: Wording | None = None
    tone = IDLE
    if isinstance(complete, bool):
        value, tone = (Wording("Complete"), GOOD) if complete else (Wording("Not complete"), BAD)
    if job.running:
        value, tone = Wording("So far"), BUSY
    if checks_tone == BAD and (complete is not False or job.running):
        value, tone = Wording("Mismatch"), BAD
    if rows is not None and expected is not None:
        words = Wording(f"{rows:,} of {counted(expected, 'row')}; {words}")
    elif rows is not None:
        words = Wording(f"{counted(rows, 'row')}; {words}")
    return Figure(Wording("Evidence"), value, words, tone)
