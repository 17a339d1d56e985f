"""How many messages of a search are still where an action takes messages from. Asked where a job was reused.

A message is delivered, or its move has failed, or it was moved and is back in Inbox. Only a message's action log tells
the last. So the count has bounds, and says where it reached one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from connectors.clock import Deadline
from connectors.email_security import EmailSecurity
from connectors.errors import NotFound, PackError
from connectors.job import ActionType, Destination
from connectors.search import DeliveryStatus, SearchParams
from guardrails.search_scope import scope_of

if TYPE_CHECKING:
    from connectors.message import MessageDetails

# Messages read for each delivery status: ten pages.
MOST_READ = 10_000
# Action logs read, spread over the messages that were moved. Mail that was moved back was mostly moved back together.
MOST_LOGS = 25
MOST_SECONDS = 60.0

_IN_MAILBOX: tuple[DeliveryStatus, ...] = ("delivered", "move_failed")


@dataclass(frozen=True)
class Remaining:
    """messages: how many remain, one for each mailbox; None where they can't be counted, and `why_not` says why.

    all_checked: whether every message was checked; otherwise `messages` is the least.
    """

    messages: int | None
    all_checked: bool = True
    why_not: str | None = None


def count_remaining(
    api: EmailSecurity, action: ActionType, destination: Destination | None, search: SearchParams
) -> Remaining:
    """Count the messages of a search that the action has still to reach, as of now. Never raises a PackError."""
    if uncountable := scope_of(search).uncountable:
        return Remaining(None, all_checked=False, why_not=uncountable)
    try:
        bounded = api.until(Deadline(api.clock, MOST_SECONDS))
        if action == "RELEASE":
            held, complete = _found(bounded, search, "quarantined")
            return Remaining(sum(_copies(one, ("quarantined",)) for one in held), complete)
        return _still_in_mailboxes(bounded, search, to_inbox=destination == "Inbox")
    except PackError as failure:
        return Remaining(None, all_checked=False, why_not=failure.message)


def _still_in_mailboxes(api: EmailSecurity, search: SearchParams, *, to_inbox: bool) -> Remaining:
    found: dict[str, int] = {}
    complete = True
    for status in () if to_inbox else _IN_MAILBOX:
        messages, whole = _found(api, search, status)
        complete = complete and whole
        found |= {one.id: _copies(one, _IN_MAILBOX) for one in messages}
    moved, whole = _found(api, search, "moved")
    candidates = [one for one in moved if one.id not in found]
    for one in _spread(candidates, MOST_LOGS):
        folder = _last_folder(api, one)
        if folder is not None and (folder == "Inbox") is not to_inbox:
            found[one.id] = one.copies
    return Remaining(sum(found.values()), complete and whole and len(candidates) <= MOST_LOGS)


def _found(api: EmailSecurity, search: SearchParams, status: DeliveryStatus) -> tuple[list[MessageDetails], bool]:
    """Return the messages with this delivery status, and whether these are all of them."""
    if search.delivery_status not in (None, status):
        return [], True
    scope = scope_of(search.model_copy(update={"delivery_status": status}))
    read = list(islice(api.search_messages(scope.query), MOST_READ + 1))
    # A job skips what users have reported as phish.
    meant = [one for one in read[:MOST_READ] if scope.holds(one) and not one.is_phish_submission]
    return meant, len(read) <= MOST_READ


def _copies(message: MessageDetails, statuses: Sequence[str]) -> int:
    """Return in how many mailboxes a message has one of these statuses: at least one, where its copies differ."""
    others = set(message.delivery_status or ()) - set(statuses)
    return 1 if others else message.copies


def _spread(messages: Sequence[MessageDetails], most: int) -> Iterator[MessageDetails]:
    step = max(1.0, len(messages) / most)
    return (messages[int(number * step)] for number in range(min(len(messages), most)))


def _last_folder(api: EmailSecurity, message: MessageDetails) -> str | None:
    """Return the folder that the last move went to; None where the action log does not say."""
    moves = []
    try:
        log = api.message_actions(message.id)
    except NotFound:
        return None
    for entry in log:
        if entry.operation == "MOVE" and entry.carried_out and entry.folder is not None:
            try:
                moves.append((entry.time(), entry.folder))
            except ValueError:
                return None
    return max(moves)[1] if moves else None
