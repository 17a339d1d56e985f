"""When a job was through with its messages, counted into slots of time; in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

# Far more than a chart has pixels, so that no slot is seen in it.
SLOTS_LIMIT = 4096


class Through(NamedTuple):
    """How many messages a job was through with by some moment."""

    done: int
    failed: int
    other: int

    @property
    def total(self) -> int:
        """All of them, however they ended."""
        return sum(self)


_BANDS = {"COMPLETED": 0, "FAILED": 1, "SKIPPED": 2, "CANCELLED": 2}


class Timeline:
    """Ends of messages over time. Times are milliseconds since the epoch.

    Slots are a millisecond wide, which is exact for the API's times; each time more than 4,096 are in use, they become
    twice as wide.
    """

    def __init__(self) -> None:
        self.untimed = 0
        self.slot_ms = 1
        self.first: int | None = None
        self.last: int | None = None
        self._slots: dict[int, list[int]] = {}

    def add(self, status: object, at: datetime | None) -> None:
        """Count one row, if the job is through with it."""
        band = _BANDS.get(status) if isinstance(status, str) else None
        if band is None:
            return
        if at is None:
            self.untimed += 1
            return
        moment = milliseconds(at)
        self.first = moment if self.first is None else min(self.first, moment)
        self.last = moment if self.last is None else max(self.last, moment)
        self._slots.setdefault(moment // self.slot_ms, [0, 0, 0])[band] += 1
        while len(self._slots) > SLOTS_LIMIT:
            self._widen()

    def at(self, moments: Iterable[int]) -> Iterator[Through]:
        """How far the job was at each of these moments, which are in order. A slot counts once it is over."""
        slots = sorted(self._slots.items())
        place, so_far = 0, [0, 0, 0]
        for moment in moments:
            while place < len(slots) and (slots[place][0] + 1) * self.slot_ms - 1 <= moment:
                so_far = [before + more for before, more in zip(so_far, slots[place][1], strict=True)]
                place += 1
            # What is known to the millisecond is not put off to its slot's end.
            if self.last is not None and moment >= self.last:
                so_far = [sum(bands) for bands in zip(*self._slots.values(), strict=True)]
                place = len(slots)
            yield Through(*so_far)

    def _widen(self) -> None:
        self.slot_ms *= 2
        wider: dict[int, list[int]] = {}
        for slot, bands in self._slots.items():
            merged = wider.setdefault(slot // 2, [0, 0, 0])
            for band, number in enumerate(bands):
                merged[band] += number
        self._slots = wider


def milliseconds(at: datetime) -> int:
    """A time as whole milliseconds since the epoch."""
    return round(at.timestamp() * 1000)
