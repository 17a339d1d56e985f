"""Tables of a report: messages by outcome, by reason and by value, each with its share; and the outcome bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from remediation.reports.facts import DESTINATIONS, Job
from remediation.reports.own_words import Wording
from remediation.reports.ranking import DISTINCT_LIMIT, Ranking
from remediation.reports.row_groups import TONES
from remediation.reports.tally import Tally
from remediation.reports.verdict import IDLE, Tone

RANKING_LIMIT = 10

# Percent of the complete bar: one message in a million is still 2 px wide in the narrowest bar on a phone.
_SHORTEST = 1.6


class Piece(NamedTuple):
    """A part of the outcome bar in one tone; start and length as SVG percentages."""

    tone: Tone
    start: Wording
    length: Wording


@dataclass(frozen=True)
class Line:
    """A line of a table: a name, a number of messages and their share in percent.

    not_done: how many of the messages did not succeed.
    """

    name: Wording | str
    rows: int | None
    percent: float | None
    tone: Tone = IDLE
    not_done: int | None = None

    @property
    def share(self) -> Wording | None:
        """Return the share as words: never 0 percent for some messages, never 100 percent for less than all."""
        if self.percent is None:
            return None
        if 0 < self.percent < 0.1:
            return Wording("under 0.1 %")
        if 99.9 < self.percent < 100:
            return Wording("over 99.9 %")
        return Wording(f"{self.percent:.0f} %" if self.percent in {0, 100} else f"{self.percent:.1f} %")


@dataclass(frozen=True)
class Table:
    """A ranking under its heading, which is also the name of its first column."""

    heading: Wording
    lines: Sequence[Line]
    note: Wording | None


def outcome_lines(job: Job) -> tuple[list[Line], list[Piece]]:
    """Return the job's counters as lines and as the pieces of the outcome bar; both empty if nothing was counted."""
    names = {"COMPLETED": job.done_word.capitalize(), "PENDING": "Pending" if job.running else "Not processed"}
    # The sum, not the job's total: the bar is full even if the two differ.
    total = sum(number or 0 for number in job.counters.values())
    if not total and not job.discovered:
        return [], []
    lines = [
        Line(
            Wording(names.get(status, status.capitalize())),
            number,
            None if number is None or not total else 100 * number / total,
            TONES[status],
        )
        for status, number in job.counters.items()
    ]
    return lines, lay_out([(line.tone, line.rows or 0) for line in lines], total) if total else []


def lay_out(parts: Iterable[tuple[Tone, float]], total: float) -> list[Piece]:
    """Return the parts side by side, in percent of `total`. Each is wide enough to see; the longest one shrinks."""
    lengths = [(tone, number, max(100 * number / total, _SHORTEST)) for tone, number in parts if number > 0]
    over = sum(length for *_, length in lengths) - 100.0
    most = max((number for _, number, _ in lengths), default=0)
    pieces, start = [], 0.0
    for tone, number, length in lengths:
        drawn = length
        if over > 0 and number == most:
            drawn, over = length - over, 0.0
        pieces.append(Piece(tone, Wording(f"{start:.2f}%"), Wording(f"{drawn:.2f}%")))
        start += drawn
    return pieces


def reason_tables(tally: Tally | None) -> list[Table]:
    """Return why messages failed and were skipped. A single reason has no table: the open item names it."""
    if tally is None:
        return []
    none_given = Wording("no reason given")
    tables = [
        _table(Wording("Why messages failed"), tally.failure_reasons, none_given),
        _table(Wording("Why messages were skipped"), tally.skip_reasons, none_given),
    ]
    return [table for table in tables if len(table.lines) > 1]


def value_tables(job: Job, tally: Tally | None) -> list[Table]:
    """Return the messages by recipient domain, verdict and destination."""
    if tally is None:
        return []
    tables = [
        _table(Wording("Recipient's domain"), tally.recipient_domains, Wording("no recipient known")),
        _table(Wording("Verdict"), tally.dispositions, Wording("not known")),
    ]
    # A release has no destination: each message goes to its recipient.
    if job.action != "RELEASE":
        tables.append(_table(Wording("Destination"), tally.destinations, Wording("not known"), DESTINATIONS))
    return tables


def _table(heading: Wording, ranking: Ranking, absent: Wording, known: Mapping[str, Wording] | None = None) -> Table:
    lines = []
    for share in ranking.top(RANKING_LIMIT):
        if share.others:
            name: Wording | str = Wording("all others")
        elif share.name is None:
            name = absent
        else:
            name = (known or {}).get(share.name, share.name)
        lines.append(Line(name, share.rows, 100 * share.rows / ranking.total, not_done=share.rows - share.done))
    note = None
    if not ranking.exact:
        note = Wording(
            f"More than {DISTINCT_LIMIT:,} different values: the first {DISTINCT_LIMIT:,} are counted exactly, the "
            "rest count as “all others”."
        )
    return Table(heading, lines, note)
