"""Objects with every text in them replaced as the treatment of its field says, and what is not listed replaced too.

They are changed in place: a page of rows is read for this alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from evidence.pseudonym_fields import KEYS, Fields, Treatment

if TYPE_CHECKING:
    from typing_extensions import Buffer

Text: TypeAlias = Callable[[str], str]
Replace: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

# Below this many levels an unknown object is replaced as a whole.
DEEPEST = 16

_FIELD_NAME = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")


def replacing(fields: Fields, texts: Mapping[Treatment, Text]) -> Replace:
    """A function that replaces the names in an object with these fields, in place, and gives it back."""
    other = texts["other"]
    of_keys = fields.get(KEYS)
    if isinstance(of_keys, str):
        of_key = texts[of_keys]
        return lambda counts: {of_key(key): _unknown(value, other) for key, value in counts.items()}
    known = frozenset(fields)
    in_text = [(name, other if isinstance(how, dict) else texts[how]) for name, how in fields.items()]
    in_object = {name: replacing(how, texts) for name, how in fields.items() if isinstance(how, dict)}

    def replaced(found: dict[str, Any]) -> dict[str, Any]:
        if not known.issuperset(found):
            # The API's own names of new fields stay; what stands in them does not.
            found = {
                name if name in known or _FIELD_NAME.fullmatch(name) else other(name): (
                    value if name in known else _unknown(value, other)
                )
                for name, value in found.items()
            }
        get = found.get
        for name, how in in_text:
            value = get(name)
            if value is None or value is False or value is True:
                continue
            kind = type(value)
            if kind is str:
                found[name] = how(value)
            elif kind is dict:
                found[name] = in_object[name](value) if name in in_object else _unknown(value, other)
            elif kind is list:
                inner = in_object.get(name)
                found[name] = [
                    how(item)
                    if type(item) is str
                    else inner(item)
                    if inner is not None and type(item) is dict
                    else _unknown(item, other)
                    for item in value
                ]
        return found

    return replaced


def _unknown(value: Any, other: Text, depth: int = 0) -> Any:
    """Every text replaced, the keys of objects too; numbers, true, false and null stay."""
    if isinstance(value, str):
        return other(value)
    if not isinstance(value, dict | list):
        return value
    if depth >= DEEPEST:
        return other(written(value).decode())
    if isinstance(value, list):
        return [_unknown(item, other, depth + 1) for item in value]
    return {other(key): _unknown(item, other, depth + 1) for key, item in value.items()}


def copied(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same, to be changed without changing what was handed over."""
    return read(written(dict(document)))


def read(text: Buffer) -> dict[str, Any]:
    """An object's JSON text. Raises: ValueError where it is none."""
    try:
        found: dict[str, Any] = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        # A lone surrogate, or a number beyond 64 bits.
        found = json.loads(bytes(text))
    return found


def written(value: Any) -> bytes:
    """The JSON text of a value, without white space between its parts."""
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError):
        return json.dumps(value, separators=(",", ":")).encode()
