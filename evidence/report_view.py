"""A report's contents, section by section, as the templates show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evidence.findings import BAD, BUSY, GOOD, IDLE, WARN, Open, Tone, left_open, sentence, verdict
from evidence.integrity import Check, checks
from evidence.report_facts import Job, count, job_of, outcome_of, part, seconds, text
from evidence.tally import Ranking, Tally, instant
from evidence.time_words import duration, point_in_time
from evidence.wording import Wording

RANKING_LIMIT = 10

Named = tuple[Wording | str, object]


@dataclass(frozen=True)
class Bar:
    """A name with a number and its share of the whole in percent, from `start` on."""

    name: Wording | str
    rows: int | None
    percent: float | None
    tone: Tone = IDLE
    start: float = 0.0

    @property
    def share(self) -> Wording | None:
        """The share in words; what is there at all is never 0 percent, and what lacks something never 100."""
        if self.percent is None:
            return None
        if 0 < self.percent < 0.1:
            return Wording("under 0.1 %")
        if 99.9 < self.percent < 100:
            return Wording("over 99.9 %")
        return Wording(f"{self.percent:.0f} %" if self.percent in {0, 100} else f"{self.percent:.1f} %")

    @property
    def drawn(self) -> Wording:
        """The bar's length in percent; one message in a million still shows."""
        percent = self.percent or 0
        return Wording(f"{max(percent, 0.6) if percent else 0:.2f}%")

    @property
    def drawn_from(self) -> Wording:
        """Where the bar starts, in percent."""
        return Wording(f"{min(self.start, 99.4):.2f}%")


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
    figures: Sequence[tuple[Wording, object, Tone]]
    outcomes: Sequence[Bar]
    discovered: int | None
    alert: Sequence[Named]
    warnings: Sequence[str]
    left_open: Sequence[Open]
    all_done: bool
    failures: Sequence[Bar]
    domains: Sequence[Bar]
    dispositions: Sequence[Bar]
    rows_read: int | None
    times: Sequence[tuple[Wording, Wording | str | None, Wording | None]]
    spans: Sequence[Named]
    per_message: Wording | None
    timings: Sequence[Named]
    request: Sequence[Named]
    files: Sequence[Mapping[str, object]]
    checks: Sequence[Check]
    not_succeeded: Sequence[RowShown]
    not_succeeded_count: int | None


def report_of(facts: Mapping[str, Any], tally: Tally | None, row_checks: Iterable[Check] = ()) -> Report:
    """Put the report together. `tally` is None where no rows were given or they could not be read."""
    job = job_of(facts)
    outcome = outcome_of(facts, job)
    badge, tone = verdict(outcome, job)
    open_points = list(left_open(facts, outcome, job))
    return Report(
        title=text(facts.get("title")) or Wording("Email Security response report"),
        outcome=badge,
        tone=tone,
        sentence=sentence(outcome, job),
        subtitle=_subtitle(facts, job),
        figures=_figures(job),
        outcomes=_outcomes(job),
        discovered=job.discovered,
        alert=_alert(part(facts, "alert")),
        warnings=[words for item in _items(facts.get("warnings")) if (words := text(item))],
        left_open=open_points,
        all_done=not open_points and outcome == "succeeded",
        failures=_ranked(tally.failure_reasons, Wording("no reason given"), BAD) if tally else [],
        domains=_ranked(tally.recipient_domains, Wording("no recipient known")) if tally else [],
        dispositions=_ranked(tally.dispositions, Wording("not known")) if tally else [],
        rows_read=tally.rows if tally else None,
        times=_times(part(facts, "alert"), job),
        spans=_spans(part(facts, "alert"), job),
        per_message=_per_message(tally),
        timings=[
            (name, duration(length))
            for name, value in part(facts, "timings").items()
            if (length := seconds(value)) is not None
        ],
        request=_request(part(facts, "request"), job),
        files=[_file(file) for file in _items(part(facts, "export").get("files")) if isinstance(file, Mapping)],
        checks=[*checks(facts, job, tally), *row_checks],
        not_succeeded=[_row(row) for row in tally.not_succeeded] if tally else [],
        not_succeeded_count=tally.not_succeeded_count if tally else None,
    )


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


