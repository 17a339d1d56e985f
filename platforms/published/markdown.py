"""Markdown tables, and the fields of a JSON Schema as their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable

from platforms.schema_fields import Field, Schema, read_fields


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table without a line break at its end. A cell is put on one line, and a `|` in it is escaped."""
    lines = [columns, ("---",) * len(columns), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parameter_rows(schema: Schema) -> list[tuple[str, ...]]:
    """Return name, type, default and meaning of each field. Fields of a field follow it, one level deep."""
    return [
        (f"`{name}`", field.type_words, default_of(field) if name == field.name else "", field.description)
        for name, field in _with_inner(schema)
    ]


def result_rows(schema: Schema) -> list[tuple[str, ...]]:
    """Return name, type and meaning of each field. Fields of a field follow it, one level deep."""
    return [(f"`{name}`", field.type_words, field.description) for name, field in _with_inner(schema)]


def default_of(field: Field) -> str:
    """Return the default as a cell, or that the field is required."""
    return "required" if field.required else f"`{json.dumps(field.default)}`"


def _with_inner(schema: Schema) -> Iterable[tuple[str, Field]]:
    for field in read_fields(schema):
        yield field.name, field
        yield from ((f"{field.name}.{inner.name}", inner) for inner in field.fields)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
