"""Read a file of alerts: one JSON object, an array, or NDJSON; plain or gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.errors import ParameterError
from core.json_values import read_json
from core.quantity import counted
from platforms.cli.inputs.documents import parsed
from remediation.reconciliation.logpush_test_record import TEST_RECORD

# The limit for an unpacked gzip file, far above any real batch of alerts.
LARGEST_UNPACKED_BYTES = 32 * 1024 * 1024

_NOTHING = "Nothing was run."
_GZIP = b"\x1f\x8b"
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Records:
    """The records of a file, each alert once, in order. tests: Logpush test records. repeats: repeated alerts."""

    found: list[dict[str, Any]]
    tests: int
    repeats: int

    def notes(self) -> Iterator[str]:
        """Yield a line for each kind of record that was left out."""
        if self.tests:
            yield f"Left out {counted(self.tests, 'Logpush test record')}."
        if self.repeats:
            yield f"Left out {counted(self.repeats, 'record')} with an AlertID that came before."


def records_of(data: bytes, what: str) -> Records:
    """Return the records in the bytes of a file. Raises: ParameterError with `what` as the name of the file."""
    data = _unpacked(data, what)
    if data.startswith(_OTHER_ENCODINGS) or b"\0" in data[:4]:
        raise ParameterError(f"{what} is not UTF-8 text; it seems to be UTF-16", help=f"{_NOTHING} Save it as UTF-8.")
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise ParameterError(f"{what} is empty", help=f"{_NOTHING} Give a file with an alert in it.")
    records = list(_each(data.removeprefix(b"\xef\xbb\xbf"), what))
    kept, tests, repeats, seen = [], 0, 0, set()
    for record in records:
        name = record.get("AlertID")
        if record == TEST_RECORD:
            tests += 1
        elif isinstance(name, str) and name and name in seen:
            repeats += 1
        else:
            seen.add(name if isinstance(name, str) else None)
            kept.append(record)
    if not kept:
        only = "only Logpush's test record" if tests else "no record"
        raise ParameterError(f"{what} has {only}", help=f"{_NOTHING} Give a file with an alert in it.")
    return Records(kept, tests, repeats)


def named(record: dict[str, Any]) -> str:
    """Return a record's AlertID in brackets; empty if it has none."""
    name = record.get("AlertID")
    return f" (AlertID {name[:100]})" if isinstance(name, str) and name else ""


def _each(data: bytes, what: str) -> Iterator[dict[str, Any]]:
    whole = _value(data)
    if isinstance(whole, list):
        for number, item in enumerate(whole, 1):
            if not isinstance(item, dict):
                raise ParameterError(
                    f"{what}: item {number} is not a JSON object", help=f"{_NOTHING} Give JSON objects."
                )
            yield item
        return
    # In bytes a lone CR ends a line and U+2028 does not. JSON text has no raw CR or LF inside.
    lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if whole is not None or len(lines) < 2 or not any(isinstance(_value(line), dict) for _, line in lines[:2]):
        # The strict reader also reports what is wrong with the file.
        yield parsed(data, what)
        return
    for number, line in lines:
        yield parsed(line, f"{what}, line {number}")


def _value(data: bytes) -> Any:
    try:
        return read_json(data.decode())
    except (ValueError, RecursionError):
        return None


def _unpacked(data: bytes, what: str) -> bytes:
    """Return the bytes, unpacked if they are gzip. Raises: ParameterError."""
    if not data.startswith(_GZIP):
        return data
    try:
        # Logpush writes several gzip parts in a row.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            whole = file.read(LARGEST_UNPACKED_BYTES + 1)
    except EOFError:
        raise ParameterError(
            f"{what} can't be unpacked: the file is cut off", help=f"{_NOTHING} Copy it again."
        ) from None
    except (OSError, zlib.error) as error:
        raise ParameterError(f"{what} can't be unpacked: {error}", help=f"{_NOTHING} Copy it again.") from None
    if len(whole) > LARGEST_UNPACKED_BYTES:
        raise ParameterError(
            f"{what} unpacks to more than {LARGEST_UNPACKED_BYTES} bytes", help=f"{_NOTHING} Split it."
        )
    if whole.startswith(_GZIP):
        raise ParameterError(f"{what} was compressed with gzip twice", help=f"{_NOTHING} Unpack it once.")
    return whole
