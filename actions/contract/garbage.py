"""Garbage collection in a process that loads, does one thing and ends.

The search for garbage takes a tenth of such a process: nothing that is imported is garbage, and at its end all of it
would be searched once more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_once_loaded() -> Iterator[None]:
    """Turn the collection on for the block if it was off while the process loaded.

    The collection skips what exists at the start of the block; after the block it skips everything. Where it was on
    already, nothing changes: the process is not there for this block alone.
    """
    if gc.isenabled():
        yield
        return
    gc.freeze()
    gc.enable()
    try:
        yield
    finally:
        gc.freeze()
