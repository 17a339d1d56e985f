"""Which rows were seen already, in seven bytes each: a Python set of as many IDs would take a hundred."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable

_BUCKET_BITS = 12
_LAST_BUCKET = (1 << _BUCKET_BITS) - 1
# Of the eight bytes of a hash the first two, as integers lie in memory here, are the bucket's, but for four bits.
_BYTES = 6


class RowIds:
    """A set of row IDs that knows them by 60 bits of their hash.

    Two of a million IDs share these with a chance of one in two million. The later one then counts as seen, and the
    rows are one short of what the job's counters promise: said, not passed over.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray] = [bytearray() for _ in range(_LAST_BUCKET + 1)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def new(self, row_ids: Iterable[Hashable]) -> list[bool]:
        """Which of these were not seen before, one after another; they are from now on."""
        # Python's own string hash (SipHash, keyed anew in each process): nobody can choose IDs that collide.
        hashes = array("q", map(hash, row_ids))
        data = hashes.tobytes()
        buckets, found = self._buckets, []
        for number, place in zip(hashes, range(0, len(data), 8), strict=True):
            short = data[place + 2 : place + 8]
            known = buckets[number & _LAST_BUCKET]
            is_new = not _holds(known, short)
            if is_new:
                known += short
            found.append(is_new)
        self._count += sum(found)
        return found

    def __contains__(self, row_id: Hashable) -> bool:
        number = hash(row_id)
        return _holds(self._buckets[number & _LAST_BUCKET], array("q", [number]).tobytes()[2:])


def _holds(known: bytearray, short: bytes) -> bool:
    at = known.find(short)
    # It may lie across two neighbours: that is none of them.
    while at > 0 and at % _BYTES:
        at = known.find(short, at + 1)
    return at >= 0
