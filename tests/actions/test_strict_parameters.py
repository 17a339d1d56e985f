"""A parameter with another JSON type than its schema is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from actions.contract import catalog
from actions.contract.action import Action
from actions.shapes.example_job import JOB_ID
from core.errors import ParameterError

ACTIONS = catalog.available()

# Values of each JSON type, with those that lax parsers convert to another type.
VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [0, 1, 1000],
    "number": [2.5],
    "string": ["yes", "no", "true", "false", "on", "0", "1", "1000", "2.5", "null", ""],
    "array": [[], [True]],
    "object": [{}, {"value": True}],
}


def _types(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema allows; empty if it allows any type."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _types(root["$defs"][name], root)
    if "anyOf" in schema:
        return set().union(*(_types(one, root) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return {
            "string" if isinstance(value, str) else "integer" for value in schema.get("enum", [schema.get("const")])
        }
    return {schema["type"]} if "type" in schema else set()


def _parameters() -> Iterator[Any]:
    for action in ACTIONS.values():
        schema = action.params.model_json_schema()
        for name, field in schema["properties"].items():
            yield pytest.param(action, name, _types(field, schema) - {"null"}, id=f"{action.id} {name}")


def _problems(action: Action[Any, Any], params: Mapping[str, Any]) -> list[str]:
    try:
        action.check(params)
    except ParameterError as error:
        return [problem["pointer"] for problem in error.problems]
    return []


@pytest.mark.parametrize(("action", "name", "types"), list(_parameters()))
def test_values_of_other_types_are_refused(action: Action[Any, Any], name: str, types: set[str]) -> None:
    assert types, "the published schema has no type"
    allowed = types | ({"integer"} if "number" in types else set())
    for kind in VALUES.keys() - allowed:
        for value in VALUES[kind]:
            if {"plan", "approvals"} & {name} and kind in ("object", "array", "string"):
                continue  # the output of `cfes approve` is accepted unchanged
            pointers = _problems(action, {**action.example_params, name: value})
            assert any(pointer.split("/")[1:2] == [name] for pointer in pointers), (value, pointers)


@pytest.mark.parametrize("action", list(ACTIONS.values()), ids=ACTIONS)
def test_the_published_schema_refuses_non_boolean_values(action: Action[Any, Any]) -> None:
    schema = action.params.model_json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    for name, field in schema["properties"].items():
        types = _types(field, schema)
        if types in ({"boolean"}, {"boolean", "null"}):
            assert not validator.is_valid({**action.example_params, name: "yes"})
            assert not validator.is_valid({**action.example_params, name: 1})


@pytest.mark.parametrize(
    ("action", "params", "pointer"),
    [
        ("create-move-job", {"allow_irreversible": "yes"}, "/allow_irreversible"),
        ("create-move-job", {"allow_malicious": 1}, "/allow_malicious"),
        ("create-move-job", {"max_messages": "1000"}, "/max_messages"),
        ("create-move-job", {"max_messages": True}, "/max_messages"),
        ("create-move-job", {"max_messages": 10.5}, "/max_messages"),
        ("create-move-job", {"search_params": {"sender": "a@b.example", "detections_only": "false"}},
         "/search_params/detections_only"),
        ("create-move-job", {"search_params": {"sender": 5}}, "/search_params/sender"),
        ("preview-job", {"sample": False}, "/sample"),
        ("wait-for-job", {"timeout_seconds": "600"}, "/timeout_seconds"),
        ("move-messages", {"dry_run": "false"}, "/dry_run"),
    ],
)  # fmt: skip
def test_values_that_a_lax_parser_would_convert_are_refused(action: str, params: dict[str, Any], pointer: str) -> None:
    assert pointer in _problems(ACTIONS[action], {**ACTIONS[action].example_params, **params})


def test_type_problems_use_json_terms() -> None:
    with pytest.raises(ParameterError) as caught:
        ACTIONS["create-move-job"].check({"max_messages": "1000", "wait_follows": "yes", "comment": 7})
    messages = {problem["pointer"]: problem["message"] for problem in caught.value.problems}
    assert messages["/max_messages"] == "must be a whole number, without quotes"
    assert messages["/wait_follows"] == "must be true or false, without quotes"
    assert messages["/comment"] == "must be a string"


@pytest.mark.parametrize("written", [1000, 1000.0, 1e3])
def test_a_whole_number_may_be_written_as_a_float(written: float) -> None:
    action = ACTIONS["create-move-job"]
    checked = action.check({**action.example_params, "max_messages": written})
    assert checked.max_messages == 1000
    assert isinstance(checked.max_messages, int)
    jsonschema.validate({**action.example_params, "max_messages": written}, action.params.model_json_schema())


@pytest.mark.parametrize("as_float", [False, True])
def test_a_resume_object_with_floats_from_a_platform_is_accepted(as_float: bool) -> None:
    number: Callable[[float], float] = float if as_float else int
    resume = {
        "job_id": JOB_ID,
        "polls": number(3),
        "began_at": number(1_000),
        "moved_at": number(1_000),
        "latest_polls": [[number(1_001), number(7), number(10), "PROCESSING"]],
    }
    checked = ACTIONS["wait-for-job"].check({"job_id": JOB_ID, "resume": resume})
    [poll] = checked.resume.latest_polls
    assert (poll.processed, type(poll.processed), checked.resume.polls) == (7, int, 3)
    for wrong in ("7", True, 7.5):
        with pytest.raises(ParameterError, match="latest_polls/0/1"):
            ACTIONS["wait-for-job"].check(
                {"job_id": JOB_ID, "resume": {**resume, "latest_polls": [[1, wrong, 10, "PROCESSING"]]}}
            )
