"""A job's rows as the API sent them: cut out of the page, not read but for the two fields that are relied on.

To read a page of 1,000 rows in full and write it again takes a hundred times longer than to cut it apart.
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

# "plain": printable ASCII, each text on one line. "one-line": UTF-8, each on one line.
TextForm: TypeAlias = Literal["plain", "one-line", "unchecked"]

_BLOCK = 1 << 16
# Python cuts a decoded text to its length, and malloc keeps the few bytes that are cut off for the thread: the memory
# in front of them is not joined with its neighbours when it is free again. Small pieces leave small holes.
_PIECE = 1 << 11


@dataclass(frozen=True)
class RawRows:
    """Rows of one page, column by column: an object for each row would cost more than all else that is done to it.

    ids: the API's message_id, a UUID. texts: each row's own JSON text in UTF-8, which may hold white space between its
    parts. form: what is known of the texts.
    """

    ids: Sequence[str]
    statuses: Sequence[str]
    texts: Sequence[Buffer]
    form: TextForm = "unchecked"

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, which: Sequence[bool]) -> RawRows:
        """Those of which it says so."""
        if all(which):
            return self
        ids, statuses, texts = compress(self.ids, which), compress(self.statuses, which), compress(self.texts, which)
        return RawRows(list(ids), list(statuses), list(texts), self.form)

    def read(self) -> Iterator[dict[str, Any]]:
        """The rows as plain dicts."""
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
    """An envelope whose `result` is RawRows; None where it can't be taken so, and has to be read in full."""
    try:
        texts = _texts.decode(data)
        keys = _keys.decode(data).result
        # What is cut out unread was not looked at.
        form = _form(memoryview(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    ids = [key.message_id for key in keys]
    # A failure is read in full, for its errors.
    if not all(ids) or not texts.success:
        return None
    rows = RawRows(ids, [key.status for key in keys], texts.result, form)
    return {"success": texts.success, "result": rows, "result_info": texts.result_info}


def _form(data: memoryview) -> TextForm:
    """Return the form of every text in a page. Raises: UnicodeDecodeError where the page is not UTF-8."""
    # Block by block: a copy of the whole page would be one more on the heap.
    if all(_is_plain(bytes(data[place : place + _BLOCK])) for place in range(0, len(data), _BLOCK)):
        return "plain"
    size, place, one_line = len(data), 0, True
    while place < size:
        # The end of a piece may cut a character in two: it is left to the next.
        piece, used = codecs.utf_8_decode(data[place : place + _PIECE], "strict", place + _PIECE >= size)
        place += used
        if "\n" in piece or "\r" in piece:
            one_line = False
    return "one-line" if one_line else "unchecked"


def _is_plain(block: bytes) -> bool:
    return block.isascii() and not (b"\n" in block or b"\r" in block or b"\x7f" in block)


def raw_rows(items: Any) -> RawRows | None:
    """A page's `result` as rows; those that had to be read in full are written again. None for what is no list.

    Raises: UnusableAnswer with the row's number where a field that is relied on does not fit.
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
            # Whole and well-formed: it was not damaged on the way, and comes again as it is.
            raise UnusableAnswer(error.message) from None
        texts.append(_written(item, number))
    return RawRows([key.message_id for key in keys], [key.status for key in keys], texts)


def rows_of_lines(lines: Sequence[bytes]) -> RawRows:
    """Rows that were written as NDJSON. Raises: UnusableAnswer."""
    try:
        keys = [_one_key.decode(line) for line in lines]
    except (msgspec.MsgspecError, RecursionError):
        return raw_rows([json.loads(line) for line in lines]) or RawRows([], [], [])
    return RawRows([key.message_id for key in keys], [key.status for key in keys], lines)


def _written(item: Any, number: int) -> bytes:
    try:
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise UnusableAnswer(f"row {number:,}: holds a number that is too large to be written again") from None
    # A lone surrogate, which UTF-8 can't hold, is written as its JSON escape.
    return text.encode("utf-8", "backslashreplace")
