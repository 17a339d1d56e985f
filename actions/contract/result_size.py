"""Keeps a result within a number of bytes: its lists are cut, from their ends; everything else stays whole.

Platforms bound what a step may return (Step Functions: 256 KiB), and fail after the change was made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

# For what `truncated` says of one list.
_NOTE_BYTES = 80


def fit_result(document: dict[str, Any], most_bytes: int, order: Sequence[str], whole: Collection[str]) -> None:
    """Cut the lists of a result until its JSON, written in ASCII as a process writes it, fits.

    order: the lists and objects that may be cut, the least needed first; each keeps its first entries. whole: those of
    which a part would be taken for all, so that they become null instead. `truncated` of the document gets what was
    kept of what was there.
    """
    over = _size(document) + 1 - most_bytes
    for name in order:
        if over <= 0:
            return
        entries = document.get(name)
        if not entries:
            continue
        over += _NOTE_BYTES
        kept = 0 if name in whole else _fitting(entries, over)
        over -= _size(entries)
        document["truncated"][name] = {"kept": kept, "total": len(entries)}
        document[name] = None if name in whole else _first(entries, kept)
        over += _size(document[name])


def fitting(entries: Sequence[Any], most_bytes: int) -> list[Any]:
    """Return the first entries whose JSON fits into so many bytes."""
    kept, size = 0, 2
    for entry in entries:
        size += _size(entry) + 2
        if size > most_bytes:
            break
        kept += 1
    return list(entries[:kept])


def _fitting(entries: Sequence[Any] | dict[str, Any], over: int) -> int:
    """How many entries are left when enough of the last ones are gone, or all of them."""
    items = list(entries.items()) if isinstance(entries, dict) else list(entries)
    while items and over > 0:
        # A comma and a space, or a colon and a space more in an object: as [key, value] takes it too.
        over -= _size(items.pop()) + (0 if isinstance(entries, dict) else 2)
    return len(items)


def _first(entries: Sequence[Any] | dict[str, Any], kept: int) -> Any:
    return dict(islice(entries.items(), kept)) if isinstance(entries, dict) else entries[:kept]


def _size(document: Any) -> int:
    return len(json.dumps(document))
