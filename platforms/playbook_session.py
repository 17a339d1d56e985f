"""Runs of playbooks over a session: prepare a new run, drive a run to its end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from core.clock import SystemClock
from platforms.session import Session
from playbooks.drivers import local
from playbooks.drivers.journal_key import JournalKey
from playbooks.engine.state import ActionTraits
from playbooks.language.format import ActionStep, Playbook

# The default parent folder of runs.
RUNS = Path("cfes-runs")

# The record of a run's calls, in its directory.
CALLS = "calls.ndjson"

RunAction = Callable[[Action[Any, Any], dict[str, Any]], dict[str, Any]]

# Begins or resumes a run, given the hooks of playbooks.drivers.local.
Start = Callable[..., local.Outcome]


def prepare_run(
    playbook: Playbook, inputs: Mapping[str, Any], directory: Path | None, key: JournalKey
) -> tuple[Start, Path]:
    """Return the start of a new run, and its directory: the given one, or a new one in cfes-runs."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run_id = f"{playbook.id}-{stamp}-{secrets.token_hex(3)}"
    place = directory or RUNS / run_id
    return partial(local.run, playbook, inputs, run_id=run_id, directory=place, key=key, traits=traits()), place


def traits() -> dict[str, ActionTraits]:
    """Return what the engine knows of each action, by ID."""
    return {
        name: ActionTraits(
            effect=action.effect,
            resumable=action.resumable,
            repeatable=action.repeatable,
            keyed="idempotency_key" in action.params.model_fields,
        )
        for name, action in catalog.available().items()
    }


def is_connected(playbook: Playbook) -> bool:
    """Return whether a step of the playbook takes a connection."""
    return any(catalog.find(step.action).connection for step in playbook.steps if isinstance(step, ActionStep))


def drive(
    session: Session,
    start: Start,
    *,
    observer: local.Observer | None = None,
    before_action: local.BeforeAction | None = None,
    run_action: RunAction | None = None,
) -> local.Outcome:
    """Begin or resume a run with `start`, and return how it ended.

    before_action: called before each action, once the connection is open; it stops the run by raising.
    run_action: called in place of `session.run`. Raises: what `start` and `before_action` raise.
    """

    def prepare_action(upcoming: local.Upcoming) -> None:
        if catalog.find(upcoming.command.action).connection:
            session.connect()
        if before_action is not None:
            before_action(upcoming)

    def run_by_id(action_id: str, params: dict[str, Any]) -> dict[str, Any]:
        return (run_action or session.run)(catalog.find(action_id), params)

    return start(run_action=run_by_id, clock=SystemClock(), observer=observer, before_action=prepare_action)
