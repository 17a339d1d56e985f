"""Temporary files lie in memory if it has room, because many tests write many of them.

A pytest plugin. PYTEST_DEBUG_TEMPROOT takes precedence.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

SETTING = "PYTEST_DEBUG_TEMPROOT"
MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private folder in it

# Nine times the size of the files of all tests.
ROOM_BYTES = 4 * 2**30


def pytest_configure() -> None:
    if has_room(MEMORY, ROOM_BYTES):
        os.environ.setdefault(SETTING, str(MEMORY))


def has_room(folder: Path, free_bytes: int) -> bool:
    """Return whether the folder exists, has so many free bytes, and lets tests write and run files."""
    usable = os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return usable and shutil.disk_usage(folder).free >= free_bytes


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the files of a run without a failure, which would take memory until three later runs."""
    config: Any = session.config
    if exitstatus == 0 and os.environ.get(SETTING) == str(MEMORY) and not hasattr(config, "workerinput"):
        shutil.rmtree(config._tmp_path_factory.getbasetemp(), ignore_errors=True)
