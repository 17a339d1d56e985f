"""A job's rows as the API sent them: cut out of the page, not read but for the two fields that are relied on.

To read a page of 1,000 rows in full and write it again takes a hundred times longer than to cut it apart.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from connectors.errors import UnexpectedAnswer
from connectors.message import RowKey


class RawRow(NamedTuple):
    """row_id: the API's message_id, a UUID. json: the row's own text in UTF-8, which may hold white space between."""

    row_id: str
    status: str
    json: bytes | memoryview

    def read(self) -> dict[str, Any]:
        """The row as a plain dict."""
        row: dict[str, Any] = json.loads(bytes(self.json))
        return row


class _Key(msgspec.Struct):
    message_id: str
    status: str


class _RowsEnvelope(msgspec.Struct):
    """A good answer's envelope. What else it may be is read in the usual way."""

    success: bool
    result: list[msgspec.Raw]
    result_info: Any = None


_envelopes = msgspec.json.Decoder(_RowsEnvelope)
_keys = msgspec.json.Decoder(_Key)


def rows_envelope(data: bytes | bytearray) -> dict[str, Any] | None:
    """An envelope whose `result` is a list of uncut rows; None where the body is another one, or no JSON."""
    try:
        envelope = _envelopes.decode(data)
        if not data.isascii():
            # What is cut out unread was not looked at.
            data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return {"success": envelope.success, "result": envelope.result, "result_info": envelope.result_info}


def row_of_line(line: bytes) -> RawRow:
    """A row that was written as NDJSON. Raises: UnexpectedAnswer."""
    return raw_row(msgspec.Raw(line))


def raw_row(item: msgspec.Raw | dict[str, Any]) -> RawRow:
    """A row of a page; one that had to be read already is written again.

    Raises: UnexpectedAnswer where a field that is relied on does not fit.
    """
    if isinstance(item, msgspec.Raw):
        try:
            key = _keys.decode(item)
        except (msgspec.MsgspecError, RecursionError):
            key = None
        if key is not None and key.message_id:
            return RawRow(key.message_id, key.status, memoryview(item))
        item = json.loads(bytes(memoryview(item)))
    read = RowKey.read(item, "a message of the job")
    try:
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise UnexpectedAnswer("a message of the job: holds a number that no JSON can") from None
    # A lone surrogate, which UTF-8 can't hold, is written as its JSON escape.
    return RawRow(read.message_id, read.status, text.encode("utf-8", "backslashreplace"))
