"""Prefetched pages: in parallel, in order, and with the same rows as a read without prefetching."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable

import pytest

from connectors.paging.pages import LARGEST_PAGE, Page, Position, sweep
from connectors.paging.read_ahead import Ahead
from core.errors import ListingRepeats, NotFound, RateLimited, ServiceUnavailable

TOTAL = 12 * LARGEST_PAGE + 5


def page(position: Position, total: int = TOTAL) -> Page:
    first = (position.page - 1) * LARGEST_PAGE
    return Page([str(number) for number in range(first, min(first + LARGEST_PAGE, total))], None)


def read(
    fetch: Callable[[Position], Page], attempt: Callable[[Position], Page], *, width: int = 4, total: int = TOTAL
) -> list[str]:
    found: list[str] = []

    def enough() -> bool:
        return len(found) >= total

    with Ahead(fetch, attempt, last_page=lambda: -(-total // LARGEST_PAGE), width=width) as ahead:
        for one, _ in sweep(ahead, enough=enough, identities=lambda items: items, judged=ahead.judge):
            found.extend(one.items)
    return found


def test_so_many_pages_are_under_way_at_once_and_come_in_order() -> None:
    # Nobody passes the barrier alone: it breaks, and with it the test, unless four are there at once.
    together = threading.Barrier(4)

    def attempt(position: Position) -> Page:
        together.wait(timeout=20)
        return page(position)

    assert read(page, attempt) == [str(number) for number in range(TOTAL)]


def test_no_page_is_fetched_twice_or_behind_the_last() -> None:
    asked: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        asked[position.page] += 1
        return page(position)

    read(counted, counted, width=8)
    assert asked == Counter(range(1, 14))


def test_a_page_that_did_not_come_at_the_first_try_takes_no_memory_behind_its_last_use() -> None:
    class Items(list[str]):
        """A list that can be watched."""

    def attempt(position: Position) -> Page:
        raise RateLimited(f"page {position.page}")

    def fetch(position: Position) -> Page:
        return Page(Items(page(position).items), None)

    gc.disable()
    try:
        with Ahead(fetch, attempt, last_page=lambda: 13, width=4) as ahead:
            given = [weakref.ref(ahead(Position(number)).items) for number in range(1, 13)]
            assert [one() for one in given] == [None] * 12
    finally:
        gc.enable()


def test_what_did_not_come_at_the_first_try_is_fetched_in_its_turn() -> None:
    patient: list[int] = []

    def attempt(position: Position) -> Page:
        if position.page % 3 == 0:
            raise ServiceUnavailable("502")
        return page(position)

    def fetch(position: Position) -> Page:
        patient.append(position.page)
        return page(position)

    assert len(read(fetch, attempt)) == TOTAL
    assert patient == [1, 3, 6, 9, 12]


def test_an_error_is_raised_when_its_page_is_due() -> None:
    def gone(position: Position) -> Page:
        if position.page == 5:
            raise NotFound("deleted")
        return page(position)

    found: list[str] = []
    with Ahead(gone, gone, last_page=lambda: 13, width=8) as ahead, pytest.raises(NotFound):
        for one, _ in sweep(ahead, enough=lambda: False, identities=lambda items: items):
            found += one.items
    assert len(found) == 4 * LARGEST_PAGE


def test_the_next_pages_are_fetched_beside_the_first() -> None:
    others = threading.Barrier(5)

    def fetch(position: Position) -> Page:
        # The first page comes only when four others were asked for too.
        others.wait(timeout=20)
        return page(position)

    def attempt(position: Position) -> Page:
        if position.page <= 5:
            others.wait(timeout=20)
        return page(position)

    assert read(fetch, attempt) == [str(number) for number in range(TOTAL)]


def test_a_listing_with_cursors_is_read_page_by_page() -> None:
    ahead: list[int] = []

    def fetch(position: Position) -> Page:
        number = int(position.cursor or 1)
        found = page(Position(number))
        return Page(found.items, str(number + 1) if number < 13 else None)

    def attempt(position: Position) -> Page:
        ahead.append(position.page)
        # Of no use: by number another page stands there.
        return Page(["another"], None)

    assert read(fetch, attempt) == [str(number) for number in range(TOTAL)]
    # Only those beside the first page, which were asked for before its cursor was known.
    assert sorted(ahead) == [2, 3, 4, 5]


@pytest.mark.parametrize("total", [0, 5, LARGEST_PAGE])
def test_where_one_page_is_all_nothing_is_fetched_ahead(total: int) -> None:
    def attempt(position: Position) -> Page:
        raise AssertionError(f"page {position.page} was fetched ahead")

    assert len(read(lambda position: page(position, total), attempt, total=total)) == total


@pytest.mark.parametrize("width", [1, 8, 32])
def test_a_service_that_gives_one_page_for_every_number_costs_few_calls(width: int) -> None:
    asked: Counter[int] = Counter()

    def same(position: Position) -> Page:
        asked[position.page] += 1
        return page(Position(1))

    with pytest.raises(ListingRepeats):
        read(same, same, width=width)
    # Three pages tell; five more would be too many.
    assert len(asked) <= 5


@pytest.mark.parametrize("width", [1, 2])
def test_behind_two_empty_pages_no_other_one_is_fetched(width: int) -> None:
    asked: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        asked[position.page] += 1
        return page(position, 3 * LARGEST_PAGE)

    with Ahead(counted, counted, last_page=lambda: 100, width=width) as ahead:
        pages = list(sweep(ahead, enough=lambda: False, identities=lambda items: items, judged=ahead.judge))
    assert [len(one.items) for one, _ in pages] == [1000, 1000, 1000, 0, 0]
    assert asked == Counter(range(1, 6))


@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize("hole", [2, 3, 12])
def test_an_empty_page_in_the_middle_hides_no_page_behind_it(hole: int, width: int) -> None:
    asked: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        asked[position.page] += 1
        return Page([], None) if position.page == hole else page(position)

    with Ahead(counted, counted, last_page=lambda: 13, width=width) as ahead:
        pages = list(sweep(ahead, enough=lambda: False, identities=lambda items: items, judged=ahead.judge))
    shown = {row for one, _ in pages for row in one.items}
    assert shown == {str(number) for number in range(TOTAL) if number // LARGEST_PAGE != hole - 1}
    assert set(asked.values()) == {1}


def test_no_page_ahead_where_it_is_set_to_none() -> None:
    def attempt(position: Position) -> Page:
        raise AssertionError(f"page {position.page} was fetched ahead")

    assert len(read(page, attempt, width=0)) == TOTAL


def test_a_page_that_hangs_keeps_no_process_from_ending() -> None:
    code = """
import threading
from connectors.paging.read_ahead import Ahead
from connectors.paging.pages import LARGEST_PAGE, Page, Position
def hang(position):
    threading.Event().wait()
with Ahead(lambda at: Page([str(n) for n in range(LARGEST_PAGE)], None), hang, last_page=lambda: 9, width=8) as ahead:
    ahead(Position())
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "over\n"
