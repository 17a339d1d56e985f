"""Look messages up by their IDs, and decide from their state whether a change is done, not done, or not known.

The message search does not take an investigate ID. But the ID has the time of the scan, in UTC:
`4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678`. So several messages that were scanned at about the same time are
searched for in one narrow window, and the others are requested one by one. Where a message shows that it was moved, its
action log has the folder. The log names no recipient, so it often leaves open what happened in several mailboxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args

from connectors.email_security import EmailSecurity
from connectors.objects.job import Destination
from connectors.objects.message_action import FIXED_PATHS
from connectors.objects.search import SearchParams, verdict_of
from core.errors import ApiRefusal, NotFound
from remediation.guardrails.change import Change, NamedMessage

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails
    from connectors.objects.message_action import MessageAction

State = Literal["done", "not done", "unknown"]

# Before and after the second that the ID names.
SLACK = timedelta(seconds=5)

# Windows that are closer than this become one: reading a few other messages is cheaper than another call.
CLOSE = timedelta(seconds=60)

# Limits of one lookup. Where there would be more searches, windows further apart become one.
MOST_SEARCHES = 200
MOST_MESSAGES_READ = 500_000

# The most messages that are requested by ID in one lookup, because no search found them.
MOST_REQUESTED = 200

# One call a log, of a budget of 1,200 calls in 5 minutes: a quarter of it before a change. After a lost answer every
# message of the batch may need its log; the connector spaces the calls.
LOGS_BEFORE = 300
LOGS_AFTER_LOSS = 1000

_ID = re.compile(r"[0-9A-Za-z]{1,64}-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)-\d{1,20}", re.ASCII)

_CHANGES_FOLDER = ("MOVE", "RELEASE", "QUARANTINE_RELEASE")
_RELEASES = ("RELEASE", "QUARANTINE_RELEASE")
_CHANGES_NO_FOLDER = ("PREVIEW", "SUBMISSION", "RECLASSIFY")


@dataclass(frozen=True)
class Window:
    """A time window, and the IDs of the messages that were scanned in it."""

    start: datetime
    end: datetime
    ids: frozenset[str]


def scanned_at(investigate_id: str) -> datetime | None:
    """Return the time in the ID; None if it has none."""
    found = _ID.fullmatch(investigate_id)
    if found is None or not "2000" <= found[1] < "9000":
        return None
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        return None


def windows(ids: Iterable[str]) -> list[Window]:
    """Return the windows with these messages, at most MOST_SEARCHES, in order of time."""
    timed = sorted((at, one) for one in set(ids) if (at := scanned_at(one)) is not None)
    close = CLOSE
    while len(merged := _merged(timed, close)) > MOST_SEARCHES:
        close *= 2
    return merged


def look_up(api: EmailSecurity, ids: Iterable[str]) -> dict[str, MessageDetails]:
    """Return the messages that could be found, by ID. A missing one does not exist, or could not be looked up.

    Makes at most MOST_SEARCHES searches, and two calls for each of MOST_REQUESTED messages that no search finds.
    Raises: as EmailSecurity.search_messages, but not where the API refuses the search or finds nothing.
    """
    found: dict[str, MessageDetails] = {}
    wanted = dict.fromkeys(ids)
    read = 0
    for window in windows(wanted):
        if read >= MOST_MESSAGES_READ:
            break
        if len(window.ids) > 1:
            read += _search(api, window, found, MOST_MESSAGES_READ - read)
    for one in [one for one in wanted if one not in found and one not in FIXED_PATHS][:MOST_REQUESTED]:
        # Mail that a user reported may be only in the other store.
        if (details := _ask_for(api, one) or _ask_for(api, one, submission=True)) is not None:
            found[one] = details
    return found


def read_logs(
    api: EmailSecurity, found: Mapping[str, MessageDetails], change: Change, most: int
) -> dict[str, list[MessageAction]]:
    """Return the action logs of messages whose own fields do not show whether the change was made, by ID.

    Makes one call for each log, `most` at most. Raises: as EmailSecurity.message_actions, but not for a missing log.
    """
    logs: dict[str, list[MessageAction]] = {}
    for one in [one for one, details in found.items() if needs_log(details, change)][:most]:
        try:
            logs[one] = api.message_actions(one)
        except ApiRefusal as refusal:
            if not _is_absence(refusal):
                raise
    return logs


def _search(api: EmailSecurity, window: Window, found: dict[str, MessageDetails], most: int) -> int:
    """Search a window for its messages. Returns the number of messages that were read."""
    missing, read = set(window.ids), 0
    search = SearchParams(start=window.start, end=window.end, detections_only=False)
    try:
        for message in api.search_messages(search):
            read += 1
            if message.id in missing:
                found[message.id] = message
                missing.discard(message.id)
            if not missing or read >= most:
                break
    except ApiRefusal as refusal:
        # The API does not search that time: the ID is made up.
        if not _is_absence(refusal):
            raise
    return read


def _ask_for(api: EmailSecurity, one: str, *, submission: bool = False) -> MessageDetails | None:
    try:
        return api.get_message(one, submission=submission)
    except ApiRefusal as refusal:
        if not _is_absence(refusal):
            raise
        return None


def _is_absence(refusal: ApiRefusal) -> bool:
    return isinstance(refusal, NotFound) or refusal.http_status == 400


def with_details(message: NamedMessage, details: MessageDetails) -> NamedMessage:
    """Return the message with the facts that were looked up, which are newer than those of a file."""
    senders = tuple(sender for sender in (details.from_, details.envelope_from) if sender)
    recipients = message.recipients if details.client_recipients is None else tuple(details.client_recipients)
    return replace(
        message,
        message_id=details.message_id or message.message_id,
        recipients=recipients,
        senders=senders or message.senders,
        verdict=verdict_of(details.final_disposition) if details.final_disposition else message.verdict,
    )


def was_purged(log: Iterable[MessageAction] | None) -> bool:
    """Return whether the log has a move of a copy to RecoverableItemsPurges, whatever came after it."""
    return any(entry.folder == "RecoverableItemsPurges" and entry.carried_out is not False for entry in log or ())


def needs_log(details: MessageDetails, change: Change) -> bool:
    """Return whether only the message's action log can show the change."""
    if change.action == "RELEASE":
        return not _is_held(details) and not _released_after_delivery(details)
    return state_of(details, None, change) == "unknown"


