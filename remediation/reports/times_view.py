"""When the parts of a response happened, and how long messages took, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.instants import parse_lenient
from remediation.reports.bars import Piece, laid_out
from remediation.reports.durations import RIGHT_TO_PERCENT, Durations
from remediation.reports.facts import Job
from remediation.reports.findings import BUSY, IDLE, Tone
from remediation.reports.tally import Tally
from remediation.reports.time_words import duration, point_in_time
from remediation.reports.wording import Wording

# The phases before a job, before its work, and of its work: none of them is good or bad.
BEFORE = Tone("before")


@dataclass(frozen=True)
class Event:
    """A point in time, and how long after the one before; `tone` is that of its phase in the bar."""

    name: Wording
    when: Wording | str | None
    since: Wording | None
    tone: Tone


@dataclass(frozen=True)
class Measured:
    """How long something took for each message: how many tell, for half of them, for 95 of 100, at most."""

    name: Wording
    messages: int
    half: Wording | None
    most: Wording | None
    longest: Wording | None


@dataclass(frozen=True)
class Times:
    """All times of a response."""

    events: Sequence[Event]
    phases: Sequence[Piece]
    spans: Sequence[tuple[Wording, Wording]]
    measured: Sequence[Measured]
    notes: Sequence[Wording]


def times_of(alert: Mapping[str, Any], job: Job, tally: Tally | None) -> Times:
    """Alert, job and messages. Without an alert it starts with the job."""
    received = parse_lenient(alert.get("received"))
    points = [
        (Wording("Alert received"), received, IDLE),
        (Wording("Job created"), job.created, BEFORE),
        (Wording("Job started"), job.started, IDLE),
        (Wording("Job ended"), job.completed, BUSY),
    ]
    if not alert:
        points = points[1:]
    events, phases = [], []
    previous: datetime | None = None
    for name, when, tone in points:
        if when is None:
            continue
        length = (when - previous).total_seconds() if previous else None
        events.append(Event(name, point_in_time(when), None if length is None else duration(length), tone))
        phases.append((tone, length or 0.0))
        previous = when
    whole = sum(max(length, 0) for _, length in phases)
    if job.running:
        events.append(Event(Wording("Job ended"), Wording("not yet"), None, BUSY))
    spans = []
    if job.total_seconds is not None and job.started:
        spans.append((Wording("Job, created to ended"), duration(job.total_seconds)))
    if received and job.completed:
        spans.append((Wording("Alert received to job ended"), duration((job.completed - received).total_seconds())))
    measured = [(name, durations) for name, durations in _measures(job, tally) if durations.count]
    return Times(
        events=events,
        phases=laid_out(phases, whole) if whole else [],
        spans=spans,
        measured=[_measured(name, durations) for name, durations in measured],
        notes=_notes(_measures(job, tally)),
    )


def remediation(job: Job) -> Wording:
    """What the time from a message's scan to its handling is called: remediation only where mail was taken away."""
    return Wording("Time to release" if job.action == "RELEASE" else "Time to remediate")


def _measures(job: Job, tally: Tally | None) -> list[tuple[Wording, Durations]]:
    if tally is None:
        return []
    return [
        (Wording("Scanned to job created"), tally.scanned_to_created),
        (Wording("Found by the job to processed"), tally.created_to_processed),
        (Wording(f"{remediation(job)}: scanned to {job.done_word}"), tally.scanned_to_done),
    ]


def _measured(name: Wording, durations: Durations) -> Measured:
    half, most, longest = durations.percentile(50), durations.percentile(95), durations.longest
    return Measured(
        name,
        durations.count,
        None if half is None else duration(half),
        None if most is None else duration(most),
        None if longest is None else duration(longest),
    )


def _notes(measured: Sequence[tuple[Wording, Durations]]) -> list[Wording]:
    told = [durations for _, durations in measured if durations.count]
    notes = []
    if sum(durations.count for durations in told) == len(told):
        # One message each: there is no half of them.
        pass
    elif told and all(durations.exact for durations in told):
        notes.append("p50 and p95 are exact, by nearest rank over the rows read, and rounded only to be shown.")
    elif told:
        names = "; ".join(name for name, durations in measured if not durations.exact)
        notes.append(
            f"p50 and p95 are by nearest rank over the rows read. Because of too many different values they are right "
            f"to {RIGHT_TO_PERCENT:g} % for: {names}. All others, and every longest, are exact."
        )
    notes += [
        f"Not counted in “{name}”, because it would be less than nothing: {durations.backwards:,}."
        for name, durations in measured
        if durations.backwards
    ]
    return [Wording(note) for note in notes]
