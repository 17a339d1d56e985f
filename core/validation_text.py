"""Plain words for the messages of pydantic: "must be at most 5", not "Input should be less than or equal to 5"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import Problem
from core.json_values import below

if TYPE_CHECKING:
    from pydantic import ValidationError

_PLAIN = {
    "missing": "is required",
    "extra_forbidden": "unknown key",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}
_SUBJECT = re.compile(r"^\w+ should ")
_WORDS = (
    ("less than or equal to", "at most"),
    ("greater than or equal to", "at least"),
    (re.compile(r" after validation, not \d+$"), ""),
)


def plain_message(problem: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors in plain words, without its location."""
    if problem["type"] in _PLAIN:
        return _PLAIN[problem["type"]]
    text = str(problem["msg"]).removeprefix("Value error, ")
    if not _SUBJECT.match(text):
        return text
    text = _SUBJECT.sub("must ", text)
    for words, plain in _WORDS:
        text = re.sub(words, plain, text)
    return text


def problems_of(error: ValidationError, pointer: str = "") -> list[Problem]:
    """Return pydantic's errors in plain words, which quote no value. pointer: the place of the whole document."""
    return [
        Problem(pointer=below(pointer, *found["loc"]), message=plain_message(found))
        for found in error.errors(include_input=False, include_url=False)
    ]
