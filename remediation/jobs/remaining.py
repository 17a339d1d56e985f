"""Count the messages of a search that a reused job has left: still delivered, or for a release still in quarantine.

A message remains if it is delivered, if its move has failed, or if it was moved and is back in Inbox. Only a message's
action log shows the last case, and the log does not name the mailbox. So the count is bounded. The result states
whether a bound was reached, or whether the number of mailboxes of a message is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, NamedTuple

from connectors.email_security import EmailSecurity
from connectors.objects.job import ActionType, Destination
from connectors.objects.search import DeliveryStatus, SearchParams
from core.clock import Deadline
from core.errors import NotFound, PackError
from remediation.guardrails.search_scope import scope_of

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails

# Messages read for each delivery status: ten pages.
MOST_READ = 10_000
# Action logs read, spread over the messages that were moved. Mail that was moved back was mostly moved back together.
MOST_LOGS = 25
MOST_SECONDS = 60.0

_IN_MAILBOX: tuple[DeliveryStatus, ...] = ("delivered", "move_failed")


@dataclass(frozen=True)
class Remaining:
    """The messages that remain. messages: one for each mailbox; None if they can't be counted (see `why_not`).

    all_checked: whether every message was checked, in every mailbox; otherwise `messages` is a minimum.
    """

    messages: int | None
    all_checked: bool = True
    why_not: str | None = None


def count_remaining(
    api: EmailSecurity, action: ActionType, destination: Destination | None, search: SearchParams
) -> Remaining:
    """Count the messages of a search that the action has not moved or released yet. Never raises a PackError."""
    if uncountable := scope_of(search).uncountable:
        return Remaining(None, all_checked=False, why_not=uncountable)
    try:
        bounded = api.with_deadline(Deadline(api.clock, MOST_SECONDS))
        if action == "RELEASE":
            held, complete = _found(bounded, search, "quarantined")
            found = [_copies(one, ("quarantined",)) for one in held]
        else:
            found, complete = _still_in_mailboxes(bounded, search, to_inbox=destination == "Inbox")
    except PackError as failure:
        return Remaining(None, all_checked=False, why_not=failure.message)
    return Remaining(sum(one.copies for one in found), complete and all(one.sure for one in found))


class _Left(NamedTuple):
    """One message. copies: the mailboxes in which it remains. sure: whether that is exact, not a minimum."""

    copies: int
    sure: bool


def _still_in_mailboxes(api: EmailSecurity, search: SearchParams, *, to_inbox: bool) -> tuple[list[_Left], bool]:
    """Return the messages that remain, and whether every message was checked."""
    found: dict[str, _Left] = {}
    complete = True
    for status in () if to_inbox else _IN_MAILBOX:
        messages, whole = _found(api, search, status)
        complete = complete and whole
        found |= {one.id: _copies(one, _IN_MAILBOX) for one in messages}
    moved, whole = _found(api, search, "moved")
    candidates = [one for one in moved if one.id not in found]
    step = max(1.0, len(candidates) / MOST_LOGS)
    for number in range(min(len(candidates), MOST_LOGS)):
        one = candidates[int(number * step)]
        found[one.id] = _moved_back(api, one, to_inbox=to_inbox)
    return list(found.values()), complete and whole and len(candidates) <= MOST_LOGS


def _found(api: EmailSecurity, search: SearchParams, status: DeliveryStatus) -> tuple[list[MessageDetails], bool]:
    """Return the messages with this delivery status, and whether these are all of them."""
    if search.delivery_status not in (None, status):
        return [], True
    scope = scope_of(search.model_copy(update={"delivery_status": status}))
    read = list(islice(api.search_messages(scope.query), MOST_READ + 1))
    # A job skips messages that users have reported as phish.
    meant = [one for one in read[:MOST_READ] if scope.holds(one) and not one.is_phish_submission]
    return meant, len(read) <= MOST_READ


def _copies(message: MessageDetails, statuses: Sequence[str]) -> _Left:
    """Return in how many mailboxes a message has one of these statuses: at least one, where its copies differ."""
    others = set(message.delivery_status or ()) - set(statuses)
    return _Left(1, message.copies <= 2) if others else _Left(message.copies, sure=True)


def _moved_back(api: EmailSecurity, message: MessageDetails, *, to_inbox: bool) -> _Left:
    """Return in how many mailboxes a moved message is back where the action takes messages from.

    It is not documented whether an entry of the log is about one mailbox or all. If the last moves of a message are
    moves back, it is back in at least as many mailboxes as there are such entries.
    """
    unsure = _Left(0, sure=False)
    try:
        log = [
            entry
            for entry in api.message_actions(message.id)
            if entry.operation == "MOVE" and entry.folder is not None and entry.carried_out is not False
        ]
        moves = [(entry.time(), (entry.folder == "Inbox") is not to_inbox) for entry in log]
    except (NotFound, ValueError):
        return unsure
    if any(entry.carried_out is None for entry in log):
        return unsure
    if not any(back for _, back in moves):
        return _Left(0, sure=True)
    by_time = [{back for _, back in same} for _, same in groupby(sorted(moves), key=lambda move: move[0])]
    if len(by_time[-1]) > 1:
        return unsure
    back = by_time[-1].pop()
    last_other = max((at for at, other in moves if other is not back), default=None)
    latest = sum(last_other is None or at > last_other for at, _ in moves)
    return _Left(min(latest, message.copies) if back else 0, sure=latest >= message.copies)
