"""Determine the layout of the job list: its pages, its order, and the end where new jobs appear."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from connectors.paging.pages import Page
from core.instants import instant_or_none

# Where new jobs appear: at the front, at the back, at one of the two; None if jobs are not sorted by creation.
NewEnd = Literal["front", "back", "either"]


class ListLayout:
    """The layout of a list, found in one pass over it. backwards: the pass goes from the last page to the first."""

    def __init__(self, *, backwards: bool = False) -> None:
        self._backwards = backwards
        # Rows of each page, up to the last one that has any.
        self._sizes: list[int] = []
        self._empty = 0
        self._times: list[float] = []
        self._per_page: int | None = None
        self._rises = self._falls = self._by_id = True
        self._last: tuple[object, str] | None = None
        self._decided: NewEnd | None = None

    def take(self, page: Page, at: float) -> None:
        self._times.append(at)
        if not page.items:
            # A pass backwards may begin behind the list's end.
            self._empty += 1 if self._sizes or not self._backwards else 0
            return
        self._sizes += [0] * self._empty + [len(page.items)]
        self._empty = 0
        self._per_page = page.per_page
        for item in reversed(page.items) if self._backwards else page.items:
            here = (item.get("created_at"), str(item.get("job_id")).lower())
            if self._last is not None and here[1] != self._last[1]:
                one, other = (here, self._last) if self._backwards else (self._last, here)
                order = _compared(one[0], other[0])
                self._rises = self._rises and order <= 0
                self._falls = self._falls and order >= 0
                self._by_id = self._by_id and one[1] <= other[1]
            self._last = here

    def end(self) -> None:
        """Note that the pass is over."""
        if self._backwards:
            self._sizes = [0] * self._empty + self._sizes[::-1]

    @property
    def pages(self) -> int:
        """Return the number of the last page that has jobs."""
        return len(self._sizes)

    @property
    def has_hole(self) -> bool:
        """Return whether an empty page came before one with jobs: the jobs of that page are missing."""
        return 0 in self._sizes

    @property
    def is_one_page(self) -> bool:
        """Return whether all jobs were on one page, which had room for more as far as the service says."""
        return not self._sizes or (
            len(self._sizes) == 1 and (self._per_page is None or self._sizes[0] < self._per_page)
        )

    @property
    def new_end(self) -> NewEnd | None:
        """Return where jobs that are made after the pass appear."""
        if self._decided is not None:
            return self._decided
        if self.is_one_page or (self._falls and not self._rises):
            return "front"
        if self._rises and not self._falls:
            return "back"
        return "either" if self._rises and not self._by_id else None

    @new_end.setter
    def new_end(self, end: NewEnd) -> None:
        self._decided = end

    @property
    def full_page(self) -> int:
        """Return how many jobs a full page holds, as far as one pass shows."""
        return max(self._per_page or 0, *self._sizes, 1)

    def has_room(self, page: Page) -> bool:
        """Return whether the page is not full, and so the last one."""
        largest = max(self._sizes[:-1], default=page.per_page or 0)
        return len(page.items) < (page.per_page or largest)

    def page_before_last_rows(self, rows: int) -> int:
        """Return the last page from which on there are at least this many rows."""
        page = len(self._sizes)
        while page > 1 and sum(self._sizes[page - 1 :]) < rows:
            page -= 1
        return max(page, 1)

    def page_behind(self, rows: int) -> int:
        """Return the page of the row that follows this many jobs."""
        return rows // self.full_page + 1

    @property
    def rows(self) -> int:
        """Return how many jobs there were."""
        return sum(self._sizes)

    def read_at(self, began: float) -> float:
        """Return when the new end was read. began: when the pass began, which is the answer unless it ends there."""
        if self.new_end != ("front" if self._backwards else "back") or len(self._times) < 3:
            return began
        # Pages are fetched ahead: the last ones may have been fetched well before they were added.
        return self._times[-min(len(self._times), 10)]


def _compared(one: object, other: object) -> int:
    """Return -1, 0 or 1 for before, equal or after. Two instants in the same notation are compared as text."""
    if isinstance(one, str) and isinstance(other, str) and len(one) == len(other) and one[-1:] == other[-1:] == "Z":
        return (one > other) - (one < other)
    first, second = created_at(one), created_at(other)
    return (first > second) - (first < second)


def created_at(value: object) -> datetime:
    """Return the instant; the latest possible one for a value that is not a valid instant."""
    return instant_or_none(value) or datetime.max.replace(tzinfo=UTC)
