"""A run store for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from playbooks.drivers.run_store import RunStore
from tests.playbooks.run_stores import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cfes" / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    with open_store(path) as store:
        yield store
