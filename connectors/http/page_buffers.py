"""Memory for the bodies of large answers, used again and again.

New memory for each page of 3 MB is a third of all that reading one costs: the system hands it out, zeroed, 4 KB at a
time. On the heap, bodies that come and go in many threads leave holes, and it grows with their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from threading import Lock

# A page that is larger is taken too. What is not written to takes no memory, unlike that of a bytearray.
USUAL_PAGE_BYTES = 4 * 1024 * 1024


class PageBuffers:
    """Buffers that several threads fill. most: how many are kept for the next body.

    A buffer is used again when nothing looks into it any more, no view and no row that was cut out of it: whoever
    keeps a row keeps its text.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[BytesIO] = []
        self._lock = Lock()

    def filled(self, chunks: Iterable[bytes]) -> memoryview:
        """These chunks, one behind the other. Raises: what the chunks raise."""
        body = self._free()
        size = 0
        for chunk in chunks:
            begin, size = size, size + len(chunk)
            if size > len(body):
                # It does not go back: one page that is larger than all others is no reason to keep so much.
                larger = _zeroed(2 * size).getbuffer()
                larger[:begin] = body[:begin]
                body = larger
            body[begin:size] = chunk
        return body[:size]

    def _free(self) -> memoryview:
        with self._lock:
            for buffer in self._kept:
                if not _is_viewed(buffer):
                    return buffer.getbuffer()
            fresh = _zeroed(USUAL_PAGE_BYTES)
            if len(self._kept) < self._most:
                self._kept.append(fresh)
            return fresh.getbuffer()


def _zeroed(size: int) -> BytesIO:
    return BytesIO(bytes(size))


def _is_viewed(buffer: BytesIO) -> bool:
    """Whether a view of it exists: it can't change its size then, and says so."""
    try:
        buffer.truncate(USUAL_PAGE_BYTES)
    except BufferError:
        return True
    return False
