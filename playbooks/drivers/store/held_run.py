"""A run that this process holds: read and replace its state, and take its signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from core.clock import Clock
from core.instants import format_sortable
from core.json_values import Json, canonical, shown
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store import rows
from playbooks.drivers.store.database import Database
from playbooks.drivers.store.records import (
    Progress,
    Row,
    StoredRun,
    StoredSignal,
    refuse_tampered,
    sealed_run,
    sealed_signal,
    stored_run,
    stored_signal,
)
from playbooks.drivers.store.run_lock import RunLock
from playbooks.language.errors import RevisionConflict, RunRecordUnwritable, RunStoreUnavailable, RunStoreUnusable


class HeldRun:
    """A run that only this object may change, until it is released. A context manager."""

    def __init__(self, database: Database, key: SealKey, clock: Clock, lock: RunLock, row: Row) -> None:
        """row: the run's row. lock: the run's lock, which this object releases."""
        self._database = database
        self._key = key
        self._clock = clock
        self._lock: RunLock | None = lock
        self._row = row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def run_id(self) -> str:
        return str(self._row["run_id"])

    def release(self) -> None:
        """Allow other processes to hold the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def stored(self) -> StoredRun:
        """Return the run as it is stored.

        Raises: RunRecordRefused if the seal is invalid, RevisionConflict if another process wrote the run meanwhile.
        """
        with self._database.reading() as connection:
            row = rows.run_row(connection, self.run_id)
        found = stored_run(row, self._key)
        refuse_tampered(row, self._key, intact=found.intact)
        if row["revision"] != self._row["revision"]:
            raise self._conflict()
        return found

    def write(
        self,
        state: str,
        progress: Progress,
        in_flight: Sequence[Mapping[str, Json]] = (),
        *,
        taken: Sequence[int] = (),
    ) -> None:
        """Replace the state, and mark signals as taken, in one transaction that survives a power cut.

        state: a JSON text. in_flight: the actions that have begun and not ended. taken: the `seq` of untaken signals,
        which the state has.
        Raises: RunRecordUnwritable (nothing was written), RevisionConflict if another process wrote the run meanwhile,
        RunRecordRefused for a signal with an invalid seal, ValueError for one that is missing or was taken before.
        """
        now = format_sortable(self._clock.now())
        revision = self._row["revision"]
        columns = {
            **self._row,
            **progress.columns(),
            "updated_at": now,
            "revision": revision + 1,
            "in_flight": canonical([dict(each) for each in in_flight]).decode("ascii"),
            "state": state,
        }
        row = sealed_run(columns, self._key)
        try:
            with self._database.transaction() as connection:
                if not rows.replace_run(connection, row, revision):
                    raise self._conflict()
                for seq in taken:
                    signal = rows.untaken_signal(connection, self.run_id, seq)
                    # A new seal must not make an edited signal valid.
                    refuse_tampered(signal, self._key, intact=stored_signal(signal, self._key).intact)
                    rows.take_signal(connection, sealed_signal({**signal, "taken_at": now}, self._key))
        except (RunStoreUnusable, RunStoreUnavailable) as error:
            raise RunRecordUnwritable(error.message, help=error.help, path=str(self._database.path)) from None
        self._row = row

    def untaken_signals(self) -> list[StoredSignal]:
        """Return the signals that no state has, in the order of their arrival.

        Raises: RunRecordRefused if a seal is invalid.
        """
        with self._database.reading() as connection:
            found = rows.signal_rows(connection, self.run_id, untaken=True)
        signals = [stored_signal(row, self._key) for row in found]
        for row, signal in zip(found, signals, strict=True):
            refuse_tampered(row, self._key, intact=signal.intact)
        return signals

    def _conflict(self) -> RevisionConflict:
        return RevisionConflict(
            f"another process has written the run {shown(self.run_id)} after revision {self._row['revision']}",
            path=str(self._database.path),
        )
