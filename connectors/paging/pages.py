"""Reads paged listings whose page numbers and totals are always 0, and whose rows may move meanwhile.

Facts (docs/reference/remote-api.md): `page` from 1, `per_page` at most 1,000; result_info.page and total_count are
always 0; `next` may carry a cursor; the order is not documented; an empty page in the middle has been seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, NamedTuple

from connectors.paging.row_ids import PassIds, RowIds
from core.errors import ListingRepeats, ListingTooLong, UnexpectedAnswer

LARGEST_PAGE = 1000

# A cursor becomes part of a URL.
LONGEST_CURSOR = 4096


class Bounds(NamedTuple):
    """The limits of one pass over a listing.

    pages: the most calls of one pass, fewer than the rate limit of 1,200 calls in five minutes. stale: the most pages
    in a row without new items; a single such page can be a gap of the API, or the effect of moved rows.
    """

    pages: int = 1000
    stale: int = 2


BOUNDS = Bounds()


class Position(NamedTuple):
    """The place of the next page in a listing: its number, or its cursor."""

    page: int = 1
    cursor: str | None = None


class Page(NamedTuple):
    """A page of a listing: its items (with a length), and the cursor of the next page, if any.

    per_page: the page size that the API reports, or None.
    """

    items: Any
    next: str | None
    per_page: int | None = None

    @classmethod
    def read(
        cls, envelope: dict[str, Any], what: str, items_of: Callable[[Any], Sized | None] = lambda found: found
    ) -> Page:
        """Return the page in an envelope. items_of: converts the envelope's `result`.

        Raises: UnexpectedAnswer if there is no list of results.
        """
        items = items_of(envelope.get("result"))
        if not isinstance(items, Sized) or isinstance(items, str | dict):
            raise UnexpectedAnswer(f"{what}: field result: is not a list")
        info = envelope.get("result_info")
        cursor = info.get("next") if isinstance(info, dict) else None
        if isinstance(cursor, str) and not re.fullmatch(f"[!-~]{{0,{LONGEST_CURSOR}}}", cursor):
            raise UnexpectedAnswer(f"{what}: field result_info.next: is not a valid cursor")
        per_page = info.get("per_page") if isinstance(info, dict) else None
        reported = per_page if isinstance(per_page, int) and 0 < per_page <= LARGEST_PAGE else None
        return cls(items, cursor if isinstance(cursor, str) and cursor else None, reported)


def sweep(
    fetch: Callable[[Position], Page],
    *,
    enough: Callable[[], bool],
    identities: Callable[[Any], Iterable[str]],
    start: Position | None = None,
    most: Callable[[], int | None] = lambda: None,
    judged: Callable[[bool], None] = lambda _: None,
    taken: RowIds | None = None,
    what: str = "the listing",
    bounds: Bounds = BOUNDS,
) -> Iterator[tuple[Page, Position]]:
    """Yield each page of one pass over a listing, with the position after it.

    fetch: returns a page. enough: returns whether the caller has all items; called after a page that is not full.
    identities: returns the IDs of items. If a cursor leads to the same page again, page numbers are used instead.
    most: returns the largest possible number of items, if known; a pass with more items ends. judged: called for each
    page with whether it brought new items. what: the name of the listing in errors.

    Without `enough`, the end is an empty page after a page that was not full. An empty page after a full one may be a
    gap of the API, and a page that is not full may only mean a smaller page size than requested.
    Raises: ListingRepeats if the listing continues without new items; ListingTooLong after `bounds.pages`; what fetch
    raises.
    """
    position = start or Position()
    reading = _Pass(what, bounds, RowIds() if taken is None else PassIds(taken))
    followed: set[str | None] = set()
    trust_cursors = True
    for _ in range(bounds.pages):
        page = fetch(position)
        size, full = len(page.items), len(page.items) >= LARGEST_PAGE
        judged(reading.take(list(identities(page.items)), full=full))
        # The same page or cursor again: the server does not support cursors.
        ignored = position.cursor is not None and reading.stale > 0 and size > 0
        lost = trust_cursors and (ignored or page.next in followed)
        trust_cursors = trust_cursors and not lost
        follows = Position(position.page + 1, page.next if trust_cursors else None)
        if lost:
            # Continue by page number from the last row. Its page may come twice.
            follows = Position(reading.page_behind(start or Position()) + 1)
        followed |= {page.next} - {None}
        yield page, follows
        # Free the memory for the next page.
        del page
        if not full and enough():
            return
        counted = most()
        if counted is not None and len(reading.seen) > counted:
            return
        if not size and reading.ends_behind_a_short_page and follows.cursor is None and not lost:
            return
        if reading.stale >= bounds.stale and not lost:
            reading.check_end(enough=enough(), counted=counted is not None, empty=not size, follows=follows)
            return
        reading.previous_full = full
        position = follows
    if not enough():
        raise reading.too_long()


def follow(
    fetch: Callable[[str | None], Page],
    *,
    identity: Callable[[Any], str],
    what: str,
    bounds: Bounds = BOUNDS,
) -> Iterator[Any]:
    """Yield each item once of a listing with cursors. The listing ends with a page without a cursor.

    fetch: returns the page of a cursor, None for the first page. identity: returns the ID of an item.
    Raises: ListingRepeats, ListingTooLong, and what fetch raises.
    """
    reading = _Pass(what, bounds, RowIds())
    followed: set[str] = set()
    cursor: str | None = None
    for _ in range(bounds.pages):
        page = fetch(cursor)
        ids = [identity(item) for item in page.items]
        reading.take(ids, full=False)
        for item, is_new in zip(page.items, reading.new, strict=True):
            if is_new:
                yield item
        cursor = page.next
        if cursor is None:
            return
        if cursor in followed or reading.stale >= bounds.stale:
            raise reading.repeats()
        followed.add(cursor)
    raise reading.too_long()


class _Pass:
    """The state of one pass over a listing. seen: every ID. new: for each item of the last page, whether it was new."""

    def __init__(self, what: str, bounds: Bounds, seen: RowIds | PassIds) -> None:
        self.seen = seen
        self.new: list[bool] = []
        self.stale = 0
        self.previous_full: bool | None = None
        self._largest = 0
        self._any_full = False
        self._what = what
        self._bounds = bounds

    @property
    def ends_behind_a_short_page(self) -> bool:
        """Return whether there was a previous page and it was not full."""
        return self.previous_full is False

    def take(self, ids: list[str], *, full: bool) -> bool:
        """Record a page. Return whether it brought new items."""
        self.new = self.seen.new(ids)
        self.stale = 0 if any(self.new) else self.stale + 1
        self._any_full = self._any_full or full
        self._largest = max(self._largest, len(ids))
        return not self.stale

    def page_behind(self, start: Position) -> int:
        """Return the number of the last page that was read in full, if all pages are as large as the largest one."""
        return start.page - 1 + len(self.seen) // max(1, self._largest)

    def check_end(self, *, enough: bool, counted: bool, empty: bool, follows: Position) -> None:
        """Check that pages without new items are the end of the listing.

        They are the end if the counters match. Without counters, they are the end if they are empty without a cursor,
        or if no page was ever full: then the server returns its only page for every number.
        Raises: ListingRepeats if they are not the end.
        """
        if enough or (empty and follows.cursor is None):
            return
        if counted or self._any_full or follows.cursor is not None:
            raise self.repeats()

    def repeats(self) -> ListingRepeats:
        return ListingRepeats(
            f"{self._what}: the API keeps returning the same or empty pages without an end "
            f"({len(self.seen):,} items so far)"
        )

    def too_long(self) -> ListingTooLong:
        return ListingTooLong(
            f"{self._what} did not end after {self._bounds.pages:,} pages ({len(self.seen):,} items so far)"
        )
