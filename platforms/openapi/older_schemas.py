"""Schemas of OpenAPI 3.1 in the words of 3.0.3 and of 2.0, which know less of JSON Schema.

What an older version can't express is left out, so that its schema accepts more, and the description names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from platforms.openapi.components import PREFIX
from platforms.schema_fields import Field

Version = Literal["3.0", "2.0"]

_NULL = {"type": "null"}

# Values under these keys are data, not schemas.
_DATA = ("default", "enum", "example", "required")

# Keywords of JSON Schema 2020-12 that neither version has, and that only narrow a value.
_UNKNOWN = ("$comment", "contentEncoding", "contentMediaType", "propertyNames")


@dataclass(frozen=True)
class Older:
    """An older version. schemas: those of the 3.1 document, by name."""

    version: Version
    schemas: Mapping[str, Any] = field(default_factory=dict)

    def schema(self, schema: Any) -> Any:
        """Return a schema of the 3.1 document as one of this version."""
        if isinstance(schema, list):
            return [self.schema(each) for each in schema]
        if not isinstance(schema, Mapping):
            return schema
        found = {key: value for key, value in schema.items() if key not in _UNKNOWN}
        found = _plain_keywords(found, self.version)
        found = _alternatives(found, self.version)
        if "$ref" in found:
            return self._reference(found)
        return {key: self._value(key, value) for key, value in found.items()}

    def _value(self, key: str, value: Any) -> Any:
        if key == "properties":
            return {name: self.schema(schema) for name, schema in value.items()}
        return value if key in _DATA else self.schema(value)

    def _reference(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return a reference. Neither version allows other keys beside `$ref`.

        Power Apps and Power Automate ignore `allOf`, so 2.0 has the schema itself in such a place.
        """
        name = str(schema["$ref"]).removeprefix(PREFIX)
        others = {key: value for key, value in schema.items() if key not in ("$ref", "default")}
        if self.version == "3.0":
            return {"allOf": [{"$ref": schema["$ref"]}], **others} if others else {"$ref": schema["$ref"]}
        if not others:
            return {"$ref": f"#/definitions/{name}"}
        own: dict[str, Any] = self.schema(self.schemas[name])
        return {**own, **others}


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
        return {**_described(found, f"One of: {' or '.join(_words(each) for each in branches)}."), **nullable}
    # In 3.0.3, nullable has no effect beside anyOf.
    return {**found, "anyOf": [{**branches[0], **nullable}, *branches[1:]]}


def _words(schema: Mapping[str, Any]) -> str:
    return Field("", schema, schema, False).type_words


def _described(schema: dict[str, Any], sentence: str) -> dict[str, Any]:
    return {**schema, "description": f"{schema.get('description', '')} {sentence}".strip()}
