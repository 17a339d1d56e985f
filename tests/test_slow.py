"""The list of slow test files names existing files: those that don't fit into a quick run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.slow import QUICK_SECONDS, listed_files, slow_files

ROOT = Path(__file__).parent.parent


def test_each_listed_file_exists() -> None:
    assert [file for file in listed_files() if not (ROOT / file).is_file()] == []


def test_a_quick_run_skips_the_files_with_the_slowest_tests() -> None:
    seconds = {"many_quick": QUICK_SECONDS / 2, "one_slow": QUICK_SECONDS / 4, "few": QUICK_SECONDS / 2}
    assert slow_files(seconds, Counter(many_quick=1000, one_slow=1, few=100)) == ["one_slow"]
