"""Reading listings that number their pages with zeros and move while they are read."""

from __future__ import annotations

import pytest

from connectors.errors import UnexpectedAnswer
from connectors.paging import LARGEST_PAGE, MOST_PAGES, Page, Position, sweep


class Listing:
    """Pages by number; `cursors` answers by cursor."""

    def __init__(self, pages: list[list[int]], cursors: dict[str, tuple[list[int], str | None]] | None = None) -> None:
        self.pages = pages
        self.cursors = cursors or {}
        self.first_cursor: str | None = None
        self.asked: list[Position] = []

    def __call__(self, position: Position) -> Page:
        self.asked.append(position)
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
@pytest.mark.parametrize("told", [True, False])
def test_every_row_is_read_whatever_the_total(total: int, told: bool) -> None:
    assert read(Listing(pages(total)), total if told else None) == list(range(total))


def test_with_counters_a_short_listing_costs_one_call() -> None:
    listing = Listing(pages(20))
    read(listing, 20)
    assert len(listing.asked) == 1


@pytest.mark.parametrize("told", [True, False])
def test_an_empty_page_in_the_middle_is_not_the_end(told: bool) -> None:
    holed = pages(2500)
    holed.insert(1, [])
    assert read(Listing(holed), 2500 if told else None) == list(range(2500))


def test_pages_smaller_than_asked_for_are_not_the_end() -> None:
    assert read(Listing(pages(1234, size=100))) == list(range(1234))


def test_a_cursor_is_followed_to_its_end() -> None:
    listing = Listing([[1, 2]], {"a": ([3, 4], "b"), "b": ([5], None)})
    listing.first_cursor = "a"
    assert read(listing, 5) == [1, 2, 3, 4, 5]
    assert [p.cursor for p in listing.asked] == [None, "a", "b"]


def test_a_cursor_that_leads_to_the_same_page_again_is_dropped_for_page_numbers() -> None:
    listing = Listing(pages(2500))
    listing.first_cursor = "ignored by the service"
    assert read(listing, 2500) == list(range(2500))


def test_rows_that_never_come_do_not_keep_the_reader_forever() -> None:
    listing = Listing(pages(1500))
    assert read(listing, 2000) == list(range(1500))
    assert len(listing.asked) <= 4


def test_a_listing_without_end_is_given_up() -> None:
    def endless(position: Position) -> Page:
        return Page([position.page], f"cursor-{position.page}")

    with pytest.raises(UnexpectedAnswer, match=str(MOST_PAGES)):
        for _ in sweep(endless, enough=lambda: False, identities=names):
            pass


def test_reading_goes_on_where_it_stopped() -> None:
    listing = Listing(pages(2500))
    position = Position(page=3)
    rows = [
        item for page, _ in sweep(listing, enough=lambda: True, identities=names, start=position) for item in page.items
    ]
    assert rows == list(range(2000, 2500))


@pytest.mark.parametrize("envelope", [{}, {"result": None}, {"result": {}}, {"result": "x"}])
def test_a_page_without_a_list_is_named(envelope: dict[str, object]) -> None:
    with pytest.raises(UnexpectedAnswer, match="field result"):
        Page.read(envelope, "the list")


def test_cursors_that_go_round_in_a_circle_are_dropped_for_page_numbers() -> None:
    listing = Listing(pages(2500), {"a": (list(range(1000, 1900)), "b"), "b": (list(range(1900, 2000)), "a")})
    listing.first_cursor = "a"
    assert sorted(read(listing, 2500)) == list(range(2500))
    assert len(listing.asked) < 12


def test_empty_pages_with_ever_new_cursors_are_not_followed_forever() -> None:
    asked = 0

    def fetch(position: Position) -> Page:
        nonlocal asked
        asked += 1
        return Page([], f"cursor-{asked}")

    for _ in sweep(fetch, enough=lambda: False, identities=names):
        pass
    assert asked < 5


@pytest.mark.parametrize("cursor", ["x" * 5000, "\ud800", "a b", "a\nb"])
def test_a_cursor_that_is_none_is_not_sent_anywhere(cursor: str) -> None:
    with pytest.raises(UnexpectedAnswer, match="next"):
        Page.read({"result": [], "result_info": {"next": cursor}}, "the list")
