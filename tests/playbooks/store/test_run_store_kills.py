"""A process that is killed at any call of the run store leaves each operation done or not begun."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from playbooks.drivers.store.records import Progress
from playbooks.language.errors import RunExists, RunNotFound
from tests.playbooks.run_stores import RUNNING, new_run, open_store
from tests.slow import some_of

LATER = datetime.fromisoformat("2027-01-01T00:00:00Z")

# The calls that change a file or a lock.
CALLS = {"execute", "executescript", "close", "flock", "ftruncate", "open", "pwrite", "rename", "unlink", "mkdir"}
MOST_CALLS = 300

# How many calls apart the kills are.
each_step = pytest.mark.parametrize("step", some_of([3, 1], 0))


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process that is killed before its call of this number. Return whether there was such a call."""
    child = os.fork()
    if child == 0:
        left = number

        def count(_: object, event: str, called: Any) -> None:
            nonlocal left
            if event == "c_call" and called.__name__ in CALLS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 99
        try:
            sys.setprofile(count)
            act()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def for_each_kill(
    tmp_path: Path, prepare: Callable[[Path], object], act: Callable[[Path], object], step: int
) -> list[Path]:
    """Kill `act` before each of its calls that `step` selects, in copies of a prepared store. Return their paths."""
    prepared = tmp_path / "prepared" / "runs.db"
    prepare(prepared)
    paths = []
    for number in range(0, MOST_CALLS, step):
        path = tmp_path / str(number) / "runs.db"
        if prepared.exists():
            shutil.copytree(prepared.parent, path.parent)
        paths.append(path)
        if not killed_at(number, lambda path=path: act(path)):  # type: ignore[misc]  # mypy infers no type for the default
            assert number > 5
            return paths
    raise AssertionError("more calls than expected")


def nothing(_: Path) -> None:
    pass


def create(path: Path) -> None:
    with open_store(path) as store:
        store.create(new_run()).release()


def create_with_signal(path: Path) -> None:
    create(path)
    with open_store(path) as store:
        store.send_signal("run-1", "go", None, None)


def create_ended(path: Path) -> None:
    with open_store(path) as store:
        store.create(new_run(progress=Progress("completed"))).release()


def write(path: Path) -> None:
    with open_store(path) as store, store.hold("run-1") as held:
        [sent] = held.untaken_signals()
        held.write('{"position": 1}', RUNNING, taken=[sent.seq])


def forget(path: Path) -> None:
    with open_store(path) as store:
        store.forget("run-1", ended_before=LATER)


@each_step
def test_a_killed_process_has_created_a_whole_run_or_none(step: int, tmp_path: Path) -> None:
    existed = []
    for path in for_each_kill(tmp_path, nothing, create, step):
        with open_store(path) as store:
            try:
                store.create(new_run()).release()
                existed.append(False)
            except RunExists:
                existed.append(True)
            with store.hold("run-1") as held:
                assert held.stored().state == '{"position": 0}'
    assert existed == sorted(existed)
    assert set(existed) == {False, True}


@each_step
def test_a_state_is_written_with_its_signals_or_not(step: int, tmp_path: Path) -> None:
    written = []
    for path in for_each_kill(tmp_path, create_with_signal, write, step):
        with open_store(path) as store, store.hold("run-1") as held:
            state, untaken = held.stored().state, held.untaken_signals()
            assert (state, len(untaken)) in [('{"position": 0}', 1), ('{"position": 1}', 0)]
            written.append(not untaken)
            held.write('{"position": 2}', RUNNING, taken=[sent.seq for sent in untaken])
    assert written == sorted(written)
    assert set(written) == {False, True}


@each_step
def test_a_killed_process_has_deleted_a_run_with_its_signals_or_not_at_all(step: int, tmp_path: Path) -> None:
    forgotten = []
    for path in for_each_kill(tmp_path, create_ended, forget, step):
        with open_store(path) as store:
            try:
                store.forget("run-1", ended_before=LATER)
                forgotten.append(False)
            except RunNotFound:
                forgotten.append(True)
            with pytest.raises(RunNotFound):
                store.hold("run-1")
            store.create(new_run()).release()
    assert forgotten == sorted(forgotten)
    assert set(forgotten) == {False, True}
