"""Errors say what a value must be, in plain words."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from core.validation_text import plain_message


class _Values(BaseModel, extra="forbid"):
    number: int = Field(1, ge=1, le=9)
    choice: Literal["a", "b"] = "a"
    items: list[str] = Field(["x"], min_length=1)
    flag: bool = False


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"number": 10}, "must be at most 9"),
        ({"number": 0}, "must be at least 1"),
        ({"number": "many"}, "must be a whole number"),
        ({"choice": "c"}, "must be 'a' or 'b'"),
        ({"items": []}, "must have at least 1 item"),
        ({"items": [1]}, "must be a string"),
        ({"flag": "perhaps"}, "must be true or false"),
        ({"flags": True}, "unknown key"),
    ],
)
def test_a_problem_says_what_the_value_must_be(value: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _Values.model_validate(value)
    assert plain_message(dict(raised.value.errors()[0])) == message
