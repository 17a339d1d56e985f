"""A job's progress over time: the shapes of a chart, and a table with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.quantity import counted
from remediation.reports.facts import Job, duration, point_in_time
from remediation.reports.own_words import Wording
from remediation.reports.tally import Tally
from remediation.reports.timeline import Processed, Timeline, milliseconds
from remediation.reports.verdict import BAD, GOOD, IDLE, Tone

# The chart's own units. The page stretches it to the available width and to 150 px of height.
WIDTH, HEIGHT = 1000, 100
# A band with a message in it is at least 2 px high.
_LOWEST = HEIGHT * 2 / 150
# With fewer messages, the sentence above the chart shows as much as the chart would.
FEWEST_FOR_A_CHART = 10
_COLUMNS = 250
_MOST_TICKS = 5
# Seconds between two ticks of the time axis: round numbers.
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
    """A tick of the time axis; `anchor` keeps its label inside the chart."""

    place: Wording
    label: Wording
    anchor: Wording


@dataclass(frozen=True)
class Moment:
    """The job's progress at one moment, `after` the job was created or the first message was processed."""

    after: Wording
    at: Wording | str | None
    processed: Processed
    remaining: int


@dataclass(frozen=True)
class Progress:
    """The progress of a job. `areas` is empty if the time span or the number of messages is too small for a chart.

    total: all discovered messages. untimed: processed messages without a time.
    """

    sentence: Wording
    total: int
    untimed: int
    areas: Sequence[Area]
    ticks: Sequence[Tick]
    moments: Sequence[Moment]
    columns: Sequence[Wording]
    notes: Sequence[Wording]

    @property
    def untimed_height(self) -> Wording:
        """Return the height of the chart's upper part, which stands for messages without a time."""
        return Wording(f"{100 * self.untimed / self.total:.2f}%")

    def numbers(self, moment: Moment) -> list[int]:
        """Return one number for each column."""
        done, failed, other = moment.processed
        found = {_FAILED: failed, _OTHER: other, _REMAINING: moment.remaining}
        return [found.get(column, done) for column in self.columns]


def progress_of(job: Job, tally: Tally | None) -> Progress | None:
    """Return the progress by the rows' `processed_at`; None if no row has one."""
    if tally is None or tally.timeline.first is None or tally.timeline.last is None:
        return None
    timeline = tally.timeline
    origin, end, from_job = _span(job, tally.timeline.first, tally.timeline.last)
    processed = next(timeline.at([end]))
    total = max(job.discovered or 0, tally.rows, processed.total + timeline.untimed)
    pending = job.counters["PENDING"]
    remaining = min(tally.pending_count if pending is None else pending, total - processed.total)
    untimed = total - processed.total - remaining
    span = end - origin
    ticks = _tick_offsets(span)
    offsets = [*ticks[1:], span]
    drawn = span > 0 and processed.total >= FEWEST_FOR_A_CHART
    moments = [
        Moment(
            duration(offset / 1000),
            point_in_time(datetime.fromtimestamp((origin + offset) / 1000, UTC)),
            then,
            total - untimed - then.total,
        )
        for offset, then in zip(offsets, timeline.at(origin + offset for offset in offsets), strict=True)
    ]
    return Progress(
        sentence=_sentence(timeline, origin, processed.total, total, from_job=from_job),
        total=total,
        untimed=untimed,
        areas=_areas(job, timeline, origin, span, total) if drawn else [],
        ticks=[_tick(offset, span) for offset in ticks],
        moments=moments,
        columns=_columns(job, moments),
        notes=_notes(timeline, untimed, from_job=from_job),
    )


_FAILED, _OTHER, _REMAINING = Wording("Failed"), Wording("Skipped, cancelled"), Wording("Remaining")


def _columns(job: Job, moments: Sequence[Moment]) -> list[Wording]:
    """Return the table's columns: done, remaining, and each other one that is not 0 at every moment."""
    shown = [name for band, name in ((1, _FAILED), (2, _OTHER)) if any(moment.processed[band] for moment in moments)]
    return [Wording(job.done_word.capitalize()), *shown, _REMAINING]


def _span(job: Job, first: int, last: int) -> tuple[int, int, bool]:
    created = milliseconds(job.created) if job.created else None
    ended = milliseconds(job.completed) if job.completed else last
    # Clocks may differ. The chart must still contain every message.
    if created is None or created > first:
        return first, max(last, ended), False
    return created, max(last, ended), True


