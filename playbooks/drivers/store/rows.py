"""The SQL of the run store: read, insert and replace rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from core.json_values import did_you_mean, shown
from playbooks.drivers.store.records import SUMMARY_COLUMNS, RunSummary
from playbooks.language.errors import RunNotFound

# The run IDs among which a mistyped one is searched for, and those that an error names.
_MOST_KNOWN = 1000
_MOST_NAMED = 5


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """Insert a row. table and the names of the columns are this program's own."""
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 -- no value is in the text


def store_playbook(connection: sqlite3.Connection, sha256: str, document: str) -> None:
    connection.execute(
        "INSERT INTO playbook VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET document = excluded.document",
        (sha256, document),
    )


def replace_run(connection: sqlite3.Connection, row: Mapping[str, Any], revision: int) -> bool:
    """Replace a run's row if its stored revision is `revision`. Return whether it was replaced."""
    assignments = ", ".join(f"{name} = :{name}" for name in row)
    done = connection.execute(
        f"UPDATE run SET {assignments} WHERE run_id = :run_id AND revision = :expected",  # noqa: S608 -- as in insert
        {**row, "expected": revision},
    )
    return done.rowcount == 1


def find_summary(connection: sqlite3.Connection, run_id: str) -> RunSummary | None:
    row = connection.execute(f"SELECT {SUMMARY_COLUMNS} FROM run WHERE run_id = ?", (run_id,)).fetchone()  # noqa: S608 -- as in insert
    return None if row is None else RunSummary.of(row)


def summaries(
    connection: sqlite3.Connection, conditions: Mapping[str, Collection[object]], limit: int
) -> list[RunSummary]:
    """Return the newest runs that fulfil every condition. conditions: SQL with marks, and the values of the marks."""
    where = " AND ".join(conditions) or "TRUE"
    rows = connection.execute(
        f"SELECT {SUMMARY_COLUMNS} FROM run WHERE {where} ORDER BY started_at DESC, rowid DESC LIMIT ?",  # noqa: S608 -- as in insert
        (*(value for values in conditions.values() for value in values), limit),
    )
    return [RunSummary.of(row) for row in rows]


def run_row(connection: sqlite3.Connection, run_id: str) -> dict[str, Any]:
    """Return a run's row and its playbook's `document`. Raises: RunNotFound."""
    row = connection.execute(
        "SELECT run.*, document FROM run LEFT JOIN playbook ON sha256 = playbook_sha256 WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is None:
        raise not_found(connection, run_id)
    return dict(row)


def runs_beginning_with(connection: sqlite3.Connection, prefix: str) -> list[RunSummary]:
    """Return the run with this ID, or some of the runs whose IDs begin with it."""
    exact = find_summary(connection, prefix)
    if exact is not None:
        return [exact]
    return summaries(connection, {"run_id >= ? AND run_id < ?": (prefix, prefix + chr(0x10FFFF))}, _MOST_NAMED)


def not_found(connection: sqlite3.Connection, run_id: str) -> RunNotFound:
    """Return the error for a run ID that does not exist."""
    known = connection.execute("SELECT run_id FROM run ORDER BY started_at DESC LIMIT ?", (_MOST_KNOWN,))
    near = did_you_mean(run_id, (str(each["run_id"]) for each in known))
    return RunNotFound(f"there is no run {shown(run_id)}{near}")


def untaken_signal(connection: sqlite3.Connection, run_id: str, seq: int) -> dict[str, Any]:
    """Return a signal of a run. Raises: ValueError if it is missing or was taken."""
    statement = "SELECT * FROM signal WHERE seq = ? AND run_id = ? AND taken_at IS NULL"
    row = connection.execute(statement, (seq, run_id)).fetchone()
    if row is None:
        raise ValueError(f"signal {seq} is not an untaken signal of run {run_id}")
    return dict(row)


def signal_rows(connection: sqlite3.Connection, run_id: str, *, untaken: bool = False) -> list[dict[str, Any]]:
    """Return the signals of a run in the order of their arrival."""
    only = " AND taken_at IS NULL" if untaken else ""
    statement = f"SELECT * FROM signal WHERE run_id = ?{only} ORDER BY seq"  # noqa: S608 -- as in insert
    return [dict(row) for row in connection.execute(statement, (run_id,))]


def next_signal(connection: sqlite3.Connection) -> int:
    """Return the number of the next signal. A number is never used again, also after its signal was deleted."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'signal'").fetchone()
    return 1 if row is None else int(row["seq"]) + 1


def delete_run(connection: sqlite3.Connection, run_id: str) -> None:
    """Delete a run, its signals, and its playbook if no other run has it."""
    connection.execute("DELETE FROM signal WHERE run_id = ?", (run_id,))
    connection.execute("DELETE FROM run WHERE run_id = ?", (run_id,))
    connection.execute("DELETE FROM playbook WHERE sha256 NOT IN (SELECT playbook_sha256 FROM run)")


def take_signal(connection: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    """Store the time at which a signal was taken, and the seal with it."""
    connection.execute(
        "UPDATE signal SET taken_at = :taken_at, sealed_by = :sealed_by, seal = :seal WHERE seq = :seq", row
    )
