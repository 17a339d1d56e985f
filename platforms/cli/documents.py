"""JSON documents from files and standard input, read within bounds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

from connectors.errors import ParameterError

# As much as the process protocol takes: a file given by mistake must not fill the memory.
LARGEST_BYTES = 4 * 1024 * 1024


def read_bytes(name: str, option: str) -> bytes:
    """What is in the file, or in standard input for `-`. Raises: ParameterError that names the option."""
    try:
        if name == "-":
            if sys.stdin.isatty():
                sys.stderr.write(f"{option}: reading from the terminal; end with Ctrl-D\n")
            return _bounded(sys.stdin.buffer, option)
        with Path(name).open("rb") as file:
            return _bounded(file, option)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is no path"
        raise ParameterError(f"{option} {name[:200]!r} can't be read: {reason}", help="Nothing was sent.") from None


def read_object(name: str, option: str) -> dict[str, Any]:
    """The one JSON object in a file or standard input. Raises: ParameterError."""
    return parsed(read_bytes(name, option), f"{option} {shown(name)}")


def read_record(name: str, option: str) -> dict[str, Any]:
    """The one record in a file of JSON or NDJSON.

    Several records are refused, for a run answers one of them. Raises: ParameterError.
    """
    data = read_bytes(name, option)
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and _is_object(lines[0]) and not _is_object(data):
        raise ParameterError(
            f"{option} {shown(name)} holds {len(lines)} records, and a run takes one",
            help=f"Nothing was sent. Run it once for each line: sed -n 1p FILE > one.json, then {option} one.json",
        )
    return parsed(data, f"{option} {shown(name)}")


def parsed(data: bytes, what: str) -> dict[str, Any]:
    """One JSON object, read as strictly as every action reads its parameters. Raises: ParameterError naming `what`."""
    from actions.process import parse_parameters  # noqa: PLC0415 -- brings the whole connector

    try:
        return parse_parameters(data)
    except ParameterError as error:
        message = error.message.replace("the parameters are no JSON", "is no JSON").replace("the parameters", "it")
        raise ParameterError(f"{what}: {message}", help="Nothing was sent. Give one JSON object.") from None


def shown(name: str) -> str:
    """A file's name for an error."""
    return "(standard input)" if name == "-" else repr(name[:200])


def _is_object(data: bytes) -> bool:
    try:
        parsed(data, "")
    except ParameterError:
        return False
    return True


def _bounded(stream: IO[bytes], option: str) -> bytes:
    data = stream.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise ParameterError(f"{option}: more than {LARGEST_BYTES} bytes", help="Nothing was sent.")
    return data
