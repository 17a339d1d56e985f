"""The tool list: every action is in it, it is short, and its schemas and hints are true."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from actions.contract import catalog
from actions.contract.file_parameters import FILE
from platforms.mcp.server import listed_tool
from platforms.mcp.tools import DEFAULT_ACTIONS, HIDDEN, INSTRUCTIONS, Tool, tools_of

EVERY = tools_of("all")
ACTIONS = [tool for tool in EVERY.values() if tool.action is not None]


def size_of(tools: dict[str, Tool]) -> int:
    return sum(len(listed_tool(tool).model_dump_json(by_alias=True, exclude_none=True)) for tool in tools.values())


def test_the_default_tool_list_takes_less_than_20_kb() -> None:
    default = tools_of("default")
    assert size_of(default) + len(INSTRUCTIONS) < 20_000
    assert {tool.action.id for tool in default.values() if tool.action} == set(DEFAULT_ACTIONS)


def test_the_list_of_all_tools_takes_less_than_60_kb() -> None:
    assert size_of(EVERY) < 60_000


def test_every_action_is_a_tool() -> None:
    assert {tool.action.id for tool in ACTIONS if tool.action} == set(catalog.titles())


@pytest.mark.parametrize("tool", EVERY.values(), ids=EVERY)
def test_the_schemas_of_a_tool_are_valid(tool: Tool) -> None:
    for schema in (tool.input_schema, tool.output_schema):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert "$ref" not in str(schema)
        assert FILE not in str(schema)


@pytest.mark.parametrize("tool", ACTIONS, ids=[tool.name for tool in ACTIONS])
def test_the_examples_of_an_action_fit_the_schemas_of_its_tool(tool: Tool) -> None:
    action = tool.action
    assert action is not None
    params = {name: value for name, value in action.example_params.items() if name not in HIDDEN and value is not None}
    missing = set(tool.input_schema.get("required", ())) - params.keys()
    # An action that also takes a search needs a plan here.
    assert missing <= {"plan"}
    assert_valid(tool.input_schema, {**params, **dict.fromkeys(missing, "0" * 64)})
    assert_valid(tool.output_schema, action.example_result)


@pytest.mark.parametrize("tool", ACTIONS, ids=[tool.name for tool in ACTIONS])
def test_a_tool_has_every_parameter_of_its_action_that_an_agent_may_set(tool: Tool) -> None:
    action = tool.action
    assert action is not None
    left_out = action.params.model_fields.keys() - tool.input_schema["properties"].keys()
    assert left_out <= HIDDEN | {"about"}


@pytest.mark.parametrize("tool", ACTIONS, ids=[tool.name for tool in ACTIONS])
def test_the_hints_of_a_tool_follow_the_effect_of_its_action(tool: Tool) -> None:
    action, hints = tool.action, listed_tool(tool).annotations
    assert action is not None
    assert hints is not None
    assert hints.read_only_hint == (action.effect == "read")
    assert hints.destructive_hint == (action.effect == "irreversible")
    assert hints.open_world_hint == action.connection
    # Every result with mail in it is marked.
    assert action.connection == ("untrusted" in tool.description)


def assert_valid(schema: Any, value: Any) -> None:
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
    assert not errors
