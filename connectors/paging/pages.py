"""Reading a listing whose own page numbers and totals always say 0, and whose rows may move while it is read.

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

# It goes into the next call's address.
LONGEST_CURSOR = 4096


class Bounds(NamedTuple):
    """Where one pass over a listing ends though its service goes on.

    pages: calls of one pass, fewer than the 1,200 that a token has in five minutes. stale: pages in a row that bring
    nothing new; one alone can be the API's hole in the middle, or rows that have moved.
    """

    pages: int = 1000
    stale: int = 2


BOUNDS = Bounds()


class Position(NamedTuple):
    """Where in a listing the next page is: its number, or the cursor that leads to it."""

    page: int = 1
    cursor: str | None = None


class Page(NamedTuple):
    """One page of a listing: its items, in a list or in what has a length, and the next one's cursor, if any.

    per_page: how many items its service puts on a page, where it says so.
    """

    items: Any
    next: str | None
    per_page: int | None = None

    @classmethod
    def read(
        cls, envelope: dict[str, Any], what: str, items_of: Callable[[Any], Sized | None] = lambda found: found
    ) -> Page:
        """items_of: makes a list of its own kind of the envelope's `result`.

        Raises: UnexpectedAnswer where there is no list of results.
        """
        items = items_of(envelope.get("result"))
        if not isinstance(items, Sized) or isinstance(items, str | dict):
            raise UnexpectedAnswer(f"{what}: field result: is no list")
        info = envelope.get("result_info")
        cursor = info.get("next") if isinstance(info, dict) else None
        if isinstance(cursor, str) and not re.fullmatch(f"[!-~]{{0,{LONGEST_CURSOR}}}", cursor):
            raise UnexpectedAnswer(f"{what}: field result_info.next: is no cursor")
        per_page = info.get("per_page") if isinstance(info, dict) else None
        told = per_page if isinstance(per_page, int) and 0 < per_page <= LARGEST_PAGE else None
        return cls(items, cursor if isinstance(cursor, str) and cursor else None, told)


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
    """Each page of one pass over a listing, with the position behind it.

    fetch: gets one page. enough: whether the caller knows that it has all; asked when a page is not full.
    identities: the items' IDs; a cursor that leads to the same page again is not believed twice, and numbers take over.
    most: how many items there can be, where something counts them; a pass with more items ends. judged: called with
    each page's verdict, whether it brought anything new in this pass. what: the listing, as an error names it.

    Without `enough`, the end is an empty page behind one that was not full: an empty page behind a full one may be
    the API's hole in the middle, and a page that is not full may be a smaller limit than the one asked for.
    Raises: ListingRepeats where the service goes on and brings nothing new; ListingTooLong after `bounds.pages`; what
    fetch raises.
    """
    position = start or Position()
    reading = _Pass(what, bounds, RowIds() if taken is None else PassIds(taken))
    followed: set[str | None] = set()
    trust_cursors = True
    for _ in range(bounds.pages):
        page = fetch(position)
        size, full = len(page.items), len(page.items) >= LARGEST_PAGE
        judged(reading.take(list(identities(page.items)), full=full))
        # The same page again, or a way already gone: the service does not know cursors after all.
        ignored = position.cursor is not None and reading.stale > 0 and size > 0
        lost = trust_cursors and (ignored or page.next in followed)
        trust_cursors = trust_cursors and not lost
        follows = Position(position.page + 1, page.next if trust_cursors else None)
        if lost:
            # By number again, from where cursors were left: the page of the last row may come twice.
            follows = Position(reading.page_behind(start or Position()) + 1)
        followed |= {page.next} - {None}
        yield page, follows
        # Its memory is for the next one.
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
    """Each item once of a listing that is paged by cursor alone, and ends with a page that has none.

    fetch: gets a page by the cursor that leads to it, None for the first. identity: an item's ID.
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
    """What one pass over a listing has brought. seen: every ID. new: which items of the last page were new."""

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
        """Whether the page before was not full. No page before, no end."""
        return self.previous_full is False

    def take(self, ids: list[str], *, full: bool) -> bool:
        """Remember a page. Returns whether it brought anything."""
        self.new = self.seen.new(ids)
        self.stale = 0 if any(self.new) else self.stale + 1
        self._any_full = self._any_full or full
        self._largest = max(self._largest, len(ids))
        return not self.stale

    def page_behind(self, start: Position) -> int:
        """The number of the last page that was read in full, where all are as large as the largest one."""
        return start.page - 1 + len(self.seen) // max(1, self._largest)

    def check_end(self, *, enough: bool, counted: bool, empty: bool, follows: Position) -> None:
        """Whether pages without anything new are the listing's end.

        They are where the counters agree. Without counters, they are where they are empty and nothing is said to
        follow, or where no page was ever full: then the service gives its one page for every number.
        Raises: ListingRepeats where they are not.
        """
        if enough or (empty and follows.cursor is None):
            return
        if counted or self._any_full or follows.cursor is not None:
            raise self.repeats()

    def repeats(self) -> ListingRepeats:
        return ListingRepeats(
            f"{self._what}: the service gives the same pages again and again, or empty ones, and names no end "
            f"({len(self.seen):,} items so far)"
        )

    def too_long(self) -> ListingTooLong:
        return ListingTooLong(
            f"{self._what} did not end after {self._bounds.pages:,} pages ({len(self.seen):,} items so far)"
        )
