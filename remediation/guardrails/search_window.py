"""Pin the time window of a search to absolute times. A search without them would mean another one each day."""

from __future__ import annotations

from datetime import datetime, timedelta

from connectors.objects.search import LOOK_BACK, SearchParams
from core.errors import ParameterError
from core.instants import format_instant

# For a search that was pinned to the longest window a moment ago.
MARGIN = timedelta(minutes=5)


def check_start(search: SearchParams, now: datetime) -> None:
    """Check that the search does not begin in the future, where nothing can be counted. Raises: ParameterError."""
    if search.start is not None and search.start - now > MARGIN:
        message = f"is in the future: it is {format_instant(now)} here"
        raise ParameterError.at("/search_params/start", message)


def with_start(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """Return the search with a start; and, where it had none, a warning that names the start."""
    if search.start is not None:
        return search, []
    start = _whole(min(now, search.end or now) - LOOK_BACK)
    return search.model_copy(update={"start": start}), [
        f"`start` is not given: the search is pinned to {LOOK_BACK.days} days, from {format_instant(start)}"
    ]


def pinned(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """Return the search with a fixed start and end, and warnings about both."""
    check_start(search, now)
    search, warnings = with_start(search, now)
    start = search.start or now
    if now - start > LOOK_BACK + MARGIN:
        days = (now - start) / timedelta(days=1)
        warnings.append(f"the window begins {days:.1f} days ago: the API does not document how far back a job searches")
    search, more = with_past_end(search, now)
    if search.end is None:
        search = search.model_copy(update={"end": max(_whole(now), start)})
    return search, warnings + more


def with_past_end(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """Return the search with a future end moved to now: nobody counted the mail that is still to come."""
    if search.end is None or search.end <= now:
        return search, []
    end = max(_whole(now), search.start or _whole(now))
    return search.model_copy(update={"end": end}), [
        f"`end` is in the future: the search ends at {format_instant(end)} instead"
    ]


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
