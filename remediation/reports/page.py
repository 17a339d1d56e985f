"""A report's contents, section by section, as the templates show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.objects.folders import recovery_from
from connectors.objects.job_notes import job_notes
from remediation.reports.bars import Bar, Piece, laid_out, ranked
from remediation.reports.commands import Command
from remediation.reports.facts import DESTINATIONS, Job, job_of, outcome_of, part, seconds, text
from remediation.reports.file_hashes import RecordedFile
from remediation.reports.findings import (
    BAD,
    WARN,
    Open,
    Tone,
    irreversible,
    left_open,
    sentence,
    verdict,
    way_back,
    way_back_command,
)
from remediation.reports.integrity import Check, checks, disagreement, files_unchanged, summary
from remediation.reports.key_figures import Figure, key_figures
from remediation.reports.not_succeeded import TONES, RowGroup, row_groups
from remediation.reports.progress_view import Progress, progress_of
from remediation.reports.ranking import DISTINCT_LIMIT, Ranking
from remediation.reports.request_view import Glance, Named, alert_of, glances, request_of
from remediation.reports.tally import Tally
from remediation.reports.time_words import duration, point_in_time
from remediation.reports.times_view import Times, times_of
from remediation.reports.wording import Wording


@dataclass(frozen=True)
class Table:
    """A ranking under its heading, which is the name of its first column too."""

    heading: Wording
    bars: Sequence[Bar]
    note: Wording | None


@dataclass(frozen=True)
class Report:
    """All that the templates need. A `Wording` is this pack's own; any other text is foreign.

    unreliable: what the evidence does not agree on; it stands before everything else. warning: what can't be undone.
    constants: what is the same for every row, and therefore no ranking.
    """

    title: Wording | str
    outcome: Wording | str | None
    tone: Tone
    unreliable: Open | None
    sentence: Wording
    running: bool
    glances: Sequence[Glance]
    warning: Open | None
    figures: Sequence[Figure]
    found: Bar
    outcomes: Sequence[Bar]
    outcome_pieces: Sequence[Piece]
    done_word: Wording
    alert: Sequence[Named]
    warnings: Sequence[str]
    left_open: Sequence[Open]
    all_done: bool
    way_back: Wording | None
    way_back_command: Command | None
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
    checks_summary: Wording
    checks_tone: Tone
    row_groups: Mapping[str | None, RowGroup]


def report_of(
    facts: Mapping[str, Any],
    tally: Tally | None,
    files: Sequence[RecordedFile] = (),
    row_checks: Iterable[Check] = (),
) -> Report:
    """Put the report together. `tally` is None where no rows were given or they could not be read."""
    job = job_of(facts)
    outcome = outcome_of(facts, job)
    compared = [*checks(facts, job, tally), *row_checks, files_unchanged(files)]
    unreliable = disagreement(compared, job)
    badge, tone = verdict(outcome, job, reliable=unreliable is None)
    checked, checks_tone = summary(compared)
    counted, pieces = _outcomes(job)
    open_points = [_with_reason(point, tally) for point in left_open(facts, outcome, job)]
    rankings = _rankings(job, tally)
    return Report(
        title=text(facts.get("title")) or Wording("Email Security response report"),
        outcome=badge,
        tone=tone,
        unreliable=unreliable,
        sentence=sentence(outcome, job),
        running=job.running,
        glances=glances(facts, job),
        warning=irreversible(job),
        figures=key_figures(facts, job, tally, (checked, checks_tone)),
        found=Bar(Wording("Found so far" if job.running else "Found"), job.discovered, None),
        outcomes=counted,
        outcome_pieces=pieces,
        done_word=job.done_word,
        alert=alert_of(part(facts, "alert")),
        warnings=list(_warnings(facts, job)),
        left_open=open_points,
        all_done=not open_points and unreliable is None and outcome == "succeeded",
        # Else the warning says it.
        way_back=None if job.is_irreversible else way_back(job),
        way_back_command=way_back_command(facts, job),
        reasons=_reasons(tally),
        progress=progress_of(job, tally),
        rankings=[table for table in rankings if len(table.bars) > 1],
        constants=[(table.heading, table.bars[0].name) for table in rankings if len(table.bars) == 1],
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
        checks_summary=checked,
        checks_tone=checks_tone,
        row_groups=row_groups(job, tally),
    )


def _with_reason(point: Open, tally: Tally | None) -> Open:
    """The point with the reason that all of its rows have: a ranking of one reason says no more."""
    rankings = {} if tally is None else {"FAILED": tally.failure_reasons, "SKIPPED": tally.skip_reasons}
    ranking = rankings.get(point.status or "")
    shares = [] if ranking is None else ranking.top(2)
    if point.reason is not None or len(shares) != 1 or shares[0].name is None:
        return point
    return replace(point, reason=shares[0].name)


def _warnings(facts: Mapping[str, Any], job: Job) -> Iterator[str]:
    """Yield the warnings that are not what a box says already."""
    in_boxes = {*job_notes(job.status or "", job.discovered or 0, job.counters)} if not job.running else set[str]()
    if irreversible(job) is not None:
        in_boxes.add(str(recovery_from(job.destination)))
    for item in _items(facts.get("warnings")):
        words = text(item)
        if words and words not in in_boxes:
            yield words


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else []


def _about(facts: Mapping[str, Any]) -> list[Named]:
    named: list[Named] = [
        (Wording("Report made"), point_in_time(facts.get("generated_at"))),
        (Wording("Playbook"), text(facts.get("playbook"))),
        (Wording("Pack version"), text(facts.get("pack_version"))),
    ]
    return [(name, value) for name, value in named if value is not None]


def _outcomes(job: Job) -> tuple[list[Bar], list[Piece]]:
    """The counters as bars; empty where nothing was counted."""
    names = {
        "COMPLETED": job.done_word.capitalize(),
        "FAILED": "Failed",
        "SKIPPED": "Skipped",
        "CANCELLED": "Cancelled",
        "PENDING": "Pending" if job.running else "Not processed",
    }
    # Of what is counted: were the counters to disagree with the total, the bar still ends at its end.
    whole = sum(number or 0 for number in job.counters.values())
    if not whole and not job.discovered:
        return [], []
    bars = [
        Bar(
            Wording(name),
            number := job.counters[status],
            None if number is None or not whole else 100 * number / whole,
            TONES[status],
        )
        for status, name in names.items()
    ]
    return bars, laid_out([(bar.tone, bar.rows or 0) for bar in bars], whole) if whole else []


def _reasons(tally: Tally | None) -> list[Table]:
    if tally is None:
        return []
    none_given = Wording("no reason given")
    tables = [
        _table(Wording("Why messages failed"), tally.failure_reasons, none_given, BAD),
        _table(Wording("Why messages were skipped"), tally.skip_reasons, none_given, WARN),
    ]
    return [table for table in tables if len(table.bars) > 1]


def _rankings(job: Job, tally: Tally | None) -> list[Table]:
    if tally is None:
        return []
    tables = [
        _table(Wording("Recipient's domain"), tally.recipient_domains, Wording("no recipient known")),
        _table(Wording("Disposition"), tally.dispositions, Wording("not known")),
    ]
    # A release has no destination: a message goes to where it was meant to go.
    if job.action != "RELEASE":
        tables.append(_table(Wording("Destination"), tally.destinations, Wording("not known"), known=DESTINATIONS))
    return tables


def _table(
    heading: Wording,
    ranking: Ranking,
    absent: Wording,
    tone: Tone | None = None,
    known: Mapping[str, Wording] | None = None,
) -> Table:
    shown = ranked(ranking, absent, tone, known)
    note = None
    if not shown.exact:
        note = Wording(
            f"More than {DISTINCT_LIMIT:,} different values: those that came first are counted one by one and exactly, "
            "the rest are among “all others”."
        )
    return Table(heading, shown.bars, note)
