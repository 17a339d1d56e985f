"""Read a job's message rows for the comparison with the post-delivery events."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from remediation.exports.files.object_lines import decode_object, read_objects
from remediation.exports.pseudonyms.form import is_pseudonym
from remediation.reconciliation.disagreements import RowRecord, bare, one_word

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


# A status of the API, or a new one: rows are counted by status.
_STATUS = re.compile(r"[A-Za-z0-9_ -]{1,64}")

_decoder = msgspec.json.Decoder(_Row)


def rows_of_file(path: str, action: str | None, pointer: str) -> Iterator[RowRecord]:
    """Yield the rows of an NDJSON export; empty lines are ignored. action: the job's action.

    Raises: ParameterError if the file can't be read, or a line is not a row of such a job. It has the line's number,
    from 1.
    """
    return read_objects(path, pointer, functools.partial(_row_of_line, action=action), "row of a job")


def rows_of_page(texts: Iterable[Buffer], action: str | None) -> Iterator[RowRecord]:
    """Yield the rows of a page of the API. Raises: ValueError if one is not a row of such a job."""
    for text in texts:
        try:
            yield row_record(bytes(text), action)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _row_of_line(line: bytes, action: str | None) -> RowRecord:
    row = row_record(line, action)
    # Not by the Message-ID: a sender can choose one that looks like a pseudonym.
    if is_pseudonym(row.recipient or ""):
        raise ValueError("has pseudonyms, but events have none: use an export without `pseudonymize`")
    return row


def row_record(text: bytes, action: str | None) -> RowRecord:
    """Read one row. Raises: msgspec.MsgspecError, ValueError, RecursionError."""
    row = decode_object(text, _decoder)
    if not _STATUS.fullmatch(row.status):
        raise ValueError("unknown status: not 1 to 64 letters, digits, spaces, - or _")
    if action is not None and row.action_type is not None and row.action_type != action:
        raise ValueError(f"is of a {row.action_type[:40]!r} job, but the job is a {action}")
    params, message = row.action_params or _ActionParams(), row.message or _Message()
    message_id = row.email_message_id if bare(row.email_message_id) else message.message_id
    postfix_id = one_word(row.postfix_id) or one_word(message.postfix_id)
    return RowRecord(row.message_id, row.status, params.destination, message_id, params.client_recipient, postfix_id)
