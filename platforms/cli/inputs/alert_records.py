"""The records in a file of alerts: one JSON object, an array of them, or NDJSON; compressed with gzip or not."""

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

# Of a compressed file. What unpacks to more is no batch of alerts that anybody runs.
LARGEST_UNPACKED_BYTES = 32 * 1024 * 1024

_NOTHING = "Nothing was run."
_GZIP = b"\x1f\x8b"
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Records:
    """Every record once, in the file's order. tests: Logpush's own test records. repeats: further ones of an alert."""

    found: list[dict[str, Any]]
    tests: int
    repeats: int

    def notes(self) -> Iterator[str]:
        """Yield what was left out."""
        if self.tests:
            yield f"{counted(self.tests, 'test record')} of Logpush left out"
        if self.repeats:
            yield f"{counted(self.repeats, 'record')} left out: the same AlertID came before"


def records_of(data: bytes, what: str) -> Records:
    """Return the records in the bytes of a file. Raises: ParameterError that names `what`."""
    data = _unpacked(data, what)
    if data.startswith(_OTHER_ENCODINGS) or b"\0" in data[:4]:
        raise ParameterError(f"{what} is not UTF-8 text: it looks like UTF-16", help=f"{_NOTHING} Save it as UTF-8.")
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
        only = "nothing but Logpush's own test record" if tests else "no record"
        raise ParameterError(f"{what} holds {only}", help=f"{_NOTHING} Give a file with an alert in it.")
    return Records(kept, tests, repeats)


def named(record: dict[str, Any]) -> str:
    """Return a record's AlertID in brackets, for people; empty without one."""
    name = record.get("AlertID")
    return f" (AlertID {name[:100]})" if isinstance(name, str) and name else ""


def _each(data: bytes, what: str) -> Iterator[dict[str, Any]]:
    whole = _value(data)
    if isinstance(whole, list):
        for number, item in enumerate(whole, 1):
            if not isinstance(item, dict):
                raise ParameterError(f"{what}: item {number} is not a JSON object", help=_NOTHING)
            yield item
        return
    # Bytes: also a lone CR ends a line here, U+2028 does not. Inside a JSON text neither CR nor LF can stand raw.
    lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if whole is not None or len(lines) < 2 or not any(isinstance(_value(line), dict) for _, line in lines[:2]):
        # Also what is wrong in any way: the strict reader says what, as it does of parameters.
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
    """Raises: ParameterError."""
    if not data.startswith(_GZIP):
        return data
    try:
        # One part may follow another, as Logpush writes them.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            whole = file.read(LARGEST_UNPACKED_BYTES + 1)
    except EOFError:
        raise ParameterError(f"{what} can't be unpacked: it ends too early", help=_NOTHING) from None
    except (OSError, zlib.error) as error:
        raise ParameterError(f"{what} can't be unpacked: {error}", help=_NOTHING) from None
    if len(whole) > LARGEST_UNPACKED_BYTES:
        raise ParameterError(f"{what} unpacks to more than {LARGEST_UNPACKED_BYTES} bytes", help=_NOTHING)
    if whole.startswith(_GZIP):
        raise ParameterError(f"{what} is packed with gzip twice", help=f"{_NOTHING} Unpack it once.")
    return whole
