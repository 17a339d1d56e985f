"""Check a value against a JSON Schema. Each problem has a JSON pointer.

Supports the subset of JSON Schema 2020-12 that pydantic writes and that inputs of playbooks use: type, enum, const,
properties, required, additionalProperties, items, prefixItems, bounds of numbers, texts and arrays, pattern, $ref into
$defs, anyOf, oneOf and allOf. Other keywords, such as `format`, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Problem
from core.json_values import Json, below, did_you_mean, shown

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Unknown:
    """The value of an expression, not known before the run. type: its JSON type, if known."""

    type: str | None = None


_TYPES: dict[str, Callable[[object], bool]] = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}

_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool], str], ...] = (
    ("number", "minimum", lambda v, bound: v >= bound, "must be at least {}"),
    ("number", "maximum", lambda v, bound: v <= bound, "must be at most {}"),
    ("number", "exclusiveMinimum", lambda v, bound: v > bound, "must be more than {}"),
    ("number", "exclusiveMaximum", lambda v, bound: v < bound, "must be less than {}"),
    ("string", "minLength", lambda v, bound: len(v) >= bound, "must have at least {} characters"),
    ("string", "maxLength", lambda v, bound: len(v) <= bound, "must have at most {} characters"),
    ("string", "pattern", lambda v, bound: re.search(bound, v) is not None, "must match the pattern {}"),
    ("array", "minItems", lambda v, bound: len(v) >= bound, "must have at least {} items"),
    ("array", "maxItems", lambda v, bound: len(v) <= bound, "must have at most {} items"),
)


_SCALARS = ("null", "string", "integer", "number", "boolean")


def mismatches(
    schema: Schema | bool, value: Json | Unknown, pointer: str = "", *, root: Schema | None = None, closed: bool = False
) -> list[Problem]:
    """Return every problem of the value.

    The value may have Unknown parts, which are valid if their type is. closed: refuse keys that an object schema with
    properties does not name, even without `additionalProperties: false`.
    """
    if isinstance(schema, bool):
        return [] if schema else [Problem(pointer=pointer, message="is not allowed")]
    root = schema if root is None else root
    problems: list[Problem] = []
    if "$ref" in schema:
        problems += mismatches(_referred(schema["$ref"], root), value, pointer, root=root, closed=closed)
    for part in schema.get("allOf", ()):
        problems += mismatches(part, value, pointer, root=root, closed=closed)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        problems += _nearest(choices, value, pointer, root, closed)
    wrong_type = _wrong_type(schema, value, pointer)
    if wrong_type:
        return [*problems, *wrong_type]
    problems += _values(schema, value, pointer)
    if isinstance(value, dict):
        problems += _keys(schema, value, pointer, root, closed)
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            part = first[index] if index < len(first) else schema.get("items", True)
            problems += mismatches(part, item, below(pointer, index), root=root, closed=closed)
    return problems


def _referred(reference: str, root: Schema) -> Schema | bool:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found  # type: ignore[no-any-return]  # a schema is plain JSON


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _wrong_type(schema: Schema, value: object, pointer: str) -> list[Problem]:
    types = _types(schema)
    if not types:
        return []
    if isinstance(value, Unknown):
        fits = value.type is None or value.type in types or (value.type == "integer" and "number" in types)
        got = "a text with an expression" if value.type == "string" else f"an expression of type {value.type}"
    else:
        fits = any((name not in _TYPES or _TYPES[name](value)) for name in types)
        got = next(name for name, test in _TYPES.items() if test(value))
        got = f"{got} {shown(value)}" if got not in ("null", "object", "array") else got
    return [] if fits else [Problem(pointer=pointer, message=f"must be of type {' or '.join(types)}, not {got}")]


def _values(schema: Schema, value: object, pointer: str) -> list[Problem]:
    if isinstance(value, Unknown):
        return []
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is not None and not any(type(value) is type(one) and value == one for one in allowed):
        hint = did_you_mean(value, [one for one in allowed if isinstance(one, str)]) if isinstance(value, str) else ""
        listed = ", ".join(shown(one) for one in allowed)
        return [Problem(pointer=pointer, message=f"{shown(value)} is not one of {listed}{hint}")]
    return [
        Problem(pointer=pointer, message=text.format(schema[keyword]))
        for kind, keyword, holds, text in _BOUNDS
        if keyword in schema and _TYPES[kind](value) and not holds(value, schema[keyword])
    ]


def _keys(schema: Schema, value: dict[str, Any], pointer: str, root: Schema, closed: bool) -> list[Problem]:
    known: Mapping[str, Any] = schema.get("properties", {})
    problems = [
        Problem(pointer=below(pointer, name), message=f"the key {shown(name)} is missing")
        for name in schema.get("required", ())
        if name not in value
    ]
    others = schema.get("additionalProperties", not (closed and "properties" in schema))
    for name, item in value.items():
        at = below(pointer, name)
        if name in known:
            problems += mismatches(known[name], item, at, root=root, closed=closed)
        elif others is False:
            message = f"unknown parameter {shown(name)}{did_you_mean(name, known)}"
            problems.append(Problem(pointer=at, message=message))
        elif isinstance(others, Mapping):
            problems += mismatches(others, item, at, root=root, closed=closed)
    return problems


def _nearest(choices: list[Schema | bool], value: object, pointer: str, root: Schema, closed: bool) -> list[Problem]:
    """Return the problems of the best choice. A problem inside the value says more than a wrong type."""
    outcomes = [mismatches(choice, value, pointer, root=root, closed=closed) for choice in choices]
    if not all(outcomes):
        return []
    inside = [o for o in outcomes if not any(p["pointer"] == pointer for p in o)]
    if inside:
        return min(inside, key=len)
    messages = list(dict.fromkeys(p["message"] for o in outcomes for p in o if p["pointer"] == pointer))
    return [Problem(pointer=pointer, message="; or ".join(messages))]


def missing_of(root: Schema, path: tuple[str | int, ...]) -> str | None:
    """Return the part of the path that the schema does not have, with a hint; None if it has all, or allows any key."""
    places: list[Any] = [root]
    for key in path:
        objects = [place for start in places for place in _alternatives(start, root)]
        if isinstance(key, int):
            arrays = [o for o in objects if isinstance(o, Mapping) and o.get("type") == "array"]
            if not arrays or any("items" not in array for array in arrays):
                return None
            places = [array["items"] for array in arrays]
            continue
        closed = objects and all(
            isinstance(o, Mapping) and ("properties" in o or o.get("type") in _SCALARS) for o in objects
        )
        known = {
            name: part for o in objects if isinstance(o, Mapping) for name, part in o.get("properties", {}).items()
        }
        if not closed or any(o.get("additionalProperties") not in (None, False) for o in objects):
            return None
        if key not in known:
            return f"{shown(key)}{did_you_mean(str(key), known)}"
        places = [known[str(key)]]
    return None


def _alternatives(schema: Any, root: Schema) -> Iterator[Any]:
    if isinstance(schema, Mapping) and "$ref" in schema:
        yield from _alternatives(_referred(schema["$ref"], root), root)
    elif isinstance(schema, Mapping) and ("anyOf" in schema or "oneOf" in schema):
        for part in schema.get("anyOf", schema.get("oneOf", ())):
            yield from _alternatives(part, root)
    else:
        yield schema
