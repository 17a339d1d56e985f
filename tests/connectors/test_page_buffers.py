"""Memory for pages is used again, and never while anything still looks into it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from connectors.page_buffers import USUAL_PAGE_BYTES, PageBuffers


def test_a_body_is_its_chunks() -> None:
    assert bytes(PageBuffers(2).filled([b"abc", b"", b"de"])) == b"abcde"
    assert bytes(PageBuffers(2).filled([])) == b""


@pytest.mark.parametrize("size", [USUAL_PAGE_BYTES - 1, USUAL_PAGE_BYTES, USUAL_PAGE_BYTES + 1, 3 * USUAL_PAGE_BYTES])
def test_a_body_of_any_size_is_whole(size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    chunks = (body[place : min(place + 70_001, size)] for place in range(0, size, 70_001))
    assert bytes(PageBuffers(2).filled(chunks)) == body[:size]


def test_memory_that_nothing_looks_into_is_used_again() -> None:
    buffers = PageBuffers(2)
    first = buffers.filled([b"first"])
    memory = first.obj
    del first
    second = buffers.filled([b"2nd"])
    assert second.obj is memory
    assert bytes(second) == b"2nd"


def test_a_part_of_a_body_keeps_its_memory() -> None:
    buffers = PageBuffers(1)
    page = buffers.filled([b'{"a": [1, 2]}'])
    part = page[6:12]
    del page
    raw = msgspec.json.decode(buffers.filled([b'{"a": "kept"}']), type=dict[str, msgspec.Raw])["a"]
    later = [buffers.filled([b"x" * 20]) for _ in range(3)]
    assert bytes(part) == b"[1, 2]"
    assert bytes(raw) == b'"kept"'
    assert [bytes(view) for view in later] == [b"x" * 20] * 3


def test_a_body_that_breaks_off_gives_its_memory_back() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    buffers = PageBuffers(1)
    memory = buffers.filled([b"first"]).obj
    with pytest.raises(ConnectionResetError):
        buffers.filled(broken())
    assert buffers.filled([b"last"]).obj is memory


def test_threads_never_share_memory() -> None:
    buffers = PageBuffers(3)
    together = threading.Barrier(8)

    def fill(number: int) -> bool:
        body = bytes([number]) * 50_000
        together.wait(timeout=20)
        views = [buffers.filled(body[place : place + 1000] for place in range(0, len(body), 1000)) for _ in range(20)]
        return all(bytes(view) == body for view in views)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fill, range(8)))


def test_no_more_memory_is_kept_than_asked_for() -> None:
    buffers = PageBuffers(2)
    first = [buffers.filled([b"x"]) for _ in range(5)]
    memories = [view.obj for view in first]
    del first
    again = [buffers.filled([b"y"]) for _ in range(3)]
    assert [any(view.obj is memory for memory in memories) for view in again] == [True, True, False]
