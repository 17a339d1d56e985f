"""Prefetches the next pages of a listing while the caller processes one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Self

from connectors.paging.pages import LARGEST_PAGE, Page, Position
from core.errors import PackError

# The first number of pages to prefetch, until the server has proved that it pages at all.
WIDTH_AT_FIRST = 4


class ReadAhead:
    """A `fetch` for connectors.paging.pages.sweep that prefetches pages in threads.

    fetch: returns a page, with all retries. attempt: returns a page at the first try, or raises; several threads call
    it. last_page: returns the last page worth fetching, as far as known. width: the number of pages in parallel.

    - Only numbered pages are prefetched, after the first page and after each full page, because a cursor is known only
      when its page has arrived.
    - Few pages are prefetched until the second page proves to differ from the first (`judge`), and none after a page
      without new items: a server that returns the same page for every number must not cost many calls.
    - After an empty prefetched page, no later page is prefetched, because the listing has probably ended.
    - A page whose prefetch failed is fetched again in its turn, so that waits and errors are those of a read without
      prefetching.
    """

    def __init__(
        self,
        fetch: Callable[[Position], Page],
        attempt: Callable[[Position], Page],
        *,
        last_page: Callable[[], int],
        width: int,
    ) -> None:
        self._fetch = fetch
        self._attempt = attempt
        self._last_page = last_page
        self._width = width
        # None for a page whose prefetch was skipped.
        self._begun: dict[int, Future[Page | None]] = {}
        self._empty: list[int] = []
        self._given = 0
        self._asked = False
        self._first = 1
        self._judged = 0
        self._without_new_items = False
        self._threads: list[Thread] = []
        self._wanted: SimpleQueue[tuple[int, Future[Page | None]] | None] = SimpleQueue()

    def judge(self, has_new_items: bool) -> None:
        """Record whether the page returned last brought new items."""
        self._judged += 1
        self._without_new_items = not has_new_items
        if has_new_items:
            # The listing continues after these empty pages.
            self._empty = [number for number in self._empty if number > self._given]

    def __call__(self, position: Position) -> Page:
        if self._begun and position.cursor is None:
            # The previous page has been judged, so more prefetches may be allowed now.
            self._begin(position.page + 1)
        if not self._asked and position.cursor is None:
            self._first = position.page
            # In parallel with the first page: waiting for it would cost a round trip.
            self._begin(position.page + 1)
        self._asked = True
        self._given = position.page
        begun = self._begun.pop(position.page, None) if position.cursor is None else None
        page = None
        # Checked without raising: a raised error would keep this frame and its page until the garbage collection.
        if begun is not None and not isinstance(begun.exception(), PackError):
            page = begun.result()
        if page is None:
            page = self._fetch(position)
        if position.cursor is None and page.next is None and len(page.items) >= LARGEST_PAGE:
            self._begin(position.page + 1)
        return page

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()
        for _thread in self._threads:
            self._wanted.put(None)

    def _begin(self, first: int) -> None:
        if self._without_new_items:
            return
        last = self._last_page()
        if self._judged < 2:
            last = min(last, self._first + WIDTH_AT_FIRST)
        for number in range(first, min(first + self._width, last + 1)):
            if number not in self._begun:
                self._begun[number] = Future()
                self._wanted.put((number, self._begun[number]))
                self._start_thread()

    def _start_thread(self) -> None:
        # The threads serve all pages, because starting a thread is slow while others work. They are daemons, because a
        # page that hangs must not block the exit of the process, as the threads of a pool would.
        if len(self._threads) < self._width:
            name = f"pages-ahead-{len(self._threads)}"
            self._threads.append(Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while wanted := self._wanted.get():
            number, page = wanted
            if page.set_running_or_notify_cancel():
                try:
                    page.set_result(self._prefetch(number))
                except BaseException as error:  # noqa: BLE001 -- raised in the thread that waits for the page
                    page.set_exception(error)
            # Otherwise the thread would keep the page until its next one.
            del wanted, page

    def _prefetch(self, number: int) -> Page | None:
        if any(number > empty for empty in self._empty):
            return None
        page = self._attempt(Position(number))
        if not page.items:
            self._empty.append(number)
        return page
