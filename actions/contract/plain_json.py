"""Check that parameters are plain JSON, so that no later step fails on them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from core.errors import Problem
from core.json_model import LARGEST_INTEGER
from core.json_values import below

# Deeper than any real parameters. Models, files and other platforms accept this depth.
DEEPEST = 40


def problem_in(value: Any, *, quoted: Collection[str] = ()) -> Problem | None:
    """Return the first part of a value that is not plain JSON, or None.

    quoted: keys of `value` in whose values numbers may have any size, and texts may have half of a surrogate pair.
    """
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    tolerated = tuple(f"/{name}/" for name in quoted)
    while waiting:
        here, pointer, depth = waiting.pop()
        is_quoted = bool(tolerated) and f"{pointer}/".startswith(tolerated)
        problem = _problem(here, depth, quoted=is_quoted)
        if problem is not None:
            return Problem(pointer=pointer[:500], message=problem)
        if isinstance(here, dict):
            if any(not isinstance(key, str) or _problem(key, depth, quoted=is_quoted) for key in here):
                return Problem(pointer=pointer[:500], message="has a key that is not a string")
            waiting += [(inner, below(pointer, key), depth + 1) for key, inner in here.items()]
        elif isinstance(here, list | tuple):
            waiting += [(inner, f"{pointer}/{index}", depth + 1) for index, inner in enumerate(here)]
    return None


def _problem(value: Any, depth: int, *, quoted: bool) -> str | None:
    match value:
        case _ if depth > DEEPEST:
            return f"is nested more than {DEEPEST} deep"
        case str() | int() if quoted:
            return None
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            return "has half of a surrogate pair, which is not a valid character"
        case bool() | None | str() | dict() | list() | tuple():
            return None
        case int() if abs(value) > LARGEST_INTEGER:
            return "is too large a number"
        case float() if not math.isfinite(value):
            return "is not a finite number"
        case int() | float():
            return None
    return "is not a JSON value"
