"""A file of lines that somebody hands in, plain or compressed with gzip, read line by line in bounded memory."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

from core.errors import ParameterError, Problem, printable

# A row is about 3 kB; what is beyond this is no row.
LONGEST_LINE_BYTES = 4 * 1024 * 1024

_GZIP = b"\x1f\x8b"


class Lines(Protocol):
    """A file as far as it is read here."""

    def readline(self, size: int, /) -> bytes: ...


@contextmanager
def opened(path: str, pointer: str) -> Iterator[Lines]:
    """The file, what is compressed in it decompressed. pointer: the parameter that names it.

    Raises: ParameterError: it can't be read. So is what reading it raises.
    """
    try:
        # Not to wait for a pipe that nobody writes to.
        descriptor = os.open(Path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        refuse(pointer, f"can't be read: {_reason(error) if isinstance(error, OSError) else 'is no path'}")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        refuse(pointer, "can't be read: it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            if file.peek(2)[:2] != _GZIP:
                yield file
                return
            import gzip  # noqa: PLC0415 -- for files that are compressed

            with gzip.GzipFile(fileobj=file) as plain:
                yield plain
        except (OSError, EOFError, zlib.error) as error:
            said = _reason(error) if isinstance(error, OSError) else f"its compression is damaged ({error})"
            refuse(pointer, f"can't be read: {said}")


def lines(file: Lines) -> Iterator[bytes]:
    """The lines. Raises: ValueError naming one that is too long."""
    number = 0
    while line := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            raise ValueError(f"line {number} is longer than {LONGEST_LINE_BYTES} bytes")
        yield line


def refuse(pointer: str, message: str) -> NoReturn:
    """Raises: ParameterError, always."""
    raise ParameterError(problems=[Problem(pointer=pointer, message=printable(message))])


def _reason(error: OSError) -> str:
    # A damaged gzip file is an OSError without a number, and says what is wrong with it.
    return error.strerror or str(error) or type(error).__name__
