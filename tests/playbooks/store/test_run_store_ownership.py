"""One process has a run: the errors of others name it, and the death of that process frees the run."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import Progress
from playbooks.language.errors import RunInProgress, RunNotFound
from tests.playbooks.run_stores import RUNNING, new_run, open_store

LATER = datetime.fromisoformat("2027-01-01T00:00:00Z")


@contextmanager
def other_process(path: Path) -> Iterator[int]:
    """Create a run in a process that holds it until the end of the block, when it is killed. Yield its ID."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open_store(path) as store, store.create(new_run()) as held:
                held.write('{"by": "the other process"}', RUNNING)
                os.write(writing, b".")
                signal.pause()
        finally:
            os._exit(99)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"."
        yield child
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_refusal_of_a_second_process_names_the_first(path: Path) -> None:
    with other_process(path) as process, open_store(path) as store:
        with pytest.raises(RunInProgress) as caught:
            store.hold("run-1")
        with pytest.raises(RunInProgress):
            store.forget("run-1", ended_before=LATER)
    host = os.uname().nodename
    assert caught.value.message == f"process {process} on '{host}' (since 2026-11-20T16:02:35Z) has the run 'run-1'"
    assert caught.value.help == "Nothing was run. Wait until that process ends, or stop it."


def test_a_run_in_use_can_be_read_and_sent_signals(path: Path) -> None:
    with other_process(path), open_store(path) as store:
        store.send_signal("run-1", "go", True, None)
        assert store.read("run-1").state == '{"by": "the other process"}'
        assert [run.run_id for run in store.runs()] == ["run-1"]


def test_a_killed_process_frees_its_run(path: Path) -> None:
    with other_process(path):
        pass
    with open_store(path) as store, store.hold("run-1") as held:
        assert held.stored().state == '{"by": "the other process"}'


class Killing(list[int]):
    """Signals that kill the process while they are taken: after the state was replaced, before the commit."""

    def __iter__(self) -> Iterator[int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__iter__()


def test_a_process_killed_in_a_transaction_leaves_the_state_before_it(path: Path) -> None:
    with open_store(path) as store:
        store.create(new_run()).release()
    child = os.fork()
    if child == 0:
        try:
            with open_store(path) as store, store.hold("run-1") as held:
                held.write('{"position": 1}', RUNNING, taken=Killing())
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open_store(path) as store, store.hold("run-1") as held:
        assert held.stored().state == '{"position": 0}'
        held.write('{"position": 1}', RUNNING)


def test_one_process_holds_a_run_once(store: RunStore) -> None:
    with store.create(new_run()), pytest.raises(RunInProgress, match=f"process {os.getpid()} on "):
        store.hold("run-1")
    store.hold("run-1").release()


def test_a_lock_file_that_names_nobody_is_reported_as_another_process(store: RunStore, path: Path) -> None:
    lock = path.parent / "runs.db.locks" / "run-1.lock"
    with store.create(new_run()):
        for content in (b"", b"{", b"[1]", b'{"pid": "\\u001b[2J"}', b"[" * 100_000, b'{"pid": 1e999}'):
            lock.write_bytes(content)
            with pytest.raises(RunInProgress, match=r"^another process has the run 'run-1'$"):
                store.hold("run-1")


def test_a_forgotten_run_can_be_created_again_and_held(store: RunStore) -> None:
    store.create(new_run(progress=Progress("completed"))).release()
    store.forget("run-1", ended_before=LATER)
    with pytest.raises(RunNotFound):
        store.hold("run-1")
    with store.create(new_run()), pytest.raises(RunInProgress):
        store.hold("run-1")


def test_a_lock_whose_file_was_deleted_meanwhile_is_taken_anew(
    store: RunStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(new_run()).release()
    lock, flock = path.parent / "runs.db.locks" / "run-1.lock", fcntl.flock
    deleted: list[Path] = []

    def flock_and_delete_once(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if not deleted:
            deleted.append(lock)
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", flock_and_delete_once)
    with store.hold("run-1"), pytest.raises(RunInProgress):
        store.hold("run-1")
    assert deleted
