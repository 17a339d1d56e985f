"""Schemas of OpenAPI 3.1 in the words of 3.0.3 and of 2.0, which know less of JSON Schema.

What an older version can't express is left out, so that its schema accepts more, and the description names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from platforms.openapi.components import PREFIX
from platforms.schema_fields import Field

Version = Literal["3.0", "2.0"]

_NULL = {"type": "null"}

# Values under these keys are data, not schemas.
_DATA = ("default", "enum", "example", "required")

# Keywords of JSON Schema 2020-12 that neither version has, and that only narrow a value.
_UNKNOWN = ("$comment", "contentEncoding", "contentMediaType", "propertyNames")


def older_schema(schema: Any, version: Version) -> Any:
    """Return a schema of the 3.1 document as a schema of an older version."""
    if isinstance(schema, list):
        return [older_schema(each, version) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: value for key, value in schema.items() if key not in _UNKNOWN}
    found = _plain_keywords(found, version)
    found = _alternatives(found, version)
    if "$ref" in found:
        return _reference(found, version)
    return {key: _value(key, value, version) for key, value in found.items()}


def _value(key: str, value: Any, version: Version) -> Any:
    if key == "properties":
        return {name: older_schema(schema, version) for name, schema in value.items()}
    return value if key in _DATA else older_schema(value, version)


def _plain_keywords(schema: dict[str, Any], version: Version) -> dict[str, Any]:
    found = dict(schema)
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "prefixItems" in found:
        items = found.pop("prefixItems")
        found["items"] = {}
        found = _described(found, f"The items, in order: {', '.join(_words(item) for item in items)}.")
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in found:
            found |= {limit: found[bound], bound: True}
    if "examples" in found:
        found["example"] = found.pop("examples")[0]
    if version == "2.0" and found.pop("deprecated", False):
        found["x-deprecated"] = True
    return found


def _alternatives(schema: dict[str, Any], version: Version) -> dict[str, Any]:
    """Replace `anyOf` and a list of types. null becomes `nullable` or `x-nullable`."""
    found = dict(schema)
    if isinstance(found.get("type"), list):
        found["anyOf"] = [{"type": name} for name in found.pop("type")]
    if "anyOf" not in found:
        return found
    written = found.pop("anyOf")
    branches = [branch for branch in written if branch != _NULL]
    nullable = {("nullable" if version == "3.0" else "x-nullable"): True} if len(branches) < len(written) else {}
    if len(branches) == 1:
        only = _plain_keywords(dict(branches[0]), version)
        # 3.0.3 asks for null among the values; 2.0 has no null.
        if nullable and "enum" in only and version == "3.0":
            only["enum"] = [*only["enum"], None]
        return _alternatives({**only, **found, **nullable}, version)
    if version == "2.0":
        return {**_described(found, _choice(branches)), **nullable}
    # In 3.0.3, nullable has no effect beside anyOf.
    return {**found, "anyOf": [{**branches[0], **nullable}, *branches[1:]]}


def _choice(branches: Iterable[Mapping[str, Any]]) -> str:
    """Return a sentence with the alternatives."""
    words = [
        " and ".join(f"`{name}`" for name in branch["required"]) if set(branch) == {"required"} else _words(branch)
        for branch in branches
    ]
    required = all(set(branch) == {"required"} for branch in branches)
    return f"{'Required' if required else 'One of'}: {' or '.join(words)}."


def _words(schema: Mapping[str, Any]) -> str:
    return Field("", schema, schema, False).type_words


def _described(schema: dict[str, Any], sentence: str) -> dict[str, Any]:
    return {**schema, "description": f"{schema.get('description', '')} {sentence}".strip()}


def _reference(schema: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return a reference. Neither version allows other keys beside `$ref`."""
    target = schema["$ref"]
    reference = {"$ref": target.replace(PREFIX, "#/definitions/") if version == "2.0" else target}
    others = {key: value for key, value in schema.items() if key not in ("$ref", "default")}
    return {"allOf": [reference], **others} if others else reference
