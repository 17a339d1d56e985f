"""Rows as CSV (RFC 4180): a fixed set of columns, every cell safe to open in a spreadsheet.

UTF-8 without a byte order mark, commas, CRLF, quotes doubled, the header's names always quoted. Columns carry the API's
own names. An absent value and null are an empty cell, true and false are written so, lists are joined by "; ". What the
table leaves out is in the NDJSON file. Cells are made safe by `core.text.formula_safe`: no cell holds a line
break or another control character, these show as `[U+000A]`.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from core.text import are_safe, formula_safe
from remediation.exports.formats.ndjson import Row, rows_of

LIST_SEPARATOR = "; "
LINES_AT_ONCE = 200


class Column(NamedTuple):
    """A column's name in the header, and the path of keys to its value in a row; kind: what the value should be."""

    name: str
    path: tuple[str, ...]
    meaning: str
    kind: Literal["text", "list", "integer", "boolean"] = "text"


COLUMNS = (
    Column("message_id", ("message_id",), "the row's own ID within the job (a UUID), not the RFC 5322 Message-ID"),
    Column("status", ("status",), "PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED or SKIPPED"),
    Column("status_message", ("status_message",), "why, in the API's words"),
    Column("action", ("action_type",), "MOVE or RELEASE"),
    Column("destination", ("action_params", "destination"), "folder that a MOVE goes to"),
    Column("client_recipient", ("action_params", "client_recipient"), "mailbox acted on"),
    Column("email_message_id", ("email_message_id",), "RFC 5322 Message-ID"),
    Column("postfix_id", ("postfix_id",), "the service's own ID of the delivery"),
    Column("alert_id", ("alert_id",), "alert of the detection"),
    Column("created_at", ("created_at",), "row put into the job (RFC 3339)"),
    Column("processed_at", ("processed_at",), "row dealt with (RFC 3339)"),
    Column("retry_count", ("retry_count",), "tries after the first", "integer"),
    Column("retry_after", ("retry_after",), "not tried again before (RFC 3339)"),
    Column("subject", ("message", "subject"), "subject"),
    Column("from", ("message", "from"), "sender's address in the header"),
    Column("from_name", ("message", "from_name"), "sender's name in the header"),
    Column("to", ("message", "to"), "addresses in the To header", "list"),
    Column("to_name", ("message", "to_name"), "names in the To header", "list"),
    Column("replyto", ("message", "replyto"), "address that answers go to"),
    Column("envelope_from", ("message", "envelope_from"), "SMTP sender"),
    Column("envelope_to", ("message", "envelope_to"), "SMTP recipients", "list"),
    Column("scanned_at", ("message", "scanned_at"), "message scanned (RFC 3339)"),
    Column("sent_at", ("message", "sent_at"), "message sent (RFC 3339)"),
    Column("final_disposition", ("message", "final_disposition"), "verdict"),
    Column("delivery_mode", ("message", "delivery_mode"), "how the message came to be scanned"),
    Column("delivery_status", ("message", "delivery_status"), "what became of its delivery", "list"),
    Column("threat_categories", ("message", "threat_categories"), "kinds of threat found", "list"),
    Column("detection_reasons", ("message", "detection_reasons"), "what the verdict rests on", "list"),
    Column("post_delivery_operations", ("message", "post_delivery_operations"), "done to it after delivery", "list"),
    Column("is_quarantined", ("message", "is_quarantined"), "held in quarantine", "boolean"),
    Column("is_phish_submission", ("message", "is_phish_submission"), "reported by a user", "boolean"),
    Column("smtp_helo_server_ip", ("message", "smtp_helo_server_ip"), "address of the sending server"),
    Column("spf", ("message", "validation", "spf"), "SPF result"),
    Column("dkim", ("message", "validation", "dkim"), "DKIM result"),
    Column("dmarc", ("message", "validation", "dmarc"), "DMARC result"),
    Column("investigate_id", ("message", "id"), "ID for move, release and the message's page"),
)


# The objects inside a row that hold a column's value, each before those inside it.
_OBJECTS = tuple(dict.fromkeys(column.path[:length] for column in COLUMNS for length in range(len(column.path))))


DEEPEST_LIST = 20


def cell(value: Any, depth: int = 0, safe: Callable[[str], str] = formula_safe) -> str:
    """One value as the text of a cell, safe against formula injection. An object becomes compact JSON.

    Lists in lists become one list; below DEEPEST_LIST nobody can tell them apart any more, and they become JSON too.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, list) and depth < DEEPEST_LIST:
        return LIST_SEPARATOR.join([cell(item, depth + 1, safe) for item in value])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return safe(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return safe(str(value))


def cells(row: Row) -> list[str]:
    """A row's cells in the order of `COLUMNS`. A field of another type than expected is taken as text."""
    return [cell(value) for value in values_of(row)]


def values_of(row: Row) -> list[Any]:
    """A row's values in the order of `COLUMNS`; None for what is not there."""
    objects = {path: _object(row, path) for path in _OBJECTS}
    return [objects[column.path[:-1]].get(column.path[-1]) for column in COLUMNS]


