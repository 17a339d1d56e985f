"""Cut the lists of a result to a number of bytes.

Platforms limit the result of a step (Step Functions: 256 KiB). A larger result fails after the change was made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

# The entry of one list in `truncated`.
_NOTE_BYTES = 80


def fit_result(document: dict[str, Any], most_bytes: int, order: Sequence[str], whole: Collection[str]) -> None:
    """Cut the lists of a result until its JSON, written in ASCII as a process writes it, fits.

    order: the lists and objects to cut, the least important first; each keeps its first entries. whole: those that
    become null, because a part could be mistaken for the complete list. `truncated` of the document gets the numbers.
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
    """Return the number of entries that are left after removing enough of the last ones."""
    items = list(entries.items()) if isinstance(entries, dict) else list(entries)
    while items and over > 0:
        # A comma and a space. In an object, [key, value] has as many characters as the member with them.
        over -= _size(items.pop()) + (0 if isinstance(entries, dict) else 2)
    return len(items)


def _first(entries: Sequence[Any] | dict[str, Any], kept: int) -> Any:
    return dict(islice(entries.items(), kept)) if isinstance(entries, dict) else entries[:kept]


def _size(document: Any) -> int:
    return len(json.dumps(document))
