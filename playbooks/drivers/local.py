"""The local driver: run a playbook in this process, and resume it after a crash, a kill or Ctrl-C.

The run store (`playbooks.drivers.run_store`) has the run. It is written before an action begins and after it ends. An
action that had begun and not ended is run again on resume, with the same parameters. Actions are safe to repeat: those
that create jobs reuse the earlier job by its idempotency key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.json_values import Json, shown
from playbooks.drivers.drive import Drive, Hooks
from playbooks.drivers.journal import Entry, read_journal
from playbooks.drivers.outcome import Outcome, outcome_of, progress_of
from playbooks.drivers.run_directory import absolute_directory, open_private_directory
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.failures import BEGIN_AGAIN
from playbooks.drivers.store.held_run import HeldRun
from playbooks.drivers.store.records import NewRun, StoredRun
from playbooks.engine.changes import resumable
from playbooks.engine.commands import Cancelled, Place
from playbooks.engine.engine import advance, begin, interrupted_at, resumed
from playbooks.engine.history import steps_reached
from playbooks.engine.state import ActionTraits, End, RunState, open_state, refuse_other_account
from playbooks.language.bundling import every_step
from playbooks.language.errors import (
    PlaybookInvalid,
    RunMoved,
    RunNotFound,
    RunRecordRefused,
    StateRefused,
)
from playbooks.language.format import Playbook
from playbooks.language.loading import from_document


def run(
    playbook: Playbook,
    inputs: Mapping[str, Json],
    *,
    store: RunStore,
    run_id: str,
    directory: Path,
    hooks: Hooks,
    traits: Mapping[str, ActionTraits] | None = None,
) -> Outcome:
    """Run a playbook until it ends or is left, with its files in `directory`. `traits`: see `engine.begin`.

    Raises: PlaybookInvalid, ParameterError (inputs), RunExists, DirectoryUnusable, RunRecordUnwritable and the errors
    of the run store.
    """
    directory = absolute_directory(directory)
    now = hooks.clock.now()
    state = begin(
        playbook, inputs, run_id=run_id, now=now, directory=str(directory), traits=traits, account=hooks.account
    )
    open_private_directory(directory, create=True)
    with store.create(_new_run(playbook, state, state.key)) as held:
        drive = Drive(playbook, held, hooks)
        drive.observer.began(run_id, state.directory)
        drive.report([], steps_reached(playbook, state))
        return drive.to_the_end(state)


def resume(run_id: str, *, store: RunStore, hooks: Hooks) -> Outcome:
    """Resume a run, with the playbook as it was when the run began.

    A run that failed in an action repeats the step of that action. A run that ended otherwise returns its outcome and
    runs nothing.

    Raises: RunNotFound, RunInProgress, RunOfOtherAccount, RunRecordRefused (damaged, edited, another key),
    DirectoryUnusable, StateRefused, RunRecordUnwritable and the errors of the run store.
    """
    with store.hold(run_id) as held:
        playbook, before, in_flight = _opened(held.stored())
        refuse_other_account(before, hooks.account)
        open_private_directory(Path(before.directory), create=False)
        state = resumed(playbook, before, now=hooks.clock.now(), interrupted=in_flight)
        if hooks.before_resume is not None:
            ended = isinstance(state.pending, End)
            hooks.before_resume([] if ended else every_step(playbook, playbook.steps[state.position :]))
        drive = Drive(playbook, held, hooks, in_flight)
        reached = steps_reached(playbook, state)
        drive.observer.began(run_id, before.directory)
        drive.observer.resumed(reached)
        if resumable(playbook, before):
            drive.write(state)
            drive.report(steps_reached(playbook, before), reached)
        return drive.to_the_end(state)


def cancel(run_id: str, *, store: RunStore, clock: Clock, reason: str) -> Outcome:
    """End a run that no process has. Raises: as `resume`; StateRefused if the run has ended."""
    with store.hold(run_id) as held:
        playbook, before, in_flight = _opened(held.stored())
        state = interrupted_at(playbook, before, in_flight)
        state = advance(playbook, state, Cancelled(reason), now=clock.now())
        held.write(state.text(), progress_of(playbook, state))
        return outcome_of(playbook, state)


def opened(stored: StoredRun) -> tuple[Playbook, RunState]:
    """Return the playbook and the state of a stored run. An action that has begun may have changed something.

    Raises: StateRefused; RunRecordRefused for an invalid seal.
    """
    if not stored.intact:
        raise RunRecordRefused(
            f"the record of run {shown(stored.summary.run_id, 210)} is damaged, was edited, or was sealed with another "
            "key: its seal is invalid",
            help="Nothing was run. Use the same CFES_PLAN_KEY or CFES_STATE_DIR as when the run began. If they are the "
            f"same, find out who changed the run store, then begin a new run. {BEGIN_AGAIN}",
        )
    playbook, state, in_flight = _opened(stored)
    return playbook, interrupted_at(playbook, state, in_flight)


def adopt_journal(directory: Path, *, store: RunStore, key: SealKey) -> str:
    """Copy the run of a journal.json, which an earlier version wrote, into the run store. Returns the run's ID.

    A run that is already in the store is left as it is. Raises: RunNotFound, RunRecordRefused, RunMoved, RunInProgress,
    StateRefused, DirectoryUnusable.
    """
    with read_journal(directory, key) as entry:
        playbook = _playbook_of(entry.playbook)
        state = open_state(playbook, entry.state)
        place = directory.absolute()
        if Path(state.directory).resolve() != place.resolve():
            raise RunMoved(
                f"the run began in {shown(state.directory, 500)}, and its journal is now in {shown(str(place), 500)}"
            )
        try:
            store.read(state.run_id)
        except RunNotFound:
            with store.create(_new_run(playbook, state, None)) as held:
                _note_in_flight(held, playbook, state, entry)
        return state.run_id


def _note_in_flight(held: HeldRun, playbook: Playbook, state: RunState, entry: Entry) -> None:
    if entry.in_flight is not None:
        held.write(state.text(), progress_of(playbook, state), [{"place": [], **entry.in_flight}])


def _new_run(playbook: Playbook, state: RunState, key: str | None) -> NewRun:
    return NewRun(
        run_id=state.run_id,
        key=key,
        playbook=playbook.document(),
        playbook_id=playbook.id,
        playbook_sha256=playbook.sha256,
        directory=state.directory,
        state=state.text(),
        progress=progress_of(playbook, state),
    )


def _opened(stored: StoredRun) -> tuple[Playbook, RunState, set[Place]]:
    playbook = _playbook_of(stored.playbook)
    try:
        document: Any = json.loads(stored.state)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise StateRefused("the state is damaged: it is not a JSON object")
    places = {tuple(str(name) for name in each.get("place") or ()) for each in stored.in_flight}
    return playbook, open_state(playbook, document), places


def _playbook_of(document: dict[str, Json]) -> Playbook:
    try:
        return from_document(document)
    except PlaybookInvalid as error:
        raise StateRefused(f"this version can't read the run's playbook: {error.message}") from None
