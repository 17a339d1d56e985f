"""Run stores for the tests."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from core.errors import PackError
from core.json_values import digest
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.records import NewRun, Progress
from tests.clock import FakeClock

KEY = SealKey(b"a key of the tests", "in the tests")
PLAYBOOK = {"playbook": 1, "id": "purge", "steps": []}
RUNNING = Progress("running", "search")


def open_store(path: Path, key: SealKey = KEY, clock: FakeClock | None = None, **settings: Any) -> RunStore:
    return RunStore(path, key, clock or FakeClock(), lock_seconds=0, **settings)


def new_run(run_id: str = "run-1", **values: Any) -> NewRun:
    fields = {
        "run_id": run_id,
        "key": "alert-1",
        "playbook": PLAYBOOK,
        "playbook_id": "purge",
        "playbook_sha256": digest(values.get("playbook", PLAYBOOK)),
        "directory": "/runs/1",
        "state": '{"position": 0}',
        "progress": RUNNING,
    }
    return NewRun(**{**fields, **values})


def exit_code_of(act: Callable[[], int]) -> int:
    """Return the result of `act` in a process of its own, or 99 if it raised an exception."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def execute(path: Path, statement: str, *values: object) -> list[Any]:
    """Run a statement as a program that knows nothing of run stores."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(statement, values).fetchall()


def without_room(act: Callable[[], object]) -> PackError | None:
    """Return the error that `act` raises while no file can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        act()
    except PackError as error:
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return None
