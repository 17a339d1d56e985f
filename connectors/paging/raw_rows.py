"""The rows of a job as raw JSON text. Only the two required fields of a row are parsed.

Parsing a page of 1,000 rows in full and writing it again takes a hundred times longer than cutting it into rows.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from connectors.objects.message import RowKey
from core.errors import UnexpectedAnswer, UnusableAnswer

if TYPE_CHECKING:
    from typing_extensions import Buffer

# "plain": printable ASCII, one line per text. "one-line": UTF-8, one line per text.
TextForm: TypeAlias = Literal["plain", "one-line", "unchecked"]

_BLOCK = 1 << 16
# Python shrinks a decoded text to its length, and malloc keeps the remaining bytes for the thread. Later it can't merge
# the freed memory before them with its neighbors. Small pieces leave small holes.
_PIECE = 1 << 11


@dataclass(frozen=True)
class RawRows:
    """The rows of a page in columns, because an object per row would cost more than all other work on it.

    ids: the API's message_id, a UUID. texts: the JSON text of each row in UTF-8, possibly with white space. form: the
    known form of the texts.
    """

    ids: Sequence[str]
    statuses: Sequence[str]
    texts: Sequence[Buffer]
    form: TextForm = "unchecked"

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, which: Sequence[bool]) -> RawRows:
        """Return the rows whose entry in `which` is True."""
        if all(which):
            return self
        ids, statuses, texts = compress(self.ids, which), compress(self.statuses, which), compress(self.texts, which)
        return RawRows(list(ids), list(statuses), list(texts), self.form)

    def read(self) -> Iterator[dict[str, Any]]:
        """Return the rows as plain dicts."""
        return (json.loads(bytes(text)) for text in self.texts)


class _Key(msgspec.Struct, gc=False):
    message_id: str
    status: str


class _Keys(msgspec.Struct):
    result: list[_Key]


class _Texts(msgspec.Struct):
    success: bool
    result: list[msgspec.Raw]
    result_info: Any = None


_keys = msgspec.json.Decoder(_Keys)
_texts = msgspec.json.Decoder(_Texts)
_one_key = msgspec.json.Decoder(_Key)


def rows_envelope(data: Buffer) -> dict[str, Any] | None:
    """Return an envelope whose `result` is RawRows, or None if the page needs a full parse."""
    try:
        texts = _texts.decode(data)
        keys = _keys.decode(data).result
        # The texts of the rows were not parsed, so their form is checked.
        form = _form(memoryview(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    ids = [key.message_id for key in keys]
    # A failure needs a full parse for its errors.
    if not all(ids) or not texts.success:
        return None
    rows = RawRows(ids, [key.status for key in keys], texts.result, form)
    return {"success": texts.success, "result": rows, "result_info": texts.result_info}


def _form(data: memoryview) -> TextForm:
    """Return the form of every text in a page. Raises: UnicodeDecodeError if the page is not UTF-8."""
    # Block by block, to avoid another copy of the whole page.
    if all(_is_plain(bytes(data[place : place + _BLOCK])) for place in range(0, len(data), _BLOCK)):
        return "plain"
    size, place, one_line = len(data), 0, True
    while place < size:
        # A character that is cut at the end of a piece belongs to the next piece.
        piece, used = codecs.utf_8_decode(data[place : place + _PIECE], "strict", place + _PIECE >= size)
        place += used
        if "\n" in piece or "\r" in piece:
            one_line = False
    return "one-line" if one_line else "unchecked"


def _is_plain(block: bytes) -> bool:
    return block.isascii() and not (b"\n" in block or b"\r" in block or b"\x7f" in block)


def raw_rows(items: Any) -> RawRows | None:
    """Return a page's `result` as rows, or None if it is not a list. Parsed rows are written as JSON again.

    Raises: UnusableAnswer with the row's number if a required field is missing or invalid.
    """
    if isinstance(items, RawRows):
        return items
    if not isinstance(items, list):
        return None
    keys, texts = [], []
    for number, item in enumerate(items, start=1):
        try:
            keys.append(RowKey.read(item, f"row {number:,}"))
        except UnexpectedAnswer as error:
            # The body is complete and well-formed, so a retry would return the same row.
            raise UnusableAnswer(error.message) from None
        texts.append(_write_row(item, number))
    return RawRows([key.message_id for key in keys], [key.status for key in keys], texts)


def rows_of_lines(lines: Sequence[bytes]) -> RawRows:
    """Return the rows of NDJSON lines. Raises: UnusableAnswer."""
    try:
        keys = [_one_key.decode(line) for line in lines]
    except (msgspec.MsgspecError, RecursionError):
        return raw_rows([json.loads(line) for line in lines]) or RawRows([], [], [])
    return RawRows([key.message_id for key in keys], [key.status for key in keys], lines)


def _write_row(item: Any, number: int) -> bytes:
    try:
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise UnusableAnswer(f"row {number:,}: has a number that is too large") from None
    # UTF-8 can't encode a lone surrogate, so it becomes its JSON escape.
    return text.encode("utf-8", "backslashreplace")
