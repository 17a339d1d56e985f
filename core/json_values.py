"""JSON values: a strict reader, canonical text, pointers, and values as text for messages."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from core.errors import ParameterError
from core.surrogates import replace_surrogates

Json: TypeAlias = Any
"""None, bool, int, float (finite), str, list of Json, or dict of str to Json."""

MAX_DEPTH = 64
MAX_INTEGER_BITS = 256


class DuplicateKey(ValueError):
    """An object has a key twice, and readers disagree on which value counts."""

    def __init__(self, key: str) -> None:
        super().__init__("a key is given twice in one object")
        self.key = key


def read_json(data: bytes | str) -> Json:
    """Return the value of a JSON text. NaN and Infinity are errors.

    Raises: ValueError (DuplicateKey for a key that an object has twice); RecursionError.
    """
    return json.loads(data, object_pairs_hook=_object, parse_constant=_refuse_constant)


def read_object(data: bytes | str, what: str, help: str) -> dict[str, Json]:  # noqa: A002 -- as in core.errors
    """Return the JSON object in a text. what: its name with a verb, for errors: "the parameters are".

    Raises: ParameterError with this help, also for a duplicate key and for NaN and Infinity.
    """
    try:
        parsed = read_json(data)
    except RecursionError:
        raise ParameterError(f"{what} nested too deeply", help=help) from None
    except UnicodeDecodeError:
        raise ParameterError(f"{what} not valid JSON: not UTF-8 text", help=help) from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ParameterError(f"{what} not valid JSON: {reason}", help=help) from None
    except ValueError as error:
        raise ParameterError(f"{what} not valid JSON: {str(error)[:200]}", help=help) from None
    if not isinstance(parsed, dict):
        raise ParameterError(f"{what} not a JSON object", help=help)
    return parsed


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKey(key)
        found[key] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


class NotPlainJson(ValueError):
    """A value is not plain JSON. `pointer` (RFC 6901) is its place, `message` the reason."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer or '/'}: {message}")
        self.pointer = pointer
        self.message = message


def plain(value: object, pointer: str = "", *, depth: int = 0) -> Json:
    """Return a deep copy made only of dict, list, str, int, float, bool and None.

    Tuples become lists. Half of a surrogate pair becomes U+FFFD, because UTF-8 can't encode it.
    Raises: NotPlainJson for anything else, and for NaN, infinities, integers beyond 256 bits, keys that are not text
    and nesting deeper than 64, which other JSON readers refuse or read differently.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return replace_surrogates(value if type(value) is str else "".join(value))
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise NotPlainJson(pointer, "the integer is too large")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlainJson(pointer, f"{value} is not a JSON number")
        return float(value)
    if depth >= MAX_DEPTH:
        raise NotPlainJson(pointer, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            _text_key(key, pointer): plain(item, below(pointer, key), depth=depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item, below(pointer, index), depth=depth + 1) for index, item in enumerate(value)]
    raise NotPlainJson(pointer, f"{type(value).__name__} is not a JSON type")


def _text_key(key: object, pointer: str) -> str:
    if not isinstance(key, str):
        raise NotPlainJson(pointer, f"the key {shown(key)} is not text")
    return replace_surrogates("".join(key))


def canonical(value: Json) -> bytes:
    """Return the canonical JSON text: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(value: Json) -> str:
    """Return the SHA-256 of the canonical JSON text, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def below(pointer: str, *parts: object) -> str:
    """Return the JSON pointer (RFC 6901) of a child, with each part escaped."""
    return pointer + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shown(value: object, length: int = 80) -> str:
    """Return a value as text for a message: quoted, with visible escapes, cut to about `length` characters."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= length else text[: length - 1] + "…"
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return f"'{escaped}'" if isinstance(value, str) else escaped


def did_you_mean(name: str, known: Iterable[str], *, or_list: bool = False) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else an empty text, or with or_list the known names."""
    import difflib  # noqa: PLC0415 -- only for an error

    folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name[:100].casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {shown(folded[near[0]])}?"
    return f"; known: {', '.join(folded.values())}" if or_list and folded else ""
