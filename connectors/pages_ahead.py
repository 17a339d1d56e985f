"""Fetching a listing's next pages while one is worked on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from connectors.errors import PackError
from connectors.paging import LARGEST_PAGE, Page, Position


class Ahead:
    """Given to `connectors.paging.sweep` as its fetch.

    fetch: gets a page with all patience. attempt: gets one by its number at the first try, or raises; it is called by
    several threads. last_page: the last page that is worth fetching, as far as is known. width: how many at once.

    Only numbered pages behind a full one are fetched ahead: a cursor is known when its page is there. What did not
    come at the first try is fetched again in its turn: waits and errors are those of a listing read page by page.
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
        self._pool: ThreadPoolExecutor | None = None
        self._begun: dict[int, Future[Page]] = {}

    def __call__(self, position: Position) -> Page:
        begun = self._begun.pop(position.page, None) if position.cursor is None else None
        page = None
        if begun is not None:
            with suppress(PackError):
                page = begun.result()
        if page is None:
            page = self._fetch(position)
        if position.cursor is None and page.next is None and len(page.items) >= LARGEST_PAGE:
            self._begin(position.page + 1)
        else:
            self._give_up()
        return page

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_up()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _begin(self, first: int) -> None:
        for number in range(first, min(first + self._width, self._last_page() + 1)):
            if number not in self._begun:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self._width, thread_name_prefix="page-ahead")
                self._begun[number] = self._pool.submit(self._attempt, Position(number))

    def _give_up(self) -> None:
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()
