"""Halves of surrogate pairs. JSON can contain them; UTF-8 and most other programs can't."""

from __future__ import annotations

import re
from typing import Any

# Matches, in the bytes of a JSON text, half of a pair, and also each half of a complete pair.
SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each half of an incomplete surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def replace_surrogates_in(value: Any) -> Any:
    """Return a copy of a JSON value with surrogates replaced in every text, including keys."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {replace_surrogates_in(key): replace_surrogates_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_surrogates_in(item) for item in value]
    return value
