"""Reusable memory for the bodies of large responses.

New memory for each page of 3 MB is a third of the cost of reading it, because the kernel provides it, zeroed, in 4 KB
pages. On the heap, the bodies of many threads leave holes, and the heap grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from threading import Lock

# Larger pages are possible. Unlike in a bytearray, memory that is never written is never allocated.
USUAL_PAGE_BYTES = 4 * 1024 * 1024


class PageBuffers:
    """Buffers that several threads fill. most: the number of buffers to keep.

    A buffer is reused as soon as no view of it exists. A row is a view, so its text stays valid as long as the row.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[BytesIO] = []
        self._lock = Lock()

    def fill(self, chunks: Iterable[bytes]) -> memoryview:
        """Return the chunks joined in a buffer. Raises: what `chunks` raises."""
        body = self._take_free()
        size = 0
        for chunk in chunks:
            begin, size = size, size + len(chunk)
            if size > len(body):
                # The larger buffer is not kept: one very large page must not occupy so much memory.
                larger = BytesIO(bytes(2 * size)).getbuffer()
                larger[:begin] = body[:begin]
                body = larger
            body[begin:size] = chunk
        return body[:size]

    def _take_free(self) -> memoryview:
        with self._lock:
            for buffer in self._kept:
                if not _is_viewed(buffer):
                    return buffer.getbuffer()
            fresh = BytesIO(bytes(USUAL_PAGE_BYTES))
            if len(self._kept) < self._most:
                self._kept.append(fresh)
            return fresh.getbuffer()


def _is_viewed(buffer: BytesIO) -> bool:
    """Return whether a view of the buffer exists, because then it refuses to change its size."""
    try:
        buffer.truncate(USUAL_PAGE_BYTES)
    except BufferError:
        return True
    return False
