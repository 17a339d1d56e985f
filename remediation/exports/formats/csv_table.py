"""CSV (RFC 4180) with fixed columns. Every cell is safe to open in a spreadsheet.

UTF-8 without a byte order mark, commas, CRLF. Columns have the API's own names. Absent values and null are empty cells,
booleans are true or false, and lists are joined by "; ". The NDJSON file has everything else. `core.text.formula_safe`
makes the cells safe: a line break or another control character becomes text like `[U+000A]`.
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
    """A column's name in the header, and the path of keys to its value in a row. kind: the value's expected type."""

    name: str
    path: tuple[str, ...]
    meaning: str
    kind: Literal["text", "list", "integer", "boolean"] = "text"


COLUMNS = (
    Column("message_id", ("message_id",), "the row's own ID within the job (a UUID), not the RFC 5322 Message-ID"),
    Column("status", ("status",), "PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED or SKIPPED"),
    Column("status_message", ("status_message",), "reason, in the API's words"),
    Column("action", ("action_type",), "MOVE or RELEASE"),
    Column("destination", ("action_params", "destination"), "folder that a MOVE goes to"),
    Column("client_recipient", ("action_params", "client_recipient"), "mailbox of the message"),
    Column("email_message_id", ("email_message_id",), "RFC 5322 Message-ID"),
    Column("postfix_id", ("postfix_id",), "the service's own ID of the delivery"),
    Column("alert_id", ("alert_id",), "alert of the detection"),
    Column("created_at", ("created_at",), "row put into the job (RFC 3339)"),
    Column("processed_at", ("processed_at",), "row processed (RFC 3339)"),
    Column("retry_count", ("retry_count",), "tries after the first", "integer"),
    Column("retry_after", ("retry_after",), "earliest time of the next try (RFC 3339)"),
    Column("subject", ("message", "subject"), "subject"),
    Column("from", ("message", "from"), "sender's address in the header"),
    Column("from_name", ("message", "from_name"), "sender's name in the header"),
    Column("to", ("message", "to"), "addresses in the To header", "list"),
    Column("to_name", ("message", "to_name"), "names in the To header", "list"),
    Column("replyto", ("message", "replyto"), "address for replies"),
    Column("envelope_from", ("message", "envelope_from"), "SMTP sender"),
    Column("envelope_to", ("message", "envelope_to"), "SMTP recipients", "list"),
    Column("scanned_at", ("message", "scanned_at"), "message scanned (RFC 3339)"),
    Column("sent_at", ("message", "sent_at"), "message sent (RFC 3339)"),
    Column("final_disposition", ("message", "final_disposition"), "verdict"),
    Column("delivery_mode", ("message", "delivery_mode"), "how the message reached the scan"),
    Column("delivery_status", ("message", "delivery_status"), "result of the delivery", "list"),
    Column("threat_categories", ("message", "threat_categories"), "kinds of threat", "list"),
    Column("detection_reasons", ("message", "detection_reasons"), "reasons for the verdict", "list"),
    Column("post_delivery_operations", ("message", "post_delivery_operations"), "operations after delivery", "list"),
    Column("is_quarantined", ("message", "is_quarantined"), "held in quarantine", "boolean"),
    Column("is_phish_submission", ("message", "is_phish_submission"), "reported by a user", "boolean"),
    Column("smtp_helo_server_ip", ("message", "smtp_helo_server_ip"), "IP address of the sending server"),
    Column("spf", ("message", "validation", "spf"), "SPF result"),
    Column("dkim", ("message", "validation", "dkim"), "DKIM result"),
    Column("dmarc", ("message", "validation", "dmarc"), "DMARC result"),
    Column("investigate_id", ("message", "id"), "ID for move, release and the message's page"),
)

# The objects inside a row that have a column's value, each before its own inner objects.
_OBJECTS = tuple(dict.fromkeys(column.path[:length] for column in COLUMNS for length in range(len(column.path))))

DEEPEST_LIST = 20


def cell(value: Any, depth: int = 0, safe: Callable[[str], str] = formula_safe) -> str:
    """Return a value as the text of a cell, safe against formula injection.

    Nested lists become one list. Objects, and lists nested deeper than DEEPEST_LIST, become compact JSON.
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


