"""Object lines: a file with a JSON object on each line, read strictly, with errors by line number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import msgspec

from remediation.exports.files.line_file import read_lines, refuse

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def read_objects(path: str, pointer: str, read: Callable[[bytes], T], what: str) -> Iterator[T]:
    """Yield the result of `read` for each line; empty lines are skipped.

    read: raises msgspec.ValidationError or ValueError naming an object's problem, msgspec.DecodeError for a line that
    is not an object. what: the name of such an object, for errors.

    Raises: ParameterError: the file can't be read, or a line is not such an object. It names the line, counted from 1.
    """
    number = 1
    try:
        for line in read_lines(path, pointer):
            if not line.isspace():
                # Check the complete line: msgspec skips fields that nothing asks for.
                if not line.isascii():
                    line.decode()
                yield read(line)
            number += 1
    except msgspec.ValidationError as error:
        refuse(pointer, f"line {number} is not a valid {what}: {error}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        refuse(pointer, f"line {number} is not a JSON object in UTF-8")
    except ValueError as error:
        refuse(pointer, str(error) if str(error).startswith("line ") else f"line {number}: {error}")


def decode_object(line: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """Return the object, even if an unrelated text contains half of a surrogate pair.

    Attackers choose the subject of their mail. An odd subject is no reason to refuse the object.
    Raises: msgspec.MsgspecError, RecursionError.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.MsgspecError:
        try:
            # As text, because json.loads guesses the encoding of bytes.
            found = json.loads(line.decode("utf-8-sig"), parse_constant=_no_number)
        except ValueError:
            raise msgspec.DecodeError from None
        return msgspec.convert(found, decoder.type)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")
