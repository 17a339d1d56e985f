"""Replace every text in an object by the treatment of its field, and texts in unlisted fields too.

Objects are changed in place, because each row is parsed only for this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from remediation.exports.pseudonyms.fields import KEYS, Fields, Treatment

if TYPE_CHECKING:
    from typing_extensions import Buffer

Text: TypeAlias = Callable[[str], str]
Replace: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

# An unknown object nested deeper than this becomes one text.
DEEPEST = 16

_ID = re.compile(r"(?!.{201})(?:[A-Za-z][A-Za-z_.:-]*)?[0-9][A-Za-z0-9_.:-]*")
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:[Zz]|[+-]\d\d:?\d\d))?)?"
    r"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4}"
    r" \d\d:\d\d(?::\d\d)?(?: [+-]\d{4}| GMT| UTC)?(?: \((?:GMT|UTC)\))?",
    re.ASCII,
)

# Texts that differ in each row, and stay if they have the form of their field.
FORMS: dict[Treatment, Callable[[str], re.Match[str] | None]] = {"id": _ID.fullmatch, "time": _TIME.fullmatch}

_FIELD_NAME = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")


def replacer(fields: Fields, texts: Mapping[Treatment, Text]) -> Replace:
    """Return a function that replaces the names in an object with these fields in place, and returns it."""
    other = texts["other"]
    of_keys = fields.get(KEYS)
    if isinstance(of_keys, str):
        of_key = texts[of_keys]
        return lambda counts: {of_key(key): _unknown(value, other) for key, value in counts.items()}
    known = frozenset(fields)
    formed = [(name, FORMS[how], texts[how]) for name, how in fields.items() if isinstance(how, str) and how in FORMS]
    in_object = {name: replacer(how, texts) for name, how in fields.items() if isinstance(how, dict)}
    named = {name for name, *_ in formed}
    others = [
        (name, other if isinstance(how, dict) else texts[how]) for name, how in fields.items() if name not in named
    ]

    def replaced(found: dict[str, Any]) -> dict[str, Any]:
        if not known.issuperset(found):
            # The API's own names of new fields stay; their values do not.
            found = {
                name if name in known or _FIELD_NAME.fullmatch(name) else other(name): (
                    value if name in known else _unknown(value, other)
                )
                for name, value in found.items()
            }
        get = found.get
        for name, has_form, how in formed:
            value = get(name)
            if value is None or (type(value) is str and has_form(value)):
                continue
            found[name] = how(value) if type(value) is str else _unknown(value, other)
        for name, how in others:
            value = get(name)
            if value is None or value is False or value is True:
                continue
            kind = type(value)
            if kind is str:
                found[name] = how(value)
            elif kind is list:
                found[name] = [how(item) if type(item) is str else part(name, item) for item in value]
            elif kind is dict:
                found[name] = part(name, value)
        return found

    def part(name: str, value: Any) -> Any:
        if type(value) is dict and name in in_object:
            return in_object[name](value)
        return _unknown(value, other)

    return replaced


def _unknown(value: Any, other: Text, depth: int = 0) -> Any:
    """Return the value with every text and every key replaced; numbers, true, false and null stay."""
    if isinstance(value, str):
        return other(value)
    if not isinstance(value, dict | list):
        return value
    if depth >= DEEPEST:
        return other(json_text(value).decode())
    if isinstance(value, list):
        return [_unknown(item, other, depth + 1) for item in value]
    return {other(key): _unknown(item, other, depth + 1) for key, item in value.items()}


def deep_copy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a JSON object that can be changed in place."""
    return read_object(json_text(dict(document)))


def read_object(text: Buffer) -> dict[str, Any]:
    """Return the object of a JSON text. Raises: ValueError."""
    try:
        found: dict[str, Any] = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        # Half of a surrogate pair, or a number beyond 64 bits.
        found = json.loads(bytes(text))
    return found


def json_text(value: Any) -> bytes:
    """Return the compact JSON text of a value."""
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError):
        return json.dumps(value, separators=(",", ":")).encode()
