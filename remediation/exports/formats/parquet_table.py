"""Rows as Parquet: the columns of the CSV with types of their own, and each row's whole JSON text in the last one.

A value of another type than its column's is null there; the column `row` holds it, as everything else that the API
sent. Nothing is disarmed: a program reads this, not a spreadsheet. Times are text as the API wrote it (RFC 3339).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from core.errors import ParameterError
from core.installation import command_to_add
from remediation.exports.formats.csv_table import COLUMNS, Column, expected_values, values_of_line

ROWS_IN_A_GROUP = 1000
WHOLE_ROW = "row"

# Newer readers all know it, and it compresses text better than what came before at the same speed.
COMPRESSION = "zstd"


def check_installed() -> None:
    """Raises: ParameterError where the extra `parquet` is not there."""
    try:
        import pyarrow  # noqa: F401, PLC0415 -- 60 MB, for one format
    except ImportError:
        message = "parquet needs the extra `parquet` (pyarrow), which is not installed. To add it: "
        message += command_to_add("parquet")
        raise ParameterError(problems=[{"pointer": "/format", "message": message}]) from None


def write_parquet(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """The rows of these lines of NDJSON, handed to `write` piece by piece, a group of rows in memory at a time.

    Raises:
        ValueError: a line is no JSON object.
    """
    import pyarrow as pa  # noqa: PLC0415 -- see above
    from pyarrow import parquet  # noqa: PLC0415

    types = {"text": pa.string(), "list": pa.list_(pa.string()), "integer": pa.int64(), "boolean": pa.bool_()}
    schema = pa.schema([(column.name, types[column.kind]) for column in COLUMNS] + [(WHOLE_ROW, pa.string())])
    rest = iter(lines)
    with parquet.ParquetWriter(pa.PythonFile(_Sink(write), mode="w"), schema, compression=COMPRESSION) as writer:
        while group := list(itertools.islice(rest, ROWS_IN_A_GROUP)):
            # Each form of the rows is dropped as soon as the next one exists: together they take 30 MB more.
            whole = pa.array([line.rstrip(b"\n").decode() for line in group], pa.string())
            table = [expected_values(line) or _fitting_values(line) for line in group]
            group.clear()
            typed: list[Sequence[Any]] = list(zip(*table, strict=True))
            del table
            arrays = [pa.array(typed.pop(0), field.type) for field in list(schema)[:-1]]
            arrays.append(whole)
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            del arrays, whole


def _fitting_values(line: bytes) -> list[Any]:
    return [_fitting(value, column) for value, column in zip(values_of_line(line), COLUMNS, strict=True)]


def _fitting(value: Any, column: Column) -> Any:
    """The value where it is of the column's type, else None."""
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
    # A lone surrogate is no character, and nothing that UTF-8 can hold.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else None


class _Sink:
    """The file that pyarrow asks for, on top of a function that takes bytes."""

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
        """Whoever made the file flushes it."""

    def close(self) -> None:
        self.closed = True
