"""Reads the list of jobs page by page, forwards or backwards. Long lists are prefetched.

A function `fetch` returns a page; with once=True at the first try. width: the number of pages to prefetch in parallel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from connectors.paging.pages import LARGEST_PAGE, Bounds, Page, Position, sweep
from connectors.paging.read_ahead import ReadAhead

Fetch = Callable[..., Page]

# The number of pages to prefetch if the number of pages is unknown: each page after the end is a wasted call.
PAGES_BLIND = 2


def pages_forwards(fetch: Fetch, first: int, last_page: int | None, *, width: int, bounds: Bounds) -> Iterator[Page]:
    """Yield the pages from `first` on, including empty pages at the end. last_page: the last page to prefetch."""
    width = width if last_page is not None else min(width, PAGES_BLIND)
    with ExitStack() as stack:
        ahead: ReadAhead | None = None
        full_pages = 0

        def fetched(position: Position) -> Page:
            nonlocal ahead
            # Prefetch only after a second full page with new jobs: most accounts have one page of jobs, and a server
            # that ignores the page number returns the same page forever.
            if ahead is None and width and full_pages > 1:
                ahead = stack.enter_context(_prefetching(fetch, last_page or bounds.pages, width))
            return fetch(position) if ahead is None else ahead(position)

        def judge(has_new_items: bool) -> None:
            nonlocal full_pages
            full_pages = full_pages + 1 if has_new_items else 0
            if ahead is not None:
                ahead.judge(has_new_items)

        for page, follows in sweep(
            fetched,
            enough=lambda: False,
            identities=_job_ids,
            start=Position(first),
            judged=judge,
            what="the list of jobs",
            bounds=bounds,
        ):
            full_pages = full_pages if follows.cursor is None and len(page.items) >= LARGEST_PAGE else 0
            yield page


def pages_backwards(
    fetch: Fetch, first: int, last_page: int, *, full_page: int, width: int, bounds: Bounds
) -> Iterator[Page]:
    """Yield the pages from the end of the list (or `last_page`, if later) back to `first`.

    full_page: the number of jobs on a page after which another page may follow.
    """
    # New jobs since the pages were counted may have added pages.
    end, page = last_page, fetch(Position(last_page))
    seen = set(_job_ids(page.items))
    while len(page.items) >= full_page and end - last_page < bounds.pages:
        behind = fetch(Position(end + 1))
        if seen.issuperset(_job_ids(behind.items)):
            # The end of the list, or a server that returns the same page for every number.
            page = page if behind.items else behind
            end += not behind.items
            break
        seen.update(_job_ids(behind.items))
        end, page = end + 1, behind
    yield page

    # The pages on the way to the end were read forwards, so they are read again.
    def mirrored(position: Position, *, once: bool = False) -> Page:
        return fetch(Position(end - position.page), once=once)

    rest = end - first
    if full_page < LARGEST_PAGE:
        yield from (mirrored(Position(number)) for number in range(1, rest + 1))
        return
    with _prefetching(mirrored, rest, width) as ahead:
        for number in range(1, rest + 1):
            yield ahead(Position(number))
            ahead.judge(True)


def _prefetching(fetch: Fetch, last_page: int, width: int) -> ReadAhead:
    return ReadAhead(fetch, functools.partial(fetch, once=True), last_page=lambda: last_page, width=width)


def _job_ids(items: list[dict[str, Any]]) -> list[str]:
    return [str(item.get("job_id")).lower() for item in items]
