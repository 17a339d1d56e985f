"""Times of a response: its events, and how long messages took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.instants import parse_lenient
from core.quantity import counted
from remediation.reports.durations import ACCURACY_PERCENT, Durations
from remediation.reports.facts import Job, duration, point_in_time
from remediation.reports.own_words import Wording
from remediation.reports.tally import Tally


@dataclass(frozen=True)
class Event:
    """A point in time, and the time since the previous event."""

    name: Wording
    when: Wording | str | None
    since: Wording | None


@dataclass(frozen=True)
class Measured:
    """A duration over messages: how many messages have it, the median, the 95th percentile and the maximum."""

    name: Wording
    messages: int
    p50: Wording | None
    p95: Wording | None
    longest: Wording | None


@dataclass(frozen=True)
class Times:
    """All times of a response."""

    events: Sequence[Event]
    spans: Sequence[tuple[Wording, Wording]]
    measured: Sequence[Measured]
    notes: Sequence[Wording]


def times_of(alert: Mapping[str, Any], job: Job, tally: Tally | None) -> Times:
    """Return the times of alert, job and messages. Without an alert the first event is the job's creation."""
    received = parse_lenient(alert.get("received"))
    points = {"Alert received": received, "Job created": job.created, "Job started": job.started}
    events = []
    previous: datetime | None = None
    for name, when in {**points, "Job ended": job.completed}.items():
        if when is not None:
            since = duration((when - previous).total_seconds()) if previous else None
            events.append(Event(Wording(name), point_in_time(when), since))
            previous = when
    if job.running:
        events.append(Event(Wording("Job ended"), Wording("not yet"), None))
    spans = []
    if job.total_seconds is not None and job.started:
        spans.append((Wording("Job created to ended"), duration(job.total_seconds)))
    if received and job.completed:
        spans.append((Wording("Alert received to job ended"), duration((job.completed - received).total_seconds())))
    measures = [] if tally is None else _measures(job, tally)
    measured = [_measured(name, durations) for name, durations in measures if durations.count]
    return Times(events, spans, measured, _notes(measures))


def remediation(job: Job) -> Wording:
    """Return the name of the time from a message's scan to the end of its row."""
    return Wording("Time to release" if job.action == "RELEASE" else "Time to remediate")


def _measures(job: Job, tally: Tally) -> list[tuple[Wording, Durations]]:
    return [
        (Wording("Scanned to job created"), tally.scanned_to_created),
        (Wording("Found to processed"), tally.created_to_processed),
        (Wording(f"{remediation(job)}: scanned to {job.done_word}"), tally.scanned_to_done),
    ]


def _measured(name: Wording, durations: Durations) -> Measured:
    seconds = durations.percentile(50), durations.percentile(95), durations.longest
    return Measured(name, durations.count, *(None if length is None else duration(length) for length in seconds))


def _notes(measures: Sequence[tuple[Wording, Durations]]) -> list[Wording]:
    inexact = [name for name, durations in measures if not durations.exact]
    notes = []
    if inexact:
        notes.append(
            f"p50 and p95 use the nearest rank over the rows read. They are accurate to {ACCURACY_PERCENT:g} %, "
            f"because there are too many different values, for: {'; '.join(inexact)}. All other durations, and every "
            "longest one, are exact."
        )
    elif any(durations.count > 1 for _, durations in measures):
        notes.append("p50 and p95 are exact (nearest rank over the rows read) and rounded for display.")
    for name, durations in measures:
        if durations.backwards:
            notes.append(f"“{name}” leaves out {counted(durations.backwards, 'negative duration')}.")
    return [Wording(note) for note in notes]