def _sentence(timeline: Timeline, origin: int, processed: int, total: int, *, from_job: bool) -> Wording:
    last = timeline.last or origin
    longest = duration((last - origin) / 1000)
    if processed == 1:
        opening = "The one message" if total == 1 else f"1 of {counted(total, 'message')}"
        return Wording(f"{opening} was processed{f' {longest} after the job was created' if from_job else ''}.")
    if not from_job:
        of = "all" if processed == total else f"{processed:,} of"
        return Wording(f"Processing {of} {counted(total, 'message')} took {longest} from the first to the last.")
    half = duration((_time_of(timeline, origin, (processed + 1) // 2) - origin) / 1000)
    if processed == 2 and total == 2:
        return Wording(
            f"The first message was processed {half} after the job was created, and the second after {longest}."
        )
    if processed < total:
        return Wording(
            f"{processed:,} of {counted(total, 'message')} were processed within {longest} of the job's creation, half "
            f"of those within {half}."
        )
    return Wording(
        f"Half of the messages were processed within {half} of the job's creation, and all {total:,} within {longest}."
    )


def _time_of(timeline: Timeline, origin: int, number: int) -> int:
    """Return the first millisecond at which this number of messages was processed, to a slot's width."""
    low, high = origin, timeline.last or origin
    while low < high:
        middle = (low + high) // 2
        if next(timeline.at([middle])).total >= number:
            high = middle
        else:
            low = middle + 1
    return low


def _areas(job: Job, timeline: Timeline, origin: int, span: int, total: int) -> list[Area]:
    columns = [origin + round(span * column / _COLUMNS) for column in range(_COLUMNS + 1)]
    states = list(timeline.at(columns))
    heights = [_band_heights(state, total) for state in states]
    # Each band reaches down to the axis; the bands below cover its lower part.
    bands = [
        ("Skipped or cancelled", IDLE, [done + failed + other for done, failed, other in heights], 2),
        ("Failed", BAD, [done + failed for done, failed, _ in heights], 1),
        (job.done_word.capitalize(), GOOD, [done for done, _, _ in heights], 0),
    ]
    return [
        Area(Wording(name), tone, _steps(tops))
        for name, tone, tops, band in bands
        if any(state[band] for state in states)
    ]


def _band_heights(processed: Processed, total: int) -> list[float]:
    """Return the height of each band. Each is high enough to see; the highest one shrinks if the sum is too high."""
    heights = [max(HEIGHT * number / total, _LOWEST) if number else 0.0 for number in processed]
    over = sum(heights) - HEIGHT
    if over > 0:
        heights[heights.index(max(heights))] -= over
    return heights


def _steps(tops: Sequence[float]) -> Wording:
    """Return the path of a closed staircase. It rises only where messages were processed."""
    path, before = [f"M0 {HEIGHT}"], 0.0
    for column, top in enumerate(tops):
        if top != before:
            path.append(f"H{column * WIDTH / _COLUMNS:g}V{HEIGHT - top:.2f}")
            before = top
    return Wording("".join([*path, f"H{WIDTH}V{HEIGHT}Z"]))


def _tick_offsets(span: int) -> list[int]:
    """Return the milliseconds from the start to each tick, including the start and excluding the end."""
    step = next((seconds for seconds in _INTERVALS if span <= seconds * 1000 * _MOST_TICKS), None)
    if step is None:
        step = -(-span // (1000 * _MOST_TICKS * _INTERVALS[-1])) * _INTERVALS[-1]
    return list(range(0, span, step * 1000)) if span > 0 else []


def _tick(offset: int, span: int) -> Tick:
    percent = 100 * offset / span
    anchor = "start" if percent < 5 else "end" if percent > 90 else "middle"
    return Tick(Wording(f"{percent:.2f}%"), _brief(offset // 1000), Wording(anchor))


def _brief(seconds: int) -> Wording:
    """Return a round duration in few letters: `0`, `30 s`, `2 min`, `1 h 30`, `3 d`."""
    if seconds < 60 or (seconds < 600 and seconds % 60):
        return Wording(f"{seconds} s" if seconds else "0")
    if seconds < 3600:
        return Wording(f"{seconds // 60} min")
    if seconds % 3600:
        return Wording(f"{seconds // 3600} h {seconds % 3600 // 60}")
    return Wording(f"{seconds // 3600} h" if seconds % 86_400 else f"{seconds // 86_400:,} d")


def _notes(timeline: Timeline, untimed: int, *, from_job: bool) -> list[Wording]:
    notes = []
    if not from_job:
        notes.append("Times count from the first message, because the job's creation time is not known or later.")
    if untimed:
        notes.append(f"{counted(untimed, 'message has', 'messages have')} no processing time in the rows.")
    if timeline.slot_ms > 1000:
        notes.append(f"Times in this section are accurate to {duration(timeline.slot_ms / 1000)}.")
    return [Wording(note) for note in notes]
