"""Keep records on disk, in parts by their hash. All records of one hash are in one part, which is read at once."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from core.errors import OutputError

R = TypeVar("R", bound=tuple[Any, ...])

# A million records make parts of 8,000.
NUMBER = 128
_BYTES_IN_PART = 256 // NUMBER


class Partitions(Generic[R]):
    """Records in parts. kind: the type of a record, a tuple that begins with its hash, of one byte or more.

    The records are in a temporary file without a name, which is deleted when it is closed.
    Raises, from every method: OutputError if the file can't grow.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[R]] = msgspec.msgpack.Decoder(list[kind])
        self._encode = msgspec.msgpack.Encoder().encode
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(NUMBER)]
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- closed by close()
        except OSError as error:
            raise _no_room(error) from error

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()

    def add(self, records: Iterable[R]) -> None:
        """Add a few thousand records at a time: each call writes up to one piece for each part."""
        apart: defaultdict[int, list[R]] = defaultdict(list)
        for record in records:
            apart[record[0][0] // _BYTES_IN_PART].append(record)
        pieces = []
        for number, part in apart.items():
            try:
                piece = self._encode(part)
            except UnicodeEncodeError:
                piece = self._encode(_storable(part))
            self._places[number].append((self._end, len(piece)))
            self._end += len(piece)
            pieces.append(piece)
        left = memoryview(b"".join(pieces))
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            raise _no_room(error) from error

    def parts(self) -> Iterator[list[R]]:
        """Yield each part's records in the order in which they were added; the parts in the order of their hash."""
        for places in self._places:
            part: list[R] = []
            for place, size in places:
                self._file.seek(place)
                part += self._decoder.decode(self._file.read(size))
            yield part


def _storable(value: Any) -> Any:
    """Return the value with its escape in place of half a surrogate pair, which can't be stored."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value


def _no_room(error: OSError) -> OutputError:
    return OutputError(
        f"the temporary file could not be used: {error.strerror or error}",
        help="Nothing was changed. Free some space in TMPDIR (about a gigabyte for a million rows and as many "
        "events), or set TMPDIR to another directory.",
    )
