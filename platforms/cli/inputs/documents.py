"""Read JSON documents from files and standard input, with a size limit."""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import IO, Any

from core import json_values
from core.errors import ParameterError

# The same limit as in the process protocol: a wrong file must not fill the memory.
LARGEST_BYTES = 4 * 1024 * 1024


# A descriptor that the shell opened, as in `--plan @<(jq .plan run.json)`. Its writer already exists.
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/[0-9]+")

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a named pipe: give a file, or - for standard input"),
    (stat.S_ISSOCK, "is a socket"),
)


def read_bytes(name: str, option: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`, at most LARGEST_BYTES.

    Refuses devices and named pipes, which may never end. Raises: ParameterError that names option and file.
    """
    try:
        if name in ("-", "/dev/stdin"):
            if sys.stdin is None:
                raise ParameterError(f"{option}: standard input is closed", help="Nothing was sent. Name a file.")
            if sys.stdin.isatty():
                sys.stderr.write(f"{option}: reading from the terminal. End the input with Ctrl-D.\n")
            return _bounded(sys.stdin.buffer, option, name)
        with os.fdopen(_open(name, option), "rb") as file:
            return _bounded(file, option, name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
        raise _unreadable(name, option, reason) from None


def _open(name: str, option: str) -> int:
    """Return a descriptor of a file that can be read to its end. Raises: ParameterError, OSError."""
    # Without O_NONBLOCK, opening a pipe without a writer would wait forever.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    from_shell = stat.S_ISFIFO(mode) and _DESCRIPTOR.fullmatch(name) is not None
    if not stat.S_ISREG(mode) and not from_shell:
        os.close(descriptor)
        raise _unreadable(name, option, next((text for is_, text in _KINDS if is_(mode)), "is a device"))
    os.set_blocking(descriptor, True)
    return descriptor


def _unreadable(name: str, option: str, reason: str) -> ParameterError:
    return ParameterError(
        f"{option} {name[:200]!r} can't be read: {reason}", help="Nothing was sent. Name a file that you can read."
    )


def read_object(name: str, option: str) -> dict[str, Any]:
    """Read one JSON object from a file or standard input. Raises: ParameterError."""
    return parsed(read_bytes(name, option), f"{option} {shown(name)}")


def parsed(data: bytes, what: str) -> dict[str, Any]:
    """Parse one JSON object, as strictly as parameters are read. Raises: ParameterError that names `what`."""
    return json_values.read_object(data, f"{what}: it is", "Nothing was sent. Give one JSON object.")


def shown(name: str) -> str:
    """Return the name of a file for an error."""
    return "(standard input)" if name == "-" else repr(name[:200])


def _bounded(stream: IO[bytes], option: str, name: str) -> bytes:
    data = stream.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ParameterError(
            f"{option} {shown(name)} is larger than {LARGEST_BYTES:,} bytes",
            help="Nothing was sent. Give a smaller file.",
        )
    return data
