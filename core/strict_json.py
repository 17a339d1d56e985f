"""Reads JSON strictly: NaN, Infinity and a key that is given twice in one object are errors."""

from __future__ import annotations

import json
from typing import Any


class DuplicateKey(ValueError):
    """A key is given twice in one object: what reads the last one alone would not see the first."""

    def __init__(self, key: str) -> None:
        super().__init__("a key is given twice in one object")
        self.key = key


def read_json(data: bytes | str) -> Any:
    """Return the one value in a JSON text. Raises: ValueError, DuplicateKey among them; RecursionError."""
    return json.loads(data, object_pairs_hook=_object, parse_constant=_refuse_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKey(key)
        found[key] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
