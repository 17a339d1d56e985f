"""Results of tools: cut to a size that a model can read, with the cuts named."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.errors import PackError
from core.json_values import below
from core.quantity import counted
from platforms.mcp.schemas import MOST_RESULT_BYTES

# Each cut takes at least a fifth of the largest part.
_MOST_CUTS = 100
_SHORTEST_TEXT = 200


@dataclass(frozen=True)
class ToolResult:
    """What a tool returns. notes: texts for the agent, besides the document."""

    document: dict[str, Any]
    notes: tuple[str, ...] = ()
    is_error: bool = False

    @classmethod
    def of_error(cls, error: PackError) -> ToolResult:
        return cls(error.document(), is_error=True)


class _Part(NamedTuple):
    """A list or a text inside a document. place: where it is in its container."""

    size: int
    pointer: str
    container: Any
    place: Any


def fitted(result: ToolResult, most: int = MOST_RESULT_BYTES) -> ToolResult:
    """Return a result of at most `most` bytes as JSON. Its largest lists and texts are cut, and a note names them."""
    if _size(result.document) <= most:
        return result
    document = copy.deepcopy(result.document)
    totals: dict[str, int] = {}
    kept: dict[str, int] = {}
    for _ in range(_MOST_CUTS):
        size = _size(document)
        if size <= most:
            break
        part = max(_parts(document), default=None, key=lambda each: each.size)
        if part is None:
            break
        value = part.container[part.place]
        wanted = max(part.size - (size - most), 0)
        length = min(int(len(value) * wanted / part.size), len(value) * 4 // 5)
        totals.setdefault(part.pointer, len(value))
        kept[part.pointer] = length
        part.container[part.place] = value[:length]
    if _size(document) > most:
        document, kept = {}, {}
        note = f"The result was left out: it has more than {counted(most, 'byte')}. Ask for less."
    else:
        cuts = "; ".join(f"{pointer} has the first {kept[pointer]:,} of {totals[pointer]:,}" for pointer in kept)
        note = f"The result was cut to {counted(most, 'byte')}: {cuts}."
    return ToolResult(document, (*result.notes, note), result.is_error)


def _size(value: Any) -> int:
    return len(json.dumps(value))


def _parts(value: Any, pointer: str = "") -> Iterator[_Part]:
    """Yield the lists and long texts of a document. A list in a list is cut with it."""
    if isinstance(value, dict):
        for name, each in value.items():
            at = below(pointer, name)
            if isinstance(each, dict):
                yield from _parts(each, at)
            elif (isinstance(each, list) and each) or (isinstance(each, str) and len(each) > _SHORTEST_TEXT):
                yield _Part(_size(each), at, value, name)
