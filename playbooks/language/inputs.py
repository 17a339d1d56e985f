"""Check the inputs of a run against the playbook, before anything is run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from core.errors import MISSING, ParameterError, Problem
from core.json_values import DuplicateKey, Json, NotPlainJson, below, did_you_mean, plain, read_json, shown
from playbooks.language.format import InputSpec, Playbook
from playbooks.language.shape import mismatches


def accept(playbook: Playbook, given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the value of each input, with defaults. Raises: ParameterError with every problem and its JSON pointer."""
    problems: list[Problem] = []
    values: dict[str, Json] = {}
    for name in given:
        if name not in playbook.inputs:
            hint = did_you_mean(name, playbook.inputs)
            problems.append(Problem(pointer=below("", name), message=f"unknown input {shown(name)}{hint}"))
    for name, spec in playbook.inputs.items():
        pointer = below("", name)
        if name not in given:
            values[name] = plain(spec.default)
            if not spec.has_default:
                problems.append(Problem(pointer=pointer, message=MISSING))
            continue
        try:
            values[name] = plain(given[name], pointer)
        except NotPlainJson as error:
            problems.append(Problem(pointer=error.pointer, message=error.message))
            continue
        problems += input_problems(spec, values[name], pointer)
    if problems:
        raise ParameterError(problems=problems)
    return values


def input_problems(spec: InputSpec, value: Json, pointer: str) -> list[Problem]:
    """Return every problem of a value for an input. null is valid if it is the default."""
    if value is None and spec.has_default and spec.default is None:
        return []
    return mismatches(spec.json_schema(), value, pointer)


def from_text(playbook: Playbook, name: str, text: str, *, file: str | None = None) -> Json:
    """Convert a text, such as `1000` from `--set max_messages=1000`, to a value by the input's declared type.

    For an input that may be a string the value is the text itself; for any other input the text is read as JSON. One
    object for an array input becomes an array of one: `cfes approve` prints one approval. file: the source of the text;
    an error names the file and does not quote its content. Raises: ParameterError.
    """
    if takes_text(playbook, name):
        return text
    types = _types(playbook, name)
    try:
        value = plain(read_json(text))
    except DuplicateKey as duplicate:
        message = f"the key {shown(duplicate.key)} appears twice in one object"
    except (ValueError, RecursionError) as error:
        at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        quoted = f"{shown(text)} is not" if file is None else f"the text is not{at}"
        example = """, like ["first", "second"]""" if types == ["array"] else ""
        message = f"must be JSON of type {' or '.join(types)}{example}; {quoted}"
    else:
        return [value] if isinstance(value, dict) and types == ["array"] else value
    raise ParameterError.at(below("", name), message if file is None else f"{file}: {message}")


def takes_text(playbook: Playbook, name: str) -> bool:
    """Return whether a text for the input is the value itself, and not JSON. Raises: ParameterError."""
    return "string" in _types(playbook, name)


def _types(playbook: Playbook, name: str) -> list[str]:
    spec = playbook.inputs.get(name)
    if spec is None:
        hint = did_you_mean(name, playbook.inputs)
        raise ParameterError.at(below("", name), f"unknown input {shown(name)}{hint}")
    return [spec.type] if isinstance(spec.type, str) else list(spec.type)
