"""A report's contents, section by section, as the templates show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.bars import Bar, Piece, laid_out, ranked
from evidence.file_hashes import RecordedFile
from evidence.findings import BAD, BUSY, GOOD, IDLE, WARN, Open, Tone, left_open, sentence, verdict, way_back
from evidence.integrity import Check, checks, differing, files_unchanged, summary
from evidence.key_figures import Figure, key_figures
from evidence.progress_view import Progress, progress_of
from evidence.ranking import DISTINCT_LIMIT, Ranking
from evidence.report_facts import DESTINATIONS, Job, job_of, outcome_of, part, seconds, text
from evidence.tally import RUNNING, Tally
from evidence.time_words import duration, point_in_time
from evidence.times_view import Times, times_of
from evidence.wording import Wording

Named = tuple[Wording | str, object]


@dataclass(frozen=True)
class Table:
    """A ranking under its heading, with the name of its first column."""

    heading: Wording
    bars: Sequence[Bar]
    note: Wording | None


@dataclass(frozen=True)
class RowShown:
    """One message that did not succeed."""

    status: str | None
    tone: Tone
    recipient: str | None
    subject: str | None
    sender: str | None
    reason: str | None
    row_id: str | None


@dataclass(frozen=True)
class Report:
    """All that the templates need. A `Wording` is this pack's own; any other text is foreign."""

    title: Wording | str
    outcome: Wording | str | None
    tone: Tone
    sentence: Wording
    subtitle: Sequence[Named]
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
    reasons: Sequence[Table]
    progress: Progress | None
    rankings: Sequence[Table]
    rows_read: int | None
    times: Times
    timings: Sequence[Named]
    request: Sequence[Named]
    files: Sequence[RecordedFile]
    checks: Sequence[Check]
    checks_summary: Wording
    checks_tone: Tone
    not_succeeded: Sequence[RowShown]
    not_succeeded_count: int | None


def report_of(
    facts: Mapping[str, Any],
    tally: Tally | None,
    files: Sequence[RecordedFile] = (),
    row_checks: Iterable[Check] = (),
) -> Report:
    """Put the report together. `tally` is None where no rows were given or they could not be read."""
    job = job_of(facts)
    outcome = outcome_of(facts, job)
    badge, tone = verdict(outcome, job)
    compared = [*checks(facts, job, tally), *row_checks, files_unchanged(files)]
    open_points = [*differing(compared), *left_open(facts, outcome, job)]
    checked, checks_tone = summary(compared)
    counted, pieces = _outcomes(job)
    return Report(
        title=text(facts.get("title")) or Wording("Email Security response report"),
        outcome=badge,
        tone=tone,
        sentence=sentence(outcome, job),
        subtitle=_subtitle(facts, job),
        figures=key_figures(facts, job, tally, (checked, checks_tone)),
        found=Bar(Wording("Found"), job.discovered, None),
        outcomes=counted,
        outcome_pieces=pieces,
        done_word=job.done_word,
        alert=_alert(part(facts, "alert")),
        warnings=[words for item in _items(facts.get("warnings")) if (words := text(item))],
        left_open=open_points,
        all_done=not open_points and outcome == "succeeded",
        way_back=way_back(job),
        reasons=_reasons(tally),
        progress=progress_of(job, tally),
        rankings=_rankings(job, tally),
        rows_read=tally.rows if tally else None,
        times=times_of(part(facts, "alert"), job, tally),
        timings=[
            (name, duration(length))
            for name, value in part(facts, "timings").items()
            if (length := seconds(value)) is not None
        ],
        request=_request(part(facts, "request"), job),
        files=files,
        checks=compared,
        checks_summary=checked,
        checks_tone=checks_tone,
        not_succeeded=[_row(row) for row in _not_succeeded(job, tally)],
        not_succeeded_count=tally.not_succeeded_count - (tally.undecided_count if job.running else 0)
        if tally
        else None,
    )


def _not_succeeded(job: Job, tally: Tally | None) -> list[Mapping[str, Any]]:
    """While the job runs, that a message is pending says nothing against it."""
    rows = tally.not_succeeded if tally else []
    return [row for row in rows if row.get("status") not in RUNNING] if job.running else rows


def _not_succeeded_count(job: Job, tally: Tally | None) -> int | None:
    if tally is None:
        return None
    return tally.not_succeeded_count - (tally.undecided_count if job.running else 0)


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else []


