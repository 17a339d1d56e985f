"""Tests write to memory only if it has room."""

from __future__ import annotations

from pathlib import Path

from tests.temporary_files import has_room


def test_only_a_folder_with_enough_room_is_used(tmp_path: Path) -> None:
    assert has_room(tmp_path, 1)
    assert not has_room(tmp_path, 2**60)
    assert not has_room(tmp_path / "missing", 1)
    assert not has_room(Path("/proc"), 1)
