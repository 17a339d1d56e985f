"""Which rows were seen already, in seven bytes each: a Python set of as many IDs would take a hundred."""

from __future__ import annotations

_BUCKETS = 4096
_BUCKET_BITS = 12
_BYTES = 6
_MASK = (1 << 8 * _BYTES) - 1


class RowIds:
    """A set of row IDs that knows them by 60 bits of their hash.

    Two of a million IDs share these with a chance of one in two million. The later one then counts as seen, and the
    rows are one short of what the job's counters promise: said, not passed over.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray] = [bytearray() for _ in range(_BUCKETS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row_id: str) -> bool:
        """Whether it is new."""
        # Python's own string hash (SipHash, keyed anew in each process): nobody can choose IDs that collide.
        number = hash(row_id)
        known = self._buckets[number & (_BUCKETS - 1)]
        short = (number >> _BUCKET_BITS & _MASK).to_bytes(_BYTES, "little")
        place = known.find(short)
        # It may lie across two neighbours: that is none of them.
        while place > 0 and place % _BYTES:
            place = known.find(short, place + 1)
        if place >= 0:
            return False
        known += short
        self._count += 1
        return True
