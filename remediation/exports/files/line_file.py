"""Line files: an input file, plain, gzip or an evidence bundle, read line by line in bounded memory."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, NoReturn
from zipfile import BadZipFile, ZipFile

from core.errors import ParameterError, printable

# A row is about 3 kB. A line beyond this limit is not a row.
LONGEST_LINE_BYTES = 4 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"

# The file with the rows in an evidence bundle.
BUNDLE_ROWS = "rows.ndjson"


def read_lines(path: str, pointer: str, name: str | None = None) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed if needed. pointer: the parameter that names the file.

    name: the name for errors, by default the path.
    Raises: ParameterError if the file can't be read; ValueError naming a line that is too long.
    """
    name = repr((name or path)[:200])
    try:
        # Do not wait for the writer of a pipe.
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        refuse(pointer, f"{name} can't be read: {_reason(error) if isinstance(error, OSError) else 'not a valid path'}")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        refuse(pointer, f"{name} can't be read: it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        number = 0
        try:
            plain = _decompressed(file)
            while line := plain.readline(LONGEST_LINE_BYTES + 1):
                number += 1
                if len(line) > LONGEST_LINE_BYTES:
                    raise ValueError(f"line {number} is longer than {LONGEST_LINE_BYTES} bytes")
                yield line
        except KeyError:
            refuse(pointer, f"{name} can't be read: it is a zip file without {BUNDLE_ROWS}, not an evidence bundle")
        except (OSError, EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError) as error:
            why = _reason(error) if isinstance(error, OSError) else f"its compression is damaged ({error})"
            refuse(pointer, f"{name} can't be read: {why}")


def _decompressed(file: BufferedReader) -> IO[bytes] | gzip.GzipFile | BufferedReader:
    """Return the text of a file: decompressed, or the rows of an evidence bundle. Raises: as zipfile and gzip."""
    begins = file.peek(4)[:4]
    if begins == _ZIP:
        return ZipFile(file).open(BUNDLE_ROWS)
    return gzip.GzipFile(fileobj=file) if begins[:2] == _GZIP else file


def refuse(pointer: str, message: str) -> NoReturn:
    """Refuse a parameter. Raises: ParameterError, always."""
    raise ParameterError.at(pointer, printable(message))


def _reason(error: OSError) -> str:
    # A damaged gzip file raises an OSError without a number, whose text names the problem.
    return error.strerror or str(error) or type(error).__name__
