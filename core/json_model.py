"""Models whose values are plain JSON: the parts of parameters and results."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

# Every JSON reader keeps whole numbers up to here.
LARGEST_INTEGER = 2**53


class JsonModel(BaseModel):
    """A result, or a part of one, as plain JSON. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


def whole_number(value: Any) -> Any:
    """Return 1000 for 1000.0, and any other value as it is."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER
    return int(value) if whole else value
