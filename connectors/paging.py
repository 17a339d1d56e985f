"""Reading a listing whose own page numbers and totals always say 0, and whose rows may move while it is read.

Facts (docs/remote-api.md): `page` from 1, `per_page` at most 1,000; result_info.page and total_count are always 0;
`next` may carry a cursor; the order is not documented; an empty page in the middle has been seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

from connectors.errors import UnexpectedAnswer

LARGEST_PAGE = 1000

# It goes into the next call's address.
LONGEST_CURSOR = 4096

# A bound, not a limit that a job reaches: ten million rows.
MOST_PAGES = 10_000


@dataclass(frozen=True)
class Position:
    """Where in a listing the next page is: its number, or the cursor that leads to it."""

    page: int = 1
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page of a listing: its items, in a list or in what has a length, and the next one's cursor, if any."""

    items: Any
    next: str | None

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
        return cls(items, cursor if isinstance(cursor, str) and cursor else None)


def sweep(
    fetch: Callable[[Position], Page],
    *,
    enough: Callable[[], bool],
    identities: Callable[[Any], Iterable[str]],
    start: Position | None = None,
) -> Iterator[tuple[Page, Position]]:
    """Each page of one pass over a listing, with the position behind it.

    fetch: gets one page. enough: whether the caller knows that it has all; asked when a page is not full.
    identities: the items' IDs; a cursor that leads to the same page again is not believed twice, and numbers take over.

    Without `enough`, the end is an empty page behind one that was not full: an empty page behind a full one may be
    the API's hole in the middle, and a page that is not full may be a smaller limit than the one asked for.
    Raises: UnexpectedAnswer after MOST_PAGES, and what fetch raises.
    """
    position = start or Position()
    before: tuple[set[str], bool] | None = None
    followed: set[str | None] = set()
    trust_cursors = True
    numbered = position.page
    for _ in range(MOST_PAGES):
        page = fetch(position)
        here, full = set(identities(page.items)), len(page.items) >= LARGEST_PAGE
        # The same page again, or a way already gone: the service does not know cursors after all.
        ignored = position.cursor is not None and before is not None and here <= before[0]
        numbered = position.page if position.cursor is None else numbered
        lost = trust_cursors and (ignored or page.next in followed)
        trust_cursors = trust_cursors and not lost
        # By number again, from where numbers were left: what came by cursor in between may come twice.
        follows = Position(numbered + 1) if lost else Position(position.page + 1, page.next if trust_cursors else None)
        followed |= {page.next} - {None}
        yield page, follows
        # Its memory is for the next one.
        del page
        if not full and enough():
            return
        if not here and before is not None and not lost:
            previous, previous_was_full = before
            if not previous or (not previous_was_full and follows.cursor is None):
                return
        position, before = follows, (here, full)
    raise UnexpectedAnswer(f"the listing did not end after {MOST_PAGES} pages")
