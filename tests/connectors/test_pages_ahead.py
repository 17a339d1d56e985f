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
from connectors.paging.read_ahead import ReadAhead
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

    with ReadAhead(fetch, attempt, last_page=lambda: -(-total // LARGEST_PAGE), width=width) as ahead:
        for one, _ in sweep(ahead, enough=enough, identities=lambda items: items, judged=ahead.judge):
            found.extend(one.items)
    return found


def test_pages_are_fetched_in_parallel_and_returned_in_order() -> None:
    # The barrier breaks, and the test fails, unless four fetches run at once.
    together = threading.Barrier(4)

    def attempt(position: Position) -> Page:
        together.wait(timeout=20)
        return page(position)

    assert read(page, attempt) == [str(number) for number in range(TOTAL)]


def test_no_page_is_fetched_twice_or_after_the_last() -> None:
    calls: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        calls[position.page] += 1
        return page(position)

    read(counted, counted, width=8)
    assert calls == Counter(range(1, 14))


def test_a_page_fetched_again_is_freed_after_its_last_use() -> None:
    class Items(list[str]):
        """A list that can be watched."""

    def attempt(position: Position) -> Page:
        raise RateLimited(f"page {position.page}")

    def fetch(position: Position) -> Page:
        return Page(Items(page(position).items), None)

    gc.disable()
    try:
        with ReadAhead(fetch, attempt, last_page=lambda: 13, width=4) as ahead:
            given = [weakref.ref(ahead(Position(number)).items) for number in range(1, 13)]
            assert [one() for one in given] == [None] * 12
    finally:
        gc.enable()


def test_a_page_whose_prefetch_failed_is_fetched_when_due() -> None:
    fetched_when_due: list[int] = []

    def attempt(position: Position) -> Page:
        if position.page % 3 == 0:
            raise ServiceUnavailable("502")
        return page(position)

    def fetch(position: Position) -> Page:
        fetched_when_due.append(position.page)
        return page(position)

    assert len(read(fetch, attempt)) == TOTAL
    assert fetched_when_due == [1, 3, 6, 9, 12]


def test_an_error_is_raised_when_its_page_is_due() -> None:
    def fetch_until_deleted(position: Position) -> Page:
        if position.page == 5:
            raise NotFound("deleted")
        return page(position)

    found: list[str] = []
    with (
        ReadAhead(fetch_until_deleted, fetch_until_deleted, last_page=lambda: 13, width=8) as ahead,
        pytest.raises(NotFound),
    ):
        for one, _ in sweep(ahead, enough=lambda: False, identities=lambda items: items):
            found += one.items
    assert len(found) == 4 * LARGEST_PAGE


def test_the_next_pages_are_fetched_together_with_the_first() -> None:
    others = threading.Barrier(5)

    def fetch(position: Position) -> Page:
        # The first page arrives only after four others are requested.
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
        # Useless: the page with this number has other rows.
        return Page(["another"], None)

    assert read(fetch, attempt) == [str(number) for number in range(TOTAL)]
    # Only the pages that were requested before the first cursor was known.
    assert sorted(ahead) == [2, 3, 4, 5]


@pytest.mark.parametrize("total", [0, 5, LARGEST_PAGE])
def test_nothing_is_prefetched_for_a_single_page(total: int) -> None:
    def attempt(position: Position) -> Page:
        raise AssertionError(f"page {position.page} was fetched ahead")

    assert len(read(lambda position: page(position, total), attempt, total=total)) == total


@pytest.mark.parametrize("width", [1, 8, 32])
def test_a_service_that_repeats_one_page_costs_few_calls(width: int) -> None:
    calls: Counter[int] = Counter()

    def same(position: Position) -> Page:
        calls[position.page] += 1
        return page(Position(1))

    with pytest.raises(ListingRepeats):
        read(same, same, width=width)
    # Three pages are enough to detect it; a few may be prefetched.
    assert len(calls) <= 5


@pytest.mark.parametrize("width", [1, 2])
def test_no_page_is_fetched_after_two_empty_pages(width: int) -> None:
    calls: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        calls[position.page] += 1
        return page(position, 3 * LARGEST_PAGE)

    with ReadAhead(counted, counted, last_page=lambda: 100, width=width) as ahead:
        pages = list(sweep(ahead, enough=lambda: False, identities=lambda items: items, judged=ahead.judge))
    assert [len(one.items) for one, _ in pages] == [1000, 1000, 1000, 0, 0]
    assert calls == Counter(range(1, 6))


@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize("hole", [2, 3, 12])
def test_an_empty_page_in_the_middle_does_not_end_the_listing(hole: int, width: int) -> None:
    calls: Counter[int] = Counter()

    def counted(position: Position) -> Page:
        calls[position.page] += 1
        return Page([], None) if position.page == hole else page(position)

    with ReadAhead(counted, counted, last_page=lambda: 13, width=width) as ahead:
        pages = list(sweep(ahead, enough=lambda: False, identities=lambda items: items, judged=ahead.judge))
    shown = {row for one, _ in pages for row in one.items}
    assert shown == {str(number) for number in range(TOTAL) if number // LARGEST_PAGE != hole - 1}
    assert set(calls.values()) == {1}


def test_a_width_of_zero_turns_prefetching_off() -> None:
    def attempt(position: Position) -> Page:
        raise AssertionError(f"page {position.page} was fetched ahead")

    assert len(read(page, attempt, width=0)) == TOTAL


def test_a_hanging_prefetch_does_not_keep_the_process_alive() -> None:
    code = """
import threading
from connectors.paging.read_ahead import ReadAhead
from connectors.paging.pages import LARGEST_PAGE, Page, Position
def hang(position):
    threading.Event().wait()
full = Page([str(n) for n in range(LARGEST_PAGE)], None)
with ReadAhead(lambda at: full, hang, last_page=lambda: 9, width=8) as ahead:
    ahead(Position())
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "over\n"
