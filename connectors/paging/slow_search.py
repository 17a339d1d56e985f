"""Where a slow message search is asked after: the API answers 202 with a Location, which is not followed anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from connectors.paging.pages import LONGEST_CURSOR
from core.errors import UnexpectedAnswer

# Polls of one page, and not longer than the call's allowance: most searches that are slow end within the first.
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
PAUSE_FACTOR = 1.5
MOST_POLLS = 40


def pauses() -> Iterator[float]:
    """The seconds to wait before each poll."""
    pause = FIRST_PAUSE_SECONDS
    for _ in range(MOST_POLLS):
        yield pause
        pause = min(LONGEST_PAUSE_SECONDS, pause * PAUSE_FACTOR)


def place_of(location: str | None, *, base_url: str, search: str) -> tuple[str, dict[str, str]]:
    """The path and query that Location names: of this service and of this account only, for credentials go there.

    search: the message search's own path, which the account is part of. Raises: UnexpectedAnswer.
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
        raise UnexpectedAnswer("the message search: field Location: is not a path of this service and account")
    return path, dict(parse_qsl(parts.query))
