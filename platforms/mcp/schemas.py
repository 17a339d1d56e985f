"""Short schemas of tools. A model reads them in every conversation, so they have what an agent needs to choose values.

The action still checks its parameters in full: a constraint that is left out here is not lifted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from actions.contract.file_parameters import FILE

# A longer description is cut: to its first sentence, and that to this length.
LONGEST_DESCRIPTION = 120

# Values under these keys are data, not schemas.
_DATA = frozenset({"const", "default", "enum", "required"})

# The action names the problem of a value that breaks one of these.
_LEFT_OUT = frozenset({"$defs", "examples", "format", "maxItems", "maxLength", "minItems", "minLength", "pattern"})

_NULL = {"type": "null"}
_SENTENCE = re.compile(r"(?<=[a-z0-9)`])\. (?=[A-Z`]).*", re.DOTALL)

_FILE_TO_READ = "A file in the workspace, such as `rows.ndjson`, or `run://RUN_ID/NAME`."
_FILE_TO_WRITE = "A file name in the workspace, such as `rows.ndjson`."
_INLINE = " `inline`: in the result."

# A result is read by a model, whose context it fills.
LEAST_RESULT_BYTES = 20_000
MOST_RESULT_BYTES = 40_000

_RESULT_LIMIT: dict[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_RESULT_BYTES,
    "default": LEAST_RESULT_BYTES,
}

# The parameters that bound the size of a result.
RESULT_LIMITS: dict[str, dict[str, Any]] = {
    "max_result_bytes": {**_RESULT_LIMIT, "minimum": LEAST_RESULT_BYTES, "description": "Lists are cut to fit."},
    "inline_limit_bytes": {**_RESULT_LIMIT, "description": "More inline rows than this are an error."},
}

# Objects that an agent passes on as it got them.
_PASSED_ON: dict[str, dict[str, Any]] = {
    "plan": {
        "type": ["object", "string"],
        "description": "The result of preview_job, or only its plan_hash.",
    },
    "resume": {"type": "object", "description": "The `resume` of the previous result, to continue."},
}

_OWN: dict[str, dict[str, Any]] = {**_PASSED_ON, **RESULT_LIMITS}


def input_schema(model_schema: Mapping[str, Any], hidden: Collection[str], *, required: Collection[str]) -> Any:
    """Return the schema of a tool's arguments, from the JSON Schema of an action's parameters.

    hidden: parameters that the tool does not have. required: parameters that the tool requires besides the action's.
    """
    definitions = model_schema.get("$defs", {})
    properties = {
        name: _OWN.get(name) or _short(schema, definitions)
        for name, schema in model_schema.get("properties", {}).items()
        if name not in hidden
    }
    names = [name for name in properties if name in required or name in model_schema.get("required", ())]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": names} if names else schema


def output_outline(model_schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of a result's fields, without the fields inside them."""
    definitions = model_schema.get("$defs", {})
    properties = {name: _types(schema, definitions) for name, schema in model_schema.get("properties", {}).items()}
    return {"type": "object", "properties": properties}


def _short(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_short(each, definitions) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = _resolved(_without_null(_resolved(schema, definitions)), definitions)
    short: dict[str, Any] = {}
    for key, value in found.items():
        if key in _LEFT_OUT or (key == "title" and isinstance(value, str)):
            continue
        if key == "default" and value in (None, False, [], {}, ""):
            continue
        if key == "properties":
            short[key] = {name: _short(each, definitions) for name, each in value.items()}
        elif key == "description":
            short[key] = _first_sentence(value)
        elif key == "additionalProperties" and value is False:
            # The action refuses an unknown name.
            continue
        else:
            short[key] = value if key in _DATA else _short(value, definitions)
    if short.pop(FILE, None) is not None:
        short["description"] = _file_description(found)
        short.pop("x-cfes-file-at", None)
    return short


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the definition in place of its reference."""
    if "$ref" not in schema:
        return dict(schema)
    definition = definitions[str(schema["$ref"]).removeprefix("#/$defs/")]
    return {**_resolved(definition, definitions), **{key: value for key, value in schema.items() if key != "$ref"}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without null. A parameter that is null by default is one that is not given."""
    branches = schema.get("anyOf", ())
    if _NULL not in branches:
        return schema
    rest = [branch for branch in branches if branch != _NULL]
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(rest) > 1:
        return {**others, "anyOf": rest}
    return {**rest[0], **others}


def _first_sentence(description: str) -> str:
    if len(description) > LONGEST_DESCRIPTION:
        description = _SENTENCE.sub(".", description)
    if len(description) > LONGEST_DESCRIPTION:
        description = f"{description[:LONGEST_DESCRIPTION].rpartition(' ')[0]} …"
    return description


def _file_description(schema: Mapping[str, Any]) -> str:
    if schema.get("type") == "object" or schema[FILE] == "read":
        return _FILE_TO_READ
    return _FILE_TO_WRITE + (_INLINE if schema.get("default") == "inline" else "")


def _types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON types that a field can have; an empty schema if any value is valid."""
    found = _resolved(schema, definitions)
    branches = found.get("anyOf") or found.get("oneOf")
    if branches:
        names: list[str] = []
        for branch in branches:
            each = _types(branch, definitions).get("type")
            if each is None:
                return {}
            names += [each] if isinstance(each, str) else each
        distinct = list(dict.fromkeys(names))
        return {"type": distinct[0] if len(distinct) == 1 else distinct}
    if "type" in found:
        return {"type": found["type"]}
    return {}
