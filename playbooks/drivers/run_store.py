"""The run store: one SQLite file with every run of this user on this machine, and the signals sent to them.

A run belongs to the process that holds its lock; the lock ends with that process. A revision number is the second lock:
a write that expects another revision than the stored one is refused. Rows are sealed with an HMAC, so that an edited
run is never resumed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

from core.clock import Clock
from core.errors import ParameterError
from core.instants import format_sortable, instant_or_none
from core.json_values import Json, canonical, shown
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store import rows
from playbooks.drivers.store.database import LOCK_SECONDS, Database
from playbooks.drivers.store.file_system import network_file_system_of
from playbooks.drivers.store.held_run import HeldRun
from playbooks.drivers.store.location import FileSystemOf, prepare_folders
from playbooks.drivers.store.records import (
    ENDED,
    NewRun,
    RunSummary,
    StoredRun,
    StoredSignal,
    json_text,
    refuse_tampered,
    refuse_unencodable,
    sealed_run,
    sealed_signal,
    stored_run,
    stored_signal,
)
from playbooks.drivers.store.run_lock import RunLock
from playbooks.language.errors import RunEnded, RunExists, RunNotEnded, RunNotFound

# A run ID names a file.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", flags=re.ASCII)

# A signal is an answer of a person or a program, not a file.
LONGEST_SIGNAL = 1_048_576

# A failed run can be resumed, and may then wait for a signal.
_TAKES_NO_SIGNAL = ENDED - {"failed"}


class RunStore:
    """The run store in a file, for one thread. A context manager.

    path: absolute. lock_seconds: the longest wait for a transaction of another process. network_file_system_of: returns
    the type of the network file system that holds a path, or None.
    Raises: RunStoreUnusable and RunStoreUnavailable, also from every method.
    """

    def __init__(
        self,
        path: Path,
        key: SealKey,
        clock: Clock,
        *,
        lock_seconds: float = LOCK_SECONDS,
        network_file_system_of: FileSystemOf = network_file_system_of,
    ) -> None:
        self.path = path
        self._key = key
        self._clock = clock
        self._locks = prepare_folders(path, network_file_system_of)
        # No run has this file: theirs end with .lock.
        self._database = Database(path, self._locks / "creation", clock, lock_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Release the runs that are held before that."""
        self._database.close()

    def create(self, new: NewRun) -> HeldRun:
        """Create a run and hold it. Of several processes that create one run ID, exactly one succeeds.

        Raises: RunExists if the run ID exists; ParameterError for an invalid run ID and text that UTF-8 can't encode.
        """
        if not _RUN_ID.fullmatch(new.run_id):
            raise ParameterError(
                f"the run ID {shown(new.run_id)} is not valid: it must have 1 to 200 letters, digits, '.', '_' "
                "and '-', and begin with a letter or digit",
                help="Nothing was run. Choose another run ID.",
            )
        document = canonical(dict(new.playbook)).decode("ascii")
        row = sealed_run(new.columns(self._clock.now()), self._key)
        with ExitStack() as undo:
            with self._database.transaction() as connection:
                existing = rows.find_summary(connection, new.run_id)
                if existing is not None:
                    raise RunExists(
                        f"the run {shown(new.run_id)} already exists: {existing.status}, begun {existing.started_at}",
                        run_id=new.run_id,
                    )
                lock = RunLock(self._locks, new.run_id, self._clock)
                undo.callback(lock.release)
                rows.store_playbook(connection, new.playbook_sha256, document)
                rows.insert(connection, "run", row)
            undo.pop_all()
        return HeldRun(self._database, self._key, self._clock, lock, row)

    def hold(self, run_id: str) -> HeldRun:
        """Hold an existing run, so that only the caller may change it.

        Raises: RunNotFound, RunInProgress (names the process that has the run), RunRecordRefused for an invalid seal.
        """
        with ExitStack() as undo:
            # A lock of a run that does not exist would leave a file.
            self._require(run_id)
            lock = RunLock(self._locks, run_id, self._clock)
            undo.callback(lock.release)
            with self._database.reading() as connection:
                row = rows.run_row(connection, run_id)
            refuse_tampered(row, self._key, intact=stored_run(row, self._key).intact)
            undo.pop_all()
        return HeldRun(self._database, self._key, self._clock, lock, row)

    def runs(
        self,
        *,
        status: Collection[str] | None = None,
        playbook_id: str | None = None,
        due_before: datetime | None = None,
        updated_before: datetime | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Return at most `limit` runs, the newest first, without their states. Every given condition must hold.

        due_before: runs that sleep, or wait with a time limit, until that instant at the latest.
        Raises: ParameterError for a playbook_id that UTF-8 can't encode.
        """
        refuse_unencodable({"playbook_id": playbook_id})
        conditions: dict[str, Collection[object]] = {}
        if status is not None:
            conditions[f"status IN ({', '.join('?' for _ in status)})"] = list(status)
        if playbook_id is not None:
            conditions["playbook_id = ?"] = [playbook_id]
        if due_before is not None:
            conditions["wake_at <= ?"] = [format_sortable(due_before)]
        if updated_before is not None:
            conditions["updated_at < ?"] = [format_sortable(updated_before)]
        with self._database.reading() as connection:
            return rows.summaries(connection, conditions, limit)

    def find(self, run_id: str) -> RunSummary:
        """Return the run with this ID, or the only run whose ID begins with it. Raises: RunNotFound."""
        with self._database.reading() as connection:
            found = rows.runs_beginning_with(connection, run_id) if _RUN_ID.fullmatch(run_id) else []
            if not found:
                raise rows.not_found(connection, run_id)
        if len(found) > 1:
            names = ", ".join(shown(each.run_id, 210) for each in found)
            raise RunNotFound(
                f"several runs have an ID that begins with {shown(run_id)}, such as {names}",
                help="Nothing was run. Give more characters of the ID.",
            )
        return found[0]

    def has(self, run_id: str) -> bool:
        """Return whether the store has a run with this ID."""
        if not _RUN_ID.fullmatch(run_id):
            return False
        with self._database.reading() as connection:
            return rows.find_summary(connection, run_id) is not None

    def read(self, run_id: str) -> StoredRun:
        """Return a run without holding it. Raises: RunNotFound; RunRecordRefused if its JSON can't be read."""
        self._require(run_id)
        with self._database.reading() as connection:
            row = rows.run_row(connection, run_id)
        return stored_run(row, self._key)

    def signals(self, run_id: str) -> list[StoredSignal]:
        """Return the signals of a run in the order of their arrival. Raises: RunNotFound."""
        self._require(run_id)
        with self._database.reading() as connection:
            return [stored_signal(row, self._key) for row in rows.signal_rows(connection, run_id)]

    def send_signal(self, run_id: str, name: str, value: Json, sent_by: str | None) -> StoredSignal:
        """Store a signal for a run, whether or not a process holds the run.

        Raises: RunNotFound; RunEnded; RunRecordRefused if the seal of the run is invalid, or was made with another key
        than this process has; ParameterError for a value that is not plain JSON, text that UTF-8 can't encode,
        and signals longer than LONGEST_SIGNAL.
        """
        text = json_text(value)
        columns = {"run_id": run_id, "name": name, "value": text, "sent_by": sent_by, "taken_at": None}
        refuse_unencodable(columns)
        if len(name) + len(text) + len(sent_by or "") > LONGEST_SIGNAL:
            raise ParameterError(
                f"the signal has more than {LONGEST_SIGNAL} characters", help="Nothing was sent. Send a shorter value."
            )
        with self._database.transaction() as connection:
            run = rows.run_row(connection, run_id)
            # The run would refuse a signal that is sealed with another key.
            refuse_tampered(run, self._key, intact=stored_run(run, self._key).intact)
            if run["status"] in _TAKES_NO_SIGNAL:
                raise RunEnded(f"the run {shown(run_id)} has ended: {run['status']}")
            at = format_sortable(self._clock.now())
            row = sealed_signal({**columns, "seq": rows.next_signal(connection), "sent_at": at}, self._key)
            rows.insert(connection, "signal", row)
        return stored_signal(row, self._key)

    def forget(self, run_id: str, *, ended_before: datetime) -> None:
        """Delete a run that ended before an instant, and its signals. Its files in the run directory are kept.

        Raises: RunNotFound; RunInProgress; RunNotEnded.
        """
        self._require(run_id)
        lock = RunLock(self._locks, run_id, self._clock)
        try:
            with self._database.transaction() as connection:
                run = rows.find_summary(connection, run_id)
                if run is None:
                    raise rows.not_found(connection, run_id)
                updated = instant_or_none(run.updated_at)
                if run.status not in ENDED or updated is None or updated >= ended_before:
                    raise RunNotEnded(
                        f"the run {shown(run_id)} is not one that ended before {format_sortable(ended_before)}: "
                        f"{run.status}, last written {run.updated_at}"
                    )
                rows.delete_run(connection, run_id)
            lock.delete()
            self._database.shrink()
        finally:
            lock.release()

    def _require(self, run_id: str) -> None:
        """Raises: RunNotFound."""
        if not self.has(run_id):
            with self._database.reading() as connection:
                raise rows.not_found(connection, run_id)
