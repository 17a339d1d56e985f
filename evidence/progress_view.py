"""A job's progress over time: a chart's shapes, and the same in numbers for who can't see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from evidence.findings import BAD, GOOD, IDLE, Tone
from evidence.report_facts import Job
from evidence.tally import Tally
from evidence.time_words import duration, point_in_time
from evidence.timeline import Through, Timeline, milliseconds
from evidence.wording import Wording

# The chart's own measures, stretched to whatever room there is.
WIDTH, HEIGHT = 1000, 100
_COLUMNS = 250
_MOST_TICKS = 5
# Seconds between two marks on the axis of time, so that they fall on round numbers.
_INTERVALS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip


@dataclass(frozen=True)
class Area:
    """One band of the chart as an SVG path."""

    name: Wording
    tone: Tone
    path: Wording


@dataclass(frozen=True)
class Tick:
    """A mark on the axis of time; `anchor` keeps its label inside the chart."""

    place: Wording
    label: Wording
    anchor: Wording


@dataclass(frozen=True)
class Moment:
    """How far the job was at one moment, `after` the job was created or the first message was through."""

    after: Wording
    at: Wording | str | None
    through: Through
    left: int


@dataclass(frozen=True)
class Progress:
    """The progress of a job. Without `areas` there is no span of time to draw."""

    sentence: Wording
    whole: int
    areas: Sequence[Area]
    ticks: Sequence[Tick]
    moments: Sequence[Moment]
    notes: Sequence[Wording]


def progress_of(job: Job, tally: Tally | None) -> Progress | None:
    """Progress by the rows' `processed_at`; None where no row has one."""
    if tally is None or tally.timeline.first is None or tally.timeline.last is None:
        return None
    timeline = tally.timeline
    origin, end, from_job = _span(job, timeline.first or 0, timeline.last or 0)
    through = next(timeline.at([end]))
    # A row that is through, but not when, is neither drawn nor still to do.
    whole = max(max(job.discovered or 0, tally.rows) - timeline.untimed, through.total)
    span = end - origin
    ticks = _tick_offsets(span)
    sentence = _sentence(timeline, origin, through.total, whole, "after the job was created" if from_job else None)
    offsets = [*ticks[1:], span]
    moments = [
        Moment(duration(offset / 1000), _clock(origin + offset), then, whole - then.total)
        for offset, then in zip(offsets, timeline.at(origin + offset for offset in offsets), strict=True)
    ]
    return Progress(
        sentence=sentence,
        whole=whole,
        areas=_areas(job, timeline, origin, span, whole) if span > 0 else [],
        ticks=[_tick(offset, span) for offset in ticks],
        moments=moments,
        notes=_notes(timeline, from_job=from_job),
    )


def _span(job: Job, first: int, last: int) -> tuple[int, int, bool]:
    created = milliseconds(job.created) if job.created else None
    ended = milliseconds(job.completed) if job.completed else last
    # Clocks may differ: nothing of the job is left of the chart, or right of it.
    if created is None or created > first:
        return first, max(last, ended), False
    return created, max(last, ended), True


def _sentence(timeline: Timeline, origin: int, through: int, whole: int, since: str | None) -> Wording:
    last = timeline.last or origin
    of = f"{through:,} of {whole:,}"
    if through == whole:
        of = f"the {whole:,} that say when" if timeline.untimed else f"all {whole:,}"
    longest = duration((last - origin) / 1000)
    if through == 1:
        opening = "The one message" if whole == 1 else f"1 of {whole:,} messages"
        return Wording(f"{opening} was through {longest} {since}." if since else f"{opening} was through.")
    if since is None:
        return Wording(f"From the first message to the last of {of}: {longest}.")
    half = duration((_when_through(timeline, origin, (through + 1) // 2) - origin) / 1000)
    if through < whole:
        return Wording(f"{of} messages were through {longest} {since}, half of those after {half}.")
    return Wording(f"Half of the messages were through {half} {since}, and {of} after {longest}.")


def _when_through(timeline: Timeline, origin: int, number: int) -> int:
    """The first millisecond at which so many were through, to a slot's width."""
    low, high = origin, timeline.last or origin
    while low < high:
        middle = (low + high) // 2
        if next(timeline.at([middle])).total >= number:
            high = middle
        else:
            low = middle + 1
    return low


def _areas(job: Job, timeline: Timeline, origin: int, span: int, whole: int) -> list[Area]:
    columns = [origin + round(span * column / _COLUMNS) for column in range(_COLUMNS + 1)]
    states = list(timeline.at(columns))
    # Each band reaches down to the axis and is painted over by those below it.
    bands = [
        ("Skipped or cancelled", IDLE, [state.total for state in states], any(state.other for state in states)),
        ("Failed", BAD, [state.done + state.failed for state in states], any(state.failed for state in states)),
        (job.done_word.capitalize(), GOOD, [state.done for state in states], any(state.done for state in states)),
    ]
    return [Area(Wording(name), tone, _steps(heights, whole)) for name, tone, heights, there in bands if there]


def _steps(heights: Sequence[int], whole: int) -> Wording:
    """A closed staircase: it rises where messages got through, nowhere else."""
    path, before = [f"M0 {HEIGHT}"], 0
    for column, height in enumerate(heights):
        if height != before:
            path.append(f"H{column * WIDTH / _COLUMNS:g}V{HEIGHT - HEIGHT * height / whole:.2f}")
            before = height
    return Wording("".join([*path, f"H{WIDTH}V{HEIGHT}Z"]))


def _tick_offsets(span: int) -> list[int]:
    """Milliseconds from the start to each mark, the start itself among them; the end is not."""
    step = next((seconds for seconds in _INTERVALS if span <= seconds * 1000 * _MOST_TICKS), None)
    if step is None:
        step = -(-span // (1000 * _MOST_TICKS * _INTERVALS[-1])) * _INTERVALS[-1]
    return list(range(0, span, step * 1000)) if span > 0 else []


def _tick(offset: int, span: int) -> Tick:
    percent = 100 * offset / span
    anchor = "start" if percent < 5 else "end" if percent > 90 else "middle"
    return Tick(Wording(f"{percent:.2f}%"), _brief(offset // 1000), Wording(anchor))


def _brief(seconds: int) -> Wording:
    """Round durations in few letters: `0`, `30 s`, `2 min`, `1 h 30`, `3 d`."""
    if seconds == 0:
        return Wording("0")
    if seconds < 60 or (seconds < 600 and seconds % 60):
        return Wording(f"{seconds} s")
    if seconds < 3600:
        return Wording(f"{seconds // 60} min")
    if seconds % 3600:
        return Wording(f"{seconds // 3600} h {seconds % 3600 // 60}")
    if seconds % 86_400:
        return Wording(f"{seconds // 3600} h")
    return Wording(f"{seconds // 86_400:,} d")


def _clock(moment: int) -> Wording | str | None:
    try:
        return point_in_time(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment))
    except OverflowError:
        return None


def _notes(timeline: Timeline, *, from_job: bool) -> list[Wording]:
    notes = []
    if not from_job:
        notes.append("Counted from the first message: when the job was created is not known, or it is later.")
    if timeline.untimed:
        notes.append(f"Messages whose rows do not say when they were through, not counted here: {timeline.untimed:,}.")
    if timeline.slot_ms > 1000:
        notes.append(f"Times here are right to {duration(timeline.slot_ms / 1000)}.")
    return [Wording(note) for note in notes]
