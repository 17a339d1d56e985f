"""Which message a row of an answer speaks of, and what the rows say of each.

A move's rows carry a message_id that may be null; whether it is the investigate ID or the RFC 5322 Message-ID is not
documented. So a row is matched by either, and by its recipient where several messages have one Message-ID. What no row
speaks of is unknown, never a success.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from connectors.objects.message_change import MoveRow, ReleaseRow
from core.json_model import JsonModel
from remediation.guardrails.change import NamedMessage

Outcome = Literal["succeeded", "already", "failed", "unknown", "not sent"]


class MessageRow(JsonModel):
    """What happened to one message for one recipient; one row for all recipients where they are not told apart."""

    id: str | None = Field(description="The investigate ID; null where the service's row could not be assigned to one.")
    message_id: str | None = Field(description="The Message-ID (RFC 5322) or what the service names the message by.")
    recipient: str | None = Field(description="The recipient; null where the service names none.")
    success: bool | None = Field(description="null: not known.")
    status: str | None = Field(description="The service's own words, or what a look at the message showed.")
    destination: str | None = Field(description="The folder.")
    completed_at: str | None = Field(description="RFC 3339, as the service says.")


@dataclass
class Attribution:
    """Rows by the message that they speak of; all rows, with the ID where there is one; and those about none."""

    by_id: dict[str, list[MoveRow]] = field(default_factory=lambda: defaultdict(list))
    shown: list[tuple[str | None, MoveRow]] = field(default_factory=list)
    strangers: list[MoveRow] = field(default_factory=list)

    def silent(self, batch: Iterable[NamedMessage]) -> list[NamedMessage]:
        """The messages that no row speaks of."""
        return [message for message in batch if message.id not in self.by_id]


def attributed(batch: Sequence[NamedMessage], rows: Iterable[MoveRow]) -> Attribution:
    """Each row assigned to the message of the batch that it speaks of."""
    named: dict[str, dict[str, NamedMessage]] = defaultdict(dict)
    for message in batch:
        for name in (message.id, message.message_id):
            # Whoever writes the mail writes its Message-ID: an empty one names nothing.
            if name is not None and _bare(name):
                named[_bare(name)][message.id] = message
    spoken: dict[tuple[str | None, str | None], list[MoveRow]] = defaultdict(list)
    for row in rows:
        spoken[None if row.message_id is None else _bare(row.message_id), _folded(row.recipient)].append(row)
    found = Attribution()
    for (name, recipient), group in spoken.items():
        meant = _meant(list(named.get(name, {}).values()), recipient) if name else []
        # Of several messages with one Message-ID in one mailbox each has its row, and no row says which it is: what
        # one of them says then counts for all.
        if not meant or len(group) < len(meant):
            found.strangers += group
            meant = []
        for message in meant:
            found.by_id[message.id] += group
        found.shown += [(meant[0].id if len(meant) == 1 else None, row) for row in group]
    return found


def all_accounted(silent: Sequence[NamedMessage], strangers: Sequence[MoveRow]) -> bool:
    """Whether rows that can't be assigned must speak of just these messages, and speak well of all.

    As many different Message-IDs as messages of which none was known: each has its own, and every row is a success.
    """
    names = {None if row.message_id is None else _bare(row.message_id) for row in strangers}
    return (
        bool(silent)
        and None not in names
        and len(names) == len(silent)
        and all(message.message_id is None for message in silent)
        and all(row.success for row in strangers)
    )


def outcome_of(message: NamedMessage, rows: Sequence[MoveRow]) -> Outcome:
    """What the rows about a message say: it succeeded only where it did for every recipient."""
    if not rows:
        return "unknown"
    if not all(row.success for row in rows):
        return "failed"
    told = {_folded(row.recipient) for row in rows}
    untold = {_folded(address) for address in message.recipients or ()} - told
    return "unknown" if untold and None not in told else "succeeded"


def shown_row(investigate_id: str | None, row: MoveRow) -> MessageRow:
    return MessageRow(
        id=investigate_id,
        message_id=row.message_id,
        recipient=row.recipient,
        success=row.success,
        status=row.status,
        destination=row.destination,
        completed_at=row.completed_at,
    )


def found_row(message: NamedMessage, destination: str | None, *, success: bool | None, status: str) -> MessageRow:
    """What a look at the message showed, or that nothing could be seen."""
    return MessageRow(
        id=message.id,
        message_id=message.message_id,
        recipient=None,
        success=success,
        status=status,
        destination=destination,
        completed_at=None,
    )


def release_rows(rows: Iterable[ReleaseRow]) -> list[MoveRow]:
    """The rows of a release in the shape of a move's: one for each recipient. The message is named by its ID."""
    flat = []
    for row in rows:
        outcomes = (("delivered", row.delivered), ("failed", row.failed), ("undelivered", row.undelivered))
        told = [(status, recipient) for status, recipients in outcomes for recipient in recipients or ()]
        flat += [_release_row(row.id, recipient, status) for status, recipient in told]
        if not told:
            flat.append(_release_row(row.id, None, "no recipient is named: nothing was released"))
    return flat


def _release_row(investigate_id: str, recipient: str | None, status: str) -> MoveRow:
    return MoveRow.model_construct(
        success=status == "delivered", message_id=investigate_id, recipient=recipient, status=status
    )


def _meant(candidates: list[NamedMessage], recipient: str | None) -> list[NamedMessage]:
    if recipient is None:
        return candidates
    return [
        message
        for message in candidates
        if message.recipients is None or recipient in {_folded(address) for address in message.recipients}
    ]


def _bare(name: str) -> str:
    return name.strip().removeprefix("<").removesuffix(">")


def _folded(address: str | None) -> str | None:
    return None if address is None else address.strip().casefold()
