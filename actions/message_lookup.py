"""Looking messages up by their IDs, and what their state says about a change: done, not done, or not to be told.

The message search knows no investigate ID. But the ID holds the time of the scan, in UTC:
`4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678`. So narrow windows around these times are searched; an ID of another
form can't be looked up. The state decides, no clock does: action_log and findings are past their end of life
(2026-11-01) and may be missing; the other fields then tell less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from connectors.email_security import EmailSecurity
from connectors.errors import ApiRefusal
from connectors.job import Destination
from connectors.search import SearchParams, parse_instant, verdict_of
from guardrails.named_messages import Change, NamedMessage

if TYPE_CHECKING:
    from connectors.message import MessageDetails

State = Literal["done", "not done", "unknown"]

# Before and after the second that the ID names.
SLACK = timedelta(seconds=5)

# Windows that are closer than this become one: to read a few other messages is cheaper than another call.
CLOSE = timedelta(seconds=60)

# Bounds of one look. Where there would be more searches, windows further apart become one.
MOST_SEARCHES = 200
MOST_MESSAGES_READ = 500_000

_ID = re.compile(r"[0-9A-Za-z]{1,64}-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)-\d{1,20}", re.ASCII)

_CHANGES_FOLDER = ("MOVE", "RELEASE", "QUARANTINE_RELEASE")
# What a log entry says of an operation that was carried out; null where the service does not say.
_DONE = (None, "OK")

_RELEASES = ("RELEASE", "QUARANTINE_RELEASE")


@dataclass(frozen=True)
class Window:
    """A stretch of time, and the IDs of the messages that were scanned in it."""

    start: datetime
    end: datetime
    ids: frozenset[str]


def scanned_at(investigate_id: str) -> datetime | None:
    """The time in the ID; None where it has none."""
    found = _ID.fullmatch(investigate_id)
    if found is None or not "2000" <= found[1] < "9000":
        return None
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        return None


def windows(ids: Iterable[str]) -> list[Window]:
    """The windows that hold these messages, at most MOST_SEARCHES, in order of time."""
    timed = sorted((at, one) for one in set(ids) if (at := scanned_at(one)) is not None)
    close = CLOSE
    while len(merged := _merged(timed, close)) > MOST_SEARCHES:
        close *= 2
    return merged


def look_up(api: EmailSecurity, ids: Iterable[str]) -> dict[str, MessageDetails]:
    """The messages that could be found, by ID. One that is missing is not there, or could not be looked up.

    Raises: what EmailSecurity.search_messages raises, but for a window that the API refuses to search.
    """
    found: dict[str, MessageDetails] = {}
    read = 0
    for window in windows(ids):
        missing = set(window.ids)
        search = SearchParams(start=window.start, end=window.end, detections_only=False)
        try:
            for message in api.search_messages(search):
                read += 1
                if message.id in missing:
                    found[message.id] = message
                    missing.discard(message.id)
                if not missing or read >= MOST_MESSAGES_READ:
                    break
        except ApiRefusal as refusal:
            # A time that the API does not search: whoever made up the ID chose it.
            if refusal.http_status != 400:
                raise
        if read >= MOST_MESSAGES_READ:
            break
    return found


def with_details(message: NamedMessage, details: MessageDetails | None) -> NamedMessage:
    """The message with what the look has found: it is newer than what any file says."""
    if details is None:
        return message
    senders = tuple(sender for sender in (details.from_, details.envelope_from) if sender)
    recipients = message.recipients if details.client_recipients is None else tuple(details.client_recipients)
    return replace(
        message,
        message_id=details.message_id or message.message_id,
        recipients=recipients,
        senders=senders or message.senders,
        verdict=verdict_of(details.final_disposition) if details.final_disposition else message.verdict,
    )


def was_purged(details: MessageDetails | None) -> bool:
    """Whether the log says that a copy was moved to where nothing comes back from, whatever was done after it."""
    folders = None if details is None else _folders(details.action_log)
    return "RecoverableItemsPurges" in (folders or ())


def state_of(details: MessageDetails | None, change: Change) -> State:
    """Whether the change has been made to the message, for every recipient."""
    if details is None:
        return "unknown"
    return _released(details) if change.action == "RELEASE" else _moved(details, change.destination)


def _moved(details: MessageDetails, destination: str | None) -> State:
    statuses = set(details.delivery_status or ())
    folders = _folders(details.action_log)
    if folders is None:
        return "unknown"
    if not folders:
        operations = details.post_delivery_operations
        nothing_said = details.action_log is None and operations is None and details.delivery_status is None
        moved = bool(set(operations or ()) & set(_CHANGES_FOLDER)) or "moved" in statuses
        return "unknown" if moved or nothing_said else "not done"
    # The log may have an entry for each recipient, and does not name them.
    latest = folders[-details.copies :]
    if destination not in latest:
        # Folders that this pack does not know may be other words for the one that is meant.
        return "not done" if latest[-1] in get_args(Destination) else "unknown"
    mixed = "move_failed" in statuses or ("moved" in statuses and len(statuses) > 1)
    all_copies = len(latest) == details.copies and set(latest) == {destination} and not mixed
    return "done" if all_copies else "unknown"


def _released(details: MessageDetails) -> State:
    held = details.is_quarantined
    if held is None and details.delivery_status is not None:
        held = "quarantined" in details.delivery_status
    log = [entry for entry in details.action_log or () if entry.get("operation") in _RELEASES]
    if any(entry.get("status") not in _DONE for entry in log):
        return "unknown"
    logged = bool(log)
    released = logged or bool(set(details.post_delivery_operations or ()) & set(_RELEASES))
    if held is None or held == released:
        # Some copies are held and some were released; or none is held, and nothing says that it ever was.
        return "unknown"
    return "done" if released else "not done"


def _folders(log: list[dict[str, Any]] | None) -> list[str] | None:
    """The folders that moves and releases went to, the oldest first. None where the log can't be read."""
    entries: list[tuple[datetime, str]] = []
    for entry in log or ():
        if entry.get("operation") not in _CHANGES_FOLDER:
            continue
        if entry.get("status") not in _DONE:
            # One that failed has moved nothing; one in words that are not known may have.
            return None
        properties = entry.get("properties")
        folder = properties.get("folder") if isinstance(properties, Mapping) else None
        try:
            at = parse_instant(entry.get("completed_at"))
        except ValueError:
            return None
        entries.append((at, folder if isinstance(folder, str) else ""))
    return [folder for _, folder in sorted(entries, key=lambda entry: entry[0])]


def _merged(timed: list[tuple[datetime, str]], close: timedelta) -> list[Window]:
    groups: list[list[tuple[datetime, str]]] = []
    for at, one in timed:
        if groups and at - groups[-1][-1][0] <= close:
            groups[-1].append((at, one))
        else:
            groups.append([(at, one)])
    return [Window(group[0][0] - SLACK, group[-1][0] + SLACK, frozenset(one for _, one in group)) for group in groups]
