"""Listings whose page numbers are always 0 and whose rows move during the read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connectors.paging.pages import BOUNDS, LARGEST_PAGE, Bounds, Page, Position, follow, sweep
from core.errors import ListingRepeats, ListingTooLong, UnexpectedAnswer


class Listing:
    """Pages by number; `cursors` answers by cursor."""

    def __init__(self, pages: list[list[int]], cursors: dict[str, tuple[list[int], str | None]] | None = None) -> None:
        self.pages = pages
        self.cursors = cursors or {}
        self.first_cursor: str | None = None
        self.requested: list[Position] = []

    def __call__(self, position: Position) -> Page:
        self.requested.append(position)
        if position.cursor is not None and position.cursor in self.cursors:
            return Page(*self.cursors[position.cursor])
        number = 1 if position.cursor is not None else position.page
        items = self.pages[number - 1] if number <= len(self.pages) else []
        return Page(items, self.first_cursor if number == 1 else None)


def names(items: list[int]) -> list[str]:
    return [str(item) for item in items]


def read(listing: Listing, expected: int | None = None) -> list[int]:
    rows: dict[int, None] = {}
    for page, _ in sweep(listing, enough=lambda: expected is not None and len(rows) >= expected, identities=names):
        rows.update(dict.fromkeys(page.items))
    return list(rows)


def pages(total: int, size: int = LARGEST_PAGE) -> list[list[int]]:
    rows = list(range(total))
    return [rows[i : i + size] for i in range(0, total, size)]


@pytest.mark.parametrize("total", [0, 1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("has_counter", [True, False])
def test_every_row_is_read_for_any_total(total: int, has_counter: bool) -> None:
    assert read(Listing(pages(total)), total if has_counter else None) == list(range(total))


def test_with_counters_a_short_listing_costs_one_call() -> None:
    listing = Listing(pages(20))
    read(listing, 20)
    assert len(listing.requested) == 1


@pytest.mark.parametrize("has_counter", [True, False])
def test_an_empty_page_in_the_middle_is_not_the_end(has_counter: bool) -> None:
    holed = pages(2500)
    holed.insert(1, [])
    assert read(Listing(holed), 2500 if has_counter else None) == list(range(2500))


def test_short_pages_are_not_the_end() -> None:
    assert read(Listing(pages(1234, size=100))) == list(range(1234))


def test_a_cursor_is_followed_to_its_end() -> None:
    listing = Listing([[1, 2]], {"a": ([3, 4], "b"), "b": ([5], None)})
    listing.first_cursor = "a"
    assert read(listing, 5) == [1, 2, 3, 4, 5]
    assert [p.cursor for p in listing.requested] == [None, "a", "b"]


def test_a_cursor_that_repeats_a_page_is_replaced_by_page_numbers() -> None:
    listing = Listing(pages(2500))
    listing.first_cursor = "ignored by the service"
    assert read(listing, 2500) == list(range(2500))


def test_missing_rows_do_not_keep_the_reader_waiting() -> None:
    listing = Listing(pages(1500))
    assert read(listing, 2000) == list(range(1500))
    assert len(listing.requested) <= 4


def test_an_endless_listing_is_an_error() -> None:
    def endless(position: Position) -> Page:
        return Page([position.page], f"cursor-{position.page}")

    with pytest.raises(ListingTooLong, match="7 pages"):
        for _ in sweep(endless, enough=lambda: False, identities=names, bounds=Bounds(pages=7)):
            pass


def test_one_pass_costs_less_than_the_rate_budget() -> None:
    assert BOUNDS.pages < 1200


def test_reading_resumes_at_a_position() -> None:
    listing = Listing(pages(2500))
    position = Position(page=3)
    rows = [
        item for page, _ in sweep(listing, enough=lambda: True, identities=names, start=position) for item in page.items
    ]
    assert rows == list(range(2000, 2500))


@pytest.mark.parametrize("envelope", [{}, {"result": None}, {"result": {}}, {"result": "x"}])
def test_a_page_without_a_list_is_an_error(envelope: dict[str, object]) -> None:
    with pytest.raises(UnexpectedAnswer, match="field result"):
        Page.read(envelope, "the list")


def test_circular_cursors_are_replaced_by_page_numbers() -> None:
    listing = Listing(pages(2500), {"a": (list(range(1000, 1900)), "b"), "b": (list(range(1900, 2000)), "a")})
    listing.first_cursor = "a"
    assert sorted(read(listing, 2500)) == list(range(2500))
    assert len(listing.requested) < 12


def test_empty_pages_with_new_cursors_are_an_error_within_five_calls() -> None:
    requested = 0

    def fetch(position: Position) -> Page:
        nonlocal requested
        requested += 1
        return Page([], f"cursor-{requested}")

    with pytest.raises(ListingRepeats):
        for _ in sweep(fetch, enough=lambda: False, identities=names):
            pass
    assert requested < 5


FULL, OTHER, REST = (list(range(a, a + n)) for a, n in ((0, LARGEST_PAGE), (5000, LARGEST_PAGE), (9000, 300)))
# The pages of a broken service by number, and whether a read without a counter succeeds.
REPEATING: dict[str, tuple[Callable[[int], list[int]], bool]] = {
    "one short page for every number": (lambda _: REST, True),
    "two short pages in turn": (lambda page: REST[:150] if page % 2 else REST[150:], True),
    "one full page for every number": (lambda _: FULL, False),
    "two full pages in turn": (lambda page: FULL if page % 2 else OTHER, False),
    "a full and a short page in turn": (lambda page: FULL if page % 2 else REST, False),
    "the last page again and again": (lambda page: FULL if page == 1 else REST, False),
    "pages that shrink": (lambda page: FULL[: LARGEST_PAGE + 1 - page], False),
    "the first page again behind holes": (lambda page: FULL if page % 2 else [], False),
}


@pytest.mark.parametrize("counted", [None, 1, 5000])
@pytest.mark.parametrize("kind", REPEATING)
def test_a_listing_ends_after_two_pages_without_new_rows(kind: str, counted: int | None) -> None:
    give, complete = REPEATING[kind]
    requested: list[int] = []
    rows: set[int] = set()
    stale = 0

    def fetch(position: Position) -> Page:
        nonlocal stale
        requested.append(position.page)
        page = give(position.page)
        stale = 0 if set(page) - rows else stale + 1
        assert len(requested) < 9
        return Page(page, None)

    def enough() -> bool:
        return counted is not None and len(rows) >= counted

    def read() -> None:
        for page, _ in sweep(fetch, enough=enough, identities=names, most=lambda: counted):
            rows.update(page.items)

    if (complete and counted is None) or counted == 1:
        read()
    else:
        with pytest.raises(ListingRepeats):
            read()
    assert stale <= 2
    assert len(rows) >= len(give(1))


def test_a_listing_with_more_rows_than_counted_ends_at_the_counter() -> None:
    requested: list[int] = []

    def fetch(position: Position) -> Page:
        requested.append(position.page)
        first = position.page * LARGEST_PAGE
        return Page(list(range(first, first + LARGEST_PAGE)), None)

    for _ in sweep(fetch, enough=lambda: True, identities=names, most=lambda: 10):
        pass
    assert requested == [1]


def test_an_item_added_during_the_read_does_not_end_the_listing() -> None:
    # A job is created between two pages: the second page repeats an item of the first.
    given = [FULL, [FULL[-1]], []]
    found = [
        page.items
        for page, _ in sweep(lambda at: Page(given[at.page - 1], None), enough=lambda: False, identities=names)
    ]
    assert found == given


class Cursors:
    """A listing paged by cursor. `name` returns the cursor that follows a page number."""

    def __init__(self, pages: Callable[[int], list[int]], name: Callable[[int], str | None]) -> None:
        self.pages, self.name, self.requested = pages, name, 0

    def __call__(self, _: str | None) -> Page:
        self.requested += 1
        assert self.requested < 20
        return Page(self.pages(self.requested), self.name(self.requested))


def test_a_cursor_listing_returns_each_item_once() -> None:
    given = [[1, 2, 3], [3, 4], [], [1, 5, 5]]
    listing = Cursors(lambda n: given[n - 1], lambda n: f"c{n}" if n < 4 else None)
    assert list(follow(listing, identity=str, what="the search")) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("pages", "name"),
    [
        (lambda _: [1, 2], lambda n: f"ever new {n}"),
        (lambda n: [n % 2], lambda n: f"ever new {n}"),
        (lambda n: [1] if n == 1 else [], lambda n: f"ever new {n}"),
        (lambda n: [n % 3], lambda n: f"of three {n % 3}"),
        (lambda n: list(range(10, n, -1)), lambda n: f"ever new {n}"),
        (lambda n: [n], lambda _: "the same"),
    ],
)
def test_an_endless_cursor_listing_is_an_error_within_five_calls(
    pages: Callable[[int], list[int]], name: Callable[[int], str | None]
) -> None:
    listing = Cursors(pages, name)
    with pytest.raises(ListingRepeats, match="the search"):
        list(follow(listing, identity=str, what="the search"))
    assert listing.requested <= 5


def test_a_cursor_listing_with_too_many_pages_is_an_error() -> None:
    with pytest.raises(ListingTooLong):
        list(follow(Cursors(lambda n: [n], lambda n: f"c{n}"), identity=str, what="it", bounds=Bounds(pages=5)))


@pytest.mark.parametrize("cursor", ["x" * 5000, "\ud800", "a b", "a\nb"])
def test_an_invalid_cursor_is_never_sent(cursor: str) -> None:
    with pytest.raises(UnexpectedAnswer, match="next"):
        Page.read({"result": [], "result_info": {"next": cursor}}, "the list")
