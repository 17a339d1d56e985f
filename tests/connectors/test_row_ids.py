"""Row IDs are stored in six bytes each; each ID is new once."""

from __future__ import annotations

import tracemalloc
import uuid
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.paging.row_ids import PassIds, RowIds


@given(st.lists(st.lists(st.text(max_size=3), max_size=30), max_size=10), st.sampled_from([1, 20, 1000]))
def test_row_ids_give_the_same_answers_as_a_set(pages: list[list[str]], fresh: int) -> None:
    ids, seen = RowIds(fresh), set[str]()
    for page in pages:
        expected = []
        for one in page:
            expected.append(one not in seen)
            seen.add(one)
        assert ids.new(page) == expected
        assert len(ids) == len(seen)
    assert all(one in ids for one in seen)
    assert "none of these" not in ids


@settings(max_examples=30)
@given(
    st.sets(st.sampled_from("abcdefgh")),
    st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=5), max_size=8),
    st.sampled_from([1, 4, 1000]),
)
# A row that is kept later than it arrived, next to a row that is not kept.
@example(set(), [[("a", False)], [("a", True), ("b", False)], [("b", False)]], 1000)
def test_pass_ids_give_the_same_answers_as_a_separate_set(
    before: set[str], pages: list[list[tuple[str, bool]]], fresh: int
) -> None:
    """The reader has rows before the pass and keeps some rows of each page, for example by status."""
    kept_ids, seen = RowIds(fresh), set[str]()
    kept_ids.new(sorted(before))
    ids = PassIds(kept_ids)
    for page in pages:
        expected = []
        for one, _ in page:
            expected.append(one not in seen)
            seen.add(one)
        assert ids.new([one for one, _ in page]) == expected
        assert len(ids) == len(seen)
        kept_ids.new([one for one, is_stored in page if is_stored])


def test_a_pass_does_not_store_the_readers_rows_again() -> None:
    chance = Random(7)
    known = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(50_000)]
    tracemalloc.start()
    try:
        kept_ids = RowIds()
        kept_ids.new(known[:20_000])
        ids = PassIds(kept_ids)
        for first in range(20_000, 50_000, 1000):
            assert all(ids.new(known[first : first + 1000]))
            kept_ids.new(known[first : first + 1000])
        both = tracemalloc.get_traced_memory()[0]
        del ids
        assert both - tracemalloc.get_traced_memory()[0] < 700_000
    finally:
        tracemalloc.stop()


def test_a_large_pass_distinguishes_earlier_rows_from_its_own() -> None:
    known = [f"row {number}" for number in range(80_000)]
    kept_ids = RowIds()
    kept_ids.new(known[:40_000])
    ids = PassIds(kept_ids)
    for first in range(40_000, 80_000, 1000):
        assert all(ids.new(known[first : first + 1000]))
        kept_ids.new(known[first : first + 1000])
    assert not any(ids.new(known[40_000:]))
    assert all(ids.new(known[:40_000]))
    assert not any(ids.new(known))
    assert len(ids) == 80_000


@pytest.mark.parametrize("fresh", [1, 1000])
def test_bytes_across_two_neighboring_ids_do_not_match(fresh: int) -> None:
    # An integer is its own hash.
    first, second, across, new = (
        int.from_bytes(bytes(2) + parts, "little") for parts in (b"abcd\2\1", b"\1fghi\1", b"bcd\2\1\1", b"cd\2\1\1\1")
    )
    ids = RowIds(fresh)
    assert ids.new([first, second]) == [True, True]
    assert ids.new([across, new, first, second]) == [True, True, False, False]


def test_forty_thousand_ids_take_less_than_one_megabyte() -> None:
    chance = Random(7)
    known = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(40_000)]
    tracemalloc.start()
    try:
        ids = RowIds()
        for first in range(0, len(known), 1000):
            assert all(ids.new(known[first : first + 1000]))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert not any(ids.new(known))
    assert len(ids) == 40_000
