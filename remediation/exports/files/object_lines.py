"""A file with a JSON object on each line: only what is asked for is read, strictly, and refused by line number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

import msgspec

from remediation.exports.files.line_file import lines, opened, refuse

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def objects(path: str, pointer: str, read: Callable[[bytes], T], what: str) -> Iterator[T]:
    """What `read` makes of each line, one at a time; empty lines are passed over.

    read: raises msgspec.ValidationError or ValueError saying what is wrong with an object, msgspec.DecodeError for
    what is none. what: what a line should be.

    Raises: ParameterError: the file can't be read, or a line is no such object; it names the line, counted from 1.
    """
    with opened(path, pointer) as file:
        number = 1
        try:
            for line in lines(file):
                if not line.isspace():
                    # What is not read of it would not be looked at.
                    if not line.isascii():
                        line.decode()
                    yield read(line)
                number += 1
        except msgspec.ValidationError as error:
            refuse(pointer, f"line {number} is no {what}: {error}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            refuse(pointer, f"line {number} is not a JSON object in UTF-8")
        except ValueError as error:
            refuse(pointer, str(error) if str(error).startswith("line ") else f"line {number}: {error}")


def converted(line: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """The object, also where a text that is not asked for holds half of a surrogate pair.

    Whoever writes a mail chooses its subject: that is no reason to refuse what is said of the mail.
    Raises: msgspec.MsgspecError, RecursionError.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.MsgspecError:
        try:
            # As text: of bytes it would guess the encoding.
            found = json.loads(line.decode("utf-8-sig"), parse_constant=_no_number)
        except ValueError:
            raise msgspec.DecodeError from None
        return msgspec.convert(found, decoder.type)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
