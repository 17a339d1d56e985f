"""The time that a search covers, pinned to absolute times: a search without one would mean something else every day."""

from __future__ import annotations

from datetime import datetime, timedelta

from connectors.objects.search import LOOK_BACK, SearchParams
from core.errors import ParameterError, Problem
from core.instants import format_instant

# A search that was pinned to just that long ago a moment before is not beyond it.
MARGIN = timedelta(minutes=5)


def check_start(search: SearchParams, now: datetime) -> None:
    """Raises: ParameterError for a search that begins in the future: nobody can count what it will find."""
    if search.start is not None and search.start - now > MARGIN:
        message = f"lies in the future: it is {format_instant(now)} here"
        raise ParameterError(problems=[Problem(pointer="/search_params/start", message=message)])


def with_start(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """The search with a beginning; and, where it had none, a warning that says which it was given."""
    if search.start is not None:
        return search, []
    start = _whole(min(now, search.end or now) - LOOK_BACK)
    return search.model_copy(update={"start": start}), [
        f"`start` is not given: the search is pinned to {LOOK_BACK.days} days, from {format_instant(start)}"
    ]


def pinned(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """The search with a beginning and an end, neither of which moves with the clock; and warnings about both."""
    check_start(search, now)
    search, warnings = with_start(search, now)
    start = search.start or now
    if now - start > LOOK_BACK + MARGIN:
        days = (now - start) / timedelta(days=1)
        warnings.append(f"the window begins {days:.1f} days ago: how far back a job looks is not documented")
    search, more = with_past_end(search, now)
    if search.end is None:
        search = search.model_copy(update={"end": max(_whole(now), start)})
    return search, warnings + more


def with_past_end(search: SearchParams, now: datetime) -> tuple[SearchParams, list[str]]:
    """Return the search with an end that lies ahead moved to now: mail of the future was not counted by anybody."""
    if search.end is None or search.end <= now:
        return search, []
    end = max(_whole(now), search.start or _whole(now))
    return search.model_copy(update={"end": end}), [
        f"`end` lies in the future: the search ends at {format_instant(end)} instead"
    ]


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
