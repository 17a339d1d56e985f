"""A compact set of row IDs: seven bytes per ID, where a Python set takes a hundred."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import pairwise, repeat
from operator import add

_BUCKETS = 1 << 13
_LAST_BUCKET = _BUCKETS - 1
# Of the eight bytes of a hash, the first two (in memory order) select the bucket, except for three bits.
_BYTES = 6
# The number of IDs to collect before packing. Buckets that grow one by one leave holes of half their size in memory.
_FRESH = 1 << 15


class RowIds:
    """A set of row IDs that stores 61 bits of each hash.

    Among a million IDs, the probability of a collision is one in four million. The later ID then counts as seen. The
    number of rows no longer matches the job's counters, so the loss is reported. fresh: the number of IDs to pack at
    once.
    """

    def __init__(self, fresh: int = _FRESH) -> None:
        # The IDs of each bucket in their order: the packed ones, with all buckets in a row, then the fresh ones.
        self._packed = bytearray()
        self._starts = array("q", bytes(8 * (_BUCKETS + 1)))
        self._fresh: list[bytes | bytearray] = [b""] * _BUCKETS
        self._count = 0
        self._most_fresh = fresh

    def __len__(self) -> int:
        return self._count

    def new(self, row_ids: Iterable[Hashable]) -> list[bool]:
        """Add the IDs. Return for each whether it was new."""
        packed, starts, buckets, found = self._packed, self._starts, self._fresh, []
        hashes, data = _hashes(row_ids)
        for number, at in zip(hashes, range(0, len(data), 8), strict=True):
            bucket, short = number & _LAST_BUCKET, data[at + 2 : at + 8]
            fresh = buckets[bucket]
            start, end = starts[bucket], starts[bucket + 1]
            # Inline, because a function call for each ID would cost a third more.
            is_new = (packed.find(short, start, end) < 0 and fresh.find(short) < 0) or not (
                _has(packed, short, start, end) or _has(fresh, short, 0, len(fresh))
            )
            if is_new:
                if fresh:
                    fresh += short
                else:
                    buckets[bucket] = bytearray(short)
                self._count += 1
            found.append(is_new)
        if self._count * _BYTES - len(self._packed) >= self._most_fresh * _BYTES:
            self._pack()
        return found

    def __contains__(self, row_id: Hashable) -> bool:
        number = hash(row_id)
        bucket, short = number & _LAST_BUCKET, array("q", [number]).tobytes()[2:]
        fresh = self._fresh[bucket]
        return _has(self._packed, short, self._starts[bucket], self._starts[bucket + 1]) or _has(
            fresh, short, 0, len(fresh)
        )

    def mark(self) -> Sequence[int]:
        """Return a mark of the present state, for `since`."""
        packed = (end - start for start, end in pairwise(self._starts)) if self._packed else repeat(0)
        return array("q", map(add, packed, map(len, self._fresh)))

    def since(self, mark: Sequence[int], row_ids: Iterable[Hashable]) -> list[bool]:
        """Return for each ID whether it was added after the mark."""
        packed, starts, buckets, found = self._packed, self._starts, self._fresh, []
        hashes, data = _hashes(row_ids)
        for number, at in zip(hashes, range(0, len(data), 8), strict=True):
            bucket, short = number & _LAST_BUCKET, data[at + 2 : at + 8]
            fresh, start, end = buckets[bucket], starts[bucket] + mark[bucket], starts[bucket + 1]
            found.append(
                (packed.find(short, start, end) >= 0 or fresh.find(short) >= 0)
                and (_has(packed, short, start, end) or _has(fresh, short, max(0, start - end), len(fresh)))
            )
        return found

    def _pack(self) -> None:
        """Move the fresh IDs to the packed ones of their bucket, in place."""
        packed, end = self._packed, self._count * _BYTES
        old_end = len(packed)
        packed += bytes(end - old_end)
        # From the last bucket to the first, so that nothing is overwritten before it is moved.
        for bucket in reversed(range(_BUCKETS)):
            fresh, old_start = self._fresh[bucket], self._starts[bucket]
            self._starts[bucket + 1] = end
            start = end - len(fresh) - (old_end - old_start)
            packed[start:end] = packed[old_start:old_end] + fresh
            old_end, end = old_start, start
        self._fresh = [b""] * _BUCKETS


class PassIds:
    """The row IDs of one pass over a listing, whose reader adds the IDs of the rows that it keeps to a `RowIds`.

    An ID that the reader has added since the pass began is not stored a second time. This object stores the others:
    IDs that the reader had before, and IDs of rows that it does not keep.
    """

    def __init__(self, taken: RowIds) -> None:
        self._taken = taken
        self._mark = taken.mark()
        self._others = RowIds()
        self._count = 0
        # The new IDs of the last page, and the number of IDs that the reader had before it.
        self._new: Collection[Hashable] = ()
        self._taken_before = 0

    def __len__(self) -> int:
        return self._count

    def new(self, row_ids: Iterable[Hashable]) -> list[bool]:
        """Add the IDs of a page, before the reader adds them. Return for each whether it is new in this pass."""
        self._add_others()
        page = list(row_ids)
        any_others = len(self._others) > 0
        new: set[Hashable] = set()
        found = []
        for row_id, is_taken in zip(page, self._taken.since(self._mark, page), strict=True):
            is_new = not (is_taken or row_id in new or (any_others and row_id in self._others))
            if is_new:
                new.add(row_id)
            found.append(is_new)
        self._new, self._taken_before = new, len(self._taken)
        self._count += len(new)
        return found

    def _add_others(self) -> None:
        """Add the IDs of the last page that the reader did not keep."""
        # Without others, the reader can only have added these IDs: an equal number means all of them.
        if len(self._others) == 0 and len(self._taken) - self._taken_before == len(self._new):
            return
        is_taken = self._taken.since(self._mark, self._new)
        self._others.new(row_id for row_id, there in zip(self._new, is_taken, strict=True) if not there)


def _hashes(row_ids: Iterable[Hashable]) -> tuple[array[int], bytes]:
    """Return the hash of each ID, as integers (for the bucket) and as bytes (for the entry in it)."""
    # Python's string hash (SipHash) has a new key in each process, so nobody can choose colliding IDs.
    hashes = array("q", map(hash, row_ids))
    return hashes, hashes.tobytes()


def _has(known: bytes | bytearray, short: bytes, start: int, end: int) -> bool:
    at = known.find(short, start, end)
    # A match across two entries is not an entry.
    while at > 0 and at % _BYTES:
        at = known.find(short, at + 1, end)
    return at >= 0
