"""Selects messages by their IDs, or by the rows of an export. Each line of a file is checked.

A row has a nested `message` whose `id` is the investigate ID. Rows without one are counted and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from connectors.objects.message_change import INVESTIGATE_ID
from connectors.objects.search import verdict_of
from core.search_words import MALICIOUS
from remediation.exports.destinations.local_copy import local_copy
from remediation.exports.files.line_file import read_lines, refuse
from remediation.exports.formats.ndjson import rows_of
from remediation.exports.pseudonyms.form import is_pseudonym
from remediation.guardrails.change import NamedMessage, mailbox_of, mailboxes_of

MOST_MESSAGES = 100_000

# A message has fewer recipients than this. Rows of a file must not add up without a limit.
MOST_RECIPIENTS = 5000

# The most rows without an ID that are listed; all are counted.
ROWS_NAMED = 1000

_ROW_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class JobRow:
    """The fields of a job's row that select a message. message: None if the row has no ID."""

    row_id: str
    status: str
    action_type: str | None
    destination: str | None
    recipient: str | None
    retry_after: str | None
    message: NamedMessage | None


@dataclass
class Selection:
    """The selected messages, each once, in the order in which they came.

    from_file: whether the facts about them come from a file. repeats: how often a message was named again. reached: the
    recipients whose own rows were selected, by ID.
    """

    from_file: bool = False
    messages: dict[str, NamedMessage] = field(default_factory=dict)
    repeats: int = 0
    without_id: int = 0
    rows_without_id: list[str] = field(default_factory=list)
    reached: dict[str, set[str]] = field(default_factory=dict)

    def add(self, row: JobRow) -> None:
        """Add the message of a row. Raises: ParameterError if there are too many."""
        if row.message is None:
            self.without_id += 1
            if len(self.rows_without_id) < ROWS_NAMED:
                self.rows_without_id.append(row.row_id)
            return
        known = self.messages.get(row.message.id)
        if known is not None:
            self.repeats += 1
        elif len(self.messages) >= MOST_MESSAGES:
            refuse("/export", f"names more than {MOST_MESSAGES} messages: choose fewer by their statuses")
        if known is None or known != row.message:
            self.messages[row.message.id] = row.message if known is None else _merged(known, row.message)
        if row.recipient is not None:
            self.reached.setdefault(row.message.id, set()).add(mailbox_of(row.recipient))

    def has(self, row: JobRow) -> bool:
        """Return whether the row's message is selected already, by another recipient's row."""
        return row.message is not None and row.message.id in self.messages

    def messages_with_other_recipients(self) -> int:
        """Return the number of messages with more recipients than those whose rows were selected."""
        return sum(
            any(mailbox not in self.reached.get(one, set()) for mailbox in mailboxes_of(message.recipients))
            for one, message in self.messages.items()
        )


def of_ids(ids: Iterable[str]) -> Selection:
    """Select the messages with these IDs."""
    selection = Selection()
    for one in ids:
        if one in selection.messages:
            selection.repeats += 1
        selection.messages[one] = NamedMessage(one)
    return selection


def of_export(source: str, selects: Callable[[JobRow], bool]) -> Selection:
    """Select the messages of some rows of an export. source, errors: as exported_rows."""
    selection = Selection(from_file=True)
    for row in exported_rows(source):
        if selects(row):
            selection.add(row)
    return selection


def exported_rows(source: str) -> Iterator[JobRow]:
    """Yield the rows of an NDJSON export or of an evidence bundle. source: its path, or the URL of an object.

    Raises: ParameterError (pointer /export) where the file can't be read, or a line is not a job's row; what local_copy
    raises for a URL.
    """
    with local_copy(source, "/export") as path:
        if path is None:
            refuse("/export", f"there is no object {source[:200]!r}")
        try:
            for number, row in enumerate(rows_of(read_lines(str(path), "/export", source)), start=1):
                try:
                    yield read_row(row)
                except ValueError as error:
                    refuse("/export", f"row {number} is not a job's row: {error}")
        except ValueError as error:
            refuse("/export", f"{error}: an evidence bundle or NDJSON file of export-job-messages is needed")


def read_row(row: Mapping[str, Any]) -> JobRow:
    """Return a job's row from the API or a file. Raises: ValueError naming the field that is not valid."""
    row_id, status = row.get("message_id"), row.get("status")
    if not isinstance(row_id, str) or not _ROW_ID.fullmatch(row_id):
        raise ValueError("message_id is not a row ID")
    if not isinstance(status, str):
        raise ValueError("status is missing")
    params = row.get("action_params")
    if params is not None and not isinstance(params, Mapping):
        raise ValueError("action_params is not an object")
    params = params or {}
    nested = row.get("message")
    return JobRow(
        row_id=row_id,
        status=status,
        action_type=_text(row, "action_type"),
        destination=_text(params, "destination"),
        recipient=_text(params, "client_recipient"),
        retry_after=_text(row, "retry_after"),
        message=None if nested is None else _named(nested, _text(row, "email_message_id")),
    )


def _named(nested: Any, email_message_id: str | None) -> NamedMessage | None:
    if not isinstance(nested, Mapping):
        raise ValueError("message is not an object")
    one = nested.get("id")
    if one is None:
        return None
    if not isinstance(one, str) or not re.fullmatch(INVESTIGATE_ID, one):
        raise ValueError("message.id is not an investigate ID")
    recipients = nested.get("client_recipients")
    if recipients is not None and not (
        isinstance(recipients, list) and all(isinstance(address, str) for address in recipients)
    ):
        raise ValueError("message.client_recipients is not a list of addresses")
    senders = tuple(sender for name in ("from", "envelope_from") if (sender := _text(nested, name)))
    if any(map(is_pseudonym, (*(recipients or ()), *senders))):
        # A pseudonymized export. The names are not known, and are looked up where a guardrail depends on them.
        return NamedMessage(one, verdict=verdict_of(_text(nested, "final_disposition")))
    return NamedMessage(
        one,
        message_id=_text(nested, "message_id") or email_message_id,
        recipients=None if recipients is None else tuple(recipients),
        senders=senders or None,
        verdict=verdict_of(_text(nested, "final_disposition")),
    )


def _merged(first: NamedMessage, second: NamedMessage) -> NamedMessage:
    """Return one message with the facts of two rows. A malicious verdict in either counts."""
    recipients = None
    if first.recipients is not None or second.recipients is not None:
        recipients = tuple(dict.fromkeys((*(first.recipients or ()), *(second.recipients or ()))))
        if len(recipients) > MOST_RECIPIENTS:
            refuse("/export", f"names more than {MOST_RECIPIENTS} recipients of one message")
    malicious = next((one.verdict for one in (first, second) if one.verdict in MALICIOUS), None)
    return replace(
        first,
        message_id=first.message_id or second.message_id,
        recipients=recipients,
        senders=tuple(dict.fromkeys((*(first.senders or ()), *(second.senders or ())))) or None,
        verdict=malicious or first.verdict or second.verdict,
    )


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value