def values_of(row: Row) -> list[Any]:
    """Return a row's values in the order of `COLUMNS`, None for absent ones."""
    objects: dict[tuple[str, ...], Row] = {(): row}
    for path in _OBJECTS[1:]:
        inner = objects[path[:-1]].get(path[-1])
        objects[path] = inner if isinstance(inner, dict) else {}
    return [objects[column.path[:-1]].get(column.path[-1]) for column in COLUMNS]


def values_of_line(line: bytes) -> Sequence[Any]:
    """Return the values of a row's cells in the order of `COLUMNS`. Raises: ValueError if it is not a JSON object."""
    return expected_values(line) or values_of(next(rows_of([line])))


def expected_values(line: bytes) -> Sequence[Any]:
    """Return the values of a row's cells if all have the types of their columns, else nothing."""
    try:
        values: Sequence[Any] = _expected_values(_decoder.decode(line))
    except msgspec.MsgspecError:
        return ()
    return values


def write_csv(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Write the header and a line for each line of NDJSON. Raises: ValueError for a line that is not a JSON object."""
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
    if not values:
        return csv_line([cell(value) for value in values_of_line(line)])
    texts = _texts(values)
    joined = ",".join(texts)
    if not are_safe(joined):
        # `formula_safe` would not change the skipped texts. A list of several items has a semicolon.
        texts = [
            text if not text or (text[0].isalnum() and ";" not in text and text.isprintable()) else cell(value)
            for text, value in zip(texts, values, strict=True)
        ]
    elif '"' not in joined and joined.count(",") < len(COLUMNS):
        return joined + "\r\n"
    return csv_line(texts)


def _texts(values: Sequence[Any]) -> list[str]:
    """Return expected values as text that is not safe yet."""
    texts = list(values)
    for place, text_of in _text_of:
        if (value := texts[place]) is not None:
            texts[place] = text_of(value)
    return [text or "" for text in texts]


def csv_line(cells: Iterable[str]) -> str:
    """Return a line of cells, which have no line breaks."""
    return ",".join([text if '"' not in text and "," not in text else _quoted(text) for text in cells]) + "\r\n"


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def header_line(names: Iterable[str]) -> bytes:
    """Return the first line of a CSV file, with every name quoted.

    Programs such as DuckDB guess from the first lines whether a file has quotes, and then refuse a later quoted cell.
    """
    return (",".join(map(_quoted, names)) + "\r\n").encode()


# Integers of 64 bits, as in a Parquet file.
_TYPES: Mapping[str, Any] = {
    "text": str,
    "list": list[str],
    "integer": Annotated[int, msgspec.Meta(gt=-(2**63), le=2**63 - 1)],
    "boolean": bool,
}


def _struct(path: tuple[str, ...]) -> type[msgspec.Struct]:
    """Return the type of the object at this path with the table's fields. Its inner objects may be absent, not null."""
    # The prefixes, because no field in Python can have the name `from`.
    fields: list[tuple[str, Any, Any]] = []
    for inner in _OBJECTS:
        if inner and inner[:-1] == path:
            struct = _struct(inner)
            fields.append((f"object_{inner[-1]}", struct, msgspec.field(name=inner[-1], default_factory=struct)))
    for column in COLUMNS:
        if column.path[:-1] == path:
            key = column.path[-1]
            fields.append((f"field_{key}", _TYPES[column.kind] | None, msgspec.field(name=key, default=None)))
    return msgspec.defstruct("Row", fields, gc=False)


_decoder = msgspec.json.Decoder(_struct(()))
_expected_values = operator.attrgetter(
    *(".".join([*(f"object_{key}" for key in c.path[:-1]), f"field_{c.path[-1]}"]) for c in COLUMNS)
)
_texts_of_kind: dict[str, Callable[[Any], str]] = {"list": LIST_SEPARATOR.join, "integer": str, "boolean": cell}
_text_of = [(place, _texts_of_kind[column.kind]) for place, column in enumerate(COLUMNS) if column.kind != "text"]