def values_of_line(line: bytes) -> Sequence[Any]:
    """The values of a row's cells as the API sent them, in the order of `COLUMNS`.

    Raises:
        ValueError: the line is no JSON object.
    """
    try:
        return _values(_decoder.decode(line))
    except msgspec.MsgspecError:
        # An object that is none, a lone surrogate: read in full, by the rules for what is not expected.
        return next(map(values_of, rows_of([line])))


def write_csv(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """The header and a line for each line of NDJSON, handed to `write` as bytes, without keeping any.

    Raises:
        ValueError: a line is no JSON object.
    """
    write(header_line([column.name for column in COLUMNS]))
    table: list[str] = []
    for line in lines:
        table.append(_table_line(line))
        if len(table) >= LINES_AT_ONCE:
            write("".join(table).encode())
            table.clear()
    write("".join(table).encode())


def _table_line(line: bytes) -> str:
    values = expected_values(line)
    texts = _texts(values)
    joined = ",".join(texts)
    if not values:
        texts = list(map(cell, values_of_line(line)))
    elif not are_safe(joined):
        # What `formula_safe` leaves as it is need not be asked for; a list of more than one has a semicolon.
        texts = [
            text if not text or (text[0].isalnum() and ";" not in text and text.isprintable()) else cell(value)
            for text, value in zip(texts, values, strict=True)
        ]
    elif '"' not in joined and joined.count(",") < len(COLUMNS):
        return joined + "\r\n"
    # No cell holds a line break any more.
    quoted = [text if '"' not in text and "," not in text else _quoted(text) for text in texts]
    return ",".join(quoted) + "\r\n"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def expected_values(line: bytes) -> Sequence[Any]:
    """The values of a row's cells, where all have the types of their columns; else none."""
    try:
        values: Sequence[Any] = _expected_values(_expected_decoder.decode(line))
    except msgspec.MsgspecError:
        return ()
    return values


def _texts(values: Sequence[Any]) -> list[str]:
    """Such values as text, before it is made safe."""
    texts = list(values)
    for place, text_of in _text_of if texts else ():
        if (value := texts[place]) is not None:
            texts[place] = text_of(value)
    return [text or "" for text in texts]


def header_line(names: Iterable[str]) -> bytes:
    """The first line of a CSV file, every name quoted.

    Programs that find out a file's dialect by its first lines take it for one without quotes, where the first quoted
    cell comes late, and then refuse that cell (seen with DuckDB).
    """
    return (",".join(f'"{name}"' for name in names) + "\r\n").encode()


def _struct(path: tuple[str, ...], types: Mapping[str, Any] | None = None) -> type[msgspec.Struct]:
    """The object at this path with the fields that the table shows; others are passed over unread.

    types: of each kind of column, where objects can be left out too, but not be null; None: any value is taken.
    """
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for inner in _OBJECTS:
        if len(inner) == len(path) + 1 and inner[:-1] == path:
            struct = _struct(inner, types)
            default = None if types is None else msgspec.field(default_factory=struct)
            fields.append((f"object_{inner[-1]}", struct | None if types is None else struct, default))
            names[f"object_{inner[-1]}"] = inner[-1]
    for column in COLUMNS:
        if column.path[:-1] == path:
            # No field can be called `from` in Python.
            fields.append((f"field_{column.path[-1]}", Any if types is None else types[column.kind] | None, None))
            names[f"field_{column.path[-1]}"] = column.path[-1]
    return msgspec.defstruct("Row", fields, rename=names, gc=False)


def _values_of(prefix: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return operator.attrgetter(*(f"field_{c.path[-1]}" for c in COLUMNS if c.path[:-1] == prefix))


# Integers that 64 bits hold, as those of a Parquet file do.
_TYPES = {
    "text": str,
    "list": list[str],
    "integer": Annotated[int, msgspec.Meta(gt=-(2**63), le=2**63 - 1)],
    "boolean": bool,
}
_decoder = msgspec.json.Decoder(_struct(()))
_expected_decoder = msgspec.json.Decoder(_struct((), _TYPES))
_expected_values = operator.attrgetter(
    *(".".join([*(f"object_{key}" for key in c.path[:-1]), f"field_{c.path[-1]}"]) for c in COLUMNS)
)
_texts_of_kind: dict[str, Callable[[Any], str]] = {"list": LIST_SEPARATOR.join, "integer": str, "boolean": cell}
_text_of = [(place, _texts_of_kind[column.kind]) for place, column in enumerate(COLUMNS) if column.kind != "text"]
_fields = {path: _values_of(path) for path in _OBJECTS}
_counts = {path: sum(column.path[:-1] == path for column in COLUMNS) for path in _OBJECTS}
# The columns in the order in which the objects are gone through, and back.
_gone_through = [column for path in _OBJECTS for column in COLUMNS if column.path[:-1] == path]
_in_order = operator.itemgetter(*(_gone_through.index(column) for column in COLUMNS))


def _values(row: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    for path in _OBJECTS:
        inner = row
        for name in path:
            inner = getattr(inner, f"object_{name}", None)
        found += [None] * _counts[path] if inner is None else _fields[path](inner)
    ordered: tuple[Any, ...] = _in_order(found)
    return ordered


def _object(row: Row, path: tuple[str, ...]) -> Row:
    found = row
    for key in path:
        inner = found.get(key)
        if not isinstance(inner, dict):
            return {}
        found = inner
    return found
