"""Explain what is wrong with the structure of a playbook, in the words of the format and with a suggestion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from core.errors import Problem
from core.json_values import Json, below, shown
from core.validation_text import plain_message
from playbooks.language import advice
from playbooks.language.format import STEP_KINDS, ErrorHandler, InputSpec, Playbook, Repeat, Retry, ValueSpec

_TAGS = {f"{key} step" for key in STEP_KINDS} | {"[key]"}

_VERSION = "must be the number 1, the version of the format: write `playbook: 1`"


def explained(document: Json, error: ValidationError) -> list[Problem]:
    """Return the errors of pydantic in the format's terms, joined by place: it reports one for each possible kind."""
    merged: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        if detail["loc"] == ("outputs", "str") and isinstance(_value_at(document, ["outputs"]), dict):
            continue  # of the two kinds of outputs, this map is the other one
        problem = _explained(document, dict(detail))
        earlier = merged.get(problem["pointer"])
        merged[problem["pointer"]] = problem["message"] if earlier is None else f"{earlier}, or {problem['message']}"
    problems = [Problem(pointer=pointer, message=message) for pointer, message in merged.items()]
    for problem in problems:
        if problem["pointer"].startswith("/inputs/") and problem["pointer"].endswith("/type"):
            found = _value_at(document, problem["pointer"].split("/")[1:])
            problem["message"] += advice.for_type(found)
    return problems


def version_problems(document: Json) -> list[Problem]:
    """Return a problem for `playbook: true` and `playbook: 1.0`, which Python takes for the number 1."""
    found = document.get("playbook") if isinstance(document, dict) else None
    return [Problem(pointer="/playbook", message=_VERSION)] if type(found) in (bool, float) else []


# A value that begins with {{ or ${{: after a colon, a dash, a comma or an opening bracket, or on a line of its own.
_UNQUOTED = re.compile(r"(?:[:\-,\[{]\s*|^\s*)\$?\{\{")
_QUOTED_OR_COMMENT = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|\s#.*""")


def has_unquoted_expression(text: str, line: int | None) -> bool:
    """Return whether a line of a YAML text, from 1, has an expression without quotes. YAML reads it as a map."""
    lines = text.splitlines()
    if line is None or line > len(lines):
        return False
    return _UNQUOTED.search(_QUOTED_OR_COMMENT.sub("", lines[line - 1])) is not None


def _explained(document: Json, error: dict[str, Any]) -> Problem:
    location = [part for part in error["loc"] if part not in _TAGS]
    if location[:1] == ["outputs"]:
        del location[1:2]  # the kind of outputs, a map or one expression
    while location and not _exists(document, location[:-1]):
        location.pop()
    key = str(location[-1]) if location else ""
    tag = next((part for part in error["loc"] if part in _TAGS), None)
    return Problem(pointer=below("", *location), message=_message(document, error, location, key, tag))


def _message(document: Json, error: dict[str, Any], location: list[Any], key: str, tag: str | None) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key {shown(key)}{_suggestion(location, key, tag)}"
        case "missing" if location == ["playbook"]:
            return "the key 'playbook' is missing: write `playbook: 1` on the first line"
        case "missing":
            return f"the key {shown(key)} is missing"
        case "literal_error" if location == ["playbook"]:
            return _VERSION
        case "union_tag_not_found":
            return _kindless(_value_at(document, location))
        case "model_type" if (
            len(location) == 2 and location[0] == "inputs" and isinstance(_value_at(document, location), str)
        ):
            return f"must be a map of keys and values: write {{type: {_value_at(document, location)[:80]}}}"
        case "model_type" | "dict_type":
            return "must be a map of keys and values"
        case "list_type" if location == ["steps"]:
            return "must be a list: begin each step with a dash, as in `- id: find`"
        case "list_type" if key == "on_error":
            return 'must be a list of handlers, as in [{type: "*", do: continue}]'
        case "list_type" if key == "required" and isinstance(_value_at(document, location), bool):
            return "must be a list of keys of an object; an input without `default` must be given"
        case "string_pattern_mismatch":
            return "must start with a lower-case letter, then lower-case letters, digits or _ (ids also -), 64 at most"
    return plain_message(error)


def _kindless(step: Json) -> str:
    expected = f"a step must have exactly one of the keys {', '.join(STEP_KINDS)}"
    if not isinstance(step, dict):
        return expected
    kinds = [kind for kind in STEP_KINDS if kind in step]
    if len(kinds) > 1:
        return f"{expected}, and this one has {' and '.join(kinds)}: write a step for each"
    return expected + advice.for_kind([str(key) for key in step], STEP_KINDS)


def _suggestion(location: Sequence[Any], key: str, tag: str | None) -> str:
    if "on_error" in location[:-1] or "repeat" in location[:-1]:
        return advice.for_handler(key, _keys(ErrorHandler, Retry, Repeat))
    if location[0] == "inputs":
        return advice.for_input(key, _keys(InputSpec))
    if "accepts" in location[:-1]:
        return advice.for_input(key, _keys(ValueSpec))
    if tag is not None and len(location) > 1:
        kinds = {kind: _keys(model) for kind, model in STEP_KINDS.items()}
        return advice.for_step(key, kinds[tag.removesuffix(" step")], kinds)
    return advice.for_playbook(key, _keys(Playbook))


def _keys(*models: type[BaseModel]) -> list[str]:
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _value_at(document: Json, location: Sequence[Any]) -> Json:
    for part in location:
        try:
            document = document[int(part) if isinstance(document, list) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return document


def _exists(document: Json, location: Sequence[Any]) -> bool:
    return not location or isinstance(_value_at(document, location), dict | list)
