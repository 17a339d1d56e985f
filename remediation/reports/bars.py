"""Numbers as bars: names, shares in words, and where the pieces of a bar lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from remediation.reports.findings import BAD, GOOD, IDLE, Tone
from remediation.reports.ranking import Ranking
from remediation.reports.wording import Wording

RANKING_LIMIT = 10

# Percent of the whole bar: one message in a million still shows, 2 px wide in the narrowest bar on a phone.
_SHORTEST = 1.6


class Piece(NamedTuple):
    """A part of a bar in one tone; start and length as SVG percentages."""

    tone: Tone
    start: Wording
    length: Wording


@dataclass(frozen=True)
class Bar:
    """A name with a number of messages, its share of the whole in percent, and how it is drawn."""

    name: Wording | str
    rows: int | None
    percent: float | None
    tone: Tone = IDLE
    not_done: int | None = None
    pieces: Sequence[Piece] = ()

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


@dataclass(frozen=True)
class Bars:
    """A ranking as it is shown. `exact` is False where some values have no count of their own."""

    bars: Sequence[Bar]
    exact: bool = True


def laid_out(parts: Iterable[tuple[Tone, float]], whole: float) -> list[Piece]:
    """The parts side by side, in percent of `whole`. None that is there is too short to be seen: the longest yields."""
    lengths = [(tone, number, max(100 * number / whole, _SHORTEST)) for tone, number in parts if number > 0]
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


def ranked(
    ranking: Ranking, absent: Wording, tone: Tone | None = None, known: Mapping[str, Wording] | None = None
) -> Bars:
    """A ranking as bars whose track is all rows, in one tone or by what became of the rows."""
    shares = ranking.top(RANKING_LIMIT)
    bars = []
    for share in shares:
        if share.others:
            name: Wording | str = Wording("all others")
        elif share.name is None:
            name = absent
        else:
            name = (known or {}).get(share.name, share.name)
        rest = share.rows - share.done - share.failed
        parts = [(tone, share.rows)] if tone else [(GOOD, share.done), (BAD, share.failed), (IDLE, rest)]
        bars.append(
            Bar(
                name,
                share.rows,
                100 * share.rows / ranking.total,
                tone or IDLE,
                not_done=share.rows - share.done,
                pieces=laid_out(parts, ranking.total),
            )
        )
    return Bars(bars, ranking.exact)
