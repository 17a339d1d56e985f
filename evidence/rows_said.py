"""What a job's rows say of each message, as far as it can be compared with the post-delivery events."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from evidence.disagreements import RowSaid
from evidence.object_lines import converted, objects
from evidence.pseudonym_form import is_pseudonym

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _ActionParams(msgspec.Struct, gc=False):
    destination: str | None = None
    client_recipient: str | None = None


class _Message(msgspec.Struct, gc=False):
    message_id: str | None = None
    postfix_id: str | None = None


class _Row(msgspec.Struct, gc=False):
    message_id: str
    status: str
    action_type: str | None = None
    action_params: _ActionParams | None = None
    email_message_id: str | None = None
    postfix_id: str | None = None
    message: _Message | None = None


_decoder = msgspec.json.Decoder(_Row)


def rows_of_file(path: str, action: str | None, pointer: str) -> Iterator[RowSaid]:
    """The rows of an NDJSON export, one at a time; empty lines are passed over. action: what the job does.

    Raises: ParameterError: the file can't be read, or a line is no row of such a job; it names the line, from 1.
    """
    return objects(path, pointer, functools.partial(row_said, action=action), "row of a job")


def rows_of_page(texts: Iterable[Buffer], action: str | None) -> Iterator[RowSaid]:
    """The rows of a page as the API sent them. Raises: ValueError: one is no row of such a job."""
    for text in texts:
        try:
            yield row_said(bytes(text), action)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(str(error)) from None


def row_said(text: bytes, action: str | None) -> RowSaid:
    """Raises: msgspec.MsgspecError, ValueError, RecursionError."""
    row = converted(text, _decoder)
    if action is not None and row.action_type is not None and row.action_type != action:
        raise ValueError(f"is of a {row.action_type[:40]!r} job, and the job is a {action}")
    params, message = row.action_params or _ActionParams(), row.message or _Message()
    message_id, recipient = row.email_message_id or message.message_id, params.client_recipient
    if is_pseudonym(message_id or "") or is_pseudonym(recipient or ""):
        raise ValueError("holds pseudonyms, and events hold none: an export without `pseudonymize` is needed")
    return RowSaid(
        row.message_id, row.status, params.destination, message_id, recipient, row.postfix_id or message.postfix_id
    )
