"""The queue of a service: which runs of the run store it drives, for whom, and when each is due.

The run store has the runs; the queue has one row for each. A row stays due while a worker drives its run, so a service
that was killed finds its runs again when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from platforms.runs.service_database import ServiceDatabase

_TABLE = """
CREATE TABLE IF NOT EXISTS queued_run (
    seq INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, requested_by TEXT, due_at REAL
);
CREATE INDEX IF NOT EXISTS queued_run_due ON queued_run (due_at) WHERE due_at IS NOT NULL;
"""


@dataclass(frozen=True)
class QueuedRun:
    """A run of the service. requested_by: the caller that began it. due_at: when it was due, as it was read."""

    run_id: str
    requested_by: str | None
    due_at: float | None = None


class RunQueue:
    """The queue in a file of the private state directory. Thread-safe. Raises: ConnectionSettingsError.

    directory: private to this user (`core.state_directory.private_directory`).
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._clock = clock
        self._database = ServiceDatabase(directory, _TABLE)

    def close(self) -> None:
        self._database.close()

    def add(self, run_id: str, requested_by: str | None) -> None:
        """Add a run that is about to begin; it is due now. A run that is in the queue keeps its caller."""
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO queued_run (run_id, requested_by, due_at) VALUES (?, ?, ?) "
                "ON CONFLICT (run_id) DO UPDATE SET due_at = excluded.due_at",
                (run_id, requested_by, self._now()),
            )

    def due(self, limit: int) -> list[QueuedRun]:
        """Return the runs whose time has come, the longest due first."""
        with self._database.transaction() as database:
            rows = database.execute(
                "SELECT run_id, requested_by, due_at FROM queued_run WHERE due_at <= ? ORDER BY due_at, seq LIMIT ?",
                (self._now(), limit),
            ).fetchall()
        return [QueuedRun(*row) for row in rows]

    def set_due(self, run_id: str, in_seconds: float | None) -> None:
        """Set when a run is due again. None: when something happens to it, or never again if it has ended."""
        due_at = None if in_seconds is None else self._now() + max(in_seconds, 0.0)
        with self._database.transaction() as database:
            database.execute("UPDATE queued_run SET due_at = ? WHERE run_id = ?", (due_at, run_id))

    def set_due_again(self, run: QueuedRun, in_seconds: float | None) -> None:
        """As `set_due`, unless the run has become due since it was read: by a signal that came meanwhile."""
        now = self._now()
        due_at = None if in_seconds is None else now + max(in_seconds, 0.0)
        with self._database.transaction() as database:
            # A time in the future is that of another service, which found the run in progress.
            database.execute(
                "UPDATE queued_run SET due_at = ? WHERE run_id = ? AND (due_at IS ? OR due_at > ?)",
                (due_at, run.run_id, run.due_at, now),
            )

    def find(self, run_id: str) -> QueuedRun | None:
        """Return a run of the service, or None."""
        with self._database.transaction() as database:
            row = database.execute("SELECT run_id, requested_by FROM queued_run WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else QueuedRun(*row)

    def depth(self) -> int:
        """Return the number of runs that are due."""
        with self._database.transaction() as database:
            (count,) = database.execute("SELECT count(*) FROM queued_run WHERE due_at <= ?", (self._now(),)).fetchone()
        return int(count)

    def _now(self) -> float:
        return self._clock.now().timestamp()
