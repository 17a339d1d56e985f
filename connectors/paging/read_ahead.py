"""Fetching a listing's next pages while one is worked on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

from connectors.paging.pages import LARGEST_PAGE, Page, Position
from core.errors import PackError

# At once, until it is known that the service pages at all: within the calls that a listing may cost which repeats.
WIDTH_AT_FIRST = 4


class Ahead:
    """Given to `connectors.paging.pages.sweep` as its fetch.

    fetch: gets a page with all patience. attempt: gets one by its number at the first try, or raises; it is called by
    several threads. last_page: the last page that is worth fetching, as far as is known. width: how many at once.

    Only numbered pages are fetched ahead, behind the first and behind each full one: a cursor is known when its page
    is there. Until the second page has proved to be another than the first (`judge`), and behind a page that brought
    nothing new, few are: a service that gives the same page for every number must not cost many calls. Behind an empty
    page that was fetched ahead no fetch starts before its turn: most likely the listing has ended. What did not come at
    the first try is fetched again in its turn: waits and errors are those of a listing read page by page.
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
        # None for a page that was not worth its fetch.
        self._begun: dict[int, Future[Page | None]] = {}
        self._empty: list[int] = []
        self._given = 0
        self._asked = False
        self._first = 1
        self._judged = 0
        self._brought_nothing = False
        self._threads: list[Thread] = []
        self._wanted: SimpleQueue[tuple[int, Future[Page | None]] | None] = SimpleQueue()

    def judge(self, brought_anything: bool) -> None:
        """Learn whether the page that was given last brought anything new."""
        self._judged += 1
        self._brought_nothing = not brought_anything
        if brought_anything:
            # The listing goes on behind these.
            self._empty = [number for number in self._empty if number > self._given]

    def __call__(self, position: Position) -> Page:
        if self._begun and position.cursor is None:
            # The page before has been judged by now: more may be allowed than when it came.
            self._begin(position.page + 1)
        if not self._asked and position.cursor is None:
            self._first = position.page
            # Beside the first page, not behind it, which would cost one more wait for an answer.
            self._begin(position.page + 1)
        self._asked = True
        self._given = position.page
        begun = self._begun.pop(position.page, None) if position.cursor is None else None
        page = None
        # Asked for, not raised: the error would keep this frame, and with it the page, until garbage is collected.
        if begun is not None and not isinstance(begun.exception(), PackError):
            page = begun.result()
        if page is None:
            page = self._fetch(position)
        if position.cursor is None and page.next is None and len(page.items) >= LARGEST_PAGE:
            self._begin(position.page + 1)
        return page

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_up()
        for _ in self._threads:
            self._wanted.put(None)

    def _begin(self, first: int) -> None:
        if self._brought_nothing:
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
        # Kept for all pages: to start one waits until it has run, which is long where others are at work. Daemons: a
        # page that hangs must not keep a process from ending, as the threads of a pool do.
        if len(self._threads) < self._width:
            name = f"pages-ahead-{len(self._threads)}"
            self._threads.append(Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while wanted := self._wanted.get():
            number, page = wanted
            if page.set_running_or_notify_cancel():
                try:
                    page.set_result(self._attempted(number))
                except BaseException as error:  # noqa: BLE001 -- handed over to whoever waits for the page
                    page.set_exception(error)
            # Else the thread would keep the page until it has the next.
            del wanted, page

    def _attempted(self, number: int) -> Page | None:
        if any(number > empty for empty in self._empty):
            return None
        page = self._attempt(Position(number))
        if not page.items:
            self._empty.append(number)
        return page

    def _give_up(self) -> None:
        for begun in self._begun.values():
            begun.cancel()
        self._begun.clear()
