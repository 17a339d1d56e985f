"""Run playbooks with the local driver, with a run store beside the run's directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.clock import Clock
from playbooks.drivers import local
from playbooks.drivers.drive import BeforeAction, BeforeResume, Hooks, Observer, Patience
from playbooks.drivers.outcome import Outcome
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.engine.state import ActionTraits
from playbooks.language.format import Playbook
from tests.playbooks.conftest import KEY

RunActionFunction = Callable[[str, dict[str, Any]], dict[str, Any]]


def store_beside(directory: Path, clock: Clock, key: SealKey = KEY) -> RunStore:
    """Open the run store of the run with its files in this directory."""
    return RunStore(store_of(directory), key, clock)


def store_of(directory: Path) -> Path:
    """Return the path of the run store of the run with its files in this directory."""
    return directory.parent / f"{directory.name}-store" / "runs.db"


def run(
    playbook: Playbook,
    inputs: Mapping[str, Any],
    *,
    run_action: RunActionFunction,
    clock: Clock,
    directory: Path,
    run_id: str = "run-1",
    key: SealKey = KEY,
    observer: Observer | None = None,
    before_action: BeforeAction | None = None,
    patience: Patience = Patience(),  # noqa: B008 -- a constant
    traits: Mapping[str, ActionTraits] | None = None,
) -> Outcome:
    """Run a playbook to its end."""
    hooks = Hooks(run_action, clock, observer, before_action, patience=patience)
    with store_beside(directory, clock, key) as store:
        return local.run(playbook, inputs, store=store, run_id=run_id, directory=directory, hooks=hooks, traits=traits)


def resume(
    directory: Path,
    *,
    run_action: RunActionFunction,
    clock: Clock,
    key: SealKey = KEY,
    observer: Observer | None = None,
    before_action: BeforeAction | None = None,
    before_resume: BeforeResume | None = None,
    patience: Patience = Patience(),  # noqa: B008 -- a constant
) -> Outcome:
    """Resume the run with its files in this directory."""
    hooks = Hooks(run_action, clock, observer, before_action, before_resume, patience)
    with store_beside(directory, clock, key) as store:
        (found,) = (each for each in store.runs() if each.directory == str(directory))
        return local.resume(found.run_id, store=store, hooks=hooks)
