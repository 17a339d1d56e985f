"""The final table of `make bench`: a line for each benchmark, with its goals and whether they are met."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Goal(NamedTuple):
    text: str
    met: bool


def at_most(limit: float, unit: str, *found: float) -> Goal:
    return Goal(f"at most {limit:g} {unit}", max(found) <= limit)


def at_least(limit: float, unit: str, *found: float) -> Goal:
    return Goal(f"at least {limit:g} {unit}", min(found) >= limit)


@dataclass(frozen=True)
class Line:
    """A line of the table.

    to_ascii, to_floor: processor time relative to ASCII rows and to the floor. sdk_times: time of the SDK's iteration
    relative to ours. to_sdk_raw: our time relative to the SDK's raw use, at each latency.
    """

    work: str
    measured: str
    goals: Sequence[Goal]
    to_ascii: Sequence[float] = ()
    sdk_times: Sequence[float] = ()
    to_sdk_raw: Sequence[float] = ()
    to_floor: Sequence[float] = ()

    @property
    def verdict(self) -> str:
        missed = [goal.text for goal in self.goals if not goal.met]
        return f"missed: {'; '.join(missed)}" if missed else "met"


def summary(lines: Iterable[Line], latencies: Iterable[int]) -> str:
    at = f"at {', '.join(map(str, latencies))} ms"
    head = (
        f"work | measured | processor time / ASCII | SDK's iteration, times as long, {at} | seconds / SDK raw, {at} "
        "| processor time / floor | goal | met"
    )
    rows = []
    for line in lines:
        ratios = (line.to_ascii, line.sdk_times, line.to_sdk_raw, line.to_floor)
        cells = [line.work, line.measured, *(", ".join(f"{one:.2f}" for one in each) for each in ratios)]
        rows.append(f"| {' | '.join([*cells, '; '.join(goal.text for goal in line.goals), line.verdict])} |")
    return table(head, rows)


def table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {head} |", "| --- " * (head.count(" | ") + 1) + "|", *rows])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
