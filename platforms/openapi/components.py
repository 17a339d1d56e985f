"""The named schemas of the OpenAPI 3.1 document, read from the schemas that pydantic writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actions.contract.file_parameters import FILE
from platforms.openapi.operation import Shape

PREFIX = "#/components/schemas/"

# What a remote caller gives for a parameter that names a file.
_FILE_RULE = "Over HTTP: a file's name in the run's workspace, or a URL in an allowed object store."

_NULL = {"type": "null"}

# Values under these keys are data, not schemas.
_DATA = ("const", "default", "enum", "example", "examples", "required")


class Components:
    """The schemas by name. One that several shapes share has one name; a second schema of a name gets a longer one."""

    def __init__(self) -> None:
        self.schemas: dict[str, dict[str, Any]] = {}

    def reference(self, shape: Shape) -> dict[str, str]:
        """Return the reference to a shape. Its schema, and the schemas that it refers to, are added."""
        written = shape.schema()
        definitions = written.get("$defs", {})
        reader = _Reader(shape.is_result, {name: name for name in definitions})
        # A longer name changes the schemas that refer to it, so all names are chosen anew until none is taken.
        while True:
            cleaned = {reader.names[name]: reader.read(schema) for name, schema in definitions.items()}
            taken = [name for name in definitions if self._is_taken(reader.names[name], cleaned)]
            if not taken:
                break
            reader.names |= {name: _longer(shape.name, name, reader.names[name]) for name in taken}
        own = {key: value for key, value in written.items() if key != "$defs"}
        self.schemas |= {**cleaned, shape.name: reader.read(own)}
        return {"$ref": f"{PREFIX}{shape.name}"}

    def _is_taken(self, name: str, cleaned: Mapping[str, Any]) -> bool:
        return name in self.schemas and bool(self.schemas[name] != cleaned[name])


def _longer(owner: str, name: str, current: str) -> str:
    """Return the next name to try: the action's name and the schema's, then also the word Params or Result."""
    short = owner.removesuffix("Params").removesuffix("Result")
    return f"{owner}{name}" if current == f"{short}{name}" else f"{short}{name}"


class _Reader:
    """Reads one shape's schemas. names: the component of each definition."""

    def __init__(self, is_result: bool, names: dict[str, str]) -> None:
        self._is_result = is_result
        self.names = names

    def read(self, schema: Any) -> Any:
        """Return a schema without generated titles, with references to the components."""
        if isinstance(schema, list):
            return [self.read(each) for each in schema]
        if not isinstance(schema, Mapping):
            return schema
        found = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
        if self._is_result or found.get("default", ...) is None:
            # A result always has the field. A parameter that is null by default is one that is not given.
            found.pop("default", None)
        if not self._is_result and "properties" in found:
            found["properties"] = _optional_without_null(found)
        if "properties" in found and "anyOf" in found:
            found = _described(found, _required_one(found.pop("anyOf")))
        if FILE in found:
            found = _described(found, _FILE_RULE)
        return {key: self._value(key, value) for key, value in found.items()}

    def _value(self, key: str, value: Any) -> Any:
        if key == "$ref":
            return f"{PREFIX}{self.names[str(value).removeprefix('#/$defs/')]}"
        if key == "properties":
            return {name: self.read(schema) for name, schema in value.items()}
        return value if key in _DATA else self.read(value)


def _described(schema: Mapping[str, Any], sentence: str) -> dict[str, Any]:
    return {**schema, "description": f"{schema.get('description', '')} {sentence}".strip()}


def _required_one(branches: Iterable[Mapping[str, Any]]) -> str:
    """Return the rule that one of several parameters is required, as a sentence.

    Generators of clients make no model of an object with such alternatives.
    """
    names = [" and ".join(f"`{name}`" for name in branch["required"]) for branch in branches]
    return f"Required: {' or '.join(names)}."


def _optional_without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of an object. One that can be left out needs no null."""
    required = schema.get("required", ())
    return {
        name: each if name in required else _without_null(each) for name, each in dict(schema["properties"]).items()
    }


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    branches = schema.get("anyOf", ())
    if _NULL in branches:
        rest = [branch for branch in branches if branch != _NULL]
        others = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**rest[0], **others} if len(rest) == 1 else {**others, "anyOf": rest}
    if isinstance(schema.get("type"), list):
        types = [name for name in schema["type"] if name != "null"]
        return {**schema, "type": types[0] if len(types) == 1 else types}
    return schema
