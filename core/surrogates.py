"""Halves of surrogate pairs: JSON can hold them, UTF-8 and most other programs can't."""

from __future__ import annotations

import re
from typing import Any

# In the bytes of a JSON text: half of a pair, and also each half of a whole one.
SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each half of a surrogate pair that has no other half."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def replace_surrogates_in(value: Any) -> Any:
    """Return a copy of a JSON value with that done to every text in it, keys among them."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {replace_surrogates_in(key): replace_surrogates_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_surrogates_in(item) for item in value]
    return value
