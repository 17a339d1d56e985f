"""The ledger of alerts, in the database of the state directory: the run of each alert, and what was refused.

An alert starts a playbook once, however often it comes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock
from core.errors import printable
from core.instants import format_instant, parse_instant
from core.state_database import state_database
from core.surrogates import replace_surrogates
from platforms.alerts.rules import Refusal

# Logpush repeats a batch within minutes. After this time, the key of the playbook still finds an existing run.
DAYS_KEPT = 400

MOST_REFUSED = 1000
LONGEST_REASON = 1000

_STARTED = """CREATE TABLE IF NOT EXISTS alert_runs (
    alert_id TEXT NOT NULL, playbook TEXT NOT NULL, run_id TEXT NOT NULL, started_at TEXT NOT NULL,
    PRIMARY KEY (alert_id, playbook)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS alert_runs_by_start ON alert_runs (started_at)"""

# AUTOINCREMENT: the last number is that of all refusals, also of those that were removed.
_REFUSED = """CREATE TABLE IF NOT EXISTS refused_alerts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, refused_at TEXT NOT NULL, alert_id TEXT, rule TEXT NOT NULL,
    reason TEXT NOT NULL, batch TEXT NOT NULL, line INTEGER NOT NULL, UNIQUE (batch, line, rule))"""

# An alert and a playbook, by ID.
Pair = tuple[str, str]


@dataclass(frozen=True)
class RefusedAlert:
    """An alert for which nothing was started, or a record that is no alert. batch, line: where it came from."""

    refused_at: datetime
    alert_id: str | None
    rule_id: str | None
    reason: str
    batch: str
    line: int


@dataclass(frozen=True)
class PlacedRefusal:
    """A refusal with the batch and the line that it is about."""

    refusal: Refusal
    batch: str
    line: int


class Ledger:
    """The ledger. setting: the value of CFES_STATE_DIR.

    Raises, from every method: ConnectionSettingsError if the state directory can't be used.
    """

    def __init__(self, setting: str | None, clock: Clock) -> None:
        self._setting = setting
        self._clock = clock

    def runs_of(self, pairs: Collection[Pair]) -> dict[Pair, str]:
        """Return the run IDs of those pairs that have a run."""
        found: dict[Pair, str] = {}
        with state_database(self._setting, _STARTED) as database:
            for pair in pairs:
                row = database.execute(
                    "SELECT run_id FROM alert_runs WHERE alert_id = ? AND playbook = ?", pair
                ).fetchone()
                if row is not None:
                    found[pair] = row[0]
        return found

    def record(self, runs: Mapping[Pair, str]) -> None:
        """Record runs. A pair that has a run keeps it. Runs of over DAYS_KEPT days ago are removed."""
        now = self._clock.now()
        with state_database(self._setting, _STARTED) as database:
            database.execute(
                "DELETE FROM alert_runs WHERE started_at < ?", (format_instant(now - timedelta(days=DAYS_KEPT)),)
            )
            database.executemany(
                "INSERT OR IGNORE INTO alert_runs VALUES (?, ?, ?, ?)",
                [(*pair, run_id, format_instant(now)) for pair, run_id in runs.items()],
            )

    def refuse(self, refusals: Sequence[PlacedRefusal]) -> None:
        """Record refusals; one for a batch, line and rule. The newest MOST_REFUSED are kept."""
        now = format_instant(self._clock.now())
        rows = [
            (
                now,
                one.refusal.alert_id,
                one.refusal.rule_id or "",
                replace_surrogates(printable(one.refusal.reason))[:LONGEST_REASON],
                one.batch,
                one.line,
            )
            for one in refusals
        ]
        columns = "refused_at, alert_id, rule, reason, batch, line"
        with state_database(self._setting, _REFUSED) as database:
            # A batch that is processed again has the same refusals. OR IGNORE would use up a number for each.
            known = "SELECT 1 FROM refused_alerts WHERE batch = ? AND line = ? AND rule = ?"
            for row in rows:
                if database.execute(known, (row[4], row[5], row[2])).fetchone() is None:
                    database.execute(f"INSERT INTO refused_alerts ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608 -- a constant
            database.execute(
                "DELETE FROM refused_alerts WHERE number <= (SELECT max(number) FROM refused_alerts) - ?",
                (MOST_REFUSED,),
            )

    def refused(self) -> list[RefusedAlert]:
        """Return the newest refusals, the newest first."""
        with state_database(self._setting, _REFUSED) as database:
            rows = database.execute(
                "SELECT refused_at, alert_id, rule, reason, batch, line FROM refused_alerts ORDER BY number DESC"
            ).fetchall()
        return [RefusedAlert(parse_instant(row[0]), row[1], row[2] or None, row[3], row[4], row[5]) for row in rows]

    def refused_count(self) -> int:
        """Return how many were ever refused."""
        with state_database(self._setting, _REFUSED) as database:
            row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'refused_alerts'").fetchone()
        return 0 if row is None else int(row[0])
