"""Match the rows of an answer to messages, and decide the outcome of each message.

A move's rows have a message_id that may be null. The API does not document whether it is the investigate ID or the RFC
5322 Message-ID. So a row is matched by either, and by its recipient where several messages have one Message-ID. A
message without a row is unknown, never a success.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from connectors.objects.message_change import MoveRow, ReleaseRow
from core.json_model import JsonModel
from remediation.guardrails.change import NamedMessage, mailbox_of, mailboxes_of

Outcome = Literal["succeeded", "already", "failed", "unknown", "not sent"]


class MessageRow(JsonModel):
    """The outcome of one message for one recipient, or for all where the service does not distinguish them."""

    id: str | None = Field(description="The investigate ID; null if the row could not be matched to a message.")
    message_id: str | None = Field(description="The Message-ID (RFC 5322), or the service's own name of the message.")
    recipient: str | None = Field(description="The recipient; null if the service names none.")
    success: bool | None = Field(description="null: not known.")
    status: str | None = Field(description="A text of the service, or the result of a lookup.")
    destination: str | None = Field(description="The folder.")
    completed_at: str | None = Field(description="RFC 3339, from the service.")


@dataclass
class Attribution:
    """Rows by message; all rows, each with the ID of its message where there is one; and rows without a message."""

    by_id: dict[str, list[MoveRow]] = field(default_factory=lambda: defaultdict(list))
    shown: list[tuple[str | None, MoveRow]] = field(default_factory=list)
    unmatched: list[MoveRow] = field(default_factory=list)

    def without_row(self, batch: Iterable[NamedMessage]) -> list[NamedMessage]:
        """Return the messages without a row."""
        return [message for message in batch if message.id not in self.by_id]


def attributed(batch: Sequence[NamedMessage], rows: Iterable[MoveRow]) -> Attribution:
    """Match each row to its message of the batch."""
    named: dict[str, dict[str, NamedMessage]] = defaultdict(dict)
    for message in batch:
        for name in (message.id, message.message_id):
            # The sender chooses the Message-ID: an empty one names nothing.
            if name is not None and _bare(name):
                named[_bare(name)][message.id] = message
    by_name: dict[tuple[str | None, str | None], list[MoveRow]] = defaultdict(list)
    for row in rows:
        by_name[None if row.message_id is None else _bare(row.message_id), _mailbox(row.recipient)].append(row)
    found = Attribution()
    for (name, recipient), group in by_name.items():
        matches = _holders(named.get(name, {}).values(), recipient) if name else []
        # Several messages with one Message-ID in one mailbox have one row each, and no row shows which message it is
        # for: each row then counts for all of them.
        if not matches or len(group) < len(matches):
            found.unmatched += group
            matches = []
        for message in matches:
            found.by_id[message.id] += group
        found.shown += [(matches[0].id if len(matches) == 1 else None, row) for row in group]
    return found


def all_accounted(silent: Sequence[NamedMessage], unmatched: Sequence[MoveRow]) -> bool:
    """Return whether the unmatched rows must be of just these messages, and all are a success.

    As many different Message-IDs as messages of which none was known: each has its own, and every row is a success.
    """
    names = {None if row.message_id is None else _bare(row.message_id) for row in unmatched}
    return (
        bool(silent)
        and None not in names
        and len(names) == len(silent)
        and all(message.message_id is None for message in silent)
        and all(row.success for row in unmatched)
    )


def outcome_of(message: NamedMessage, rows: Sequence[MoveRow]) -> Outcome:
    """Return the outcome of a message from its rows. It succeeded only where it did for every recipient."""
    if not rows:
        return "unknown"
    if not all(row.success for row in rows):
        return "failed"
    named = {_mailbox(row.recipient) for row in rows}
    missing = set(mailboxes_of(message.recipients)) - named
    return "unknown" if missing and None not in named else "succeeded"


def shown_row(investigate_id: str | None, row: MoveRow) -> MessageRow:
    """Return the service's row as a result shows it."""
    shown = {name: getattr(row, name) for name in MessageRow.model_fields if name != "id"}
    return MessageRow(id=investigate_id, **shown)


def found_row(message: NamedMessage, destination: str | None, *, success: bool | None, status: str) -> MessageRow:
    """Return a row for the result of a lookup."""
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
    """Return the rows of a release as rows of a move: one for each recipient. Each names the message by its ID."""
    flat = []
    for row in rows:
        outcomes = (("delivered", row.delivered), ("failed", row.failed), ("undelivered", row.undelivered))
        named: list[tuple[str, str | None]] = [(status, one) for status, ones in outcomes for one in ones or ()]
        flat += [
            MoveRow.model_construct(
                success=status == "delivered", message_id=row.id, recipient=recipient, status=status
            )
            for status, recipient in named or [("the answer names no recipient: nothing was released", None)]
        ]
    return flat


def _holders(candidates: Iterable[NamedMessage], recipient: str | None) -> list[NamedMessage]:
    return [
        message
        for message in candidates
        if None in (recipient, message.recipients) or recipient in mailboxes_of(message.recipients)
    ]


def _bare(name: str) -> str:
    return name.strip().removeprefix("<").removesuffix(">")


def _mailbox(address: str | None) -> str | None:
    return None if address is None else mailbox_of(address)
