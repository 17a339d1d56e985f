"""Read the fields of an object in a JSON Schema, as flags and reference pages need them.

The schemas are those that pydantic writes: `$ref` into `$defs`, and `anyOf` with null for an optional value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One property of an object. declared: its schema as written. root: the whole schema, which holds `$defs`."""

    name: str
    declared: Schema
    root: Schema
    required: bool

    @property
    def shape(self) -> Schema:
        """Return the schema of a value that is not null: references followed, and a lone "or null" left out."""
        return _follow(self.declared, self.root)

    @property
    def description(self) -> str:
        return str(self.declared.get("description") or self.shape.get("description") or "")

    @property
    def default(self) -> Any:
        return self.declared.get("default")

    @property
    def deprecated(self) -> bool:
        return bool(self.declared.get("deprecated"))

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the values that the schema lists; empty if it lists none."""
        return tuple(str(choice) for choice in self.shape.get("enum", ()))

    @property
    def types(self) -> frozenset[str]:
        """Return the JSON types of a value that is not null; empty if the schema leaves them open."""
        branches = self.shape.get("anyOf", (self.shape,))
        return frozenset(str(branch["type"]) for branch in branches if "type" in branch) - {"null"}

    @property
    def type_words(self) -> str:
        """Return the type for a person, such as "string or null" or "array of object"."""
        return _words(self.declared)

    @property
    def fields(self) -> list[Field]:
        """Return the fields of the value if it is an object, else empty."""
        return list(_fields(self.shape, self.root))


def read_fields(schema: Schema) -> list[Field]:
    """Return the fields of the object that a whole schema describes, in its order."""
    return list(_fields(schema, schema))


def _fields(schema: Schema, root: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, declared in schema.get("properties", {}).items():
        yield Field(name, declared, root, name in required)


def _follow(schema: Schema, root: Schema) -> Schema:
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        return _follow(branches[0], root)
    if "$ref" not in schema:
        return schema
    target: Any = root
    for part in str(schema["$ref"]).removeprefix("#/").split("/"):
        target = target[part]
    return _follow(target, root)


def _words(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(branch) for branch in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return "object"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {_words(schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
