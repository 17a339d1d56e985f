"""The filters of expressions: `{{ inputs.alert.From | domain }}`.

All filters are strict. A filter that gets an unsuitable value fails with a message. It never passes "None" or 0 on into
a search: a criterion that silently becomes empty or wrong finds other people's mail.
"""

from __future__ import annotations

import decimal
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Undefined
from jinja2.filters import FILTERS as JINJA_FILTERS

from core import instants
from core.json_values import Json, plain, shown
from core.quantity import counted
from playbooks.language.filter_values import FilterError, items_of, mapping_of, text_of
from playbooks.language.mail_filters import (
    address,
    breakdown,
    clean_percent,
    domain,
    has_criteria,
    related,
)

MAX_TEXT = 1_000_000
MAX_FILE_NAME = 80


def as_text(value: object) -> str:
    """Write a value into a text: text as it is, numbers in decimal, booleans as true and false, the rest as JSON.

    None is refused: in a text it would read "None".
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise FilterError("the value is null and can't be part of a text; use | default('…', true)")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(plain(_listed(value)))


def _of_instant(read: Callable[..., Any], timestamp: Json, **by: float) -> Any:
    try:
        return read(timestamp, **by)
    except (ValueError, TypeError) as error:
        raise FilterError(f"{shown(timestamp)}: {error}") from None


def instant(timestamp: Json) -> str:
    """Write a Logpush timestamp (RFC 3339 text, or an integer in s, ms, µs or ns) as RFC 3339 in UTC with Z."""
    return instants.format_shortest(_of_instant(instants.parse_timestamp, timestamp))


def shift(timestamp: Json, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> str:
    """Move an instant by days, hours, minutes or seconds: `| instant | shift(days=-7)`."""
    return str(_of_instant(instants.shift, timestamp, days=days, hours=hours, minutes=minutes, seconds=seconds))


def epoch(timestamp: Json) -> float:
    """Convert an instant to seconds since 1970, to compare instants or to subtract them."""
    return float(_of_instant(instants.epoch_seconds, timestamp))


def with_noun(value: Json, one: str, many: str | None = None) -> str:
    """Write a whole number with its noun: `1 | counted('message')`. many: the plural, if it is not `one` with an s."""
    return counted(_integer(value), one, many)


def rounded(value: Json, precision: Json = 0, method: str = "common") -> float:
    """Round a number to `precision` digits after the point; to an integer for 0.

    method: common (half away from 0), ceil or floor.
    """
    ways = {"common": decimal.ROUND_HALF_UP, "ceil": decimal.ROUND_CEILING, "floor": decimal.ROUND_FLOOR}
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"{shown(value)} is not a number")
    if isinstance(precision, bool) or not isinstance(precision, int) or not 0 <= precision <= 12:
        raise FilterError(f"round() takes 0 to 12 digits, not {shown(precision)}")
    if method not in ways:
        raise FilterError("the method must be common, ceil or floor")
    try:
        exact = decimal.Decimal(str(value)).quantize(decimal.Decimal(1).scaleb(-precision), rounding=ways[method])
    except decimal.InvalidOperation:
        raise FilterError(f"{shown(value)} is too large to be rounded") from None
    return float(exact) if precision else int(exact)


def unique(values: Json) -> list[Json]:
    """Remove repeated values, and keep the order of first appearance. `A@x` and `a@x` are two values."""
    seen: set[str] = set()
    kept = []
    for value in items_of(values):
        key = json.dumps(plain(value), sort_keys=True)
        if key not in seen:
            seen.add(key)
            kept.append(value)
    return kept


def join(values: Json, separator: str = "") -> str:
    """Join values into one text, with an optional separator between them."""
    text = separator.join(as_text(value) for value in items_of(values))
    if len(text) > MAX_TEXT:
        raise FilterError(f"the text is longer than {MAX_TEXT} characters")
    return text


def truncate(text: Json, length: int = 80) -> str:
    """Cut a text to at most `length` characters. A text that was cut ends in `…`."""
    whole = text_of(text)
    return whole if len(whole) <= length else whole[: max(length - 1, 0)] + "…"


def lower(text: Json) -> str:
    """Convert a text to lower case."""
    return text_of(text).lower()


def trim(text: Json) -> str:
    """Remove white space at both ends of a text."""
    return text_of(text).strip()


def keys(mapping: Json) -> list[str]:
    """List the keys of a map."""
    return list(mapping_of(mapping))


def combine(mapping: Json, other: Json) -> dict[str, Json]:
    """Add the keys of another map, which win: `{'a': 1, 'b': 1} | combine({'b': 2})` gives `{'a': 1, 'b': 2}`."""
    return {**mapping_of(mapping), **mapping_of(other)}


def file_name(text: Json) -> str:
    """Make a safe file name of at most 80 characters: letters, digits, dot, dash and underscore.

    A name that had to be changed ends in eight digits of the text's SHA-256, so that two texts keep two names.
    """
    original = as_text(text)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", original).lstrip(".-_")
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", safe, flags=re.IGNORECASE)
    if reserved:
        safe = f"file_{safe}"
    if safe and safe == original and len(safe) <= MAX_FILE_NAME and not safe.endswith("."):
        return safe
    mark = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: MAX_FILE_NAME - 9].rstrip('.-_') or 'unnamed'}-{mark}"


def _integer(value: Json) -> int:
    """Read a whole number from an integer, a float without a fraction, or decimal text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", value):
        return int(value)
    raise FilterError(f"{shown(value)} is not a whole number")


def _listed(value: object) -> object:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping | list) else value


def _defined(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def strict(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            str(value)  # a strict Undefined raises its own message here
        return function(value, *args, **kwargs)

    return strict


# Only those filters of Jinja2 that select and order. The others format for HTML, pad text to any length, guess (its int
# gives 0 for "abc") or read attributes.
_FROM_JINJA = (
    *("d", "default", "first", "items", "last", "length", "list", "map", "max", "min"),
    *("reject", "rejectattr", "reverse", "select", "selectattr", "sort", "sum"),
)

OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "address": address,
    "breakdown": breakdown,
    "clean_percent": clean_percent,
    "combine": combine,
    "counted": with_noun,
    "domain": domain,
    "epoch": epoch,
    "file_name": file_name,
    "has_criteria": has_criteria,
    "instant": instant,
    "join": join,
    "keys": keys,
    "lower": lower,
    "related": related,
    "round": rounded,
    "shift": shift,
    "trim": trim,
    "truncate": truncate,
    "unique": unique,
}

FILTERS: dict[str, Callable[..., Any]] = {
    **{name: JINJA_FILTERS[name] for name in _FROM_JINJA},
    **{name: _defined(function) for name, function in OWN_FILTERS.items()},
}
