"""Garbage collection in a short process. Searching the imported modules for garbage would take a tenth of its time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_once_loaded() -> Iterator[None]:
    """Turn the collection on for the block if it was off while the process loaded.

    The collection skips objects that exist at the start of the block; after the block it skips all objects. If it was
    already on, nothing changes, because the process has other work too.
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
