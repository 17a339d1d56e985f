"""Memory for pages is reused, but never while a view of it exists."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from connectors.http.page_buffers import USUAL_PAGE_BYTES, PageBuffers


def memory_of(view: memoryview) -> object:
    [memory] = gc.get_referents(view.obj)
    return memory


def test_a_body_is_joined_from_its_chunks() -> None:
    assert bytes(PageBuffers(2).fill([b"abc", b"", b"de"])) == b"abcde"
    assert bytes(PageBuffers(2).fill([])) == b""


@pytest.mark.parametrize("size", [USUAL_PAGE_BYTES - 1, USUAL_PAGE_BYTES, USUAL_PAGE_BYTES + 1, 3 * USUAL_PAGE_BYTES])
def test_a_body_of_any_size_is_complete(size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    chunks = (body[place : min(place + 70_001, size)] for place in range(0, size, 70_001))
    assert bytes(PageBuffers(2).fill(chunks)) == body[:size]


def test_memory_without_views_is_reused() -> None:
    buffers = PageBuffers(2)
    first = buffers.fill([b"first"])
    memory = memory_of(first)
    del first
    second = buffers.fill([b"2nd"])
    assert memory_of(second) is memory
    assert bytes(second) == b"2nd"


def test_memory_with_a_view_is_not_reused() -> None:
    buffers = PageBuffers(1)
    page = buffers.fill([b'{"a": [1, 2]}'])
    part = page[6:12]
    del page
    raw = msgspec.json.decode(buffers.fill([b'{"a": "kept"}']), type=dict[str, msgspec.Raw])["a"]
    later = [buffers.fill([b"x" * 20]) for _ in range(3)]
    assert bytes(part) == b"[1, 2]"
    assert bytes(raw) == b'"kept"'
    assert [bytes(view) for view in later] == [b"x" * 20] * 3


def test_an_aborted_body_releases_its_memory() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    buffers = PageBuffers(1)
    memory = memory_of(buffers.fill([b"first"]))
    with pytest.raises(ConnectionResetError):
        buffers.fill(broken())
    assert memory_of(buffers.fill([b"last"])) is memory


def test_threads_never_share_memory() -> None:
    buffers = PageBuffers(3)
    together = threading.Barrier(8)

    def fill(number: int) -> bool:
        body = bytes([number]) * 50_000
        together.wait(timeout=20)
        views = [buffers.fill(body[place : place + 1000] for place in range(0, len(body), 1000)) for _ in range(20)]
        return all(bytes(view) == body for view in views)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fill, range(8)))


def test_no_more_buffers_are_kept_than_configured() -> None:
    buffers = PageBuffers(2)
    first = [buffers.fill([b"x"]) for _ in range(5)]
    memories = [memory_of(view) for view in first]
    del first
    again = [buffers.fill([b"y"]) for _ in range(3)]
    assert [any(memory_of(view) is memory for memory in memories) for view in again] == [True, True, False]


def test_unused_buffer_space_takes_no_memory() -> None:
    # In a process of its own: memory that was in use before is not zeroed by the system.
    program = (
        "from pathlib import Path; from connectors.http.page_buffers import PageBuffers\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "buffers, before = PageBuffers(10), resident()\n"
        "bodies = [buffers.fill([b'x' * 1000]) for _ in range(10)]\n"
        "print(resident() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < USUAL_PAGE_BYTES
