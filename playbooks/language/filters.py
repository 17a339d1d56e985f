"""The filters of expressions: `{{ inputs.alert.From | domain }}`.

All are strict. A filter given something it has no meaning for fails with a message, rather than passing "None" or 0 on
into a search: a criterion that silently becomes empty or wrong finds the mail of other people.
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
from playbooks.language.campaign_search import campaign_search, has_criteria, sender_proof
from playbooks.language.filter_values import FilterError, items_of, mapping_of, text_of
from playbooks.language.mail_filters import (
    address,
    address_problems,
    breakdown,
    clean_percent,
    domain,
    domain_problems,
    domains,
    related,
)

MAX_TEXT = 1_000_000
MAX_FILE_NAME = 80


def as_text(value: object) -> str:
    """A value as part of a text: text as it is, numbers in decimal, booleans as true and false, lists and maps as JSON.

    None is refused: in a text it would read "None".
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise FilterError("the value is null and can't stand in a text; use | default('…', true)")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return to_json(value)


def to_json(value: Json) -> str:
    """The value as JSON text, non-ASCII characters escaped."""
    return json.dumps(plain(_listed(value)))


def instant(timestamp: Json) -> str:
    """A Logpush timestamp (RFC 3339 text, or an integer in s, ms, µs or ns) as RFC 3339 in UTC with Z."""
    try:
        return instants.format_shortest(instants.parse_timestamp(timestamp))
    except ValueError as error:
        raise FilterError(f"{shown(timestamp)}: {error}") from None


def whole_second(timestamp: Json) -> str:
    """The instant without its fraction, as RFC 3339: the same alert may come with nanoseconds or in whole seconds."""
    try:
        return instants.whole_second(timestamp)
    except ValueError as error:
        raise FilterError(f"{shown(timestamp)}: {error}") from None


