"""A job's progress over time: a chart's shapes, and the same in numbers for who can't see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.quantity import counted
from remediation.reports.facts import Job
from remediation.reports.findings import BAD, GOOD, IDLE, Tone
from remediation.reports.tally import Tally
from remediation.reports.time_words import duration, point_in_time
from remediation.reports.timeline import Through, Timeline, milliseconds
from remediation.reports.wording import Wording

# The chart's own measures, stretched to whatever room there is; it is drawn 150 px high.
WIDTH, HEIGHT = 1000, 100
# A band with a message in it is at least 2 px high.
_LOWEST = HEIGHT * 2 / 150
# With fewer messages a chart shows less than the sentence above it.
FEWEST_FOR_A_CHART = 10
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
    """The progress of a job. Without `areas` there is no span of time, or too few messages, for a chart or a table.

    whole: all messages that were discovered. untimed: those that are through without a time.
    """

    sentence: Wording
    whole: int
    untimed: int
    areas: Sequence[Area]
    ticks: Sequence[Tick]
    moments: Sequence[Moment]
    columns: Sequence[Wording]
    notes: Sequence[Wording]

    @property
    def untimed_height(self) -> Wording:
        """How much of the chart is for those without a time, from its top."""
        return Wording(f"{100 * self.untimed / self.whole:.2f}%")

    def numbers(self, moment: Moment) -> list[int]:
        """One number for each of the columns."""
        done, failed, other = moment.through
        found = {_FAILED: failed, _OTHER: other, _TO_DO: moment.left}
        return [found.get(column, done) for column in self.columns]


def progress_of(job: Job, tally: Tally | None) -> Progress | None:
    """Progress by the rows' `processed_at`; None where no row has one."""
    if tally is None or tally.timeline.first is None or tally.timeline.last is None:
        return None
    timeline = tally.timeline
    origin, end, from_job = _span(job, timeline.first or 0, timeline.last or 0)
    through = next(timeline.at([end]))
    whole = max(job.discovered or 0, tally.rows, through.total + timeline.untimed)
    pending = job.counters["PENDING"]
    to_do = min(tally.undecided_count if pending is None else pending, whole - through.total)
    untimed = whole - through.total - to_do
    span = end - origin
    ticks = _tick_offsets(span)
    sentence = _sentence(timeline, origin, through.total, whole, "after the job was created" if from_job else None)
    offsets = [*ticks[1:], span]
    drawn = span > 0 and through.total >= FEWEST_FOR_A_CHART
    moments = [
        Moment(duration(offset / 1000), _clock(origin + offset), then, whole - untimed - then.total)
        for offset, then in zip(offsets, timeline.at(origin + offset for offset in offsets), strict=True)
    ]
    return Progress(
        sentence=sentence,
        whole=whole,
        untimed=untimed,
        areas=_areas(job, timeline, origin, span, whole) if drawn else [],
        ticks=[_tick(offset, span) for offset in ticks],
        moments=moments,
        columns=_columns(job, moments),
        notes=_notes(timeline, untimed, from_job=from_job),
    )


_FAILED, _OTHER, _TO_DO = Wording("Failed"), Wording("Skipped, cancelled"), Wording("Still to do")


def _columns(job: Job, moments: Sequence[Moment]) -> list[Wording]:
    """The table's columns: none that is 0 at every moment, but what was done and what was left."""
    failed, other = (any(moment.through[band] for moment in moments) for band in (1, 2))
    return [
        Wording(job.done_word.capitalize()),
        *([_FAILED] if failed else []),
        *([_OTHER] if other else []),
        _TO_DO,
    ]


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
        of = f"all {whole:,}"
    longest = duration((last - origin) / 1000)
    if through == 1:
        opening = "The one message" if whole == 1 else f"1 of {counted(whole, 'message')}"
        return Wording(f"{opening} was through {longest} {since}." if since else f"{opening} was through.")
    if since is None:
        return Wording(f"From the first message to the last of {of}: {longest}.")
    half = duration((_when_through(timeline, origin, (through + 1) // 2) - origin) / 1000)
    if through == 2 and whole == 2:
        return Wording(f"The first message was through {half} {since}, and the second after {longest}.")
    if through < whole:
        return Wording(
            f"{through:,} of {counted(whole, 'message')} were through {longest} {since}, half of those after {half}."
        )
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
    heights = [_band_heights(state, whole) for state in states]
    # Each band reaches down to the axis and is painted over by those below it.
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


def _band_heights(through: Through, whole: int) -> list[float]:
    """How high each band is drawn: none that is there too low to be seen. The highest yields where that is too much."""
    heights = [max(HEIGHT * number / whole, _LOWEST) if number else 0.0 for number in through]
    over = sum(heights) - HEIGHT
    if over > 0:
        heights[heights.index(max(heights))] -= over
    return heights


def _steps(tops: Sequence[float]) -> Wording:
    """A closed staircase: it rises where messages got through, nowhere else."""
    path, before = [f"M0 {HEIGHT}"], 0.0
    for column, top in enumerate(tops):
        if top != before:
            path.append(f"H{column * WIDTH / _COLUMNS:g}V{HEIGHT - top:.2f}")
            before = top
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


def _notes(timeline: Timeline, untimed: int, *, from_job: bool) -> list[Wording]:
    notes = []
    if not from_job:
        notes.append("Counted from the first message: when the job was created is not known, or it is later.")
    if untimed:
        notes.append(f"Without a time, because no row says when: {counted(untimed, 'message')}.")
    if timeline.slot_ms > 1000:
        notes.append(f"Times here are right to {duration(timeline.slot_ms / 1000)}.")
    return [Wording(note) for note in notes]
