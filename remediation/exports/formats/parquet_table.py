"""Parquet: the columns of the CSV with their own types, and each row's complete JSON text in the last column.

A value of another type than its column's is null there, and only in the column `row`. Texts are not made safe for a
spreadsheet, because a program reads the file. Times are text as the API wrote it (RFC 3339).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from remediation.exports.formats.csv_table import COLUMNS, Column, expected_values, values_of_line

ROWS_IN_A_GROUP = 1000
ROW_COLUMN = "row"

# All current readers know it. It compresses text better than older methods at the same speed.
COMPRESSION = "zstd"


def write_parquet(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Write a row for each line of NDJSON, with one group of rows in memory at a time.

    Raises: ValueError for a line that is not a JSON object.
    """
    import pyarrow as pa  # noqa: PLC0415 -- an extra of 60 MB
    from pyarrow import parquet  # noqa: PLC0415

    types = {"text": pa.string(), "list": pa.list_(pa.string()), "integer": pa.int64(), "boolean": pa.bool_()}
    schema = pa.schema([(column.name, types[column.kind]) for column in COLUMNS] + [(ROW_COLUMN, pa.string())])
    rest = iter(lines)
    with parquet.ParquetWriter(pa.PythonFile(_Sink(write), mode="w"), schema, compression=COMPRESSION) as writer:
        while group := list(itertools.islice(rest, ROWS_IN_A_GROUP)):
            # Free each form of the rows as soon as the next one exists: together they take 30 MB more.
            texts = pa.array([line.rstrip(b"\n").decode() for line in group], pa.string())
            table = [expected_values(line) or _fitting_values(line) for line in group]
            group.clear()
            typed: list[Sequence[Any]] = list(zip(*table, strict=True))
            del table
            arrays = [pa.array(typed.pop(0), field.type) for field in list(schema)[:-1]]
            arrays.append(texts)
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            del arrays, texts


def _fitting_values(line: bytes) -> list[Any]:
    return [_fitting(value, column) for value, column in zip(values_of_line(line), COLUMNS, strict=True)]


def _fitting(value: Any, column: Column) -> Any:
    """Return the value if it has the column's type, else None."""
    match column.kind:
        case "text":
            return _text(value)
        case "list":
            return [_text(item) for item in value] if isinstance(value, list) else None
        case "integer":
            return value if type(value) is int and abs(value) < 2**63 else None
        case "boolean":
            return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    # UTF-8 can't encode half of a surrogate pair.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else None


class _Sink:
    """The file that pyarrow needs."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._size = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._write(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Do nothing: the file's owner flushes it."""

    def close(self) -> None:
        self.closed = True