def shift(timestamp: Json, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> str:
    """The instant that much later: `| instant | shift(days=-7)`."""
    try:
        return instants.shift(timestamp, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, TypeError) as error:
        raise FilterError(f"{shown(timestamp)}: {error}") from None


def epoch(timestamp: Json) -> float:
    """Seconds since 1970, to compare instants or to measure between them."""
    try:
        return instants.epoch_seconds(timestamp)
    except ValueError as error:
        raise FilterError(f"{shown(timestamp)}: {error}") from None


def file_name(text: Json) -> str:
    """A safe file name of at most 80 characters from any text: letters, digits, dot, dash and underscore.

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


def integer(value: Json) -> int:
    """A whole number from an integer, a float without a fraction, or decimal text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", value):
        return int(value)
    raise FilterError(f"{shown(value)} is not a whole number")


def of_nouns(value: Json, one: str, many: str | None = None) -> str:
    """A whole number with the word for what it counts: `1 | counted('message')`; many: the plural unless it adds s."""
    return counted(integer(value), one, many)


def number(value: Json) -> float:
    """A number from a number or decimal text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,40}(\.[0-9]{1,40})?\s*", value):
        return float(value)
    raise FilterError(f"{shown(value)} is not a number")


def rounded(value: Json, precision: Json = 0, method: str = "common") -> float:
    """The number rounded to `precision` digits after the point; an integer for 0. method: common (half away from 0),
    ceil or floor."""
    ways = {"common": decimal.ROUND_HALF_UP, "ceil": decimal.ROUND_CEILING, "floor": decimal.ROUND_FLOOR}
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"{shown(value)} is not a number")
    if isinstance(precision, bool) or not isinstance(precision, int) or not 0 <= precision <= 12:
        raise FilterError(f"round() takes 0 to 12 digits, not {shown(precision)}")
    if method not in ways:
        raise FilterError("the method is common, ceil or floor")
    try:
        exact = decimal.Decimal(str(value)).quantize(decimal.Decimal(1).scaleb(-precision), rounding=ways[method])
    except decimal.InvalidOperation:
        raise FilterError(f"{shown(value)} is too large to be rounded") from None
    return float(exact) if precision else int(exact)


def unique(values: Json) -> list[Json]:
    """The values without repetitions, in the order of their first appearance. `A@x` and `a@x` stay two values."""
    seen: set[str] = set()
    kept = []
    for value in items_of(values):
        key = json.dumps(plain(value), sort_keys=True)
        if key not in seen:
            seen.add(key)
            kept.append(value)
    return kept


def join(values: Json, separator: str = "") -> str:
    """The values as one text."""
    return _bounded(separator.join(as_text(value) for value in items_of(values)))


def replace(text: Json, old: str, new: str) -> str:
    """The text with every `old` replaced by `new`; `old` may not be empty."""
    original = text_of(text)
    if not old:
        raise FilterError("replace() needs a text to look for")
    if len(original) + original.count(old) * len(new) > MAX_TEXT:
        raise FilterError(f"the text would be longer than {MAX_TEXT} characters")
    return original.replace(old, new)


def split(text: Json, separator: str) -> list[str]:
    """The parts of a text between the separators."""
    return text_of(text).split(separator)


def truncate(text: Json, length: int = 80) -> str:
    """The text cut to at most `length` characters, the last of them `…` where something was cut."""
    whole = text_of(text)
    return whole if len(whole) <= length else whole[: max(length - 1, 0)] + "…"


def lower(text: Json) -> str:
    """The text in lower case."""
    return text_of(text).lower()


def upper(text: Json) -> str:
    """The text in upper case."""
    return text_of(text).upper()


def trim(text: Json) -> str:
    """The text without white space at its ends."""
    return text_of(text).strip()


def keys(mapping: Json) -> list[str]:
    """The keys of a map."""
    return list(mapping_of(mapping))


def values(mapping: Json) -> list[Json]:
    """The values of a map."""
    return list(mapping_of(mapping).values())


def pick(mapping: Json, *names: str) -> dict[str, Json]:
    """The map with only these keys, as far as it has them."""
    source = mapping_of(mapping)
    return {name: source[name] for name in names if name in source}


def compact(value: Json) -> Json:
    """A list without its nulls, or a map without the keys that are null."""
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if item is not None}
    return [item for item in items_of(value) if item is not None]


def _listed(value: object) -> object:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping | list) else value


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise FilterError(f"the text is longer than {MAX_TEXT} characters")
    return text


def _defined(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def strict(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            str(value)  # a strict Undefined raises its own message here
        return function(value, *args, **kwargs)

    return strict


# Of Jinja2's own filters only those that select and order. The others format for HTML, pad text to any length, guess
# (its int gives 0 for "abc") or reach for attributes.
_FROM_JINJA = (
    *("abs", "count", "d", "default", "dictsort", "first", "items", "last", "length", "list", "map", "max", "min"),
    *("reject", "rejectattr", "reverse", "select", "selectattr", "sort", "sum"),
)

OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "address": address,
    "address_problems": address_problems,
    "breakdown": breakdown,
    "campaign_search": campaign_search,
    "clean_percent": clean_percent,
    "compact": compact,
    "counted": of_nouns,
    "domain": domain,
    "domain_problems": domain_problems,
    "domains": domains,
    "epoch": epoch,
    "file_name": file_name,
    "float": number,
    "has_criteria": has_criteria,
    "instant": instant,
    "int": integer,
    "join": join,
    "keys": keys,
    "lower": lower,
    "pick": pick,
    "related": related,
    "replace": replace,
    "round": rounded,
    "sender_proof": sender_proof,
    "shift": shift,
    "split": split,
    "string": as_text,
    "tojson": to_json,
    "trim": trim,
    "truncate": truncate,
    "unique": unique,
    "upper": upper,
    "values": values,
    "whole_second": whole_second,
}

FILTERS: dict[str, Callable[..., Any]] = {
    **{name: JINJA_FILTERS[name] for name in _FROM_JINJA},
    **{name: _defined(function) for name, function in OWN_FILTERS.items()},
}
