"""Runs of playbooks over a session and the run store: begin a run, follow the run of a key, drive a run to its end."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from connectors.connection import Connection, environment_variables
from core.clock import Clock, SystemClock
from core.errors import CheckRefused, some_of
from core.json_values import Json, shown
from core.quantity import counted
from platforms.ended_runs import plan_of
from platforms.seal_key import seal_key, temporary_key
from platforms.session import Session
from playbooks.drivers import local
from playbooks.drivers.drive import BeforeAction, BeforeResume, Hooks, Observer, Patience, Upcoming
from playbooks.drivers.outcome import Outcome, outcome_of
from playbooks.drivers.run_directory import absolute_directory
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.store.location import default_path
from playbooks.drivers.store.records import RunSummary
from playbooks.engine.changes import resumable
from playbooks.engine.engine import run_key
from playbooks.engine.state import ActionTraits, End, RunState
from playbooks.language.bundling import every_step
from playbooks.language.errors import DirectoryUnusable
from playbooks.language.format import ActionStep, Playbook
from playbooks.language.inputs import accept

# The default parent folder of runs' files.
RUNS = Path("cfes-runs")

# The record of a run's calls, in its directory.
CALLS = "calls.ndjson"

# How many runs are searched for one in a directory.
MOST_SEARCHED = 10_000

ACCOUNT = environment_variables()["account_id"]
BASE_URL = environment_variables()["base_url"]

# Attempts of one key that ended before they changed anything. More than these point to a mistake.
MOST_ATTEMPTS = 1000

# Until the run ends, or waits for a signal.
STAY = Patience()

ActionRunner = Callable[[Action[Any, Any], dict[str, Any]], dict[str, Any]]

# Begins or resumes a run.
Start = Callable[[Hooks], Outcome]


@dataclass(frozen=True)
class RunPlace:
    """Where a new run has its files: in `directory`, or in a folder of `above` that has the run's ID as its name.

    run_id: the ID of a run without a key; None: a new one.
    """

    directory: Path | None = None
    above: Path = RUNS
    run_id: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A run to begin, to resume or to report. ended: the outcome of a run that has already ended, and is not repeated.

    begun: the run exists, so its start resumes it. plan: that of an existing run, if it has one.
    """

    run_id: str
    directory: Path
    start: Start
    begun: bool = False
    ended: Outcome | None = None
    plan: Mapping[str, Json] | None = None


def open_store(environment: Mapping[str, str] | None = None, clock: Clock | None = None) -> RunStore:
    """Open the run store of this user. Raises: ConnectionSettingsError, RunStoreUnusable, RunStoreUnavailable."""
    environment = os.environ if environment is None else environment
    return RunStore(default_path(environment), seal_key(environment), clock or SystemClock())


def open_temporary_store(directory: Path) -> RunStore:
    """Open a run store in a private directory, for runs that are never resumed."""
    return RunStore(directory / "runs.db", temporary_key(), SystemClock())


def scope_of(environment: Mapping[str, str] | Connection) -> str:
    """Return where the key of a run is valid: one account of one service."""
    if isinstance(environment, Connection):
        url = environment.base_url
    else:
        url = environment.get(BASE_URL) or Connection.model_fields["base_url"].default
    return f"{str(url).rstrip('/').lower()} {account_of(environment) or ''}"


def account_of(environment: Mapping[str, str] | Connection) -> str | None:
    """Return the account that actions change, or None if it is not set."""
    account = environment.account_id if isinstance(environment, Connection) else environment.get(ACCOUNT, "")
    return account.strip().lower() or None


def find_run(store: RunStore, run: str, environment: Mapping[str, str] | None = None) -> RunSummary:
    """Return the run with this ID, with this beginning of an ID, or with its files in this directory.

    A directory with the journal of an earlier version is added to the store. Raises: RunNotFound, RunRecordRefused.
    """
    if "/" not in run and not _is_directory(run):
        return store.find(run)
    directory = absolute_directory(Path(run))
    return _run_in(store, directory) or store.find(
        local.adopt_journal(directory, store=store, key=seal_key(environment))
    )


