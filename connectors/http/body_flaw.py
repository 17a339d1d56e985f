"""Finds the flaw in a complete body that is not valid JSON. A retry returns the same body.

A truncated body, or one that is not JSON at all (an error page), has no such flaw, because it may have been damaged in
transit.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from typing import Any

from core.errors import UnusableAnswer

# The replacement for bytes that are not UTF-8: a code point that no text contains (Unicode, noncharacters).
_DAMAGED = "\ufdd0"

_LONGEST_POINTER = 200


class _NoNumber:
    """A placeholder for NaN and Infinity."""


class FlawedBodies:
    """The flawed bodies of one call, to recognize a body that comes again."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def check(self, body: bytes, ray_id: str | None) -> None:
        """Remember a body. Raises: UnusableAnswer if the same flawed body has come before."""
        flaw = flaw_of(body)
        if flaw is None:
            return
        digest = hashlib.sha256(body).digest()
        if digest in self._seen:
            raise UnusableAnswer(f"the API returned the same invalid response twice: {flaw}", ray_id=ray_id)
        self._seen.add(digest)


def flaw_of(body: bytes) -> str | None:
    """Return the flaw with its row (from 1) and field, or None if the body is incomplete or valid JSON."""
    text = body.decode("utf-8-sig", _HANDLER)
    if not (text.lstrip().startswith("{") and text.rstrip().endswith("}")):
        return None
    try:
        document = json.loads(text, parse_constant=lambda _: _NoNumber())
    except RecursionError:
        return "it is nested too deeply"
    except json.JSONDecodeError:
        return None
    except ValueError:
        return "it has a number with thousands of digits"
    rows = document.get("result")
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        if found := _place(row):
            return f"row {number:,}: {found}"
    return _place(document)


def _place(document: Any) -> str | None:
    """Return the first flaw in a document, with its place."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        place, value = waiting.pop(0)
        if isinstance(value, _NoNumber):
            return f"field {_name(place)}: is NaN or Infinity, which is not valid JSON"
        if isinstance(value, str) and _DAMAGED in value:
            return f"field {_name(place)}: is not UTF-8"
        if isinstance(value, dict):
            if any(_DAMAGED in name for name in value):
                return f"a name in {_name(place)}: is not UTF-8"
            waiting += [(f"{place}.{name}" if place else name, inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}.{index}", inner) for index, inner in enumerate(value)]
    return None


def _name(place: str) -> str:
    return place[:_LONGEST_POINTER] or "(all of it)"


def _mark_damage(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _DAMAGED, error.end


_HANDLER = "cfes-damaged"
codecs.register_error(_HANDLER, _mark_damage)