def state_of(details: MessageDetails | None, log: Sequence[MessageAction] | None, change: Change) -> State:
    """Return whether the change was made for every recipient of the message. log: None if it was not read."""
    if details is None:
        return "unknown"
    return _released(details, log) if change.action == "RELEASE" else _moved(details, log, change.destination)


def _moved(details: MessageDetails, log: Sequence[MessageAction] | None, destination: str | None) -> State:
    statuses, operations = set(details.delivery_status or ()), details.post_delivery_operations
    touched = bool(set(operations or ()) & set(_CHANGES_FOLDER)) or "moved" in statuses
    if log is None:
        nothing_said = operations is None and details.delivery_status is None
        return "unknown" if touched or nothing_said else "not done"
    folders = _folders(log)
    if folders is None:
        return "unknown"
    if not folders:
        # The message was moved, and the log has no move: one of the two is out of date.
        return "unknown" if touched else "not done"
    known = set(get_args(Destination))
    if len(details.client_recipients or ()) == 1:
        latest = folders[-1]
        if latest == {destination} and "move_failed" not in statuses:
            return "done"
        # An unknown folder may be another name of the destination.
        return "not done" if destination not in latest and len(latest) == 1 and latest <= known else "unknown"
    # Several mailboxes, or an unknown number of them, and no entry names the mailbox of the copy.
    everywhere = set().union(*folders)
    if everywhere == {destination} and statuses == {"moved"}:
        return "done"
    return "not done" if destination not in everywhere and everywhere <= known else "unknown"


def _released(details: MessageDetails, log: Sequence[MessageAction] | None) -> State:
    held = _is_held(details)
    entries = [entry for entry in log or () if entry.operation in _RELEASES]
    if any(entry.carried_out is None for entry in entries):
        return "unknown"
    released = _released_after_delivery(details) or any(entry.carried_out for entry in entries)
    if held is None or held == released:
        # Some copies are held and some were released; or none is held, and nothing shows that one was.
        return "unknown"
    return "done" if released else "not done"


def _is_held(details: MessageDetails) -> bool | None:
    if details.is_quarantined is None and details.delivery_status is not None:
        return "quarantined" in details.delivery_status
    return details.is_quarantined


def _released_after_delivery(details: MessageDetails) -> bool:
    return bool(set(details.post_delivery_operations or ()) & set(_RELEASES))


def _folders(log: Iterable[MessageAction]) -> list[set[str]] | None:
    """Return the folders of moves and releases, the oldest first; those of one instant together.

    Failed attempts are left out: a later one may have succeeded. None if the log can't be read, or an attempt may
    still run.
    """
    entries: dict[datetime, set[str]] = {}
    for entry in log:
        # An unknown operation with a folder may be a move under another name.
        elsewhere = entry.operation in _CHANGES_NO_FOLDER or entry.folder is None
        if entry.operation not in _CHANGES_FOLDER and not elsewhere:
            return None
        if entry.operation not in _CHANGES_FOLDER or entry.carried_out is False:
            continue
        try:
            at = entry.time()
        except ValueError:
            return None
        if entry.carried_out is None:
            return None
        entries.setdefault(at, set()).add(entry.folder or "")
    return [entries[at] for at in sorted(entries)]


def _merged(timed: list[tuple[datetime, str]], close: timedelta) -> list[Window]:
    groups: list[list[tuple[datetime, str]]] = []
    for at, one in timed:
        if groups and at - groups[-1][-1][0] <= close:
            groups[-1].append((at, one))
        else:
            groups.append([(at, one)])
    return [Window(group[0][0] - SLACK, group[-1][0] + SLACK, frozenset(one for _, one in group)) for group in groups]