def _is_directory(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _run_in(store: RunStore, directory: Path) -> RunSummary | None:
    """Return the newest run with its files in this directory, which may be spelled in another way."""
    real = directory.resolve()
    for summary in store.runs(limit=MOST_SEARCHED):
        place = Path(summary.directory)
        if place == directory or (place.name == real.name and place.resolve() == real):
            return summary
    return None


def prepare_run(
    store: RunStore, playbook: Playbook, inputs: Mapping[str, Any], place: RunPlace, *, scope: str = ""
) -> Prepared:
    """Prepare a new run, or find the run of the playbook's key.

    A run of the same key is resumed or, if it has ended, reported. A run that ended before it did anything (refused,
    cancelled, failed and not resumable) is left as it is, and a new one begins. Raises: CheckRefused if the existing
    run has other inputs, RunRecordRefused if its record was edited, DirectoryUnusable if another run's files are in it.
    """
    key = run_key(playbook, inputs)
    if key is None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run_id = place.run_id or f"{playbook.id}-{stamp}-{secrets.token_hex(3)}"
        return _new(store, playbook, inputs, run_id, place)
    digest = hashlib.sha256("\0".join((scope, playbook.id, key)).encode())
    base = f"{playbook.id}-{digest.hexdigest()[:16]}"
    for attempt in range(1, MOST_ATTEMPTS + 1):
        run_id = base if attempt == 1 else f"{base}-{attempt}"
        if not store.has(run_id):
            return _new(store, playbook, inputs, run_id, place)
        began_with, state = local.opened(store.read(run_id))
        end = state.pending
        if isinstance(end, End) and end.status in ("refused", "cancelled"):
            continue
        if isinstance(end, End) and end.status == "failed" and not resumable(began_with, state):
            continue
        _refuse_other_inputs(run_id, playbook, inputs, state)
        ended = outcome_of(began_with, state) if isinstance(end, End) and end.status != "failed" else None
        return Prepared(run_id, Path(state.directory), resume_of(store, run_id), True, ended, plan_of(state))
    raise CheckRefused(
        f"{counted(MOST_ATTEMPTS, 'run')} of the key {key!r} ended before they changed anything",
        help="Nothing was run. Find out why: cfes playbook runs",
    )


def _new(store: RunStore, playbook: Playbook, inputs: Mapping[str, Any], run_id: str, place: RunPlace) -> Prepared:
    directory = absolute_directory(place.directory or place.above / run_id)
    used = _run_in(store, directory) if place.directory is not None else None
    if used is not None:
        raise DirectoryUnusable(
            f"the directory {shown(str(directory), 500)} already has the files of the run {used.run_id}",
            help=f"Nothing was run. Choose another directory, or resume that run: cfes playbook resume {used.run_id}",
        )

    def start(hooks: Hooks) -> Outcome:
        return local.run(
            playbook, inputs, store=store, run_id=run_id, directory=directory, hooks=hooks, traits=traits()
        )

    return Prepared(run_id, directory, start)


def resume_of(store: RunStore, run_id: str) -> Start:
    """Return the start that resumes a run."""
    return partial(_resume, store, run_id)


def _resume(store: RunStore, run_id: str, hooks: Hooks) -> Outcome:
    return local.resume(run_id, store=store, hooks=hooks)


def _refuse_other_inputs(run_id: str, playbook: Playbook, inputs: Mapping[str, Json], state: RunState) -> None:
    given = accept(playbook, inputs)
    # An input that is left out now does not contradict what the run began with.
    others = [name for name in inputs if name in state.inputs and state.inputs[name] != given[name]]
    if others:
        attempt = " To begin another run for it, add --set attempt=2." if "attempt" in playbook.inputs else ""
        raise CheckRefused(
            f"the run {run_id} has the same key, but began with another value of {some_of(others)}",
            help=f"Nothing was run. To see it: cfes playbook show {run_id}.{attempt}",
        )


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
    return any(catalog.find(step.action).connection for step in every_step(playbook) if isinstance(step, ActionStep))


def drive(
    session: Session,
    start: Start,
    *,
    observer: Observer | None = None,
    before_action: BeforeAction | None = None,
    before_resume: BeforeResume | None = None,
    run_action: ActionRunner | None = None,
    patience: Patience = STAY,
    account: str | None = None,
) -> Outcome:
    """Begin or resume a run with `start`, and return how it ended.

    before_action: called before each action, once the connection is open; it stops the run by raising.
    run_action: called in place of `session.run`. account: that of the actions, if known.
    Raises: what `start` and `before_action` raise.
    """

    def prepare_action(upcoming: Upcoming) -> None:
        if catalog.find(upcoming.command.action).connection:
            session.connect()
        if before_action is not None:
            before_action(upcoming)

    def run_by_id(action_id: str, params: dict[str, Any]) -> dict[str, Any]:
        return (run_action or session.run)(catalog.find(action_id), params)

    return start(
        Hooks(
            run_action=run_by_id,
            clock=SystemClock(),
            observer=observer,
            before_action=prepare_action,
            before_resume=before_resume,
            patience=patience,
            account=account,
        )
    )