def _figures(job: Job) -> list[tuple[Wording, object, Tone]]:
    counters = job.counters
    stopped = [number for number in (counters["PENDING"], counters["CANCELLED"]) if number is not None]
    total = job.total_seconds
    return [
        (Wording("Found"), job.discovered, IDLE),
        (Wording(job.done_word.capitalize()), counters["COMPLETED"], GOOD if counters["COMPLETED"] else IDLE),
        (Wording("Failed"), counters["FAILED"], BAD if counters["FAILED"] else IDLE),
        (Wording("Skipped"), counters["SKIPPED"], WARN if counters["SKIPPED"] else IDLE),
        (Wording("Pending" if job.running else "Not processed"), sum(stopped) if stopped else None, IDLE),
        (Wording("Duration"), None if total is None else duration(total), IDLE),
    ]


_TONES: dict[str, Tone] = {
    "COMPLETED": GOOD,
    "FAILED": BAD,
    "SKIPPED": WARN,
    "CANCELLED": IDLE,
    "PENDING": BUSY,
}


def _outcomes(job: Job) -> list[Bar]:
    names = {
        "COMPLETED": job.done_word.capitalize(),
        "FAILED": "Failed",
        "SKIPPED": "Skipped",
        "CANCELLED": "Cancelled",
        "PENDING": "Pending",
    }
    # Of what is counted: were the counters to disagree with the total, the bar still ends at its end.
    whole = sum(number or 0 for number in job.counters.values())
    bars, start = [], 0.0
    for status, name in names.items():
        number = job.counters[status]
        percent = None if number is None or not whole else 100 * number / whole
        bars.append(Bar(Wording(name), number, percent, _TONES[status], start))
        start += percent or 0
    return bars


def _ranked(ranking: Ranking, absent: Wording, tone: Tone = IDLE) -> list[Bar]:
    whole = ranking.total
    return [
        Bar(
            Wording("all others") if share.others else absent if share.name is None else share.name,
            share.rows,
            100 * share.rows / whole,
            tone,
        )
        for share in ranking.top(RANKING_LIMIT)
    ]


def _alert(alert: Mapping[str, Any]) -> list[Named]:
    if not alert:
        return []
    return [
        (Wording("Alert"), text(alert.get("id"))),
        (Wording("From"), text(alert.get("from"))),
        (Wording("Subject"), text(alert.get("subject"))),
        (Wording("Received"), point_in_time(alert.get("received"))),
    ]


def _times(alert: Mapping[str, Any], job: Job) -> list[tuple[Wording, Wording | str | None, Wording | None]]:
    points = [
        (Wording("Alert received"), instant(alert.get("received"))),
        (Wording("Job created"), job.created),
        (Wording("Job started"), job.started),
        (Wording("Job ended"), job.completed),
    ]
    if not alert:
        points = points[1:]
    shown: list[tuple[Wording, Wording | str | None, Wording | None]] = []
    previous: datetime | None = None
    for name, when in points:
        since = duration((when - previous).total_seconds()) if when and previous else None
        shown.append((name, point_in_time(when), since))
        previous = when or previous
    return shown


def _spans(alert: Mapping[str, Any], job: Job) -> list[Named]:
    spans: list[Named] = [
        (Wording("Job, created to ended"), None if job.total_seconds is None else duration(job.total_seconds))
    ]
    received = instant(alert.get("received"))
    if received and job.completed:
        spans.append((Wording("Alert received to job ended"), duration((job.completed - received).total_seconds())))
    return spans


def _per_message(tally: Tally | None) -> Wording | None:
    if tally is None:
        return None
    half, most = tally.durations.percentile(50), tally.durations.percentile(95)
    if half is None or most is None:
        return None
    return Wording(f"{duration(half)} for half of them, {duration(most)} for 95 of 100")


def _request(request: Mapping[str, Any], job: Job) -> list[Named]:
    named: list[Named] = [(Wording("Action"), job.action)]
    if job.action != "RELEASE":
        named.append((Wording("Destination"), job.destination))
    search = part(request, "search_params")
    named += [(name, text(value)) for name, value in search.items() if text(value) is not None]
    if not search:
        named.append((Wording("Search"), None))
    if request:
        named.append((Wording("Comment"), text(request.get("comment")) or Wording("none")))
    return named


def _file(file: Mapping[str, Any]) -> Mapping[str, object]:
    return {
        "path": text(file.get("path")),
        "format": text(file.get("format")),
        "rows": count(file.get("rows")),
        "bytes": count(file.get("bytes")),
        "sha256": text(file.get("sha256")),
    }


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
