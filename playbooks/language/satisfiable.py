"""Find rules that no value can satisfy, so that nobody can answer a pause or give an input."""

from __future__ import annotations

import math
from collections.abc import Iterator

from core.json_values import below, shown
from playbooks.language.format import TypeName, ValueSpec
from playbooks.language.shape import mismatches


def contradictions(spec: ValueSpec, pointer: str) -> Iterator[tuple[str, str]]:
    """Yield a pointer and a reason for each rule that excludes every value; nothing if a value can exist."""
    if spec.enum is not None:
        fitting = [value for value in spec.enum if not mismatches({**spec.json_schema(), "enum": [value]}, value)]
        if not fitting:
            listed = ", ".join(shown(value) for value in spec.enum)
            yield below(pointer, "enum"), f"no value is possible: none of {listed} fits the other rules"
        return
    reasons = [list(_reasons(name, spec, pointer)) for name in _types(spec)]
    if all(reasons):
        yield from dict.fromkeys(reason for found in reasons for reason in found)


def useless_choices(spec: ValueSpec, pointer: str) -> Iterator[tuple[str, str]]:
    """Yield each value of `enum` that does not fit the other rules, if another one does."""
    if spec.enum is None or any(contradictions(spec, pointer)):
        return
    for index, value in enumerate(spec.enum):
        for problem in mismatches({**spec.json_schema(), "enum": [value]}, value):
            yield below(pointer, "enum", index), f"{shown(value)} is never possible: it {problem['message']}"


def _types(spec: ValueSpec) -> list[TypeName]:
    return [spec.type] if isinstance(spec.type, str) else spec.type


def _reasons(name: TypeName, spec: ValueSpec, pointer: str) -> Iterator[tuple[str, str]]:
    match name:
        case "integer" | "number":
            lowest, highest = spec.minimum, spec.maximum
            if lowest is None or highest is None:
                return
            if lowest > highest:
                yield below(pointer, "minimum"), f"no number is possible: minimum {lowest} is over maximum {highest}"
            elif name == "integer" and math.ceil(lowest) > highest:
                yield (
                    below(pointer, "minimum"),
                    f"no whole number is possible between minimum {lowest} and maximum {highest}",
                )
        case "string":
            yield from _crossed(spec.min_length, spec.max_length, "Length", "text", pointer)
        case "array":
            yield from _crossed(spec.min_items, spec.max_items, "Items", "list", pointer)
            if spec.items is not None and spec.min_items:
                yield from contradictions(spec.items, below(pointer, "items"))
        case "object":
            for key in spec.required or ():
                if key in (spec.properties or {}):
                    yield from contradictions((spec.properties or {})[key], below(pointer, "properties", key))


def _crossed(least: int | None, most: int | None, what: str, value: str, pointer: str) -> Iterator[tuple[str, str]]:
    if least is not None and most is not None and least > most:
        yield below(pointer, f"min{what}"), f"no {value} is possible: min{what} {least} is over max{what} {most}"
