"""Unpack the body of a batch piece by piece: plain, or gzip with any number of members."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from core.quantity import counted
from platforms.alerts.errors import BatchRefused, BatchTooLarge, EncodingUnsupported

MAGIC = b"\x1f\x8b"

# The largest piece that is unpacked at a time.
_PIECE = 256 * 1024

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip")


class Unpacker:
    """Unpacks chunks of a body. Its first two bytes decide: Logpush does not always set Content-Encoding.

    encoding: the Content-Encoding, or None. limit: the most bytes of the unpacked body.
    Raises: EncodingUnsupported for an encoding other than gzip.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        named = (encoding or "").strip().lower()
        if named not in (*_PLAIN, *_GZIP):
            raise EncodingUnsupported(f"the Content-Encoding {named[:40]!r} is not supported")
        self._limit = limit
        self._begin = b""
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False
        self._between = False
        self._first = b""
        self.unpacked_bytes = 0
        self.is_gzip = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the chunk unpacks to. Raises: BatchRefused, BatchTooLarge."""
        if not self._begun:
            self._begin += chunk
            if len(self._begin) < len(MAGIC):
                return
            chunk = self._start()
        yield from self._unpacked(chunk) if self.is_gzip else self._plain(chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield the rest of the body. Raises: BatchRefused if it is cut off."""
        if not self._begun:
            yield from self._plain(self._start())
        if self.is_gzip and not self._between:
            raise BatchRefused("the gzip data is cut off")

    def _start(self) -> bytes:
        self._begun, chunk, self._begin = True, self._begin, b""
        self.is_gzip = chunk.startswith(MAGIC)
        return chunk

    def _plain(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), _PIECE):
            yield self._counted(chunk[start : start + _PIECE])

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._between:
                # Zeros may fill the space behind a member.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._inflate, self._between = zlib.decompressobj(_GZIP_WINDOW), False
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise BatchRefused(f"the gzip data is damaged: {error}") from None
            if piece:
                yield self._once(self._counted(piece))
            if self._inflate.eof:
                data, self._between = self._inflate.unused_data, True
            else:
                data = self._inflate.unconsumed_tail
        # Output can remain when all input is consumed.
        if not self._between:
            yield from self._drained()

    def _drained(self) -> Iterator[bytes]:
        while not self._inflate.eof and (piece := self._inflate.decompress(b"", _PIECE)):
            yield self._once(self._counted(piece))
        self._between = self._inflate.eof

    def _once(self, piece: bytes) -> bytes:
        if len(self._first) < len(MAGIC):
            self._first = (self._first + piece)[: len(MAGIC)]
            if self._first == MAGIC:
                raise BatchRefused("the body was compressed with gzip twice")
        return piece

    def _counted(self, piece: bytes) -> bytes:
        self.unpacked_bytes += len(piece)
        if self.unpacked_bytes > self._limit:
            raise BatchTooLarge(f"the batch is larger than {counted(self._limit, 'byte')} when it is unpacked")
        return piece
