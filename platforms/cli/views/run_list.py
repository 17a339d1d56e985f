"""Show the runs of the run store: the list, and one run with its steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.instants import parse_timestamp, whole_second
from core.quantity import counted
from platforms.cli.views.errors import show_closing_error
from platforms.cli.views.layout import facts, paragraph, stacked
from platforms.cli.views.palette import BAD, GOOD, QUIET, STRONG, WARNING
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import Column, grid, named_values, near
from playbooks.drivers.outcome import Outcome, answer_to, outcome_of
from playbooks.drivers.store.records import ENDED, RunSummary
from playbooks.engine.changes import changes
from playbooks.engine.engine import next_commands
from playbooks.engine.history import Reached, steps_reached
from playbooks.engine.signals import awaited_signals
from playbooks.engine.state import RunState
from playbooks.language.format import Playbook

_COLUMNS = (
    Column("RUN", 20, whole=True),
    Column("STATUS", 10),
    Column("STEP", 12, rank=1),
    Column("WAITS FOR", 12, rank=2),
    Column("STARTED", 20, rank=1),
    Column("UPDATED", 20, rank=3),
    Column("KEY", 12, rank=4),
)

_MARKS = {"succeeded": ("✓", GOOD), "failed": ("✗", BAD), "skipped": ("-", QUIET), "running": ("…", WARNING)}


def show_runs(screen: Screen, found: Sequence[RunSummary]) -> None:
    """Show a list of runs, the newest first."""
    if screen.json:
        screen.write_json({"runs": [dict(vars(run)) for run in found]})
        return
    if not found:
        screen.say("There are no runs.", QUIET)
        return
    rows = [
        (
            run.run_id,
            run.status,
            run.at_step,
            run.waits_for or (run.wake_at and whole_second(run.wake_at)),
            whole_second(run.started_at),
            whole_second(run.updated_at),
            run.key,
        )
        for run in found
    ]
    grid(screen.out, _COLUMNS, rows)


@dataclass(frozen=True)
class OpenedRun:
    """A run to show. driven: a process has it. flag: the flag of another engine, for commands to copy."""

    summary: RunSummary
    playbook: Playbook
    state: RunState
    driven: bool
    flag: str = ""


def show_run(screen: Screen, opened: OpenedRun) -> None:
    """Show a run: its key, its steps, what it changed, and what it waits for."""
    run, playbook, state = opened.summary, opened.playbook, opened.state
    outcome = outcome_of(playbook, state)
    if screen.json:
        screen.write_json(_document(opened, outcome))
        return
    paragraph(screen.out, f"{run.run_id}: {playbook.title}", STRONG)
    rows: list[tuple[str, object]] = [
        ("status", _status(run, driven=opened.driven)),
        ("key", run.key or "none"),
        ("started", whole_second(run.started_at)),
        ("updated", whole_second(run.updated_at)),
        ("directory", near(run.directory)),
    ]
    facts(screen.out, rows)
    screen.out.print()
    for at in steps_reached(playbook, state):
        _show_step(screen, at)
    screen.out.print()
    found = changes(playbook, state)
    paragraph(screen.out, "; ".join(map(str, found)) if found else "The run has changed nothing so far.", indent=0)
    if outcome.outputs:
        facts(screen.out, [row for row in named_values(outcome.outputs) if row[1] != ""])
    if outcome.status not in ENDED:
        _show_next(screen, opened)
    elif outcome.error is not None:
        show_closing_error(screen, outcome.error, outcome.exit_code)
        if outcome.resumable and not opened.flag:
            screen.command("resume", f"cfes playbook resume {run.run_id}")
    elif outcome.message is not None:
        screen.say(outcome.message)


def _document(opened: OpenedRun, outcome: Outcome) -> dict[str, Any]:
    playbook, state = opened.playbook, opened.state
    ended = outcome.status in ENDED
    return {
        **dict(vars(opened.summary)),
        "driven": opened.driven,
        "inputs": state.inputs,
        "steps": [_step(at) for at in steps_reached(playbook, state)],
        "changes": [dict(vars(change)) for change in changes(playbook, state)],
        "waits_for": outcome.waits_for,
        "exit_code": outcome.exit_code if ended else None,
        "outputs": outcome.outputs,
        "error": outcome.error if ended or not opened.driven else None,
        "message": outcome.message,
    }


def _show_next(screen: Screen, opened: OpenedRun) -> None:
    run_id = opened.summary.run_id
    for name, awaited in awaited_signals(next_commands(opened.playbook, opened.state)).items():
        received = f" ({len(awaited.values)} of {awaited.count} received)" if awaited.count > 1 else ""
        screen.say(f"The run waits for the signal {name}{received} until {whole_second(awaited.until)}.", STRONG)
        facts(screen.out, list(named_values({key: value for key, value in awaited.about.items() if key != "plan"})))
        if awaited.accepts:
            facts(screen.out, [("accepts", json.dumps(awaited.accepts))])
        screen.command("answer", answer_to(run_id, name, awaited, opened.flag))
    if not opened.driven:
        screen.command("resume", f"cfes playbook resume {run_id}")


def _status(run: RunSummary, *, driven: bool) -> str:
    if run.status == "running" and not driven:
        return f"interrupted in step {run.at_step}: no process runs it"
    at = f" in step {run.at_step}" if run.at_step else ""
    until = f" until {whole_second(run.wake_at)}" if run.wake_at else ""
    return f"{run.status}{at}{until}"


def _show_step(screen: Screen, at: Reached) -> None:
    mark, style = _MARKS[at.record.status]
    name = "  " * len(at.place) + (at.step.title or at.step.id)
    took = ""
    if at.record.ended is not None:
        seconds = (parse_timestamp(at.record.ended) - parse_timestamp(at.record.started)).total_seconds()
        took = f"  ({seconds:.1f} s)" if seconds >= 0.05 else ""
    tries = f"  {counted(at.record.attempts, 'call')}" if at.record.attempts > 1 else ""
    paragraph(screen.out, f"{mark} {name}{took}{tries}", style if at.record.status != "succeeded" else "")
    if at.record.reason is not None and at.record.status != "skipped":
        stacked(screen.out, "", at.record.reason)


def _step(at: Reached) -> dict[str, Any]:
    record = at.record
    return {
        "path": at.path,
        "title": at.step.title,
        "status": record.status,
        "started": record.started,
        "ended": record.ended,
        "attempts": record.attempts,
        "reason": record.reason,
        "error": record.error,
    }
