"""The runs of the run store that can go on, for `resume --due` in a cron job."""

from __future__ import annotations

from datetime import datetime, timedelta

from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.records import RunSummary
from playbooks.language.errors import RunNotFound

# How far runs are searched that wait for a signal.
MOST_RUNS = 1000


def due_runs(store: RunStore, now: datetime) -> list[RunSummary]:
    """Return the runs whose time has come, those with a signal that they have not taken, and those that run.

    Runs that run include those of a killed process.
    """
    timed = store.runs(status=("sleeping", "waiting"), due_before=now + timedelta(seconds=1), limit=MOST_RUNS)
    # A sleeping run can have been cancelled.
    resting = store.runs(status=("waiting", "sleeping"), limit=MOST_RUNS)
    signalled = [run for run in resting if _has_signal(store, run)]
    running = store.runs(status=("running",), limit=MOST_RUNS)
    return list({run.run_id: run for run in (*timed, *signalled, *running)}.values())


def _has_signal(store: RunStore, run: RunSummary) -> bool:
    """Return whether a signal came. A run that can't be read is reported when it is resumed."""
    try:
        return any(signal.taken_at is None for signal in store.signals(run.run_id))
    except RunNotFound:
        return True
