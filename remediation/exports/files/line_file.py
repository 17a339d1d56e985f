"""Line files: an input file, plain or gzip, read line by line in bounded memory."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import NoReturn

from core.errors import ParameterError, printable

# A row is about 3 kB. A line beyond this limit is not a row.
LONGEST_LINE_BYTES = 4 * 1024 * 1024

_GZIP = b"\x1f\x8b"


@contextmanager
def open_lines(path: str, pointer: str) -> Iterator[BufferedIOBase]:
    """Open the file and decompress it if needed. pointer: the parameter that names the file.

    Raises: ParameterError if the file can't be read; errors inside the block become one too.
    """
    try:
        # Do not wait for the writer of a pipe.
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        refuse(pointer, f"can't be read: {_reason(error) if isinstance(error, OSError) else 'not a valid path'}")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        refuse(pointer, "can't be read: it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            if file.peek(2)[:2] != _GZIP:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as plain:
                yield plain
        except (OSError, EOFError, zlib.error) as error:
            why = _reason(error) if isinstance(error, OSError) else f"its compression is damaged ({error})"
            refuse(pointer, f"can't be read: {why}")


def read_lines(file: BufferedIOBase) -> Iterator[bytes]:
    """Yield the lines. Raises: ValueError naming a line that is too long."""
    number = 0
    while line := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            raise ValueError(f"line {number} is longer than {LONGEST_LINE_BYTES} bytes")
        yield line


def refuse(pointer: str, message: str) -> NoReturn:
    """Refuse a parameter. Raises: ParameterError, always."""
    raise ParameterError.at(pointer, printable(message))


def _reason(error: OSError) -> str:
    # A damaged gzip file raises an OSError without a number, whose text names the problem.
    return error.strerror or str(error) or type(error).__name__
