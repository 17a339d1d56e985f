"""The figures at a report's top: how long it took, and whether the evidence can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.instants import parse_lenient
from core.quantity import counted
from remediation.reports.durations import Durations
from remediation.reports.facts import Job, count, part
from remediation.reports.findings import BAD, BUSY, GOOD, IDLE, Tone
from remediation.reports.tally import Tally
from remediation.reports.time_words import duration
from remediation.reports.times_view import remediation
from remediation.reports.wording import Wording


@dataclass(frozen=True)
class Figure:
    """A number that is looked for first, with what it says more exactly."""

    name: Wording
    value: Wording | None
    note: Wording | None
    tone: Tone = IDLE


def key_figures(facts: Mapping[str, Any], job: Job, tally: Tally | None, checked: tuple[Wording, Tone]) -> list[Figure]:
    """Time to remediate, the job's duration, and whether the evidence holds. `checked` sums up the checks."""
    said, checks_tone = checked
    export = part(facts, "export")
    rows, expected = count(export.get("written")), count(export.get("expected"))
    had = None if rows is None else counted(rows, "row")
    if rows is not None and expected is not None:
        had = f"{rows:,} of {counted(expected, 'row')}"
    complete = export.get("complete")
    evidence: tuple[Wording | None, Tone] = (None, IDLE)
    if isinstance(complete, bool):
        evidence = (Wording("Complete"), GOOD) if complete else (Wording("Not complete"), BAD)
    if job.running:
        evidence = (Wording("So far"), BUSY)
    if checks_tone == BAD and (complete is not False or job.running):
        evidence = (Wording("Does not agree"), BAD)
    taken = tally.scanned_to_done if tally else None
    half, most = (taken.percentile(50), taken.percentile(95)) if taken else (None, None)
    received = parse_lenient(part(facts, "alert").get("received"))
    response = (job.completed - received).total_seconds() if job.completed and received else None
    figures = [
        Figure(remediation(job), None if half is None else duration(half), _time_taken(taken, most, job)),
        Figure(
            Wording("Job took"),
            None if job.total_seconds is None else duration(job.total_seconds),
            Wording("created to ended" + ("" if response is None else f"; {duration(response)} after the alert")),
        ),
        Figure(
            Wording("Evidence"),
            evidence[0],
            Wording(f"{had}; {said}" if had else said),
            evidence[1],
        ),
    ]
    # Whether the evidence holds is always said, also that it is not known.
    return [figure for figure in figures if figure.value is not None or figure is figures[-1]]


def _time_taken(taken: Durations | None, most: float | None, job: Job) -> Wording:
    so_far = ", so far" if job.running else ""
    if taken is None or most is None or taken.count == 1:
        return Wording(f"from scan to {job.done_word}, for the one message{so_far}")
    return Wording(f"from scan, for half of the messages; {duration(most)} for 95 of 100{so_far}")
