"""Polls a slow message search: the API answers 202 with a Location to poll."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from connectors.paging.pages import LONGEST_CURSOR
from core.errors import UnexpectedAnswer

# The polls of one page, within the time limit of the call. Most slow searches end at the first poll.
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
PAUSE_FACTOR = 1.5
MOST_POLLS = 40


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each poll."""
    pause = FIRST_PAUSE_SECONDS
    for _ in range(MOST_POLLS):
        yield pause
        pause = min(LONGEST_PAUSE_SECONDS, pause * PAUSE_FACTOR)


def place_of(location: str | None, *, base_url: str, search: str) -> tuple[str, dict[str, str]]:
    """Return the path and query of a Location. Only this API and account are allowed, because credentials go there.

    search: the path of the message search, including the account. Raises: UnexpectedAnswer.
    """
    base = urlsplit(base_url)
    location = location if location is not None and len(location) <= LONGEST_CURSOR else ""
    try:
        parts = urlsplit(location)
        same_service = (parts.scheme or base.scheme, parts.netloc or base.netloc) == (base.scheme, base.netloc)
    except ValueError:
        parts, same_service = urlsplit(""), False
    path = parts.path.removeprefix(base.path)
    inside = path == search or path.startswith(f"{search}/")
    if not same_service or not inside or re.search(r"[^A-Za-z0-9/_.~-]|\.\.", path):
        raise UnexpectedAnswer("the message search: header Location: is not a path of this API and account")
    return path, dict(parse_qsl(parts.query))