def _subtitle(facts: Mapping[str, Any], job: Job) -> list[Named]:
    version = text(facts.get("pack_version"))
    named: list[Named] = [
        (Wording("Job"), job.job_id),
        (Wording("Report made"), point_in_time(facts.get("generated_at"))),
        (Wording("Playbook"), text(facts.get("playbook"))),
        (Wording("Pack version"), version),
    ]
    return [(name, value) for name, value in named if value is not None or name != "Playbook"]


_TONES: dict[str, Tone] = {
    "COMPLETED": GOOD,
    "FAILED": BAD,
    "SKIPPED": WARN,
    "CANCELLED": IDLE,
    "PENDING": BUSY,
}


def _outcomes(job: Job) -> tuple[list[Bar], list[Piece]]:
    names = {
        "COMPLETED": job.done_word.capitalize(),
        "FAILED": "Failed",
        "SKIPPED": "Skipped",
        "CANCELLED": "Cancelled",
        "PENDING": "Pending" if job.running else "Not processed",
    }
    # Of what is counted: were the counters to disagree with the total, the bar still ends at its end.
    whole = sum(number or 0 for number in job.counters.values())
    bars = [
        Bar(
            Wording(name),
            number := job.counters[status],
            None if number is None or not whole else 100 * number / whole,
            _TONES[status],
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
    return [table for table in tables if table.bars]


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


def _alert(alert: Mapping[str, Any]) -> list[Named]:
    if not alert:
        return []
    return [
        (Wording("Alert"), text(alert.get("id"))),
        (Wording("From"), text(alert.get("from"))),
        (Wording("Subject"), text(alert.get("subject"))),
        (Wording("Received"), point_in_time(alert.get("received"))),
    ]


def _request(request: Mapping[str, Any], job: Job) -> list[Named]:
    named: list[Named] = [(Wording("Action"), job.action)]
    if job.action != "RELEASE":
        named.append((Wording("Destination"), job.destination))
    search = part(request, "search_params")
    named += [(name, text(value)) for name, value in search.items() if text(value) is not None]
    if not search:
        named.append((Wording("Search"), None))
    if request:
        named.append((_marked("Comment", "comment", request), text(request.get("comment")) or Wording("none")))
        named += _wanted_by(request)
    return named


def _wanted_by(request: Mapping[str, Any]) -> list[Named]:
    """Return who asked and who approved. What the job's comment alone says is marked as claimed."""
    approved_by = [name for item in _items(request.get("approved_by")) if (name := text(item)) is not None]
    said: list[Named] = [
        (_marked("Requested by", "requested_by", request), text(request.get("requested_by"))),
        (_marked("Approved by", "approved_by", request), ", ".join(approved_by) or None),
        (_marked("Plan digest", "plan_digest", request), text(request.get("plan_digest"))),
    ]
    if (seal := text(request.get("plan_seal"))) is not None:
        said.append((Wording("Plan's seal"), _SEALS.get(seal, seal)))
    approvals = part(request, "approvals")
    if approvals.get("verified") is True:
        names = ", ".join(name for item in _items(approvals.get("approved_by")) if (name := text(item)) is not None)
        said.append((Wording("Approvals, verified for the time of the job"), names or None))
    elif approvals:
        said.append((Wording("Approvals, not verified"), text(approvals.get("why"))))
    policy = part(request, "policy")
    if policy:
        said.append((Wording("Policy (SHA-256)"), text(policy.get("sha256")) or text(policy.get("why"))))
    if (check := text(part(request, "approval_check").get("why"))) is not None:
        said.append((Wording("Approvals against the policy"), check))
    return [(name, value) for name, value in said if value is not None]


_SEALS = {
    "sealed": Wording("good: preview-job made this plan"),
    "unsealed": Wording("none: nothing proves that preview-job made this plan"),
    "broken": Wording("broken: the plan was edited, or sealed with another key"),
    "unchecked": Wording("not checked: the key was not set where the bundle was made"),
}


def _marked(name: str, field: str, request: Mapping[str, Any]) -> Wording:
    """The name of a field that comes from the job's comment. Where nothing says that it is proved, it is claimed."""
    claimed = request.get("claimed")
    is_claimed = not isinstance(claimed, list | tuple) or field in claimed
    return Wording(f"{name} (claimed)" if is_claimed else f"{name} (recorded by the pack)")


def _row(row: Mapping[str, Any]) -> RowShown:
    message = part(row, "message")
    status = text(row.get("status"))
    return RowShown(
        status=status,
        tone=_TONES.get(status or "", IDLE),
        recipient=text(part(row, "action_params").get("client_recipient")),
        subject=text(message.get("subject")),
        sender=text(message.get("from")),
        reason=text(row.get("status_message")) or Wording("none given"),
        row_id=text(row.get("message_id")),
    )
