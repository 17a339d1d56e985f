"""Row IDs in six bytes each: what is new is new once."""

from __future__ import annotations

import tracemalloc
import uuid
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.paging.row_ids import RowIds


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(max_size=3), max_size=30), max_size=10))
def test_it_tells_what_a_set_tells(pages: list[list[str]]) -> None:
    ids, seen = RowIds(), set[str]()
    for page in pages:
        expected = []
        for one in page:
            expected.append(one not in seen)
            seen.add(one)
        assert ids.new(page) == expected
        assert len(ids) == len(seen)


def test_a_hundred_thousand_ids_take_less_than_two_megabytes() -> None:
    chance = Random(7)
    known = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(100_000)]
    tracemalloc.start()
    try:
        ids = RowIds()
        for first in range(0, len(known), 1000):
            assert all(ids.new(known[first : first + 1000]))
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
    assert not any(ids.new(known))
    assert len(ids) == 100_000
