"""Schemas of OpenAPI 3.1 in the words of 3.0.3 and 2.0."""

from __future__ import annotations

from typing import Any

import pytest

from platforms.openapi.older_schemas import Older

REFERENCE = {"$ref": "#/components/schemas/Job"}
IN_SWAGGER = {"$ref": "#/definitions/Job"}


@pytest.mark.parametrize(
    ("schema", "in_3_0", "in_2_0"),
    [
        pytest.param({"const": "MOVE"}, {"enum": ["MOVE"]}, {"enum": ["MOVE"]}, id="const"),
        pytest.param(
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            id="exclusiveMinimum",
        ),
        pytest.param(
            {"type": "object", "propertyNames": {"pattern": "^a"}}, {"type": "object"}, {"type": "object"}, id="names"
        ),
        pytest.param(
            {"type": "string", "examples": ["a", "b"]},
            {"type": "string", "example": "a"},
            {"type": "string", "example": "a"},
            id="examples",
        ),
        pytest.param(
            {"type": "string", "deprecated": True},
            {"type": "string", "deprecated": True},
            {"type": "string", "x-deprecated": True},
            id="deprecated",
        ),
        pytest.param(
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}], "description": "Which."},
            {"type": "string", "enum": ["a", None], "description": "Which.", "nullable": True},
            {"type": "string", "enum": ["a"], "description": "Which.", "x-nullable": True},
            id="an enum or null",
        ),
        pytest.param(
            {"anyOf": [{"const": 1}, {"type": "null"}]},
            {"enum": [1, None], "nullable": True},
            {"enum": [1], "x-nullable": True},
            id="a const or null",
        ),
        pytest.param(
            {"anyOf": [{"type": "integer", "exclusiveMaximum": 9}, {"type": "null"}]},
            {"type": "integer", "maximum": 9, "exclusiveMaximum": True, "nullable": True},
            {"type": "integer", "maximum": 9, "exclusiveMaximum": True, "x-nullable": True},
            id="a bound or null",
        ),
        pytest.param(REFERENCE, REFERENCE, IN_SWAGGER, id="a reference"),
        pytest.param(
            {"anyOf": [REFERENCE, {"type": "null"}], "description": "The job."},
            {"allOf": [REFERENCE], "description": "The job.", "nullable": True},
            {
                "type": "object",
                "description": "The job.",
                "x-nullable": True,
                "properties": {"id": {"enum": [1]}},
            },
            id="a reference or null",
        ),
        pytest.param(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "description": "Names."},
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "description": "Names."},
            {"description": "Names. One of: string or array of string."},
            id="alternatives",
        ),
        pytest.param(
            {"type": ["string", "integer", "null"]},
            {"anyOf": [{"type": "string", "nullable": True}, {"type": "integer"}]},
            {"description": "One of: string or integer.", "x-nullable": True},
            id="a list of types",
        ),
        pytest.param(
            {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}], "maxItems": 2},
            {
                "type": "array",
                "items": {},
                "maxItems": 2,
                "description": "The items, in order: number, string.",
            },
            {
                "type": "array",
                "items": {},
                "maxItems": 2,
                "description": "The items, in order: number, string.",
            },
            id="prefixItems",
        ),
        pytest.param(
            {"type": "object", "properties": {"const": {"const": 1}, "anyOf": {"type": "string"}}},
            {"type": "object", "properties": {"const": {"enum": [1]}, "anyOf": {"type": "string"}}},
            {"type": "object", "properties": {"const": {"enum": [1]}, "anyOf": {"type": "string"}}},
            id="properties with the names of keywords",
        ),
        pytest.param(
            {"type": "object", "default": {"const": 1}, "additionalProperties": False},
            {"type": "object", "default": {"const": 1}, "additionalProperties": False},
            {"type": "object", "default": {"const": 1}, "additionalProperties": False},
            id="a default is data",
        ),
    ],
)
def test_a_schema_in_older_words(schema: dict[str, Any], in_3_0: dict[str, Any], in_2_0: dict[str, Any]) -> None:
    schemas = {"Job": {"type": "object", "description": "A job.", "properties": {"id": {"const": 1}}}}
    assert Older("3.0", schemas).schema(schema) == in_3_0
    assert Older("2.0", schemas).schema(schema) == in_2_0
