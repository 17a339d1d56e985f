"""Timeline: how many messages a job processed by which time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

# Far more than a chart has pixels, so slots are invisible.
SLOTS_LIMIT = 4096


class Processed(NamedTuple):
    """How many messages a job had processed at some moment, by outcome."""

    done: int
    failed: int
    other: int

    @property
    def total(self) -> int:
        """Return the number of all processed messages."""
        return sum(self)


_BANDS = {"COMPLETED": 0, "FAILED": 1, "SKIPPED": 2, "CANCELLED": 2}


class Timeline:
    """Processed messages over time. Times are milliseconds since the epoch.

    Slots are one millisecond wide, which is exact for the API's times. Whenever more than 4,096 slots are in use, the
    width doubles.
    """

    def __init__(self) -> None:
        self.untimed = 0
        self.slot_ms = 1
        self.first: int | None = None
        self.last: int | None = None
        self._slots: dict[int, list[int]] = {}

    def add(self, status: object, at: datetime | None) -> None:
        """Count one row if the job has processed it."""
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

    def at(self, moments: Iterable[int]) -> Iterator[Processed]:
        """Yield the progress at each of these moments, in ascending order. A slot counts from its end."""
        slots = sorted(self._slots.items())
        place, so_far = 0, [0, 0, 0]
        for moment in moments:
            while place < len(slots) and (slots[place][0] + 1) * self.slot_ms - 1 <= moment:
                so_far = [before + more for before, more in zip(so_far, slots[place][1], strict=True)]
                place += 1
            # The last time is known exactly, so its slot counts from there.
            if self.last is not None and moment >= self.last:
                so_far = [sum(bands) for bands in zip(*self._slots.values(), strict=True)]
                place = len(slots)
            yield Processed(*so_far)

    def _widen(self) -> None:
        self.slot_ms *= 2
        wider: dict[int, list[int]] = {}
        for slot, bands in self._slots.items():
            merged = wider.setdefault(slot // 2, [0, 0, 0])
            for band, number in enumerate(bands):
                merged[band] += number
        self._slots = wider


def milliseconds(at: datetime) -> int:
    """Return a time as whole milliseconds since the epoch."""
    return round(at.timestamp() * 1000)
