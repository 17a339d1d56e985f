"""Recognize the record that Logpush sends to test a destination. It is not part of the dataset."""

from __future__ import annotations

from core.json_values import read_json

TEST_RECORD = {"content": "tests"}


def is_test_line(line: bytes) -> bool:
    """Return whether the line is exactly the test record."""
    try:
        return bool(read_json(line.decode("utf-8-sig")) == TEST_RECORD)
    except (ValueError, RecursionError):
        return False
