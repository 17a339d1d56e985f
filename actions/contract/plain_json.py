"""Parameters as plain JSON: nothing that a later step would choke on gets in."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from core.errors import Problem
from core.json_model import LARGEST_INTEGER
from core.json_values import below

# Deeper and larger than any real parameters; models, files and other platforms can take what stays within.
DEEPEST = 40


def problems_of(value: Any, *, quoted: Collection[str] = ()) -> list[Problem]:
    """Return the first thing in `value` that is not plain JSON, as a list of one problem; else an empty list.

    quoted: members of `value` in which numbers may have any size, and texts may hold half of a surrogate pair.
    """
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    tolerated = tuple(f"/{name}/" for name in quoted)
    while waiting:
        here, pointer, depth = waiting.pop()
        is_quoted = bool(tolerated) and f"{pointer}/".startswith(tolerated)
        problem = _problem(here, depth, quoted=is_quoted)
        if problem is not None:
            return [Problem(pointer=pointer[:500], message=problem)]
        if isinstance(here, dict):
            bad_key = next(
                (key for key in here if not isinstance(key, str) or _problem(key, depth, quoted=is_quoted)), None
            )
            if bad_key is not None:
                return [Problem(pointer=pointer[:500], message="has a key that is not a string")]
            waiting += [(inner, below(pointer, key), depth + 1) for key, inner in here.items()]
        elif isinstance(here, list | tuple):
            waiting += [(inner, f"{pointer}/{index}", depth + 1) for index, inner in enumerate(here)]
    return []


def _problem(value: Any, depth: int, *, quoted: bool) -> str | None:
    match value:
        case _ if depth > DEEPEST:
            return f"is nested more than {DEEPEST} deep"
        case str() | int() if quoted:
            return None
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            return "holds half of a surrogate pair, which is not a character"
        case bool() | None | str() | dict() | list() | tuple():
            return None
        case int() if abs(value) > LARGEST_INTEGER:
            return "is too large a number"
        case float() if not math.isfinite(value):
            return "is not a finite number"
        case int() | float():
            return None
    return "is not a JSON value"
