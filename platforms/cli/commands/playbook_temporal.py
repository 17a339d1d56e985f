"""`cfes playbook runs`, `show`, `signal` and `cancel` with `--engine temporal`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from core.clock import SystemClock
from core.instants import format_shortest
from platforms import run_signals, temporal_runs
from platforms.cli.views.run_list import OpenedRun, show_run, show_runs
from platforms.cli.views.screen import Screen
from playbooks.engine.engine import next_commands
from playbooks.engine.signals import awaited_signals

FLAG = " --engine temporal"


def list_runs(screen: Screen, status: Collection[str], playbook: str | None, limit: int) -> None:
    """Show the newest runs of the server that meet the conditions, of the last `limit` runs."""
    found = temporal_runs.runs(limit)
    show_runs(
        screen,
        [run for run in found if (not status or run.status in status) and playbook in (None, run.playbook_id)],
    )


def show_run_of(screen: Screen, run_id: str) -> None:
    """Show a run: its steps with their times, its changes, and what it waits for. Raises: RunNotFound."""
    found = temporal_runs.find(run_id)
    playbook, state = temporal_runs.opened(run_id)
    found = replace(found, directory=state.directory)
    show_run(screen, OpenedRun(found, playbook, state, driven=True, flag=FLAG))


def send(screen: Screen, run_id: str, name: str, value: Any) -> None:
    """Send a signal. Raises: RunNotFound, RunEnded, ApprovalRefused, and ParameterError if the run does not take it."""
    for full_name, expected in awaited_signals(next_commands(*temporal_runs.opened(run_id))).items():
        if name in (full_name, expected.name):
            run_signals.check_approval(expected, value, SystemClock())
    temporal_runs.signal(run_id, name, value)
    if screen.json:
        screen.write_json({"run_id": run_id, "signal": name, "sent_at": format_shortest(SystemClock().now())})
    screen.say(f"The run {run_id} has taken the signal {name}.")


def cancel(screen: Screen, run_id: str, reason: str) -> None:
    """Ask a run to end. Raises: RunNotFound, RunEnded."""
    temporal_runs.cancel(run_id, reason)
    if screen.json:
        screen.write_json({"run_id": run_id, "status": "cancelling", "applied": None, "job_id": None})
    screen.say(f"The run {run_id} ends before its next step. To see it: cfes playbook show {run_id}{FLAG}")
