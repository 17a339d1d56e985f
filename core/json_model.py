"""The base model of parameters and results, whose values are plain JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

# Every JSON reader keeps integers up to this one exact.
LARGEST_INTEGER = 2**53


class JsonModel(BaseModel):
    """A result, or a part of one, as plain JSON. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class StrictModel(BaseModel):
    """A parameter, or a part of one. Unknown fields and values of another type are refused: "no" is not false."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        """Take 1000.0 as 1000: JSON has one kind of number, and several platforms write it with a point."""
        if not isinstance(given, dict):
            return given
        return {name: whole_number(value) for name, value in given.items()}


def whole_number(value: Any) -> Any:
    """Return an integer for a whole float (1000 for 1000.0), and any other value unchanged."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER
    return int(value) if whole else value
